//! Copies of databases, each bound to the version that it belongs to.
//!
//! `.castoff/data/NAME/` holds what the configured databases were when version NAME was left, and
//! `data.json`, which describes them. It is made under another name and renamed when it is whole
//! and durable, so that what stands there is complete.
//!
//! SQLite files are copied by SQLite itself while they may be in use (feature `sqlite`), and checked
//! by it. Without that feature, and for databases that SQLite cannot read because they are
//! encrypted, the file is copied together with its `-wal` and `-journal`, provided that the app is
//! closed. Other databases are dumped and restored by commands of the configuration.
//!
//! Promised: a copy is put back only if it is, by its digests, what was copied; it can be put back
//! again after an interruption at any point; at no point does a database lie beside the `-wal` or
//! `-journal` of another one. What is replaced is kept beside it, as `NAME.replaced`. Nothing is
//! written but to databases that the configuration names.
//!
//! Not promised: that several databases are copied at one instant, or that a restore command which
//! failed half-way leaves anything useful; it is to be one that can be repeated.

#[cfg(feature = "sqlite")]
mod sqlite;

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};

use crate::archive::SafePath;
use crate::config::DatabasesConfig;
use crate::disk;
#[cfg(feature = "sqlite")]
use crate::disk::rights::need_own;
use crate::hooks::Runner;
use crate::layout::locks::ChangeLock;
use crate::order;
use crate::state::{self, ClientFolder};
use crate::trust::{Sha256, hash_file};
use crate::version::Version;
use crate::{Error, Result, record};

/// How long a database may be locked by others: longer than any transaction should take.
#[cfg(feature = "sqlite")]
const BUSY_PATIENCE: Duration = Duration::from_secs(30);

/// What makes up a database on disk. `-shm` is made anew from `-wal`.
const SUFFIXES: [&str; 3] = ["", "-wal", "-journal"];

/// What describes a copy.
const DESCRIPTION: &str = "data.json";

/// `data.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// The format's number: 1.
    pub castoff: u32,
    /// The version that the data belongs to.
    pub version: Option<Version>,
    /// When the copy was made.
    pub created: DateTime<Utc>,
    /// The databases, in the order of the configuration.
    pub databases: Vec<Database>,
}

/// A database as it was copied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Database {
    /// The path as it is configured; `dump` for what was dumped by a command.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What is kept of it; nothing if it did not exist.
    pub parts: Vec<Part>,
}

/// The kinds of databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file of SQLite.
    Sqlite,
    /// What a command wrote to the file that it was told.
    Dump,
}

/// One file of a copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What its name has after the database's: nothing, `-wal` or `-journal`.
    pub suffix: String,
    /// Bytes.
    pub size: u64,
    /// The digest of its content.
    pub sha256: Sha256,
}

impl Database {
    fn part(&self, suffix: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.suffix == suffix)
    }
}

impl Data {
    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        let parts = self.databases.iter().flat_map(|database| &database.parts);
        parts.map(|part| part.size).sum()
    }
}

/// The configured databases of a client folder, and the copies of them.
#[derive(Clone, Copy, Debug)]
pub struct Databases<'a> {
    folder: &'a ClientFolder,
    config: &'a DatabasesConfig,
    runner: Runner<'a>,
}

impl<'a> Databases<'a> {
    /// What `[databases]` names. `runner` runs dumps and restores.
    pub fn new(folder: &'a ClientFolder, config: &'a DatabasesConfig, runner: Runner<'a>) -> Self {
        Self {
            folder,
            config,
            runner,
        }
    }

    /// Copies every configured database to the copy `name`, in place of one that may be there, and
    /// says whether there was any to copy.
    ///
    /// `stopped` says that the app is closed. Without it SQLite files are copied only by SQLite
    /// itself (feature `sqlite`).
    ///
    /// Fails with `DATABASE_COPY_FAILED`, and then nothing has changed.
    pub fn copy(
        &self,
        name: &str,
        version: Option<&Version>,
        stopped: Option<&ChangeLock>,
    ) -> Result<bool> {
        if self.config.sqlite.is_empty() && self.config.other.is_none() {
            return Ok(false);
        }
        let target = self.path_of(name)?;
        let growing = self.folder.own().join("copying");
        disk::remove_tree(&growing)?;
        disk::create_folders(&growing)?;
        // Data may be more secret than the app is.
        disk::set_mode(&growing, Some(0o700))?;
        let made = self
            .fill(&growing, version, stopped.is_some())
            .and_then(|()| {
                disk::sync_tree(&[&growing], None)?;
                disk::create_folders(&self.all())?;
                self.remove(name)?;
                disk::rename(&growing, &target)?;
                disk::sync_folder(&self.all())?;
                disk::sync_folder(&self.folder.own())
            });
        if made.is_err() {
            // A full disk gets its room back.
            let _ = disk::remove_tree(&growing);
        }
        made.map(|()| true)
    }

