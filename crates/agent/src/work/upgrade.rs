//! Upgrades to what the source offers, and ways back to what is kept: the operations of OTRS Web.
//!
//! Promises: an upgrade stops the services as late as can be, and ends as an installation does; a way
//! back stops them, puts the older version in place, starts them, and looks.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use castoff::launcher::logfile::LogFile;
use castoff::progress::{Event, Observer, Phase, Silent};
use castoff::release::Package;
use castoff::updater::{Outcome, Steward as _};
use castoff::version::Version;
use castoff::{Error, disk, layout};
use chrono::{DateTime, Local, NaiveDateTime, TimeZone as _};
use log::Level as LogLevel;
use tokio::sync::oneshot;

use super::failure::{DEPLOYMENT, Failure};
use super::keeper::Keeper;
use super::watch::Downloading;
use super::{Agent, Job, Mode, Refusal, UPGRADING};
use crate::board::{Stage, View};
use crate::memory::Installation;
use crate::ownership;

/// Where the app that updated itself kept its backups, below its folder.
const FOREIGN: &str = "upgrade_backups";

/// The log that is added to, where that app has it.
pub(super) fn log_file(client: &Path) -> LogFile {
    LogFile::new(&client.join("logs"), "update.log")
}

/// An older version that lies here.
#[derive(Clone, Debug)]
pub struct Backup {
    /// What its folder is called.
    pub name: String,
    /// Its version, where that is known.
    pub version: Option<String>,
    /// Its folder.
    pub path: PathBuf,
    /// When it was made.
    pub created: DateTime<Local>,
    /// Bytes of all its files.
    pub size: u64,
    /// Whether it can be put back: those of the app that updated itself cannot.
    pub ours: bool,
}

impl Agent {
    /// Begins an upgrade to whatever the source offers; with `force`, also to what failed here before. What
    /// it comes to is received.
    pub fn upgrade(&self, force: bool) -> Result<oneshot::Receiver<View>, Refusal> {
        let resumed = false;
        self.hand_on(
            Stage::Downloading,
            UPGRADING,
            Job::Upgrade { force, resumed },
        )
    }

    /// Begins to put a backup of this name back. What it comes to is received.
    pub fn restore(&self, name: &str) -> Result<oneshot::Receiver<View>, Refusal> {
        let message = format!("Restoring {name}...");
        self.hand_on(Stage::Installing, &message, Job::Restore(name.to_owned()))
    }

    fn hand_on(
        &self,
        stage: Stage,
        message: &str,
        job: Job,
    ) -> Result<oneshot::Receiver<View>, Refusal> {
        let right = self.take()?;
        if let (Job::Upgrade { force: true, .. }, Mode::Resident) = (&job, self.mode) {
            // Who has asked for it does not have to ask again.
            self.note(|memory| memory.upgrade = true);
        }
        let (told, end) = oneshot::channel();
        self.send(right, stage, message, job, Some(told));
        Ok(end)
    }

    /// The older versions that lie here, the newest first: those that are kept, and those that the app
    /// has left which updated itself.
    pub fn backups(&self) -> castoff::Result<Vec<Backup>> {
        let updater = self.updater(&Silent)?;
        let folder = updater.folder();
        let place = layout::place(folder);
        let kept = layout::list(folder).into_iter().map(|kept| Backup {
            path: whole(place.join(&kept.name)),
            version: kept.version.map(|version| version.file_name()),
            created: kept.created.with_timezone(&Local),
            size: kept.size,
            ours: true,
            name: kept.name,
        });
        let mut all: Vec<_> = kept.chain(foreign(folder.root())).collect();
        all.sort_by_key(|backup| std::cmp::Reverse(backup.created));
        Ok(all)
    }

