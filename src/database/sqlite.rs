//! SQLite's own backup: the one way to copy a database while programs write to it.
//!
//! SQLite writes the copy itself. It is made durable with the folder that it lies in.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How often a database that is locked is tried again.
const POLL: Duration = Duration::from_millis(50);

/// Why there is no copy.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is not SQLite's, or is encrypted.
    NotADatabase,
    /// Anything else.
    Problem(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase,
            _ => Self::Problem(error.to_string()),
        }
    }
}

/// Copies a database as it is at one instant to `to`, which does not exist yet, and checks the
/// copy. Waits as long as `patience` for whoever has it locked.
///
/// The copy is made in one go, which always ends: made in parts, it would begin anew with every
/// write of another program.
pub(super) fn copy(from: &Path, to: &Path, patience: Duration) -> Result<(), Failure> {
    // To write, because what a crashed program has left has to be put in order before it is read.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // Whose links are followed, the caller has decided; the way to the folder may hold some.
    let folder = from.parent().and_then(|it| it.canonicalize().ok());
    let (from, flags) = match (folder, from.file_name()) {
        (Some(folder), Some(name)) if cfg!(unix) => {
            (folder.join(name), flags | OpenFlags::SQLITE_OPEN_NOFOLLOW)
        }
        _ => (from.to_path_buf(), flags),
    };
    let source = Connection::open_with_flags(from, flags)?;
    // Otherwise it is left as it is.
    source.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let mut copy = Connection::open(to)?;
    {
        let backup = Backup::new(&source, &mut copy)?;
        let deadline = Instant::now() + patience;
        while backup.step(-1)? != StepResult::Done {
            if Instant::now() >= deadline {
                let seconds = patience.as_secs_f64();
                return Err(Failure::Problem(format!(
                    "it stayed locked for {seconds} s"
                )));
            }
            sleep(POLL);
        }
    }
    let found: String = copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(Failure::Problem(format!("integrity_check: {found}")));
    }
    copy.close().map_err(|(_, error)| error)?;
    Ok(())
}
