//! The transaction: the one way forward, and the one way back.
//!
//! A commit writes the journal, lets the layout change what the disk holds, and notes the trial;
//! only then does the journal go. An undo reads a journal and makes everything what it was. Going
//! back is the undo of a journal that is made up from what is kept of an older version, so that
//! there is one way back, for an error, a kill, a failed trial and a person's wish, in both layouts.

use crate::config::{LayoutKind, Rules};
use crate::disk::{self, in_use};
use crate::layout::backup::{self, BackedUp};
use crate::layout::in_place;
use crate::layout::journal::{Journal, Mark};
use crate::layout::locks::ChangeLock;
use crate::layout::snapshot::{self, Built};
use crate::plan::Plan;
use crate::state::{Bad, ClientFolder, EntryPoint, Trial, WayBack};
use crate::steps::{Step, reach};
use crate::version::Version;
use crate::{Error, Result};

/// A new version that is whole and durable, with a way back.
#[must_use = "nothing is installed until it is committed"]
pub enum Ready {
    /// Staged, with a backup of the version before.
    InPlace(BackedUp),
    /// A whole folder of its own.
    Snapshot(Built),
}

impl Ready {
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
    folder: &'a ClientFolder,
    rules: &'a Rules,
    ready: Ready,
    journal: Journal,
    _lock: &'a ChangeLock,
}

impl<'a> Transaction<'a> {
    /// Probes everything that is to change. Nothing is changed; an error leaves the app untouched.
    pub fn prepare(
        folder: &'a ClientFolder,
        rules: &'a Rules,
        ready: Ready,
        lock: &'a ChangeLock,
    ) -> Result<Self> {
        let journal = match &ready {
            Ready::InPlace(backed_up) => in_place::journal_of_commit(folder, backed_up),
            Ready::Snapshot(built) => snapshot::journal_of_commit(folder, built),
        };
        match journal {
            Ok(journal) => Ok(Self {
                folder,
                rules,
                ready,
                journal,
                _lock: lock,
            }),
            Err(error) => {
                discard_backup(folder, &ready);
                Err(error)
            }
        }
    }

    /// Makes the new version the current one. On an error everything is put back first; the error
    /// that is returned is the commit's own, or `RECOVERY_FAILED`.
    pub fn commit(self) -> Result<Committed> {
        let folder = self.folder;
        if let Err(error) = self.journal.write(folder) {
            if !Journal::lies_in(folder) {
                discard_backup(folder, &self.ready);
            }
            return Err(error);
        }
        match self.change() {
            Ok(committed) => Ok(committed),
            Err(error) => {
                log::error!("the commit failed and is undone: {}", error.chain());
                // The undo may need the room.
                if let Err(error) = disk::remove_tree(&folder.staging()) {
                    log::warn!("{}", error.chain());
                }
                undo(folder, &self.journal, self.rules)?;
                discard_backup(folder, &self.ready);
                Err(error)
            }
        }
    }

    fn change(&self) -> Result<Committed> {
        let folder = self.folder;
        reach(Step::CommitJournalled)?;
        let way_back = match &self.ready {
            Ready::InPlace(backed_up) => {
                in_place::replace(folder, backed_up, &self.journal)?;
                backed_up.backup.as_ref().map(WayBack::to)
            }
            Ready::Snapshot(built) => snapshot::switch(folder, built, &self.journal)?,
        };
        let plan = self.ready.plan();
        let version = &plan.release.version;
        folder.change_state(|state| {
            state.entry = Some(EntryPoint {
                version: Some(version.clone()),
                path: plan.release.entry_point.clone(),
            });
            state.trial = plan.digest.map(|digest| Trial {
                version: version.clone(),
                digest,
                back: way_back,
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
}

/// Where nothing was changed, or all of it was undone, the backup is what is installed, a second
/// time.
fn discard_backup(folder: &ClientFolder, ready: &Ready) {
    if let Ready::InPlace(BackedUp {
        backup: Some(name), ..
    }) = ready
        && let Err(error) = backup::discard(folder, name)
    {
        log::warn!("a backup that is not needed stays: {}", error.chain());
    }
}

/// If a journal lies in the folder: puts back what was there before, and says which version that
/// is. `None` when there was nothing to do.
///
/// Fails with `RECOVERY_FAILED` when that cannot be done; then the journal and the backup stay,
/// and the app must not be started.
pub fn recover(folder: &ClientFolder, rules: &Rules, _lock: &ChangeLock) -> Result<Option<Undone>> {
    let journal = Journal::load(folder).map_err(|error| failed(folder, None, error))?;
    let Some(journal) = journal else {
        return Ok(None);
    };
    log::warn!("transaction {} was interrupted and is undone", journal.id);
    // The undo may need the room; what cannot be removed now is no reason to stop.
    for leftover in [folder.staging(), folder.own().join("backup")] {
        if let Err(error) = disk::remove_tree(&leftover) {
            log::warn!("{}", error.chain());
        }
    }
    undo(folder, &journal, rules)?;
    Ok(Some(Undone {
        version: journal.before,
    }))
}

/// Goes back to an older version, and leaves the package that is marked alone from then on.
/// Everything that can be checked is checked first: an error before the journal is written leaves
/// all as it is.
pub fn go_back(
    folder: &ClientFolder,
    back: &WayBack,
    mark: Option<Mark>,
    rules: &Rules,
    _lock: &ChangeLock,
) -> Result<Undone> {
    let mut journal = match folder.layout() {
        LayoutKind::InPlace => in_place::journal_of_restore(folder, &back.name, rules)?,
        LayoutKind::Snapshot => snapshot::journal_of_return(folder, back)?,
    };
    journal.mark = mark;
    journal.write(folder)?;
    reach(Step::UndoJournalled)?;
    undo(folder, &journal, rules)?;
    Ok(Undone {
        version: journal.before,
    })
}

/// Marks the package of a failed trial, so that it is not installed again, and goes back to the
/// version before. `None` when there is none to go back to.
pub(crate) fn roll_back(
    folder: &ClientFolder,
    trial: &Trial,
    why: &str,
    rules: &Rules,
    lock: &ChangeLock,
) -> Result<Option<Undone>> {
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
    let undone = go_back(folder, back, Some(mark), rules, lock)?;
    if folder.layout() == LayoutKind::InPlace
        // The backup is what is installed now, a second time. Without its description it is none.
        && let Err(error) = backup::discard(folder, &back.name)
    {
        log::warn!("a backup that is not needed stays: {}", error.chain());
    }
    Ok(Some(undone))
}

/// Makes everything that a journal names what it was before, and what is recorded too. Compares
/// before it acts, so that it can be repeated after a kill at any point.
fn undo(folder: &ClientFolder, journal: &Journal, rules: &Rules) -> Result<()> {
    let put_back = || {
        let entry = match &journal.switch {
            Some(switch) => snapshot::put_back(folder, switch)?,
            None => in_place::put_back(folder, journal, rules)?,
        };
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
    put_back().map_err(|error| failed(folder, Some(journal), error))
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
