//! The transaction: the one way forward, and the one way back.
//!
//! A commit writes the journal, lets the layout change what the disk holds, and notes the trial;
//! only then does the journal go. An undo reads a journal and makes everything what it was. Going
//! back is the undo of a journal that is made up from what is kept of an older version, so that
//! there is one way back, for an error, a kill, a failed trial and a person's wish, in both layouts.

use crate::companions::{Companions, Way};
use crate::config::{LayoutKind, Rules};
use crate::disk::{self, in_use};
use crate::layout::backup::{self, BackedUp};
use crate::layout::in_place;
use crate::layout::journal::{Data, Journal, Mark};
use crate::layout::locks::ChangeLock;
use crate::layout::snapshot::{self, Built};
use crate::plan::Plan;
use crate::state::{Bad, ClientFolder, EntryPoint, Link, Trial, WayBack};
use crate::steps::{Step, reach};
use crate::version::Version;
use crate::{Error, Result, record};

/// A new version that is whole and durable, with a way back.
#[must_use = "nothing is installed until it is committed"]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of them in an update"
)]
pub enum Ready {
    /// Staged, with a backup of the version before.
    InPlace(BackedUp),
    /// A whole folder of its own.
    Snapshot(Built),
}

impl Ready {
    /// What is kept of the version that is left; `None` for a first install.
    fn kept(&self, folder: &ClientFolder) -> Option<String> {
        match self {
            Self::InPlace(backed_up) => backed_up.backup.clone(),
            Self::Snapshot(_) => folder.linked(Link::Current),
        }
    }

    fn plan(&self) -> &Plan {
        match self {
            Self::InPlace(backed_up) => &backed_up.staged.plan,
            Self::Snapshot(built) => &built.staged.plan,
        }
    }
}

/// A new version that is installed and on trial.
#[must_use = "a committed version is on trial until it has run"]
#[derive(Debug)]
pub struct Committed {
    /// The version that was installed before.
    pub before: Option<Version>,
    /// The version that is installed now.
    pub version: Version,
}

/// What an undo has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// The version that is installed now; `None` for a folder without one.
    pub version: Option<Version>,
}

/// A commit that is about to begin.
#[must_use = "nothing is installed until the transaction is committed"]
pub struct Transaction<'a> {
    site: Site<'a>,
    ready: Ready,
    journal: Journal,
}

/// Where a transaction takes place, and what goes along with it. The lock keeps the app from
/// running meanwhile.
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "each is what its type says")]
pub struct Site<'a> {
    pub folder: &'a ClientFolder,
    pub rules: &'a Rules,
    pub companions: Companions<'a>,
    pub lock: &'a ChangeLock,
}

/// The name of the databases' copy where there is no version to be left.
const BEFORE_ALL: &str = "first";

impl<'a> Transaction<'a> {
    /// Probes everything that is to change, and copies the databases. Nothing is changed; an error
    /// leaves the app untouched.
    pub fn prepare(site: Site<'a>, ready: Ready) -> Result<Self> {
        let journal = match &ready {
            Ready::InPlace(backed_up) => in_place::journal_of_commit(site.folder, backed_up),
            Ready::Snapshot(built) => snapshot::journal_of_commit(site.folder, built),
        };
        let with_data = journal.and_then(|mut journal| {
            // A mere copy of what is in use already changes no data.
            if ready.plan().digest.is_some() {
                let kept = ready.kept(site.folder);
                let name = kept.unwrap_or_else(|| BEFORE_ALL.to_owned());
                let version = journal.before.as_ref();
                if site.companions.keep_data(&name, version, site.lock)? {
                    let touched = false;
                    journal.data = Some(Data { name, touched });
                }
                reach(Step::DataCopied)?;
            }
            Ok(journal)
        });
        match with_data {
            Ok(journal) => Ok(Self {
                site,
                ready,
                journal,
            }),
            Err(error) => {
                discard_backup(site.folder, &ready);
                Err(error)
            }
        }
    }

