//! Which proxy stands between this machine and a host: what the environment says, by the
//! conventions that curl set, or, where it names none, what the user has set in the system.
//!
//! `HTTPS_PROXY` or `HTTP_PROXY` by the scheme of the address, else `ALL_PROXY`; each also in
//! lower case. `NO_PROXY` is a list of hosts, parted by commas: each stands for itself and
//! everything below it, `*` for every host. Loopback is never asked through a proxy.
//!
//! Not promised: address ranges (`10.0.0.0/8`) in `NO_PROXY`.
//! Plain http goes through a proxy by `CONNECT` as well, which some proxies refuse.

use ureq::Proxy;

use super::Url;
use super::system_proxy::System;
use crate::{Error, Result};

/// The proxies that are configured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    https: Option<String>,
    http: Option<String>,
    except: String,
    /// Asked where the environment names no proxy.
    system: Option<&'static System>,
}

impl Proxies {
    /// What this process's environment says, or, where it names no proxy, the system.
    pub(crate) fn of_this_machine() -> Self {
        let mut proxies = Self::from_variables(|name| std::env::var(name).ok());
        if proxies.https.is_none() && proxies.http.is_none() {
            proxies.system = System::this();
        }
        proxies
    }

    /// What an environment says, and nothing but it.
    pub(crate) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let any_case = |name: &str| {
            variable(name)
                .or_else(|| variable(&name.to_ascii_lowercase()))
                .filter(|value| !value.trim().is_empty())
        };
        let all = any_case("ALL_PROXY");
        Self {
            https: any_case("HTTPS_PROXY").or_else(|| all.clone()),
            http: any_case("HTTP_PROXY").or(all),
            except: any_case("NO_PROXY").unwrap_or_default(),
            system: None,
        }
    }

    /// The proxy for an address. One that cannot be understood is an error: going around it would
    /// be more than was asked for.
    pub(crate) fn choose(&self, url: &Url) -> Result<Option<Proxy>> {
        if self.excepts(url) {
            return Ok(None);
        }
        let named = if url.is_https() {
            &self.https
        } else {
            &self.http
        };
        let set = || self.system.and_then(|system| system.choose(url));
        let Some(proxy) = named.clone().or_else(set) else {
            return Ok(None);
        };
        // The error does not name the proxy's address: it may hold a password.
        let made = Proxy::new(proxy.trim()).map_err(|_| Error::Unreachable {
            url: url.to_string(),
            source: "the proxy that the environment or the system names is no valid address".into(),
        })?;
        Ok(Some(made))
    }

    fn excepts(&self, url: &Url) -> bool {
        let host = url.host().trim_matches(['[', ']']);
        let is_listed = |entry: &str| {
            let entry = entry.trim().to_ascii_lowercase();
            let entry = entry.strip_prefix('*').unwrap_or(&entry);
            let name = entry.strip_prefix('.').unwrap_or(entry);
            let below = host.strip_suffix(name);
            !name.is_empty() && below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        url.is_loopback()
            || self
                .except
                .split(',')
                .any(|entry| entry.trim() == "*" || is_listed(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(variables: &[(&str, &str)], url: &str) -> Option<u16> {
        let proxies = Proxies::from_variables(|name| {
            let found = variables.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        });
        let proxy = proxies.choose(&Url::parse(url).unwrap()).unwrap();
        proxy.map(|proxy| proxy.port())
    }

    #[test]
    fn a_proxy_is_chosen_by_scheme_and_then_for_all() {
        let all = [
            ("HTTPS_PROXY", "http://p:1"),
            ("http_proxy", "p:2"),
            ("ALL_PROXY", "socks5://p:3"),
        ];
        assert_eq!(port(&all, "https://h/"), Some(1));
        assert_eq!(port(&all, "http://h/"), Some(2));
        assert_eq!(port(&all[1..], "https://h/"), Some(3));
        assert_eq!(port(&all[..1], "http://h/"), None);
        assert_eq!(port(&[("HTTPS_PROXY", " ")], "https://h/"), None);
    }

    #[test]
    fn loopback_and_listed_hosts_are_asked_directly() {
        let listed = |list: &str, url: &str| {
            port(&[("ALL_PROXY", "p:1"), ("NO_PROXY", list)], url).is_none()
        };
        assert!(listed("", "http://127.0.0.1:8000/"));
        assert!(listed("*", "https://h/"));
        for list in ["example.com", ".example.com", "a, *.Example.com "] {
            assert!(listed(list, "https://updates.EXAMPLE.com/"), "{list}");
            assert!(!listed(list, "https://notexample.com/"), "{list}");
        }
    }

    #[test]
    fn a_proxy_that_is_no_address_is_an_error_and_its_password_stays_unsaid() {
        let proxies = Proxies::from_variables(|_| Some("nonsense://user:secret@p".into()));
        let error = proxies.choose(&Url::parse("https://h/").unwrap());
        let chain = error.unwrap_err().chain();
        assert!(
            chain.contains("proxy") && !chain.contains("secret"),
            "{chain}"
        );
    }
}
