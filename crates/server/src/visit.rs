//! Who asks: from where, under which address of this server, with which token.
//!
//! Promises: `X-Forwarded-*` counts from configured proxies alone. A token comes in a header or before
//! the path, and is nowhere in the log. Who shows wrong tokens again and again is put off.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::request::Parts;
use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderMap, Request};

use crate::config::Read;
use crate::registry::{Bearer, Role};
use crate::{Error, Result, Server, secret};

/// How many wrong tokens an address may show within [`WINDOW`].
const WRONG: u32 = 10;

/// How long a wrong token is remembered.
const WINDOW: Duration = Duration::from_mins(1);

/// How many addresses are remembered; then the oldest go.
const REMEMBERED: usize = 10_000;

/// A request, as it concerns whoever answers it.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Scheme and host under which this server was asked, without a slash at the end.
    pub base: String,
    /// What stood before the path and has to stand there in links too: `/t/TOKEN`, or nothing.
    pub prefix: String,
    /// Who asks.
    pub client: IpAddr,
    /// Whether they came by https.
    pub is_secure: bool,
    /// Path and query, without the prefix.
    pub path: String,
    bearer: Option<Bearer>,
}

impl Visit {
    /// Reads who asks, and takes the secret prefix off the request's path.
    ///
    /// Fails with `TOKEN_INVALID` and `TOO_MANY`.
    pub async fn read<B>(
        server: &Server,
        peer: SocketAddr,
        is_tls: bool,
        request: &mut Request<B>,
    ) -> Result<Self> {
        let headers = request.headers();
        let is_proxy = server
            .config
            .trusted_proxies
            .contains(&peer.ip().to_canonical());
        let forwarded = |name| is_proxy.then(|| last(headers, name)).flatten();
        let client = forwarded("x-forwarded-for").and_then(|text| text.parse().ok());
        let scheme = match forwarded("x-forwarded-proto") {
            Some("https") => "https",
            None if is_tls => "https",
            _ => "http",
        };
        let told = headers.get(HOST).and_then(|host| host.to_str().ok());
        let hosts = [
            forwarded("x-forwarded-host"),
            told,
            request.uri().authority().map(Authority::as_str),
        ];
        let host = hosts.into_iter().flatten().find(|host| is_host(host));
        let host = host.unwrap_or("localhost");
        let base = match &server.config.public_url {
            Some(url) => url.clone(),
            None => format!("{scheme}://{host}"),
        };
        let mut visit = Self {
            base,
            prefix: String::new(),
            client: client.unwrap_or(peer.ip()).to_canonical(),
            is_secure: scheme == "https",
            path: request
                .uri()
                .path_and_query()
                .map_or("/", PathAndQuery::as_str)
                .to_owned(),
            bearer: None,
        };
        let shown = visit.token(request)?;
        if let Some(token) = shown {
            server.failures.check(visit.client)?;
            visit.bearer = server.registry.bearer(&secret::digest(&token)).await?;
            if visit.bearer.is_none() {
                server.failures.note(visit.client);
                return Err(Error::TokenInvalid);
            }
        }
        Ok(visit)
    }

    /// The token of the request, whose path loses it.
    fn token<B>(&mut self, request: &mut Request<B>) -> Result<Option<String>> {
        if let Some((token, rest)) = self.path.strip_prefix("/t/").and_then(|rest| {
            let at = rest.find('/')?;
            Some((rest[..at].to_owned(), rest[at..].to_owned()))
        }) {
            self.prefix = format!("/t/{token}");
            let mut parts = request.uri().clone().into_parts();
            let path = PathAndQuery::try_from(rest.as_str())
                .map_err(|error| Error::request(error.to_string()))?;
            parts.path_and_query = Some(path);
            *request.uri_mut() = axum::http::Uri::from_parts(parts)
                .map_err(|error| Error::request(error.to_string()))?;
            self.path = rest;
            return Ok(Some(token));
        }
        let Some(header) = request.headers().get(AUTHORIZATION) else {
            return Ok(None);
        };
        let text = header.to_str().unwrap_or_default();
        Ok(text
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim().to_owned()))
    }

    /// Whose token it is, if it allows this.
    ///
    /// Fails with `TOKEN_MISSING` and `ROLE_MISSING`.
    pub fn may(&self, role: Role) -> Result<&Bearer> {
        let bearer = self.bearer.as_ref().ok_or(Error::TokenMissing)?;
        if bearer.role < role {
            return Err(Error::RoleMissing(role.as_str()));
        }
        Ok(bearer)
    }

    /// Fails unless they may fetch.
    pub fn may_read(&self, server: &Server) -> Result<()> {
        match server.config.read {
            Read::Open => Ok(()),
            Read::Token => self.may(Role::Read).map(|_| ()),
        }
    }

    /// The full address of a path of this server.
    pub fn address(&self, path: &str) -> String {
        format!("{}{}{path}", self.base, self.prefix)
    }
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self> {
        let visit = parts.extensions.get::<Self>().cloned();
        visit.ok_or_else(|| Error::Internal("the request was not read".to_owned()))
    }
}

/// The last value of a header that proxies add to: what the trusted one has added.
fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim)
}

/// Whether a text can be a host with its port: it goes into links.
fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() < 256
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c))
}

/// Wrong tokens of the last minute, by the address that they came from.
#[derive(Default)]
pub struct Failures(Mutex<HashMap<IpAddr, (Instant, u32)>>);

impl Failures {
    /// Fails with `TOO_MANY` for an address that has shown too many wrong tokens.
    pub fn check(&self, client: IpAddr) -> Result<()> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get(&client) {
            Some((since, count)) if *count >= WRONG && since.elapsed() < WINDOW => {
                let left = WINDOW.saturating_sub(since.elapsed());
                Err(Error::TooMany(left.as_secs() + 1))
            }
            _ => Ok(()),
        }
    }

    /// Remembers a wrong token.
    pub fn note(&self, client: IpAddr) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= REMEMBERED {
            failures.retain(|_, (since, _)| since.elapsed() < WINDOW);
        }
        if failures.len() >= REMEMBERED {
            failures.clear();
        }
        let (since, count) = failures.entry(client).or_insert((Instant::now(), 0));
        if since.elapsed() >= WINDOW {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
    }
}
