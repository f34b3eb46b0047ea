//! Tells the app itself which version it is, where it looks for that: a line of its `.env`, a row of its
//! database.
//!
//! Promises: of the file one line is changed, and nothing else of it, its mode and owner included; what
//! cannot be told is in the log, and no reason to go back. For root, what lies where the app's own user may
//! write is written with that user's rights, by a process of its own: whatever lies there then leads nowhere
//! that the user may not write anyway.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Command;
use std::time::Duration;

use castoff::state::ClientFolder;
use castoff::version::Version;
use castoff::{Error, Result, disk};
use rusqlite::{Connection, OpenFlags, named_params};
use serde::{Deserialize, Serialize};

#[cfg(unix)]
use crate::{ownership, services::program};

/// How long another program may keep the database locked.
const PATIENCE: Duration = Duration::from_secs(10);

/// `[record]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    /// A file of lines `NAME=VALUE`, relative to the app's folder.
    pub env_file: Option<PathBuf>,
    /// The name in it; unless told, `APP_VERSION`.
    pub variable: Option<String>,
    /// A database of SQLite, relative to the app's folder.
    pub sqlite: Option<PathBuf>,
    /// The statement that is run in it, with the version as `:version`.
    pub statement: Option<String>,
}

impl Record {
    /// What is wrong with it, if anything is.
    pub fn problem(&self) -> Option<String> {
        match (&self.sqlite, &self.statement) {
            (Some(_), None) => return Some("`record.statement` is missing".to_owned()),
            (None, Some(_)) => return Some("`record.sqlite` is missing".to_owned()),
            (Some(_), Some(text)) if !text.contains(":version") => {
                return Some("`record.statement` has no `:version` in it".to_owned());
            }
            _ => {}
        }
        let name = self.variable();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let good = !name.is_empty() && name.bytes().all(plain);
        (!good).then(|| format!("`record.variable` {name:?} is no name of a variable"))
    }

    fn variable(&self) -> &str {
        self.variable.as_deref().unwrap_or("APP_VERSION")
    }

    /// Tells the app that it is `version`, without the `v` that a tag may have.
    pub fn tell(&self, folder: &ClientFolder, version: &Version) {
        let version = version.file_name();
        let line = self.env_file.as_ref().map(|path| {
            let name = self.variable().to_owned();
            (path, Entry::Line { name })
        });
        let row = self.sqlite.as_ref().zip(self.statement.clone());
        let row = row.map(|(path, statement)| (path, Entry::Row { statement }));
        for (path, entry) in line.into_iter().chain(row) {
            let told = inside(folder, path)
                .map_err(|error| error.chain())
                .and_then(|path| entry.write_as_its_owner(&path, &version));
            if let Err(problem) = told {
                log::error!("{}: the version is not told: {problem}", path.display());
            }
        }
    }
}

/// One place in which the app looks for its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A line of a file.
    Line {
        /// The variable's name.
        name: String,
    },
    /// A row of a database.
    Row {
        /// What is run in it.
        statement: String,
    },
}

impl Entry {
    /// Writes a version there.
    pub fn write(&self, path: &Path, version: &str) -> std::result::Result<(), String> {
        match self {
            Self::Line { name } => set_line(path, name, version).map_err(|error| error.chain()),
            Self::Row { statement } => {
                run(path, statement, version).map_err(|error| format!("{statement:?}: {error}"))
            }
        }
    }

    /// The same with the rights of whoever may write there, where this is root and that is somebody else.
    #[cfg(unix)]
    fn write_as_its_owner(&self, path: &Path, version: &str) -> std::result::Result<(), String> {
        use std::os::unix::process::CommandExt as _;
        let folder = path.parent().unwrap_or(path);
        let Err(error) = ownership::check(&[folder]) else {
            return self.write(path, version);
        };
        let Some((user, group)) = ownership::one_owner(path) else {
            return Err(error.chain());
        };
        // Also where the file was replaced since, or the user does not get to it.
        let this = Path::new("/proc/self/exe");
        let executable = if this.exists() {
            this.to_path_buf()
        } else {
            std::env::current_exe().map_err(|error| error.to_string())?
        };
        let entry = serde_json::to_string(self).map_err(|error| error.to_string())?;
        let mut command = Command::new(executable);
        command
            .args(["agent", "tell", "--entry", &entry, "--version", version])
            .arg(path)
            .current_dir("/")
            // It is that user's process, who can read what is in it.
            .env_clear()
            .uid(user)
            .gid(group);
        program::run(command, PATIENCE + PATIENCE).map(drop)
    }

    #[cfg(not(unix))]
    fn write_as_its_owner(&self, path: &Path, version: &str) -> std::result::Result<(), String> {
        self.write(path, version)
    }
}

/// Where a file of the app really lies: in the app's folder.
fn inside(folder: &ClientFolder, path: &Path) -> Result<PathBuf> {
    let path = folder.tree().join(path);
    let real = std::fs::canonicalize(&path).map_err(Error::io("find", &path))?;
    let root = folder.root();
    let root = std::fs::canonicalize(root).map_err(Error::io("find", root))?;
    if !real.starts_with(&root) {
        return Err(Error::TargetUnsafe {
            path: real,
            problem: "it lies outside the app's folder",
        });
    }
    Ok(real)
}

fn run(database: &Path, statement: &str, version: &str) -> rusqlite::Result<()> {
    // One that is not there is not made.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.busy_timeout(PATIENCE)?;
    let rows = connection.execute(statement, named_params! {":version": version})?;
    if rows == 0 {
        return Err(rusqlite::Error::QueryReturnedNoRows);
    }
    Ok(())
}

