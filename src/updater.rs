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
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;

use crate::archive::{Archive, Opening};
use crate::companions::{Companions, Way};
use crate::config::{Config, Confirm, Downgrade, LayoutKind, Rules};
use crate::disk::{self, in_use};
use crate::entry::{self, Launch, Prepared, Proof, Running, Verdict};
use crate::fetch::{self, Client, Fetched};
use crate::layout::backup;
use crate::layout::journal::{Journal, Mark};
use crate::layout::locks::{ChangeLock, FetchLock, RunLock, UpdateLock};
use crate::layout::{self, Committed, Keep, Kept, Ready, Site, Transaction, links, snapshot};
use crate::plan::Plan;
use crate::progress::{Event, Observer, Phase};
use crate::release::{Package, Release};
use crate::repair::{self, Findings, Repaired};
use crate::selfupdate::SelfUpdate;
use crate::source::{self, Announced, Answers, Ask};
use crate::stage::{self, Staged};
use crate::state::{
    Asked, Bad, ClientFolder, Link, Over, State, Trial, WayBack, blames_the_package, comes_again,
};
use crate::steps::{Step, reach};
use crate::trust::{self, Anchor, Level, Sha256, Trust, Trusted};
use crate::uninstall::Uninstall;
use crate::version::Version;
use crate::when;
use crate::{Code, Error, Result, record};

mod ahead;
mod files;
#[cfg(all(test, windows))]
mod in_use_tests;
mod resident;

pub use resident::{Delivery, Steward};

/// How long to wait for another updater, or for an app that may be running, before the app is
/// started as it is.
const UPDATE_PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait for other launchers that are just about to start the app, or for what a crashed
/// app has left running for a moment, before files are put back.
const CHANGE_PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for a commit or an undo by another launcher: they take seconds, and to start
/// the app meanwhile would be to start a mixture.
const COMMIT_PATIENCE: Duration = Duration::from_mins(1);

/// How long to wait for the download of another process, when what it brings is needed before the app
/// may start: a large package on a slow line. After that the app starts, with a warning.
const CRITICAL_PATIENCE: Duration = Duration::from_mins(10);

/// How long a check may take when there is nothing yet that could be started instead, or nobody
/// waits for it.
const FIRST_CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// An updater of one client folder.
pub struct Updater<'a> {
    config: &'a Config,
    folder: ClientFolder,
    /// The read-only installation that the folder is a copy of.
    base: Option<ClientFolder>,
    observer: &'a dyn Observer,
    rules: Rules,
    launcher: Option<PathBuf>,
    /// Whether this is the work of a process of its own, for which nobody waits.
    ahead: bool,
    /// Who keeps the app running, where no launcher does.
    steward: Option<&'a dyn Steward>,
    /// This process's, for the commands of the configuration.
    environment: Vec<(OsString, OsString)>,
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
    pub release: Trusted,
}

impl Offer {
    /// Whether there is anything to install.
    pub fn is_news(&self) -> bool {
        self.installed.as_ref() != Some(&self.release.version)
    }

    /// Whether what is installed is not safe to go on with, as the release says.
    pub fn is_critical(&self) -> bool {
        self.release.is_critical_for(self.installed.as_ref())
    }
}

/// Where a release comes from that is to be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whence {
    /// It was just offered, and what is missing of it is fetched.
    Source,
    /// It waits, and nobody is asked for anything. Nor is anybody waited for: the app is to start.
    Disk,
}

impl<'a> Updater<'a> {
    /// An updater of the client folder `root`.
    pub fn new(config: &'a Config, root: &Path, observer: &'a dyn Observer) -> Result<Self> {
        Ok(Self {
            config,
            folder: ClientFolder::new(root, &config.version_file)
                .with_layout(config.layout)
                .assuming(config.installed_version.as_ref()),
            base: None,
            observer,
            rules: Rules::of(&config.update)?,
            launcher: None,
            ahead: false,
            steward: None,
            environment: std::env::vars_os().collect(),
        })
    }

    /// Makes the client folder the copy of an installation that cannot be written: what counts as
    /// installed is then what [`Updater::current`] says, and the first update begins by copying
    /// the installation.
    #[must_use]
    pub fn over(mut self, base: Option<&Path>) -> Self {
        self.base = base.map(|base| ClientFolder::new(base, &self.config.version_file));
        self
    }

    /// The folder that is to be started: the client folder, or the read-only installation that it
    /// is a copy of, as long as that is the better one (see [`layout::seed`]).
    pub fn current(&self) -> &ClientFolder {
        match &self.base {
            Some(base)
                if !layout::seed::prefers_copy(
                    &self.folder,
                    base,
                    self.entry_point().as_deref(),
                ) =>
            {
                base
            }
            _ => &self.folder,
        }
    }

    /// The version in the folder that is to be started.
    fn current_version(&self) -> Option<Version> {
        self.current().local_version().map(|local| local.version)
    }

    /// Brings the launcher at `executable` up to date too, after the app. Without one, launchers
    /// that a source announces are passed over.
    #[must_use]
    pub fn with_launcher(mut self, executable: Option<&Path>) -> Self {
        self.launcher = executable.map(Path::to_path_buf);
        self
    }

    /// The client folder.
    pub fn folder(&self) -> &ClientFolder {
        &self.folder
    }

    /// The version that is installed in the client folder, if one is.
    pub fn installed(&self) -> Option<Version> {
        self.folder.local_version().map(|local| local.version)
    }

    /// What is to be started: what the installed release names, else what is configured.
    pub fn entry_point(&self) -> Option<String> {
        let version = self.installed();
        let named = match self.folder.load_state().entry_of(version.as_ref()) {
            Some(entry) => entry.path.clone(),
            // The list knows it too, and is only read where the state does not.
            None => self
                .folder
                .load_installed()
                .filter(|installed| installed.version == version)
                .and_then(|installed| installed.entry_point),
        };
        named.or_else(|| self.config.entry_point.clone())
    }

    /// Brings the app up to date, or leaves it as it is. The outcome is kept in `state.json`.
    ///
    /// `force` also installs what is left alone for a while or failed its trial here.
    ///
    /// The launcher follows, if it [may](Updater::with_launcher): whatever comes of that changes
    /// nothing in how this ends.
    pub fn update(&self, force: bool) -> Result<Outcome> {
        let mut offer = self.look();
        let launcher = self.take_launcher(&mut offer);
        let result = offer.and_then(|offer| self.follow(offer, force));
        self.remember(&result);
        if let Some(executable) = &self.launcher {
            SelfUpdate::new(executable, &self.folder, self.config, self.observer)
                .follow(launcher.as_ref(), force);
        }
        result
    }