    /// Makes the new version the current one. On an error everything is put back first; the error
    /// that is returned is the commit's own, or `RECOVERY_FAILED`.
    pub fn commit(mut self) -> Result<Committed> {
        let folder = self.site.folder;
        if let Err(error) = self.journal.write(folder) {
            if !Journal::lies_in(folder) {
                discard_backup(folder, &self.ready);
            }
            return Err(error);
        }
        match self.change() {
            Ok(committed) => Ok(committed),
            Err(error) => {
                record::error!("the commit failed and is undone: {}", error.chain());
                // The undo may need the room.
                if let Err(error) = disk::remove_tree(&folder.staging()) {
                    record::warn!("{}", error.chain());
                }
                undo(&self.site, &self.journal, &error.chain())?;
                discard_backup(folder, &self.ready);
                Err(error)
            }
        }
    }

    fn change(&mut self) -> Result<Committed> {
        let folder = self.site.folder;
        reach(Step::CommitJournalled)?;
        match &self.ready {
            Ready::InPlace(backed_up) => in_place::replace(folder, backed_up, &self.journal)?,
            Ready::Snapshot(built) => snapshot::switch(folder, built, &self.journal)?,
        }
        let plan = self.ready.plan();
        let version = &plan.release.version;
        if plan.digest.is_some() && self.site.companions.migrates() {
            if let Some(data) = &mut self.journal.data {
                data.touched = true;
                self.journal.write(folder)?;
            }
            reach(Step::CommitMigrating)?;
            let way = Way {
                from: self.journal.before.as_ref(),
                to: Some(version),
                reason: None,
            };
            self.site.companions.after_commit(way, self.site.lock)?;
            reach(Step::CommitMigrated)?;
        }
        let back = self.way_back();
        folder.change_state(|state| {
            state.entry = Some(EntryPoint {
                version: Some(version.clone()),
                path: plan.release.entry_point.clone(),
            });
            state.trial = plan.digest.map(|digest| Trial {
                version: version.clone(),
                digest,
                back,
                tries: 0,
            });
            if let Some(digest) = plan.digest {
                state.forgive(digest);
                state.pending = None;
            }
        })?;
        reach(Step::CommitTrial)?;
        Journal::remove(folder)?;
        Ok(Committed {
            before: plan.installed.version.clone(),
            version: version.clone(),
        })
    }

    /// What the journal would lead back to, for as long as the new version is on trial.
    fn way_back(&self) -> Option<WayBack> {
        let (name, previous) = match &self.journal.switch {
            Some(switch) => (
                switch.before.current.clone()?,
                switch.before.previous.clone(),
            ),
            None => (self.journal.backup.clone()?, None),
        };
        let data = self.journal.data.as_ref().map(|data| data.name.clone());
        Some(WayBack {
            name,
            previous,
            data,
        })
    }
}

/// Where nothing was changed, or all of it was undone, the backup is what is installed, a second
/// time.
fn discard_backup(folder: &ClientFolder, ready: &Ready) {
    if let Ready::InPlace(BackedUp {
        backup: Some(name), ..
    }) = ready
        && let Err(error) = backup::discard(folder, name)
    {
        record::warn!("a backup that is not needed stays: {}", error.chain());
    }
}

/// If a journal lies in the folder: puts back what was there before, and says which version that
/// is. `None` when there was nothing to do.
///
/// Fails with `RECOVERY_FAILED` when that cannot be done; then the journal and the backup stay,
/// and the app must not be started.
pub fn recover(site: &Site<'_>) -> Result<Option<Undone>> {
    let folder = site.folder;
    let journal = Journal::load(folder).map_err(|error| failed(folder, None, error))?;
    let Some(journal) = journal else {
        return Ok(None);
    };
    record::warn!("transaction {} was interrupted and is undone", journal.id);
    // The undo may need the room; what cannot be removed now is no reason to stop.
    for leftover in [folder.staging(), folder.own().join("backup")] {
        if let Err(error) = disk::remove_tree(&leftover) {
            record::warn!("{}", error.chain());
        }
    }
    undo(site, &journal, "it was interrupted")?;
    Ok(Some(Undone {
        version: journal.before,
    }))
}