    fn fill(&self, growing: &Path, version: Option<&Version>, stopped: bool) -> Result<()> {
        let mut data = Data {
            castoff: 1,
            version: version.cloned(),
            created: Utc::now().trunc_subsecs(0),
            databases: Vec::new(),
        };
        for (index, name) in self.config.sqlite.iter().enumerate() {
            let (from, to) = (self.place(name)?, growing.join(file_name(index)));
            let parts = match look(&from)? {
                None => Vec::new(),
                Some(found) if found.is_file() => {
                    disk::need_space(growing, found.len())?;
                    copy_sqlite(&from, &to, stopped).map_err(|failure| failure.of(name))?
                }
                Some(_) => return Err(Failure::from("it is not a file").of(name)),
            };
            record::info!("database {name}: {} parts copied", parts.len());
            data.databases.push(Database {
                name: name.clone(),
                kind: Kind::Sqlite,
                parts,
            });
        }
        if let Some(other) = &self.config.other {
            let file = growing.join("dump");
            let failed = |problem: String| Failure::Problem(problem).of(&other.dump);
            self.command(&other.dump, "dump", &file)
                .map_err(|failure| failed(failure.to_string()))?;
            if !file.is_file() {
                return Err(failed("it did not write the file CASTOFF_DUMP".into()));
            }
            data.databases.push(Database {
                name: "dump".into(),
                kind: Kind::Dump,
                parts: parts_of(&file)?,
            });
        }
        disk::write_new(&growing.join(DESCRIPTION), &state::compact(&data)?)
    }

    /// Runs a command for other databases.
    fn command(
        &self,
        line: &str,
        name: &str,
        dump: &Path,
    ) -> std::result::Result<(), crate::hooks::Failure> {
        let mut command = self.runner.shell(line, self.folder.root());
        command
            .env("CASTOFF_CLIENT_DIR", self.folder.root())
            .env("CASTOFF_DUMP", dump);
        record::info!("{name}: {line}");
        self.runner.run(command, name)
    }

    /// The description of a copy; `None` when there is no copy of that name.
    ///
    /// Fails with `DATABASE_DAMAGED` when it cannot be read.
    pub fn load(&self, name: &str) -> Result<Option<Data>> {
        let path = self.path_of(name)?;
        state::read_json(&path.join(DESCRIPTION)).map_err(|error| Error::DatabaseDamaged {
            path,
            problem: error.chain(),
        })
    }

