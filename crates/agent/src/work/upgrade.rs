//! Upgrades to what the source offers, and ways back to what is kept: the operations of OTRS Web.
//!
//! Promises: an upgrade stops the services as late as can be, and ends as an installation does; a way
//! back stops them, puts the older version in place, starts them, and looks.

use std::path::{Path, PathBuf};

use castoff::launcher::logfile::LogFile;
use castoff::progress::{Event, Observer, Phase, Silent};
use castoff::updater::Steward as _;
use castoff::{disk, layout};
use chrono::{DateTime, Local, NaiveDateTime, TimeZone as _};
use log::Level as LogLevel;
use tokio::sync::oneshot;

use super::{Agent, DEPLOYMENT, Downloading, Failure, Job, Keeper, Refusal, failure_of};
use crate::board::{Stage, View};
use crate::memory::{Installation, Level};

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
        let message = "Downloading the version that the source offers...";
        self.hand_on(Stage::Downloading, message, Job::Upgrade { force })
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
        let turn = self.take()?;
        self.board.begin(stage, message);
        let (told, end) = oneshot::channel();
        let _ = self.jobs.send((turn, job, Some(told)));
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
            // The source was not reached, or there is nothing that could be installed.
            Err(error) if self.board.read().stage == Stage::Downloading => {
                Err(failure_of(&error, "DOWNLOAD_FAILED"))
            }
            result => self.come_to(result, &keeper),
        }
    }

    pub(super) fn restore_now(&self, name: &str) -> Result<String, Failure> {
        // It has no version to be told from what is there: whatever that is, is started.
        let mut installation = Installation {
            level: Level::Previous,
            ..Installation::of(String::new())
        };
        let known = &mut installation.wishes.services;
        known.clone_from(&self.memory().services);
        let keeper = Keeper::new(self, installation);
        let updater = self
            .updater(&Silent)
            .map_err(|error| failure_of(&error, DEPLOYMENT))?;
        let gone_back = keeper.stop().and_then(|()| updater.roll_back(name, false));
        let installation = keeper.installation();
        match gone_back {
            Ok(_) => {
                let version = self.finish(installation)?;
                Ok(format!("Version {version} is restored"))
            }
            Err(error) => {
                let failure = failure_of(&error, DEPLOYMENT);
                Err(self.call_off(&installation, failure, keeper.is_stopping()))
            }
        }
    }
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
