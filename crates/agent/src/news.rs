//! What the source says of releases, as it was last heard.
//!
//! Promises: there is one question to the source at a time, and whoever comes while it is under way gets its
//! answer. Within `update.interval` pages do not have the source asked twice, unless somebody insists; nor within
//! a minute, whatever the interval and whatever came of it, so that pages that are opened again and again cost
//! no questions; nor within ten seconds by those who insist. What is known can be read meanwhile. Nothing is
//! installed for what is said here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use castoff::config::SourceConfig;
use castoff::fetch::{self, Client};
use castoff::release::Release;
use castoff::source::{self, Announced, Ask};
use castoff::updater::Updater;
use castoff::version::Version;
use castoff::{Code, Error};
use tokio::sync::watch;

use crate::work::Agent;

/// How long an answer holds at least, and a failure.
const LEAST: Duration = Duration::from_mins(1);

/// The same where somebody insists, as everybody may who reads: many at once, or a script that does not wait,
/// would use up in a moment what a forge answers in an hour. Short enough for who has just published a version.
const INSISTED: Duration = Duration::from_secs(10);

/// A list of releases may be long, and the line slow.
const LIST: Duration = Duration::from_secs(10);

/// How many releases are asked for; or so many, where that is not enough: one by one, each would be a
/// question of its own.
const COUNTS: [usize; 2] = [10, 100];

/// What somebody wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How long an answer holds, whatever the interval; none where that says it.
    holds: Option<Duration>,
    /// How many releases.
    count: usize,
}

impl Wish {
    /// What is not asked again before it is time; so many releases.
    pub fn usual(count: usize) -> Self {
        Self { holds: None, count }
    }

    /// What is offered now, as a person says who may not know that it was asked a moment ago.
    pub fn insisting() -> Self {
        Self {
            holds: Some(INSISTED),
            count: COUNTS[0],
        }
    }

    /// The same where nobody else decides when it is time.
    fn scheduled() -> Self {
        Self {
            holds: Some(Duration::ZERO),
            ..Self::insisting()
        }
    }

    /// Whether what this one brings is enough for another.
    fn covers(self, other: Self) -> bool {
        let is_as_new = self.holds == other.holds || self.holds.is_some();
        is_as_new && self.count >= other.count
    }
}

/// How new what is known is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// The source need not be asked.
    New,
    /// It is time to ask again.
    Old,
    /// Nothing was heard yet.
    Unknown,
}

/// What was heard, and the questions.
#[derive(Default)]
pub struct News {
    /// Held by whoever asks the source.
    asking: Mutex<()>,
    questions: watch::Sender<Questions>,
    /// When something was heard of an offer, and what, or why nothing was.
    offer: Mutex<Option<(Instant, Result<Release, String>)>>,
    history: Mutex<History>,
}

/// The questions for which connections wait.
#[derive(Clone, Copy, Default)]
struct Questions {
    under_way: Option<Wish>,
    ended: u64,
}

/// The one that is under way, until this is dropped.
struct Question(Arc<Agent>);