/// Goes back to an older version, and leaves the package that is marked alone from then on.
/// Everything that can be checked is checked first: an error before the journal is written leaves
/// all as it is.
pub fn go_back(site: &Site<'_>, back: &WayBack, mark: Option<Mark>) -> Result<Undone> {
    let folder = site.folder;
    let mut journal = match folder.layout() {
        LayoutKind::InPlace => in_place::journal_of_restore(folder, &back.name, site.rules)?,
        LayoutKind::Snapshot => snapshot::journal_of_return(folder, back)?,
    };
    if let Some(name) = &back.data {
        site.companions.check_data(name)?;
        // Somebody may have worked with what is there now.
        let failed = mark.as_ref().is_some_and(|mark| mark.failed);
        match site
            .companions
            .keep_present(journal.after.as_ref(), site.lock)
        {
            Err(error) if failed => record::error!("{}", error.chain()),
            kept => kept?,
        }
        journal.data = Some(Data {
            name: name.clone(),
            touched: true,
        });
    }
    let why = mark.as_ref().map(|mark| mark.package.why.clone());
    journal.mark = mark;
    journal.write(folder)?;
    reach(Step::UndoJournalled)?;
    undo(site, &journal, why.as_deref().unwrap_or_default())?;
    Ok(Undone {
        version: journal.before,
    })
}

/// Goes back from a package that failed its trial, and marks it, so that it is not installed again.
/// `None` when there is no version to go back to.
pub(crate) fn roll_back(site: &Site<'_>, trial: &Trial, why: &str) -> Result<Option<Undone>> {
    let Some(back) = &trial.back else {
        return Ok(None);
    };
    let mark = Mark {
        package: Bad {
            version: trial.version.clone(),
            digest: trial.digest,
            why: why.to_owned(),
        },
        failed: true,
    };
    let failed = site.folder.linked(Link::Current);
    let undone = go_back(site, back, Some(mark))?;
    let discarded = match (site.folder.layout(), failed) {
        // The backup is what is installed now, a second time. Without its description it is none.
        (LayoutKind::InPlace, _) => backup::discard(site.folder, &back.name),
        (LayoutKind::Snapshot, Some(failed))
            if snapshot::pinned(site.folder, &failed).is_none() =>
        {
            snapshot::discard(site.folder, &failed)
        }
        (LayoutKind::Snapshot, _) => Ok(()),
    };
    if let Err(error) = discarded {
        record::warn!("what is not needed stays: {}", error.chain());
    }
    Ok(Some(undone))
}

/// Makes everything that a journal names what it was before, and what is recorded too. Compares
/// before it acts, so that it can be repeated after a kill at any point.
fn undo(site: &Site<'_>, journal: &Journal, why: &str) -> Result<()> {
    let folder = site.folder;
    let put_back = || {
        let entry = match &journal.switch {
            Some(switch) => snapshot::put_back(folder, switch)?,
            None => in_place::put_back(folder, journal, site.rules)?,
        };
        if let Some(data) = journal.data.as_ref().filter(|data| data.touched) {
            site.companions.put_data_back(&data.name, site.lock)?;
            reach(Step::UndoData)?;
        }
        folder.change_state(|state| {
            // The version before may still be on trial: an update that was undone proves nothing.
            if state.trial.as_ref().map(|trial| &trial.version) == journal.after.as_ref() {
                state.trial = None;
            }
            state.entry = entry;
            if let Some(mark) = &journal.mark {
                state.mark_bad(&mark.package);
                if mark.failed {
                    state.back_from = Some(mark.package.digest);
                }
            }
        })?;
        reach(Step::UndoVersioned)?;
        Journal::remove(folder)?;
        in_use::sweep(&folder.aside());
        reach(Step::UndoDone)
    };
    put_back().map_err(|error| failed(folder, Some(journal), error))?;
    site.companions.after_return(Way {
        from: journal.after.as_ref(),
        to: journal.before.as_ref(),
        reason: Some(why),
    });
    Ok(())
}

fn failed(folder: &ClientFolder, journal: Option<&Journal>, source: Error) -> Error {
    let kept = journal.and_then(|journal| match (&journal.switch, &journal.backup) {
        (Some(switch), _) => Some(folder.versions().join(switch.before.current.as_ref()?)),
        (None, Some(name)) => backup::path_of(folder, name).ok(),
        (None, None) => None,
    });
    Error::RecoveryFailed {
        folder: folder.root().to_path_buf(),
        backup: kept
            .unwrap_or_else(|| folder.backups())
            .display()
            .to_string(),
        source: Box::new(source),
    }
}
