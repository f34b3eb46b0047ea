//! The pipeline: one method a phase, each taking what the one before gave.
//!
//! ```text
//! recover -> check -> fetch -> verify -> plan -> stage -> back up -> commit -> launch -> confirm
//! ```
//!
//! Promises: an app that is installed whole starts, whatever goes wrong with its update; an error
//! before the commit leaves it untouched, an error from the commit to the verdict of its trial
//! puts back what was there. A mixture is never started. After `verify` has passed a package,
//! nothing goes to the network for it again.
//!
//! The plan comes after the package: a check answer carries no file list, the package does.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use chrono::Utc;

use crate::archive::Archive;
use crate::config::{Config, Downgrade, Patterns};
use crate::disk;
use crate::entry::{self, Launch, Verdict};
use crate::fetch::{self, Client};
use crate::layout::backup::{self, Kept};
use crate::layout::journal::Journal;
use crate::layout::locks::{ChangeLock, RunLock, UpdateLock};
use crate::layout::{self, Committed, Transaction, UndoHeed};
use crate::plan::{Heed, Plan};
use crate::progress::{Event, Observer, Phase};
use crate::release::Release;
use crate::source;
use crate::stage;
use crate::state::{Bad, ClientFolder, State, Trial, blames_the_package};
use crate::steps::{Step, reach};
use crate::trust;
use crate::version::Version;
use crate::{Code, Error, Result};

/// How long to wait for another updater before the app is started as it is.
const UPDATE_PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait for a commit or an undo by another launcher: they take seconds, and to start
/// the app meanwhile would be to start a mixture.
const COMMIT_PATIENCE: Duration = Duration::from_mins(1);

/// How long a check may take when there is nothing yet that could be started instead.
const FIRST_CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts without a verdict after which a version has failed: the machine, or the launcher, went
/// down with it every time.
const MAX_TRIES: u32 = 3;

/// An updater of one client folder.
pub struct Updater<'a> {
    config: &'a Config,
    folder: ClientFolder,
    observer: &'a dyn Observer,
    preserve: Patterns,
    mutable: Patterns,
    backup_excludes: Patterns,
}

/// How an update ended, when it did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What is installed is what the source offers.
    UpToDate {
        /// The installed version.
        version: Version,
    },
    /// A first install.
    Installed {
        /// The installed version.
        version: Version,
    },
    /// Another version than before is installed.
    Updated {
        /// The version before.
        from: Version,
        /// The installed version.
        to: Version,
    },
    /// The new version is fetched and waits until the app is closed.
    Pending {
        /// The version that waits.
        version: Version,
    },
}

impl Outcome {
    /// The word for it in `state.json` and `--json`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::UpToDate { .. } => "up-to-date",
            Self::Installed { .. } => "installed",
            Self::Updated { .. } => "updated",
            Self::Pending { .. } => "pending",
        }
    }

    /// The version it is about.
    pub fn version(&self) -> &Version {
        match self {
            Self::UpToDate { version }
            | Self::Installed { version }
            | Self::Pending { version }
            | Self::Updated { to: version, .. } => version,
        }
    }
}

/// What the app is started with.
#[derive(Clone, Copy)]
pub struct Invocation<'a> {
    /// Arguments for the app.
    pub args: &'a [OsString],
    /// The launcher's environment.
    pub environment: &'a [(OsString, OsString)],
    /// The launcher's own path, told to the app.
    pub launcher: Option<&'a Path>,
    /// Where the launcher was started, told to the app.
    pub cwd: Option<&'a Path>,
}

/// What a source offers, seen from what is installed.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What is installed.
    pub installed: Option<Version>,
    /// What is offered.
    pub release: Release,
}

impl Offer {
    /// Whether there is anything to install.
    pub fn is_news(&self) -> bool {
        self.installed.as_ref() != Some(&self.release.version)
    }
}

impl<'a> Updater<'a> {
    /// An updater of the client folder `root`.
    pub fn new(config: &'a Config, root: &Path, observer: &'a dyn Observer) -> Result<Self> {
        Ok(Self {
            config,
            folder: ClientFolder::new(root, &config.version_file),
            observer,
            preserve: Patterns::parse(&config.update.preserve)?,
            mutable: Patterns::parse(&config.update.mutable)?,
            backup_excludes: Patterns::parse(&config.update.backup_excludes)?,
        })
    }

