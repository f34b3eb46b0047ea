//! Connections, and the end.
//!
//! Promises: the answers come from a thread of their own, whatever is being unpacked. Who opens many
//! connections, and says little over them, takes neither the descriptors that an installation needs, nor for
//! long the turn of others. At SIGTERM nothing new begins; an installation under way is brought to its end, a
//! download is left as it is and goes on at the next start.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Json, Response};
use castoff::{Error, Result};
use castoff_web::listen::{self, Connection, Limits};
use castoff_web::tls::TlsAcceptor;
use futures_util::{StreamExt as _, stream};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use crate::access::Access;
use crate::config::{self, Config};
use crate::work::{self, Agent, Mode};
use crate::{checks, otrs, ownership, report, tope};

/// What is under way, and the last reports, may take at the end.
const GRACE: Duration = Duration::from_secs(3);

/// How many connections there are at once; others wait in the kernel's queue. Some browsers, and what asks how
/// far it is, are a dozen; a process has 1024 descriptors, mostly, and those of an installation, and of what it
/// runs, are among them.
const MOST_CONNECTIONS: usize = 64;

/// How long a client has for the beginning of TLS, and for the head of each request: also how long a connection
/// is kept over which nothing is asked.
const HEAD: Duration = Duration::from_secs(10);

/// How long a client has for the rest of a request, and may take nothing of its answer.
const STALL: Duration = Duration::from_secs(30);

/// How often it is looked whether the child still runs.
const LOOK: Duration = Duration::from_millis(500);

/// How often it is looked whether another process was killed in an installation, and at most how long is waited
/// before one is taken up again that fails.
const TAKE_UP: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));

/// What the resident updater of a folder holds, as long as it lives.
pub(crate) const LOCK: &str = "agent.lock";

/// The largest request: an order with a signed release document, which has a mebibyte at most, and keys.
const MOST_ASKED: usize = 2 << 20;

/// The largest head of a request: as many as there are connections are to be little memory.
const MOST_HEAD: usize = 64 << 10;

/// Runs the updater of the app in `client` until it is told to end. `told` is called with the address once
/// it listens.
pub fn run(
    config: Config,
    engine: castoff::config::Config,
    home: &Path,
    client: &Path,
    told: &dyn Fn(std::net::SocketAddr),
) -> Result<()> {
    check(&config, &engine, home, client)?;
    // Another one on another port would work against it.
    let _alone = work::lock(client, LOCK)?;
    let access = Arc::new(Access::new(&config)?);
    let runtime = runtime()?;
    let served = runtime.block_on(serve(config, engine, home, client, access, told));
    // Who still listens to events does not keep the process.
    runtime.shutdown_background();
    served
}

/// Whether it can be worked here, and by whoever this is.
pub(crate) fn check(
    config: &Config,
    engine: &castoff::config::Config,
    home: &Path,
    client: &Path,
) -> Result<()> {
    config.check(&home.join(config::FILE_NAME))?;
    ownership::check(&config.trusted(engine, home, client))
}

/// What runs connections, on this thread.
pub(crate) fn runtime() -> Result<Runtime> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Error::Internal {
        what: format!("no runtime: {error}"),
    })
}

/// Ends the board; what it has come to is told, where somebody listens.
pub(crate) async fn last_reports(agent: &Agent, reporter: Option<JoinHandle<()>>) {
    agent.board.end();
    let told = [reporter, agent.telling()].into_iter().flatten();
    let told: Vec<_> = told.collect();
    let told =
        tokio::task::spawn_blocking(|| told.into_iter().map(JoinHandle::join).for_each(drop));
    let _ = tokio::time::timeout(GRACE, told).await;
}

async fn serve(
    config: Config,
    engine: castoff::config::Config,
    home: &Path,
    client: &Path,
    access: Arc<Access>,
    told: &dyn Fn(std::net::SocketAddr),
) -> Result<()> {
    let end = castoff_web::end();
    let address = config.listen;
    // Before anything is touched.
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| Error::ConfigInvalid {
            place: format!("listen = \"{address}\""),
            problem: format!("cannot listen there: {error}"),
            nearest: None,
        })?;
    let tls = config.tls.as_ref();
    let tls = tls.map(|files| files.acceptor(&["http/1.1"])).transpose();
    let tls = tls.map_err(|problem| Error::ConfigInvalid {
        place: "tls".to_owned(),
        problem,
        nearest: None,
    })?;
    let report_url = config.report_url.clone();
    let (agent, _worker) =
        Agent::start(config, engine, home, client.to_path_buf(), Mode::Resident)?;
    let reporter =
        (!report_url.is_empty()).then(|| report::start(Arc::clone(&agent.board), report_url));
    if checks::are_made(&agent.engine) {
        checks::start(Arc::clone(&agent));
    }
    watch_over(Arc::clone(&agent));
    if let Ok(address) = listener.local_addr() {
        told(address);
    }
    until_the_end(end, listener, tls, &agent, access).await;
    if agent.board.close() {
        log::info!("the installation is brought to its end first");
        let board = Arc::clone(&agent.board);
        let _ = tokio::task::spawn_blocking(move || board.wait_for_rest()).await;
    }
    agent.services.leave();
    last_reports(&agent, reporter).await;
    Ok(())
}

