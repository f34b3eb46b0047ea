//! Takes over what a Django server of zghmvp has: apps, versions and files, of the first server or of the
//! later one.
//!
//! Promises: that server's database and MEDIA folder stay as they are: the one is only read, and of the
//! other copies are made. What is here already stays as it is, so that it can be done again. What cannot be
//! taken over is in the report with its reason, and the rest is taken over nevertheless.
//!
//! Tables are found by their columns, because Django names them after the app of the project that they are
//! in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File as Handle;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use castoff::release::leads_outside;
use castoff::trust::hash_file;
use castoff::version::Version;
use castoff_publish::document::{ANY, is_identity};
use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tempfile::TempPath;

use crate::publishing::{self, DESCRIPTION, NewPackage};
use crate::registry::{App, File, STABLE};
use crate::storage::disk::blocking;
use crate::zghmvp::name_of;
use crate::{Error, Result, Server, intake, secret};

/// Who has taken it over, in the audit.
const WHO: &str = "the import";

/// The columns by which the tables are told.
const APP: &[&str] = &["id", "name", "description", "enable_time", "disable_time"];
const VERSION: &[&str] = &[
    "id",
    "app_id",
    "version",
    "entry_point",
    "upload_time",
    "changelog",
    "is_active",
];
const PACKAGE: &[&str] = &["file", "file_hash", "file_size"];
const MANIFEST: &[&str] = &["file_manifest"];
const FILE: &[&str] = &["id", "file", "name", "size"];

/// What was taken over, and what was not.
#[derive(Debug, Default)]
pub struct Report {
    /// Apps, each with its id.
    pub apps: Vec<String>,
    /// Versions, each after the name of its app.
    pub versions: Vec<String>,
    /// The versions that are active now.
    pub active: Vec<String>,
    /// How many apps and versions were here already.
    pub known: usize,
    /// What was not taken over, and why.
    pub left: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, lines) in [
            ("Apps that were taken over", &self.apps),
            ("Versions that were taken over", &self.versions),
            ("Active now", &self.active),
            ("Not taken over", &self.left),
        ] {
            if !lines.is_empty() {
                writeln!(f, "{title}:\n  {}", lines.join("\n  "))?;
            }
        }
        if self.apps.is_empty() && self.versions.is_empty() {
            writeln!(f, "Nothing was added.")?;
        }
        write!(f, "{} apps and versions were here already.", self.known)
    }
}

/// Takes over an installation: its database in SQLite, and its MEDIA folder.
///
/// Fails with `REQUEST_INVALID` if that is no such database, and if this server itself fails.
pub async fn django(server: &Server, database: &Path, media: &Path) -> Result<Report> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .read_only(true)
        .create_if_missing(false);
    let mut connection = SqliteConnection::connect_with(&options)
        .await
        .map_err(|error| unreadable(database, &error))?;
    let report = take_over(server, &mut connection, database, media).await;
    // Dropped, it would be closed a moment later, and on Windows nobody could remove the file until then.
    let closed = connection.close().await;
    let report = report?;
    closed.map_err(|error| unreadable(database, &error))?;
    Ok(report)
}

fn unreadable(database: &Path, error: &sqlx::Error) -> Error {
    Error::request(format!(
        "{}: cannot be read as a database of SQLite: {error}",
        database.display()
    ))
}

async fn take_over(
    server: &Server,
    connection: &mut SqliteConnection,
    database: &Path,
    media: &Path,
) -> Result<Report> {
    let unreadable = |error: sqlx::Error| unreadable(database, &error);
    let tables = tables(connection).await.map_err(unreadable)?;
    let mut import = Import {
        server,
        media,
        apps: HashMap::new(),
        files: HashMap::new(),
        report: Report::default(),
    };
    for installation in installations(&tables, database)? {
        let apps = rows(connection, installation.apps, &tables).await;
        for row in apps.map_err(unreadable)? {
            import.app(&row).await?;
        }
        if let Some(files) = installation.files {
            for row in rows(connection, files, &tables).await.map_err(unreadable)? {
                import
                    .files
                    .insert(row.text("id").to_owned(), row.text("file").to_owned());
            }
        }
        let versions = rows(connection, installation.versions, &tables).await;
        let mut versions = versions.map_err(unreadable)?;
        // The times are written so that they sort as texts.
        versions.sort_by_key(|row| {
            (
                row.text("upload_time").to_owned(),
                row.text("id").parse::<i64>().ok(),
            )
        });
        import.versions(&versions).await?;
    }
    Ok(import.report)
}

/// The tables of a database, with their columns.
type Tables = BTreeMap<String, BTreeSet<String>>;

