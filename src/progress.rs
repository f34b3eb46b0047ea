//! All that a front end is told while the engine works.
//!
//! The engine reports [`Event`]s to an [`Observer`] and prints nothing. Events are facts, not
//! texts: the front end chooses language and form.

use std::path::Path;
use std::time::Duration;

use crate::Error;
use crate::version::Version;

/// The phases of an update, in their order, the undo, and the launcher's update of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each is the word for its phase, explained in ARCHITECTURE.md"
)]
pub enum Phase {
    Recover,
    Check,
    Wait,
    Fetch,
    Verify,
    Plan,
    Stage,
    BackUp,
    Commit,
    Undo,
    Launcher,
    Launch,
}

/// What goes along with the files of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along<'a> {
    /// What it depends on is installed.
    Dependencies,
    /// The databases are copied.
    Databases,
    /// A copy of them is put back.
    DatabasesBack,
    /// The commands of this hook are run.
    Commands(&'a str),
}

/// What happened just now.
#[derive(Debug)]
pub enum Event<'a> {
    /// A phase begins.
    Phase(Phase),
    /// The source announces a version other than the installed one.
    Found {
        /// What is installed, if anything is.
        installed: Option<&'a Version>,
        /// What is offered.
        offered: &'a Version,
        /// The publisher's notes, as they came; empty when there are none.
        notes: &'a str,
        /// Whether what is installed is not safe to go on with.
        critical: bool,
    },
    /// How many bytes the present phase will go through, where it is known.
    Total {
        /// Bytes of the whole.
        bytes: Option<u64>,
        /// Bytes that were there before this attempt (a resumed download).
        done: u64,
    },
    /// The present phase has come to this position, in bytes. May come from several threads.
    Position(u64),
    /// An attempt failed and is repeated.
    Retry {
        /// The attempt that follows, counted from one.
        attempt: u32,
        /// How many there will be at most.
        of: u32,
        /// How long the engine waits before.
        wait: Duration,
        /// Why the last one failed.
        error: &'a Error,
    },
    /// An update that was interrupted before has been undone.
    Recovered {
        /// The version that is installed now.
        version: Option<&'a Version>,
    },
    /// What goes along with a version is looked after.
    Along(Along<'a>),
    /// Something is not as it should be, and the work goes on.
    Warning(&'a Error),
    /// The new version failed and the one before is back.
    RolledBack {
        /// The version that failed.
        from: &'a Version,
        /// The version that is installed now.
        to: Option<&'a Version>,
        /// Why.
        error: &'a Error,
    },
    /// The app is about to be started.
    Starting {
        /// The entry point's path.
        entry: &'a Path,
        /// The version, where it is known.
        version: Option<&'a Version>,
    },
}

/// Whoever watches an update.
pub trait Observer: Sync {
    /// Takes note of an event. Must return soon: the work waits for it.
    fn event(&self, event: &Event<'_>);
}

/// An observer that looks away.
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: &Event<'_>) {}
}
