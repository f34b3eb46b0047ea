//! Ways for the fuzzers (`fuzz/`) to what is nobody else's to call.
//!
//! There is such a module only where `--cfg fuzzing` is set, as cargo-fuzz does. What is public
//! anyway is not here. Nothing here checks anything: what must hold is said by the targets.

use std::fs::File;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ureq::Body;
use ureq::http::Response;

use crate::Result;
use crate::archive::{Archive, Opening, open_plain_tar};
use crate::config::FieldNames;
use crate::fetch::{Answer, Reply, Url, resumed};
use crate::release::Release;
use crate::source::read_check_answer;
use crate::state::State;
use crate::trust::{Anchor, Sha256, Trust};

/// Opens a tar that nothing has packed, which no package is.
pub fn plain_tar(file: File, how: &Opening<'_>) -> Result<Archive> {
    open_plain_tar(file, how)
}

/// The release that an answer of a check endpoint announces.
pub fn check_answer(answer: &Answer, names: &FieldNames) -> Result<Release> {
    let anchor = Anchor {
        app: "",
        channel: "stable",
        indexed: false,
        pinned: None,
    };
    let mut trust = Trust::new(&anchor, Utc::now());
    read_check_answer(answer, names, &mut trust).map(|trusted| trusted.release().clone())
}

/// What an answer says to a request for the rest of a package.
pub struct Resumed {
    /// The size of the whole, if the answer continues what is there.
    pub total: Option<u64>,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// Reads the answer to a request for the rest of a package of which `length` bytes are there, from
/// an answer with `etag`. `size` is the package's, where it was announced. `None`: no such answer
/// can come.
pub fn resume(
    status: u16,
    headers: &[(&str, &str)],
    length: u64,
    size: Option<u64>,
    etag: Option<&str>,
) -> Option<Resumed> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let reply = Reply {
        url: Url::parse("https://host.example/a.zip").ok()?,
        response: response.body(Body::builder().data("")).ok()?,
    };
    Some(Resumed {
        total: resumed(&reply, length, size, etag.map(str::to_owned)),
        retry_after: reply.retry_after(),
    })
}

/// Asks a state for everything that is asked about a package, and changes it in every way. Returns
/// until when the package is left alone before and after.
pub fn use_state(
    state: &mut State,
    digest: Sha256,
    now: DateTime<Utc>,
) -> [Option<DateTime<Utc>>; 2] {
    let before = state.backing_off_until(digest, now);
    let version = state.trial_of(digest).map(|trial| trial.version.clone());
    state.back_off(version.as_ref(), digest, now);
    let after = state.backing_off_until(digest, now);
    if let Some(bad) = state.bad_mark(digest).cloned() {
        state.mark_bad(&bad);
    }
    state.note("updated", version.as_ref(), None);
    [before, after]
}
