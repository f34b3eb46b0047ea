//! Signals that reach the launcher while the app runs as its child (Unix).
//!
//! The terminal gives a signal (Ctrl+C, hanging up) to every process of the group, the app
//! included: the launcher has only to survive it. A signal that somebody sends to the launcher
//! means the app: it is passed on, once. The two are told apart by their origin.
//!
//! They are caught, not ignored, since a child inherits what is ignored. A signal that was ignored
//! when the launcher was started (nohup, a shell's background job) is left so, for the same reason;
//! this is known on Linux only.
//!
//! Not promised: that a signal which somebody sends to the whole group comes once (the app gets it
//! both ways, and nothing in it tells); that several of one kind, sent at once, are all passed on
//! (the system merges them).

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::{flag, low_level};

use crate::record;

/// What means the app. Stopping and going on (job control) stays the system's business.
const PASSED_ON: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

type Delivery = SignalDelivery<UnixStream, WithOrigin>;

/// The handlers of the app that ran last. They stay, so that a signal which comes before the next
/// app runs (the old version after a failed trial) is not lost.
static SPARE: Mutex<Option<Delivery>> = Mutex::new(None);

/// Those that ask a program to end.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// The signals for one app.
#[derive(Debug)]
pub(super) struct Signals {
    delivery: Option<Delivery>,
    /// Whether one of those that ask it to end has come, whoever sent it.
    ending: bool,
}

impl Signals {
    /// From now on, signals are kept until [`Signals::wait`] asks for them.
    pub(super) fn watch() -> io::Result<Self> {
        if let Some(spare) = take_spare() {
            return Ok(Self::of(spare));
        }
        let signals = heeded().chain([SIGCHLD]);
        let (read, write) = UnixStream::pair()?;
        SignalDelivery::with_pipe(read, write, WithOrigin::default(), signals).map(Self::of)
    }

    fn of(delivery: Delivery) -> Self {
        Self {
            delivery: Some(delivery),
            ending: false,
        }
    }

    /// What came while no app ran, whoever sent it: the next one has to be told.
    pub(super) fn early(&mut self) -> Vec<i32> {
        let early = self.delivery.as_mut().map(early).unwrap_or_default();
        self.ending |= early.iter().any(|signal| ENDING.contains(signal));
        early
    }

    /// Whether anybody has asked the app to end, until now.
    pub(super) fn asked_to_end(&mut self) -> bool {
        self.early();
        self.ending
    }

    /// Waits until a signal comes, a child has changed, or the time is over; returns what is to be
    /// passed on. It may return too early.
    pub(super) fn wait(&mut self, limit: Option<Duration>) -> io::Result<Vec<i32>> {
        let Some(delivery) = &mut self.delivery else {
            return Ok(Vec::new());
        };
        let stream = delivery.get_read_mut();
        stream.set_read_timeout(limit)?;
        match stream.read(&mut [0]) {
            Err(error) if !is_transient(&error) => return Err(error),
            _ => {}
        }
        let mut sent = Vec::new();
        for origin in delivery.pending() {
            self.ending |= ENDING.contains(&origin.signal);
            if origin.signal != SIGCHLD && origin.process.is_some() {
                sent.push(origin.signal);
            }
        }
        Ok(sent)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        *SPARE.lock().unwrap_or_else(PoisonError::into_inner) = self.delivery.take();
    }
}

/// Obeys a signal that came when no app was there to obey it. What is caught is not caught any
/// more in a process that is replaced, so nothing else is to be done before that.
pub(super) fn settle() {
    for signal in take_spare().as_mut().map(early).unwrap_or_default() {
        // Ends this process, for every signal that is passed on.
        let _ = low_level::emulate_default_handler(signal);
    }
}

/// Lets signals end this process again, as they do one that has started no app: no app is started any
/// more. One that came since the last app ended is obeyed at once.
pub(crate) fn obey() {
    if SPARE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .is_none()
    {
        // Nothing was ever caught.
        return;
    }
    for signal in heeded() {
        let always = Arc::new(AtomicBool::new(true));
        if let Err(error) = flag::register_conditional_default(signal, always) {
            record::debug!("signal {signal} stays without effect: {error}");
        }
    }
    settle();
}

fn take_spare() -> Option<Delivery> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn early(delivery: &mut Delivery) -> Vec<i32> {
    let signals = delivery.pending().map(|origin| origin.signal);
    signals.filter(|signal| *signal != SIGCHLD).collect()
}

/// Whether nothing is wrong: the time is over, or a handler ran.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// What means the app and was not ignored when the launcher was started.
fn heeded() -> impl Iterator<Item = i32> {
    let ignored = ignored();
    PASSED_ON
        .into_iter()
        .filter(move |signal| ignored & (1 << (signal - 1)) == 0)
}

/// The signals that this process ignores, as a set of bits, the first for signal 1.
#[cfg(target_os = "linux")]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn ignored() -> u64 {
    0
}
