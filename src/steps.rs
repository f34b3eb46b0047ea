//! The named steps at which an update can be interrupted, and the means to interrupt it there.
//!
//! Every place between two changes of the disk calls `reach` with its [`Step`]. In ordinary
//! builds that is nothing. Built with the feature `failpoints` (as the tests are), the variable
//! `CASTOFF_FAIL=commit.rename@3=kill` makes the process kill itself when it reaches that step for
//! the third time; `error` makes the step fail, `full` makes it fail as a full disk does, `panic`
//! panics, and `hang` stops there until somebody ends the process.
//! Several orders are parted by commas. `CASTOFF_TRACE` names a file to which every step is added
//! that is reached. The tests walk through [`Step::ALL`], so that a step which
//! is added here is covered, or fails for never being reached.

use crate::Result;

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A place where a kill, an error or a full disk is tried.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Step { $($(#[$doc])* $name,)* }

        impl Step {
            /// Every step, in the order in which an update meets them.
            pub const ALL: &[Step] = &[$(Step::$name,)*];

            /// The step's name in `CASTOFF_FAIL`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Step::$name => $text,)* }
            }
        }
    };
}

steps! {
    /// The part file exists, nothing is in it.
    FetchOpened = "fetch.opened",
    /// Some of the package is in the part file.
    FetchBlock = "fetch.block",
    /// The whole package is there and verified, under its part name.
    FetchVerified = "fetch.verified",
    /// The package has its final name.
    FetchNamed = "fetch.named",
    /// The copy per user is what the read-only installation is; nothing says so yet.
    SeedCopied = "seed.copied",
    /// The copy knows which installation it is of, and the update has not begun.
    SeedNoted = "seed.noted",
    /// The staging folder exists.
    StageBegun = "stage.begun",
    /// One more file is staged.
    StageFile = "stage.file",
    /// All files are staged, not yet synced.
    StageFilled = "stage.filled",
    /// The backup's folder exists.
    BackUpBegun = "backup.begun",
    /// One more file is backed up.
    BackUpFile = "backup.file",
    /// All files are backed up, not yet synced, and the backup has no description yet.
    BackUpFilled = "backup.filled",
    /// What is staged is synced, and the backup, if there is one, is whole and has its name.
    BackUpSynced = "backup.synced",
    /// One more file of the current version is carried over into a new version's folder.
    BuildFile = "build.file",
    /// The new version's folder has all that the current one had and that stays.
    BuildCarried = "build.carried",
    /// The new version's folder is whole, not yet synced.
    BuildFilled = "build.filled",
    /// The databases are copied, if any are configured.
    DataCopied = "data.copied",
    /// The journal is on disk.
    CommitJournalled = "commit.journalled",
    /// One more file of the old version is removed.
    CommitRemove = "commit.remove",
    /// One more file of the new version is in place.
    CommitRename = "commit.rename",
    /// All files are in place and their folders synced.
    CommitRenamed = "commit.renamed",
    /// installed.json is the new version's.
    CommitListed = "commit.listed",
    /// The new version's folder is in its place; no link leads to it.
    CommitPlaced = "commit.placed",
    /// The link `previous` leads where it is to, `current` does not yet.
    SwitchPrevious = "switch.previous",
    /// Both links lead where they are to, and that is synced.
    SwitchCurrent = "switch.current",
    /// local_version.json is the new version's.
    CommitVersioned = "commit.versioned",
    /// The journal says that data may be changed from here on; no migration has begun.
    CommitMigrating = "commit.migrating",
    /// The migrations have ended well.
    CommitMigrated = "commit.migrated",
    /// The trial is recorded in state.json.
    CommitTrial = "commit.trial",
    /// The journal is gone.
    CommitDone = "commit.done",
    /// The folders that the update needed are cleared away.
    CommitCleared = "commit.cleared",
    /// The new launcher is fetched and verified, not yet beside the old one.
    LauncherFetched = "launcher.fetched",
    /// The new launcher lies beside the old one, whole and synced.
    LauncherStaged = "launcher.staged",
    /// The new launcher has passed its self-check.
    LauncherChecked = "launcher.checked",
    /// The old launcher has its second name; on Windows it is about to get it, since between its two
    /// renames nobody can go on.
    LauncherKept = "launcher.kept",
    /// The new launcher has the launcher's name.
    LauncherSwapped = "launcher.swapped",
    /// The undo is journalled.
    UndoJournalled = "undo.journalled",
    /// One more path is as it was.
    UndoPath = "undo.path",
    /// Every path is as it was, and synced.
    UndoPaths = "undo.paths",
    /// The databases are as they were.
    UndoData = "undo.data",
    /// local_version.json and installed.json are as they were.
    UndoVersioned = "undo.versioned",
    /// The journal of what was undone is gone.
    UndoDone = "undo.done",
    /// What is kept of a version is no longer taken for whole, and not yet removed.
    PruneGone = "prune.gone",
    /// What was kept of a version is removed.
    PruneDone = "prune.done",
    /// One more file of the factory version is its own and read-only.
    FactoryFile = "factory.file",
    /// All files of the factory version are; nothing says yet that it is the factory version.
    FactoryMade = "factory.made",
    /// The link `factory` leads to it.
    FactorySet = "factory.set",
    /// One more missing or damaged file is what was installed again.
    RepairFile = "repair.file",
    /// Nothing says any more that a version is installed.
    UninstallUnnamed = "uninstall.unnamed",
    /// One more file is removed.
    UninstallFile = "uninstall.file",
    /// All is removed but for the list of what was installed.
    UninstallCleared = "uninstall.cleared",
    /// The list is gone too.
    UninstallUnlisted = "uninstall.unlisted",
}

