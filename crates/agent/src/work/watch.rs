//! What the engine does, written on the board.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use castoff::progress::{Along, Event, Observer};

use crate::board::{Board, Stage};

/// How often a download writes on the board where its per cent stays the same.
const WRITE_EVERY: Duration = Duration::from_millis(500);

pub(super) fn percent(done: u64, of: u64) -> u8 {
    u8::try_from(done.saturating_mul(100) / of.max(1))
        .unwrap_or(100)
        .min(100)
}

/// Millions of bytes, as the original says them.
#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Writes on the board how far a download is.
pub(super) struct Downloading<'a> {
    pub(super) board: &'a Board,
    written: Mutex<(u8, Instant)>,
    total: Mutex<u64>,
}

impl<'a> Downloading<'a> {
    pub(super) fn new(board: &'a Board, total: u64) -> Self {
        Self {
            board,
            written: Mutex::new((0, Instant::now())),
            total: Mutex::new(total),
        }
    }

    fn comes_to(&self, done: u64) {
        let total = *self.total.lock().unwrap_or_else(PoisonError::into_inner);
        // A forge sends the archive of a source without saying how long it is.
        let now = if total == 0 { 0 } else { percent(done, total) };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.0 == now && written.1.elapsed() < WRITE_EVERY {
            return;
        }
        *written = (now, Instant::now());
        drop(written);
        let mut message = format!("Downloading package... {:.1} MB", megabytes(done));
        if total > 0 {
            let _ = write!(message, " / {:.1} MB", megabytes(total));
        }
        self.board.write(Stage::Downloading, now, message);
    }
}

impl Observer for Downloading<'_> {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Total { bytes, done } => {
                if let Some(bytes) = bytes {
                    *self.total.lock().unwrap_or_else(PoisonError::into_inner) = *bytes;
                }
                self.comes_to(*done);
            }
            Event::Position(done) => self.comes_to(*done),
            Event::Retry {
                attempt, of, error, ..
            } => {
                log::warn!("attempt {attempt} of {of} follows: {}", error.chain());
            }
            _ => {}
        }
    }
}

/// Writes in the log what goes along with a version.
pub(super) struct Notes<'a>(pub(super) &'a Board);

impl Observer for Notes<'_> {
    fn event(&self, event: &Event<'_>) {
        let Event::Along(along) = event else {
            return;
        };
        let text = match along {
            Along::Dependencies => "Installing what the version depends on",
            Along::Databases => "Copying the databases",
            Along::DatabasesBack => "Putting the databases back",
            Along::Commands(hook) => &format!("Running the commands of hooks.{hook}"),
        };
        self.0.note(log::Level::Info, text);
    }
}
