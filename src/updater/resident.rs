//! What a resident updater asks of the engine: releases that are handed over instead of announced,
//! services that are stopped for a commit and started by somebody else, and trials whose verdict it
//! gives.
//!
//! Promises: what is handed over passes the same checks as what a source announces; with pinned keys
//! it has to be signed. A version on trial is judged or gone back from, whoever is killed when.

use super::{
    Anchor, Archive, COMMIT_PATIENCE, ChangeLock, Client, Duration, Error, Event, FetchLock,
    Fetched, Journal, Kept, LayoutKind, Offer, Outcome, Package, PathBuf, Phase, Release, Result,
    Trial, Trust, Trusted, UPDATE_PATIENCE, Updater, Utc, Version, Whence, disk, fetch, when,
};
use crate::config::When;
use crate::layout;
use crate::record;
use crate::when::Clock;

use std::fs::File;

/// Whoever keeps the app running where no launcher starts it: the services that are to be stopped for
/// a commit, and what packages look like that were made for them.
pub trait Steward: Sync {
    /// Makes of a verified package the tree of a version. What is not to be installed is refused here,
    /// before anything is stopped. Whoever gives files other names answers for the file list that the
    /// release announces, and takes it out of `release`.
    fn arrange(&self, archive: Archive, release: &mut Release) -> Result<Archive>;

    /// Stops what runs, and returns when it has ended. The new version is whole and durable, and about
    /// to become the current one; an error leaves everything as it is. May be called twice.
    ///
    /// To start it again is the caller's, whatever becomes of the update.
    fn stop(&self) -> Result<()>;
}

/// A release that was handed over, fetched and not yet accepted. Nobody else fetches meanwhile.
#[must_use = "a delivery counts when it is accepted"]
pub struct Delivery<'a> {
    updater: &'a Updater<'a>,
    release: Release,
    fetched: Fetched,
    _lock: FetchLock,
}

impl Delivery<'_> {
    /// The package, at its start.
    pub fn file(&self) -> &File {
        &self.fetched.file
    }

    /// Lets it wait for [`Updater::install_handed`]: whoever calls this has compared its MD5, where that
    /// was announced.
    pub fn accept(mut self) -> Result<()> {
        // Whoever remembers that it was verified has to find it, after a power cut too.
        self.fetched
            .file
            .sync_all()
            .map_err(Error::io("sync", &self.fetched.path))?;
        disk::sync_folder(&self.updater.folder.downloads())?;
        self.release.handed = true;
        self.release.package.sha256 = Some(self.fetched.sha256);
        self.release.package.size = Some(self.fetched.size);
        self.updater
            .folder
            .change_state(|state| state.pending = Some(self.release))?;
        Ok(())
    }

    /// Removes it.
    pub fn refuse(self) -> Result<()> {
        disk::remove_file(&self.fetched.path)
    }
}

impl<'a> Updater<'a> {
    /// The same with somebody who keeps the app running.
    #[must_use]
    pub fn with_steward(mut self, steward: &'a dyn Steward) -> Self {
        self.steward = Some(steward);
        self
    }