    /// The names of the copies.
    pub fn list(&self) -> Vec<String> {
        let entries = fs::read_dir(self.all()).into_iter().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| self.all().join(name).join(DESCRIPTION).is_file())
            .collect();
        order::sort(&mut names);
        names
    }

    /// Checks that a copy is what was copied, and returns its description; `None` when there is no
    /// copy of that name. Fails with `DATABASE_DAMAGED`.
    pub fn check(&self, name: &str) -> Result<Option<Data>> {
        let folder = self.path_of(name)?;
        let Some(data) = self.load(name)? else {
            return Ok(None);
        };
        for (index, database) in data.databases.iter().enumerate() {
            for part in &database.parts {
                let path = kept(&folder, index, database.kind, &part.suffix);
                let problem = match is_part(&path, part) {
                    Ok(true) => continue,
                    Ok(false) => "it has another content".to_owned(),
                    Err(error) => error.chain(),
                };
                return Err(Error::DatabaseDamaged { path, problem });
            }
        }
        Ok(Some(data))
    }

    /// Makes the configured databases what they were when the copy `name` was made, and says
    /// whether there is such a copy. What is replaced stays beside it as `.replaced`, until the
    /// next time. A database that did not exist is absent again. May be repeated after an
    /// interruption.
    ///
    /// Fails with `DATABASE_DAMAGED` before anything is changed, or with
    /// `DATABASE_RESTORE_FAILED`.
    pub fn put_back(&self, name: &str, _stopped: &ChangeLock) -> Result<bool> {
        let Some(data) = self.check(name)? else {
            return Ok(false);
        };
        let folder = self.path_of(name)?;
        for (index, database) in data.databases.iter().enumerate() {
            match database.kind {
                Kind::Sqlite if self.config.sqlite.contains(&database.name) => {
                    let target = self.place(&database.name)?;
                    let from = folder.join(file_name(index));
                    put_back_sqlite(database, &from, &target, &mut || Ok(()))?;
                    record::info!("database {}: put back from {name}", database.name);
                }
                Kind::Sqlite => {
                    record::warn!("{} is not configured any more and stays", database.name);
                }
                Kind::Dump => {
                    let failed = |database: &str, problem| Error::DatabaseRestoreFailed {
                        database: database.to_owned(),
                        problem,
                    };
                    let Some(other) = &self.config.other else {
                        let problem = "`databases.restore` is not configured".into();
                        return Err(failed(&database.name, problem));
                    };
                    self.command(&other.restore, "restore", &folder.join("dump"))
                        .map_err(|failure| failed(&other.restore, failure.to_string()))?;
                }
            }
        }
        Ok(true)
    }

    /// Removes a copy: first its description, so that half of one is never taken for whole. One
    /// that is not there is no error.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.path_of(name)?;
        if path.exists() {
            disk::remove_durably(&path.join(DESCRIPTION))?;
            disk::remove_tree(&path)?;
        }
        Ok(())
    }

    /// Where all copies are.
    fn all(&self) -> PathBuf {
        self.folder.own().join("data")
    }

    fn path_of(&self, name: &str) -> Result<PathBuf> {
        match SafePath::try_from(name) {
            Ok(safe) if safe.parent().is_none() => Ok(safe.below(&self.all())),
            _ => Err(Error::BackupNotFound {
                version: name.to_owned(),
                folder: self.all(),
            }),
        }
    }

    /// Where a configured database is. A link is followed: its place is the administrator's choice,
    /// and SQLite keeps `-wal` beside the file itself.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(clippy::unnecessary_wraps, reason = "it is refused with SQLite alone")
    )]
    fn place(&self, name: &str) -> Result<PathBuf> {
        let named = self.folder.root().join(name);
        let real = if named.is_symlink() {
            fs::canonicalize(&named).unwrap_or_else(|_| named.clone())
        } else {
            named.clone()
        };
        #[cfg(feature = "sqlite")]
        self.need_place(&named, &real)?;
        Ok(real)
    }

    /// In an app that is root's, root works also in a folder that others may change, as the app's user may, but
    /// follows nothing there, and only where the way to that folder is root's. Fails with `TARGET_UNSAFE`.
    ///
    /// Whoever can change the app itself needs no database for that; and a launcher, which does without SQLite,
    /// starts that app with its own rights.
    #[cfg(feature = "sqlite")]
    fn need_place(&self, named: &Path, real: &Path) -> Result<()> {
        if need_own(self.folder.root()).is_err() {
            return Ok(());
        }
        let folder = |path: &Path| path.parent().unwrap_or(path).to_path_buf();
        if real != named && need_own(&folder(named)).is_err() {
            return Err(Error::TargetUnsafe {
                path: named.to_path_buf(),
                problem: "it is a link in a folder that others than root may change, and root does not follow it",
            });
        }
        need_own(&folder(&folder(real)))
    }
}

/// The name of a SQLite file in a copy.
fn file_name(index: usize) -> String {
    format!("{index}.sqlite")
}

/// Where a part of a copy is kept.
fn kept(folder: &Path, index: usize, kind: Kind, suffix: &str) -> PathBuf {
    match kind {
        Kind::Sqlite => beside(&folder.join(file_name(index)), suffix),
        Kind::Dump => folder.join("dump"),
    }
}

/// The path with more at its end.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What is at a path, if anything is. No link is followed: [`Databases::place`] has done that.
fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

fn hash(path: &Path) -> Result<(Sha256, u64)> {
    let file = disk::in_use::open_to_read(path)?;
    hash_file(&file).map_err(Error::io("read", path))
}

/// Whether a file is what a copy says. One that is not there is not.
fn is_part(path: &Path, part: &Part) -> Result<bool> {
    match look(path)? {
        Some(found) if found.len() == part.size => Ok(hash(path)? == (part.sha256, part.size)),
        _ => Ok(false),
    }
}

/// The files that are there of a database.
fn parts_of(path: &Path) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for suffix in SUFFIXES {
        let path = beside(path, suffix);
        if look(&path)?.is_some() {
            let (sha256, size) = hash(&path)?;
            parts.push(Part {
                suffix: suffix.to_owned(),
                size,
                sha256,
            });
        }
    }
    Ok(parts)
}

/// Why a database could not be copied.
#[derive(Debug)]
enum Failure {
    /// A file operation failed, which has a code of its own.
    Disk(Error),
    /// Anything else.
    Problem(String),
}

impl Failure {
    fn of(self, database: &str) -> Error {
        match self {
            Self::Disk(error) => error,
            Self::Problem(problem) => Error::DatabaseCopyFailed {
                database: database.to_owned(),
                problem,
            },
        }
    }
}

impl From<&str> for Failure {
    fn from(problem: &str) -> Self {
        Self::Problem(problem.to_owned())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Disk(error)
    }
}