/// Gives a variable of a file another value; where the file does not have it, it comes last.
fn set_line(path: &Path, name: &str, value: &str) -> Result<()> {
    let old = std::fs::read(path).map_err(Error::io("read", path))?;
    let new = with_line(&old, name, value);
    if new == old {
        return Ok(());
    }
    let temporary = path.with_added_extension("castoff");
    let written = || {
        disk::remove_file(&temporary)?;
        // Its secrets are for those who may read the file itself, from the first byte.
        let mut file: File = disk::create_file(&temporary, false)?;
        disk::set_mode(&temporary, Some(0o600))?;
        file.write_all(&new)
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", &temporary))?;
        drop(file);
        disk::stand_in_for(path, &temporary);
        let metadata = std::fs::metadata(path).map_err(Error::io("look at", path))?;
        disk::set_mode(&temporary, disk::mode_of(&metadata))?;
        disk::rename(&temporary, path)
    };
    if let Err(error) = written() {
        let _ = disk::remove_file(&temporary);
        return Err(error);
    }
    disk::sync_folder(path.parent().unwrap_or(path))
}

fn with_line(old: &[u8], name: &str, value: &str) -> Vec<u8> {
    let mut new = Vec::with_capacity(old.len() + name.len() + value.len() + 2);
    let mut found = false;
    for line in old.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_start();
        let text = text
            .strip_prefix(b"export ")
            .unwrap_or(text)
            .trim_ascii_start();
        let rest = text.strip_prefix(name.as_bytes());
        let is_it = rest.is_some_and(|rest| rest.trim_ascii_start().starts_with(b"="));
        if !is_it {
            new.extend_from_slice(line);
            continue;
        }
        found = true;
        // All before the sign stays, and so does the line's end.
        let sign = line.iter().position(|byte| *byte == b'=').unwrap_or(0);
        new.extend_from_slice(&line[..=sign]);
        new.extend_from_slice(value.as_bytes());
        let end = line.trim_ascii_end().len();
        new.extend_from_slice(&line[end..]);
    }
    if !found {
        if !new.is_empty() && !new.ends_with(b"\n") {
            new.push(b'\n');
        }
        new.extend_from_slice(format!("{name}={value}\n").as_bytes());
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(old: &str) -> String {
        String::from_utf8(with_line(old.as_bytes(), "APP_VERSION", "1.3.0")).unwrap()
    }

    #[test]
    fn one_line_is_changed_and_the_rest_is_as_it_was() {
        for (old, new) in [
            ("", "APP_VERSION=1.3.0\n"),
            ("A=1", "A=1\nAPP_VERSION=1.3.0\n"),
            ("APP_VERSION=1.2.9\n", "APP_VERSION=1.3.0\n"),
            ("APP_VERSION=1.2.9", "APP_VERSION=1.3.0"),
            (
                "A=1\r\nAPP_VERSION=\"1.2.9\"\r\nB=2\r\n",
                "A=1\r\nAPP_VERSION=1.3.0\r\nB=2\r\n",
            ),
            (
                "export APP_VERSION = 1.2.9 # now\nB=2",
                "export APP_VERSION =1.3.0\nB=2",
            ),
            (
                "# APP_VERSION=1\nAPP_VERSION_OLD=1\n",
                "# APP_VERSION=1\nAPP_VERSION_OLD=1\nAPP_VERSION=1.3.0\n",
            ),
            ("APP_VERSION=\n\n#end", "APP_VERSION=1.3.0\n\n#end"),
        ] {
            assert_eq!(changed(old), new, "{old:?}");
            assert_eq!(changed(new), new);
        }
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        let record = |text: &str| toml::from_str::<Record>(text).unwrap().problem();
        assert_eq!(record(""), None);
        assert_eq!(record("env_file = \".env\""), None);
        assert!(record("sqlite = \"a.db\"").unwrap().contains("statement"));
        assert!(record("sqlite = \"a.db\"\nstatement = \"UPDATE t SET v = 1\"").is_some());
        assert!(record("variable = \"A B\"").is_some());
        let good = "sqlite = \"a.db\"\nstatement = \"UPDATE t SET v = :version\"";
        assert_eq!(record(good), None);
    }

    #[cfg(unix)]
    #[test]
    fn secrets_stay_secret_and_a_link_a_link() {
        use castoff::config::LayoutKind;
        use std::os::unix::fs::PermissionsExt as _;
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("app");
        std::fs::create_dir(&folder).unwrap();
        let (real, link) = (folder.join("real"), folder.join(".env"));
        std::fs::write(&real, "SECRET=1\nAPP_VERSION=1.2.9\n").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let client =
            ClientFolder::new(&folder, "local_version.json").with_layout(LayoutKind::InPlace);
        let record: Record = toml::from_str("env_file = \".env\"").unwrap();
        record.tell(&client, &"1.3.0".parse().unwrap());
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        let mode = std::fs::metadata(&real).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(text(&real), "SECRET=1\nAPP_VERSION=1.3.0\n");
        // One that leads elsewhere is not followed.
        let foreign = outside.path().join("foreign");
        std::fs::write(&foreign, "x").unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&foreign, &link).unwrap();
        record.tell(&client, &"1.4.0".parse().unwrap());
        assert_eq!(text(&foreign), "x");
    }

    #[test]
    fn a_row_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("otrs_data.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("CREATE TABLE app_update_status (current_version TEXT); INSERT INTO app_update_status VALUES ('1.2.9')")
            .unwrap();
        let version = "1.3.0";
        let statement = "UPDATE app_update_status SET current_version = :version";
        run(&path, statement, version).unwrap();
        let now: String = connection
            .query_row("SELECT current_version FROM app_update_status", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(now, version);
        assert!(run(&folder.path().join("none.db"), statement, version).is_err());
    }
}
