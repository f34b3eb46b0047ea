//! The addresses of OTRS Web's upgrades, field for field.
//!
//! | | |
//! |---|---|
//! | `GET /upgrade/api/check-update?force=true` | what is installed, and what the source offers |
//! | `GET /upgrade/api/version-history?limit=10` | the releases, the newest first |
//! | `POST /upgrade/api/start-upgrade` | brings the app up to date, and answers when that is done |
//! | `GET /upgrade/api/upgrade-log` | what the last operation has said |
//! | `GET /upgrade/api/backup-list` | the older versions that are kept |
//! | `POST /upgrade/api/restore-backup` | puts one back, and answers when that is done |
//! | `GET /upgrade/api/config` | where updates come from |
//!
//! Promises: what is installed is what the source offers, whatever address somebody hands over: one that
//! the source did not name is refused. A backup is one of those that are listed.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{get, post};
use castoff::config::{SourceKind, When};
use castoff::layout::{self, Kept};
use castoff::source::Announced;
use castoff::version::Version;
use castoff::{Error, Result};
use chrono::Local;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::board::Stage;
use crate::work::{Agent, Refusal};

/// How many releases are told of unless somebody asks for another number.
const USUAL: usize = 10;

/// More than that are never asked for.
const MOST: usize = 100;

/// Where the original kept its backups, in the app's folder.
const FOREIGN_BACKUPS: &str = "upgrade_backups";

/// Its addresses.
pub fn router() -> Router<Arc<Agent>> {
    Router::new()
        .route("/upgrade/api/check-update", get(check))
        .route("/upgrade/api/version-history", get(history))
        .route("/upgrade/api/start-upgrade", post(start))
        .route("/upgrade/api/upgrade-log", get(log_lines))
        .route("/upgrade/api/backup-list", get(backups))
        .route("/upgrade/api/restore-backup", post(restore))
        .route("/upgrade/api/config", get(config))
}

/// What the source offers, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Offered {
    /// What is installed.
    pub current: Option<Version>,
    /// What is offered.
    pub latest: Option<Announced>,
    /// The archives of it, tar and zip.
    pub archives: (Option<String>, Option<String>),
    /// Why the source could not be asked.
    pub problem: Option<String>,
}

/// Asks the source, or says what it has last said where that is not long ago and nobody insists.
pub fn offered(agent: &Agent, force: bool) -> Result<Offered> {
    let updater = agent.asking()?;
    let current = updater.installed();
    let release = match updater.kept_offer().filter(|_| !force) {
        Some(kept) => Ok(kept.release),
        None => updater.offer().map(|offer| offer.release.release().clone()),
    };
    let release = match release {
        Ok(release) => release,
        Err(error) => {
            log::warn!("{}", error.chain());
            return Ok(Offered {
                current,
                problem: Some(error.chain()),
                ..Offered::default()
            });
        }
    };
    // When it was published and where its page is, the list says, where there is one.
    let listed = updater.releases(USUAL).unwrap_or_default();
    let listed = listed.into_iter().find(|it| it.version == release.version);
    let latest = listed.unwrap_or_else(|| Announced {
        version: release.version.clone(),
        name: String::new(),
        notes: release.notes.clone(),
        published: None,
        page: None,
    });
    let archives = archives(agent, latest.page.as_deref(), &release.package.url);
    Ok(Offered {
        current,
        latest: Some(latest),
        archives,
        problem: None,
    })
}

/// The addresses of a release's archives: the package's own, and those that the forge makes of a tag.
fn archives(agent: &Agent, page: Option<&str>, package: &str) -> (Option<String>, Option<String>) {
    let source = &agent.app().source;
    let path = package.split(['?', '#']).next().unwrap_or_default();
    let has_end = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
    let own = Some(package.to_owned());
    let tag = page.and_then(|page| page.rsplit_once("/releases/tag/"));
    let (tar, zip) = match (source.kind, tag) {
        (SourceKind::Github, Some((_, tag))) => {
            let base = format!("{}/repos/{}", source.url.trim_end_matches('/'), source.repo);
            (
                Some(format!("{base}/tarball/{tag}")),
                Some(format!("{base}/zipball/{tag}")),
            )
        }
        _ => (None, None),
    };
    if has_end(&[".zip"]) {
        (tar, own)
    } else if has_end(&[".tar.gz", ".tgz", ".tar.zst"]) || path.contains("/tarball/") {
        (own, zip)
    } else {
        (tar.or(own), zip)
    }
}