    /// The client folder.
    pub fn folder(&self) -> &ClientFolder {
        &self.folder
    }

    /// The version that is installed, if one is.
    pub fn installed(&self) -> Option<Version> {
        self.folder.local_version().map(|local| local.version)
    }

    /// Brings the app up to date, or leaves it as it is. The outcome is kept in `state.json`.
    ///
    /// `force` also installs what is left alone for a while or failed its trial here.
    pub fn update(&self, force: bool) -> Result<Outcome> {
        let result = self.try_update(force);
        self.remember(&result);
        result
    }

    fn try_update(&self, force: bool) -> Result<Outcome> {
        self.recover()?;
        self.tidy();
        let offer = self.offer()?;
        if !offer.is_news() {
            return Ok(Outcome::UpToDate {
                version: offer.release.version,
            });
        }
        let state = self.folder.load_state();
        self.admit(&offer, &state, force)?;
        self.observer.event(&Event::Found {
            installed: offer.installed.as_ref(),
            offered: &offer.release.version,
            notes: &offer.release.notes,
        });
        let _lock = UpdateLock::take(&self.folder, UPDATE_PATIENCE)?;
        if self.installed() != offer.installed {
            // Another updater was quicker; what it installed is on trial or good already.
            let version = self.installed().unwrap_or(offer.release.version);
            return Ok(Outcome::UpToDate { version });
        }
        let release = offer.release;
        let digest = release.package.sha256;
        let result = self.install(release);
        if let Err(error) = &result
            && blames_the_package(error.code())
        {
            log::warn!("the package is left alone for a while");
            self.folder
                .change_state(|state| state.back_off(digest, Utc::now()))?;
            disk::remove_tree(&self.folder.downloads())?;
        }
        result
    }

    /// If an update was interrupted: puts back what was there before it.
    pub fn recover(&self) -> Result<()> {
        if !Journal::lies_in(&self.folder) {
            return Ok(());
        }
        let _lock = UpdateLock::take(&self.folder, COMMIT_PATIENCE)?;
        // The journal may have been of an updater at work, which has ended by now.
        if !Journal::lies_in(&self.folder) {
            return Ok(());
        }
        self.observer.event(&Event::Phase(Phase::Recover));
        let change = ChangeLock::take(&self.folder)?;
        if let Some(undone) = layout::recover(&self.folder, &self.mutable, &change)? {
            self.observer.event(&Event::Recovered {
                version: undone.version.as_ref(),
            });
        }
        Ok(())
    }

    /// Asks the source, and falls back on a release that is fetched already and waits.
    pub fn offer(&self) -> Result<Offer> {
        self.observer.event(&Event::Phase(Phase::Check));
        let installed = self.installed();
        let timeout = match installed {
            Some(_) => self.config.network.check_timeout,
            None => self.config.network.check_timeout.max(FIRST_CHECK_TIMEOUT),
        };
        let answer = Client::new(&self.config.network, &self.config.source).and_then(|client| {
            source::open(&self.config.source).latest(&client, installed.as_ref(), timeout)
        });
        let release = match (answer, self.folder.load_state().pending) {
            (Ok(release), _) => release,
            (Err(error), Some(pending)) => {
                self.observer.event(&Event::Warning(&error));
                pending
            }
            (Err(error), None) => return Err(error),
        };
        Ok(Offer { installed, release })
    }

    /// Whether an offer may be taken.
    fn admit(&self, offer: &Offer, state: &State, force: bool) -> Result<()> {
        let release = &offer.release;
        if let Some(installed) = &offer.installed
            && release.version < *installed
            && self.config.update.downgrade == Downgrade::Refuse
        {
            return Err(Error::DowngradeRefused {
                installed: installed.to_string(),
                offered: release.version.to_string(),
            });
        }
        if force {
            return Ok(());
        }
        if let Some(Bad { why, .. }) = state.bad_mark(release.package.sha256) {
            let version = release.version.to_string();
            return Err(Error::BadVersion {
                version,
                why: why.clone(),
            });
        }
        if let Some(until) = state.backing_off_until(release.package.sha256, Utc::now()) {
            let version = release.version.to_string();
            return Err(Error::BackingOff {
                version,
                until: until.to_rfc3339(),
            });
        }
        Ok(())
    }

