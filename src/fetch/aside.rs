//! Work that the system may not give back in time, on a thread that can be left behind.
//!
//! Look-ups of names, proxies and certificate revocations are the system's, and on some systems
//! nothing ends them. A thread that is left behind dies with the process, and holds nothing that
//! others need.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

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
    let mut answer = None;
    let in_time = collect(
        limit,
        name,
        move |sender| drop(sender.send(work())),
        |result| answer = Some(result),
    )?;
    match answer {
        Some(answer) => Ok(answer),
        None if in_time => Err(io::Error::other("it ended without an outcome")),
        None => Err(io::Error::other(LeftBehind)),
    }
}

/// Takes what `work` sends, for `limit` at most. Returns whether it came to its end.
pub(crate) fn collect<T: Send + 'static>(
    limit: Duration,
    name: &str,
    work: impl FnOnce(mpsc::Sender<T>) + Send + 'static,
    mut take: impl FnMut(T),
) -> io::Result<bool> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || work(sender))?;
    let begun = Instant::now();
    loop {
        match receiver.recv_timeout(limit.saturating_sub(begun.elapsed())) {
            Ok(result) => take(result),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(true),
            Err(mpsc::RecvTimeoutError::Timeout) => return Ok(false),
        }
    }
}
