//! The addresses of the TOP.E updater, field for field: HTTP 200 with a `code`, whatever it is.
//!
//! | | |
//! |---|---|
//! | `POST /api/v1.0/download` | fetches and verifies a package |
//! | `POST /api/v1.0/update` | installs it |
//! | `GET /api/v1.0/progress` | how far it is |
//!
//! An order is [`Order`]; where keys are pinned, it also has `release`, the signed release document, and
//! perhaps `keys`, as the answer of a check has them.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::Json;
use axum::routing::{get, post};
use castoff::version::Version;
use castoff::{Error, fetch};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::board::{Progress, Stage};
use crate::memory::Order;
use crate::serve::blocking;
use crate::work::{Agent, ELSEWHERE, Refusal};

/// Its addresses.
pub fn router() -> Router<Arc<Agent>> {
    Router::new()
        .route("/api/v1.0/download", post(download))
        .route("/api/v1.0/update", post(update))
        .route("/api/v1.0/progress", get(progress))
}

async fn download(State(agent): State<Arc<Agent>>, body: Body) -> Json<Value> {
    let order = match read::<Order>(body) {
        Ok(order) => order,
        Err(problem) => return invalid(&problem),
    };
    if let Err(problem) = check(&order) {
        return invalid(&problem);
    }
    let version = order.version.clone();
    answer(blocking(&agent, |agent| agent.fetch(order)).await, &version)
}

async fn update(State(agent): State<Arc<Agent>>, body: Body) -> Json<Value> {
    #[derive(Deserialize)]
    struct Wanted {
        version: String,
    }
    let version = match read::<Wanted>(body) {
        Ok(wanted) => wanted.version,
        Err(problem) => return invalid(&problem),
    };
    if version.parse::<Version>().is_err() {
        return invalid("`version` is none");
    }
    let wanted = version.clone();
    answer(
        blocking(&agent, move |agent| agent.install(&wanted)).await,
        &version,
    )
}

/// A body, or why there is none: too large, mostly.
type Body = Result<Bytes, BytesRejection>;

fn read<T: DeserializeOwned>(body: Body) -> Result<T, String> {
    let body = body.map_err(|error| error.body_text())?;
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

async fn progress(State(agent): State<Arc<Agent>>) -> Json<Value> {
    Json(told(&agent.board.read()))
}

fn told(now: &Progress) -> Value {
    let (code, msg, outer) = match &now.error {
        Some(error) => (500, format!("Update failed: {error}"), Some(now)),
        None => (200, "success".to_owned(), None),
    };
    json!({
        "code": code,
        "msg": msg,
        "data": now,
        "stage": outer.map(|now| now.stage),
        "progress": outer.map(|now| now.progress),
    })
}

fn answer(result: Option<Result<(), Refusal>>, version: &str) -> Json<Value> {
    let broken = || {
        Err(Refusal::Disk(Error::Internal {
            what: "it was broken off".to_owned(),
        }))
    };
    Json(match result.unwrap_or_else(broken) {
        Ok(()) => json!({"code": 200, "msg": "success", "data": null}),
        Err(Refusal::Busy(now)) => json!({
            "code": 409,
            "msg": format!("Operation already in progress: {}", now.stage.as_str()),
            "stage": now.stage,
            "progress": now.progress,
        }),
        Err(Refusal::Elsewhere) => json!({
            "code": 409,
            "msg": format!("Operation already in progress: {ELSEWHERE}"),
            "stage": Stage::Installing,
            "progress": 0,
        }),
        Err(Refusal::NotFound) => {
            json!({"code": 404, "msg": format!("Package not found: {version}")})
        }
        Err(Refusal::Expired) => json!({
            "code": 410,
            "msg": format!("PACKAGE_EXPIRED: the package of {version} was verified too long ago; fetch it again"),
            "stage": Stage::Failed,
        }),
        Err(Refusal::Disk(error)) => json!({"code": 500, "msg": error.chain()}),
    })
}

fn invalid(problem: &str) -> Json<Value> {
    Json(json!({"code": 400, "msg": format!("Invalid request: {problem}")}))
}

fn check(order: &Order) -> Result<(), String> {
    if let Err(error) = order.version.parse::<Version>() {
        return Err(format!("`version`: {error}"));
    }
    let url = &order.package_url;
    fetch::resolve(url, url).map_err(|error| format!("`package_url`: {error}"))?;
    let name = &order.package_name;
    let plain = !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && !name.contains(['/', '\\', ':'])
        && !name.chars().any(char::is_control);
    if !plain {
        return Err("`package_name` is no name of a file".to_owned());
    }
    if order.package_size == 0 {
        return Err("`package_size` is 0".to_owned());
    }
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if order.package_md5.len() != 32 || !order.package_md5.bytes().all(hex) {
        return Err("`package_md5` is not 32 lower-case hexadecimal digits".to_owned());
    }
    Ok(())
}
