//! An app that is this updater's own child: started and ended by it, and started again when it ends by itself.
//!
//! Promises: there is one at a time, also after this updater was killed: which process it was is noted in
//! `.castoff/child.json`, and whoever comes next ends it, with its group, before another one starts. A number that
//! another process has by now is known by the time at which that began, where the system tells: on Linux.
//!
//! Not promised: that helpers are found whose first process has died together with the updater.

use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use castoff::disk;
use castoff::state::ClientFolder;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde::{Deserialize, Serialize};

use super::program::{GRACE, shell};
use super::{Means, POLL, Service, State};
use crate::config::Services as Config;

/// What the one service is called.
const NAME: &str = "app";

/// Why no other one is started.
const STAYS: &str = "it cannot be ended";

/// How long is waited before one that has ended by itself is started again: at first, and at most, as the
/// wait doubles each time.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// One that has lived so long begins with the short pause again.
const LONG: Duration = Duration::from_mins(1);

/// The app.
#[derive(Debug)]
pub(super) struct Offspring {
    line: String,
    /// What it may take to end.
    patience: Duration,
    folder: ClientFolder,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    child: Option<(Child, Known)>,
    /// Whether it is to run.
    wanted: bool,
    since: Instant,
    pause: Duration,
}

/// A process, also when this updater no longer lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    pid: i32,
    /// When it began, where the system tells.
    began: Option<String>,
}

impl Inner {
    fn lives(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|(child, _)| matches!(child.try_wait(), Ok(None)))
    }
}

impl Offspring {
    /// The one of the configuration, started in the folder of the version that is installed.
    pub(super) fn new(config: &Config, folder: &ClientFolder) -> Self {
        Self {
            line: config.start.clone().unwrap_or_else(|| "false".to_owned()),
            patience: config.stop_timeout(),
            folder: folder.clone(),
            inner: Mutex::new(Inner {
                child: None,
                wanted: false,
                since: Instant::now(),
                pause: PAUSE.0,
            }),
        }
    }

    fn note(&self) -> std::path::PathBuf {
        self.folder.own().join("child.json")
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, inner: &mut Inner) -> Result<(), String> {
        inner.since = Instant::now();
        let mut command = shell(&self.line, &self.folder.tree());
        // What it says goes where this updater's own messages go.
        command.stdin(Stdio::null()).stdout(std::io::stderr());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .spawn()
            .map_err(|error| format!("{}: {error}", self.line))?;
        let pid = child.id().cast_signed();
        let known = Known {
            pid,
            began: began(pid),
        };
        let noted = serde_json::to_vec(&known).map_err(|error| error.to_string());
        let noted = noted.and_then(|text| {
            disk::write_atomic(&self.note(), &text).map_err(|error| error.chain())
        });
        inner.child = Some((child, known));
        if let Err(problem) = noted {
            log::error!("which process the app is cannot be noted: {problem}");
        }
        Ok(())
    }

    /// One that an updater has left which no longer lives.
    fn stranger(&self) -> Option<Known> {
        let text = std::fs::read(self.note()).ok()?;
        let known: Known = serde_json::from_slice(&text).ok()?;
        // Whoever has that number now may be anybody, where that cannot be told.
        let same = known.began.is_some() && known.began == began(known.pid);
        same.then_some(known)
    }
}

impl Means for Offspring {
    /// Ends it, with all that it has started: asked first, and made to after `patience`.
    fn stop(&self, _: &str, patience: Duration) -> Result<(), String> {
        let mut inner = self.lock();
        inner.wanted = false;
        match inner.child.take() {
            Some((mut child, known)) => {
                // Its own end is taken note of meanwhile, else it would seem to be there for ever.
                let reaper = std::thread::spawn(move || child.wait());
                if !end(&known, patience) {
                    return Err(STAYS.to_owned());
                }
                let _ = reaper.join();
            }
            None => {
                if self.stranger().is_some_and(|it| !end(&it, patience)) {
                    return Err(STAYS.to_owned());
                }
            }
        }
        disk::remove_file(&self.note()).map_err(|error| error.chain())
    }

    /// Starts it, unless it runs. One that another updater has left is ended first.
    fn start(&self, _: &str, _: Duration) -> Result<(), String> {
        let mut inner = self.lock();
        if inner.lives() {
            return Ok(());
        }
        // From now on it is tried again.
        inner.wanted = true;
        inner.since = Instant::now();
        inner.pause = PAUSE.0;
        if let Some(stranger) = self.stranger() {
            log::info!("process {} of an earlier updater is ended", stranger.pid);
            if !end(&stranger, self.patience) {
                return Err(STAYS.to_owned());
            }
        }
        self.spawn(&mut inner)
    }

    fn state(&self, _: &str) -> State {
        let mut inner = self.lock();
        if inner.lives() || (inner.child.is_none() && self.stranger().is_some()) {
            State::Running
        } else if inner.wanted {
            State::Failed
        } else {
            State::Stopped
        }
    }

