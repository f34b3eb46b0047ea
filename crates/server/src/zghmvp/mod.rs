//! The addresses of zghmvp's Django servers, field for field, so that their clients and the tools of their
//! publishers go on working: of the first in [`first`], of the later in [`later`].
//!
//! Promises: what they ask for is answered in their words. Whoever publishes needs a token, which those
//! servers did not know: in a header, or before the path.

pub mod first;
mod form;
pub mod later;

use std::future::Future;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use castoff::release::leads_outside;
use castoff::version::Version;
use castoff_publish::document::ANY;
use chrono::Utc;
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempPath;

use self::form::Form;
use crate::answer::{Answer, kept};
use crate::publishing::{self, NewPackage};
use crate::registry::{App, Bearer, Release, STABLE};
use crate::storage::disk::blocking;
use crate::visit::Visit;
use crate::{Error, Result, Server};

/// What those servers say of an app that is not there, or not available.
const NO_APP: &str = "No App matches the given query.";

/// The addresses of this part.
pub fn router() -> Router<Arc<Server>> {
    // What is read of a body is limited where it is read.
    first::router()
        .merge(later::router())
        .layer(DefaultBodyLimit::disable())
}

/// Adds an address that ends in a slash, and the way to it from where that is missing.
fn add(
    router: Router<Arc<Server>>,
    path: &str,
    methods: MethodRouter<Arc<Server>>,
) -> Router<Arc<Server>> {
    router
        .route(path, methods.fallback(not_allowed))
        .route(path.trim_end_matches('/'), any(add_slash))
}

async fn not_allowed(method: Method) -> Response {
    let detail = json!({"detail": format!("Method \"{method}\" not allowed.")});
    (StatusCode::METHOD_NOT_ALLOWED, axum::Json(detail)).into_response()
}

async fn add_slash(visit: Visit) -> Response {
    let (path, query) = match visit.path.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (visit.path.as_str(), String::new()),
    };
    let location = format!("{}{path}/{query}", visit.prefix);
    let mut response = StatusCode::MOVED_PERMANENTLY.into_response();
    // It was an address just now, so it can stand in a header.
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Why something is not done. Each of the servers says it in its own words.
enum Refusal {
    /// The app is not there, or not available.
    AppUnknown,
    /// The app of this name has nothing current.
    NothingActive(String),
    /// No version was said.
    VersionMissing,
    /// What was said is none.
    VersionWrong(String),
    /// The app has no such version.
    VersionUnknown(String),
    /// The app has that version already.
    VersionTaken(String),
    /// No file was sent.
    FileMissing,
    /// A file was sent that does not call itself a zip.
    NotCalledZip,
    /// A file was sent that is no zip.
    NotZip,
    /// Launchers would refuse the package.
    Package(String),
    /// What was said can be no entry point.
    EntryPointWrong(String),
    /// The version is there now, but could not be made current.
    NotActivated(String, String),
    /// What only one of the servers refuses, as it says so.
    Own(StatusCode, Value),
    /// What is no part of those servers' manners.
    Other(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::PackageInvalid(why) => Self::Package(why),
            error => Self::Other(error),
        }
    }
}

/// How a server says why something is not done.
type Words = fn(Refusal) -> Result<(StatusCode, Value)>;

/// Answers a request for what may be fetched.
async fn read<F, T>(
    server: &Server,
    visit: &Visit,
    headers: &HeaderMap,
    words: Words,
    make: F,
) -> Result<Response>
where
    F: Future<Output = Result<T, Refusal>>,
    T: Serialize,
{
    visit.may_read(server)?;
    let make = async {
        match make.await {
            Ok(value) => {
                let body = serde_json::to_vec(&value)
                    .map_err(|error| Error::Internal(error.to_string()))?;
                Ok(Answer::of(StatusCode::OK, "application/json", body.into()))
            }
            Err(refusal) => {
                let (status, value) = words(refusal)?;
                Ok(Answer::json(status, &value))
            }
        }
    };
    kept(server, visit, headers, make).await
}

/// Answers a request that changes something.
async fn write<F, T>(words: Words, status: StatusCode, make: F) -> Result<Response>
where
    F: Future<Output = Result<T, Refusal>>,
    T: Serialize,
{
    match make.await {
        Ok(value) => Ok((status, axum::Json(value)).into_response()),
        Err(refusal) => Ok(words(refusal)
            .map(|(status, value)| (status, axum::Json(value)))?
            .into_response()),
    }
}

/// The app of this id, or, without one, the default one, if it is available, or any is asked for.
async fn app(server: &Server, visit: &Visit, id: Option<&str>) -> Result<App, Refusal> {
    let app = match id {
        Some(id) => server.registry.app(id).await?.ok_or(Refusal::AppUnknown)?,
        None => server.default_app().await.map_err(|error| match error {
            Error::NotFound(why) => Refusal::Own(StatusCode::NOT_FOUND, json!({"detail": why})),
            error => error.into(),
        })?,
    };
    if asks_for_any(visit) || app.is_available(Utc::now()) {
        return Ok(app);
    }
    Err(Refusal::AppUnknown)
}

