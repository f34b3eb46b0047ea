//! A real HTTP/1.1 server on a loopback port, which breaks, stalls and lies as ordered.
//!
//! ```no_run
//! use castoff_testkit::http::{Reply, Server};
//!
//! let server = Server::start();
//! let package = vec![7; 1 << 20];
//! // The first request breaks off after 1,000 bytes, every later one gets the file.
//! server.route("/a.zip", Reply::file(&package).etag("\"v1\"").reset_after(1_000).times(1));
//! server.route("/a.zip", Reply::file(&package).etag("\"v1\""));
//! let url = server.url("/a.zip");
//! // ... fetch it ...
//! assert_eq!(server.requests()[1].header("range"), Some("bytes=1000-"));
//! ```
//!
//! Replies to one path are queued: each serves as many requests as [`Reply::times`] says (for ever
//! when it says nothing), then the next one's turn comes. A path without a reply is answered with
//! 404, or with the [`Server::fallback`].
//!
//! What is right by default: persistent connections, `HEAD`, `Range` with `If-Range` (RFC 9110,
//! sections 13 and 14), 206 with `Content-Range`, 416. Each builder method of [`Reply`] spoils one
//! thing, and they can be combined.
//!
//! Promises: every server has its own port, so tests can run side by side; dropping a server ends
//! its connections at once, stalled ones too; every request is in [`Server::requests`] before its
//! first byte is answered. Not promised: pipelining, chunked request bodies, more than one range.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request's head is refused beyond this; no test sends as much.
const HEAD_LIMIT: usize = 64 * 1024;

/// Milliseconds until half a request's head is given up; ten seconds pass for any busy machine.
const HEAD_PATIENCE: u32 = 10_000;

/// What is written at once; small enough that a stop is noticed soon.
const BLOCK: usize = 64 * 1024;

