//! Connections: accepted, secured, read, answered, and ended.
//!
//! Promises: a client that neither sends nor takes for [`STALL`] is gone. At the end no new connection
//! is taken, and those that are under way have [`GRACE`] to be answered. Each request is one line of the
//! log, without tokens.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use castoff_web::listen::{self, Connection, Limits};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};
use tower::ServiceExt as _;

use crate::visit::Visit;
use crate::{Error, Result, Server, linger, publishing, router};

/// How long a client may neither send nor take anything.
pub const STALL: Duration = Duration::from_mins(1);

/// How long requests that are under way have at the end.
pub const GRACE: Duration = Duration::from_secs(30);

/// How long a client has for the beginning of TLS, and for the head of a request.
const HEAD: Duration = Duration::from_secs(30);

/// How often downloads are written down.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// How often it is looked whether an index has to be signed again.
const RENEW_EVERY: Duration = Duration::from_hours(1);

/// Serves until `end`.
pub async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    end: impl Future<Output = ()>,
) -> Result<()> {
    let tls = server.config.tls.as_ref();
    let tls = tls.map(|files| files.acceptor(&["h2", "http/1.1"]));
    let tls = tls.transpose().map_err(Error::request)?;
    let router = router(Arc::clone(&server));
    let chores = tokio::spawn(chores(Arc::clone(&server)));
    let limits = Limits {
        places: None,
        begin: HEAD,
        take: STALL,
        send: Some(STALL * 2),
        grace: GRACE,
    };
    let talk = {
        let server = Arc::clone(&server);
        move |connection| talk(Arc::clone(&server), router.clone(), connection)
    };
    if !listen::serve(listener, tls, limits, end, talk).await {
        log::warn!(
            "requests that took longer than {} s were cut off",
            GRACE.as_secs()
        );
    }
    chores.abort();
    server.downloads.write(&server).await?;
    server.registry.close().await;
    Ok(())
}

/// What a server does by itself.
async fn chores(server: Arc<Server>) {
    let mut write = interval(WRITE_EVERY);
    let mut renew = interval(RENEW_EVERY);
    write.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            _ = write.tick() => server.downloads.write(&server).await,
            _ = renew.tick() => publishing::renew(&server).await,
        };
        if let Err(error) = done {
            log::error!("{error}");
        }
    }
}

async fn talk(server: Arc<Server>, router: Router, connection: Connection) {
    let Connection {
        stream,
        peer,
        is_tls,
        watcher,
    } = connection;
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, router) = (Arc::clone(&server), router.clone());
        async move {
            Ok::<_, std::convert::Infallible>(answer(&server, router, peer, is_tls, request).await)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new());
    let io = TokioIo::new(stream);
    let connection = builder.serve_connection(io, service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        log::debug!("{peer}: {error}");
    }
}

async fn answer(
    server: &Arc<Server>,
    router: Router,
    peer: SocketAddr,
    is_tls: bool,
    request: Request<Incoming>,
) -> Response {
    let mut request = linger::over(request);
    let begun = Instant::now();
    let method = request.method().clone();
    let (response, client, path) = match Visit::read(server, peer, is_tls, &mut request).await {
        Ok(visit) => {
            let (client, path) = (visit.client, visit.path.clone());
            request.extensions_mut().insert(visit);
            let response = match router.oneshot(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            (response, client, path)
        }
        Err(error) => {
            let path = request.uri().path();
            // What may be a token is in no log.
            let path = if path.starts_with("/t/") {
                "/t/..."
            } else {
                path
            };
            (error.into_response(), peer.ip(), path.to_owned())
        }
    };
    let after = begun.elapsed();
    server.metrics.answered(response.status(), after);
    if server.config.request_log {
        log::info!(
            "request client={client} method={method} path={path:?} status={} ms={:.1}",
            response.status().as_u16(),
            after.as_secs_f64() * 1000.0
        );
    }
    response
}

/// What is answered where there is nothing.
pub async fn nothing_here() -> Response {
    let error = Error::not_found("there is nothing under this address");
    error.into_response()
}