    /// The launcher that comes with an offer. Who may not lead the app back may not lead its launcher back
    /// either.
    fn take_launcher(&self, offer: &mut Result<Offer>) -> Option<Package> {
        let offer = offer.as_mut().ok()?;
        self.leads_on(offer.installed.as_ref(), &offer.release)
            .ok()?;
        offer.release.take_launcher()
    }

    /// Puts in order what was left behind, and asks.
    fn look(&self) -> Result<Offer> {
        self.recover()?;
        self.tidy();
        self.ask_to_follow()
    }

    /// Asks for what is to be followed.
    fn ask_to_follow(&self) -> Result<Offer> {
        let (mut offer, kept) = self.ask(true)?;
        // A number that is not remembered would not keep the next start from being led back.
        match kept {
            Err(error) if offer.is_news() => return Err(error),
            Err(_) => drop(offer.release.take_launcher()),
            Ok(()) => {}
        }
        Ok(offer)
    }

    /// Installs what is offered, if it is news and may be taken; else what waits.
    fn follow(&self, offer: Offer, force: bool) -> Result<Outcome> {
        match self.take(offer, force, Whence::Source) {
            // What waits was taken before, and is no worse for what is refused now.
            Err(refused) if refused.code().is_refusal() => match self.take_waiting()? {
                Some(outcome) if !matches!(outcome, Outcome::UpToDate { .. }) => Ok(outcome),
                _ => Err(refused),
            },
            result => result,
        }
    }

    /// Forgets what waits, where something else is to be followed: it was withdrawn meanwhile. What was handed
    /// over waits for somebody's word, whatever the source says.
    fn drop_withdrawn(&self, offer: &Offer) -> Result<()> {
        let state = self.folder.load_state();
        let announced = state.pending.as_ref().is_some_and(|it| !it.handed);
        if announced && !when::waits(&state, &offer.release) {
            self.folder.change_state(|state| state.pending = None)?;
        }
        Ok(())
    }

    /// Removes what was fetched, unless another process is fetching: it would go on without a name.
    fn clear_downloads(&self) -> Result<()> {
        let downloads = self.folder.downloads();
        if self.ahead || !downloads.exists() {
            return disk::remove_tree(&downloads);
        }
        match FetchLock::take(&self.folder, Duration::ZERO) {
            Err(error) if error.code() == Code::UpdateRunning => Ok(()),
            lock => lock.and_then(|_lock| disk::remove_tree(&downloads)),
        }
    }

    /// Installs what is offered or waits, if it is news and may be taken.
    fn take(&self, offer: Offer, force: bool, whence: Whence) -> Result<Outcome> {
        // What is handed over may be the same version in another make.
        let again = force && whence == Whence::Disk;
        if !offer.is_news() && !again {
            self.drop_withdrawn(&offer)?;
            return Ok(Outcome::UpToDate {
                version: offer.release.version.clone(),
            });
        }
        let _lock = self.lock(match whence {
            Whence::Source => UPDATE_PATIENCE,
            Whence::Disk => Duration::ZERO,
        })?;
        let current = self.current_version();
        if current != offer.installed {
            // Another updater was quicker; what it installed is on trial or good already.
            let version = current.unwrap_or_else(|| offer.release.version.clone());
            return Ok(Outcome::UpToDate { version });
        }
        let waits = when::waits(&self.folder.load_state(), &offer.release);
        if whence == Whence::Disk && !waits {
            // It was withdrawn a moment ago.
            let version = offer.installed.unwrap_or(offer.release.version.clone());
            return Ok(Outcome::UpToDate { version });
        }
        self.admit(&offer, force)?;
        if whence == Whence::Source {
            self.spare_metered(&offer, force)?;
            self.drop_withdrawn(&offer)?;
        }
        self.observer.event(&Event::Found {
            installed: offer.installed.as_ref(),
            offered: &offer.release.version,
            notes: &offer.release.notes,
            critical: offer.is_critical(),
        });
        let release = offer.release;
        let result = self.install(&release, whence);
        self.blame(&result, &release);
        result
    }

    /// Leaves a package alone for a while, if an error says that this is wise.
    fn blame<T>(&self, result: &Result<T>, release: &Trusted) {
        let digest = release.package.id();
        let version = Some(&release.version);
        if let Err(error) = result
            && comes_again(error.code())
        {
            let noted = self
                .folder
                .change_state(|state| state.back_off(version, digest, Utc::now()));
            if let Err(error) = noted {
                record::warn!("{}", error.chain());
            }
        }
        if let Err(error) = result
            && blames_the_package(error.code())
        {
            // What came in a signed package's place is the doing of whoever sent it, and no reason to
            // leave the package alone.
            let others = matches!(
                error.code(),
                Code::HashMismatch | Code::SizeMismatch | Code::TooLarge
            );
            let noted = if release.level() >= Level::Release && others {
                Ok(())
            } else {
                record::warn!("the package is left alone for a while");
                self.folder
                    .change_state(|state| state.back_off(version, digest, Utc::now()))
            };
            if let Err(error) = noted.and(self.clear_downloads()) {
                record::warn!("{}", error.chain());
            }
        }
    }

    /// If an update was interrupted: puts back what was there before it.
    pub fn recover(&self) -> Result<()> {
        if Journal::lies_in(&self.folder) {
            // The journal may be of an updater at work: then it is gone when that has ended.
            drop(self.lock(COMMIT_PATIENCE)?);
        }
        Ok(())
    }

    /// Becomes the one updater of the folder. Whoever was that before may have been killed, so
    /// that this is also where an interrupted update is undone.
    fn lock(&self, patience: Duration) -> Result<UpdateLock> {
        let lock = UpdateLock::take(&self.folder, patience)?;
        if Journal::lies_in(&self.folder) {
            self.observer.event(&Event::Phase(Phase::Recover));
            let change = ChangeLock::take(&self.folder, CHANGE_PATIENCE)?;
            if let Some(undone) = layout::recover(&self.site(&change))? {
                let version = undone.version.as_ref();
                self.observer.event(&Event::Recovered { version });
            }
        }
        Ok(lock)
    }