    /// Fetches a release that was handed over. What failed here before is fetched all the same: whoever
    /// hands it over knows.
    ///
    /// Fails as a download does, and with `UPDATE_RUNNING`, `DOWNGRADE_REFUSED`, `VERSION_SKIPPED`,
    /// `VERSION_PINNED`.
    pub fn fetch_handed(&'a self, trusted: Trusted) -> Result<Delivery<'a>> {
        self.recover()?;
        self.tidy();
        let lock = FetchLock::take(&self.folder, UPDATE_PATIENCE)?;
        let offer = Offer {
            installed: self.current_version(),
            release: trusted,
        };
        self.admit(&offer, true)?;
        let package = &offer.release.package;
        let downloads = self.folder.downloads();
        self.folder.change_state(|state| {
            let other = |pending: &Release| pending.package.id() != package.id();
            if state.pending.as_ref().is_some_and(other) {
                state.pending = None;
            }
        })?;
        self.observer.event(&Event::Phase(Phase::Fetch));
        disk::create_folders(&downloads)?;
        fetch::clear_others(&downloads, package)?;
        disk::need_space(self.folder.root(), fetch::missing(&downloads, package))?;
        let client = Client::new(&self.config.network, &self.config.source)?;
        let fetched = fetch::download(&client, package, &downloads, self.observer)?;
        self.observer.event(&Event::Phase(Phase::Verify));
        Ok(Delivery {
            updater: self,
            release: offer.release.release().clone(),
            fetched,
            _lock: lock,
        })
    }

    /// The same as [`Updater::refusal`], and whether a release leads back against the rules.
    pub fn refusal_or_way_back(
        &self,
        installed: Option<&Version>,
        release: &Release,
    ) -> Option<Error> {
        // A signature alone leads nowhere back, and where there is no index there is nothing else.
        let signed = release.document.is_some() && !self.config.source.kind.has_index();
        let back = self.leads_to(installed, &release.version, signed).err();
        back.or_else(|| self.refusal(installed, release))
    }

    /// What was handed over, waits, and lies here whole.
    pub fn waiting(&self) -> Option<Release> {
        let pending = self.folder.load_state().pending;
        pending.filter(|release| release.handed && self.lies_by(&release.package))
    }

    /// Installs what waits, because somebody says so: also what failed here before.
    ///
    /// Fails with `NOTHING_WAITS`, and as [`Updater::update`] does.
    pub fn install_handed(&self) -> Result<Outcome> {
        self.recover()?;
        self.tidy();
        let result = self.take_handed();
        self.remember(&result);
        result
    }

    fn take_handed(&self) -> Result<Outcome> {
        let Some(pending) = self.waiting() else {
            return Err(Error::NothingWaits);
        };
        let installed = self.current_version();
        let wanted = pending.version.clone();
        let id = Some(pending.package.id());
        let same = self.folder.load_installed().and_then(|list| list.digest) == id;
        if installed.as_ref() == Some(&wanted) && same {
            self.forget_waiting()?;
            return Ok(Outcome::UpToDate { version: wanted });
        }
        let release = self.trust()?.recall(pending)?;
        match self.take(Offer { installed, release }, true, Whence::Disk)? {
            // It was no longer what it had been.
            Outcome::UpToDate { .. } => Err(Error::NothingWaits),
            outcome => Ok(outcome),
        }
    }

    /// The version that is installed and has still to show that it runs.
    pub fn trial(&self) -> Option<Trial> {
        let installed = self.installed();
        let trial = self.folder.load_state().trial;
        trial.filter(|trial| Some(&trial.version) == installed.as_ref())
    }

    /// Counts a start of the version on trial, durably, so that one which takes the machine down with it
    /// is not started for ever. `false`: it has had its attempts.
    pub fn begin_trial(&self, trial: &Trial) -> Result<bool> {
        let tries = self.folder.change_state(|state| {
            let trial = state.trial_of(trial.digest)?;
            trial.tries = trial.tries.saturating_add(1);
            Some(trial.tries)
        })?;
        Ok(tries.is_none_or(|tries| tries <= self.config.run.attempts))
    }

    /// The version on trial runs as it should. Older ones go, as many as are not to be kept.
    pub fn pass_trial(&self, trial: &Trial) {
        self.confirm(trial);
    }

    /// The version on trial does not run: goes back to the one before, whose version is returned, and
    /// leaves the package alone from then on. What runs of it has to be stopped before.
    ///
    /// Fails with `NO_WAY_BACK` when there was no version before, and as a recovery does.
    pub fn fail_trial(&self, trial: &Trial, how: &str) -> Result<Option<Version>> {
        let back = trial.back.as_ref();
        if !back.is_some_and(|back| layout::is_open(&self.folder, back)) {
            return Err(Error::NoWayBack {
                to: "previous".to_owned(),
            });
        }
        let error = Error::TrialFailed {
            version: trial.version.to_string(),
            how: how.to_owned(),
        };
        self.go_back(trial, error, false)?;
        let back = self.installed();
        if let Some(version) = &back {
            record::info!("version {version} is back");
        }
        Ok(back)
    }

    /// Goes back to an older version, as [`Updater::roll_back`] does, and keeps the one that it leaves, so
    /// that [`Updater::roll_back`] to `previous` leads to that again. What runs has to be stopped before.
    ///
    /// Fails also with `DISK_FULL`.
    pub fn return_to(&self, wanted: &str) -> Result<Kept> {
        if self.folder.layout() == LayoutKind::InPlace {
            let _lock = self.lock(UPDATE_PATIENCE)?;
            let change = ChangeLock::take(&self.folder, Duration::ZERO)?;
            let to = layout::find(&self.folder, wanted)?.name;
            layout::keep(&self.folder, &to, &self.rules.mutable, &change)?;
        }
        self.roll_back(wanted, false)
    }

    /// Whether an update was interrupted, and is neither undone nor finished.
    pub fn is_unsettled(&self) -> bool {
        Journal::lies_in(&self.folder)
    }

    /// Where a verified package lies until it is installed.
    pub fn package(&self, package: &Package) -> Option<PathBuf> {
        let path = fetch::finished_path(&self.folder.downloads(), package);
        path.is_file().then_some(path)
    }

    /// Whether it is time to look for updates unasked: `update.when` is not `manual`, the interval is over
    /// (`usual`, where none is configured), and no quiet hours hold.
    pub fn is_time(&self, usual: Duration) -> bool {
        let config = &self.config.update;
        let interval = match config.interval {
            Duration::ZERO => usual,
            interval => interval,
        };
        let last = when::last_asked(&self.folder.load_state());
        config.when != When::Manual
            && !when::is_quiet(config, Clock::system())
            && when::is_due(interval, last, Utc::now())
    }

    /// Keeps what was learnt of keys.
    pub fn keep_trust(&self, mut trust: Trust) -> Result<()> {
        trust.keep(&Anchor::of(self.config), &self.folder)
    }

    /// Waits for what another process commits or undoes here.
    pub fn settle(&self) -> Result<()> {
        drop(self.lock(COMMIT_PATIENCE)?);
        Ok(())
    }
}
