//! Connections: accepted, secured, and ended.
//!
//! Promises: there are never more than there are places; whoever comes then waits in the kernel's queue. A
//! client that does not begin TLS in time is gone, and so is one that takes nothing of its answer; neither
//! keeps others waiting. At the end nothing is accepted any more, and what is under way has its grace.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

/// What a connection may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A permit for each connection that there may be at once; without them, as many as come.
    pub places: Option<Arc<Semaphore>>,
    /// How long a client has for the beginning of TLS.
    pub begin: Duration,
    /// How long a client may take nothing of what is written to it.
    pub take: Duration,
    /// How long a client may send nothing, also while it waits for its answer.
    pub send: Option<Duration>,
    /// How long what is under way has at the end.
    pub grace: Duration,
}

/// A stream of bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// A connection that can be talked over.
pub struct Connection {
    /// What is read and written. One type for all, so that HTTP is compiled once.
    pub stream: Pin<Box<dyn Stream>>,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// Whether nobody between reads it.
    pub is_tls: bool,
    /// What tells the HTTP above of the end; as long as it is there, it is waited for.
    pub watcher: Watcher,
}

/// Accepts until `end`, and has `talk` talk over each connection in a task of its own. `false`: some took
/// longer than their grace. They are still there then, until the runtime ends.
pub async fn serve<T>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    end: impl Future<Output = ()>,
    talk: impl Fn(Connection) -> T + Clone + Send + 'static,
) -> bool
where
    T: Future<Output = ()> + Send,
{
    let connections = GracefulShutdown::new();
    let mut end = pin!(end);
    loop {
        let next = async {
            let place = match limits.places.clone() {
                Some(places) => places.acquire_owned().await.ok(),
                None => None,
            };
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = &mut end => break,
            next = next => next,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: others have to end first.
                log::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (tls, limits, watcher) = (tls.clone(), limits.clone(), connections.watcher());
        let talk = talk.clone();
        tokio::spawn(async move {
            let is_tls = tls.is_some();
            if let Some(stream) = secure(stream, peer, tls, &limits).await {
                talk(Connection {
                    stream,
                    peer,
                    is_tls,
                    watcher,
                })
                .await;
            }
            drop(place);
        });
    }
    drop(listener);
    timeout(limits.grace, connections.shutdown()).await.is_ok()
}

async fn secure(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    limits: &Limits,
) -> Option<Pin<Box<dyn Stream>>> {
    // Small answers are not to wait for the last one's receipt.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return Some(timed(stream, limits));
    };
    match timeout(limits.begin, tls.accept(stream)).await {
        Ok(Ok(stream)) => return Some(timed(stream, limits)),
        Ok(Err(error)) => log::debug!("{peer}: TLS: {error}"),
        Err(_) => log::debug!("{peer}: TLS did not begin"),
    }
    None
}

fn timed(stream: impl Stream + 'static, limits: &Limits) -> Pin<Box<dyn Stream>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.take));
    stream.set_read_timeout(limits.send);
    Box::pin(stream)
}