/// Whether apps that are not available are to be answered for too.
fn asks_for_any(visit: &Visit) -> bool {
    asked(visit, "is_available").is_some()
}

/// What a request's query says under this name.
fn asked(visit: &Visit, name: &str) -> Option<String> {
    let (_, query) = visit.path.split_once('?')?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(it, value)| (it == name).then(|| value.into_owned()))
}

/// The apps that are available, or all, where any is asked for.
async fn apps(server: &Server, visit: &Visit) -> Result<Vec<App>> {
    let (any, now) = (asks_for_any(visit), Utc::now());
    let mut apps = server.registry.apps().await?;
    apps.retain(|app| any || app.is_available(now));
    Ok(apps)
}

/// The version that a form says.
fn version(form: &Form) -> Result<Version, Refusal> {
    version_of(form.text("version").ok_or(Refusal::VersionMissing)?)
}

/// The version that a text says.
fn version_of(text: &str) -> Result<Version, Refusal> {
    text.parse()
        .map_err(|error: castoff::Error| Refusal::VersionWrong(error.to_string()))
}

/// The version that a form says, which the app does not have yet.
async fn new_version(server: &Server, app: &App, form: &Form) -> Result<Version, Refusal> {
    let version = version(form)?;
    match server.registry.release(&app.id, &version).await? {
        Some(_) => Err(Refusal::VersionTaken(version.to_string())),
        None => Ok(version),
    }
}

/// What is said of a version that is to be published.
struct New {
    version: Version,
    /// Empty: what the launcher has configured.
    entry_point: String,
    changelog: String,
    is_active: bool,
}

impl New {
    /// What a form says, with the entry point and the flag that are taken unless it says others.
    fn of(
        version: Version,
        form: &Form,
        entry_point: &str,
        is_active: bool,
    ) -> Result<Self, Refusal> {
        let entry_point = form.said("entry_point").unwrap_or(entry_point);
        if leads_outside(entry_point) {
            return Err(Refusal::EntryPointWrong(format!(
                "{entry_point:?} is no path inside the client folder"
            )));
        }
        Ok(Self {
            version,
            entry_point: entry_point.to_owned(),
            changelog: form.said("changelog").unwrap_or_default().to_owned(),
            is_active: form.flag("is_active").unwrap_or(is_active),
        })
    }
}

/// The zip that a form brings.
async fn zip(form: &mut Form) -> Result<TempPath, Refusal> {
    let part = form.file.take().ok_or(Refusal::FileMissing)?;
    if !part.name.to_ascii_lowercase().ends_with(".zip") {
        return Err(Refusal::NotCalledZip);
    }
    let (path, is_zip) = blocking(move || {
        let is_zip = has_directory(&part.path);
        let is_zip = is_zip.map_err(|error| Error::io("read", &part.path, &error))?;
        Ok((part.path, is_zip))
    })
    .await?;
    if is_zip {
        Ok(path)
    } else {
        Err(Refusal::NotZip)
    }
}

/// Whether a file has the end of a zip's directory, by which Python too tells a zip.
fn has_directory(path: &Path) -> std::io::Result<bool> {
    const MARK: &[u8] = b"PK\x05\x06";
    /// The mark with what follows it, and the longest comment.
    const TAIL: u64 = 22 + 65535;
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    Ok(tail.windows(MARK.len()).any(|at| at == MARK))
}

/// Publishes a zip in the spool, and makes it current if that is said.
async fn publish(
    server: &Server,
    who: &Bearer,
    app: &App,
    zip: &Path,
    new: &New,
) -> Result<Release, Refusal> {
    let package = NewPackage {
        version: new.version.clone(),
        target: ANY.to_owned(),
        name: name_of(app, &new.version),
        entry_point: new.entry_point.clone(),
        notes: new.changelog.clone(),
        critical_below: None,
        created: Utc::now(),
    };
    let published = publishing::publish(server, &who.name, app, zip, package).await;
    let taken = || Refusal::VersionTaken(new.version.to_string());
    let (release, is_new) = published.map_err(|error| match error {
        Error::VersionExists(_) => taken(),
        error => error.into(),
    })?;
    // Those servers know no repeated upload, even of the same bytes.
    if !is_new {
        return Err(taken());
    }
    if new.is_active {
        activate(server, who, app, &new.version).await?;
    }
    Ok(release)
}

/// Makes a version current that is there.
async fn activate(
    server: &Server,
    who: &Bearer,
    app: &App,
    version: &Version,
) -> Result<(), Refusal> {
    let activated = publishing::activate(server, &who.name, app, STABLE, version, 100).await;
    match activated {
        Ok(_) => Ok(()),
        Err(Error::NotFound(_)) => Err(Refusal::VersionUnknown(version.to_string())),
        Err(Error::Conflict(why) | Error::IndexNeeded(why)) => {
            Err(Refusal::NotActivated(version.to_string(), why))
        }
        Err(error) => Err(error.into()),
    }
}

/// What a package is called: unlike any other version's, which publishers' files often are not.
pub(crate) fn name_of(app: &App, version: &Version) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-._+".contains(c) {
            c
        } else {
            '_'
        }
    };
    let version: String = version.as_str().chars().map(plain).collect();
    format!("{}-{version}.zip", app.key)
}