/// The releases that the source tells of.
pub fn releases(agent: &Agent, count: usize) -> Result<Vec<Announced>> {
    agent.asking()?.releases(count.min(MOST))
}

/// A backup, as it is listed.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Its folder's name.
    pub name: String,
    /// Where it lies.
    pub path: String,
    /// When it was made, as people write it.
    pub created: String,
    /// In bytes.
    pub size: u64,
    /// The version in it, where it is known.
    pub version: Option<String>,
    /// Whether Castoff has made it, and can put it back.
    pub is_own: bool,
}

/// The older versions that are kept, the newest first; then what the original has left.
pub fn backups_of(agent: &Agent) -> Result<Vec<Backup>> {
    let updater = agent.asking()?;
    let folder = updater.folder();
    let place = layout::place(folder);
    let own = layout::list(folder).into_iter().map(|kept: Kept| Backup {
        path: place.join(&kept.name).display().to_string(),
        created: kept
            .created
            .with_timezone(&Local)
            .format("%Y-%m-%d %H:%M:%S")
            .to_string(),
        size: kept.size,
        version: kept.version.map(|it| it.to_string()),
        name: kept.name,
        is_own: true,
    });
    let mut all: Vec<_> = own.collect();
    all.extend(foreign(&folder.root().join(FOREIGN_BACKUPS)));
    Ok(all)
}

/// `backup_20261121_024535` and the like.
fn foreign(folder: &Path) -> Vec<Backup> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir()))
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let digits: String = name.strip_prefix("backup_")?.replace('_', "");
            let plain = digits.len() == 14 && digits.bytes().all(|byte| byte.is_ascii_digit());
            let part = |from: usize, to: usize| &digits[from..to];
            plain.then(|| Backup {
                created: format!(
                    "{}-{}-{} {}:{}:{}",
                    part(0, 4),
                    part(4, 6),
                    part(6, 8),
                    part(8, 10),
                    part(10, 12),
                    part(12, 14)
                ),
                size: castoff::disk::size_below(&entry.path()),
                path: entry.path().display().to_string(),
                version: None,
                is_own: false,
                name,
            })
        })
        .collect();
    found.sort_by(|one, other| other.name.cmp(&one.name));
    found
}

/// What came of an operation.
#[derive(Debug)]
pub struct Ended {
    /// Whether it did what it was told.
    pub success: bool,
    /// For people.
    pub message: String,
}

/// Waits for the operation that was begun, and says what came of it.
fn ended(agent: &Agent) -> Ended {
    agent.board.wait_for_rest();
    let now = agent.board.read();
    Ended {
        success: now.stage == Stage::Success,
        message: now.error.unwrap_or(now.message),
    }
}

/// Upgrades, and waits for that.
pub fn upgrade(agent: &Agent) -> Result<Ended, Refusal> {
    agent.upgrade(true).map(|()| ended(agent))
}

/// Puts a backup back, and waits for that.
pub fn put_back(agent: &Agent, name: &str) -> Result<Ended, Refusal> {
    agent.restore(name).map(|()| ended(agent))
}

/// What is answered where an operation does not begin.
pub fn refused(refusal: Refusal) -> (StatusCode, String) {
    match refusal {
        Refusal::Busy(now) => (
            StatusCode::CONFLICT,
            format!("Another operation is under way: {}", now.message),
        ),
        Refusal::Disk(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.chain()),
        Refusal::NotFound | Refusal::Expired => {
            (StatusCode::NOT_FOUND, "There is no such version".to_owned())
        }
    }
}

