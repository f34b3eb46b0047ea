//! Addresses: the little of RFC 3986 that http and https need, and what a server may link to.
//!
//! Promises: an [`Url`] has the scheme http or https, a host of plain ASCII, no credentials, no
//! fragment, and nothing in it that could end a line of a request or be read differently by
//! another parser (control characters, blanks, backslashes). Characters that do not belong into an
//! address but are met in file names, Chinese ones above all, are percent-encoded.
//!
//! Not promised: two spellings of one address (`%7E` and `~`) are not recognised as equal.

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::error::in_short;
use crate::{Error, Result};

/// Longer than any browser sends; what is longer is an attack or a fault.
const LIMIT: usize = 8 * 1024;

/// An address that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    https: bool,
    host: String,
    port: u16,
    /// Path and query; begins with a slash.
    path: String,
}

/// Makes a server's link absolute, as seen from `base`, the address that held it.
///
/// A link `http://…` to the own host of an https `base` is read as https: a server behind a proxy
/// that ends TLS does not know better. That never applies to another host or to a port of its own.
///
/// Fails with `ANSWER_INVALID` for schemes other than http and https, credentials, control
/// characters and what else is no address.
pub fn resolve(base: &str, link: &str) -> Result<String> {
    let refused = |problem: &str| Error::AnswerInvalid {
        url: base.to_owned(),
        problem: format!("the link {:?} {problem}", in_short(link)),
    };
    let base = Url::parse(base).map_err(refused)?;
    let link = base.join(link).map_err(refused)?;
    Ok(link.to_string())
}

impl Url {
    /// Reads an absolute address.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        Self::read(text)?.within_limit()
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        check(text)?;
        let (scheme, rest) = text.split_once("://").ok_or("has no scheme")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("is neither http nor https"),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = parse_authority(authority)?;
        let default = if https { 443 } else { 80 };
        Ok(Self {
            https,
            host,
            port: port.unwrap_or(default),
            path: encode(path),
        })
    }

    /// Reads a link of a document that came from here.
    pub(crate) fn join(&self, link: &str) -> Result<Self, &'static str> {
        check(link)?;
        if has_scheme(link) {
            let mut url = Self::read(link)?;
            let own_port = url.port == self.port || url.port == 80;
            if self.https && !url.https && url.host == self.host && own_port {
                url.https = true;
                url.port = self.port;
            }
            return url.within_limit();
        }
        if link.starts_with("//") {
            let scheme = if self.https { "https" } else { "http" };
            return Self::parse(&format!("{scheme}:{link}"));
        }
        let own = self.path.split('?').next().unwrap_or_default();
        let path = match link.chars().next() {
            None => return Err("is empty"),
            Some('/') => link.to_owned(),
            Some('?') => format!("{own}{link}"),
            Some('#') => self.path.clone(),
            Some(_) => {
                let folder = &own[..=own.rfind('/').unwrap_or(0)];
                format!("{folder}{link}")
            }
        };
        let url = Self {
            path: encode(&path),
            ..self.clone()
        };
        url.within_limit()
    }

    /// The same, if it can also be read again: encoded, it may be three times as long.
    fn within_limit(self) -> Result<Self, &'static str> {
        if self.to_string().len() > LIMIT {
            return Err("is too long");
        }
        Ok(self)
    }

    /// Whether it asks for TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// The host; a literal IPv6 address in its brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether scheme, host and port are the same (RFC 6454).
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        self.https == other.https && self.host == other.host && self.port == other.port
    }

    /// The root of this server.
    pub(crate) fn root(&self) -> Self {
        Self {
            path: "/".to_owned(),
            ..self.clone()
        }
    }

    /// Whether the host is this machine, by its name or by an address of canonical form. `127.1`
    /// and its kin are read differently by different systems, so they are not taken for it.
    pub(crate) fn is_loopback(&self) -> bool {
        let bare = self.host.trim_matches(['[', ']']);
        self.host == "localhost"
            || bare.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
            || bare.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default) = if self.https {
            ("https", 443)
        } else {
            ("http", 80)
        };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port != default {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.len() > LIMIT {
        Err("is too long")
    } else if text.chars().any(char::is_control) {
        Err("holds control characters")
    } else if text.contains('\\') {
        // Some parsers read it as a slash, and so another host than others do.
        Err("holds a backslash")
    } else {
        Ok(())
    }
}

/// Whether a link begins with a scheme (RFC 3986, section 3.1) rather than a path.
fn has_scheme(link: &str) -> bool {
    let first = link.split(['/', '?', '#']).next().unwrap_or_default();
    first.contains(':')
}

fn parse_authority(text: &str) -> Result<(String, Option<u16>), &'static str> {
    if text.contains('@') {
        return Err("holds credentials");
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, port) = rest.split_once(']').ok_or("has no valid host")?;
            inner.parse::<Ipv6Addr>().map_err(|_| "has no valid host")?;
            let port = match port.strip_prefix(':') {
                None if port.is_empty() => None,
                None => return Err("has no valid host"),
                Some(port) => Some(port),
            };
            (format!("[{inner}]"), port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        },
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !host.starts_with('[') && (host.is_empty() || !host.chars().all(allowed)) {
        return Err("has no valid host");
    }
    let port = match port {
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| "has no valid port")?)
        }
        Some(_) => return Err("has no valid port"),
    };
    if port == Some(0) {
        return Err("has no valid port");
    }
    Ok((host.to_ascii_lowercase(), port))
}

