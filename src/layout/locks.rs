//! The locks of a client folder.
//!
//! `update.lock` is held by the one updater at work. `run.lock` is held shared by every started
//! app, on Unix by the app itself (it inherits the open file), so that it outlives a launcher that
//! does not wait; whoever changes the installed files needs it alone. `state.lock` is held for
//! the instant in which `state.json` is read and written.
//!
//! Promises: a lock ends with the processes that hold it, however they end. Does not promise
//! anything on file systems without locks: there the update is refused and the app starts.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::disk;
use crate::state::ClientFolder;
use crate::{Error, Result};

/// How often a lock that is taken is tried again.
const POLL: Duration = Duration::from_millis(20);

/// The right to be the one updater of a folder.
#[must_use = "the lock ends when this is dropped"]
#[derive(Debug)]
pub struct UpdateLock {
    _file: File,
}

impl UpdateLock {
    /// Takes the lock, waiting at most `patience`; then fails with `UPDATE_RUNNING`.
    pub fn take(folder: &ClientFolder, patience: Duration) -> Result<Self> {
        let file = open(folder, "update.lock")?;
        let deadline = Instant::now() + patience;
        if wait(deadline, folder.root(), || file.try_lock())? {
            return Ok(Self { _file: file });
        }
        Err(Error::UpdateRunning {
            path: folder.root().to_path_buf(),
        })
    }
}

/// The right to change the installed files, because no app runs in them.
#[must_use = "the lock ends when this is dropped"]
#[derive(Debug)]
pub struct ChangeLock {
    _file: File,
}

impl ChangeLock {
    /// Takes the lock at once, or fails with `APP_RUNNING`.
    pub fn take(folder: &ClientFolder) -> Result<Self> {
        let file = open(folder, "run.lock")?;
        if wait(Instant::now(), folder.root(), || file.try_lock())? {
            return Ok(Self { _file: file });
        }
        Err(Error::AppRunning {
            path: folder.root().to_path_buf(),
        })
    }
}

/// The right to run the app: nobody changes its files meanwhile.
#[must_use = "the lock ends when this is dropped"]
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

impl RunLock {
    /// Takes the lock, waiting at most `patience` for a commit under way; then fails with
    /// `UPDATE_RUNNING`. Any other error says that there is no lock to be had: the file system has
    /// none, or is full, or may not be written.
    pub fn take(folder: &ClientFolder, patience: Duration) -> Result<Self> {
        // Whoever may not write the folder can share the lock all the same, if it is there.
        let file = open(folder, "run.lock")
            .or_else(|error| File::open(folder.own().join("run.lock")).map_err(|_| error))?;
        let deadline = Instant::now() + patience;
        if wait(deadline, folder.root(), || file.try_lock_shared())? {
            return Ok(Self { file });
        }
        Err(Error::UpdateRunning {
            path: folder.root().to_path_buf(),
        })
    }

    /// The open file that holds the lock, for the app to inherit.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// The right to change what is remembered.
#[must_use = "the lock ends when this is dropped"]
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the lock, waiting for others, who hold it for the time of one small write.
    pub(crate) fn take(folder: &ClientFolder) -> Result<Self> {
        let file = open(folder, "state.lock")?;
        file.lock().map_err(Error::io("lock", folder.root()))?;
        Ok(Self { _file: file })
    }
}

fn open(folder: &ClientFolder, name: &str) -> Result<File> {
    disk::create_folders(&folder.own())?;
    disk::open_part(&folder.own().join(name))
}

/// Tries until it works (true) or `deadline` has passed (false).
fn wait(
    deadline: Instant,
    path: &Path,
    mut attempt: impl FnMut() -> std::result::Result<(), TryLockError>,
) -> Result<bool> {
    loop {
        match attempt() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(POLL);
            }
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[test]
    fn one_updater_at_a_time_and_no_change_under_a_running_app() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = ClientFolder::new(temporary.path(), "local_version.json");
        let first = UpdateLock::take(&folder, Duration::ZERO).unwrap();
        let refused = UpdateLock::take(&folder, POLL).unwrap_err();
        assert_eq!(refused.code(), Code::UpdateRunning);
        drop(first);
        let _second = UpdateLock::take(&folder, Duration::ZERO).unwrap();

        let app = RunLock::take(&folder, Duration::ZERO).unwrap();
        let other = RunLock::take(&folder, Duration::ZERO).unwrap();
        assert_eq!(
            ChangeLock::take(&folder).unwrap_err().code(),
            Code::AppRunning
        );
        drop((app, other));
        let change = ChangeLock::take(&folder).unwrap();
        assert_eq!(
            RunLock::take(&folder, POLL).unwrap_err().code(),
            Code::UpdateRunning
        );
        drop(change);
    }
}
