//! `/api/v1/apps/APP/documents`: what is signed.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::registry::Role;
use crate::visit::Visit;
use crate::{Error, Result, Server, publishing};

/// `GET`: their names.
pub async fn list(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path(app): Path<String>,
) -> Result<Json<Value>> {
    visit.may(Role::Publish)?;
    let app = server.app(&app).await?;
    let names = server.registry.documents(&app.id).await?;
    Ok(Json(json!({"documents": names})))
}

/// `GET`: one, as it came.
pub async fn show(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path((app, name)): Path<(String, String)>,
) -> Result<Response> {
    visit.may(Role::Publish)?;
    let app = server.app(&app).await?;
    let content = server.registry.document(&app.id, &name).await?;
    let content =
        content.ok_or_else(|| Error::not_found(format!("{} has no document {name}", app.key)))?;
    Ok(([(CONTENT_TYPE, "application/json")], content).into_response())
}

/// `PUT`: one. An index makes current what it names.
pub async fn put(
    State(server): State<Arc<Server>>,
    visit: Visit,
    Path((app, name)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>> {
    let who = visit.may(Role::Publish)?;
    let app = server.app(&app).await?;
    publishing::document(&server, &who.name, &app, &name, body.to_vec()).await?;
    Ok(Json(json!({"name": name})))
}
