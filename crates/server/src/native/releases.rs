//! `/api/v1/apps/APP/releases`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use castoff::trust::document::release_name;
use castoff::version::Version;
use castoff_publish::document::ANY;
use chrono::Utc;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::uploads;
use crate::answer::parse;
use crate::publishing::{self, NewPackage};
use crate::registry::{Release, Role, text_of};
use crate::visit::Visit;
use crate::{Error, Result, Server};

/// The names of files that a release can be downloaded as.
const NAME_LIMIT: usize = 200;

/// `GET`: all releases, and what is current.
pub async fn list(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path(app): Path<String>,
) -> Result<Json<Value>> {
    visit.may(Role::Publish)?;
    let app = server.app(&app).await?;
    let releases = server.registry.releases(&app.id).await?;
    let documents = server.registry.documents(&app.id).await?;
    let mut channels = Map::new();
    for channel in server.registry.channels(&app.id).await? {
        let current = releases.iter().find(|it| Some(it.id) == channel.release);
        let current = json!({
            "version": current.map(|it| it.version.as_str()),
            "seq": Some(channel.seq).filter(|seq| *seq > 0),
            "rollout": channel.rollout,
        });
        channels.insert(channel.name, current);
    }
    let releases: Vec<_> = releases
        .iter()
        .map(|it| describe(it, &visit, &documents))
        .collect();
    Ok(Json(json!({"releases": releases, "channels": channels})))
}

/// `GET`: one.
pub async fn show(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path((app, version)): Path<(String, String)>,
) -> Result<Json<Value>> {
    visit.may(Role::Publish)?;
    let app = server.app(&app).await?;
    let version = version_of(&version)?;
    let release = server.registry.release(&app.id, &version).await?;
    let release =
        release.ok_or_else(|| Error::not_found(format!("{} has no version {version}", app.key)))?;
    let documents = server.registry.documents(&app.id).await?;
    Ok(Json(describe(&release, &visit, &documents)))
}

/// A package that was uploaded, as a release.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    version: String,
    upload: String,
    target: Option<String>,
    #[serde(default)]
    entry_point: String,
    #[serde(default)]
    notes: String,
    critical_below: Option<String>,
}

/// `POST`: publishes what was uploaded.
pub async fn add(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path(app): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>)> {
    let who = visit.may(Role::Publish)?;
    let app = server.app(&app).await?;
    let new: New = parse(&body)?;
    let version = version_of(&new.version)?;
    let critical_below = new.critical_below.as_deref().map(version_of).transpose()?;
    let upload = uploads::finished(&server, &app.id, &new.upload).await?;
    must_be_name(&upload.name)?;
    let package = NewPackage {
        version,
        target: new.target.unwrap_or_else(|| ANY.to_owned()),
        name: upload.name.clone(),
        entry_point: new.entry_point,
        notes: new.notes,
        critical_below,
        created: Utc::now(),
    };
    let published = publishing::publish(&server, &who.name, &app, &upload.path, package).await;
    // Its bytes have been taken, or were refused.
    uploads::remove(&upload.path).await;
    let (release, is_new) = published?;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let documents = server.registry.documents(&app.id).await?;
    Ok((status, Json(describe(&release, &visit, &documents))))
}

/// The version that a text says.
pub fn version_of(text: &str) -> Result<Version> {
    text.parse()
        .map_err(|error: castoff::Error| Error::request(error.to_string()))
}

/// Fails unless a package may be called so.
pub fn must_be_name(name: &str) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::request(format!(
        "{name:?} is no name for a file: letters, digits, . - _ +, and none of the documents' names"
    )))
}

/// Whether a package may be called so: documents lie beside it.
pub fn is_name(name: &str) -> bool {
    name.len() < NAME_LIMIT
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.eq_ignore_ascii_case("check")
        && !name.to_ascii_lowercase().ends_with(".json")
        && !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._+".contains(c))
}

fn describe(release: &Release, visit: &Visit, documents: &[String]) -> Value {
    let packages = release.packages.iter().map(|package| {
        json!({
            "target": package.target,
            "name": package.name,
            "size": package.size,
            "sha256": package.sha256,
            "url": format!("{}/media/{}", visit.prefix, package.place),
            "downloads": package.downloads,
        })
    });
    let downloads: i64 = release
        .packages
        .iter()
        .map(|package| package.downloads)
        .sum();
    let document = release_name(&release.version);
    json!({
        "version": release.version.as_str(),
        "created": text_of(release.created),
        "notes": release.notes,
        "entry_point": release.entry_point,
        "critical_below": release.critical_below,
        "withdrawn": release.withdrawn,
        "enabled": release.enabled,
        "active": release.active,
        "document": documents.contains(&document),
        "downloads": downloads,
        "packages": packages.collect::<Vec<_>>(),
    })
}