/// Copies a SQLite file in the best way that there is.
fn copy_sqlite(from: &Path, to: &Path, stopped: bool) -> std::result::Result<Vec<Part>, Failure> {
    #[cfg(feature = "sqlite")]
    match sqlite::copy(from, to, BUSY_PATIENCE) {
        Ok(()) => {
            let metadata = fs::metadata(from).map_err(Error::io("look at", from))?;
            disk::set_mode(to, disk::mode_of(&metadata))?;
            return Ok(parts_of(to)?);
        }
        Err(sqlite::Failure::NotADatabase) if stopped => {
            record::warn!(
                "{} cannot be read by SQLite: copied as a file",
                from.display()
            );
            disk::remove_file(to)?;
        }
        Err(sqlite::Failure::NotADatabase) => {
            return Err("SQLite cannot read it: it is damaged or encrypted".into());
        }
        Err(sqlite::Failure::Problem(problem)) => return Err(Failure::Problem(problem)),
    }
    if !stopped {
        return Err("it may be in use, and this program copies closed databases only".into());
    }
    copy_files(from, to)
}

/// Copies the files of a database that nobody should have open. If they change meanwhile, somebody
/// has; then they are copied again, and given up after a while.
fn copy_files(from: &Path, to: &Path) -> std::result::Result<Vec<Part>, Failure> {
    const ATTEMPTS: u32 = 10;
    const PAUSE: Duration = Duration::from_millis(500);

    for _ in 0..ATTEMPTS {
        let before = stamps(from)?;
        for (suffix, stamp) in SUFFIXES.iter().zip(&before) {
            let to = beside(to, suffix);
            disk::remove_file(&to)?;
            if stamp.is_some() {
                let from = beside(from, suffix);
                disk::copy_open(disk::open_itself(&from)?, &from, &to, None)?;
            }
        }
        if stamps(from)? == before {
            return Ok(parts_of(to)?);
        }
        sleep(PAUSE);
    }
    Err("it is being written".into())
}

/// Size and modification time of the files of a database.
type Stamps = [Option<(u64, SystemTime)>; SUFFIXES.len()];

fn stamps(path: &Path) -> Result<Stamps> {
    let mut stamps = Stamps::default();
    for (suffix, stamp) in SUFFIXES.iter().zip(&mut stamps) {
        let path = beside(path, suffix);
        *stamp = match look(&path)? {
            Some(found) => {
                let modified = found.modified().map_err(Error::io("look at", &path))?;
                Some((found.len(), modified))
            }
            None => None,
        };
    }
    Ok(stamps)
}

/// Makes the database at `target` what the copy at `from` is.
///
/// What is there goes aside, the main file first; then the new parts take their names, the main
/// file last. So the main file is the whole of one database or is not there: SQLite takes what lies
/// beside a missing one for nobody's. `between` is called at every point at which the process may
/// be killed; an error there is what a kill is.
fn put_back_sqlite(
    database: &Database,
    from: &Path,
    target: &Path,
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let shared = beside(target, "-shm");
    if is_as(database, target)? {
        return disk::remove_file(&shared);
    }
    let parent = target.parent().unwrap_or(target);
    disk::create_folders(parent)?;
    let there = look(target)?.is_some();
    let like = if there { target } else { parent };
    let restoring = beside(target, ".restoring");
    let size = database.parts.iter().map(|part| part.size).sum();
    disk::need_space(parent, size)?;
    for part in &database.parts {
        let new = beside(&restoring, &part.suffix);
        disk::remove_file(&new)?;
        let from = beside(from, &part.suffix);
        disk::copy_open(disk::in_use::open_to_read(&from)?, &from, &new, Some(like))?;
        disk::sync_file(&new)?;
        between()?;
    }
    let replaced = beside(target, ".replaced");
    if there {
        for suffix in SUFFIXES {
            disk::remove_file(&beside(&replaced, suffix))?;
            between()?;
        }
        disk::rename(target, &replaced)?;
        between()?;
    }
    for suffix in &SUFFIXES[1..] {
        let stale = beside(target, suffix);
        if look(&stale)?.is_none() {
            continue;
        }
        // In an attempt before this one the new part may have got its name already.
        let new = !there
            && database
                .part(suffix)
                .map_or(Ok(false), |part| is_part(&stale, part))?;
        if !new {
            disk::rename(&stale, &beside(&replaced, suffix))?;
        }
        between()?;
    }
    disk::remove_file(&shared)?;
    disk::sync_folder(parent)?;
    between()?;
    for suffix in SUFFIXES.iter().rev() {
        if database.part(suffix).is_some() {
            disk::rename(&beside(&restoring, suffix), &beside(target, suffix))?;
            disk::sync_folder(parent)?;
            between()?;
        }
    }
    Ok(())
}

/// Whether a database is what the copy says, file by file.
fn is_as(database: &Database, target: &Path) -> Result<bool> {
    for suffix in SUFFIXES {
        let path = beside(target, suffix);
        let same = match database.part(suffix) {
            Some(part) => is_part(&path, part)?,
            None => look(&path)?.is_none(),
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
