//! The proxy that the user has set in the system: on Windows, in the settings that browsers use.
//!
//! They hold a list of proxies with a list of exceptions, the address of a script that chooses
//! one (PAC), and whether to look for such a script in the network (WPAD). As in browsers, a
//! script comes first, and the list where there is none or it does not answer.
//!
//! Promises: looking up ends within [`PATIENCE`], once; a system that did not answer in time is
//! asked for its lists only from then on. An answer is remembered for an origin (scheme, host and
//! port) as long as the process lives.
//!
//! Not promised: the second proxy of a list when the first does not answer; a proxy that wants a
//! name and a password; a script on a server that wants them.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Url, aside};
use crate::record;

/// How long to wait for the system. A script that is at hand answers in milliseconds, one that has
/// to be looked for in a network without any takes seconds; nobody should wait for that at every
/// start, and a check has five seconds altogether.
#[cfg_attr(
    not(windows),
    expect(dead_code, reason = "other systems keep no such settings")
)]
const PATIENCE: Duration = Duration::from_millis(1500);

/// A list of proxies and one of hosts that need none, as Windows writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    /// `proxy:8080`, or `http=proxy:8080;https=proxy:8443;socks=proxy:1080`.
    pub(super) proxies: String,
    /// `*.example.com;10.*;<local>`
    pub(super) bypass: String,
}

/// What the user has set.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// Whether a script is looked for in the network.
    pub(super) detect: bool,
    /// Where a script is.
    pub(super) script: Option<String>,
    /// Proxies without a script.
    pub(super) lists: Lists,
}

/// A system that can be asked, and what it has answered.
#[derive(Debug)]
pub(super) struct System {
    /// Reads the settings.
    settings: fn() -> io::Result<Settings>,
    /// Has the script chosen for an address; may take long.
    ask_script: fn(&str, &Settings) -> io::Result<Lists>,
    patience: Duration,
    answers: Mutex<BTreeMap<String, Option<String>>>,
    /// The script did not answer in time.
    given_up: AtomicBool,
}

impl System {
    #[cfg_attr(
        not(any(windows, test)),
        expect(dead_code, reason = "other systems keep no such settings")
    )]
    const fn new(
        settings: fn() -> io::Result<Settings>,
        ask_script: fn(&str, &Settings) -> io::Result<Lists>,
        patience: Duration,
    ) -> Self {
        Self {
            settings,
            ask_script,
            patience,
            answers: Mutex::new(BTreeMap::new()),
            given_up: AtomicBool::new(false),
        }
    }

    /// This system, where it has such settings.
    #[cfg_attr(
        windows,
        expect(clippy::unnecessary_wraps, reason = "other systems have none")
    )]
    pub(super) fn this() -> Option<&'static Self> {
        #[cfg(windows)]
        {
            static WINDOWS: System = System::new(windows::settings, windows::ask_script, PATIENCE);
            Some(&WINDOWS)
        }
        #[cfg(not(windows))]
        None
    }

    /// The proxy for an address, as ureq reads it; `None`: none is needed, or known in time.
    pub(super) fn choose(&self, url: &Url) -> Option<String> {
        let origin = url.root().to_string();
        let known = self.answers().get(&origin).cloned();
        if let Some(known) = known {
            return known;
        }
        let answer = self.look_up(&origin).and_then(|lists| lists.choose(url));
        match &answer {
            // Not which one: its address may hold a password.
            Some(_) => record::info!("{origin} is asked through the system's proxy"),
            None => record::debug!("the system has no proxy for {origin}"),
        }
        self.answers().insert(origin, answer.clone());
        answer
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_up(&self, origin: &str) -> Option<Lists> {
        let (read, ask_script) = (self.settings, self.ask_script);
        let script_too = !self.given_up.load(Ordering::Relaxed);
        let asked = origin.to_owned();
        let latest = aside::Latest::default();
        let said = latest.clone();
        let work = move || {
            let settings = read().unwrap_or_else(|error| {
                record::debug!("the system's proxy settings cannot be read: {error}");
                Settings::default()
            });
            said.set(settings.lists.clone());
            if script_too && (settings.detect || settings.script.is_some()) {
                match ask_script(&asked, &settings) {
                    Ok(lists) => said.set(lists),
                    // The usual case: scripts are looked for everywhere, and are rare.
                    Err(error) => record::debug!("no script chose a proxy: {error}"),
                }
            }
        };
        let ended = aside::run(self.patience, "proxy", Box::new(work));
        let last = latest.take();
        if !ended.unwrap_or(false) {
            self.given_up.store(true, Ordering::Relaxed);
            record::warn!(
                "the system did not say within {:?} which proxy leads to {origin}; going on {}",
                self.patience,
                match &last {
                    Some(lists) if !lists.proxies.is_empty() => "with the proxy of its settings",
                    _ => "without one",
                }
            );
        }
        last
    }
}

