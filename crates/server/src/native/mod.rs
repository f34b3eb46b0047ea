//! The addresses of `castoff publish` below `/api/v1/`, and of launchers below `/apps/`.
//!
//! | address | module |
//! |---|---|
//! | `/api/v1/apps` | [`apps`] |
//! | `/api/v1/apps/APP/uploads` | [`uploads`] |
//! | `/api/v1/apps/APP/releases` | [`releases`] |
//! | `/api/v1/apps/APP/channels` | [`channels`] |
//! | `/api/v1/apps/APP/documents` | [`documents`] |
//! | `/apps/APP/` | [`launchers`] |
//!
//! `openapi.json` beside this file describes all of them, and is served.

pub mod apps;
pub mod channels;
pub mod documents;
pub mod launchers;
pub mod releases;
pub mod uploads;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post, put};

use crate::Server;

/// More than any request has here that is no upload: documents are the largest.
const BODY_LIMIT: usize = 2 << 20;

/// The addresses of this part.
pub fn router() -> Router<Arc<Server>> {
    let limited = Router::new()
        .route("/api/v1/apps", get(apps::list).post(apps::add))
        .route("/api/v1/apps/{app}/uploads", post(uploads::begin))
        .route(
            "/api/v1/apps/{app}/releases",
            get(releases::list).post(releases::add),
        )
        .route("/api/v1/apps/{app}/releases/{version}", get(releases::show))
        .route(
            "/api/v1/apps/{app}/channels/{channel}/activate",
            post(channels::activate),
        )
        .route(
            "/api/v1/apps/{app}/channels/{channel}/withdraw",
            post(channels::withdraw),
        )
        .route("/api/v1/apps/{app}/documents", get(documents::list))
        .route(
            "/api/v1/apps/{app}/documents/{name}",
            put(documents::put).get(documents::show),
        )
        .route("/apps/{app}/check", get(launchers::check))
        .route("/apps/{app}/{name}", get(launchers::file))
        .route("/openapi.json", get(describe))
        .layer(DefaultBodyLimit::max(BODY_LIMIT));
    // Its body is taken as it comes, with a limit of its own.
    let upload = get(uploads::offset)
        .patch(uploads::go_on)
        .delete(uploads::end);
    limited.route("/api/v1/apps/{app}/uploads/{id}", upload)
}

/// `GET /openapi.json`.
async fn describe() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "application/json")],
        include_str!("openapi.json"),
    )
}
