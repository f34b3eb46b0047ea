//! Work that the system may not give back in time, on a thread that can be left behind.
//!
//! Look-ups of names, proxies and certificate revocations are the system's, and on some systems
//! nothing ends them. A thread that is left behind dies with the process, and holds nothing that
//! others need.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// The work was left behind.
#[derive(Debug, thiserror::Error)]
#[error("no answer within the time allowed")]
pub(crate) struct LeftBehind;

/// Does `work`, for `limit` at most.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let answer = Latest::default();
    let place = answer.clone();
    let in_time = run(limit, name, Box::new(move || place.set(work())))?;
    match answer.take() {
        Some(answer) => Ok(answer),
        None if in_time => Err(io::Error::other("it ended without an outcome")),
        None => Err(io::Error::other(LeftBehind)),
    }
}

/// Waits for `work`, for `limit` at most. Returns whether it came to its end.
pub(crate) fn run(limit: Duration, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<bool> {
    let (running, ended) = mpsc::channel::<()>();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            work();
            drop(running);
        })?;
    let waited = ended.recv_timeout(limit);
    Ok(waited != Err(mpsc::RecvTimeoutError::Timeout))
}

/// What such a thread has to say: the latest counts.
pub(crate) struct Latest<T>(Arc<Mutex<Option<T>>>);

impl<T> Latest<T> {
    pub(crate) fn set(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
