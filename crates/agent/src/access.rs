//! Who may call: by default whoever is on this machine; else who has the token.
//!
//! Promises: a page in a browser can call nothing, whatever name it has given this machine: a request has to
//! name an address that the updater knows itself by, and one from another site's page is refused.

use std::path::Path;

use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use castoff::{Error, Result};
use subtle::ConstantTimeEq as _;

use crate::config::Config;

/// Shorter tokens can be guessed.
const SHORTEST: usize = 16;

/// What a browser says of a request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The rules.
#[derive(Clone, Debug)]
pub struct Access {
    token: Option<String>,
    open_reading: bool,
    hosts: Vec<String>,
}

impl Access {
    /// As it is configured. Fails where the token cannot be read, or is none.
    pub fn new(config: &Config) -> Result<Self> {
        let token = config.token_file.as_deref().map(read).transpose()?;
        let mut hosts = vec!["localhost".to_owned(), config.listen.ip().to_string()];
        hosts.extend(["127.0.0.1", "::1"].map(str::to_owned));
        hosts.extend(config.hosts.iter().map(|host| host.to_ascii_lowercase()));
        Ok(Self {
            token,
            open_reading: config.open_reading,
            hosts,
        })
    }

    /// Whether a request may go on.
    pub fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if let Some(token) = &self.token {
            let said = text(header::AUTHORIZATION).unwrap_or_default();
            let is_it = |given: &[u8]| bool::from(given.ct_eq(token.as_bytes()));
            let bearer = said.strip_prefix("Bearer ");
            if bearer.is_some_and(|given| is_it(given.as_bytes())) {
                // No page knows it.
                return Ok(());
            }
            let basic = said.strip_prefix("Basic ").and_then(password);
            let is_known = basic.is_some_and(|given| is_it(&given));
            if !(is_known || reads && self.open_reading) {
                let problem = "the token is missing or wrong".to_owned();
                return Err((StatusCode::UNAUTHORIZED, problem));
            }
        }
        let host = text(header::HOST).unwrap_or_default().to_ascii_lowercase();
        if !self.hosts.iter().any(|known| known == name_of(&host)) {
            let problem = format!("{host:?} is no name of this updater; `hosts` in agent.toml");
            return Err((StatusCode::MISDIRECTED_REQUEST, problem));
        }
        // Somebody may come by a link; a page of another site has no other reason to call.
        let follows = text(SEC_FETCH_DEST) == Some("document");
        if reads && !follows && text(SEC_FETCH_SITE) == Some("cross-site") {
            let problem = "a page of another site may not call".to_owned();
            return Err((StatusCode::FORBIDDEN, problem));
        }
        let origin = text(header::ORIGIN).filter(|_| !reads);
        let same = |origin: &str| origin.split_once("://").is_some_and(|(_, it)| it == host);
        if origin.is_some_and(|origin| !same(origin)) {
            let problem = "a page of another site may not call".to_owned();
            return Err((StatusCode::FORBIDDEN, problem));
        }
        Ok(())
    }
}

/// What a browser sends where somebody has typed the token as a password, for whichever name.
fn password(basic: &str) -> Option<Vec<u8>> {
    let text = BASE64_STANDARD.decode(basic.trim()).ok()?;
    let colon = text.iter().position(|byte| *byte == b':')?;
    Some(text[colon + 1..].to_vec())
}

/// The name in an authority, without its port.
fn name_of(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

fn read(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read the token", path))?;
    let token = text.trim();
    if token.len() < SHORTEST {
        return Err(Error::ConfigInvalid {
            place: path.display().to_string(),
            problem: format!("a token has {SHORTEST} characters at least"),
            nearest: None,
        });
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(token: Option<&str>) -> Access {
        Access {
            token: token.map(str::to_owned),
            open_reading: false,
            hosts: vec!["localhost".into(), "127.0.0.1".into(), "::1".into()],
        }
    }

    fn asked(access: &Access, method: &Method, headers: &[(&str, &str)]) -> Option<u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().unwrap();
            map.insert(name, value.parse().unwrap());
        }
        access.admit(method, &map).err().map(|it| it.0.as_u16())
    }

    #[test]
    fn a_page_of_another_site_gets_nowhere() {
        let open = access(None);
        let post = &Method::POST;
        for host in ["localhost:12315", "127.0.0.1", "[::1]:12315"] {
            assert_eq!(asked(&open, post, &[("host", host)]), None);
        }
        // A name that somebody lets lead to 127.0.0.1.
        assert_eq!(
            asked(&open, &Method::GET, &[("host", "evil.example")]),
            Some(421)
        );
        assert_eq!(asked(&open, &Method::GET, &[]), Some(421));
        let cross = ("sec-fetch-site", "cross-site");
        for (dest, status) in [
            ("document", None),
            ("image", Some(403)),
            ("iframe", Some(403)),
        ] {
            let headers = [("host", "localhost"), cross, ("sec-fetch-dest", dest)];
            assert_eq!(asked(&open, &Method::GET, &headers), status, "{dest}");
        }
        let host = ("host", "localhost:12315");
        for (origin, status) in [
            ("http://localhost:12315", None),
            ("http://localhost:8080", Some(403)),
            ("https://evil.example", Some(403)),
            ("null", Some(403)),
        ] {
            assert_eq!(
                asked(&open, post, &[host, ("origin", origin)]),
                status,
                "{origin}"
            );
        }
    }

    #[test]
    fn who_needs_a_token() {
        let mut closed = access(Some("0123456789abcdef"));
        let host = ("host", "localhost");
        let get = &Method::GET;
        assert_eq!(asked(&closed, get, &[host]), Some(401));
        let with = |token| [host, ("authorization", token)];
        assert_eq!(asked(&closed, get, &with("Bearer 0123456789abcdef")), None);
        assert_eq!(
            asked(&closed, get, &with("Bearer 0123456789abcdeF")),
            Some(401)
        );
        assert_eq!(
            asked(&closed, get, &with("Basic 0123456789abcdef")),
            Some(401)
        );
        closed.open_reading = true;
        assert_eq!(asked(&closed, get, &[host]), None);
        assert_eq!(asked(&closed, &Method::POST, &[host]), Some(401));
    }
}
