//! The first server's addresses, below `/api/nuitkal_pack/`: as its README documents them, for the
//! default app, and as it really has them, for each app. Ids are 32 hexadecimal digits.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use castoff::version::Version;
use chrono::Utc;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::form::Form;
use super::{NO_APP, New, Refusal};
use crate::native::launchers;
use crate::registry::{App, Bearer, Package, Release, Role, STABLE, text_of};
use crate::visit::Visit;
use crate::{Error, Result, Server};

/// What an entry point may end in.
const ENDS: [&str; 5] = [".py", ".sh", ".bat", ".cmd", ".exe"];

const UPLOADED: &str = "版本上传成功";
const REQUIRED: &str = "This field is required.";

/// The addresses of this part.
pub fn router() -> Router<Arc<Server>> {
    let mut router = Router::new();
    for (path, methods) in [
        ("check/", get(check)),
        ("versions/", get(versions)),
        ("upload/", post(upload)),
        ("set_active/{version}/", post(set_active)),
        ("apps/", get(apps)),
        ("apps/{id}/", get(app)),
        ("apps/{id}/active/", get(active)),
        ("apps/{id}/list/", get(list)),
        ("apps/{id}/upload/", post(upload_to)),
        ("apps/{id}/set_active/", post(set_active_of)),
    ] {
        router = super::add(router, &format!("/api/nuitkal_pack/{path}"), methods);
    }
    router
}

/// As this server says why something is not done.
fn words(refusal: Refusal) -> Result<(StatusCode, Value)> {
    let said = match refusal {
        Refusal::AppUnknown => return Ok((StatusCode::NOT_FOUND, json!({"detail": NO_APP}))),
        Refusal::NothingActive(app) => {
            let error = format!("应用 {app} 没有激活版本");
            return Ok((StatusCode::NOT_FOUND, json!({"error": error})));
        }
        Refusal::VersionUnknown(version) => {
            let error = format!("版本 {version} 不存在");
            return Ok((StatusCode::NOT_FOUND, json!({"error": error})));
        }
        Refusal::VersionMissing => json!({"version": [REQUIRED]}),
        Refusal::VersionWrong(why) => json!({"version": [why]}),
        Refusal::VersionTaken(_) => {
            json!({"non_field_errors": ["The fields app, version must make a unique set."]})
        }
        Refusal::FileMissing => json!({"file": ["No file was submitted."]}),
        Refusal::NotCalledZip | Refusal::NotZip => {
            json!({"file": ["仅支持 ZIP 格式的更新包文件"]})
        }
        Refusal::Package(why) => json!({"file": [why]}),
        Refusal::EntryPointWrong(why) => json!({"entry_point": [why]}),
        Refusal::NotActivated(version, why) => {
            json!({"is_active": [format!("{version} is there, but was not made current: {why}")]})
        }
        Refusal::Own(status, value) => return Ok((status, value)),
        Refusal::Other(Error::TooLarge(why)) => {
            return Ok((StatusCode::PAYLOAD_TOO_LARGE, json!({"file": [why]})));
        }
        Refusal::Other(Error::Request(why)) => json!({"detail": why}),
        Refusal::Other(error) => return Err(error),
    };
    Ok((StatusCode::BAD_REQUEST, said))
}

/// An app, as it is shown.
#[derive(Serialize)]
struct AppShown {
    id: String,
    name: String,
    description: String,
    enable_time: Option<String>,
    disable_time: Option<String>,
    is_available: bool,
}

impl AppShown {
    fn of(app: App) -> Self {
        Self {
            is_available: app.is_available(Utc::now()),
            id: app.id,
            name: app.name,
            description: app.description,
            enable_time: app.enable_time.map(text_of),
            disable_time: app.disable_time.map(text_of),
        }
    }
}

