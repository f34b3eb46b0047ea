//! What the server knows: apps, releases, channels, documents, tokens, and who did what. In SQLite or
//! in PostgreSQL, by the same statements.
//!
//! Promises:
//!
//! - Changes happen one after the other, on all servers of one database: each begins by taking the next
//!   number of `changes`, which locks the one row there.
//! - What is current in a channel is one row, which is changed at once: never two, never none between
//!   two. The number of a channel's index only goes up.
//! - A change that was answered is in the database. What the audit says of it is in the same
//!   transaction.
//! - [`Registry::generation`] is asked of the database after the call began: what was answered before,
//!   on whichever server, is seen.
//!
//! Not promised: that the packages which it names lie in the store; [`crate::intake`] sees to that.

use std::time::{Duration, Instant};

use castoff::version::Version;
use chrono::{DateTime, SecondsFormat, Utc};
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, AssertSqlSafe, Row as _, Transaction};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::{Error, Result, secret};

/// The channel that is meant where none is named, and that zghmvp's clients follow.
pub const STABLE: &str = "stable";

/// What the embedded migrations make of an empty database.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// More connections than processors wait for each other's disk, not for more work done.
const CONNECTIONS: u32 = 8;

/// How long somebody waits for a connection, or for another's change, before it is an error.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a database has to say the number of the last change: it is in its memory.
const ANSWER: Duration = Duration::from_secs(5);

/// How long one connection is asked for it.
const RENEWED: Duration = Duration::from_mins(1);

/// An app.
#[derive(Clone, Debug)]
pub struct App {
    /// 32 hexadecimal digits.
    pub id: String,
    /// The app of launcher.toml.
    pub key: String,
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// From when on it is answered for; `None`: not yet.
    pub enable_time: Option<DateTime<Utc>>,
    /// From when on it is not.
    pub disable_time: Option<DateTime<Utc>>,
    /// When it was registered.
    pub created: DateTime<Utc>,
}

impl App {
    /// A new app, which is available at once.
    pub fn new(key: String, name: Option<String>, description: String) -> Self {
        Self {
            id: secret::hex(16),
            name: name.unwrap_or_else(|| key.clone()),
            key,
            description,
            enable_time: Some(Utc::now()),
            disable_time: None,
            created: Utc::now(),
        }
    }

    /// Whether it is answered for at this time.
    pub fn is_available(&self, now: DateTime<Utc>) -> bool {
        self.enable_time.is_some_and(|from| from <= now)
            && self.disable_time.is_none_or(|until| now < until)
    }
}

/// A release of an app.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its number, unique among all apps.
    pub id: i64,
    /// The id of its app.
    pub app: String,
    /// Its version.
    pub version: Version,
    /// What is to be started; empty: what the launcher has configured.
    pub entry_point: String,
    /// What is new.
    pub notes: String,
    /// Versions below are not safe to go on with.
    pub critical_below: Option<String>,
    /// When it was published.
    pub created: DateTime<Utc>,
    /// Whether it may become current.
    pub enabled: bool,
    /// Whether it is never to be installed again.
    pub withdrawn: bool,
    /// The channels in which it is current.
    pub active: Vec<String>,
    /// Its packages, the one for all machines first.
    pub packages: Vec<Package>,
}

impl Release {
    /// The package for this kind of machine, or else the one for all machines, or else the first.
    pub fn package_for(&self, target: Option<&str>) -> Option<&Package> {
        let mut packages = self.packages.iter();
        let exact = packages.find(|package| Some(package.target.as_str()) == target);
        exact.or(self.packages.first())
    }
}

/// A package of a release.
#[derive(Clone, Debug)]
pub struct Package {
    /// The kind of machine, or `any`.
    pub target: String,
    /// The name of its file.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Where it lies in the store, and below `/media/`.
    pub place: String,
    /// How often it was downloaded whole.
    pub downloads: i64,
}

