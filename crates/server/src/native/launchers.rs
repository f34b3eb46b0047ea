//! `/apps/APP/`: what launchers ask for. `stable.json`, the documents and the packages that they name
//! lie side by side, as in a folder (source kind `index`); `check` answers in one piece (kind `check`).

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use castoff::trust::document::{keys_name, release_name};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::releases::is_name;
use crate::answer::{Answer, kept};
use crate::registry::{App, Channel, Release, STABLE};
use crate::visit::Visit;
use crate::{Error, Result, Server, media};

/// Which of the packages is asked for.
#[derive(Deserialize)]
pub struct Wanted {
    channel: Option<String>,
    target: Option<String>,
}

/// `GET /apps/APP/check`.
pub async fn check(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path(app): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response> {
    visit.may_read(&server)?;
    let make = async {
        let app = available(&server, &app).await?;
        let channel = wanted.channel.as_deref().unwrap_or(STABLE);
        let current = current(&server, &visit, &app, channel, wanted.target.as_deref()).await?;
        let current = current.ok_or_else(|| {
            Error::not_found(format!("{} has nothing current in {channel}", app.key))
        })?;
        Ok(Answer::json(StatusCode::OK, &Value::Object(current)))
    };
    kept(&server, &visit, &headers, make).await
}

/// What is current in a channel, with all that launchers read of it; `None`: nothing is. Without a
/// target, the package for all machines is meant, or else the first.
pub async fn current(
    server: &Server,
    visit: &Visit,
    app: &App,
    channel: &str,
    target: Option<&str>,
) -> Result<Option<Map<String, Value>>> {
    let Some((release, channel)) = server.registry.current(&app.id, channel).await? else {
        return Ok(None);
    };
    let Some(package) = release.package_for(target) else {
        return Ok(None);
    };
    let mut answer = Map::new();
    let mut say = |name: &str, value: Value| answer.insert(name.to_owned(), value);
    let path = format!("/media/{}", package.place);
    say("version", release.version.as_str().into());
    say("file_hash", package.sha256.as_str().into());
    say("file_size", package.size.into());
    say("download_url", visit.address(&path).into());
    say("file", format!("{}{path}", visit.prefix).into());
    say("changelog", release.notes.as_str().into());
    say("is_active", true.into());
    if !release.entry_point.is_empty() {
        say("entry_point", release.entry_point.as_str().into());
    }
    answer.extend(beyond(server, app, &release, &channel).await?);
    Ok(Some(answer))
}

/// What launchers read of a release beyond its package: for how many it is, below which version nobody
/// is safe, and the signed documents.
pub async fn beyond(
    server: &Server,
    app: &App,
    release: &Release,
    channel: &Channel,
) -> Result<Map<String, Value>> {
    let mut answer = Map::new();
    let mut say = |name: &str, value: Value| answer.insert(name.to_owned(), value);
    if channel.rollout < 100 {
        say("rollout", channel.rollout.into());
    }
    if let Some(version) = &release.critical_below {
        say("critical_below", version.as_str().into());
    }
    let document = |name: String| async move {
        let content = server.registry.document(&app.id, &name).await?;
        let value = content
            .map(|content| serde_json::from_str::<Value>(&content))
            .transpose();
        value.map_err(|error| Error::Internal(format!("{name}: {error}")))
    };
    if let Some(value) = document(release_name(&release.version)).await? {
        say("release", value);
        let mut keys = Vec::new();
        while let Some(value) = document(keys_name(keys.len() as u64 + 1)).await? {
            keys.push(value);
        }
        if !keys.is_empty() {
            say("keys", json!(keys));
        }
    }
    Ok(answer)
}

/// `GET /apps/APP/NAME`: a document or a package.
pub async fn file(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path((app, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response> {
    visit.may_read(&server)?;
    if is_name(&name) {
        let app = available(&server, &app).await?;
        let package = server.registry.package_named(&app.id, &name).await?;
        let package = package.ok_or_else(|| missing(&name))?;
        return media::send(&server, &package.place, &headers).await;
    }
    let make = async {
        let app = available(&server, &app).await?;
        let content = server.registry.document(&app.id, &name).await?;
        let content = content.ok_or_else(|| missing(&name))?;
        Ok(Answer::of(
            StatusCode::OK,
            "application/json",
            content.into(),
        ))
    };
    kept(&server, &visit, &headers, make).await
}

async fn available(server: &Server, named: &str) -> Result<App> {
    let app = server.app(named).await?;
    if app.is_available(chrono::Utc::now()) {
        return Ok(app);
    }
    Err(Error::not_found(format!("{named} is not available now")))
}

fn missing(name: &str) -> Error {
    Error::not_found(format!("there is no {name}"))
}