/// A version, as it is shown.
#[derive(Serialize)]
struct VersionShown {
    id: i64,
    version: String,
    file: String,
    entry_point: String,
    file_size: i64,
    file_hash: String,
    upload_time: String,
    changelog: String,
    is_active: bool,
    app: String,
    /// What launchers read beyond that.
    #[serde(flatten)]
    beyond: Map<String, Value>,
}

impl VersionShown {
    /// `None`: there is nothing to fetch.
    fn of(release: Release, visit: &Visit, target: Option<&str>) -> Option<Self> {
        let package = release.package_for(target)?;
        Some(Self {
            id: release.id,
            file: format!("{}/media/{}", visit.prefix, package.place),
            file_size: package.size,
            file_hash: package.sha256.clone(),
            version: release.version.to_string(),
            upload_time: text_of(release.created),
            is_active: release.active.iter().any(|channel| channel == STABLE),
            entry_point: release.entry_point,
            changelog: release.notes,
            app: release.app,
            beyond: Map::new(),
        })
    }
}

/// Versions, the last uploaded first.
#[derive(Serialize)]
struct List {
    data: Vec<VersionShown>,
    message: &'static str,
}

/// What was uploaded, as the README has it.
#[derive(Serialize)]
struct Uploaded {
    message: &'static str,
    version: String,
    download_url: String,
    file_hash: String,
    file_size: i64,
    is_active: bool,
}

/// What was uploaded, as it is really said.
#[derive(Serialize)]
struct UploadedTo {
    message: &'static str,
    data: UploadedData,
}

#[derive(Serialize)]
struct UploadedData {
    app: String,
    version: String,
    file: String,
    entry_point: String,
    changelog: String,
    is_active: bool,
}

/// What has become current.
#[derive(Serialize)]
struct Activated {
    message: String,
    version: String,
}

/// `GET check/`.
async fn check(
    State(server): State<Arc<Server>>,
    visit: Visit,
    headers: HeaderMap,
) -> Result<Response> {
    let make = async {
        let app = super::app(&server, &visit, None).await?;
        let target = super::asked(&visit, "target");
        let current = launchers::current(&server, &visit, &app, STABLE, target.as_deref()).await?;
        current.ok_or(Refusal::NothingActive(app.name))
    };
    super::read(&server, &visit, &headers, words, make).await
}

/// `GET versions/`.
async fn versions(
    State(server): State<Arc<Server>>,
    visit: Visit,
    headers: HeaderMap,
) -> Result<Response> {
    let make = all(&server, &visit, None);
    super::read(&server, &visit, &headers, words, make).await
}

/// `POST upload/`.
async fn upload(
    State(server): State<Arc<Server>>,
    visit: Visit,
    request: Request,
) -> Result<Response> {
    let who = visit.may(Role::Publish)?;
    let make = async {
        let app = super::app(&server, &visit, None).await?;
        let mut form = Form::read(&server, request).await?;
        // The README's clients have it configured.
        let (release, package, is_active) = take(&server, who, &app, &mut form, "").await?;
        Ok(Uploaded {
            message: UPLOADED,
            version: release.version.to_string(),
            download_url: visit.address(&format!("/media/{}", package.place)),
            file_hash: package.sha256,
            file_size: package.size,
            is_active,
        })
    };
    super::write(words, StatusCode::CREATED, make).await
}

/// `POST set_active/{version}/`.
async fn set_active(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path(version): Path<String>,
) -> Result<Response> {
    let who = visit.may(Role::Publish)?;
    let make = async {
        let app = super::app(&server, &visit, None).await?;
        let version = super::version_of(&version)?;
        make_active(&server, who, &app, version).await
    };
    super::write(words, StatusCode::OK, make).await
}

/// `GET apps/`.
async fn apps(
    State(server): State<Arc<Server>>,
    visit: Visit,
    headers: HeaderMap,
) -> Result<Response> {
    let make = async {
        let apps = super::apps(&server, &visit).await?;
        Ok(apps.into_iter().map(AppShown::of).collect::<Vec<_>>())
    };
    super::read(&server, &visit, &headers, words, make).await
}