/// Sees that the app does not stay down: a child is started again that has ended by itself, and what another
/// process was killed in is taken up; again after a while, where that fails.
fn watch_over(agent: Arc<Agent>) {
    thread::spawn(move || {
        let mut pause = TAKE_UP.0;
        let mut next = Instant::now() + pause;
        loop {
            thread::sleep(LOOK);
            if agent.may_revive() {
                agent.services.revive();
            }
            if Instant::now() >= next {
                pause = if agent.take_up_what_is_left() {
                    (pause * 2).min(TAKE_UP.1)
                } else {
                    TAKE_UP.0
                };
                next = Instant::now() + pause;
            }
        }
    });
}

fn router(agent: &Arc<Agent>, access: Arc<Access>, places: Arc<Semaphore>) -> Router {
    let web = agent.config.web;
    let mut router = Router::new();
    if web.tope {
        router = router.merge(tope::router());
    }
    if web.upgrade {
        router = router.merge(otrs::router());
    }
    router
        .layer(DefaultBodyLimit::max(MOST_ASKED))
        .layer(middleware::from_fn_with_state(access, admit))
        .layer(middleware::from_fn_with_state(places, hurry))
        .with_state(Arc::clone(agent))
}

/// Serves until `end`, and what is under way then for a moment more: who has sent half a request, or listens to
/// events, does not keep it from ending.
async fn until_the_end(
    end: impl Future<Output = ()>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    agent: &Arc<Agent>,
    access: Arc<Access>,
) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let router = router(agent, access, Arc::clone(&places));
    let limits = Limits {
        places: Some(places),
        begin: HEAD,
        take: STALL,
        // Who waits for the end of an upgrade, or listens to events, has nothing to send.
        send: None,
        grace: GRACE,
    };
    let end = async {
        end.await;
        // A page that watches would keep its connection open.
        agent.board.part();
    };
    let talk = move |connection| talk(router.clone(), connection);
    // Who waits for the end of an installation is answered also after the grace.
    let _ = listen::serve(listener, tls, limits, end, talk).await;
}

async fn talk(router: Router, connection: Connection) {
    let io = TokioIo::new(connection.stream);
    let talked = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MOST_HEAD)
        .serve_connection(io, TowerToHyperService::new(router));
    if let Err(error) = connection.watcher.watch(talked).await {
        log::debug!("{}: {error}", connection.peer);
    }
}

/// Sees that nobody keeps a connection for long that others wait for.
async fn hurry(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let mut answer = next.run(request.map(in_time)).await;
    if places.available_permits() == 0 {
        // All but one are taken, which is for whoever comes next: who asks again and again queues up again too.
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
    }
    answer
}

/// A body that fails where it takes too long. It is read into one piece: a client that sends each byte by itself
/// would else have a buffer kept for each.
fn in_time(body: Body) -> Body {
    let read = async move {
        let mut parts = body.into_data_stream();
        let mut whole = Vec::new();
        while let Some(part) = parts.next().await {
            whole.extend_from_slice(&part?);
            if whole.len() > MOST_ASKED {
                // Who takes it refuses it.
                break;
            }
        }
        Ok(whole)
    };
    Body::from_stream(stream::once(async {
        let read = tokio::time::timeout(STALL, read).await;
        read.unwrap_or_else(|late| Err(axum::Error::new(late)))
    }))
}

/// Does what may wait for a disk or for the source, while others are answered.
pub(crate) async fn blocking<T: Send + 'static>(
    agent: &Arc<Agent>,
    work: impl FnOnce(&Agent) -> T + Send + 'static,
) -> Option<T> {
    let agent = Arc::clone(agent);
    tokio::task::spawn_blocking(move || work(&agent)).await.ok()
}

async fn admit(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match access.admit(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err((status, problem)) => {
            let body = json!({"code": status.as_u16(), "msg": problem});
            let mut answer = (status, Json(body)).into_response();
            if status == StatusCode::UNAUTHORIZED {
                // A browser asks for it as for a password.
                let basic = HeaderValue::from_static("Basic realm=\"Castoff\"");
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
            }
            answer
        }
    }
}