/// A path and query as it can be sent: percent-encoded where needed, without dot segments and
/// without fragment.
fn encode(text: &str) -> String {
    let text = text.split('#').next().unwrap_or_default();
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let mut clean = String::with_capacity(text.len() + 1);
    // `.` and `..` as RFC 3986, section 5.2.4, removes them; never above the root.
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let last = segments.len() - 1;
    for (index, segment) in segments.into_iter().enumerate() {
        let ending = if index == last { "" } else { "/" };
        match segment {
            "." => {}
            // One segment goes, be it an empty one.
            ".." => {
                let above = clean.strip_suffix('/').unwrap_or_default();
                let parent = above.rfind('/').map_or(0, |at| at + 1);
                clean.truncate(parent);
            }
            _ => {
                push_encoded(&mut clean, segment);
                clean.push_str(ending);
            }
        }
    }
    clean.insert(0, '/');
    if let Some(query) = query {
        clean.push('?');
        push_encoded(&mut clean, query);
    }
    clean
}

fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>^`{|}".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: &str = "https://host.example/api/apps/1/active/?x=1";

    #[test]
    fn links_are_resolved_as_seen_from_the_check() {
        for (base, link, expected) in [
            (CHECK, "/media/a.zip", "https://host.example/media/a.zip"),
            (
                CHECK,
                "a.zip",
                "https://host.example/api/apps/1/active/a.zip",
            ),
            (
                CHECK,
                "../a.zip?q",
                "https://host.example/api/apps/1/a.zip?q",
            ),
            (CHECK, "../../../../../../a", "https://host.example/a"),
            (
                CHECK,
                "./b/./a",
                "https://host.example/api/apps/1/active/b/a",
            ),
            (CHECK, "?y=2", "https://host.example/api/apps/1/active/?y=2"),
            (CHECK, "//cdn.example/a", "https://cdn.example/a"),
            (
                CHECK,
                "HTTPS://CDN.example:443/a#top",
                "https://cdn.example/a",
            ),
            (CHECK, "http://other.example/a", "http://other.example/a"),
            (
                CHECK,
                "/媒体/a b.zip",
                "https://host.example/%E5%AA%92%E4%BD%93/a%20b.zip",
            ),
            (CHECK, "/a%20b", "https://host.example/a%20b"),
            (CHECK, "/a//../b", "https://host.example/a/b"),
            (CHECK, "/.//../b", "https://host.example/b"),
            ("http://[::1]:8000", "/a", "http://[::1]:8000/a"),
        ] {
            assert_eq!(resolve(base, link).unwrap(), expected, "{link}");
        }
    }

    #[test]
    fn http_links_to_the_own_host_of_an_https_check_are_read_as_https() {
        for (base, link, expected) in [
            (CHECK, "http://host.example/a", "https://host.example/a"),
            (CHECK, "http://HOST.example:80/a", "https://host.example/a"),
            ("https://h:8443/", "http://h/a", "https://h:8443/a"),
            ("https://h:8443/", "http://h:8443/a", "https://h:8443/a"),
            // Not the same server, so not ours to guess.
            (
                CHECK,
                "http://host.example:8080/a",
                "http://host.example:8080/a",
            ),
            (
                CHECK,
                "http://host.example.evil/a",
                "http://host.example.evil/a",
            ),
            ("http://h/", "http://h/a", "http://h/a"),
        ] {
            assert_eq!(resolve(base, link).unwrap(), expected, "{link}");
        }
    }

    #[test]
    fn links_that_smuggle_something_are_refused() {
        for link in [
            "",
            "file:///etc/passwd",
            "ftp://host.example/a",
            "javascript:alert(1)",
            "C:/windows",
            "https:/a",
            "https:a",
            "https://",
            "https://user:secret@host.example/a",
            "https://host.example@evil.example/a",
            "//user@evil.example/a",
            "/a\r\nHost: evil.example",
            "/a\0b",
            "https://host.example\\@evil.example/",
            "\\\\evil.example\\share",
            "https://host.example:0/",
            "https://host.example:99999/",
            "https://host.example:+80/",
            "https://ho st/",
            "https://例子.example/",
            "https://[::1/",
            "https://[::1]evil/",
            &format!("/{}", "a".repeat(LIMIT)),
        ] {
            let error = resolve(CHECK, link).unwrap_err();
            assert_eq!(error.code(), crate::Code::AnswerInvalid, "{link:?}");
        }
    }

    #[test]
    fn an_address_that_is_too_long_when_it_is_encoded_is_refused() {
        let room = LIMIT - "https://host.example/".len();
        let longest = format!("/{}", "é".repeat(room / 6));
        let url = resolve(CHECK, &longest).unwrap();
        assert_eq!(resolve(CHECK, &url).unwrap(), url);
        for link in [
            format!("{longest}éé"),
            format!("https://host.example{longest}éé"),
            format!("http://host.example{longest}éé"),
        ] {
            let error = resolve(CHECK, &link).unwrap_err();
            assert_eq!(error.code(), crate::Code::AnswerInvalid);
            assert!(error.to_string().len() < 700, "{error}");
        }
        let base = format!("https://h/{}/", "a".repeat(LIMIT - 20));
        assert!(resolve(&base, "a").is_ok());
        assert!(resolve(&base, &"b".repeat(20)).is_err());
    }

    #[test]
    fn loopback_is_only_what_every_system_reads_as_loopback() {
        let is = |host: &str| {
            Url::parse(&format!("http://{host}/"))
                .unwrap()
                .is_loopback()
        };
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1",
            "127.9.9.9:80",
            "[::1]",
        ] {
            assert!(is(host), "{host}");
        }
        for host in [
            "127.1",
            "2130706433",
            "127.0.0.1.example",
            "localhost.example",
            "10.0.0.1",
        ] {
            assert!(!is(host), "{host}");
        }
    }
}
