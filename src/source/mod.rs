//! Sources: where releases are announced. One file a kind.
//!
//! A source asks, and hands what it is told to [`Trust`], which alone makes a [`Trusted`] release of
//! it. It does nothing else: it compares no versions with what is installed and writes nothing.

use std::time::{Duration, Instant};

use ureq::http::header::{self, HeaderMap, HeaderValue};

pub use self::answers::Answers;
use self::forge::Forge;
use crate::Result;
use crate::config::{Config, SourceKind};
use crate::fetch::{Answer, Client};
use crate::release::Release;
use crate::trust::{Trust, Trusted};
use crate::version::Version;

mod answers;
mod check;
mod check_files;
mod codeup;
pub mod documents;
mod folder;
mod forge;
mod gitea;
mod gitee;
mod github;
mod gitlab;
mod index;
mod pushed;
mod refused;

#[cfg(fuzzing)]
pub(crate) use check::read as read_check_answer;

/// What a source is asked with.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// What asks servers.
    pub client: &'a Client,
    /// What is installed.
    pub installed: Option<&'a Version>,
    /// When an answer is of no use any more.
    pub deadline: Instant,
    /// Answers that are kept.
    pub answers: Option<&'a Answers>,
}

impl<'a> Ask<'a> {
    /// A question that may take `timeout` altogether.
    pub fn within(client: &'a Client, installed: Option<&'a Version>, timeout: Duration) -> Self {
        Self {
            client,
            installed,
            deadline: Instant::now() + timeout,
            answers: None,
        }
    }

    /// Asks only for what is another answer than the kept one.
    #[must_use]
    pub fn with_answers(mut self, answers: &'a Answers) -> Self {
        self.answers = Some(answers);
        self
    }

    /// Asks a server for a document of at most `limit` bytes, of the media type `accept` if that is
    /// not empty.
    fn get(&self, url: &str, accept: &'static str, limit: u64) -> Result<Answer> {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        }
        if let Some(answers) = self.answers {
            answers.ask(url, &mut headers);
        }
        let answer = self.client.get_with(url, headers, self.left(), limit)?;
        Ok(match self.answers {
            Some(answers) => answers.take(url, answer),
            None => answer,
        })
    }

    /// The time that is left.
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Where releases are announced.
pub trait Source {
    /// Asks for the release that is current. What is learnt of keys and indexes on the way stays in
    /// `trust`, whatever comes of it.
    ///
    /// Fails with `SOURCE_UNREACHABLE`, `HTTP_STATUS`, `ANSWER_INVALID`, `VERSION_INVALID`,
    /// `NO_ACTIVE_VERSION`, `APP_UNAVAILABLE`, `TOO_LARGE`, `INSECURE_URL`, `REDIRECT_REFUSED`, the
    /// codes that begin with `TRUST_`, and `TARGET_UNAVAILABLE`; forges also with `RATE_LIMITED`,
    /// `ACCESS_DENIED`, `REPO_NOT_FOUND` and `NO_RELEASES`.
    fn latest(&self, ask: &Ask<'_>, trust: &mut Trust) -> Result<Trusted>;

    /// The releases that it knows of, the newest first, `count` at most. They are for reading: what is
    /// said here need not be signed, and nothing is installed for it.
    ///
    /// Fails as [`Source::latest`] does.
    fn history(&self, ask: &Ask<'_>, trust: &mut Trust, count: usize) -> Result<Vec<Announced>>;
}

/// A release as its source tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The version.
    pub version: Version,
    /// What it is called; empty where it has no name but its version.
    pub name: String,
    /// The notes, in Markdown; empty when there are none.
    pub notes: String,
    /// When it was published, as the source writes it.
    pub published: Option<String>,
    /// The page about it, for a browser.
    pub page: Option<String>,
    /// The archives that a forge makes of its tag: `.tar.gz` and `.zip`.
    pub archives: [Option<String>; 2],
}

impl Announced {
    /// What a source that knows of one release alone has to tell.
    fn only(release: &Release) -> Vec<Self> {
        vec![Self {
            version: release.version.clone(),
            name: String::new(),
            notes: release.notes.clone(),
            published: None,
            page: None,
            archives: [None, None],
        }]
    }
}

/// The source that is configured. Nothing is asked yet.
pub fn open(config: &Config) -> Box<dyn Source> {
    let source = &config.source;
    let forge = |service| -> Box<dyn Source> {
        Box::new(Forge::new(service, source, config.update.pin.as_ref()))
    };
    match source.kind {
        SourceKind::Check => Box::new(check::Check::new(source)),
        SourceKind::Index => Box::new(index::Index::new(source)),
        SourceKind::Folder => Box::new(folder::Folder::new(source)),
        SourceKind::Github => forge(&github::Github),
        SourceKind::Codeup => forge(&codeup::Codeup),
        SourceKind::Gitlab => forge(&gitlab::Gitlab),
        SourceKind::Gitee => forge(&gitee::Gitee),
        SourceKind::Gitea => forge(&gitea::Gitea),
        SourceKind::Pushed => Box::new(pushed::Pushed),
        SourceKind::CheckFiles => Box::new(check_files::CheckFiles::new(source)),
    }
}

#[cfg(test)]
mod tests;
