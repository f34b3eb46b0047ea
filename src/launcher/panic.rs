//! Faults of Castoff itself: logged with their place, never shown raw, and caught.
//!
//! An app that is installed must start even when the updater has a bug. So the update runs inside
//! [`caught`], which turns a panic into [`Error::Internal`]; [`install`] keeps the standard hook
//! from printing at a person who can do nothing with it.
//!
//! Not promised: what a panic left half done is put in order by the journal, not here. Where
//! panics abort (no profile of ours), or one strikes while another is handled, nothing is caught.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::thread;

use crate::{Error, Result};

thread_local! {
    /// Where this thread panicked last: the hook knows the place, but only `caught` can return it.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Sends every panic to the log, and to nobody else.
pub fn install() {
    panic::set_hook(Box::new(|info| {
        let what = describe(info);
        let thread = thread::current();
        log::error!(
            "panic in thread {}: {what}",
            thread.name().unwrap_or("without a name")
        );
        LAST.set(Some(what));
    }));
}

/// Runs `work`; a panic in it comes back as [`Error::Internal`].
///
/// The error names the place of the panic when [`install`] has been called before and the panic
/// happened on this thread.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    LAST.set(None);
    // Whoever calls this gives up what `work` had in hand, so that nothing half changed is seen.
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let what = LAST
            .take()
            .unwrap_or_else(|| message(payload.as_ref()).to_owned());
        Err(Error::Internal { what })
    })
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let message = message(info.payload());
    match info.location() {
        Some(place) => format!("{message}, at {place}"),
        None => message.to_owned(),
    }
}

/// The text that was given to `panic!`.
fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_names_its_place() {
        let before = panic::take_hook();
        install();
        let result = caught(|| -> Result<()> { panic!("no such {}", "thing") });
        panic::set_hook(before);
        let Err(Error::Internal { what }) = result else {
            panic!("got {result:?}");
        };
        assert!(what.starts_with("no such thing, at "), "{what}");
        assert!(what.contains(file!()), "{what}");
    }

    #[test]
    fn anything_else_passes_through() {
        assert_eq!(caught(|| Ok(7)).ok(), Some(7));
        let error = caught(|| -> Result<()> { Err(Error::InsecureUrl { url: "x".into() }) });
        assert!(matches!(error, Err(Error::InsecureUrl { .. })));
    }
}