    /// From the fetch to the commit.
    fn install(&self, release: Release) -> Result<Outcome> {
        let folder = &self.folder;
        self.clear_leftovers()?;
        self.observer.event(&Event::Phase(Phase::Fetch));
        disk::create_folders(&folder.downloads())?;
        fetch::clear_others(&folder.downloads(), &release.package)?;
        disk::need_space(folder.root(), release.package.size.unwrap_or(0))?;
        let client = Client::new(&self.config.network, &self.config.source)?;
        let fetched = fetch::download(
            &client,
            &release.package,
            &folder.downloads(),
            self.observer,
        )?;
        self.observer.event(&Event::Phase(Phase::Verify));
        let verified = trust::verify(fetched, &release.package)?;
        let archive = Archive::open(verified.into_file(), &release.package.url)?;

        let change = match ChangeLock::take(folder) {
            Err(error) if error.code() == Code::AppRunning => {
                log::info!("{error}; the update waits");
                let version = release.version.clone();
                folder.change_state(|state| state.pending = Some(release))?;
                return Ok(Outcome::Pending { version });
            }
            lock => lock?,
        };
        let committed = self.replace(release, &archive, &change);
        if committed.is_err() {
            disk::remove_tree(&folder.staging())?;
            disk::remove_tree(&folder.own().join("backup"))?;
        }
        let committed = committed?;
        // Nothing can be lost any more: what cannot be cleared now is cleared another time.
        let clear = || {
            reach(Step::CommitDone)?;
            self.clear_leftovers()?;
            disk::remove_tree(&folder.downloads())?;
            reach(Step::CommitCleared)
        };
        if let Err(error) = clear() {
            log::warn!("left for later: {}", error.chain());
        }
        let Committed { before, version } = committed;
        Ok(match before {
            Some(from) => Outcome::Updated { from, to: version },
            None => Outcome::Installed { version },
        })
    }

    /// From the plan to the commit, while no app runs.
    fn replace(
        &self,
        release: Release,
        archive: &Archive,
        change: &ChangeLock,
    ) -> Result<Committed> {
        let folder = &self.folder;
        self.observer.event(&Event::Phase(Phase::Plan));
        let heed = Heed {
            preserve: &self.preserve,
            backup_excludes: &self.backup_excludes,
        };
        let plan = Plan::make(folder, release, archive, heed)?;
        let copies = backup::bytes_to_copy(&plan, &self.mutable);
        disk::need_space(folder.root(), plan.bytes().saturating_add(copies))?;
        self.observer.event(&Event::Phase(Phase::Stage));
        let staged = stage::stage(folder, plan, archive, self.observer)?;
        self.observer.event(&Event::Phase(Phase::BackUp));
        let backed_up = backup::back_up(folder, staged, &self.mutable, change)?;
        self.observer.event(&Event::Phase(Phase::Commit));
        Transaction::prepare(folder, &self.mutable, backed_up, change)?.commit()
    }

    /// Clears away what an interrupted update has left, unless another is under way.
    fn tidy(&self) {
        let own = self.folder.own();
        let left = self.folder.staging().exists() || own.join("backup").exists();
        if left
            && let Ok(_lock) = UpdateLock::take(&self.folder, Duration::ZERO)
            && let Err(error) = self.clear_leftovers()
        {
            log::warn!("left for later: {}", error.chain());
        }
    }

    /// Removes what an interrupted update may have left, but for the download.
    fn clear_leftovers(&self) -> Result<()> {
        disk::remove_tree(&self.folder.staging())?;
        disk::remove_tree(&self.folder.own().join("backup"))?;
        disk::remove_file(&self.folder.own().join("restoring"))
    }