impl Lists {
    /// The proxy for an address.
    fn choose(&self, url: &Url) -> Option<String> {
        if self
            .bypass
            .split(SEPARATORS)
            .any(|entry| excepts(entry, url))
        {
            return None;
        }
        let scheme = if url.is_https() { "https" } else { "http" };
        let entries = || {
            self.proxies
                .split(SEPARATORS)
                .filter(|entry| !entry.is_empty())
        };
        let named = |wanted: &str| {
            entries().find_map(|entry| {
                let (name, address) = entry.split_once('=')?;
                name.eq_ignore_ascii_case(wanted).then_some(address)
            })
        };
        let for_all = || entries().find(|entry| !entry.contains('='));
        let address = |text: &str| {
            // Windows speaks plain HTTP to its proxies, whatever scheme is written before them.
            let bare = text.split_once("://").map_or(text, |(_, bare)| bare);
            bare.trim_end_matches('/').to_owned()
        };
        let http = named(scheme).or_else(for_all).map(address);
        let http = http.filter(|bare| !bare.is_empty());
        // A bare `socks=` is the fourth version, which is what Windows speaks.
        let socks = || named("socks").map(address).filter(|bare| !bare.is_empty());
        http.map(|bare| format!("http://{bare}"))
            .or_else(|| socks().map(|bare| format!("socks4://{bare}")))
    }
}

/// Between the entries of both lists.
const SEPARATORS: [char; 6] = [';', ',', ' ', '\t', '\r', '\n'];

/// Whether an entry of the list of exceptions stands for an address.
fn excepts(entry: &str, url: &Url) -> bool {
    let entry = entry.trim().to_ascii_lowercase();
    let host = url.host();
    let bare = host.trim_matches(['[', ']']);
    match entry.as_str() {
        "" => return false,
        // A name without a dot, and no address.
        "<local>" => return !bare.contains(['.', ':']),
        _ => {}
    }
    let rest = match entry.split_once("://") {
        Some(("https", rest)) if url.is_https() => rest,
        Some(("http", rest)) if !url.is_https() => rest,
        Some(_) => return false,
        None => &entry,
    };
    // A colon in brackets, or one of several, belongs to an IPv6 address.
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (rest, None),
    };
    if port.is_some_and(|port| port != "*" && port.parse() != Ok(url.port())) {
        return false;
    }
    let name = name.trim_matches(['[', ']']);
    match name.strip_prefix('.') {
        Some(below) => is_like(&format!("*.{below}"), bare),
        None => is_like(name, bare),
    }
}

/// Whether a text is what a pattern says, in which `*` stands for anything.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(windows)]
mod windows {
    use std::io;

    use castoff_windows::proxy;

    use super::{Lists, Settings};

    pub(super) fn settings() -> io::Result<Settings> {
        let found = proxy::user_settings()?;
        Ok(Settings {
            detect: found.detect,
            script: found.script,
            lists: Lists {
                proxies: found.proxies.unwrap_or_default(),
                bypass: found.bypass.unwrap_or_default(),
            },
        })
    }