/// Whether an address is one that the source has named for what it offers.
pub fn belongs(offered: &Offered, url: &str) -> bool {
    let (tar, zip) = &offered.archives;
    let page = offered
        .latest
        .as_ref()
        .and_then(|latest| latest.page.as_ref());
    [tar.as_ref(), zip.as_ref(), page]
        .into_iter()
        .flatten()
        .any(|known| known == url)
}

/// Does what may wait for a disk or a server, on a thread of its own.
pub(crate) async fn aside<T: Send + 'static>(
    agent: &Arc<Agent>,
    work: impl FnOnce(&Agent) -> T + Send + 'static,
) -> Result<T> {
    let agent = Arc::clone(agent);
    let done = tokio::task::spawn_blocking(move || work(&agent)).await;
    done.map_err(|error| Error::Internal {
        what: error.to_string(),
    })
}

fn failed(error: &Error) -> Response {
    let body = json!({"success": false, "error": error.chain()});
    (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
}

fn wrong(status: StatusCode, problem: &str) -> Response {
    (status, Json(json!({"success": false, "error": problem}))).into_response()
}

/// An answer of what may fail as a whole.
async fn answer(
    agent: Arc<Agent>,
    work: impl FnOnce(&Agent) -> Result<Response> + Send + 'static,
) -> Response {
    let done = aside(&agent, work).await.and_then(|done| done);
    done.unwrap_or_else(|error| failed(&error))
}

#[derive(Deserialize)]
struct Force {
    #[serde(default)]
    force: String,
}

async fn check(State(agent): State<Arc<Agent>>, Query(asked): Query<Force>) -> Response {
    let force = matches!(asked.force.as_str(), "true" | "1");
    answer(agent, move |agent| {
        let offered = offered(agent, force)?;
        Ok(Json(json!({"success": true, "data": told(agent, &offered)})).into_response())
    })
    .await
}

fn told(agent: &Agent, offered: &Offered) -> Value {
    let current = offered.current.as_ref().map(Version::as_str);
    let Some(latest) = &offered.latest else {
        return json!({
            "current_version": current,
            "error": "Unable to fetch latest version information",
            "latest_version": null,
            "update_available": false,
        });
    };
    let order = offered
        .current
        .as_ref()
        .map(|current| latest.version.cmp(current));
    let is_newer = order.is_none_or(|order| order == Ordering::Greater);
    let name = if latest.name.is_empty() {
        format!("v{}", latest.version)
    } else {
        latest.name.clone()
    };
    json!({
        "current_version": current,
        "latest_version": latest.version.as_str(),
        "update_available": is_newer,
        "is_newer": is_newer,
        "is_same": order == Some(Ordering::Equal),
        "is_older": order == Some(Ordering::Less),
        "release_name": name,
        "release_notes": latest.notes,
        "published_at": latest.published,
        "download_url": latest.page.as_ref().or(offered.archives.0.as_ref()),
        "tarball_url": offered.archives.0,
        "zipball_url": offered.archives.1,
        "source": source_name(agent.app().source.kind),
    })
}

/// What the original calls a kind of source, where it knows it.
fn source_name(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Github => "github",
        SourceKind::Codeup => "yunxiao",
        SourceKind::Gitlab => "gitlab",
        SourceKind::Gitee => "gitee",
        SourceKind::Gitea => "gitea",
        SourceKind::Check => "check",
        SourceKind::CheckFiles => "check-files",
        SourceKind::Index => "index",
        SourceKind::Folder => "folder",
        SourceKind::Pushed => "pushed",
    }
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
}

async fn history(State(agent): State<Arc<Agent>>, Query(asked): Query<Limit>) -> Response {
    let count = asked.limit.unwrap_or(USUAL);
    answer(agent, move |agent| {
        let releases = releases(agent, count)?;
        let data: Vec<_> = releases
            .iter()
            .map(|it| {
                json!({
                    "version": it.version.as_str(),
                    "name": it.name,
                    "body": it.notes,
                    "published_at": it.published,
                    "html_url": it.page,
                })
            })
            .collect();
        Ok(Json(json!({"success": true, "data": data})).into_response())
    })
    .await
}

