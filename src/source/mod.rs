//! Sources: where releases are announced. One file a kind.
//!
//! A source asks, and hands what it is told to [`Trust`], which alone makes a [`Trusted`] release of
//! it. It does nothing else: it compares no versions with what is installed and writes nothing.

use std::time::{Duration, Instant};

use crate::Result;
use crate::config::{SourceConfig, SourceKind};
use crate::fetch::Client;
use crate::trust::{Trust, Trusted};
use crate::version::Version;

mod check;
pub mod documents;
mod folder;
mod index;

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
}

impl<'a> Ask<'a> {
    /// A question that may take `timeout` altogether.
    pub fn within(client: &'a Client, installed: Option<&'a Version>, timeout: Duration) -> Self {
        Self {
            client,
            installed,
            deadline: Instant::now() + timeout,
        }
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
    /// codes that begin with `TRUST_`, and `TARGET_UNAVAILABLE`.
    fn latest(&self, ask: &Ask<'_>, trust: &mut Trust) -> Result<Trusted>;
}

/// The source that is configured. Nothing is asked yet.
pub fn open(config: &SourceConfig) -> Box<dyn Source> {
    match config.kind {
        SourceKind::Check => Box::new(check::Check::new(config)),
        SourceKind::Index => Box::new(index::Index::new(config)),
        SourceKind::Folder => Box::new(folder::Folder::new(config)),
    }
}
