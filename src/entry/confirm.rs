//! The trial of a new version: what it has to show, and the verdict.
//!
//! Promises: the app is never ended, whatever it fails to show. Signals are passed on meanwhile:
//! nothing that is asked (an address, a command) is waited for. A command that takes too long, or
//! whose answer nobody needs any more, is ended, on Unix with all that it has started.
//!
//! Counts and remembers nothing: that is for whoever asked for the verdict.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use super::run::{End, Running};
use crate::Result;
use crate::config::RunConfig;
use crate::fetch::Client;
use crate::record;

/// How often it is looked whether there is anything new. Nobody notices this much.
const TICK: Duration = Duration::from_millis(50);
/// Between an answer that is not the wanted one and the next question.
const PAUSE: Duration = Duration::from_secs(1);
/// For one request. An app that has just started may be slow.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// For one run of a command: it may have to start an interpreter and make connections.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// What a version on trial has to show.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// It still runs after `run.trial`, or has ended with 0.
    Alive,
    /// This file exists, within `run.confirm_within` like all that follow.
    Ready(&'a Path),
    /// This address answers with status 200: asked without proxies, tokens or redirects.
    Http(&'a Client, &'a str),
    /// This command line ends with 0, run by the system's shell in the app's folder, with its
    /// environment.
    Command(&'a str),
}

/// How the trial went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The app has shown what it had to, or ended with a code that is as good.
    Good {
        /// Its exit code, if it has ended.
        ended: Option<i32>,
    },
    /// The app crashed (the system ended it for a fault of its own), or ended with a code that
    /// means the same.
    Failed {
        /// The signal, the exception or the code, for people who know such things.
        how: String,
    },
    /// The app ended with another code, or somebody ended it: that may be its way, or a person's,
    /// and says nothing about the version.
    Unproven {
        /// The exit code; 128 and the signal's number if a signal ended it.
        code: i32,
    },
}

impl Running {
    /// Waits until the app has shown what it has to, has ended, or the time for that is over, which
    /// is counted from its start. `None`: there is no verdict, the app runs and has not shown it.
    pub fn judge(&mut self, run: &RunConfig, proof: &Proof<'_>) -> Result<Option<Verdict>> {
        let alive = matches!(proof, Proof::Alive);
        let limit = if alive { run.trial } else { run.confirm_within };
        let deadline = self.started().checked_add(limit);
        let mut inquiry = Inquiry::new(proof);
        loop {
            let tick = Instant::now() + TICK;
            let until = match deadline {
                _ if alive => deadline,
                Some(deadline) => Some(deadline.min(tick)),
                None => Some(tick),
            };
            if let Some(end) = self.ended_by(until)? {
                let asked = self.was_asked_to_end();
                return Ok(Some(verdict(end, asked, run, proof)));
            }
            if alive || inquiry.is_answered(self) {
                return Ok(Some(Verdict::Good { ended: None }));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
        }
    }
}

/// Judges an app that has ended; `asked`: somebody wished it to.
fn verdict(end: End, asked: bool, run: &RunConfig, proof: &Proof<'_>) -> Verdict {
    let code = end.code();
    let is_in =
        |codes: &[u32]| matches!(end, End::Code(_)) && codes.contains(&code.cast_unsigned());
    let fault = if is_in(&run.fail_codes) {
        Some(format!("exit code {code}"))
    } else {
        end.fault()
    };
    match (fault, proof) {
        (Some(how), _) if !asked => Verdict::Failed { how },
        (None, Proof::Alive) if code == 0 => Verdict::Good { ended: Some(code) },
        (None, Proof::Ready(file)) if file.exists() => Verdict::Good { ended: Some(code) },
        (None, _) if is_in(&run.ok_codes) => Verdict::Good { ended: Some(code) },
        _ => Verdict::Unproven { code },
    }
}

/// Asks for the proof, again and again.
struct Inquiry<'a> {
    proof: &'a Proof<'a>,
    question: Option<Question>,
    next: Instant,
}

/// A question that is under way.
enum Question {
    Request(Receiver<bool>),
    Command { child: Child, until: Instant },
}

impl<'a> Inquiry<'a> {
    fn new(proof: &'a Proof<'a>) -> Self {
        Self {
            proof,
            question: None,
            next: Instant::now(),
        }
    }

    /// Whether the proof is there. Does not wait for it.
    fn is_answered(&mut self, running: &Running) -> bool {
        if let Proof::Ready(file) = self.proof {
            return file.exists();
        }
        match self.question.as_mut().map(Question::answer) {
            Some(Some(true)) => return true,
            Some(Some(false)) => {
                self.question = None;
                self.next = Instant::now() + PAUSE;
            }
            None if Instant::now() >= self.next => {
                self.question = self.ask(running);
                self.next = Instant::now() + PAUSE;
            }
            _ => {}
        }
        false
    }

    fn ask(&self, running: &Running) -> Option<Question> {
        match self.proof {
            Proof::Alive | Proof::Ready(_) => None,
            Proof::Http(client, url) => {
                let (sender, answer) = mpsc::channel();
                let (client, url) = (Client::clone(client), (*url).to_owned());
                // Left behind if need be: nothing else waits for it.
                let work = move || {
                    let status = client.status(&url, REQUEST_LIMIT);
                    record::debug!("asked {url}: {status:?}");
                    let _ = sender.send(status.is_ok_and(|status| status == 200));
                };
                let begun = thread::Builder::new().name("confirm".into()).spawn(work);
                begun.is_ok().then_some(Question::Request(answer))
            }
            Proof::Command(line) => {
                let mut command = running.shell(line);
                command
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                match command.spawn() {
                    Ok(child) => Some(Question::Command {
                        child,
                        until: Instant::now() + COMMAND_LIMIT,
                    }),
                    Err(error) => {
                        record::warn!("run.confirm_command cannot be run: {error}");
                        None
                    }
                }
            }
        }
    }
}

impl Question {
    /// The answer, once it is there.
    fn answer(&mut self) -> Option<bool> {
        match self {
            Self::Request(answer) => match answer.try_recv() {
                Err(TryRecvError::Empty) => None,
                answer => Some(answer.unwrap_or(false)),
            },
            Self::Command { child, until } => match child.try_wait() {
                Ok(None) if Instant::now() < *until => None,
                ended => {
                    record::debug!("run.confirm_command: {ended:?}");
                    Some(matches!(ended, Ok(Some(status)) if status.success()))
                }
            },
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let Self::Command { child, .. } = self else {
            return;
        };
        if matches!(child.try_wait(), Ok(None)) {
            #[cfg(unix)]
            let _ = rustix::process::kill_process_group(
                rustix::process::Pid::from_child(child),
                rustix::process::Signal::KILL,
            );
            #[cfg(windows)]
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