/// `GET apps/{id}/`.
async fn app(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let make = async { Ok(AppShown::of(super::app(&server, &visit, Some(&id)).await?)) };
    super::read(&server, &visit, &headers, words, make).await
}

/// `GET apps/{id}/active/`.
async fn active(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let make = async {
        let app = super::app(&server, &visit, Some(&id)).await?;
        let Some((release, channel)) = server.registry.current(&app.id, STABLE).await? else {
            return Err(Refusal::NothingActive(app.name));
        };
        let beyond = launchers::beyond(&server, &app, &release, &channel).await?;
        let target = super::asked(&visit, "target");
        let shown = VersionShown::of(release, &visit, target.as_deref());
        let shown = shown.ok_or(Refusal::NothingActive(app.name))?;
        Ok(VersionShown { beyond, ..shown })
    };
    super::read(&server, &visit, &headers, words, make).await
}

/// `GET apps/{id}/list/`.
async fn list(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let make = all(&server, &visit, Some(&id));
    super::read(&server, &visit, &headers, words, make).await
}

/// `POST apps/{id}/upload/`.
async fn upload_to(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response> {
    let who = visit.may(Role::Publish)?;
    let make = async {
        let app = super::app(&server, &visit, Some(&id)).await?;
        let mut form = Form::read(&server, request).await?;
        let (release, package, is_active) = take(&server, who, &app, &mut form, "main.py").await?;
        let data = UploadedData {
            app: app.id,
            version: release.version.to_string(),
            file: visit.address(&format!("/media/{}", package.place)),
            entry_point: release.entry_point,
            changelog: release.notes,
            is_active,
        };
        let message = UPLOADED;
        Ok(UploadedTo { message, data })
    };
    super::write(words, StatusCode::CREATED, make).await
}

/// `POST apps/{id}/set_active/`.
async fn set_active_of(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response> {
    let who = visit.may(Role::Publish)?;
    let make = async {
        let app = super::app(&server, &visit, Some(&id)).await?;
        let form = Form::read(&server, request).await?;
        let version = super::version(&form)?;
        make_active(&server, who, &app, version).await
    };
    super::write(words, StatusCode::OK, make).await
}

async fn all(server: &Server, visit: &Visit, id: Option<&str>) -> Result<List, Refusal> {
    let app = super::app(server, visit, id).await?;
    let releases = server.registry.releases(&app.id).await?;
    let shown = |release| VersionShown::of(release, visit, None);
    Ok(List {
        data: releases.into_iter().filter_map(shown).collect(),
        message: "版本列表获取成功",
    })
}

/// Takes in what was uploaded, with the entry point that is taken unless the form says another. Says
/// whether it is current now.
async fn take(
    server: &Server,
    who: &Bearer,
    app: &App,
    form: &mut Form,
    entry_point: &str,
) -> Result<(Release, Package, bool), Refusal> {
    let version = super::new_version(server, app, form).await?;
    let zip = super::zip(form).await?;
    let new = New::of(version, form, entry_point, true)?;
    let has_end = |end: &&str| new.entry_point.ends_with(*end);
    if !new.entry_point.is_empty() && !ENDS.iter().any(has_end) {
        let ends = ENDS.join(", ");
        return Err(Refusal::EntryPointWrong(format!(
            "入口文件扩展名必须是以下之一: {ends}"
        )));
    }
    let release = super::publish(server, who, app, &zip, &new).await?;
    let package = release.package_for(None).cloned();
    let package =
        package.ok_or_else(|| Error::Internal("a release without a package".to_owned()))?;
    Ok((release, package, new.is_active))
}

async fn make_active(
    server: &Server,
    who: &Bearer,
    app: &App,
    version: Version,
) -> Result<Activated, Refusal> {
    super::activate(server, who, app, &version).await?;
    Ok(Activated {
        message: format!("版本 {version} 已设为激活版本"),
        version: version.to_string(),
    })
}