/// Marks that `step` has been reached.
#[cfg(not(feature = "failpoints"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "the same signature as with failpoints"
)]
#[inline]
pub(crate) fn reach(_step: Step) -> Result<()> {
    Ok(())
}

/// Marks that a step of another crate has been reached, which that crate names and lists.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn reach_named(_step: &'static str) -> Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
pub use orders::reach_named;

/// Marks that `step` has been reached.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(step: Step) -> Result<()> {
    reach_named(step.as_str())
}

#[cfg(feature = "failpoints")]
mod orders {
    use std::io;
    use std::path::PathBuf;
    use std::sync::{LazyLock, Mutex};

    use super::Result;
    use crate::Error;

    struct Order {
        step: String,
        countdown: u64,
        action: String,
    }

    static ORDERS: LazyLock<Mutex<Vec<Order>>> = LazyLock::new(|| {
        let text = std::env::var("CASTOFF_FAIL").unwrap_or_default();
        let orders = text.split(',').filter(|part| !part.is_empty()).map(|part| {
            let (place, action) = part.split_once('=').unwrap_or((part, "kill"));
            let (step, count) = place.split_once('@').unwrap_or((place, "1"));
            Order {
                step: step.to_owned(),
                countdown: count.parse().unwrap_or(1),
                action: action.to_owned(),
            }
        });
        Mutex::new(orders.collect())
    });

    /// Marks that `step` has been reached, and does what `CASTOFF_FAIL` orders there.
    ///
    /// # Panics
    ///
    /// When that is the order.
    pub fn reach_named(step: &'static str) -> Result<()> {
        trace(step);
        crate::disk::record::step(step);
        let mut orders = ORDERS
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(order) = orders
            .iter_mut()
            .find(|order| order.step == step && order.countdown > 0)
        else {
            return Ok(());
        };
        order.countdown -= 1;
        if order.countdown > 0 {
            return Ok(());
        }
        let kind = match order.action.as_str() {
            "error" => io::ErrorKind::Other,
            "full" => io::ErrorKind::StorageFull,
            "panic" => panic!("ordered at {step}"),
            "hang" => hang(),
            _ => kill(),
        };
        let path = PathBuf::from(step);
        Err(Error::Io {
            operation: "go on at",
            path,
            source: kind.into(),
        })
    }

    /// Notes that a step was reached.
    #[expect(
        clippy::disallowed_methods,
        reason = "what a test wants to know is no part of the update"
    )]
    fn trace(step: &'static str) {
        static TRACE: LazyLock<Option<Mutex<std::fs::File>>> = LazyLock::new(|| {
            let path = std::env::var_os("CASTOFF_TRACE")?;
            let mut options = std::fs::File::options();
            let file = options.append(true).create(true).open(path).ok()?;
            Some(Mutex::new(file))
        });
        if let Some(file) = &*TRACE {
            let mut file = file
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let _ = std::io::Write::write_all(&mut *file, format!("{step}\n").as_bytes());
        }
    }

    fn hang() -> ! {
        loop {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
    }

    /// Ends the process as a power cut or an impatient person would: without any clean-up.
    fn kill() -> ! {
        #[cfg(unix)]
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort()
    }
}
