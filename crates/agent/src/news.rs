//! What the source says of releases, as it was last heard.
//!
//! Promises: within `update.interval` the source is not asked twice, unless somebody insists; nor within a
//! minute, whatever the interval, so that pages that are opened again and again cost no questions, and a
//! source that does not answer keeps nobody waiting twice. Nothing is installed for what is said here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use castoff::Error;
use castoff::config::SourceConfig;
use castoff::fetch;
use castoff::progress::Silent;
use castoff::release::Release;
use castoff::source::Announced;
use castoff::version::Version;

use crate::work::Agent;

/// How long an answer holds at least, and a failure.
pub const LEAST: Duration = Duration::from_mins(1);

/// How many releases are asked for at least.
const USUAL: usize = 10;

/// When something was heard, and what, or why nothing was.
type Heard<T> = Option<(Instant, Result<T, String>)>;

/// What was heard.
#[derive(Default)]
pub struct News {
    /// Held while the source is asked because nobody knows.
    asking: Mutex<()>,
    offer: Mutex<Heard<Release>>,
    /// The releases, and how many were asked for.
    history: Mutex<(Heard<Vec<Announced>>, usize)>,
}

/// What the source offers, seen from what is installed.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What is installed.
    pub installed: Option<Version>,
    /// What is offered; or why that is not known.
    pub offered: Result<Release, String>,
    /// What else is said of it.
    pub details: Option<Announced>,
    /// Why it would not be installed unasked, if it is news.
    pub refusal: Option<Arc<Error>>,
}

impl Checked {
    /// Whether what is offered is newer than what is installed.
    pub fn is_newer(&self) -> bool {
        let offered = self.offered.as_ref().ok().map(|release| &release.version);
        offered.is_some_and(|it| self.installed.as_ref().is_none_or(|here| it > here))
    }

    /// The addresses that its source names.
    fn addresses(&self) -> impl Iterator<Item = &str> {
        let package = self.offered.as_ref().ok().map(|it| &*it.package.url);
        let details = self.details.iter().flat_map(|it| {
            let archives = it.archives.iter().flatten();
            archives.chain(&it.page).map(String::as_str)
        });
        package.into_iter().chain(details)
    }
}

fn lock<T>(heard: &Mutex<T>) -> MutexGuard<'_, T> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    /// What the source offers. With `force` it is asked, whenever that was done last.
    ///
    /// Fails where the state of the app cannot be read.
    pub fn check(&self, force: bool) -> castoff::Result<Checked> {
        let updater = self.updater(&Silent)?;
        // Many pages that are opened at once are one question.
        let _asking = (!force).then(|| lock(&self.news.asking));
        let heard = lock(&self.news.offer).clone();
        let heard = heard.filter(|(at, _)| !force && at.elapsed() < LEAST);
        let kept = || updater.kept_offer().filter(|_| !force);
        let offered = if let Some((_, offered)) = heard {
            offered
        } else if let Some(kept) = kept() {
            Ok(kept.release)
        } else {
            let asked = updater.offer();
            let asked = asked.map(|offer| offer.release.release().clone());
            let asked = asked.map_err(|error| error.chain());
            if let Err(problem) = &asked {
                log::warn!("the source was asked in vain: {problem}");
            }
            *lock(&self.news.offer) = Some((Instant::now(), asked.clone()));
            asked
        };
        let details = match &offered {
            Ok(release) => {
                let told = self.history(USUAL, force).unwrap_or_default();
                told.into_iter().find(|it| it.version == release.version)
            }
            Err(_) => None,
        };
        let installed = updater.installed();
        let release = offered.as_ref().ok();
        let refusal = release.and_then(|it| updater.refusal_or_way_back(installed.as_ref(), it));
        Ok(Checked {
            installed,
            offered,
            details,
            refusal: refusal.map(Arc::new),
        })
    }

    /// The releases that the source tells of, the newest first, `count` at most; with `force` it is asked.
    pub fn history(&self, count: usize, force: bool) -> Result<Vec<Announced>, String> {
        let interval = self.engine.update.interval.max(LEAST);
        let (heard, asked) = lock(&self.news.history).clone();
        let heard = heard.filter(|(at, told)| {
            let holds = if told.is_ok() { interval } else { LEAST };
            asked >= count && !force && at.elapsed() < holds
        });
        let mut told = if let Some((_, told)) = heard {
            told?
        } else {
            let wanted = count.max(USUAL);
            let updater = self.updater(&Silent);
            let told = updater.and_then(|updater| updater.releases(wanted));
            let told = told.map_err(|error| error.chain());
            *lock(&self.news.history) = (Some((Instant::now(), told.clone())), wanted);
            told?
        };
        told.truncate(count);
        Ok(told)
    }

    /// Whether an address is one of the configured source's: one that it names, or one of the same place
    /// and repository.
    pub fn is_of_source(&self, address: &str) -> castoff::Result<bool> {
        let whole = fetch::resolve(address, address).ok();
        if let Some(whole) = &whole
            && lies_in(&self.engine.source, whole)
        {
            return Ok(true);
        }
        let checked = self.check(false)?;
        // What a folder names is no address of the web.
        let same = |known: &str| {
            known == address || whole.is_some() && fetch::resolve(known, known).ok() == whole
        };
        Ok(checked.addresses().any(same))
    }
}