async fn tables(connection: &mut SqliteConnection) -> sqlx::Result<Tables> {
    let columns = sqlx::query(
        "SELECT m.name AS owner, c.name AS name FROM sqlite_master m, pragma_table_info(m.name) c \
         WHERE m.type = 'table'",
    )
    .fetch_all(connection)
    .await?;
    let mut tables = Tables::new();
    for column in columns {
        let columns = tables.entry(column.try_get("owner")?).or_default();
        columns.insert(column.try_get("name")?);
    }
    Ok(tables)
}

/// The tables that belong together.
struct Installation<'a> {
    apps: &'a str,
    versions: &'a str,
    /// Of the later server.
    files: Option<&'a str>,
}

/// Finds the tables: of one Django app or of several in the same database.
fn installations<'a>(tables: &'a Tables, database: &Path) -> Result<Vec<Installation<'a>>> {
    let with = |wanted: &[&[&str]]| -> Vec<&'a str> {
        let has = |columns: &BTreeSet<String>| {
            let mut wanted = wanted.iter().copied().flatten();
            wanted.all(|column| columns.contains(*column))
        };
        let fitting = tables.iter().filter(|(_, columns)| has(columns));
        fitting.map(|(name, _)| name.as_str()).collect()
    };
    let (apps, files) = (with(&[APP]), with(&[FILE]));
    let label = |table: &'a str| table.rsplit_once('_').map_or("", |(label, _)| label);
    // Those of the same Django app, or else the only one that there is.
    let beside = |versions: &'a str, among: &[&'a str]| {
        let mut same = among.iter().filter(|it| label(it) == label(versions));
        match among {
            [only] => Some(*only),
            _ => same.next().copied(),
        }
    };
    let mut found = Vec::new();
    for (versions, is_first) in [
        (with(&[VERSION, PACKAGE]), true),
        (with(&[VERSION, MANIFEST]), false),
    ] {
        for versions in versions {
            let files = beside(versions, &files);
            if let Some(apps) = beside(versions, &apps)
                && (is_first || files.is_some())
            {
                let files = files.filter(|_| !is_first);
                found.push(Installation {
                    apps,
                    versions,
                    files,
                });
            }
        }
    }
    if found.is_empty() {
        return Err(Error::request(format!(
            "{} is no database of zghmvp's Django server. Of either there has to be a table with the columns {} \
             (its apps); of the first one with {} and {} (its versions); of the later one with {} and {} \
             (versions), and one with {} (files). There are the tables {}",
            database.display(),
            APP.join(", "),
            VERSION.join(", "),
            PACKAGE.join(", "),
            VERSION.join(", "),
            MANIFEST.join(", "),
            FILE.join(", "),
            tables
                .keys()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", "),
        )));
    }
    Ok(found)
}

/// A row of a table, as texts.
struct Row(HashMap<String, String>);

impl Row {
    /// What is in a column; empty for nothing.
    fn text(&self, column: &str) -> &str {
        self.0.get(column).map_or("", String::as_str)
    }

    fn time(&self, column: &str) -> Option<DateTime<Utc>> {
        let text = self.text(column);
        // As Django writes times, in UTC.
        let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f");
        time.ok().map(|time| time.and_utc())
    }
}

async fn rows(
    connection: &mut SqliteConnection,
    table: &str,
    tables: &Tables,
) -> sqlx::Result<Vec<Row>> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<_> = tables.get(table).into_iter().flatten().collect();
    let texts: Vec<_> = columns
        .iter()
        .map(|name| format!("CAST({} AS TEXT)", quoted(name)))
        .collect();
    let statement = format!("SELECT {} FROM {}", texts.join(", "), quoted(table));
    let rows = sqlx::query(AssertSqlSafe(statement))
        .fetch_all(connection)
        .await?;
    let row = |row: &sqlx::sqlite::SqliteRow| {
        let mut texts = HashMap::new();
        for (index, name) in columns.iter().enumerate() {
            if let Some(text) = row.try_get::<Option<String>, _>(index)? {
                texts.insert((*name).clone(), text);
            }
        }
        Ok(Row(texts))
    };
    rows.iter().map(row).collect()
}

/// What is under way.
struct Import<'a> {
    server: &'a Server,
    media: &'a Path,
    /// The apps here, by their ids there.
    apps: HashMap<String, App>,
    /// Where the later server's files lie below MEDIA, by digest.
    files: HashMap<String, String>,
    report: Report,
}

/// Why a version is not taken over: its own fault, or this server's.
enum Fault {
    Left(String),
    Server(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::PackageInvalid(_)
            | Error::VersionExists(_)
            | Error::Conflict(_)
            | Error::IndexNeeded(_)
            | Error::Request(_) => Self::Left(error.to_string()),
            error => Self::Server(error),
        }
    }
}