    /// Whom to believe, with what was learnt here until now.
    pub fn trust(&self) -> Result<Trust> {
        let anchor = Anchor::of(self.config);
        let mut trust = Trust::load(&anchor, &self.folder, Utc::now())?;
        if let Some(base) = &self.base {
            // What an administrator's launcher has seen binds those of users.
            trust.learn_from(&Trust::load(&anchor, base, Utc::now())?);
        }
        Ok(trust)
    }

    /// Asks the source, and falls back on a release that is fetched already and waits.
    pub fn offer(&self) -> Result<Offer> {
        // Whoever only looks makes no folder.
        let there = self.folder.own().exists();
        self.ask(there).map(|(offer, _)| offer)
    }

    /// The same, and whether what was learnt is kept. Who may not write may ask all the same.
    ///
    /// `note`: what came of it is remembered.
    fn ask(&self, note: bool) -> Result<(Offer, Result<()>)> {
        self.observer.event(&Event::Phase(Phase::Check));
        let installed = self.current_version();
        let timeout = match installed {
            Some(_) if !self.ahead => self.config.network.check_timeout,
            _ => self.config.network.check_timeout.max(FIRST_CHECK_TIMEOUT),
        };
        let mut trust = self.trust()?;
        let answers = Answers::load(&self.folder.answers());
        let answer = Client::new(&self.config.network, &self.config.source).and_then(|client| {
            let ask = Ask::within(&client, installed.as_ref(), timeout).with_answers(&answers);
            source::open(self.config).latest(&ask, &mut trust)
        });
        if let Err(error) = answers.save(answer.is_ok()) {
            record::debug!("the answer is not kept: {}", error.chain());
        }
        // A first installation asks at every start until it is there.
        if note && installed.is_some() && !self.config.once {
            self.note_asked(installed.as_ref(), &answer);
        }
        // Also where it has failed: keys that were learnt must not be forgotten because what came
        // with them was wrong.
        let kept = trust.keep(&Anchor::of(self.config), &self.folder);
        if let Err(error) = &kept {
            record::warn!("what was learnt cannot be kept: {}", error.chain());
        }
        // What was handed over is installed when somebody says so, and never for want of an answer.
        let pending = self.folder.load_state().pending;
        let pending = pending.filter(|release| !release.handed);
        let release = match (answer, pending) {
            (Ok(release), _) => release,
            (Err(error), Some(pending)) => {
                self.observer.event(&Event::Warning(&error));
                trust.recall(pending)?
            }
            (Err(error), None) => return Err(error),
        };
        Ok((Offer { installed, release }, kept))
    }

    /// The releases that the source tells of, the newest first, `count` at most.
    pub fn releases(&self, count: usize) -> Result<Vec<Announced>> {
        let mut trust = self.trust()?;
        let client = Client::new(&self.config.network, &self.config.source)?;
        let ask = Ask::within(&client, None, FIRST_CHECK_TIMEOUT);
        source::open(self.config).history(&ask, &mut trust, count)
    }

    /// Whether a release is none that leads back against the rules.
    fn leads_on(&self, installed: Option<&Version>, release: &Trusted) -> Result<()> {
        let signed = release.level() == Level::Release;
        self.leads_to(installed, &release.version, signed)
    }

