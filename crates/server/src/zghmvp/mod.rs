//! To come.

use std::sync::Arc;

use axum::Router;

use crate::Server;

/// The addresses of this part.
pub fn router() -> Router<Arc<Server>> {
    Router::new()
}