    fn attached(&self) -> Option<Vec<Service>> {
        let name = NAME.to_owned();
        Some(vec![Service { order: 0, name }])
    }

    /// Starts it again where it has ended by itself, or could not be started, and has waited for that.
    fn revive(&self) {
        let mut inner = self.lock();
        if !inner.wanted || inner.lives() {
            return;
        }
        let lived = inner.since.elapsed();
        if let Some((_, known)) = inner.child.take() {
            log::warn!("the app has ended by itself");
            // What it has left running holds its port.
            end(&known, GRACE);
            if lived >= LONG {
                inner.pause = PAUSE.0;
            }
        }
        if lived < inner.pause {
            return;
        }
        log::warn!("the app is started again");
        inner.pause = (inner.pause * 2).min(PAUSE.1);
        if let Err(problem) = self.spawn(&mut inner) {
            log::error!("{problem}");
        }
    }
}

/// When a process began, told apart from those before the last start of the system. `None`: it is not there, or
/// this system has no `/proc`.
fn began(pid: i32) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name, in parentheses, may hold anything; the time is the 20th field after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let time = fields.split_whitespace().nth(19)?;
    Some(format!("{} {time}", boot.trim()))
}

/// Ends the group of a process. `false`: it is still there.
fn end(known: &Known, patience: Duration) -> bool {
    let Some(group) = Pid::from_raw(known.pid) else {
        return true;
    };
    // Its number is somebody else's by now, which it can only be when its group is gone.
    let is_others = || {
        let now = began(known.pid);
        now.is_some() && now != known.began
    };
    let is_gone = || is_others() || test_kill_process_group(group) == Err(Errno::SRCH);
    for (signal, patience) in [(Signal::TERM, patience), (Signal::KILL, GRACE)] {
        if is_gone() {
            return true;
        }
        let deadline = Instant::now() + patience;
        let _ = kill_process_group(group, signal);
        while !is_gone() && Instant::now() < deadline {
            sleep(POLL / 10);
        }
    }
    is_gone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use castoff::config::LayoutKind;
    use std::path::Path;

    fn client(folder: &Path) -> ClientFolder {
        let client =
            ClientFolder::new(folder, "local_version.json").with_layout(LayoutKind::InPlace);
        disk::create_folders(&client.own()).unwrap();
        client
    }

    fn config(line: &str) -> Config {
        Config {
            start: Some(line.to_owned()),
            stop_timeout: Some(GRACE.as_secs()),
            ..Config::default()
        }
    }

    #[test]
    fn one_that_was_left_is_ended_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let client = client(folder.path());
        let new = || Offspring::new(&config("sleep 100 & sleep 100"), &client);
        let note = new().note();
        let first = new();
        assert_eq!(first.state(NAME), State::Stopped);
        first.start(NAME, GRACE).unwrap();
        assert_eq!(first.state(NAME), State::Running);
        let left: Known = serde_json::from_slice(&std::fs::read(&note).unwrap()).unwrap();
        // As after a kill: nobody waits for it any more.
        let (mut child, _) = first.lock().child.take().unwrap();
        let second = new();
        assert_eq!(second.state(NAME), State::Running);
        let reaper = std::thread::spawn(move || child.wait());
        second.start(NAME, GRACE).unwrap();
        reaper.join().unwrap().unwrap();
        assert_eq!(began(left.pid), None);
        second.stop(NAME, GRACE).unwrap();
        assert_eq!(second.state(NAME), State::Stopped);
        assert!(!note.exists());
        // A number that somebody else has by now.
        let mut other = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let other_known = Known {
            began: Some("another time".to_owned()),
            pid: other.id().cast_signed(),
        };
        std::fs::write(&note, serde_json::to_vec(&other_known).unwrap()).unwrap();
        assert_eq!(new().state(NAME), State::Stopped);
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn one_that_ends_by_itself_starts_again() {
        let folder = tempfile::tempdir().unwrap();
        let line = "echo x >> starts; [ $(wc -l < starts) -gt 1 ] && exec sleep 100; exit 3";
        let app = Offspring::new(&config(line), &client(folder.path()));
        app.start(NAME, GRACE).unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        while app.state(NAME) != State::Failed {
            assert!(Instant::now() < deadline);
            sleep(POLL);
        }
        while app.state(NAME) != State::Running {
            assert!(Instant::now() < deadline);
            app.revive();
            sleep(POLL);
        }
        let starts = std::fs::read_to_string(folder.path().join("starts")).unwrap();
        assert_eq!(starts.lines().count(), 2);
        app.stop(NAME, GRACE).unwrap();
        // What was told to end stays ended.
        app.revive();
        assert_eq!(app.state(NAME), State::Stopped);
    }
}