    /// Whether a version may follow; `signed`: a signature is all that speaks for it.
    fn leads_to(&self, installed: Option<&Version>, to: &Version, signed: bool) -> Result<()> {
        match installed {
            // Who has only a signature may have an old one: an index alone leads back.
            Some(installed)
                if to < installed
                    && (signed || self.config.update.downgrade == Downgrade::Refuse) =>
            {
                Err(Error::DowngradeRefused {
                    installed: installed.to_string(),
                    offered: to.to_string(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Whether an offer may be taken.
    fn admit(&self, offer: &Offer, force: bool) -> Result<()> {
        self.leads_on(offer.installed.as_ref(), &offer.release)?;
        self.admit_release(offer.installed.as_ref(), &offer.release, force)
    }

    /// The same, whatever its way.
    fn admit_release(
        &self,
        installed: Option<&Version>,
        release: &Release,
        force: bool,
    ) -> Result<()> {
        let state = self.folder.load_state();
        when::admit(&self.config.update, &state, release, installed, force)?;
        if force {
            return Ok(());
        }
        if let Some(Bad { why, .. }) = state.bad_mark(release.package.id()) {
            let version = release.version.to_string();
            return Err(Error::BadVersion {
                version,
                why: why.clone(),
            });
        }
        if let Some(until) = state.backing_off_until(release.package.id(), Utc::now()) {
            let version = release.version.to_string();
            return Err(Error::BackingOff {
                version,
                until: until.to_rfc3339(),
            });
        }
        Ok(())
    }

    /// From the fetch to the commit.
    fn install(&self, trusted: &Trusted, whence: Whence) -> Result<Outcome> {
        let folder = &self.folder;
        self.clear_leftovers()?;
        if self.steward.is_none() && when::waits(&folder.load_state(), trusted) {
            match ChangeLock::take(folder, Duration::ZERO) {
                // Fetched already, and the app still runs.
                Err(error) if error.code() == Code::AppRunning => {
                    return Ok(Outcome::Pending {
                        version: trusted.version.clone(),
                    });
                }
                lock => drop(lock?),
            }
        }
        let archive = match whence {
            Whence::Source => Some(self.obtain(trusted)?),
            Whence::Disk => self.at_hand(trusted)?,
        };
        let Some(archive) = archive else {
            record::info!("{} waits no longer: its package is gone", trusted.version);
            folder.change_state(|state| state.pending = None)?;
            let version = self.current_version();
            return Ok(Outcome::UpToDate {
                version: version.unwrap_or_else(|| trusted.version.clone()),
            });
        };
        let mut release = trusted.release().clone();
        let archive = match self.steward {
            Some(steward) => steward.arrange(archive, &mut release)?,
            None => archive,
        };

        let change = match (ChangeLock::take(folder, Duration::ZERO), self.steward) {
            (Err(error), Some(steward)) if error.code() == Code::AppRunning => {
                // Services that `castoff run` has started.
                steward.stop()?;
                ChangeLock::take(folder, CHANGE_PATIENCE)?
            }
            (Err(error), None) if error.code() == Code::AppRunning => {
                record::info!("{error}; the update waits");
                let version = release.version.clone();
                folder.change_state(|state| state.pending = Some(release))?;
                return Ok(Outcome::Pending { version });
            }
            (lock, _) => lock?,
        };
        let committed = self
            .seed(&change)
            .and_then(|()| self.replace(release.clone(), archive, &change));
        if let Err(error) = &committed
            && error.code() == Code::FileInUse
            && folder.downloads().exists()
        {
            // The person is told which file, and the package waits for a later start.
            let noted = folder.change_state(|state| state.pending = Some(release));
            if let Err(error) = noted {
                record::warn!("it cannot be noted that it waits: {}", error.chain());
            }
        }
        if committed.is_err()
            && let Err(error) = self.clear_staged()
        {
            record::warn!("left for later: {}", error.chain());
        }
        let committed = committed?;
        // Nothing can be lost any more: what cannot be cleared now is cleared another time.
        let clear = || {
            reach(Step::CommitDone)?;
            self.clear_staged()?;
            self.clear_downloads()?;
            reach(Step::CommitCleared)
        };
        if let Err(error) = clear() {
            record::warn!("left for later: {}", error.chain());
        }
        // Whoever keeps the app running starts it, and gives the verdict.
        if self.steward.is_none() {
            self.confirm_unasked();
        }
        let Committed { before, version } = committed;
        Ok(match before {
            Some(from) => Outcome::Updated { from, to: version },
            None => Outcome::Installed { version },
        })
    }

    /// Fetches and verifies the package of a release, unless another is fetching one. A critical one is
    /// waited for: mostly it is what the other is fetching.
    fn obtain(&self, release: &Trusted) -> Result<Archive> {
        let lock = match FetchLock::take(&self.folder, UPDATE_PATIENCE) {
            Err(error)
                if error.code() == Code::UpdateRunning
                    && release.is_critical_for(self.current_version().as_ref()) =>
            {
                self.observer.event(&Event::Phase(Phase::Wait));
                FetchLock::take(&self.folder, CRITICAL_PATIENCE)
            }
            lock => lock,
        };
        let _lock = lock?;
        self.fetch(release)
    }

    /// The same for whoever holds the lock.
    fn fetch(&self, release: &Trusted) -> Result<Archive> {
        let folder = &self.folder;
        let package = &release.package;
        self.observer.event(&Event::Phase(Phase::Fetch));
        disk::create_folders(&folder.downloads())?;
        if package.by_file {
            return self.fetch_files(release);
        }
        fetch::clear_others(&folder.downloads(), package)?;
        disk::need_space(folder.root(), package.size.unwrap_or(0))?;
        let client = Client::new(&self.config.network, &self.config.source)?;
        let fetched = fetch::download(&client, package, &folder.downloads(), self.observer)?;
        self.observer.event(&Event::Phase(Phase::Verify));
        self.open(fetched, package)
    }

    fn open(&self, fetched: Fetched, package: &Package) -> Result<Archive> {
        let verified = trust::verify(fetched, package)?;
        let downloads = self.folder.downloads();
        let opening = Opening {
            wrapped: package.wrapped,
            ..Opening::new(&package.url, &downloads)
        };
        Archive::open(verified.into_file(), &opening)
    }

    /// Makes the copy what the read-only installation is, where that is what is in use, so that
    /// the update goes on from there.
    ///
    /// What it notes at the end is what a start decides by. The copy is either in use then, or of
    /// the installation's own version: the note changes nothing for the moment.
    fn seed(&self, change: &ChangeLock) -> Result<()> {
        let Some(base) = &self.base else {
            return Ok(());
        };
        let folder = &self.folder;
        let version = base.local_version().map(|local| local.version);
        if self.current().root() == base.root()
            && let Some(version) = &version
            && !layout::seed::is_whole_of(folder, version, self.entry_point().as_deref())
        {
            self.observer.event(&Event::Phase(Phase::Stage));
            let staged = layout::seed::stage(folder, base, version, &self.rules, self.observer)?;
            let mutable = &self.rules.mutable;
            let copies = backup::bytes_to_copy(&staged.plan, mutable);
            disk::need_space(folder.root(), copies)?;
            let backed_up = backup::back_up(folder, staged, mutable, &|| {}, change)?;
            let backed_up = Ready::InPlace(backed_up);
            let Committed { version, .. } =
                Transaction::prepare(self.site(change), backed_up)?.commit()?;
            record::info!("{version} was copied from {}", base.root().display());
            reach(Step::SeedCopied)?;
        }
        folder.change_state(|state| state.over = Some(Over::of(base)))?;
        reach(Step::SeedNoted)
    }

    /// From the plan to the commit, while no app runs.
    fn replace(
        &self,
        release: Release,
        archive: Archive,
        change: &ChangeLock,
    ) -> Result<Committed> {
        let folder = &self.folder;
        self.observer.event(&Event::Phase(Phase::Plan));
        let plan = Plan::make(folder, release, &archive, &self.rules)?;
        if folder.layout() == LayoutKind::Snapshot {
            snapshot::probe(folder)?;
        } else {
            // Before anything is unpacked: what is in the way now will be in the way then.
            let written = plan.writes.iter().map(|write| &write.path);
            layout::probe(folder.root(), written, &plan.removes)?;
            // And before the package goes: an update that is put off is not fetched again. What may
            // turn out to be the same is asked for when that is known, after the unpacking.
            let writes = plan.writes.iter().filter(|write| write.perhaps.is_none());
            let changing = writes.map(|write| &write.path).chain(&plan.removes);
            layout::need_free(folder, changing)?;
        }
        let copies = backup::bytes_to_copy(&plan, &self.rules.mutable);
        disk::need_space(folder.root(), plan.bytes().saturating_add(copies))?;
        let commands = plan.commands.clone();
        let companions = self.companions().with_package(&commands)?;
        self.observer.event(&Event::Phase(Phase::Stage));
        let staged = stage::stage(folder, plan, &archive, self.observer)?;
        drop(archive);
        let from = staged.plan.installed.version.clone();
        let to = staged.plan.release.version.clone();
        let way = Way {
            from: from.as_ref(),
            to: Some(&to),
            reason: None,
        };
        companions.after_stage(way, &staged.folder)?;
        let transaction = companions
            .before_backup(way)
            .and_then(|()| self.make_ready(staged, companions, change));
        match transaction {
            Ok(transaction) => transaction.commit(),
            Err(error) => {
                companions.called_off(from.as_ref(), &error.chain());
                Err(error)
            }
        }
    }

    /// From what is staged to a commit that can begin.
    fn make_ready<'b>(
        &'b self,
        staged: Staged,
        companions: Companions<'b>,
        change: &'b ChangeLock,
    ) -> Result<Transaction<'b>> {
        let folder = &self.folder;
        // All of the package that is needed is staged. Gone now, it is not written to the disk by
        // the backup's sync, which for a small update would be most of its work.
        // Services that do not stop call the update off, though, and then it waits.
        let drop_package = || {
            if self.steward.is_none()
                && let Err(error) = self.clear_downloads()
            {
                record::warn!("left for later: {}", error.chain());
            }
        };
        let rules = &self.rules;
        let ready = match folder.layout() {
            LayoutKind::InPlace => {
                layout::need_free(folder, staged.changing())?;
                if !staged.plan.installed.files.is_empty() {
                    self.observer.event(&Event::Phase(Phase::BackUp));
                }
                let mutable = &rules.mutable;
                Ready::InPlace(backup::back_up(
                    folder,
                    staged,
                    mutable,
                    &drop_package,
                    change,
                )?)
            }
            LayoutKind::Snapshot => {
                Ready::Snapshot(snapshot::build(folder, staged, rules, &drop_package)?)
            }
        };
        self.observer.event(&Event::Phase(Phase::Commit));
        let site = Site {
            companions,
            ..self.site(change)
        };
        if let Some(steward) = self.steward {
            // Before the databases are copied, and as late as can be.
            steward.stop()?;
        }
        Transaction::prepare(site, ready)
    }

    /// Clears away what an interrupted update has left, unless another is under way.
    fn tidy(&self) {
        let own = self.folder.own();
        let left = self.folder.staging().exists()
            || own.join("backup").exists()
            || self.folder.aside().exists()
            || self.folder.gone().exists();
        if left
            && let Ok(_lock) = UpdateLock::take(&self.folder, Duration::ZERO)
            // Whoever was killed since needs its backup.
            && !Journal::lies_in(&self.folder)
            && let Err(error) = self.clear_leftovers()
        {
            record::warn!("left for later: {}", error.chain());
        }
    }

    /// Removes what an interrupted update may have left, but for the download.
    fn clear_leftovers(&self) -> Result<()> {
        self.clear_staged()?;
        layout::sweep(&self.folder)?;
        let (LayoutKind::InPlace, Some(installed)) = (self.folder.layout(), self.installed())
        else {
            return Ok(());
        };
        // A backup of what is installed now is one whose update never came about.
        let needed = self.way_back_of_trial();
        for kept in layout::list(&self.folder) {
            if kept.version.as_ref() == Some(&installed)
                && needed
                    .as_ref()
                    .is_none_or(|needed| needed.name != kept.name)
                && let Err(error) = backup::discard(&self.folder, &kept.name)
            {
                record::warn!("left for later: {}", error.chain());
            }
        }
        Ok(())
    }

    /// Where a failed trial would lead back to.
    fn way_back_of_trial(&self) -> Option<WayBack> {
        self.folder.load_state().trial.and_then(|trial| trial.back)
    }

    fn clear_staged(&self) -> Result<()> {
        let aside = self.folder.aside();
        disk::remove_tree(&self.folder.staging())?;
        disk::remove_tree(&self.folder.own().join("backup"))?;
        in_use::remove(&self.folder.restoring(), &aside)?;
        in_use::sweep(&aside);
        Ok(())
    }

    /// Keeps the outcome in `state.json`, if it is news. That it cannot be kept is no reason to
    /// fail.
    fn remember(&self, result: &Result<Outcome>) {
        let installed = self.current_version();
        let kept = self.folder.change_state(|state| {
            if let Ok(Outcome::Installed { .. }) = result {
                // The interval begins with the first installation.
                state.asked.get_or_insert_with(Asked::now);
            }
            match result {
                Ok(outcome) => state.note(outcome.as_str(), Some(outcome.version()), None),
                Err(error) => state.note(error.code().as_str(), installed.as_ref(), Some(error)),
            }
        });
        if let Err(error) = kept {
            record::warn!("the outcome could not be kept: {}", error.chain());
        }
    }

    /// Goes back to an older version, by its name or version, or to `previous` or `factory`, and
    /// leaves the version that it replaces alone from then on. Fails while the app runs.
    ///
    /// The databases go back too while the installed version is on trial and this is its way back;
    /// else only `with_data`, and then the present ones are copied first.
    pub fn roll_back(&self, wanted: &str, with_data: bool) -> Result<Kept> {
        let _lock = self.lock(UPDATE_PATIENCE)?;
        let kept = layout::find(&self.folder, wanted)?;
        let change = ChangeLock::take(&self.folder, Duration::ZERO)?;
        self.observer.event(&Event::Phase(Phase::Undo));
        let left = self
            .folder
            .load_installed()
            .and_then(|left| Some((left.version?, left.digest?)));
        let back = WayBack {
            name: kept.name.clone(),
            previous: self.folder.linked(Link::Current),
            data: self.data_of(&kept, with_data),
        };
        // Else the next start would install it again.
        let mark = left.filter(|(version, _)| Some(version) != kept.version.as_ref());
        let mark = mark.map(|(version, digest)| Mark {
            package: Bad {
                version,
                digest,
                why: "an older version was put back in its place".into(),
            },
            failed: false,
        });
        layout::go_back(&self.site(&change), &back, mark)?;
        Ok(kept)
    }

    /// The copy of the databases that goes back with an older version, if one does.
    fn data_of(&self, kept: &Kept, with_data: bool) -> Option<String> {
        let unproven = self
            .way_back_of_trial()
            .filter(|back| back.name == kept.name);
        let data = unproven.and_then(|back| back.data);
        data.or_else(|| with_data.then(|| kept.name.clone()))
    }

    /// How long a start waits for an update under way, which may run commands.
    fn commit_patience(&self) -> Duration {
        if self.companions().run_commands() {
            COMMIT_PATIENCE + self.config.hooks.timeout
        } else {
            COMMIT_PATIENCE
        }
    }

    fn companions(&self) -> Companions<'_> {
        Companions::new(self.config, &self.folder, &self.environment, self.observer)
    }

    fn site<'b>(&'b self, lock: &'b ChangeLock) -> Site<'b> {
        Site {
            folder: &self.folder,
            rules: &self.rules,
            companions: self.companions(),
            lock,
        }
    }

    /// Removes an older version that is kept, unless it is needed.
    pub fn delete(&self, wanted: &str) -> Result<Kept> {
        let _lock = self.lock(UPDATE_PATIENCE)?;
        let kept = layout::find(&self.folder, wanted)?;
        layout::delete(&self.folder, &kept, self.way_back_of_trial().as_ref())?;
        self.companions().forget_data(&kept.name)?;
        Ok(kept)
    }

    /// Compares the installed files with their list, and changes nothing. A file whose size and time
    /// are as recorded is not read; [`Updater::repair`] reads all.
    pub fn files(&self) -> Result<Findings> {
        let list = repair::list(&self.folder)?;
        repair::look(&self.folder, &list, &self.rules, false)
    }

    /// Brings back installed files that are missing or damaged: from older versions, else from the
    /// package, as long as the source offers it. Fails while the app runs, and with
    /// `REPAIR_INCOMPLETE` when some cannot be had.
    pub fn repair(&self) -> Result<Repaired> {
        let folder = &self.folder;
        let _lock = self.lock(UPDATE_PATIENCE)?;
        let change = ChangeLock::take(folder, Duration::ZERO)?;
        self.clear_staged()?;
        let package = |installed| {
            let release = self.offer()?.release;
            (release.package.id() == installed)
                .then(|| self.obtain(&release))
                .transpose()
        };
        let repaired = repair::repair(folder, &self.rules, self.observer, &package, &change);
        let cleared = self.clear_staged().and_then(|()| match &repaired {
            // A download that broke off goes on there another time, and one that waits stays.
            Ok(_) if folder.load_state().pending.is_none() => self.clear_downloads(),
            _ => Ok(()),
        });
        if let Err(error) = cleared {
            record::warn!("left for later: {}", error.chain());
        }
        repaired
    }

    /// Makes an installed or kept version the factory version (snapshot layout).
    pub fn set_factory(&self, wanted: Option<&str>, replace: bool) -> Result<String> {
        self.need_snapshots("factory")?;
        let _lock = self.lock(UPDATE_PATIENCE)?;
        let folder = &self.folder;
        let current = folder.linked(Link::Current);
        let is_current = |wanted: &str, name: &String| {
            let version: Option<Version> = wanted.parse().ok();
            wanted == name || (version.is_some() && version == folder.version_in(name))
        };
        let name = match (wanted, current) {
            (None, Some(name)) => name,
            (Some(wanted), Some(name)) if is_current(wanted, &name) => name,
            (Some(wanted), _) => layout::find(folder, wanted)?.name,
            (None, None) => {
                return Err(Error::NotInstalled {
                    folder: folder.root().to_path_buf(),
                    source: None,
                });
            }
        };
        snapshot::set_factory(folder, &name, replace)?;
        Ok(name)
    }

    /// Makes the links to services and programs (snapshot layout).
    pub fn set_up_links(&self) -> Result<Vec<links::Finding>> {
        self.need_snapshots("links")?;
        let _lock = self.lock(UPDATE_PATIENCE)?;
        links::set_up(&self.folder, &self.config.bin_dir)
    }

    /// Looks at the links, and changes nothing (snapshot layout).
    pub fn check_links(&self) -> Result<Vec<links::Finding>> {
        self.need_snapshots("links")?;
        links::check(&self.folder, &self.config.bin_dir)
    }

    /// Tries whether the links follow a switch: to the version before (or another one) and back.
    /// Fails while the app runs.
    pub fn test_links(&self) -> Result<Vec<links::Finding>> {
        self.need_snapshots("links")?;
        let _lock = self.lock(UPDATE_PATIENCE)?;
        let folder = &self.folder;
        let _change = ChangeLock::take(folder, Duration::ZERO)?;
        let other = layout::find(folder, Link::Previous.as_str()).or_else(|error| {
            let kept = layout::list(folder);
            kept.into_iter().next().ok_or(error)
        })?;
        let bin = &self.config.bin_dir;
        let switched = snapshot::try_switch(folder, &other.name, || links::follow(folder, bin))?;
        let mut findings = links::follow(folder, bin)?;
        // What only the other version has needs no link now.
        for finding in findings.iter_mut().filter(|it| it.fault.is_none()) {
            let there = switched.iter().find(|there| there.path == finding.path);
            finding.fault = there.and_then(|there| there.fault.clone());
        }
        Ok(findings)
    }

    fn need_snapshots(&self, command: &'static str) -> Result<()> {
        match self.folder.layout() {
            LayoutKind::Snapshot => Ok(()),
            LayoutKind::InPlace => Err(Error::LayoutUnfit {
                command,
                layout: "in-place",
            }),
        }
    }

    /// Forgets what speaks against packages, so that they are installed when they are offered again:
    /// failed trials, failed checks, and backups that were put back in their place. Of one `version`,
    /// or of all. Returns what they were: versions, and for a launcher the package's digest.
    pub fn retry(&self, version: Option<&str>) -> Result<Vec<String>> {
        let state = self.folder.load_state();
        let bad = state.bad.iter().map(|it| (Some(&it.version), it.digest));
        let waiting = state.backing_off.iter();
        let waiting = waiting.map(|it| (it.version.as_ref(), it.digest));
        let (digests, names): (Vec<_>, Vec<_>) = bad
            .chain(waiting)
            .map(|(of, digest)| (digest, of.map_or(digest.to_string(), ToString::to_string)))
            .filter(|(_, name)| version.is_none_or(|wanted| wanted == name))
            .unzip();
        if !digests.is_empty() {
            self.folder.change_state(|state| {
                for digest in digests {
                    state.forgive(digest);
                }
            })?;
        }
        Ok(names)
    }

    /// Finds what an uninstall would remove, and keeps the app from running until that is done or
    /// dropped. Nothing `apart` is touched.
    ///
    /// An interrupted update is undone first: the user's file may be in its backup alone. With
    /// `everything` that does not matter.
    pub fn uninstall(&self, everything: bool, apart: &[PathBuf]) -> Result<Uninstall<'_>> {
        if self.folder.layout() == LayoutKind::Snapshot {
            return Err(Error::LayoutUnfit {
                command: "uninstall",
                layout: "snapshot",
            });
        }
        let update = if everything {
            UpdateLock::take(&self.folder, UPDATE_PATIENCE)?
        } else {
            self.lock(UPDATE_PATIENCE)?
        };
        // What is being fetched would come back.
        drop(FetchLock::take(&self.folder, UPDATE_PATIENCE)?);
        let change = ChangeLock::take(&self.folder, Duration::ZERO)?;
        let starts: Vec<String> = [self.entry_point(), self.config.entry_point.clone()]
            .into_iter()
            .flatten()
            .collect();
        Uninstall::prepare(&self.folder, &self.rules, &starts, apart, update, change)
    }

    /// Starts the app and, if it is on trial, judges it; a version that fails as often as
    /// `run.attempts` allows is undone and the one before is started.
    ///
    /// Returns how the app ended. On Unix, when nothing is on trial and the launcher is to wait,
    /// the app takes the process over and this does not return.
    pub fn launch(&self, invocation: Invocation<'_>) -> Result<entry::End> {
        // At most one version is undone in a launch, and what it leads to is not on trial; more
        // rounds than that and the attempts would be a fault, and must not become a loop.
        const ROUNDS: u32 = 4;
        let mut failures = 0;
        let mut failed = None;
        let mut in_use = false;
        for _ in 0..ROUNDS + self.config.run.attempts {
            self.recover()?;
            let run = RunLock::take(&self.folder, self.commit_patience())?;
            if Journal::lies_in(&self.folder) {
                continue;
            }
            self.confirm_unasked();
            let state = self.folder.load_state();
            let version = self.installed();
            let trial = state
                .trial
                .filter(|trial| Some(&trial.version) == version.as_ref());
            let Some(trial) = trial else {
                return match state.back_from {
                    Some(gone) => self.watch(gone, version.as_ref(), &run, invocation),
                    None => self.start(version.as_ref(), &run, invocation),
                };
            };
            let spent = self.spent(&trial, failures, failed.take());
            if let Some(error) = spent.filter(|_| !in_use || failures > 0) {
                drop(run);
                match self.go_back(&trial, error, failures == 0) {
                    // Who clicks again while it runs, without a verdict so far, gets it again.
                    Err(error) if failures == 0 && is_in_use(&error) => {
                        record::info!("{error}; it is tried once more");
                        in_use = true;
                    }
                    gone => gone?,
                }
                continue;
            }
            match self.try_out(&trial, &run, invocation)? {
                Tried::Ended(end) => return Ok(end),
                Tried::Failed(error) => {
                    record::warn!("a start on trial failed: {}", error.chain());
                    failures += 1;
                    failed = Some(error);
                }
            }
        }
        Err(Error::Internal {
            what: "the app was not started after several rounds".into(),
        })
    }

    fn prepare(
        &self,
        version: Option<&Version>,
        run: &RunLock,
        invocation: Invocation<'_>,
        ready_file: Option<&Path>,
    ) -> Result<Prepared> {
        let not_installed = || Error::NotInstalled {
            folder: self.folder.root().to_path_buf(),
            source: None,
        };
        let entry = self.entry_point();
        let Some(entry) = entry.as_deref() else {
            return Err(match version {
                None => not_installed(),
                Some(_) => Error::EntryInvalid {
                    entry: "(none)".into(),
                    problem: "neither the release nor the configuration names one",
                },
            });
        };
        let companions = self.companions();
        companions.before_start(version)?;
        let launch = Launch {
            folder: &self.folder.tree(),
            entry,
            args: invocation.args,
            environment: invocation.environment,
            run: &self.config.run,
            version,
            launcher: invocation.launcher,
            cwd: invocation.cwd,
            ready_file,
            keep_open: run.file(),
        };
        let prepared = entry::resolve_in(&launch, companions.python().as_deref());
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
        version: Option<&Version>,
        run: &RunLock,
        invocation: Invocation<'_>,
    ) -> Result<entry::End> {
        let prepared = self.prepare(version, run, invocation, None)?;
        if cfg!(unix) && self.config.run.wait {
            return Err(prepared.exec());
        }
        self.end(prepared.spawn()?)
    }

    /// Waits for the end of the app, if so configured.
    fn end(&self, running: Running) -> Result<entry::End> {
        if self.config.run.wait {
            running.wait()
        } else {
            Ok(entry::End::Code(0))
        }
    }

    /// Starts the version that has come back in the place of the package `gone`, and sees whether it
    /// runs. If it fails alike, that package was not at fault, and its mark goes.
    ///
    /// It was confirmed before, perhaps when nothing was asked of it but to run, so that is all
    /// which is asked now.
    fn watch(
        &self,
        gone: Sha256,
        version: Option<&Version>,
        run: &RunLock,
        invocation: Invocation<'_>,
    ) -> Result<entry::End> {
        let acquit = |how: &str| {
            record::warn!("the version before fails too ({how}): the one after it is tried again");
            self.note(|state| state.forgive(gone));
        };
        let mut running = match self
            .prepare(version, run, invocation, None)
            .and_then(Prepared::spawn)
        {
            Ok(running) => running,
            Err(error) => {
                if !is_the_machines(&error) {
                    acquit(&error.chain());
                }
                return Err(error);
            }
        };
        match running.judge(&self.config.run, &Proof::Alive)? {
            Some(Verdict::Failed { how }) => acquit(&how),
            Some(Verdict::Good { .. }) => self.note(|state| state.back_from = None),
            Some(Verdict::Unproven { .. }) | None => {}
        }
        self.end(running)
    }

    /// Whether a version has had its attempts, and why it has failed then: `failed`, if that was in
    /// this launch.
    ///
    /// With nothing to go back to, each launch tries it once more.
    fn spent(&self, trial: &Trial, failures: u32, failed: Option<Error>) -> Option<Error> {
        let fails = |how: String| Error::TrialFailed {
            version: trial.version.to_string(),
            how,
        };
        let way_back = trial.back.as_ref();
        let way_back = way_back.is_some_and(|back| layout::is_open(&self.folder, back));
        // The disk may not have taken the count.
        if trial.tries.max(failures) < self.config.run.attempts {
            return None;
        }
        failed.or_else(|| {
            way_back.then(|| fails(format!("{} starts failed or had no verdict", trial.tries)))
        })
    }

    /// Starts a version on trial and waits for the verdict, and, if so configured, for its end.
    fn try_out(&self, trial: &Trial, run: &RunLock, invocation: Invocation<'_>) -> Result<Tried> {
        let ready = std::path::absolute(self.folder.ready())
            .map_err(Error::io("find", self.folder.root()))?;
        let client = Client::bare(&self.config.network);
        let proof = match &self.config.run.confirm {
            Confirm::Alive | Confirm::Nothing => Proof::Alive,
            Confirm::Ready => Proof::Ready(&ready),
            Confirm::Http(url) => Proof::Http(&client, url),
            Confirm::Command(line) => Proof::Command(line),
        };
        let ready_file = match proof {
            Proof::Ready(file) => Some(file),
            _ => None,
        };
        if let Some(Err(error)) = ready_file.map(disk::remove_file) {
            // It would prove nothing. The app starts all the same.
            record::warn!("this start proves nothing: {}", error.chain());
            return self
                .start(Some(&trial.version), run, invocation)
                .map(Tried::Ended);
        }
        let count = || self.note_trial(trial, |trial| trial.tries = trial.tries.saturating_add(1));
        let uncount =
            || self.note_trial(trial, |trial| trial.tries = trial.tries.saturating_sub(1));
        // Whoever ends a command that comes before the start has not ended the app.
        let prepared = self.prepare(Some(&trial.version), run, invocation, ready_file);
        count();
        let mut running = match prepared.and_then(Prepared::spawn) {
            Ok(running) => running,
            Err(error) if is_the_machines(&error) => {
                uncount();
                return Err(error);
            }
            Err(error) => return Ok(Tried::Failed(error)),
        };
        match running.judge(&self.config.run, &proof)? {
            Some(Verdict::Failed { how }) => {
                let version = trial.version.to_string();
                return Ok(Tried::Failed(Error::TrialFailed { version, how }));
            }
            Some(Verdict::Good { .. }) => {
                // Signals for the app are passed on meanwhile.
                let end = std::thread::scope(|scope| {
                    scope.spawn(|| self.confirm(trial));
                    self.end(running)
                });
                return Ok(Tried::Ended(end?));
            }
            Some(Verdict::Unproven { .. }) => {
                record::info!("version {} ended early and stays on trial", trial.version);
                uncount();
            }
            None => record::warn!("version {} runs and is not confirmed", trial.version),
        }
        Ok(Tried::Ended(self.end(running)?))
    }

    /// Changes what is remembered of a trial, if it is still that one.
    fn note_trial(&self, trial: &Trial, change: impl FnOnce(&mut Trial)) {
        self.note(|state| {
            if let Some(trial) = state.trial_of(trial.digest) {
                change(trial);
            }
        });
    }

    /// Changes what is remembered. The app runs or is about to: that it cannot be remembered is no
    /// reason to stop it.
    fn note(&self, change: impl FnOnce(&mut State)) {
        if let Err(error) = self.folder.change_state(change) {
            record::warn!("the trial could not be noted: {}", error.chain());
        }
    }

    /// A version of which nothing is asked is good as soon as it is installed.
    fn confirm_unasked(&self) {
        if self.config.run.confirm == Confirm::Nothing
            && let Some(trial) = self.folder.load_state().trial
        {
            self.confirm(&trial);
        }
    }

    /// The new version has shown that it runs: it is no longer on trial, and old backups go.
    fn confirm(&self, trial: &Trial) {
        record::info!("version {} has passed its trial", trial.version);
        let confirmed = self.folder.change_state(|state| {
            let still = state.trial_of(trial.digest).is_some();
            if still {
                state.trial = None;
                state.back_from = None;
                state.forgive(trial.digest);
            }
            still
        });
        match confirmed {
            Ok(true) => {}
            // Another launcher was first.
            Ok(false) => return,
            Err(error) => {
                record::warn!("left for later: {}", error.chain());
                return;
            }
        }
        let back = trial.back.as_ref();
        let from = back.and_then(|back| layout::version_of(&self.folder, &back.name));
        let keep = Keep {
            count: self.config.update.keep,
            space: self.config.update.keep_space,
        };
        if let Err(error) = layout::prune(&self.folder, keep, back) {
            record::warn!("left for later: {}", error.chain());
        }
        self.companions().after_confirm(Way {
            from: from.as_ref(),
            to: Some(&trial.version),
            reason: None,
        });
    }

    /// Undoes a version that failed its trial. With nothing to go back to, that is the error.
    ///
    /// `earlier`: it failed in earlier launches alone, and may be running.
    fn go_back(&self, trial: &Trial, error: Error, earlier: bool) -> Result<()> {
        record::error!(
            "version {} failed its trial: {}",
            trial.version,
            error.chain()
        );
        let _lock = self.lock(COMMIT_PATIENCE)?;
        let patience = if earlier {
            UPDATE_PATIENCE
        } else {
            CHANGE_PATIENCE
        };
        let change = ChangeLock::take(&self.folder, patience)?;
        let still = self.folder.load_state().trial;
        if still.is_none_or(|still| still.digest != trial.digest) {
            // Another launcher has gone back, or was luckier with it.
            return Ok(());
        }
        self.observer.event(&Event::Phase(Phase::Undo));
        let why = error.chain();
        let undone = match layout::roll_back(&self.site(&change), trial, &why) {
            Ok(Some(undone)) => undone,
            Ok(None) => return Err(error),
            Err(worse)
                if !matches!(
                    worse.code(),
                    Code::BackupDamaged
                        | Code::BackupNotFound
                        | Code::DatabaseDamaged
                        | Code::NoData
                ) =>
            {
                return Err(worse);
            }
            Err(worse) => {
                // Nothing was changed. Such a backup is no way back at the next start either.
                record::error!("no way back: {}", worse.chain());
                self.note_trial(trial, |trial| trial.back = None);
                return Err(error);
            }
        };
        let version = undone.version.as_ref();
        self.observer.event(&Event::RolledBack {
            from: &trial.version,
            to: version,
            error: &error,
        });
        let noted = self
            .folder
            .change_state(|state| state.note("rolled-back", version, Some(&error)));
        if let Err(error) = noted {
            record::warn!("the outcome could not be kept: {}", error.chain());
        }
        Ok(())
    }
}

/// Whether a version cannot be undone because it runs.
fn is_in_use(error: &Error) -> bool {
    matches!(error.code(), Code::AppRunning | Code::FileInUse)
}

/// Whether a start failed for want of something that the version cannot help: memory, processes.
fn is_the_machines(error: &Error) -> bool {
    use std::io::ErrorKind::{OutOfMemory, QuotaExceeded, ResourceBusy, WouldBlock};
    match error {
        Error::StartFailed { source, .. } => {
            matches!(
                source.kind(),
                OutOfMemory | QuotaExceeded | ResourceBusy | WouldBlock
            )
        }
        Error::Io { .. } => true,
        _ => false,
    }
}

/// How the start of a version on trial went.
enum Tried {
    /// It ran; this is how it ended.
    Ended(entry::End),
    /// It failed its trial.
    Failed(Error),
}