/// A running server. Dropping it stops it.
pub struct Server {
    address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`, `CONNECT`.
    pub method: String,
    /// The target as sent: the path and the query, or the authority of a `CONNECT`.
    pub target: String,
    /// The headers, in their order, with their names as sent.
    pub headers: Vec<(String, String)>,
    /// The body, of the length that the request announced.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What is answered, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Arc<[u8]>,
    ranges: bool,
    etag: Option<String>,
    last_modified: Option<String>,
    times: Option<usize>,
    delay: Duration,
    framing: Framing,
    end: End,
    content_range: Option<String>,
    changing_etag: bool,
    trickle: Option<(usize, Duration)>,
    raw: bool,
    tunnel: Option<SocketAddr>,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    Close,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// Nothing is said at all.
    Silent,
    /// The connection is reset before the request was read.
    ResetAtOnce,
    /// The connection is reset in the middle of the answer's head.
    ResetInHead,
    /// After so many bytes of the body: a reset, an orderly close, silence.
    ResetAfter(usize),
    CutAfter(usize),
    StallAfter(usize),
    /// The body is repeated for ever.
    Never,
}

impl Reply {
    /// An answer with this status and an empty body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Arc::from([]),
            ranges: false,
            etag: None,
            last_modified: None,
            times: None,
            delay: Duration::ZERO,
            framing: Framing::Length,
            end: End::Whole,
            content_range: None,
            changing_etag: false,
            trickle: None,
            raw: false,
            tunnel: None,
        }
    }

    /// A file: 200, or 206 and 416 for a `Range`.
    pub fn file(bytes: &[u8]) -> Self {
        let mut reply = Self::status(200)
            .body(bytes)
            .content_type("application/zip");
        reply.ranges = true;
        reply
    }

    /// A JSON document with 200.
    pub fn json(text: &str) -> Self {
        Self::status(200)
            .body(text)
            .content_type("application/json")
    }

    /// A web page with 200, as captive portals and error pages come.
    pub fn html(text: &str) -> Self {
        Self::status(200)
            .body(text)
            .content_type("text/html; charset=utf-8")
    }

    /// A redirect with this status to this address.
    pub fn redirect(status: u16, to: &str) -> Self {
        Self::status(status).header("Location", to)
    }

    /// Exactly these bytes instead of an answer; the connection is closed after them.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        let mut reply = Self::status(200).body(bytes);
        reply.raw = true;
        reply
    }

    /// What a proxy does for `CONNECT`: 200, then bytes to and from `address`, whatever the
    /// request named. For [`Server::fallback`], and not over TLS.
    pub fn tunnel_to(address: SocketAddr) -> Self {
        let mut reply = Self::status(200);
        reply.tunnel = Some(address);
        reply
    }

    /// Sets the status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.body = Arc::from(bytes.as_ref());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets `Content-Type`, in place of the one that was there.
    #[must_use]
    pub fn content_type(mut self, value: &str) -> Self {
        self.headers.retain(|(name, _)| name != "Content-Type");
        self.header("Content-Type", value)
    }

    /// Sets `ETag`, quotes included; `If-Range` is compared with it.
    #[must_use]
    pub fn etag(mut self, value: &str) -> Self {
        self.etag = Some(value.to_owned());
        self
    }

    /// Sets `Last-Modified`; `If-Range` is compared with it.
    #[must_use]
    pub fn last_modified(mut self, value: &str) -> Self {
        self.last_modified = Some(value.to_owned());
        self
    }

    /// Serves so many requests, then the path's next reply has its turn.
    #[must_use]
    pub fn times(mut self, count: usize) -> Self {
        self.times = Some(count);
        self
    }

    /// Waits before the first byte.
    #[must_use]
    pub fn delay(mut self, time: Duration) -> Self {
        self.delay = time;
        self
    }

    /// Reads the request and says nothing.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.end = End::Silent;
        self
    }

    /// Resets the connection (TCP's RST) with the request unanswered.
    #[must_use]
    pub fn reset_at_once(mut self) -> Self {
        self.end = End::ResetAtOnce;
        self
    }

    /// Resets the connection in the middle of the answer's headers.
    #[must_use]
    pub fn reset_in_head(mut self) -> Self {
        self.end = End::ResetInHead;
        self
    }

    /// Resets the connection after so many bytes of the body.
    #[must_use]
    pub fn reset_after(mut self, bytes: usize) -> Self {
        self.end = End::ResetAfter(bytes);
        self
    }

    /// Closes the connection in order after so many bytes of the body, fewer than announced.
    #[must_use]
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.end = End::CutAfter(bytes);
        self
    }

    /// Says nothing more after so many bytes of the body.
    #[must_use]
    pub fn stall_after(mut self, bytes: usize) -> Self {
        self.end = End::StallAfter(bytes);
        self
    }

    /// Repeats the body for ever, without a length.
    #[must_use]
    pub fn endless(mut self) -> Self {
        self.end = End::Never;
        self.framing = Framing::Close;
        self
    }

    /// Sends so many bytes of the body at once, and waits in between.
    #[must_use]
    pub fn trickle(mut self, bytes: usize, every: Duration) -> Self {
        self.trickle = Some((bytes.max(1), every));
        self
    }

    /// Answers a `Range` with 200 and the whole file, as Django's media server does.
    #[must_use]
    pub fn ignore_range(mut self) -> Self {
        self.ranges = false;
        self
    }

    /// Claims this `Content-Range` in a 206, whatever is sent.
    #[must_use]
    pub fn content_range(mut self, value: &str) -> Self {
        self.content_range = Some(value.to_owned());
        self
    }

    /// Names another `ETag` in every answer, and takes any `If-Range` for fulfilled.
    #[must_use]
    pub fn changing_etag(mut self) -> Self {
        self.changing_etag = true;
        self
    }

    /// Claims `Content-Encoding: gzip` though nobody asked; the bytes stay as they are.
    #[must_use]
    pub fn gzip_label(self) -> Self {
        self.header("Content-Encoding", "gzip")
    }

    /// Sends the body in chunks, without a length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// Sends the body without a length; the end of the connection is its end.
    #[must_use]
    pub fn until_close(mut self) -> Self {
        self.framing = Framing::Close;
        self
    }
}

/// A certificate, and the authority that issued it, which no system trusts.
pub struct Tls {
    /// The authority's certificate; a program that is started with `SSL_CERT_FILE` set to this
    /// path trusts the server.
    pub ca_pem_path: PathBuf,
    /// The server's certificate, for a server that reads it from a file.
    pub certificate_pem_path: PathBuf,
    /// Its key.
    pub key_pem_path: PathBuf,
    config: Arc<ServerConfig>,
    _folder: tempfile::TempDir,
}

impl Tls {
    /// Makes a new authority and a certificate for `127.0.0.1` and `localhost`.
    pub fn new() -> Self {
        Self::of(&["127.0.0.1", "localhost"])
    }

    /// Makes a new authority and a certificate for other names.
    ///
    /// # Panics
    ///
    /// When the machine has no room for a temporary file.
    pub fn of(names: &[&str]) -> Self {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "Castoff's tests");
        let authority_key = KeyPair::generate().expect("a key");
        let authority_certificate = authority.self_signed(&authority_key).expect("an authority");
        let issuer = Issuer::new(authority, authority_key);

        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.signed_by(&key, &issuer))
            .expect("a certificate");

        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str, pem: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, pem).expect("a temporary file");
            path
        };
        let ca_pem_path = file("ca.pem", authority_certificate.pem());
        let certificate_pem_path = file("certificate.pem", certificate.pem());
        let key_pem_path = file("key.pem", key.serialize_pem());

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a private key"),
            )
            .expect("a key that fits its certificate");
        Self {
            ca_pem_path,
            certificate_pem_path,
            key_pem_path,
            config: Arc::new(config),
            _folder: folder,
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// Starts a server for plain http on a free loopback port.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts a server for https on a free loopback port.
    pub fn start_tls(tls: &Tls) -> Self {
        Self::start_with(Some(Arc::clone(&tls.config)))
    }

    fn start_with(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        let is_tls = tls.is_some();
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, tls.as_ref(), &shared)
        });
        Self {
            address,
            tls: is_tls,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// The server's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The full address of a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// Queues a reply for a path (without query).
    pub fn route(&self, path: &str, reply: Reply) -> &Self {
        let mut state = self.shared.lock();
        state
            .routes
            .entry(path.to_owned())
            .or_default()
            .push_back(reply);
        drop(state);
        self
    }

    /// Forgets the replies for a path.
    pub fn unroute(&self, path: &str) -> &Self {
        self.shared.lock().routes.remove(path);
        self
    }

    /// Gives a path another reply than those that it had.
    pub fn replace(&self, path: &str, reply: Reply) -> &Self {
        self.unroute(path).route(path, reply)
    }

    /// What every path without a reply gets, `CONNECT` included.
    pub fn fallback(&self, reply: Reply) -> &Self {
        self.shared.lock().fallback = Some(reply);
        self
    }

    /// Every request so far, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().log.clone()
    }

    /// How often a path (without query) was asked for so far.
    pub fn asked(&self, path: &str) -> usize {
        let state = self.shared.lock();
        state.log.iter().filter(|it| it.path() == path).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        for connection in state.connections.values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.wake.notify_all();
        // The acceptor looks up only when somebody comes.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    routes: HashMap<String, VecDeque<Reply>>,
    fallback: Option<Reply>,
    log: Vec<Request>,
    connections: HashMap<u64, TcpStream>,
    accepted: u64,
    etags: u64,
    stopped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, or as long as the server lives; fails when it has stopped.
    fn pause(&self, time: Option<Duration>) -> io::Result<()> {
        let until = time.map(|time| Instant::now() + time);
        let mut state = self.lock();
        while !state.stopped {
            let left = match until {
                Some(until) => until.saturating_duration_since(Instant::now()),
                None => Duration::from_mins(1),
            };
            if left.is_zero() {
                return Ok(());
            }
            state = self
                .wake
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// The reply whose turn it is. Logs the request in the same breath, so that the log's order
    /// is the order of the turns.
    fn turn(&self, request: Request) -> Reply {
        let mut state = self.lock();
        let path = request.path().to_owned();
        state.log.push(request);
        let fallback = state.fallback.clone();
        let reply = state.routes.get_mut(&path).and_then(|queue| {
            while queue.front().is_some_and(|reply| reply.times == Some(0)) {
                queue.pop_front();
            }
            let reply = queue.front_mut()?;
            reply.times = reply.times.map(|left| left - 1);
            Some(reply.clone())
        });
        let mut reply = reply
            .or(fallback)
            .unwrap_or_else(|| Reply::status(404).body("not found"));
        if reply.changing_etag {
            state.etags += 1;
            reply.etag = Some(format!("\"etag-{}\"", state.etags));
        }
        reply
    }
}

fn accept(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let mut state = shared.lock();
        if state.stopped {
            return;
        }
        state.accepted += 1;
        let id = state.accepted;
        if let Ok(copy) = stream.try_clone() {
            state.connections.insert(id, copy);
        }
        drop(state);
        let (tls, shared) = (tls.cloned(), Arc::clone(shared));
        thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            // What a client does to its connection is its own affair.
            let _ = serve(stream, tls, &shared);
            // The copy would hold the connection open.
            shared.lock().connections.remove(&id);
        });
    }
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>, shared: &Shared) -> io::Result<()> {
    let mut wire = match tls {
        None => Wire::Plain(stream),
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            Wire::Tls(Box::new(StreamOwned::new(connection, stream)))
        }
    };
    loop {
        let head = wire.read_head()?;
        let mut request = parse(&head)?;
        // The end of the request is left unread until it is known that no reset is due.
        let length = request
            .header("content-length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        if length > 0 {
            wire.finish_head()?;
            request.body = vec![0; length];
            wire.read_exact(&mut request.body)?;
        }
        let reply = shared.turn(request.clone());
        let resets = matches!(
            reply.end,
            End::ResetAtOnce | End::ResetInHead | End::ResetAfter(_)
        );
        if !resets && length == 0 {
            wire.finish_head()?;
        }
        if !reply.delay.is_zero() {
            shared.pause(Some(reply.delay))?;
        }
        if let Some(address) = reply.tunnel {
            return tunnel(wire, address);
        }
        if !answer(&mut wire, &request, &reply, shared)? {
            return wire.close(resets);
        }
    }
}

/// Writes an answer; whether the connection can take another request.
fn answer(wire: &mut Wire, request: &Request, reply: &Reply, shared: &Shared) -> io::Result<bool> {
    match reply.end {
        End::Silent => return shared.pause(None).map(|()| false),
        End::ResetAtOnce => return Ok(false),
        _ => {}
    }
    if reply.raw {
        wire.write_all(&reply.body)?;
        return Ok(false);
    }
    let (status, range, content_range) = ranged(request, reply);
    let body = &reply.body[range];
    let framing = if status == 416 {
        Framing::Length
    } else {
        reply.framing
    };

    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    let mut line = |name: &str, value: &str| {
        let _ = write!(head, "{name}: {value}\r\n");
    };
    for (name, value) in &reply.headers {
        line(name, value);
    }
    for (name, value) in [
        ("ETag", &reply.etag),
        ("Last-Modified", &reply.last_modified),
        ("Content-Range", &content_range),
    ] {
        if let Some(value) = value {
            line(name, value);
        }
    }
    match framing {
        Framing::Length => line("Content-Length", &body.len().to_string()),
        Framing::Chunked => line("Transfer-Encoding", "chunked"),
        Framing::Close => line("Connection", "close"),
    }
    if reply.end == End::ResetInHead {
        wire.write_all(head.as_bytes())?;
        return Ok(false);
    }
    head.push_str("\r\n");
    wire.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(true);
    }

    let (send, whole) = match reply.end {
        End::ResetAfter(count) | End::CutAfter(count) | End::StallAfter(count) => {
            (&body[..count.min(body.len())], false)
        }
        _ => (body, reply.end == End::Whole),
    };
    loop {
        write_body(wire, send, framing, reply.trickle, shared)?;
        if reply.end != End::Never {
            break;
        }
    }
    if matches!(reply.end, End::StallAfter(_)) {
        return shared.pause(None).map(|()| false);
    }
    if whole && framing == Framing::Chunked {
        wire.write_all(b"0\r\n\r\n")?;
    }
    Ok(whole && framing != Framing::Close)
}

fn write_body(
    wire: &mut Wire,
    body: &[u8],
    framing: Framing,
    trickle: Option<(usize, Duration)>,
    shared: &Shared,
) -> io::Result<()> {
    let (size, wait) = trickle.unwrap_or((BLOCK, Duration::ZERO));
    for (index, block) in body.chunks(size).enumerate() {
        if index > 0 && !wait.is_zero() {
            shared.pause(Some(wait))?;
        }
        if framing == Framing::Chunked {
            wire.write_all(format!("{:x}\r\n", block.len()).as_bytes())?;
            wire.write_all(block)?;
            wire.write_all(b"\r\n")?;
        } else {
            wire.write_all(block)?;
        }
    }
    Ok(())
}

/// Status, the part of the body, and its `Content-Range`.
fn ranged(request: &Request, reply: &Reply) -> (u16, std::ops::Range<usize>, Option<String>) {
    let size = reply.body.len();
    let whole = (reply.status, 0..size, None);
    if !reply.ranges || reply.status != 200 {
        // A reply with a status of its own may claim a range as well (416 with `bytes */9`).
        return (reply.status, 0..size, reply.content_range.clone());
    }
    let Some(asked) = request
        .header("range")
        .and_then(|text| text.strip_prefix("bytes="))
    else {
        return whole;
    };
    if let Some(condition) = request.header("if-range")
        && !reply.changing_etag
    {
        // A weak ETag never fulfils it: the comparison is the strong one (RFC 9110, 13.1.5).
        let strong = |etag: &&String| !etag.starts_with("W/");
        let fulfilled = reply
            .etag
            .as_ref()
            .filter(strong)
            .is_some_and(|etag| etag == condition)
            || reply.last_modified.as_deref() == Some(condition);
        if !fulfilled {
            return whole;
        }
    }
    let Some((from, to)) = asked.split_once('-') else {
        return whole;
    };
    let range = match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), Ok(to)) if from <= to => from..(to + 1).min(size),
        (Ok(from), Err(_)) if to.is_empty() => from..size,
        (Err(_), Ok(last)) if from.is_empty() => size.saturating_sub(last)..size,
        _ => return whole,
    };
    if range.start >= range.end {
        return (416, 0..0, Some(format!("bytes */{size}")));
    }
    let content_range = reply
        .content_range
        .clone()
        .unwrap_or_else(|| format!("bytes {}-{}/{size}", range.start, range.end - 1));
    (206, range, Some(content_range))
}

fn tunnel(wire: Wire, address: SocketAddr) -> io::Result<()> {
    let Wire::Plain(mut client) = wire else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let mut target = TcpStream::connect(address)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut back, mut forth) = (target.try_clone()?, client.try_clone()?);
    let returning = thread::spawn(move || {
        let _ = io::copy(&mut back, &mut forth);
        let _ = forth.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut client, &mut target);
    let _ = target.shutdown(Shutdown::Both);
    let _ = returning.join();
    Ok(())
}

/// A connection, plain or not.
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    /// Reads a request's head. From a plain connection the last byte of it is only looked at: a
    /// connection that is closed with bytes unread is reset, which the standard library offers
    /// no other way for.
    fn read_head(&mut self) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        match self {
            Self::Plain(stream) => {
                let mut seen = vec![0; HEAD_LIMIT];
                for _ in 0..HEAD_PATIENCE {
                    let count = stream.peek(&mut seen)?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    if let Some(end) = end_of_head(&seen[..count]) {
                        head.extend_from_slice(&seen[..end]);
                        stream.read_exact(&mut seen[..end - 1])?;
                        return Ok(head);
                    }
                    // Peeking again shows the same bytes at once; the rest is on its way.
                    thread::sleep(Duration::from_millis(1));
                }
                Err(io::ErrorKind::TimedOut.into())
            }
            Self::Tls(stream) => {
                let mut byte = [0];
                while end_of_head(&head).is_none() && head.len() < HEAD_LIMIT {
                    stream.read_exact(&mut byte)?;
                    head.push(byte[0]);
                }
                Ok(head)
            }
        }
    }

    /// Takes the last byte of a head.
    fn finish_head(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.read_exact(&mut [0]),
            Self::Tls(_) => Ok(()),
        }
    }

    /// Ends the connection: in order, or as it falls.
    fn close(self, reset: bool) -> io::Result<()> {
        match self {
            Self::Tls(mut stream) if !reset => {
                stream.conn.send_close_notify();
                stream.flush()
            }
            Self::Plain(stream) if !reset => stream.shutdown(Shutdown::Both),
            _ => Ok(()),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            // TLS keeps what it is given until it is flushed.
            Self::Tls(stream) => stream.write(bytes).and_then(|n| stream.flush().map(|()| n)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(at + 4)
}

fn parse(head: &[u8]) -> io::Result<Request> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target)) = (first.next(), first.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Ok(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body: Vec::new(),
    })
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
