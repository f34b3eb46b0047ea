//! `/api/v1/apps/APP/channels`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::releases::version_of;
use crate::answer::parse;
use crate::registry::{Channel, Role};
use crate::visit::Visit;
use crate::{Result, Server, publishing};

/// What is to become current.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Activation {
    version: String,
    rollout: Option<i64>,
}

/// `POST`: makes a release current.
pub async fn activate(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path((app, channel)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>> {
    let who = visit.may(Role::Publish)?;
    let app = server.app(&app).await?;
    let wish: Activation = parse(&body)?;
    let version = version_of(&wish.version)?;
    let rollout = wish.rollout.unwrap_or(100);
    let channel =
        publishing::activate(&server, &who.name, &app, &channel, &version, rollout).await?;
    Ok(Json(json!({
        "version": version.as_str(),
        "channel": channel.name,
        "rollout": channel.rollout,
        "seq": number(&channel),
    })))
}

/// What is to be taken back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Withdrawal {
    version: String,
}

/// `POST`: takes a release back.
pub async fn withdraw(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path((app, channel)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>> {
    let who = visit.may(Role::Publish)?;
    let app = server.app(&app).await?;
    let wish: Withdrawal = parse(&body)?;
    let version = version_of(&wish.version)?;
    let (current, channel) =
        publishing::withdraw(&server, &who.name, &app, &channel, &version).await?;
    Ok(Json(json!({
        "withdrawn": version.as_str(),
        "version": current.as_ref().map(castoff::version::Version::as_str),
        "channel": channel.name,
        "seq": number(&channel),
    })))
}

/// The number of a channel's index, if it has one.
fn number(channel: &Channel) -> Option<i64> {
    Some(channel.seq).filter(|seq| *seq > 0)
}
