//! What the tests of every crate are built from: packages, good and hostile, an HTTP server that
//! breaks, stalls and lies as ordered, signers, good and hostile, and a browser.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub mod browser;
pub mod http;
pub mod package;
pub mod sign;
pub mod tar;

/// Far more than anything takes that is waited for, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until something holds.
///
/// # Panics
///
/// With `why`, where it never does.
#[track_caller]
pub fn until<W: Display>(mut holds: impl FnMut() -> bool, why: impl FnOnce() -> W) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {}", why());
        sleep(Duration::from_millis(10));
    }
}