impl Import<'_> {
    /// Notes why something is left, and goes on; fails if it is this server's own fault.
    fn leave(&mut self, what: &str, fault: Fault) -> Result<()> {
        match fault {
            Fault::Left(why) => self.report.left.push(format!("{what}: {why}")),
            Fault::Server(error) => return Err(error),
        }
        Ok(())
    }

    async fn app(&mut self, row: &Row) -> Result<()> {
        let (there, name) = (row.text("id"), row.text("name"));
        let plain = there.replace('-', "").to_ascii_lowercase();
        let is_plain = plain.len() == 32 && plain.bytes().all(|byte| byte.is_ascii_hexdigit());
        let registry = &self.server.registry;
        let (id, key) = if is_plain {
            let is_free = is_identity(name) && registry.app(name).await?.is_none();
            let key = if is_free { name } else { &plain };
            (plain.clone(), key.to_owned())
        } else if is_identity(there) {
            // Somebody named it by hand, and its clients ask for that name.
            (secret::digest(there)[..32].to_owned(), there.to_owned())
        } else {
            let why = "its id can stand in no address here".to_owned();
            return self.leave(&format!("the app {name} ({there})"), Fault::Left(why));
        };
        if let Some(known) = registry.app(&id).await? {
            self.report.known += 1;
            self.apps.insert(there.to_owned(), known);
            return Ok(());
        }
        let mut description = row.text("description").to_owned();
        if let Some((end, _)) = description.char_indices().nth(DESCRIPTION) {
            description.truncate(end);
            let what = format!("the end of the description of {name}");
            let why = format!("{DESCRIPTION} characters are kept");
            self.leave(&what, Fault::Left(why))?;
        }
        let app = App {
            id,
            name: name.to_owned(),
            description,
            enable_time: row.time("enable_time"),
            disable_time: row.time("disable_time"),
            created: row.time("created_at").unwrap_or_else(Utc::now),
            key,
        };
        match publishing::add_app(self.server, WHO, &app).await {
            Ok(()) => {
                self.report.apps.push(format!("{name} ({})", app.id));
                self.apps.insert(there.to_owned(), app);
                Ok(())
            }
            Err(error) => self.leave(&format!("the app {name}"), error.into()),
        }
    }

    /// Takes over versions, the first uploaded first.
    async fn versions(&mut self, rows: &[Row]) -> Result<()> {
        let mut active = BTreeMap::new();
        for row in rows {
            let Some(app) = self.apps.get(row.text("app_id")).cloned() else {
                let what = format!(
                    "version {} of an app {}",
                    row.text("version"),
                    row.text("app_id")
                );
                self.leave(&what, Fault::Left("that app was not taken over".to_owned()))?;
                continue;
            };
            let what = format!("{} {}", app.name, row.text("version"));
            match self.version(&app, row).await {
                Ok((version, is_new)) => {
                    if is_new {
                        self.report.versions.push(what.clone());
                    } else {
                        self.report.known += 1;
                    }
                    if row.text("is_active") == "1" {
                        active.insert(app.id.clone(), (app, version));
                    }
                }
                Err(fault) => self.leave(&what, fault)?,
            }
        }
        for (app, version) in active.into_values() {
            let what = format!("{} {version}", app.name);
            match self.activate(&app, &version).await {
                Ok(true) => self.report.active.push(what),
                Ok(false) => {}
                Err(fault) => self.leave(&format!("that {what} is active"), fault)?,
            }
        }
        Ok(())
    }

    /// Takes over a version. Says whether it was not here.
    async fn version(&mut self, app: &App, row: &Row) -> Result<(Version, bool), Fault> {
        let version: Version = row
            .text("version")
            .parse()
            .map_err(|error: castoff::Error| Fault::Left(error.to_string()))?;
        let expected = row.text("file_hash").to_ascii_lowercase();
        if let Some(known) = self.server.registry.release(&app.id, &version).await? {
            let is_same = |sha256: &String| expected.is_empty() || *sha256 == expected;
            if known
                .packages
                .iter()
                .any(|package| is_same(&package.sha256))
            {
                return Ok((version, false));
            }
            return Err(Fault::Left(format!(
                "{} is here already, with another package",
                known.version
            )));
        }
        let entry_point = row.text("entry_point");
        if leads_outside(entry_point) {
            return Err(Fault::Left(format!(
                "its entry point {entry_point:?} is no path inside the client folder"
            )));
        }
        let zip = match row.0.get("file_manifest") {
            None => self.copy(row.text("file"), &expected).await?.0,
            Some(manifest) => {
                let files = self.listed(manifest).await?;
                intake::zip_of(self.server, &files).await?
            }
        };
        let package = NewPackage {
            target: ANY.to_owned(),
            name: name_of(app, &version),
            entry_point: entry_point.to_owned(),
            notes: row.text("changelog").to_owned(),
            critical_below: None,
            created: row.time("upload_time").unwrap_or_else(Utc::now),
            version: version.clone(),
        };
        publishing::publish(self.server, WHO, app, &zip, package).await?;
        Ok((version, true))
    }

    /// The files of a version of the later server, all of which are in the store then.
    async fn listed(&self, manifest: &str) -> Result<Vec<File>, Fault> {
        let listed = manifest_of(manifest).ok_or_else(|| {
            Fault::Left("its list of files is none of paths and digests".to_owned())
        })?;
        let (mut files, mut faults) = (Vec::new(), Vec::new());
        for (path, sha256) in listed {
            let place = intake::place_of(&sha256);
            let stored = self.server.store.look(&place).await?;
            let size = match stored {
                Some(stored) => stored.size,
                None => match self.take_file(&sha256).await {
                    Ok(size) => size,
                    Err(Fault::Left(why)) => {
                        faults.push(format!("{path}: {why}"));
                        continue;
                    }
                    Err(fault) => return Err(fault),
                },
            };
            files.push(File {
                path,
                sha256,
                size: size.cast_signed(),
            });
        }
        if !faults.is_empty() {
            return Err(Fault::Left(faults.join("; ")));
        }
        Ok(intake::without_folders(files))
    }

    /// Puts a file of the later server into the store. Says its size.
    async fn take_file(&self, sha256: &str) -> Result<u64, Fault> {
        let there = self.files.get(sha256).ok_or_else(|| {
            Fault::Left(format!("no file with the digest {sha256} is known there"))
        })?;
        let (copy, size) = self.copy(there, sha256).await?;
        intake::file(self.server, &copy).await?;
        Ok(size)
    }

    /// Copies a file of MEDIA into the spool, if it has this digest; empty: none is known. Says its size.
    async fn copy(&self, file: &str, expected: &str) -> Result<(TempPath, u64), Fault> {
        let path = below(self.media, file)
            .ok_or_else(|| Fault::Left(format!("{file:?} is no path inside the MEDIA folder")))?;
        let spool = self.server.config.spool();
        let (from, into) = (path.clone(), spool);
        let copied = blocking(move || copy(&from, &into)).await?;
        let (copy, sha256, size) =
            copied.ok_or_else(|| Fault::Left(format!("{} is missing", path.display())))?;
        if !expected.is_empty() && sha256 != expected {
            return Err(Fault::Left(format!(
                "{} has the digest {sha256} and not {expected}, as the database says: it is damaged",
                path.display()
            )));
        }
        Ok((copy, size))
    }

    /// Makes a version active, unless one is. Says whether it was done.
    async fn activate(&mut self, app: &App, version: &Version) -> Result<bool, Fault> {
        match self.server.registry.current(&app.id, STABLE).await? {
            Some((current, _)) if current.version == *version => Ok(false),
            Some((current, _)) => Err(Fault::Left(format!(
                "{} is active here, and stays so",
                current.version
            ))),
            None => {
                publishing::activate(self.server, WHO, app, STABLE, version, 100).await?;
                Ok(true)
            }
        }
    }
}

