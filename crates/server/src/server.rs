//! The server as one thing: what its parts share, and which address is answered by whom.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::answer::Kept;
use crate::config::Config;
use crate::media::Downloads;
use crate::metrics::Metrics;
use crate::registry::{App, Registry};
use crate::sign::Keys;
use crate::storage::Store;
use crate::visit::Failures;
use crate::{Error, Result, admin, listen, media, metrics, native, zghmvp};

/// How long an upload that nobody goes on with is kept.
const UPLOAD_KEPT: Duration = Duration::from_hours(48);

/// What the parts of a server share.
pub struct Server {
    /// What is configured.
    pub config: Config,
    /// What it knows.
    pub registry: Registry,
    /// What it keeps.
    pub store: Store,
    /// Its index keys.
    pub keys: Keys,
    /// Answers that hold until something changes.
    pub kept: Kept,
    /// What is counted.
    pub metrics: Metrics,
    /// Who has shown wrong tokens.
    pub failures: Failures,
    /// Downloads that are not in the database yet.
    pub downloads: Downloads,
}

impl Server {
    /// Opens database, store and keys.
    pub async fn open(config: Config) -> Result<Arc<Self>> {
        prepare(&config)?;
        clear(&config.spool())?;
        Ok(Arc::new(Self {
            registry: Registry::open(&config.database()).await?,
            store: Store::open(&config)?,
            keys: Keys::open(&config)?,
            kept: Kept::default(),
            metrics: Metrics::default(),
            failures: Failures::default(),
            downloads: Downloads::default(),
            config,
        }))
    }

    /// The app of this key or id.
    pub async fn app(&self, named: &str) -> Result<App> {
        let app = self.registry.app(named).await?;
        app.ok_or_else(|| Error::not_found(format!("there is no app {named}")))
    }

    /// The app that answers where an address names none: the one that is configured, or else the only
    /// one that there is.
    pub async fn default_app(&self) -> Result<App> {
        if let Some(named) = &self.config.default_app {
            return self.app(named).await;
        }
        let mut apps = self.registry.apps().await?;
        match (apps.pop(), apps.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(Error::not_found(
                "this address names no app, and default_app is not configured",
            )),
        }
    }
}

/// Makes the folders that are not there yet.
pub fn prepare(config: &Config) -> Result<()> {
    let failed = |error: castoff::Error| Error::Store(error.to_string());
    castoff::disk::create_folders(&config.data).map_err(failed)?;
    castoff::disk::create_folders(&config.spool()).map_err(failed)
}

/// Removes what uploads have left that nobody goes on with.
fn clear(spool: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::io("read", spool, &error);
    for entry in std::fs::read_dir(spool).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified
            .ok()
            .and_then(|then| SystemTime::now().duration_since(then).ok());
        if age.is_some_and(|age| age > UPLOAD_KEPT) {
            let path = entry.path();
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(|error| Error::io("remove", &path, &error))?;
        }
    }
    Ok(())
}

/// All addresses.
pub fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics::show))
        .route("/media/{*place}", get(media::show))
        .merge(native::router())
        .merge(zghmvp::router())
        .merge(admin::router(&server))
        .fallback(listen::nothing_here)
        .with_state(server)
}

/// Whether database and store answer.
async fn health(State(server): State<Arc<Server>>) -> Response {
    let looked = async {
        server.registry.generation().await?;
        server.store.look("healthz").await
    };
    match looked.await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.message()).into_response(),
    }
}
