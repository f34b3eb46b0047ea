//! Sources: where releases are announced. One file a kind.
//!
//! A source yields a [`Release`] or says why it cannot, and does nothing else: it compares no
//! versions and touches no disk.

use std::time::Duration;

use crate::Result;
use crate::config::{SourceConfig, SourceKind};
use crate::fetch::Client;
use crate::release::Release;
use crate::version::Version;

mod check;
mod json;

#[cfg(fuzzing)]
pub(crate) use check::read as read_check_answer;

/// Where releases are announced.
pub trait Source {
    /// Asks for the release that is current, for a client that has `installed`; within `timeout`
    /// altogether.
    ///
    /// Fails with `SOURCE_UNREACHABLE`, `HTTP_STATUS`, `ANSWER_INVALID`, `VERSION_INVALID`,
    /// `NO_ACTIVE_VERSION`, `APP_UNAVAILABLE`, `TOO_LARGE`, `INSECURE_URL` and `REDIRECT_REFUSED`.
    fn latest(
        &self,
        client: &Client,
        installed: Option<&Version>,
        timeout: Duration,
    ) -> Result<Release>;
}

/// The source that is configured. Nothing is asked yet.
pub fn open(config: &SourceConfig) -> Box<dyn Source> {
    match config.kind {
        SourceKind::Check => Box::new(check::Check::new(config)),
    }
}