    /// Keeps the outcome in `state.json`, if it is news. That it cannot be kept is no reason to
    /// fail.
    fn remember(&self, result: &Result<Outcome>) {
        let installed = self.installed();
        let kept = self.folder.change_state(|state| match result {
            Ok(outcome) => state.note(outcome.as_str(), Some(outcome.version()), None),
            Err(error) => state.note(error.code().as_str(), installed.as_ref(), Some(error)),
        });
        if let Err(error) = kept {
            log::warn!("the outcome could not be kept: {}", error.chain());
        }
    }

    /// Puts a backup back, by its name or version. Fails while the app runs.
    pub fn restore(&self, wanted: &str) -> Result<Kept> {
        self.recover()?;
        let _lock = UpdateLock::take(&self.folder, UPDATE_PATIENCE)?;
        let kept = backup::find(&self.folder, wanted)?;
        let change = ChangeLock::take(&self.folder)?;
        self.observer.event(&Event::Phase(Phase::Undo));
        layout::restore(&self.folder, &kept.name, self.undo_heed(), &change)?;
        Ok(kept)
    }

    fn undo_heed(&self) -> UndoHeed<'_> {
        UndoHeed {
            preserve: &self.preserve,
            mutable: &self.mutable,
        }
    }

    /// Starts the app and, if it is on trial, judges it; a version that fails is undone and the
    /// one before is started.
    ///
    /// Returns how the app ended. On Unix, when nothing is on trial and the launcher is to wait,
    /// the app takes the process over and this does not return.
    pub fn launch(&self, invocation: Invocation<'_>) -> Result<entry::End> {
        // At most one version is undone in a launch, and what it leads to is not on trial; more
        // rounds than that would be a fault, and must not become a loop.
        const ROUNDS: u32 = 4;
        for _ in 0..ROUNDS {
            self.recover()?;
            let lock = match RunLock::take(&self.folder, COMMIT_PATIENCE) {
                Err(error) if error.code() == Code::UpdateRunning => return Err(error),
                // Where no lock can be had no update can be either: it takes the same one.
                Err(error) => {
                    log::warn!("the app starts without a lock: {}", error.chain());
                    None
                }
                Ok(lock) => Some(lock),
            };
            let run = lock.as_ref();
            if Journal::lies_in(&self.folder) {
                continue;
            }
            let state = self.folder.load_state();
            let version = self.installed();
            let trial = state
                .trial
                .clone()
                .filter(|trial| Some(&trial.version) == version.as_ref());
            let Some(trial) = trial else {
                return self.start(&state, version.as_ref(), run, invocation);
            };
            let error = match self.try_out(&state, trial.clone(), run, invocation)? {
                Tried::Ended(ended) => return Ok(ended),
                Tried::Failed(error) => error,
            };
            drop(lock);
            self.go_back(&trial, error)?;
        }
        Err(Error::Internal {
            what: "the app was not started after several rounds".into(),
        })
    }

    fn prepare(
        &self,
        state: &State,
        version: Option<&Version>,
        run: Option<&RunLock>,
        invocation: Invocation<'_>,
    ) -> Result<entry::Prepared> {
        let not_installed = || Error::NotInstalled {
            folder: self.folder.root().to_path_buf(),
            source: None,
        };
        let entry = state
            .entry_point
            .as_deref()
            .or(self.config.entry_point.as_deref());
        let Some(entry) = entry else {
            return Err(match version {
                None => not_installed(),
                Some(_) => Error::EntryInvalid {
                    entry: String::new(),
                    problem: "neither the release nor the configuration names one",
                },
            });
        };
        let prepared = entry::resolve(&Launch {
            folder: self.folder.root(),
            entry,
            args: invocation.args,
            environment: invocation.environment,
            run: &self.config.run,
            version,
            launcher: invocation.launcher,
            cwd: invocation.cwd,
            keep_open: run.map(RunLock::file),
        });
        match prepared {
            Err(Error::EntryMissing { .. }) if version.is_none() => Err(not_installed()),
            Ok(prepared) => {
                self.observer.event(&Event::Starting {
                    entry: prepared.path(),
                    version,
                });
                Ok(prepared)
            }
            Err(error) => Err(error),
        }
    }

    /// Starts an app that is not on trial.
    fn start(
        &self,
        state: &State,
        version: Option<&Version>,
        run: Option<&RunLock>,
        invocation: Invocation<'_>,
    ) -> Result<entry::End> {
        let prepared = self.prepare(state, version, run, invocation)?;
        if cfg!(unix) && self.config.run.wait {
            return Err(prepared.exec());
        }
        let running = prepared.spawn()?;
        if self.config.run.wait {
            running.wait()
        } else {
            Ok(entry::End::Code(0))
        }
    }

    /// Starts a version on trial and waits for the verdict, and, if so configured, for its end.
    fn try_out(
        &self,
        state: &State,
        trial: Trial,
        run: Option<&RunLock>,
        invocation: Invocation<'_>,
    ) -> Result<Tried> {
        if let Some(bad) = state.bad_mark(trial.digest) {
            // Marked, and the launcher was stopped before it could go back.
            let (version, how) = (trial.version.to_string(), bad.why.clone());
            return Ok(Tried::Failed(Error::TrialFailed { version, how }));
        }
        let failed = |how: String| {
            Tried::Failed(Error::TrialFailed {
                version: trial.version.to_string(),
                how,
            })
        };
        if trial.tries >= MAX_TRIES {
            return Ok(failed(format!(
                "{} starts ended without a verdict",
                trial.tries
            )));
        }
        let prepared = match self.prepare(state, Some(&trial.version), run, invocation) {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Tried::Failed(error)),
        };
        let counted = Trial {
            tries: trial.tries + 1,
            ..trial.clone()
        };
        self.keep_or_warn(|state| state.trial = Some(counted));
        let mut running = match prepared.spawn() {
            Ok(running) => running,
            Err(error) => return Ok(Tried::Failed(error)),
        };
        match running.judge(self.config.run.trial)? {
            Verdict::Failed { how } => return Ok(failed(how)),
            Verdict::Good { .. } => self.confirm(&trial),
            Verdict::Unproven { .. } => {
                log::info!("version {} ended early and stays on trial", trial.version);
                let unproven = Trial { tries: 0, ..trial };
                self.keep_or_warn(|state| state.trial = Some(unproven));
            }
        }
        let ended = if self.config.run.wait {
            running.wait()?
        } else {
            entry::End::Code(0)
        };
        Ok(Tried::Ended(ended))
    }

    /// The new version has shown that it runs: it is no longer on trial, and old backups go.
    fn confirm(&self, trial: &Trial) {
        log::info!("version {} has passed its trial", trial.version);
        self.keep_or_warn(|state| state.trial = None);
        if let Err(error) = backup::prune(
            &self.folder,
            self.config.update.keep,
            trial.backup.as_deref(),
        ) {
            log::warn!("old backups stay: {}", error.chain());
        }
    }

    /// Changes what is remembered of a trial. A disk that is full or may not be written keeps
    /// nothing, and that is no reason not to start the app, or to leave it alone once it runs.
    fn keep_or_warn(&self, change: impl FnOnce(&mut State)) {
        if let Err(error) = self.folder.change_state(change) {
            log::warn!("the trial could not be recorded: {}", error.chain());
        }
    }

    /// Undoes a version that failed its trial. With nothing to go back to, that is the error.
    fn go_back(&self, trial: &Trial, error: Error) -> Result<()> {
        log::error!(
            "version {} failed its trial: {}",
            trial.version,
            error.chain()
        );
        self.observer.event(&Event::Phase(Phase::Undo));
        let _lock = UpdateLock::take(&self.folder, COMMIT_PATIENCE)?;
        let change = ChangeLock::take(&self.folder)?;
        let heed = self.undo_heed();
        let back = layout::roll_back(&self.folder, trial, &error.chain(), heed, &change)?;
        let Some(undone) = back else {
            return Err(error);
        };
        self.observer.event(&Event::RolledBack {
            from: &trial.version,
            to: undone.version.as_ref(),
            error: &error,
        });
        let version = undone.version.as_ref();
        self.folder
            .change_state(|state| state.note("rolled-back", version, Some(&error)))
    }
}

/// How the start of a version on trial went.
enum Tried {
    /// It ran; this is how it ended.
    Ended(entry::End),
    /// It failed its trial.
    Failed(Error),
}