/// Paths and digests. The later server writes them as an object; its admin pages, as a list of objects.
fn manifest_of(text: &str) -> Option<BTreeMap<String, String>> {
    let pair =
        |path: &str, hash: &Value| Some((path.to_owned(), hash.as_str()?.to_ascii_lowercase()));
    match serde_json::from_str(text).ok()? {
        Value::Object(files) => files.iter().map(|(path, hash)| pair(path, hash)).collect(),
        Value::Array(files) => files
            .iter()
            .map(|file| pair(file["path"].as_str()?, &file["hash"]))
            .collect(),
        _ => None,
    }
}

/// A path below a folder, from which it does not lead out.
fn below(folder: &Path, path: &str) -> Option<PathBuf> {
    let mut below = folder.to_path_buf();
    for name in path.split(['/', '\\']) {
        if matches!(name, "" | "." | "..") || name.contains([':', '\0']) {
            return None;
        }
        below.push(name);
    }
    Some(below)
}

/// Copies a file into a folder, with digest and size; `None`: there is none.
fn copy(from: &Path, into: &Path) -> Result<Option<(TempPath, String, u64)>> {
    let failed = |error: std::io::Error| Error::io("copy", from, &error);
    let mut file = match Handle::open(from) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Ok(None);
    }
    castoff::disk::need_space(into, metadata.len().saturating_mul(2))
        .map_err(|error| Error::DiskFull(error.to_string()))?;
    let mut copy = tempfile::NamedTempFile::new_in(into).map_err(failed)?;
    std::io::copy(&mut file, &mut copy).map_err(failed)?;
    let copied = copy.reopen().map_err(failed)?;
    let (sha256, size) = hash_file(&copied).map_err(failed)?;
    Ok(Some((copy.into_temp_path(), sha256.to_string(), size)))
}
