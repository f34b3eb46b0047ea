//! The addresses of OTRS Web's upgrade, field for field, and its page.
//!
//! | | |
//! |---|---|
//! | `GET /upgrade/api/check-update?force=` | what the source offers |
//! | `POST /upgrade/api/start-upgrade` | upgrades to that, and answers when it has ended |
//! | `GET /upgrade/api/version-history?limit=` | the releases that there are |
//! | `GET /upgrade/api/backup-list` | the older versions that lie here |
//! | `POST /upgrade/api/restore-backup` | puts one back, and answers when that has ended |
//! | `GET /upgrade/api/upgrade-log` | the lines of the last operation |
//! | `GET /upgrade/api/config` | what is configured |
//! | `GET /upgrade` | the page |
//!
//! Promises: what is installed is what the source offers, never what a `download_url` leads to: that has to
//! be one of the source's, and anything else is refused. A `backup_path` has to be in the list. The original
//! took both as they came.

mod markdown;
mod page;
mod texts;

pub use texts::said;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{get, post};
use castoff::config::{Config, SourceKind};
use castoff::version::Version;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::board::{Stage, View};
use crate::checks;
use crate::news::{Age, Checked, Wish};
use crate::serve::blocking;
use crate::work::{Agent, ELSEWHERE, Refusal};

/// How many versions are told of where nobody says how many.
const USUAL: usize = 10;

/// The most versions of a history.
const MOST: usize = 100;

/// Its addresses.
pub fn router() -> Router<Arc<Agent>> {
    Router::new()
        .route("/upgrade/api/check-update", get(check))
        .route("/upgrade/api/start-upgrade", post(start))
        .route("/upgrade/api/version-history", get(history))
        .route("/upgrade/api/backup-list", get(backups))
        .route("/upgrade/api/restore-backup", post(restore))
        .route("/upgrade/api/upgrade-log", get(log))
        .route("/upgrade/api/config", get(config))
        .merge(page::router())
}

fn refused(status: StatusCode, problem: &str) -> Response {
    let body = json!({"success": false, "error": problem});
    (status, Json(body)).into_response()
}

fn good(data: &Value) -> Response {
    Json(json!({"success": true, "data": data})).into_response()
}

/// What cannot be read here.
fn broken(error: Option<&castoff::Error>) -> Response {
    let problem = error.map_or_else(|| "it was broken off".to_owned(), castoff::Error::chain);
    refused(StatusCode::INTERNAL_SERVER_ERROR, &problem)
}

/// A version as people write it.
fn plain(version: &Version) -> String {
    version.file_name()
}

#[derive(Deserialize)]
struct Forced {
    #[serde(default)]
    force: String,
}

async fn check(State(agent): State<Arc<Agent>>, Query(asked): Query<Forced>) -> Response {
    let force = matches!(&*asked.force.to_ascii_lowercase(), "true" | "1" | "yes");
    let wish = if force {
        Wish::insisting()
    } else {
        Wish::usual(USUAL)
    };
    agent.learn(wish).await;
    match blocking(&agent, Agent::known).await {
        Some(Ok((checked, _))) => good(&told(&checked, &agent.engine)),
        Some(Err(error)) => broken(Some(&error)),
        None => broken(None),
    }
}

fn told(checked: &Checked, config: &Config) -> Value {
    let here = checked.installed.as_ref();
    let Ok(release) = &checked.offered else {
        return json!({
            "current_version": here.map(plain), "latest_version": null, "update_available": false,
            "error": "Unable to fetch latest version information",
        });
    };
    let details = checked.details.as_ref();
    let [tarball, zipball] = details.map_or([None, None], |it| it.archives.clone());
    let name = details
        .map(|it| it.name.clone())
        .filter(|name| !name.is_empty());
    let page = details.and_then(|it| it.page.clone());
    json!({
        "current_version": here.map(plain),
        "latest_version": plain(&release.version),
        "update_available": checked.is_newer(),
        "is_newer": checked.is_newer(),
        "is_same": here == Some(&release.version),
        "is_older": here.is_some_and(|here| release.version < *here),
        "release_name": name.unwrap_or_else(|| release.version.to_string()),
        "release_notes": release.notes,
        "published_at": details.and_then(|it| it.published.clone()),
        // As the original says it: the page.
        "download_url": page.unwrap_or_else(|| release.package.url.clone()),
        "tarball_url": tarball,
        "zipball_url": zipball,
        "source": kind(config),
    })
}

/// The source as the original calls it.
fn kind(config: &Config) -> &'static str {
    match config.source.kind {
        SourceKind::Codeup => "yunxiao",
        kind => kind.as_str(),
    }
}

#[derive(Deserialize)]
struct Limited {
    #[serde(default)]
    limit: String,
}

async fn history(State(agent): State<Arc<Agent>>, Query(asked): Query<Limited>) -> Response {
    // As the original takes it: what is no number is ten.
    let limit = asked.limit.parse().unwrap_or(USUAL).clamp(1, MOST);
    let (mut told, age) = agent.history(limit);
    if age > Age::New {
        let learnt = agent.learn(Wish::usual(limit));
        if told.is_some() && age == Age::Old {
            // It is the answer until there is another one.
            let _ = timeout(Duration::ZERO, learnt).await;
        } else {
            learnt.await;
            told = agent.history(limit).0;
        }
    }
    let Some(releases) = told else {
        return refused(StatusCode::BAD_GATEWAY, "Unable to fetch version history");
    };
    let releases = releases.into_iter().map(|it| {
        let version = plain(&it.version);
        let name = if it.name.is_empty() {
            version.clone()
        } else {
            it.name
        };
        json!({
            "version": version, "name": name, "body": it.notes,
            "published_at": it.published, "html_url": it.page,
        })
    });
    good(&releases.collect())
}

