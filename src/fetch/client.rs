//! Requests by this project's own rules.
//!
//! Promises:
//!
//! - Plain http goes to loopback, or where the configuration allows it, and nowhere else.
//! - At most [`MAX_REDIRECTS`] redirects, none in a circle, none from https to http.
//! - The headers of `source.headers`, whatever their names, go to the origin (scheme, host and
//!   port) of `source.url` and to no other; in the clear only where the configuration says so.
//! - A check ends within its time, whatever the server, the proxy or the system's certificate
//!   verifier does. A download may take as long as bytes keep coming; until the first ones come, it
//!   has a limit that nothing of the system can hold up either.
//! - Nothing is compressed on the way: what is hashed is what was sent.
//!
//! Making a client costs next to nothing; the platform's certificates are read when the first
//! https connection is made.
//!
//! Not promised: cookies, HTTP/2, credentials inside an address.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, AsSendBody, Body, SendBody};

use super::proxy::Proxies;
use super::{Url, aside, stall};
use crate::config::{NetworkConfig, SourceConfig, SourceKind};
use crate::error::in_short;
use crate::{Error, Result, record};

/// As many as most clients follow; an honest chain has two or three.
pub(crate) const MAX_REDIRECTS: usize = 10;

const USER_AGENT: &str = concat!("castoff/", env!("CARGO_PKG_VERSION"));

/// The media type of bytes of which nothing else is known (RFC 2046, section 4.5.1).
pub(crate) const BYTES: &str = "application/octet-stream";

/// The wait before the first repetition, in the middle of what is usual (cargo: 0.5 s, AWS:
/// 0.1 s, gcloud: 1 s): long enough for a dropped connection to come back, and a person waits.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Asks servers. Cheap to make and to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    pub(super) network: NetworkConfig,
    origin: Option<Url>,
    kind: SourceKind,
    tokens: HeaderMap,
    pub(super) proxies: Proxies,
    pub(super) first_wait: Duration,
}

/// What a server answered to a check.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The address that answered, after redirects.
    pub url: String,
    /// The status; error statuses are answers too.
    pub status: u16,
    /// The media type, as it came.
    pub content_type: Option<String>,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer whose body is still to be read.
pub(crate) struct Reply {
    pub(crate) url: Url,
    pub(crate) response: Response<Body>,
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header's value, if it is text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Reads the body, of at most so many bytes.
    fn into_answer(mut self, limit: u64) -> Result<Answer> {
        let url = self.url.to_string();
        let mut body = Vec::new();
        // One byte more, to tell a body at the limit from one beyond it.
        let read = (&mut self.response.body_mut().as_reader())
            .take(limit.saturating_add(1))
            .read_to_end(&mut body);
        if let Err(error) = read {
            return Err(unreachable(&url, error.into()));
        }
        if body.len() as u64 > limit {
            return Err(Error::TooLarge {
                subject: url,
                limit: format!("{limit} bytes"),
            });
        }
        Ok(Answer {
            url,
            status: self.status(),
            content_type: self.header(header::CONTENT_TYPE).map(str::to_owned),
            retry_after: self.retry_after(),
            headers: self.response.headers().clone(),
            body,
        })
    }

    /// `Retry-After`: seconds or a date (RFC 9110, section 10.2.3).
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let text = self.header(header::RETRY_AFTER)?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = httpdate::parse_http_date(text).ok()?;
        // A date in the past means: now.
        Some(date.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

impl Client {
    /// A client for a source and the packages that it names.
    ///
    /// Fails with `CONFIG_INVALID` when a header cannot be sent. An unusable `source.url` is not
    /// an error yet, but every request for it will be.
    pub fn new(network: &NetworkConfig, source: &SourceConfig) -> Result<Self> {
        let mut client = Self {
            origin: Url::parse(&source.url).ok(),
            kind: source.kind,
            proxies: Proxies::of_this_machine(),
            ..Self::bare(network)
        };
        let mut add = |place: &str, name: &str, value: &str| {
            let invalid = |problem: &str| Error::ConfigInvalid {
                place: place.to_owned(),
                // Never the value: it is a secret.
                problem: format!("{name:?} {problem}"),
                nearest: None,
            };
            let key = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| invalid("is no header name"))?;
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| invalid("has a value that no header can hold"))?;
            value.set_sensitive(true);
            client.tokens.insert(key, value);
            Ok(())
        };
        for (name, value) in &source.headers {
            add("source.headers", name, value)?;
        }
        if let Some(token) = &source.token {
            let (name, value) = match source.kind {
                SourceKind::Codeup | SourceKind::Gitlab => ("PRIVATE-TOKEN", token.clone()),
                SourceKind::Gitee | SourceKind::Gitea => {
                    ("Authorization", format!("token {token}"))
                }
                _ => ("Authorization", format!("Bearer {token}")),
            };
            add("source.token", name, &value)?;
        }
        Ok(client)
    }