    pub(super) fn ask_script(url: &str, settings: &Settings) -> io::Result<Lists> {
        let found = proxy::ask_script(url, settings.detect, settings.script.as_deref())?;
        Ok(Lists {
            proxies: found.proxies.unwrap_or_default(),
            bypass: found.bypass.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    fn lists(proxies: &str, bypass: &str) -> Lists {
        Lists {
            proxies: proxies.into(),
            bypass: bypass.into(),
        }
    }

    fn chosen(proxies: &str, bypass: &str, url: &str) -> Option<String> {
        lists(proxies, bypass).choose(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_proxy_is_for_all_or_for_a_scheme() {
        let (http, https) = ("http://h.example/", "https://h.example/");
        let by_scheme = "http=one:8080;https=two:8443;ftp=three:21;socks=four:1080";
        for (proxies, url, expected) in [
            ("", https, None),
            ("proxy.corp:8080", http, Some("http://proxy.corp:8080")),
            ("proxy.corp:8080", https, Some("http://proxy.corp:8080")),
            (
                "http://proxy.corp:8080/",
                https,
                Some("http://proxy.corp:8080"),
            ),
            ("10.1.2.3", https, Some("http://10.1.2.3")),
            ("[fe80::1]:3128", https, Some("http://[fe80::1]:3128")),
            (by_scheme, http, Some("http://one:8080")),
            (by_scheme, https, Some("http://two:8443")),
            ("HTTPS=https://two:8443", https, Some("http://two:8443")),
            ("http=one:8080", https, None),
            ("ftp=three:21", http, None),
            ("socks=four:1080", https, Some("socks4://four:1080")),
            (
                "http=one:8080;socks=four:1080",
                https,
                Some("socks4://four:1080"),
            ),
            ("http=one:8080 other:80", https, Some("http://other:80")),
            ("https=;http=", https, None),
            // What a script gives: the first of several.
            ("a.corp:8080;b.corp:8080", https, Some("http://a.corp:8080")),
            ("a.corp:8080 b.corp:8080", https, Some("http://a.corp:8080")),
        ] {
            let found = chosen(proxies, "", url);
            assert_eq!(found.as_deref(), expected, "{proxies:?} for {url}");
            if let Some(found) = found {
                assert!(ureq::Proxy::new(&found).is_ok(), "{found}");
            }
        }
    }

    #[test]
    fn exceptions_are_read_as_windows_reads_them() {
        let yes = [
            ("<local>", "https://intranet/"),
            ("a;b; <LOCAL>", "https://intranet/"),
            ("*.example.com", "https://a.b.example.com/"),
            (".example.com", "https://a.example.com/"),
            ("example.com", "https://EXAMPLE.com/"),
            ("10.*;192.168.*", "http://192.168.7.7/"),
            ("10.*\r\n172.16.*", "http://172.16.0.1/"),
            ("*corp*", "https://updates.corp.example/"),
            ("u*.c*p.example", "https://updates.corp.example/"),
            ("https://a.example", "https://a.example/"),
            ("a.example:8443", "https://a.example:8443/"),
            ("http://*", "http://a.example/"),
            ("*", "https://a.example/"),
            ("[::2]", "https://[::2]/"),
            ("[::2]:443", "https://[::2]/"),
        ];
        for (bypass, url) in yes {
            assert_eq!(chosen("p:1", bypass, url), None, "{bypass:?} for {url}");
        }
        let no = [
            ("", "https://a.example/"),
            ("<local>", "https://a.example/"),
            ("<local>", "https://[::2]/"),
            ("<-loopback>", "https://a.example/"),
            ("*.example.com", "https://example.com/"),
            ("*.example.com", "https://notexample.com/"),
            ("example.com", "https://a.example.com/"),
            ("10.*", "https://110.0.0.1/"),
            ("http://a.example", "https://a.example/"),
            ("a.example:8443", "https://a.example/"),
            ("ftp://a.example", "https://a.example/"),
            ("a*a", "https://a/"),
        ];
        for (bypass, url) in no {
            assert!(chosen("p:1", bypass, url).is_some(), "{bypass:?} for {url}");
        }
    }

    fn url() -> Url {
        Url::parse("https://h.example/a").unwrap()
    }

    fn with_a_script() -> Settings {
        Settings {
            detect: true,
            script: None,
            lists: lists("fixed:1", ""),
        }
    }

    #[test]
    fn a_script_comes_before_the_list_and_is_asked_once() {
        static ASKED: AtomicBool = AtomicBool::new(false);
        let system = System::new(
            || Ok(with_a_script()),
            |url, _| {
                assert_eq!(url, "https://h.example/");
                assert!(!ASKED.swap(true, Ordering::SeqCst), "asked again");
                Ok(lists("scripted:2", ""))
            },
            Duration::from_mins(1),
        );
        for _ in 0..2 {
            assert_eq!(system.choose(&url()).as_deref(), Some("http://scripted:2"));
        }
    }

    #[test]
    fn a_script_that_says_none_is_needed_is_believed_and_one_that_fails_is_not() {
        let direct = System::new(
            || Ok(with_a_script()),
            |_, _| Ok(Lists::default()),
            Duration::from_mins(1),
        );
        assert_eq!(direct.choose(&url()), None);
        let failing = System::new(
            || Ok(with_a_script()),
            |_, _| Err(io::ErrorKind::NotFound.into()),
            Duration::from_mins(1),
        );
        assert_eq!(failing.choose(&url()).as_deref(), Some("http://fixed:1"));
        let unreadable = System::new(
            || Err(io::ErrorKind::Unsupported.into()),
            |_, _| Ok(lists("never:1", "")),
            Duration::from_mins(1),
        );
        assert_eq!(unreadable.choose(&url()), None);
    }

    #[test]
    fn a_system_that_does_not_answer_is_left_alone() {
        let system = System::new(
            || Ok(with_a_script()),
            |_, _| {
                thread::sleep(Duration::from_mins(10));
                Ok(Lists::default())
            },
            Duration::from_millis(300),
        );
        assert_eq!(system.choose(&url()).as_deref(), Some("http://fixed:1"));
        let begun = Instant::now();
        for host in ["a", "b", "c"] {
            let url = Url::parse(&format!("https://{host}.example/")).unwrap();
            assert_eq!(system.choose(&url).as_deref(), Some("http://fixed:1"));
        }
        assert!(begun.elapsed() < Duration::from_mins(9));
        assert!(system.given_up.load(Ordering::Relaxed));
    }

    #[cfg(windows)]
    #[test]
    fn windows_answers_something() {
        // Whatever this machine has set.
        let settings = windows::settings().unwrap();
        let _ = settings.lists.choose(&url());
        let _ = System::this().unwrap().choose(&url());
    }
}