async fn start(State(agent): State<Arc<Agent>>, body: Bytes) -> Response {
    let Some(url) = text_of(&body, "download_url") else {
        return refused(StatusCode::BAD_REQUEST, "Download URL is required");
    };
    match blocking(&agent, move |agent| agent.is_of_source(&url)).await {
        Some(Ok(true)) => {}
        Some(Ok(false)) => {
            let problem = "Download URL is not one of the configured source";
            return refused(StatusCode::BAD_REQUEST, problem);
        }
        Some(Err(error)) => return broken(Some(&error)),
        None => return broken(None),
    }
    match blocking(&agent, |agent| agent.upgrade(true)).await {
        Some(Ok(end)) => match result(&agent, end).await {
            Some(view) => {
                let success = view.now.error.is_none();
                Json(json!({"success": success, "message": message(&view), "log": view.lines}))
                    .into_response()
            }
            None => broken(None),
        },
        Some(Err(refusal)) => not_now(&refusal),
        None => broken(None),
    }
}

async fn restore(State(agent): State<Arc<Agent>>, body: Bytes) -> Response {
    let Some(path) = text_of(&body, "backup_path") else {
        return refused(StatusCode::BAD_REQUEST, "Backup path is required");
    };
    let found = blocking(&agent, move |agent| {
        let backups = agent.backups()?;
        let is_meant = |path_of: &std::path::Path| path_of.to_str() == Some(&*path);
        castoff::Result::Ok(backups.into_iter().find(|it| is_meant(&it.path)))
    });
    let backup = match found.await {
        Some(Ok(Some(backup))) => backup,
        Some(Ok(None)) => return refused(StatusCode::NOT_FOUND, "Backup not found"),
        Some(Err(error)) => return broken(Some(&error)),
        None => return broken(None),
    };
    if !backup.ours {
        let problem = "This backup was made before Castoff kept this app, and says nothing of which files \
             belong to the app; it can only be put back by hand";
        return refused(StatusCode::CONFLICT, problem);
    }
    match blocking(&agent, move |agent| agent.restore(&backup.name)).await {
        Some(Ok(end)) => match result(&agent, end).await {
            Some(view) if view.now.error.is_none() => {
                Json(json!({"success": true, "message": "Backup restored"})).into_response()
            }
            Some(view) => refused(StatusCode::INTERNAL_SERVER_ERROR, &message(&view)),
            None => broken(None),
        },
        Some(Err(refusal)) => not_now(&refusal),
        None => broken(None),
    }
}

/// A text of a JSON document, if it is there and not empty.
fn text_of(body: &[u8], name: &str) -> Option<String> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let text = document.get(name)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// What an operation has come to. `None`: the updater ends before that is known.
async fn result(agent: &Agent, mut end: oneshot::Receiver<View>) -> Option<View> {
    let mut watched = agent.board.watch();
    let leaving = async {
        while watched.changed().await.is_ok() {
            // What is being installed is brought to its end; a download is not.
            let stage = agent.board.read().stage;
            if *watched.borrow() && matches!(stage, Stage::Downloading | Stage::Verifying) {
                return;
            }
        }
    };
    tokio::select! {
        view = &mut end => view.ok(),
        () = leaving => end.try_recv().ok(),
    }
}

/// What has happened, and why.
fn message(view: &View) -> String {
    let now = &view.now;
    match &now.error {
        None => now.message.clone(),
        Some(error) => format!("{}: {error}", now.message),
    }
}

fn not_now(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::Busy(now) => {
            let problem = format!("Operation already in progress: {}", now.stage.as_str());
            refused(StatusCode::CONFLICT, &problem)
        }
        Refusal::Elsewhere => {
            let problem = format!("Operation already in progress: {ELSEWHERE}");
            refused(StatusCode::CONFLICT, &problem)
        }
        Refusal::Disk(error) => broken(Some(error)),
        Refusal::NotFound | Refusal::Expired => broken(None),
    }
}

async fn backups(State(agent): State<Arc<Agent>>) -> Response {
    let backups = match blocking(&agent, Agent::backups).await {
        Some(Ok(backups)) => backups,
        Some(Err(error)) => return broken(Some(&error)),
        None => return broken(None),
    };
    let list = backups.into_iter().map(|it| {
        json!({
            "name": it.name, "path": it.path, "size": it.size,
            "created_at": it.created.format("%Y-%m-%d %H:%M:%S").to_string(),
        })
    });
    good(&list.collect())
}

async fn log(State(agent): State<Arc<Agent>>) -> Json<Value> {
    Json(json!({"success": true, "log": agent.board.view(0, 0).lines}))
}

async fn config(State(agent): State<Arc<Agent>>) -> Response {
    let engine = &agent.engine;
    let repo = |kind| {
        if engine.source.kind == kind {
            &*engine.source.repo
        } else {
            ""
        }
    };
    good(&json!({
        "auto_check_enabled": checks::are_made(engine),
        "check_interval_hours": hours(engine),
        "github_repo": repo(SourceKind::Github),
        "update_source": kind(engine),
        "yunxiao_repo": repo(SourceKind::Codeup),
    }))
}

/// The interval of checks in hours, a whole number where it is one.
fn hours(engine: &Config) -> Value {
    let interval = match engine.update.interval {
        Duration::ZERO => checks::USUAL,
        interval => interval,
    };
    let seconds = interval.as_secs();
    if seconds.is_multiple_of(3600) {
        json!(seconds / 3600)
    } else {
        json!(interval.as_secs_f64() / 3600.0)
    }
}
