//! `/api/v1/apps/APP/uploads`: files, which go on where they broke off, as
//! [tus](https://tus.io/protocols/resumable-upload) 1.0.0 says, with its extensions creation and
//! termination.
//!
//! Promises: what has arrived when a connection breaks stays, and [`offset`] says how much. An upload
//! is written by one request at a time: a later one takes it over, and the earlier one writes nothing
//! any more. A finished upload is what was announced, by size and digest, before anything is made of
//! it.
//!
//! Not promised: that another server of the same database goes on with it. Uploads under way lie on the
//! disk of the server that they began at.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;

use crate::registry::Role;
use crate::storage::disk::blocking;
use crate::visit::Visit;
use crate::{Error, Result, Server, secret};

const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");

/// What was announced of an upload; in a file beside its bytes.
#[derive(Serialize, Deserialize)]
struct Announced {
    app: String,
    name: String,
    length: u64,
    sha256: Option<String>,
}

/// A finished upload.
pub struct Upload {
    /// Its bytes, below the spool.
    pub path: PathBuf,
    /// The name of the file that it was.
    pub name: String,
    /// Held until it is done with.
    _turn: tokio::sync::OwnedMutexGuard<u64>,
}

/// Whose turn it is to write, by the upload's id: the number goes up when a request takes it over.
type Turns = std::sync::Mutex<HashMap<String, Arc<Mutex<u64>>>>;
static TURNS: LazyLock<Turns> = LazyLock::new(Turns::default);

fn turn(id: &str) -> Arc<Mutex<u64>> {
    let mut turns = TURNS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    turns.retain(|_, turn| Arc::strong_count(turn) > 1);
    Arc::clone(turns.entry(id.to_owned()).or_default())
}

/// `POST`: begins an upload.
pub async fn begin(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path(app): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    visit.may(Role::Publish)?;
    let app = server.app(&app).await?;
    let length = number(&headers, &LENGTH)?;
    if length > server.config.max_upload {
        return Err(Error::TooLarge(format!(
            "{length} bytes are more than the {} that are taken here (max_upload)",
            server.config.max_upload
        )));
    }
    let spool = server.config.spool();
    let (folder, needed) = (spool.clone(), length.saturating_mul(2));
    blocking(move || {
        castoff::disk::need_space(&folder, needed)
            .map_err(|error| Error::DiskFull(error.to_string()))
    })
    .await?;
    let metadata = metadata(&headers)?;
    let id = secret::hex(16);
    let announced = Announced {
        app: app.id,
        name: metadata
            .get("filename")
            .cloned()
            .unwrap_or_else(|| "package.zip".to_owned()),
        length,
        sha256: metadata.get("sha256").cloned(),
    };
    let path = spool.join(&id);
    let beside = path.with_extension("json");
    let text =
        serde_json::to_vec(&announced).map_err(|error| Error::Internal(error.to_string()))?;
    tokio::fs::write(&beside, text)
        .await
        .map_err(|error| Error::io("write", &beside, &error))?;
    tokio::fs::File::create(&path)
        .await
        .map_err(|error| Error::io("create", &path, &error))?;
    let location = format!(
        "{}/api/v1/apps/{}/uploads/{id}",
        visit.prefix, announced.app
    );
    let mut response = StatusCode::CREATED.into_response();
    let headers = response.headers_mut();
    headers.insert(RESUMABLE, VERSION);
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert(axum::http::header::LOCATION, location);
    }
    Ok(response)
}

/// `HEAD`: how much of it is here.
pub async fn offset(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path((app, id)): Path<(String, String)>,
) -> Result<Response> {
    visit.may(Role::Publish)?;
    let (announced, path) = find(&server, &app, &id).await?;
    let here = length_of(&path).await?;
    let mut response = state(here);
    response
        .headers_mut()
        .insert(LENGTH, announced.length.into());
    response.headers_mut().insert(
        axum::http::header::CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    );
    *response.status_mut() = StatusCode::OK;
    Ok(response)
}