    pub(super) fn upgrade_now(&self, force: bool) -> Result<String, Failure> {
        // Which version it is, the source has still to say.
        let keeper = Keeper::new(self, Installation::of(String::new()));
        let course = Course {
            keeper: &keeper,
            downloading: Downloading::new(&self.board, 0),
        };
        let result = self
            .updater(&course)
            .and_then(|updater| updater.with_steward(&keeper).update(force));
        match result {
            Ok(Outcome::UpToDate { version }) if !keeper.is_stopping() => {
                Ok(format!("Version {version} is installed already"))
            }
            // The source was not reached, or there is nothing that could be installed.
            Err(error) if self.board.read().stage == Stage::Downloading => {
                Err(Failure::of(&error, "DOWNLOAD_FAILED"))
            }
            result => self.outcome_of(result, &keeper),
        }
    }

    pub(super) fn restore_now(&self, name: &str) -> Result<String, Failure> {
        let of = |error: Error| Failure::of(&error, DEPLOYMENT);
        let updater = self.updater(&Silent).map_err(of)?;
        let kept = layout::find(updater.folder(), name).map_err(of)?;
        let Some(version) = kept.version else {
            let problem = format!("which version {name} is, is not known");
            return Err(Failure::deployment(problem, "Installation failed"));
        };
        let left = updater.installed();
        if left.as_ref() == Some(&version) {
            return Ok(format!("Version {version} is installed already"));
        }
        let mut installation = Installation::of(version.to_string());
        installation.left = Some(left.map_or_else(|| "previous".to_owned(), |it| it.to_string()));
        let known = &mut installation.wishes.services;
        known.clone_from(&self.memory().services);
        let keeper = Keeper::new(self, installation);
        let gone_back = keeper.stop().and_then(|()| updater.return_to(name));
        let installation = keeper.installation();
        match gone_back {
            Ok(_) => self.bring_to_run(installation),
            Err(error) => {
                let failure = Failure::of(&error, DEPLOYMENT);
                Err(self.call_off(&installation, failure, keeper.is_stopping()))
            }
        }
    }

    /// Keeps a package that is being installed where the configuration says. Whether it was not there before.
    pub(super) fn keep_package(
        &self,
        version: &Version,
        package: &Package,
    ) -> castoff::Result<bool> {
        let updater = self.updater(&Silent)?;
        let root = updater.folder().root();
        let Some((place, from)) = self.package_folder(version).zip(updater.package(package)) else {
            return Ok(false);
        };
        let is_new = !root.join(&place).exists();
        // Step by step: whoever may change one of them may lead the next one astray.
        let mut folder = root.to_path_buf();
        for part in place.components() {
            folder.push(part);
            disk::create_folders(&folder)?;
            ownership::check(&[&folder])?;
        }
        let end = match File::open(&from).map(|mut file| magic(&mut file)) {
            Ok([b'P', b'K', ..]) => "zip",
            Ok([0x1f, 0x8b, ..]) => "tar.gz",
            _ => "tar.zst",
        };
        let to = folder.join(format!("{}-{}.{end}", self.engine.app, version.file_name()));
        disk::remove_file(&to)?;
        disk::link_or_copy(&from, &to)?;
        disk::sync_folder(&folder)?;
        Ok(is_new)
    }

    /// Where the package of a version is kept, in the app's folder.
    fn package_folder(&self, version: &Version) -> Option<PathBuf> {
        let place = self.config.packages.keep_in.as_ref()?;
        Some(place.join(version.file_name()))
    }

    /// Removes packages that are kept: that of an installation which has failed, and of the others so many that
    /// as many stay as versions do. They are there for people: the app can do without.
    pub(super) fn clear_packages(&self, installation: &Installation) {
        let version = || installation.version.parse().ok();
        let failed = installation.kept.then(version).flatten();
        if let Err(error) = self.try_clear_packages(failed.as_ref()) {
            log::error!("packages stay that are to go: {}", error.chain());
        }
    }

