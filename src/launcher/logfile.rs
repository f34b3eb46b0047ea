//! The log, for whoever is asked for help: a file that rotates.
//!
//! One line a record: time (ISO 8601, UTC), level, process, origin, message.
//!
//! ```text
//! 2026-01-17T17:40:58.123Z INFO  4711 castoff::updater: installed 1.3.0
//! ```
//!
//! Promised: a line holds one record whole, whatever it says (line breaks and other control
//! characters are escaped, so no message can forge a record), and several launchers may write at
//! once. Nothing is created before there is something to write. A folder that cannot be written
//! means no log, and never an error: a person came to start an app.
//!
//! Not promised: that nothing is lost. Lines are not synced, and when two launchers find the file
//! full in the same instant, a log may be set aside before it is full.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, OnceLock, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::disk;

/// The name of the log; older ones are `castoff.log.1` (the latest) to `castoff.log.3`.
pub const FILE_NAME: &str = "castoff.log";

/// The size at which a log is set aside, in bytes: months of starts, and still an attachment.
const LARGEST: u64 = 10 * 1024 * 1024;

/// How many logs are kept beside the one that is written.
const KEPT: u32 = 3;

/// Sends all records from now on to the log in `folder`, and returns the log's path.
///
/// Libraries are heard from `Warn` on only: their chatter helps nobody, and may hold a token.
/// The second call in a process changes nothing.
pub fn install(folder: &Path, level: LevelFilter) -> PathBuf {
    let log = LogFile::new(folder, FILE_NAME);
    let path = log.path();
    let _ = OPEN.set(Mutex::new(log));
    // It fails when there is a logger already, as in a program that brought its own.
    if log::set_boxed_logger(Box::new(Installed { level })).is_ok() {
        log::set_max_level(level);
    }
    path
}

/// Writes no more, and closes the log, so that it can be removed.
pub fn close() {
    log::set_max_level(LevelFilter::Off);
    if let Some(log) = OPEN.get() {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.open = None;
        log.given_up = true;
    }
}

/// The log that [`install`] has installed.
static OPEN: OnceLock<Mutex<LogFile>> = OnceLock::new();

/// Hands records on to the installed log.
struct Installed {
    level: LevelFilter,
}