impl Question {
    fn put(self, wish: Wish) {
        if let Err(error) = self.0.ask(wish) {
            log::warn!("the source cannot be asked: {}", error.chain());
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.0.news.questions.send_modify(|it| {
            it.under_way = None;
            it.ended += 1;
        });
    }
}

/// What was heard of releases.
#[derive(Default)]
struct History {
    /// The newest first. A question in vain takes none away.
    told: Option<Vec<Announced>>,
    /// How many were asked for then.
    count: usize,
    /// When they were asked for last, and whether that was answered.
    asked: Option<(Instant, bool)>,
}

impl History {
    /// `since`: when somebody came who has this wish.
    fn age(&self, wish: Wish, interval: Duration, since: Instant) -> Age {
        let Some((at, answered)) = self.asked else {
            return Age::Unknown;
        };
        let usual = if answered { interval.max(LEAST) } else { LEAST };
        let holds = wish.holds.unwrap_or(usual);
        let is_enough = self.count >= wish.count;
        match self.told {
            _ if is_younger(at, holds, since) && (is_enough || !answered) => Age::New,
            Some(_) if !is_enough => Age::Unknown,
            _ => Age::Old,
        }
    }
}

/// Whether what was heard `at` was younger than `holds` when somebody came: what is heard since is.
fn is_younger(at: Instant, holds: Duration, since: Instant) -> bool {
    at.elapsed() < holds.saturating_add(since.elapsed())
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

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    /// What the source offers. With `force` it is asked, whenever that was done last.
    ///
    /// Fails where the state of the app cannot be read.
    pub fn check(&self, force: bool) -> castoff::Result<Checked> {
        self.ask(if force {
            Wish::scheduled()
        } else {
            Wish::usual(COUNTS[0])
        })?;
        Ok(self.known()?.0)
    }

    /// What the source offers, as far as that is known, and how new that is. Nobody is asked.
    pub fn known(&self) -> castoff::Result<(Checked, Age)> {
        let updater = self.asking()?;
        let wish = Wish::usual(COUNTS[0]);
        let (heard, age) = self.offer(&updater, wish, Instant::now());
        let offered = heard.unwrap_or_else(|| Err("it was not asked yet".to_owned()));
        let release = offered.as_ref().ok();
        let history = lock(&self.news.history);
        let mut told = history.told.iter().flatten();
        let details = release.and_then(|it| told.find(|told| told.version == it.version));
        let details = details.cloned();
        drop(history);
        let installed = updater.installed();
        let refusal = release.and_then(|it| updater.refusal_or_way_back(installed.as_ref(), it));
        let checked = Checked {
            installed,
            offered,
            details,
            refusal: refusal.map(Arc::new),
        };
        Ok((checked, age))
    }

    /// The releases that the source has told of, the newest first, `count` at most; none where it has never
    /// answered. And how new that is. Nobody is asked.
    pub fn history(&self, count: usize) -> (Option<Vec<Announced>>, Age) {
        let history = lock(&self.news.history);
        let age = history.age(
            Wish::usual(count),
            self.engine.update.interval,
            Instant::now(),
        );
        let told = history.told.as_deref();
        let told = told.map(|told| told[..count.min(told.len())].to_vec());
        (told, age)
    }

    /// Whether the source is being asked for somebody.
    pub fn is_asking(&self) -> bool {
        self.news.questions.borrow().under_way.is_some()
    }

    /// Has the source asked, unless what is known is new enough, and waits for that. Who waits no longer does
    /// not end the question.
    pub async fn learn(self: &Arc<Self>, wish: Wish) {
        let mut questions = self.news.questions.subscribe();
        loop {
            let mut before = Questions::default();
            self.news.questions.send_if_modified(|it| {
                before = *it;
                it.under_way = it.under_way.or(Some(wish));
                before.under_way.is_none()
            });
            if before.under_way.is_none() {
                let question = Question(Arc::clone(self));
                tokio::task::spawn_blocking(move || question.put(wish));
            }
            // Whoever tells of the end is there as long as this is.
            let _ = questions.wait_for(|it| it.ended > before.ended).await;
            if before.under_way.is_none_or(|it| it.covers(wish)) {
                return;
            }
        }
    }

    /// Asks the source for what a wish says, where what is known is not new enough, alone: a source that does
    /// not answer costs `network.check_timeout`, or half a minute where nothing is installed; one that goes silent
    /// then costs [`LIST`] more.
    fn ask(&self, wish: Wish) -> castoff::Result<()> {
        let since = Instant::now();
        let _asking = lock(&self.news.asking);
        let updater = self.asking()?;
        let mut is_silent = false;
        if self.offer(&updater, wish, since).1 > Age::New {
            let asked = updater.offer();
            let asked = asked.map(|offer| offer.release.release().clone());
            is_silent = asked.as_ref().is_err_and(|error| {
                matches!(error.code(), Code::Unreachable | Code::DownloadStalled)
            });
            let asked = asked.map_err(|error| error.chain());
            if let Err(problem) = &asked {
                log::warn!("the source was asked in vain: {problem}");
            }
            *lock(&self.news.offer) = Some((Instant::now(), asked));
        }
        let mut history = lock(&self.news.history);
        if history.age(wish, self.engine.update.interval, since) == Age::New {
            return Ok(());
        }
        // Not fewer than are known.
        let wanted = wish.count.max(history.count);
        let wanted = COUNTS
            .into_iter()
            .find(|it| *it >= wanted)
            .unwrap_or(wanted);
        drop(history);
        // One that has just kept silent would do so again.
        let told = (!is_silent).then(|| self.releases(&updater, wanted));
        history = lock(&self.news.history);
        history.asked = Some((Instant::now(), matches!(told, Some(Ok(_)))));
        match told {
            Some(Ok(told)) => (history.told, history.count) = (Some(told), wanted),
            Some(Err(error)) => {
                log::warn!("the versions were asked for in vain: {}", error.chain());
            }
            None => {}
        }
        Ok(())
    }

    /// What is known of an offer, and how new that is for a wish of somebody who came at a time.
    fn offer(
        &self,
        updater: &Updater<'_>,
        wish: Wish,
        since: Instant,
    ) -> (Option<Result<Release, String>>, Age) {
        let heard = lock(&self.news.offer).clone();
        let holds = wish.holds.unwrap_or(LEAST);
        let kept = || updater.kept_offer().filter(|_| wish.holds.is_none());
        match heard {
            Some((at, said)) if is_younger(at, holds, since) => (Some(said), Age::New),
            heard => match (kept(), heard) {
                (Some(kept), _) => (Some(Ok(kept.release)), Age::New),
                (None, Some((_, said))) => (Some(said), Age::Old),
                (None, None) => (None, Age::Unknown),
            },
        }
    }

    /// Asks for releases. People may wait for it, though the page does not.
    fn releases(&self, updater: &Updater<'_>, count: usize) -> castoff::Result<Vec<Announced>> {
        let (engine, mut trust) = (&self.engine, updater.trust()?);
        let client = Client::new(&engine.network, &engine.source)?;
        let patience = engine.network.check_timeout.max(LIST);
        let ask = Ask::within(&client, None, patience);
        source::open(engine).history(&ask, &mut trust, count)
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
    fn versions_are_asked_for_when_it_is_time_or_they_are_too_few() {
        let interval = Duration::from_hours(24);
        let heard = |told: Option<usize>, answered| History {
            told: told.map(|_| Vec::new()),
            count: told.unwrap_or(0),
            asked: Some((Instant::now(), answered)),
        };
        let age = |history: &History, wish| {
            std::thread::sleep(Duration::from_millis(1));
            history.age(wish, interval, Instant::now())
        };
        let (ten, more) = (Wish::usual(10), Wish::usual(100));
        assert_eq!(age(&History::default(), ten), Age::Unknown);
        let known = heard(Some(10), true);
        assert_eq!(age(&known, ten), Age::New);
        assert_eq!(age(&known, more), Age::Unknown);
        assert_eq!(age(&known, Wish::insisting()), Age::New);
        assert_eq!(age(&known, Wish::scheduled()), Age::Old);
        // In vain, which holds for more of them too, and takes away nothing that is known.
        assert_eq!(age(&heard(Some(10), false), more), Age::New);
        assert_eq!(age(&heard(None, false), ten), Age::New);
        assert_eq!(age(&heard(None, false), Wish::scheduled()), Age::Old);
        assert!(Wish::insisting().covers(ten) && !ten.covers(Wish::insisting()));
        assert!(more.covers(ten) && !Wish::insisting().covers(more));
    }

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
