//! The locks of a client folder.
//!
//! `update.lock` is held by the one updater at work. `run.lock` is held shared by every started
//! app, on Unix by the app itself (it inherits the open file), so that it outlives a launcher that
//! does not wait; whoever changes the installed files needs it alone. `state.lock` is held for
//! the instant in which `state.json` is read and written. `fetch.lock` is held by whoever fetches a
//! package: a worker in the background holds that one alone, so that a start need not wait for it.
//!
//! Promises: a lock ends with the processes that hold it, however they end. Where this user may not
//! write, or the file system has no locks, nothing is updated and the app starts all the same.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::disk;
use crate::state::ClientFolder;
use crate::{Error, Result, record};

/// How often a lock that is taken is tried again.
const POLL: Duration = Duration::from_millis(20);

/// How long others may take for one small write on a slow disk.
const STATE_PATIENCE: Duration = Duration::from_secs(5);

const RUN_LOCK: &str = "run.lock";

/// The right to be the one updater of a folder.
#[must_use = "the lock ends when this is dropped"]
#[derive(Debug)]
pub struct UpdateLock {
    _file: File,
}

impl UpdateLock {
    /// Takes the lock, waiting at most `patience`; then fails with `UPDATE_RUNNING`.
    pub fn take(folder: &ClientFolder, patience: Duration) -> Result<Self> {
        take(folder, "update.lock", patience).map(|file| Self { _file: file })
    }
}

/// The right to fetch packages: two that write one part would spoil it.
#[must_use = "the lock ends when this is dropped"]
#[derive(Debug)]
pub struct FetchLock {
    _file: File,
}

impl FetchLock {
    /// Takes the lock, waiting at most `patience`; then fails with `UPDATE_RUNNING`.
    pub fn take(folder: &ClientFolder, patience: Duration) -> Result<Self> {
        take(folder, "fetch.lock", patience).map(|file| Self { _file: file })
    }
}

/// The right to change the installed files, because no app runs in them.
#[must_use = "the lock ends when this is dropped"]
#[derive(Debug)]
pub struct ChangeLock {
    file: File,
}

impl ChangeLock {
    /// Takes the lock, waiting at most `patience`; then fails with `APP_RUNNING`.
    pub fn take(folder: &ClientFolder, patience: Duration) -> Result<Self> {
        let file = open(folder, RUN_LOCK)?;
        let deadline = Instant::now() + patience;
        if wait(deadline, folder.root(), || file.try_lock())? {
            return Ok(Self { file });
        }
        Err(Error::AppRunning {
            path: folder.root().to_path_buf(),
        })
    }

    /// The open file that holds the lock, for a command to inherit.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for ChangeLock {
    /// A command that was handed the lock and left something running would hold it on, and with it
    /// every start of the app. Only a launcher that is killed does not come here.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// The right to run the app: nobody changes its files meanwhile.
#[must_use = "the lock ends when this is dropped"]
#[derive(Debug)]
pub struct RunLock {
    file: Option<File>,
}

impl RunLock {
    /// Takes the lock, waiting at most `patience` for a commit under way; then fails with
    /// `UPDATE_RUNNING`. Where no lock can be had at all, none is held: who cannot write a lock
    /// cannot change the files either, but who can may be another user.
    pub fn take(folder: &ClientFolder, patience: Duration) -> Result<Self> {
        let opened = open(folder, RUN_LOCK).or_else(|error| {
            // Another user's: it can be locked without being writable.
            File::open(folder.own().join(RUN_LOCK)).map_err(|_| error)
        });
        let locked = opened.and_then(|file| {
            let deadline = Instant::now() + patience;
            let taken = wait(deadline, folder.root(), || file.try_lock_shared())?;
            Ok((file, taken))
        });
        match locked {
            Ok((file, true)) => Ok(Self { file: Some(file) }),
            Ok((_, false)) => Err(Error::UpdateRunning {
                path: folder.root().to_path_buf(),
            }),
            Err(error) => {
                record::warn!("going on without a lock: {}", error.chain());
                Ok(Self { file: None })
            }
        }
    }

    /// The open file that holds the lock, for the app to inherit.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
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
        take(folder, "state.lock", STATE_PATIENCE).map(|file| Self { _file: file })
    }
}

/// A lock of one holder.
fn take(folder: &ClientFolder, name: &str, patience: Duration) -> Result<File> {
    let file = open(folder, name)?;
    let deadline = Instant::now() + patience;
    if wait(deadline, folder.root(), || file.try_lock())? {
        return Ok(file);
    }
    Err(Error::UpdateRunning {
        path: folder.root().to_path_buf(),
    })
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
            ChangeLock::take(&folder, POLL).unwrap_err().code(),
            Code::AppRunning
        );
        drop((app, other));
        let change = ChangeLock::take(&folder, Duration::ZERO).unwrap();
        assert_eq!(
            RunLock::take(&folder, POLL).unwrap_err().code(),
            Code::UpdateRunning
        );
        drop(change);
    }
}