    /// A client that has no tokens and knows no proxies: for what belongs to the app itself.
    pub(crate) fn bare(network: &NetworkConfig) -> Self {
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(cryptography()))
            .root_certs(RootCerts::PlatformVerifier)
            .disable_verification(!network.verify_certificates)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .user_agent(USER_AGENT)
            .accept_encoding("identity")
            .http_status_as_error(false)
            // Redirects are followed here, proxies are chosen here.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_resolve(Some(network.connect_timeout))
            .timeout_connect(Some(network.connect_timeout))
            .timeout_send_request(Some(network.stall_timeout))
            .build();
        let agent = Agent::with_parts(
            config,
            stall::connector(network.stall_timeout),
            DefaultResolver::default(),
        );
        Self {
            agent,
            network: network.clone(),
            origin: None,
            kind: SourceKind::Check,
            tokens: HeaderMap::new(),
            proxies: Proxies::default(),
            first_wait: FIRST_WAIT,
        }
    }

    /// Replaces the wait before the first repetition of a download (half a second; it doubles
    /// each time).
    #[must_use]
    pub fn with_first_wait(mut self, wait: Duration) -> Self {
        self.first_wait = wait;
        self
    }

    /// Asks for a small document, within `timeout` altogether.
    ///
    /// Error statuses are answers. Fails with `SOURCE_UNREACHABLE`, `TOO_LARGE` (more than `limit`
    /// bytes), `INSECURE_URL`, `REDIRECT_REFUSED` and `ANSWER_INVALID` (not an address).
    pub fn get(&self, url: &str, timeout: Duration, limit: u64) -> Result<Answer> {
        self.get_with(url, HeaderMap::new(), timeout, limit)
    }

    /// The same, with further headers.
    pub(crate) fn get_with(
        &self,
        url: &str,
        headers: HeaderMap,
        timeout: Duration,
        limit: u64,
    ) -> Result<Answer> {
        let (client, asked) = (self.clone(), url.to_owned());
        let work = move || client.get_here(&asked, &headers, timeout, limit);
        aside::within(timeout, "check", work).unwrap_or_else(|error| {
            Err(Error::Unreachable {
                url: url.to_owned(),
                source: error.into(),
            })
        })
    }

    /// Sends a request of any method with headers and a body of so many bytes, and no redirect is followed:
    /// what changes something at a server goes to that server. At most `limit` bytes are read of the answer.
    ///
    /// It may take as long as bytes move. Error statuses are answers. Fails with `SOURCE_UNREACHABLE`,
    /// `TOO_LARGE`, `INSECURE_URL` and `ANSWER_INVALID` (not an address, no header).
    pub fn request(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, String)],
        body: Option<(&mut dyn Read, u64)>,
        limit: u64,
    ) -> Result<Answer> {
        let url = parse(url)?;
        self.may_ask(&url)?;
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(url.to_string());
        if let Some(map) = request.headers_mut() {
            map.extend(self.tokens_for(&url));
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = match body {
            Some((reader, length)) => {
                let request = request.header(header::CONTENT_LENGTH, length);
                self.run(&url, request.body(SendBody::from_reader(reader)))
            }
            None => self.run(&url, request.body(())),
        }?;
        Reply { url, response }.into_answer(limit)
    }

    fn run(
        &self,
        url: &Url,
        request: ureq::http::Result<ureq::http::Request<impl AsSendBody>>,
    ) -> Result<Response<Body>> {
        let request = request.map_err(|error| Error::AnswerInvalid {
            url: url.to_string(),
            problem: error.to_string(),
        })?;
        let request = self
            .agent
            .configure_request(request)
            .proxy(self.proxies.choose(url)?)
            .build();
        let answer = self.agent.run(request);
        answer.map_err(|error| unreachable(&url.to_string(), error))
    }

    /// The media type that a package at this address has to be asked for as. GitHub's API describes the
    /// file of a release to whoever does not ask for its bytes.
    pub(super) fn accept(&self, url: &str) -> Option<&'static str> {
        let origin = self.origin.as_ref();
        let is_described = self.kind == SourceKind::Github
            && url.contains("/releases/assets/")
            && Url::parse(url).is_ok_and(|url| origin.is_some_and(|it| it.same_origin(&url)));
        is_described.then_some(BYTES)
    }

    /// The status with which an address answers within `timeout`; redirects are not followed.
    ///
    /// What the system may hold up (a look-up) is not bounded: for a thread of its own.
    pub(crate) fn status(&self, url: &str, timeout: Duration) -> Result<u16> {
        let deadline = Instant::now() + timeout;
        let response = self.send_once(&parse(url)?, &HeaderMap::new(), Some(deadline))?;
        Ok(response.status().as_u16())
    }

    fn get_here(
        &self,
        url: &str,
        headers: &HeaderMap,
        timeout: Duration,
        limit: u64,
    ) -> Result<Answer> {
        let deadline = Instant::now() + timeout;
        self.send(url, headers, Some(deadline))?.into_answer(limit)
    }

    /// Sends a GET and follows redirects.
    pub(crate) fn send(
        &self,
        url: &str,
        headers: &HeaderMap,
        deadline: Option<Instant>,
    ) -> Result<Reply> {
        let mut url = parse(url)?;
        let mut seen: Vec<Url> = Vec::new();
        loop {
            let response = self.send_once(&url, headers, deadline)?;
            let Some(location) = redirect(&response) else {
                return Ok(Reply { url, response });
            };
            let refused = |problem| Error::RedirectRefused {
                from: url.to_string(),
                to: in_short(&location).escape_debug().to_string(),
                problem,
            };
            let next = url.join(&location).map_err(refused)?;
            if url.is_https() && !next.is_https() {
                return Err(refused("leads from https to http"));
            }
            if next == url || seen.contains(&next) {
                return Err(refused("leads in a circle"));
            }
            if seen.len() == MAX_REDIRECTS {
                return Err(refused("is one too many"));
            }
            record::debug!("{url} redirects to {next}");
            seen.push(std::mem::replace(&mut url, next));
        }
    }

    fn may_ask(&self, url: &Url) -> Result<()> {
        if !url.is_https() && !self.network.allow_http && !url.is_loopback() {
            return Err(Error::InsecureUrl {
                url: url.to_string(),
            });
        }
        Ok(())
    }

    /// The headers of the configuration, for the origin that they are for.
    fn tokens_for(&self, url: &Url) -> HeaderMap {
        let origin = self.origin.as_ref();
        if origin.is_some_and(|origin| origin.same_origin(url))
            && (url.is_https() || url.is_loopback() || self.network.tokens_by_http)
        {
            return self.tokens.clone();
        }
        HeaderMap::new()
    }

    fn send_once(
        &self,
        url: &Url,
        headers: &HeaderMap,
        deadline: Option<Instant>,
    ) -> Result<Response<Body>> {
        let address = url.to_string();
        self.may_ask(url)?;
        let remaining = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if remaining.is_some_and(|time| time.is_zero()) {
            return Err(unreachable(
                &address,
                ureq::Error::Timeout(ureq::Timeout::Global),
            ));
        }
        let mut request = self
            .agent
            .get(&address)
            .config()
            .proxy(self.proxies.choose(url)?)
            .timeout_global(remaining)
            .build();
        if let Some(map) = request.headers_mut() {
            map.extend(self.tokens_for(url));
            map.extend(headers.clone());
        }
        let answer = if deadline.is_some() {
            // On a thread of its own already.
            request.call()
        } else {
            // Two look-ups and a connection, and an answer that is not stalled.
            let limit = self.network.connect_timeout * 2 + self.network.stall_timeout;
            aside::within(limit, "request", move || request.call())
                .unwrap_or_else(|error| Err(error.into()))
        };
        answer.map_err(|error| match error {
            // A check has a deadline, and is late rather than stalled.
            ureq::Error::Timeout(stall::STALLED) if deadline.is_none() => Error::DownloadStalled {
                url: address,
                received: 0,
                seconds: self.network.stall_timeout.as_secs(),
            },
            error => unreachable(&address, error),
        })
    }
}

/// ring's cryptography, without signing: a client here has no certificate to sign with, and ring's
/// code for private keys would be linked for nothing.
fn cryptography() -> CryptoProvider {
    CryptoProvider {
        key_provider: &NoKeys,
        ..rustls::crypto::ring::default_provider()
    }
}

/// Takes no private key.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> std::result::Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General(
            "there are no client certificates".to_owned(),
        ))
    }
}

const NO_ANSWER: &str = "no answer within the time allowed";

fn parse(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|problem| Error::AnswerInvalid {
        url: url.to_owned(),
        problem: format!("the address {problem}"),
    })
}

/// Where a redirect leads. A 3xx without `Location`, or one that is none (304), is an answer.
fn redirect(response: &Response<Body>) -> Option<String> {
    let redirects = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(header::LOCATION)?;
    // Location in raw UTF-8 is against the letter of RFC 9110, and met.
    redirects.then(|| String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// A request that came to nothing.
pub(super) fn unreachable(url: &str, error: ureq::Error) -> Error {
    let source = match error {
        ureq::Error::Timeout(_) => NO_ANSWER.into(),
        ureq::Error::Io(error) => error.into(),
        error => error.into(),
    };
    Error::Unreachable {
        url: url.to_owned(),
        source,
    }
}
