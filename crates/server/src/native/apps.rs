//! `/api/v1/apps`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::Utc;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::parse;
use crate::registry::{App, Role, text_of};
use crate::visit::Visit;
use crate::{Result, Server, publishing};

/// `GET`: all apps.
pub async fn list(State(server): State<Arc<Server>>, visit: Visit) -> Result<Json<Value>> {
    visit.may(Role::Publish)?;
    let apps = server.registry.apps().await?;
    Ok(Json(
        json!({"apps": apps.iter().map(describe).collect::<Vec<_>>()}),
    ))
}

/// A new app.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    key: String,
    name: Option<String>,
    #[serde(default)]
    description: String,
}

/// `POST`: registers an app, which is available at once.
pub async fn add(
    State(server): State<Arc<Server>>,
    visit: Visit,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>)> {
    let who = visit.may(Role::Admin)?;
    let new: New = parse(&body)?;
    let app = App::new(new.key, new.name, new.description);
    publishing::add_app(&server, &who.name, &app).await?;
    Ok((StatusCode::CREATED, Json(describe(&app))))
}

fn describe(app: &App) -> Value {
    json!({
        "id": app.id,
        "key": app.key,
        "name": app.name,
        "description": app.description,
        "enable_time": app.enable_time.map(text_of),
        "disable_time": app.disable_time.map(text_of),
        "is_available": app.is_available(Utc::now()),
    })
}