#[derive(Deserialize)]
struct Start {
    download_url: Option<String>,
}

async fn start(State(agent): State<Arc<Agent>>, body: Bytes) -> Response {
    let asked: Result<Start, _> = serde_json::from_slice(&body);
    let Some(url) = asked
        .ok()
        .and_then(|asked| asked.download_url)
        .filter(|url| !url.is_empty())
    else {
        return wrong(StatusCode::BAD_REQUEST, "Download URL is required");
    };
    answer(agent, move |agent| {
        let offered = offered(agent, false)?;
        if !belongs(&offered, &url) {
            let problem = match &offered.problem {
                Some(problem) => {
                    format!("The source cannot be asked whether it offers this: {problem}")
                }
                None => "The download URL is none that the configured source offers".to_owned(),
            };
            return Ok(wrong(StatusCode::BAD_REQUEST, &problem));
        }
        Ok(operation(agent, upgrade(agent)))
    })
    .await
}

/// The answer to an operation, with its log.
fn operation(agent: &Agent, result: Result<Ended, Refusal>) -> Response {
    let (status, success, message) = match result {
        Ok(ended) => (StatusCode::OK, ended.success, ended.message),
        Err(refusal) => {
            let (status, problem) = refused(refusal);
            (status, false, problem)
        }
    };
    let log = agent.board.lines();
    let body = json!({"success": success, "message": message, "log": log});
    (status, Json(body)).into_response()
}

async fn log_lines(State(agent): State<Arc<Agent>>) -> Json<Value> {
    Json(json!({"success": true, "log": agent.board.lines()}))
}

async fn backups(State(agent): State<Arc<Agent>>) -> Response {
    answer(agent, |agent| {
        let data: Vec<_> = backups_of(agent)?
            .iter()
            .map(|it| {
                json!({
                    "name": it.name, "path": it.path, "created_at": it.created, "size": it.size,
                })
            })
            .collect();
        Ok(Json(json!({"success": true, "data": data})).into_response())
    })
    .await
}

#[derive(Deserialize)]
struct Restore {
    backup_path: Option<String>,
}

async fn restore(State(agent): State<Arc<Agent>>, body: Bytes) -> Response {
    let asked: Result<Restore, _> = serde_json::from_slice(&body);
    let Some(path) = asked
        .ok()
        .and_then(|asked| asked.backup_path)
        .filter(|path| !path.is_empty())
    else {
        return wrong(StatusCode::BAD_REQUEST, "Backup path is required");
    };
    answer(agent, move |agent| {
        let found = backups_of(agent)?.into_iter().find(|it| it.path == path);
        Ok(match found {
            None => wrong(StatusCode::NOT_FOUND, "Backup not found"),
            Some(found) if !found.is_own => wrong(StatusCode::BAD_REQUEST, FOREIGN),
            Some(found) => match put_back(agent, &found.name) {
                Ok(ended) if ended.success => {
                    Json(json!({"success": true, "message": "Backup restored"})).into_response()
                }
                other => operation(agent, other),
            },
        })
    })
    .await
}

/// Why a backup of the original is not put back.
pub const FOREIGN: &str = "This backup was made by another updater, which kept no list of its files: it has \
                           to be put back by hand";

async fn config(State(agent): State<Arc<Agent>>) -> Json<Value> {
    let app = agent.app();
    let repo = |kind| {
        if app.source.kind == kind {
            app.source.repo.as_str()
        } else {
            ""
        }
    };
    Json(json!({"success": true, "data": {
        "auto_check_enabled": app.update.when != When::Manual,
        "check_interval_hours": app.update.interval.as_secs() / 3600,
        "github_repo": repo(SourceKind::Github),
        "update_source": source_name(app.source.kind),
        "yunxiao_repo": repo(SourceKind::Codeup),
    }}))
}