impl Log for Installed {
    fn enabled(&self, record: &Metadata<'_>) -> bool {
        let most = if record.target().starts_with("castoff") {
            self.level
        } else {
            self.level.min(LevelFilter::Warn)
        };
        record.level() <= most
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Before the lock: what is shown may log too.
        let text = line(
            Utc::now(),
            record.level(),
            process::id(),
            record.target(),
            &record.args().to_string(),
        );
        if let Some(log) = OPEN.get() {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = log.write_all(text.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// A record as it is written.
fn line(time: DateTime<Utc>, level: Level, process: u32, origin: &str, message: &str) -> String {
    let time = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut line = format!("{time} {level:<5} {process} {origin}: ");
    for c in message.chars() {
        // U+2028 and U+2029 break lines too, in some viewers.
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line
}

/// A log as something to write to. Each `write` is one whole line, and none of them fails: a log that
/// cannot be written is given up.
pub struct LogFile {
    folder: PathBuf,
    name: &'static str,
    largest: u64,
    /// The file, and its size as far as this process knows.
    open: Option<(File, u64)>,
    /// After a failure the rest of this process is not logged, instead of failing for every line.
    given_up: bool,
}

impl LogFile {
    /// The log of this name in `folder`. Nothing is created yet.
    pub fn new(folder: &Path, name: &'static str) -> Self {
        Self {
            folder: folder.to_path_buf(),
            name,
            largest: LARGEST,
            open: None,
            given_up: false,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let (mut file, size) = match self.open.take() {
            Some((file, size)) if size < self.largest => (file, size),
            _ => self.reopen()?,
        };
        file.write_all(line)?;
        self.open = Some((file, size + line.len() as u64));
        Ok(())
    }

    /// Opens what bears the log's name now, which another launcher may have rotated meanwhile.
    fn reopen(&self) -> io::Result<(File, u64)> {
        let path = self.path();
        if fs::metadata(&path).is_ok_and(|found| found.len() >= self.largest) {
            self.rotate();
        }
        let file = disk::open_to_append(&path)
            .or_else(|_| {
                disk::create_folders(&self.folder).and_then(|()| disk::open_to_append(&path))
            })
            .map_err(io::Error::other)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    /// Sets the full log aside. Whatever fails is left: the log then grows beyond its size.
    fn rotate(&self) {
        // The first rename decides between launchers that rotate at once: only one finds the file.
        let claimed = self.numbered(process::id());
        if disk::rename(&self.path(), &claimed).is_err() {
            return;
        }
        for number in (1..KEPT).rev() {
            let _ = disk::rename(&self.numbered(number), &self.numbered(number + 1));
        }
        let _ = disk::rename(&claimed, &self.numbered(1));
    }

    fn numbered(&self, number: u32) -> PathBuf {
        self.path().with_added_extension(number.to_string())
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.given_up && self.append(line).is_err() {
            self.given_up = true;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::thread;

    use super::*;

    /// The files of a folder and what they hold.
    fn files(folder: &Path) -> BTreeMap<String, String> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect()
    }

    #[test]
    fn a_line_is_one_record() {
        let time = DateTime::from_timestamp_millis(1_768_671_658_123).unwrap();
        assert_eq!(
            line(time, Level::Info, 4711, "castoff::updater", "installed"),
            "2026-01-17T17:40:58.123Z INFO  4711 castoff::updater: installed\n"
        );
        let forged = "done\r\n2026-01-17T17:40:58.123Z ERROR x\u{1b}[2J\u{2028}\u{85}";
        assert_eq!(
            line(time, Level::Error, 1, "castoff", forged),
            "2026-01-17T17:40:58.123Z ERROR 1 castoff: \
             done\\r\\n2026-01-17T17:40:58.123Z ERROR x\\u{1b}[2J\\u{2028}\\u{85}\n"
        );
        // Paths of Windows and other languages stay legible.
        let legible = r"C:\Users\小明";
        assert!(line(time, Level::Warn, 1, "castoff", legible).contains(legible));
    }

    #[cfg(unix)]
    #[test]
    fn what_only_bears_its_name_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = folder.path().join("foreign");
        fs::write(&foreign, "x").unwrap();
        let path = folder.path().join("logs").join(FILE_NAME);
        fs::create_dir(path.parent().unwrap()).unwrap();
        let pipe = |path: &Path| {
            let made = process::Command::new("mkfifo").arg(path).status().unwrap();
            assert!(made.success());
        };
        for way in ["link", "name", "pipe"] {
            match way {
                "link" => std::os::unix::fs::symlink(&foreign, &path).unwrap(),
                "name" => fs::hard_link(&foreign, &path).unwrap(),
                _ => pipe(&path),
            }
            let mut log = LogFile::new(path.parent().unwrap(), FILE_NAME);
            log.write_all(b"line\n").unwrap();
            assert_eq!(fs::read_to_string(&foreign).unwrap(), "x");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_full_log_is_set_aside_and_three_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(folder.path(), FILE_NAME);
        log.largest = 10;
        for number in 0..12 {
            log.write_all(format!("line {number:02}\n").as_bytes())
                .unwrap();
        }
        let found = files(folder.path());
        let expected = [
            ("castoff.log", "line 10\nline 11\n"),
            ("castoff.log.1", "line 08\nline 09\n"),
            ("castoff.log.2", "line 06\nline 07\n"),
            ("castoff.log.3", "line 04\nline 05\n"),
        ];
        assert_eq!(found, expected.map(|(k, v)| (k.into(), v.into())).into());
    }

    #[test]
    fn a_log_that_another_launcher_set_aside_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let [mut one, mut other] = [(); 2].map(|()| LogFile::new(folder.path(), FILE_NAME));
        (one.largest, other.largest) = (10, 10);
        one.write_all(b"one, long\n").unwrap();
        other.write_all(b"other\n").unwrap();
        one.write_all(b"one\n").unwrap();
        let found = files(folder.path());
        assert_eq!(found.len(), 2);
        assert_eq!(found["castoff.log.1"], "one, long\n");
        assert_eq!(found["castoff.log"], "other\none\n");
    }

    #[test]
    #[cfg_attr(
        all(windows, emulated),
        ignore = "wine: it seeks and then writes where Windows appends"
    )]
    fn many_launchers_at_once_write_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        thread::scope(|threads| {
            for writer in 0..4 {
                let mut log = LogFile::new(folder.path(), FILE_NAME);
                threads.spawn(move || {
                    for number in 0..200 {
                        let line = format!("{writer} {number:03} whole\n");
                        log.write_all(line.as_bytes()).unwrap();
                    }
                });
            }
        });
        let text = &files(folder.path())["castoff.log"];
        assert_eq!(text.lines().count(), 800);
        assert!(text.lines().all(|line| line.ends_with(" whole")));
    }

    #[test]
    fn nothing_is_created_before_the_first_line_and_the_folder_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("deep/logs");
        let mut log = LogFile::new(&logs, FILE_NAME);
        assert!(!folder.path().join("deep").exists());
        log.write_all(b"line\n").unwrap();
        assert_eq!(files(&logs)["castoff.log"], "line\n");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let mut log = LogFile::new(&file, FILE_NAME);
        log.write_all(b"line\n").unwrap();
        assert!(log.given_up);
        log.write_all(b"line\n").unwrap();
    }
}
