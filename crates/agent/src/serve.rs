//! Connections, and the end.
//!
//! Promises: the answers come from a thread of their own, whatever is being unpacked. At SIGTERM nothing
//! new begins; an installation under way is brought to its end, a download is left as it is and goes on at
//! the next start.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Json, Response};
use castoff::config::{Hours, When};
use castoff::when::Clock;
use castoff::{Error, Result};
use serde_json::json;
use tokio::net::TcpListener;

use crate::access::Access;
use crate::board::Stage;
use crate::config::Config;
use crate::work::Agent;
use crate::{news, otrs, report, tope};

/// The largest request: an order with a signed release document and keys.
const MOST_ASKED: usize = 4 << 20;

/// How often it is looked whether the source is to be asked again.
const LOOK_OUT: Duration = Duration::from_hours(1);

/// Runs the updater of the app in `client` until it is told to end. `told` is called with the address once
/// it listens.
pub fn run(
    config: Config,
    engine: castoff::config::Config,
    client: &Path,
    told: &dyn Fn(std::net::SocketAddr),
) -> Result<()> {
    own(client)?;
    let access = Arc::new(Access::new(&config)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Internal {
            what: format!("no runtime: {error}"),
        })?;
    runtime.block_on(async {
        let address = config.listen;
        // Before anything is touched: a second updater would work against the first.
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| Error::ConfigInvalid {
                place: format!("listen = \"{address}\""),
                problem: format!("cannot listen there: {error}"),
                nearest: None,
            })?;
        let report_url = config.report_url.clone();
        let web = config.web.clone();
        let (agent, _worker) = Agent::start(config, engine, client.to_path_buf())?;
        if !report_url.is_empty() {
            report::start(Arc::clone(&agent.board), report_url);
        }
        if let Ok(address) = listener.local_addr() {
            told(address);
        }
        let mut router = Router::new();
        if web.tope {
            router = router.merge(tope::router());
        }
        if web.upgrade {
            router = router.merge(otrs::router());
            tokio::spawn(look_out(Arc::clone(&agent)));
        }
        let router = router
            .layer(DefaultBodyLimit::max(MOST_ASKED))
            .layer(middleware::from_fn_with_state(access, admit))
            .with_state(Arc::clone(&agent));
        let board = Arc::clone(&agent.board);
        let ended = async move {
            end().await;
            // A page that watches would keep its connection open for ever.
            board.part();
        };
        let served = axum::serve(listener, router).with_graceful_shutdown(ended);
        if let Err(error) = served.await {
            log::error!("{error}");
        }
        let at_work = matches!(
            agent.board.read().stage,
            Stage::Installing | Stage::Rebooting
        );
        if at_work {
            log::info!("the installation is brought to its end first");
            let board = Arc::clone(&agent.board);
            let _ = tokio::task::spawn_blocking(move || board.wait_for_rest()).await;
        }
        agent.board.end();
        Ok(())
    })
}

async fn admit(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match access.admit(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err((status, problem)) => {
            let body = json!({"code": status.as_u16(), "msg": problem});
            (status, Json(body)).into_response()
        }
    }
}

/// Asks the source every `update.interval` outside the quiet hours, where that is to be done, so that the
/// news is there before somebody asks for it.
async fn look_out(agent: Arc<Agent>) {
    let update = &agent.engine.update;
    if update.when == When::Manual || update.interval.is_zero() {
        return;
    }
    loop {
        let is_quiet = |hours: Hours| hours.hold(Clock::system().minute);
        if !update.quiet_hours.is_some_and(is_quiet) {
            let asking = Arc::clone(&agent);
            let checked = tokio::task::spawn_blocking(move || asking.check(false)).await;
            if let Ok(Err(error)) = checked {
                log::warn!("no check: {}", error.chain());
            }
        }
        // What was said before a restart holds until its own time is over.
        tokio::time::sleep(update.interval.clamp(news::LEAST, LOOK_OUT)).await;
    }
}

/// Until somebody says that it is enough: Ctrl+C, or SIGTERM as systemd sends it.
async fn end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = tokio::signal::ctrl_c() => return,
            }
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// Refuses to work as root where others may change what it works on, or the way to it.
#[cfg(unix)]
fn own(client: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let real = client.canonicalize().map_err(Error::io("find", client))?;
    let mut looked: Vec<_> = real.ancestors().map(Path::to_path_buf).collect();
    looked.extend([".castoff", "versions"].map(|name| real.join(name)));
    for path in looked {
        let Ok(found) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        // In a folder such as /tmp nobody can take the place of another's.
        let sticky = found.mode() & 0o1000 != 0 && path != real;
        if found.uid() != 0 || (found.mode() & 0o022 != 0 && !sticky) {
            return Err(Error::TargetUnsafe {
                path,
                problem: "others than root may change it, and this updater runs as root",
            });
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn own(_client: &Path) -> Result<()> {
    Ok(())
}