/// `PATCH`: goes on with it.
pub async fn go_on(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path((app, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    visit.may(Role::Publish)?;
    let (announced, path) = find(&server, &app, &id).await?;
    let kind = headers.get(axum::http::header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != "application/offset+octet-stream") {
        return Err(Error::request(
            "the content type has to be application/offset+octet-stream",
        ));
    }
    let from = number(&headers, &OFFSET)?;
    let turn = turn(&id);
    let mine = {
        let mut turn = turn.lock().await;
        *turn += 1;
        *turn
    };
    let failed = |error: std::io::Error| Error::io("write", &path, &error);
    let mut file = OpenOptions::new()
        .append(true)
        .open(&path)
        .await
        .map_err(failed)?;
    let mut here = from;
    let mut stream = body.into_data_stream();
    let mut begun = false;
    loop {
        let piece = match stream.next().await {
            None if begun => break,
            None => bytes::Bytes::new(),
            Some(Ok(piece)) => piece,
            Some(Err(error)) => {
                return Err(Error::request(format!("the upload broke off: {error}")));
            }
        };
        let turn = turn.lock().await;
        if *turn != mine {
            return Err(Error::conflict("a later request goes on with this upload"));
        }
        if !begun {
            let length = length_of(&path).await?;
            if length != from {
                return Err(Error::conflict(format!(
                    "{length} bytes of it are here: go on from there, not from {from}"
                )));
            }
            begun = true;
        }
        if here + piece.len() as u64 > announced.length {
            return Err(Error::TooLarge(format!(
                "more came than the {} bytes that were announced",
                announced.length
            )));
        }
        file.write_all(&piece).await.map_err(failed)?;
        file.flush().await.map_err(failed)?;
        here += piece.len() as u64;
        server.metrics.received(piece.len() as u64);
        drop(turn);
    }
    file.sync_data().await.map_err(failed)?;
    Ok(state(here))
}

/// `DELETE`: gives it up.
pub async fn end(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path((app, id)): Path<(String, String)>,
) -> Result<Response> {
    visit.may(Role::Publish)?;
    let (_, path) = find(&server, &app, &id).await?;
    let turn = turn(&id);
    *turn.lock().await += 1;
    remove(&path).await;
    Ok(([(RESUMABLE, VERSION)], StatusCode::NO_CONTENT).into_response())
}

/// An upload of this app that is all here, and is what was announced.
pub async fn finished(server: &Server, app: &str, id: &str) -> Result<Upload> {
    let (announced, path) = find(server, app, id).await?;
    let mut turn = turn(id).lock_owned().await;
    *turn += 1;
    let here = length_of(&path).await?;
    if here != announced.length {
        return Err(Error::conflict(format!(
            "{here} of {} bytes of the upload are here: go on with it first",
            announced.length
        )));
    }
    if let Some(expected) = announced.sha256 {
        let from = path.clone();
        let sha256 = blocking(move || {
            let failed = |error: std::io::Error| Error::io("read", &from, &error);
            let file = std::fs::File::open(&from).map_err(failed)?;
            castoff::trust::hash_file(&file).map_err(failed)
        })
        .await?
        .0
        .to_string();
        if !sha256.eq_ignore_ascii_case(&expected) {
            remove(&path).await;
            return Err(Error::PackageInvalid(format!(
                "{expected} was announced, and {sha256} has arrived; the upload is gone: send it anew"
            )));
        }
    }
    Ok(Upload {
        path,
        name: announced.name,
        _turn: turn,
    })
}

/// Removes what there is of an upload.
pub async fn remove(path: &std::path::Path) {
    for path in [path, &path.with_extension("json")] {
        // What stays is removed when it is old.
        let _ = tokio::fs::remove_file(path).await;
    }
}

async fn find(server: &Server, app: &str, id: &str) -> Result<(Announced, PathBuf)> {
    let missing =
        || Error::not_found("there is no such upload; it may be done, given up, or too old");
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(missing());
    }
    let app = server.app(app).await?;
    let path = server.config.spool().join(id);
    let text = tokio::fs::read(path.with_extension("json"))
        .await
        .map_err(|_| missing())?;
    let announced: Announced = serde_json::from_slice(&text).map_err(|_| missing())?;
    if announced.app != app.id {
        return Err(missing());
    }
    Ok((announced, path))
}

async fn length_of(path: &std::path::Path) -> Result<u64> {
    let metadata = tokio::fs::metadata(path).await;
    Ok(metadata
        .map_err(|error| Error::io("look at", path, &error))?
        .len())
}

fn state(here: u64) -> Response {
    let headers = [(RESUMABLE, VERSION), (OFFSET, here.into())];
    (headers, StatusCode::NO_CONTENT).into_response()
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .ok_or_else(|| Error::request(format!("the header {name} has to be a number")))
}

/// `filename BASE64,sha256 BASE64`.
fn metadata(headers: &HeaderMap) -> Result<HashMap<String, String>> {
    let Some(header) = headers.get(METADATA) else {
        return Ok(HashMap::new());
    };
    let wrong = || Error::request("the header upload-metadata: it is a list of NAME BASE64");
    let text = header.to_str().map_err(|_| wrong())?;
    let mut metadata = HashMap::new();
    for pair in text.split(',') {
        // A name may come without a value.
        let (name, value) = pair.trim().split_once(' ').unwrap_or((pair.trim(), ""));
        let value = STANDARD.decode(value.trim()).map_err(|_| wrong())?;
        metadata.insert(
            name.to_owned(),
            String::from_utf8(value).map_err(|_| wrong())?,
        );
    }
    Ok(metadata)
}