/// A file of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path below the client folder.
    pub path: String,
    /// SHA-256, hexadecimal; its name in the store.
    pub sha256: String,
    /// Bytes.
    pub size: i64,
}

/// What is current in a channel.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// The id of the current release.
    pub release: Option<i64>,
    /// For how many per cent of installations.
    pub rollout: i64,
    /// The number of the last index; 0: there is none.
    pub seq: i64,
}

/// What a token lets its bearer do. The later ones may do what the earlier ones may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Fetch, where that needs a token.
    Read,
    /// Publish releases, and say which is current.
    Publish,
    /// Also apps and tokens.
    Admin,
}

impl Role {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Read, Self::Publish, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| Error::request(format!("{text:?} is none of read, publish and admin")))
    }
}

/// Whose token it is, and what it allows.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// The token's name.
    pub name: String,
    /// What it allows.
    pub role: Role,
}

/// A token, as it is listed: without itself.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// Since when it is void.
    pub revoked: Option<DateTime<Utc>>,
}

/// A person who is signed in to the admin pages.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whose token was shown.
    pub bearer: Bearer,
    /// What every form has to bring.
    pub csrf: String,
}

/// A line of the audit.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When.
    pub at: DateTime<Utc>,
    /// The name of the token.
    pub who: String,
    /// What was done, such as `activate`.
    pub action: String,
    /// The key of the app; empty: none.
    pub app: String,
    /// To what.
    pub detail: String,
}

/// A release that is to be registered.
#[derive(Clone, Debug)]
pub struct NewRelease {
    /// Its version.
    pub version: Version,
    /// What is to be started.
    pub entry_point: String,
    /// What is new.
    pub notes: String,
    /// Versions below are not safe to go on with.
    pub critical_below: Option<String>,
    /// When it was published.
    pub created: DateTime<Utc>,
    /// Its package.
    pub package: Package,
    /// Its files.
    pub files: Vec<File>,
}

/// The database.
#[derive(Clone)]
pub struct Registry {
    pool: AnyPool,
    asked: mpsc::UnboundedSender<oneshot::Sender<std::result::Result<i64, String>>>,
    /// With which statement a transaction begins that writes.
    begin: &'static str,
}

/// A change that is under way. Dropped without [`Change::commit`], it did not happen.
pub struct Change {
    transaction: Transaction<'static, Any>,
    who: String,
}