    fn try_clear_packages(&self, failed: Option<&Version>) -> castoff::Result<()> {
        let Some(place) = &self.config.packages.keep_in else {
            return Ok(());
        };
        let updater = self.updater(&Silent)?;
        let (root, installed) = (updater.folder().root(), updater.installed());
        let place = root.join(place);
        ownership::check(&[&place])?;
        // What is none of ours stays: each has one file, of the folder's version.
        let app = &self.engine.app;
        let is_ours = |folder: &Path| {
            let name = folder.file_name()?.to_str()?;
            let mut files = std::fs::read_dir(folder).ok()?;
            let (only, end) = (files.next()?.ok()?, files.next());
            let only = only.file_name().into_string().ok()?;
            let ours = only.starts_with(&format!("{app}-{name}.")) && end.is_none();
            ours.then(|| name.parse::<Version>().ok()).flatten()
        };
        let kept = std::fs::read_dir(&place).into_iter().flatten().flatten();
        let kept = kept.filter_map(|entry| Some((is_ours(&entry.path())?, entry.path())));
        let mut kept: Vec<_> = kept
            .filter(|(version, _)| Some(version) != installed.as_ref())
            .collect();
        kept.sort_by(|(one, _), (other, _)| other.cmp(one));
        let mut others = self.engine.update.keep.max(1) - 1;
        for (version, folder) in kept {
            if Some(&version) == failed || others == 0 {
                disk::remove_tree(&folder)?;
            } else {
                others -= 1;
            }
        }
        Ok(())
    }
}

/// What a file begins with.
fn magic(file: &mut File) -> [u8; 4] {
    let mut begin = [0; 4];
    // One that is shorter is none of them.
    let _ = file.read_exact(&mut begin);
    begin
}

/// A path as people write it: absolute, and without `.` in it.
fn whole(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// The folders `backup_YYYYMMDD_HHMMSS` of the app that updated itself.
fn foreign(root: &Path) -> Vec<Backup> {
    let entries = std::fs::read_dir(root.join(FOREIGN)).into_iter().flatten();
    let found = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        // No link: it is measured.
        if !entry.file_type().ok()?.is_dir() {
            return None;
        }
        let name = entry.file_name().into_string().ok()?;
        let time = NaiveDateTime::parse_from_str(&name, "backup_%Y%m%d_%H%M%S").ok()?;
        Some(Backup {
            created: Local.from_local_datetime(&time).earliest()?,
            version: None,
            size: disk::size_below(&entry.path()),
            path: whole(entry.path()),
            ours: false,
            name,
        })
    });
    found.collect()
}

/// Watches an upgrade: first the download, then the installation.
struct Course<'a> {
    keeper: &'a Keeper<'a>,
    downloading: Downloading<'a>,
}

impl Observer for Course<'_> {
    fn event(&self, event: &Event<'_>) {
        let board = self.downloading.board;
        let note = |text: &str| board.note(LogLevel::Info, text);
        match event {
            Event::Phase(Phase::Check) => note("Asking the source for its version"),
            Event::Phase(Phase::Fetch) => note("Downloading the package"),
            Event::Phase(Phase::Verify) => {
                board.write(Stage::Verifying, 0, "Verifying package integrity...");
            }
            Event::Phase(Phase::Plan) => {
                let version = self.keeper.installation().version;
                let message = format!("Installing version {version}...");
                board.write(Stage::Installing, 0, message);
            }
            Event::Phase(Phase::Stage) => note("Unpacking the new version"),
            Event::Phase(Phase::BackUp) => note("Backing up the installed version"),
            Event::Phase(Phase::Commit) => note("The new version is whole"),
            Event::Found {
                installed, offered, ..
            } => {
                let installed =
                    installed.map_or_else(String::new, |it| format!(", {it} is installed"));
                note(&format!("The source offers version {offered}{installed}"));
            }
            Event::Recovered { version } => {
                let version = version.map_or_else(|| "none".to_owned(), ToString::to_string);
                note(&format!(
                    "An interrupted update was undone: version {version} is back"
                ));
            }
            Event::Warning(error) => board.note(LogLevel::Warn, &error.chain()),
            Event::Retry {
                attempt, of, error, ..
            } => {
                let text = format!("Attempt {attempt} of {of} follows: {}", error.chain());
                board.note(LogLevel::Warn, &text);
            }
            _ => {}
        }
        if board.read().stage == Stage::Downloading {
            self.downloading.event(event);
        } else {
            self.keeper.event(event);
        }
    }
}
