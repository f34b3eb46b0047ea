//! Faults of Castoff itself: logged with their place, never shown raw, and survived.
//!
//! An app that is installed must start even when the updater has a bug. So a panic in the launcher
//! starts the launcher anew, in the place of the process that has panicked, and the new one does
//! without an update: it undoes what the journal says is half done, tells the person what
//! happened, and starts the app. Nothing of the broken process's memory or locks is used again,
//! and the launcher needs no tables for unwinding, which would be a sixth of its size.
//!
//! Not promised: anything about a second panic in a row, beyond a message and an exit code; or
//! about faults that are no panics, such as an exhausted stack. On Windows, which cannot replace a
//! process, whoever waits for the launcher gets its own code for a fault while the app still runs.

use std::panic::{self, PanicHookInfo};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::Error;
use crate::launcher::{EXIT_INTERNAL, Session};
use crate::record;

/// Tells the new process what the one before has panicked about.
const VARIABLE: &str = "CASTOFF_PANIC";

/// What becomes of a process that panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It starts anew, without an update.
    StartTheApp,
    /// It reports and ends.
    Report,
}

/// Decides what happens at a panic, in any thread, from now on.
pub fn install(after: After) {
    // Now: when the launcher has replaced itself, the system names a file that is gone.
    let executable = std::env::current_exe();
    panic::set_hook(Box::new(move |info| {
        let what = describe(info);
        let thread = thread::current();
        let name = thread.name().unwrap_or("without a name");
        record::error!("panic in thread {name}: {what}");
        if after == After::StartTheApp
            && survived().is_none()
            && let Ok(executable) = &executable
        {
            // While one thread replaces the process, others fail in ways of their own: the system
            // starts no thread any more, for one. They must not end what is being replaced.
            static REPLACED: AtomicBool = AtomicBool::new(false);
            while REPLACED.swap(true, Ordering::Relaxed) {
                thread::park();
            }
            start_anew(executable, &what);
        }
        Session::report_unopened(&Error::Internal { what });
        end();
    }));
}

/// What the process before this one has panicked about, if this one stands in its place.
pub fn survived() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// Replaces this process by a new one of the same arguments. Returns only if that fails.
fn start_anew(executable: &Path, what: &str) {
    let mut command = Command::new(executable);
    command
        .args(std::env::args_os().skip(1))
        .env(VARIABLE, what);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        record::error!("cannot start anew: {}", command.exec());
    }
    // Windows cannot replace a process, and its locks end with this one: it must not wait, but for
    // the new one to be in its console.
    #[cfg(windows)]
    if let Ok(child) = command.spawn() {
        castoff_windows::console::share_with(child.id(), std::time::Duration::from_secs(2));
        end();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "after a panic there is nothing left to return to"
)]
fn end() -> ! {
    std::process::exit(EXIT_INTERNAL.into())
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    match info.location() {
        Some(place) => format!("{message}, at {place}"),
        None => message.to_owned(),
    }
}