impl Registry {
    /// Opens a database by its address: `sqlite://PATH` or `postgres://...`. Makes or brings up to date
    /// the tables in it.
    pub async fn open(address: &str) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let is_sqlite = address.starts_with("sqlite:");
        if !is_sqlite && cfg!(not(feature = "postgres")) {
            return Err(Error::request(
                "this castoff was built without PostgreSQL: build it with --features postgres",
            ));
        }
        let options = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if is_sqlite {
                        // Readers go on while somebody writes, and what was answered is on the disk.
                        for pragma in [
                            "PRAGMA journal_mode = WAL",
                            "PRAGMA synchronous = FULL",
                            "PRAGMA foreign_keys = ON",
                            "PRAGMA busy_timeout = 30000",
                        ] {
                            sqlx::query(pragma).execute(&mut *connection).await?;
                        }
                    }
                    Ok(())
                })
            });
        let pool = options.connect(address).await?;
        MIGRATIONS
            .run(&pool)
            .await
            .map_err(|error| Error::Database(error.into()))?;
        let (asked, asking) = mpsc::unbounded_channel();
        tokio::spawn(answer_generations(pool.clone(), asking));
        Ok(Self {
            pool,
            asked,
            begin: if is_sqlite {
                "BEGIN IMMEDIATE"
            } else {
                "BEGIN"
            },
        })
    }

    /// The address of a SQLite file.
    pub fn sqlite(path: &std::path::Path) -> String {
        // Percent-encoded where an address would read it otherwise; Windows has its separators changed.
        let path = path.display().to_string().replace('\\', "/");
        let path = path
            .replace('%', "%25")
            .replace('?', "%3F")
            .replace('#', "%23");
        format!("sqlite:{path}?mode=rwc")
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// The number of the last change. All that wait for it while the database is asked share its next
    /// answer.
    pub async fn generation(&self) -> Result<i64> {
        let (sender, receiver) = oneshot::channel();
        let gone = || Error::Internal("the registry's own task has ended".to_owned());
        self.asked.send(sender).map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?.map_err(Error::Internal)
    }

    /// Begins a change, made by whom.
    pub async fn change(&self, who: &str) -> Result<Change> {
        let mut transaction = self.pool.begin_with(self.begin).await?;
        sqlx::query("UPDATE changes SET last = last + 1")
            .execute(&mut *transaction)
            .await?;
        Ok(Change {
            transaction,
            who: who.to_owned(),
        })
    }

    /// All apps, by name.
    pub async fn apps(&self) -> Result<Vec<App>> {
        let rows = sqlx::query("SELECT * FROM apps ORDER BY name, id")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(app).collect()
    }

    /// The app of this key or id, with or without dashes.
    pub async fn app(&self, named: &str) -> Result<Option<App>> {
        let id = named.replace('-', "").to_ascii_lowercase();
        let row = sqlx::query("SELECT * FROM apps WHERE key = $1 OR id = $2")
            .bind(named)
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(app).transpose()
    }

    /// The releases of an app, the last published first.
    pub async fn releases(&self, app: &str) -> Result<Vec<Release>> {
        self.select("WHERE app = $1 ORDER BY id DESC", app).await
    }

    /// The release of an app that has this version, however it is written.
    pub async fn release(&self, app: &str, version: &Version) -> Result<Option<Release>> {
        let releases = self.releases(app).await?;
        Ok(releases.into_iter().find(|it| it.version == *version))
    }

    /// What is current in a channel of an app.
    pub async fn current(&self, app: &str, channel: &str) -> Result<Option<(Release, Channel)>> {
        let channels = self.channels(app).await?;
        let Some(channel) = channels.into_iter().find(|it| it.name == channel) else {
            return Ok(None);
        };
        let Some(id) = channel.release else {
            return Ok(None);
        };
        let releases = self.select("WHERE id = $1", id).await?;
        Ok(releases.into_iter().next().map(|it| (it, channel)))
    }

    async fn select<'q, T>(&self, condition: &'static str, value: T) -> Result<Vec<Release>>
    where
        T: sqlx::Encode<'q, Any> + sqlx::Type<Any> + 'q,
    {
        let mut connection = self.pool.acquire().await?;
        select(&mut connection, condition, value).await
    }

    /// The files of a release, by path.
    pub async fn files(&self, release: i64) -> Result<Vec<File>> {
        let rows = sqlx::query("SELECT * FROM files WHERE release = $1 ORDER BY path")
            .bind(release)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(file).collect()
    }

    /// The size of the file with this digest, if a release has one.
    pub async fn size_of(&self, sha256: &str) -> Result<Option<i64>> {
        let row = sqlx::query("SELECT size FROM files WHERE sha256 = $1 LIMIT 1")
            .bind(sha256)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.try_get("size")).transpose()?)
    }

    /// The channels of an app, by name.
    pub async fn channels(&self, app: &str) -> Result<Vec<Channel>> {
        let mut connection = self.pool.acquire().await?;
        channels(&mut connection, app).await
    }

    /// The names of an app's documents.
    pub async fn documents(&self, app: &str) -> Result<Vec<String>> {
        let mut connection = self.pool.acquire().await?;
        document_names(&mut connection, app).await
    }

    /// A document, as it came.
    pub async fn document(&self, app: &str, name: &str) -> Result<Option<String>> {
        let mut connection = self.pool.acquire().await?;
        document(&mut connection, app, name).await
    }

    /// The package that lies at this place of the store.
    pub async fn package_at(&self, place: &str) -> Result<Option<Package>> {
        let row = sqlx::query("SELECT * FROM packages WHERE place = $1")
            .bind(place)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(package).transpose()
    }

    /// The package of an app that has this name; of several the last.
    pub async fn package_named(&self, app: &str, name: &str) -> Result<Option<Package>> {
        let row = sqlx::query(
            "SELECT packages.* FROM packages JOIN releases ON releases.id = packages.release \
             WHERE releases.app = $1 AND packages.name = $2 ORDER BY releases.id DESC LIMIT 1",
        )
        .bind(app)
        .bind(name)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(package).transpose()
    }

    /// Adds to the downloads of packages. It is no change: nothing that is answered for depends on it
    /// at once.
    pub async fn count_downloads(&self, counts: &[(String, i64)]) -> Result<()> {
        let mut transaction = self.pool.begin_with(self.begin).await?;
        for (place, count) in counts {
            sqlx::query("UPDATE packages SET downloads = downloads + $1 WHERE place = $2")
                .bind(count)
                .bind(place)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Whose token has this digest.
    pub async fn bearer(&self, digest: &str) -> Result<Option<Bearer>> {
        let row =
            sqlx::query("SELECT name, role FROM tokens WHERE digest = $1 AND revoked IS NULL")
                .bind(digest)
                .fetch_optional(&self.pool)
                .await?;
        row.as_ref().map(bearer).transpose()
    }

    /// All tokens, the last first.
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        let rows = sqlx::query("SELECT * FROM tokens ORDER BY created DESC, name")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(token).collect()
    }

    /// Whose session has this digest.
    pub async fn session(&self, digest: &str) -> Result<Option<Session>> {
        let row = sqlx::query(
            "SELECT tokens.name, tokens.role, sessions.csrf FROM sessions \
             JOIN tokens ON tokens.name = sessions.token \
             WHERE sessions.digest = $1 AND sessions.expires > $2 AND tokens.revoked IS NULL",
        )
        .bind(digest)
        .bind(text_of(Utc::now()))
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        Ok(Some(Session {
            bearer: bearer(&row)?,
            csrf: row.try_get("csrf")?,
        }))
    }

    /// Signs somebody in until then. Those whose time is over go.
    pub async fn begin_session(
        &self,
        digest: &str,
        token: &str,
        csrf: &str,
        expires: DateTime<Utc>,
    ) -> Result<()> {
        let mut transaction = self.pool.begin_with(self.begin).await?;
        sqlx::query("DELETE FROM sessions WHERE expires <= $1")
            .bind(text_of(Utc::now()))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO sessions (digest, token, csrf, expires) VALUES ($1, $2, $3, $4)")
            .bind(digest)
            .bind(token)
            .bind(csrf)
            .bind(text_of(expires))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Signs somebody out.
    pub async fn end_session(&self, digest: &str) -> Result<()> {
        sqlx::query("DELETE FROM sessions WHERE digest = $1")
            .bind(digest)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The last lines of the audit, the newest first.
    pub async fn audit(&self, count: i64) -> Result<Vec<Entry>> {
        let rows = sqlx::query("SELECT * FROM audit ORDER BY at DESC LIMIT $1")
            .bind(count)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(entry).collect()
    }
}

impl Change {
    /// Makes it so.
    pub async fn commit(self) -> Result<()> {
        self.transaction.commit().await?;
        Ok(())
    }

    /// Says in the audit what is done to which app; empty: none.
    pub async fn note(&mut self, action: &str, app: &str, detail: &str) -> Result<()> {
        sqlx::query("INSERT INTO audit (at, who, action, app, detail) VALUES ($1, $2, $3, $4, $5)")
            .bind(text_of(Utc::now()))
            .bind(&self.who)
            .bind(action)
            .bind(app)
            .bind(detail)
            .execute(&mut *self.transaction)
            .await?;
        log::info!("{}: {action} {app} {detail}", self.who);
        Ok(())
    }

    /// The releases of an app, as they are within this change.
    pub async fn releases(&mut self, app: &str) -> Result<Vec<Release>> {
        select(
            &mut self.transaction,
            "WHERE app = $1 ORDER BY id DESC",
            app,
        )
        .await
    }

    /// The release of an app that has this version.
    pub async fn release(&mut self, app: &str, version: &Version) -> Result<Option<Release>> {
        let releases = self.releases(app).await?;
        Ok(releases.into_iter().find(|it| it.version == *version))
    }

    /// The channel of this name, as it is within this change; one that is not there has nothing
    /// current.
    pub async fn channel(&mut self, app: &str, name: &str) -> Result<Channel> {
        let channels = channels(&mut self.transaction, app).await?;
        let found = channels.into_iter().find(|it| it.name == name);
        Ok(found.unwrap_or_else(|| Channel {
            name: name.to_owned(),
            release: None,
            rollout: 100,
            seq: 0,
        }))
    }

    /// The names of an app's documents.
    pub async fn documents(&mut self, app: &str) -> Result<Vec<String>> {
        document_names(&mut self.transaction, app).await
    }

    /// A document.
    pub async fn document(&mut self, app: &str, name: &str) -> Result<Option<String>> {
        document(&mut self.transaction, app, name).await
    }

    /// Puts a document in the place of the one of that name, or beside the others.
    pub async fn put_document(&mut self, app: &str, name: &str, content: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO documents (app, name, content, changed) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (app, name) DO UPDATE SET content = excluded.content, changed = excluded.changed",
        )
        .bind(app)
        .bind(name)
        .bind(content)
        .bind(text_of(Utc::now()))
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }

    /// Removes a document.
    pub async fn remove_document(&mut self, app: &str, name: &str) -> Result<()> {
        sqlx::query("DELETE FROM documents WHERE app = $1 AND name = $2")
            .bind(app)
            .bind(name)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Registers an app. Whether its key is free is for the caller to see.
    pub async fn add_app(&mut self, app: &App) -> Result<()> {
        sqlx::query(
            "INSERT INTO apps (id, key, name, description, enable_time, disable_time, created) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&app.id)
        .bind(&app.key)
        .bind(&app.name)
        .bind(&app.description)
        .bind(app.enable_time.map(text_of))
        .bind(app.disable_time.map(text_of))
        .bind(text_of(app.created))
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }

    /// Changes name, description and times of an app.
    pub async fn change_app(&mut self, app: &App) -> Result<()> {
        sqlx::query(
            "UPDATE apps SET name = $1, description = $2, enable_time = $3, disable_time = $4 WHERE id = $5",
        )
        .bind(&app.name)
        .bind(&app.description)
        .bind(app.enable_time.map(text_of))
        .bind(app.disable_time.map(text_of))
        .bind(&app.id)
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }

    /// Registers a release, whose version is not there yet, and gives it its number.
    pub async fn add_release(&mut self, app: &str, release: &NewRelease) -> Result<i64> {
        let row = sqlx::query("UPDATE changes SET releases = releases + 1 RETURNING releases")
            .fetch_one(&mut *self.transaction)
            .await?;
        let id: i64 = row.try_get("releases")?;
        sqlx::query(
            "INSERT INTO releases \
             (id, app, version, entry_point, notes, critical_below, created, enabled, withdrawn) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 1, 0)",
        )
        .bind(id)
        .bind(app)
        .bind(release.version.as_str())
        .bind(&release.entry_point)
        .bind(&release.notes)
        .bind(&release.critical_below)
        .bind(text_of(release.created))
        .execute(&mut *self.transaction)
        .await?;
        self.add_package(id, &release.package).await?;
        self.add_files(id, &release.files).await?;
        Ok(id)
    }

    /// Adds files to a release; a path that it has already stays as it is.
    pub async fn add_files(&mut self, release: i64, files: &[File]) -> Result<()> {
        for file in files {
            sqlx::query(
                "INSERT INTO files (release, path, sha256, size) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (release, path) DO NOTHING",
            )
            .bind(release)
            .bind(&file.path)
            .bind(&file.sha256)
            .bind(file.size)
            .execute(&mut *self.transaction)
            .await?;
        }
        Ok(())
    }

    /// Adds a package to a release.
    pub async fn add_package(&mut self, release: i64, package: &Package) -> Result<()> {
        sqlx::query(
            "INSERT INTO packages (release, target, name, size, sha256, place, downloads) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(release)
        .bind(&package.target)
        .bind(&package.name)
        .bind(package.size)
        .bind(&package.sha256)
        .bind(&package.place)
        .bind(package.downloads)
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }

    /// Changes what a release says of itself: entry point, notes, `critical_below`, whether it is
    /// enabled and withdrawn.
    pub async fn change_release(&mut self, release: &Release) -> Result<()> {
        sqlx::query(
            "UPDATE releases SET entry_point = $1, notes = $2, critical_below = $3, enabled = $4, \
             withdrawn = $5 WHERE id = $6",
        )
        .bind(&release.entry_point)
        .bind(&release.notes)
        .bind(&release.critical_below)
        .bind(i64::from(release.enabled))
        .bind(i64::from(release.withdrawn))
        .bind(release.id)
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }

    /// Removes a release, which is current nowhere.
    pub async fn remove_release(&mut self, id: i64) -> Result<()> {
        for table in ["files", "packages", "activations"] {
            let statement = format!("DELETE FROM {table} WHERE release = $1");
            sqlx::query(AssertSqlSafe(statement))
                .bind(id)
                .execute(&mut *self.transaction)
                .await?;
        }
        sqlx::query("DELETE FROM releases WHERE id = $1")
            .bind(id)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Says what is current in a channel, for how many installations, and by which number of its
    /// index.
    pub async fn set_channel(&mut self, app: &str, channel: &Channel) -> Result<()> {
        sqlx::query(
            "INSERT INTO channels (app, name, release, rollout, seq) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (app, name) DO UPDATE SET \
             release = excluded.release, rollout = excluded.rollout, seq = excluded.seq",
        )
        .bind(app)
        .bind(&channel.name)
        .bind(channel.release)
        .bind(channel.rollout)
        .bind(channel.seq)
        .execute(&mut *self.transaction)
        .await?;
        if let Some(release) = channel.release {
            sqlx::query(
                "INSERT INTO activations (app, channel, release, at) VALUES ($1, $2, $3, $4)",
            )
            .bind(app)
            .bind(&channel.name)
            .bind(release)
            .bind(text_of(Utc::now()))
            .execute(&mut *self.transaction)
            .await?;
        }
        Ok(())
    }

    /// The ids of the releases that have been current in a channel.
    pub async fn was_active(&mut self, app: &str, channel: &str) -> Result<Vec<i64>> {
        let rows =
            sqlx::query("SELECT DISTINCT release FROM activations WHERE app = $1 AND channel = $2")
                .bind(app)
                .bind(channel)
                .fetch_all(&mut *self.transaction)
                .await?;
        rows.iter().map(|row| Ok(row.try_get("release")?)).collect()
    }

    /// Registers a token by the digest of it. One of that name that is void makes room.
    pub async fn add_token(&mut self, name: &str, digest: &str, role: Role) -> Result<()> {
        sqlx::query("DELETE FROM tokens WHERE name = $1 AND revoked IS NOT NULL")
            .bind(name)
            .execute(&mut *self.transaction)
            .await?;
        let there = sqlx::query("SELECT name FROM tokens WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *self.transaction)
            .await?;
        if there.is_some() {
            return Err(Error::conflict(format!(
                "there is a token {name} already; revoke it first"
            )));
        }
        sqlx::query("INSERT INTO tokens (name, digest, role, created) VALUES ($1, $2, $3, $4)")
            .bind(name)
            .bind(digest)
            .bind(role.as_str())
            .bind(text_of(Utc::now()))
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Makes a token void. Says whether there was one.
    pub async fn revoke_token(&mut self, name: &str) -> Result<bool> {
        let done =
            sqlx::query("UPDATE tokens SET revoked = $1 WHERE name = $2 AND revoked IS NULL")
                .bind(text_of(Utc::now()))
                .bind(name)
                .execute(&mut *self.transaction)
                .await?;
        Ok(done.rows_affected() > 0)
    }
}

/// Asks the database for the number of the last change, once for all that wait.
async fn answer_generations(
    pool: AnyPool,
    mut asking: mpsc::UnboundedReceiver<oneshot::Sender<std::result::Result<i64, String>>>,
) {
    // Of its own: the pool asks each time whether a connection is still one, which takes as long again.
    let mut own = None;
    let mut waiting = Vec::new();
    let answers = async {
        while asking.recv_many(&mut waiting, usize::MAX).await > 0 {
            // Whoever is about to ask too is to be among them.
            tokio::task::yield_now().await;
            while let Ok(waiter) = asking.try_recv() {
                waiting.push(waiter);
            }
            let was_open = own.is_some();
            let mut answer = ask_generation(&pool, &mut own).await;
            if answer.is_err() && was_open {
                // The database may have been started again meanwhile.
                answer = ask_generation(&pool, &mut own).await;
            }
            let answer = answer.map_err(|error| error.to_string());
            for waiter in waiting.drain(..) {
                // Who has gone away meanwhile needs no answer.
                let _ = waiter.send(answer.clone());
            }
        }
    };
    tokio::select! {
        () = answers => {}
        // It waits until all connections are given back.
        () = pool.close_event() => {}
    }
}

/// Asks by a connection of some age at most, which is opened if there is none, and given up when it fails.
async fn ask_generation(
    pool: &AnyPool,
    own: &mut Option<(Instant, PoolConnection<Any>)>,
) -> sqlx::Result<i64> {
    // A database that others have taken over from is not asked for ever.
    let young = own.take().filter(|(opened, _)| opened.elapsed() < RENEWED);
    let (opened, mut open) = match young {
        Some(young) => young,
        None => (Instant::now(), pool.acquire().await?),
    };
    let asked = sqlx::query("SELECT last FROM changes").fetch_one(&mut *open);
    let row = match timeout(ANSWER, asked).await {
        Ok(Ok(row)) => row,
        failed => {
            // Not back into the pool, which would ask it once more.
            open.close_on_drop();
            return Err(match failed {
                Ok(Err(error)) => error,
                _ => sqlx::Error::PoolTimedOut,
            });
        }
    };
    *own = Some((opened, open));
    row.try_get("last")
}

type Connection = sqlx::AnyConnection;

async fn select<'q, T>(
    connection: &mut Connection,
    condition: &'static str,
    value: T,
) -> Result<Vec<Release>>
where
    T: sqlx::Encode<'q, Any> + sqlx::Type<Any> + 'q,
{
    let statement = format!("SELECT * FROM releases {condition}");
    let rows = sqlx::query(AssertSqlSafe(statement))
        .bind(value)
        .fetch_all(&mut *connection)
        .await?;
    let mut releases = rows.iter().map(release).collect::<Result<Vec<_>>>()?;
    let Some(first) = releases.first() else {
        return Ok(releases);
    };
    let app = first.app.clone();
    let rows = sqlx::query(
        "SELECT packages.* FROM packages JOIN releases ON releases.id = packages.release \
         WHERE releases.app = $1 ORDER BY packages.target",
    )
    .bind(&app)
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let id: i64 = row.try_get("release")?;
        if let Some(release) = releases.iter_mut().find(|it| it.id == id) {
            release.packages.push(package(row)?);
        }
    }
    for channel in channels(connection, &app).await? {
        if let Some(release) = releases
            .iter_mut()
            .find(|it| Some(it.id) == channel.release)
        {
            release.active.push(channel.name);
        }
    }
    for release in &mut releases {
        release
            .packages
            .sort_by_key(|package| package.target != castoff_publish::document::ANY);
    }
    Ok(releases)
}

async fn channels(connection: &mut Connection, app: &str) -> Result<Vec<Channel>> {
    let rows = sqlx::query("SELECT * FROM channels WHERE app = $1 ORDER BY name")
        .bind(app)
        .fetch_all(connection)
        .await?;
    let channel = |row: &AnyRow| {
        Ok(Channel {
            name: row.try_get("name")?,
            release: row.try_get("release")?,
            rollout: row.try_get("rollout")?,
            seq: row.try_get("seq")?,
        })
    };
    rows.iter().map(channel).collect()
}

async fn document_names(connection: &mut Connection, app: &str) -> Result<Vec<String>> {
    let rows = sqlx::query("SELECT name FROM documents WHERE app = $1 ORDER BY name")
        .bind(app)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok(row.try_get("name")?)).collect()
}

async fn document(connection: &mut Connection, app: &str, name: &str) -> Result<Option<String>> {
    let row = sqlx::query("SELECT content FROM documents WHERE app = $1 AND name = $2")
        .bind(app)
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get("content")).transpose()?)
}

fn app(row: &AnyRow) -> Result<App> {
    Ok(App {
        id: row.try_get("id")?,
        key: row.try_get("key")?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        enable_time: optional_time(row, "enable_time")?,
        disable_time: optional_time(row, "disable_time")?,
        created: time(&row.try_get::<String, _>("created")?)?,
    })
}

fn release(row: &AnyRow) -> Result<Release> {
    let version: String = row.try_get("version")?;
    let flag = |name| Ok::<_, Error>(row.try_get::<i64, _>(name)? != 0);
    Ok(Release {
        id: row.try_get("id")?,
        app: row.try_get("app")?,
        version: version
            .parse()
            .map_err(|error: castoff::Error| Error::Internal(error.to_string()))?,
        entry_point: row.try_get("entry_point")?,
        notes: row.try_get("notes")?,
        critical_below: row.try_get("critical_below")?,
        created: time(&row.try_get::<String, _>("created")?)?,
        enabled: flag("enabled")?,
        withdrawn: flag("withdrawn")?,
        active: Vec::new(),
        packages: Vec::new(),
    })
}

fn package(row: &AnyRow) -> Result<Package> {
    Ok(Package {
        target: row.try_get("target")?,
        name: row.try_get("name")?,
        size: row.try_get("size")?,
        sha256: row.try_get("sha256")?,
        place: row.try_get("place")?,
        downloads: row.try_get("downloads")?,
    })
}

fn file(row: &AnyRow) -> Result<File> {
    Ok(File {
        path: row.try_get("path")?,
        sha256: row.try_get("sha256")?,
        size: row.try_get("size")?,
    })
}

fn bearer(row: &AnyRow) -> Result<Bearer> {
    Ok(Bearer {
        name: row.try_get("name")?,
        role: row.try_get::<String, _>("role")?.parse()?,
    })
}

fn token(row: &AnyRow) -> Result<Token> {
    Ok(Token {
        name: row.try_get("name")?,
        role: row.try_get::<String, _>("role")?.parse()?,
        created: time(&row.try_get::<String, _>("created")?)?,
        revoked: optional_time(row, "revoked")?,
    })
}

fn entry(row: &AnyRow) -> Result<Entry> {
    Ok(Entry {
        at: time(&row.try_get::<String, _>("at")?)?,
        who: row.try_get("who")?,
        action: row.try_get("action")?,
        app: row.try_get("app")?,
        detail: row.try_get("detail")?,
    })
}

/// As times are written in the database, and in answers.
pub fn text_of(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn time(text: &str) -> Result<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text);
    Ok(time
        .map_err(|error| Error::Internal(format!("{text:?} in the database: {error}")))?
        .to_utc())
}

fn optional_time(row: &AnyRow, name: &str) -> Result<Option<DateTime<Utc>>> {
    let text: Option<String> = row.try_get(name)?;
    text.as_deref().map(time).transpose()
}