/// Whether a whole address is in the place of a source, and in its repository.
fn lies_in(source: &SourceConfig, address: &str) -> bool {
    let (origin, path) = split(address);
    let (own, below) = split(&source.url);
    // GitHub's pages and archives are not where its API is.
    let also: &[&str] = match own {
        "https://api.github.com" => &["https://github.com", "https://codeload.github.com"],
        _ => &[],
    };
    let strange = path.contains(['%', '\\']) || path.split('/').any(|part| part == "..");
    if strange || source.repo.is_empty() || !(origin == own || also.contains(&origin)) {
        return false;
    }
    // The API of a GitHub of one's own is below its pages.
    let path = path.strip_prefix(below).unwrap_or(path);
    let path = path.strip_prefix("/repos").unwrap_or(path);
    let rest = path
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(&*source.repo));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Scheme, host and port of an address; and its path, without what follows.
fn split(address: &str) -> (&str, &str) {
    let begin = address.find("://").map_or(0, |at| at + 3);
    let end = address[begin..].find(['/', '?', '#']);
    let (origin, path) = address.split_at(end.map_or(address.len(), |at| begin + at));
    (origin, path.split(['?', '#']).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use castoff::config::Config;

    #[test]
    fn an_address_of_another_repository_is_none_of_the_source() {
        let folder = std::env::temp_dir();
        let text = "[source]\nkind = \"github\"\nrepo = \"owner/name\"";
        let source = Config::load(&folder, Some(text), &|_| None).unwrap().source;
        for good in [
            "https://github.com/owner/name/releases/tag/v1",
            "https://api.github.com/repos/owner/name/tarball/v1",
            "https://codeload.github.com/owner/name/zip/v1?x=1",
        ] {
            assert!(lies_in(&source, good), "{good}");
        }
        for bad in [
            "http://github.com/owner/name/x",
            "https://github.com.evil.example/owner/name/x",
            "https://github.com/owner/name-too/x",
            "https://github.com/evil/x?/owner/name/",
            "https://github.com/owner/name/../../evil/x",
            "https://github.com/owner/name/%2e%2e/%2e%2e/evil/x",
            "https://github.com:8443/owner/name/x",
            "https://evil.example/owner/name/x",
        ] {
            assert!(!lies_in(&source, bad), "{bad}");
        }
        let own = SourceConfig {
            url: "https://git.example/api/v3".to_owned(),
            ..source
        };
        for good in [
            "https://git.example/owner/name/x",
            "https://git.example/api/v3/repos/owner/name/x",
        ] {
            assert!(lies_in(&own, good), "{good}");
        }
        assert!(!lies_in(&own, "https://github.com/owner/name/x"));
    }
}
