//! What runs: stopped, started and looked at, by `systemctl`, by commands of the configuration, or as a child
//! of this process.
//!
//! Promises: a service counts as stopped when it is seen to be, and as running when it is seen to be
//! twice; every call of another program has a time limit; the updater's own service is left alone; names
//! have been checked, so that none is taken for an option or a command.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

use castoff::hooks::Runner;
use castoff::state::ClientFolder;
use castoff::{Error, Result};
use serde::{Deserialize, Serialize};

#[cfg(unix)]
use crate::child::Offspring;
use crate::config::{Control, Services as Config};
use crate::report::nearby;

/// How often a service that is stopping or starting is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(200);

/// How often a program that is running is looked at.
const TICK: Duration = Duration::from_millis(10);

/// What a program that is asked to end may take for it.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// For one look at a service.
const LOOK: Duration = Duration::from_secs(10);

/// How much of what a program says is kept, in bytes.
const MOST_SAID: usize = 4096;

/// How long the last output of a program that has ended is waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A service and when it starts: the lower, the earlier. Those of one number start in the order of their
/// names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Service {
    /// When.
    pub order: i64,
    /// Its name.
    pub name: String,
}

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It does not.
    Stopped,
    /// It does not, and not because somebody said so.
    Failed,
    /// It is starting or stopping.
    Between,
}

/// What is known of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whether there is one of that name that can be started, as far as that can be said.
    pub known: bool,
    /// Whether it is started at boot, as far as that can be said.
    pub at_boot: bool,
    /// How it is.
    pub state: State,
}

/// What the one service is called that is a child of this process.
const CHILD: &str = "app";

/// The services of an app.
#[derive(Debug)]
pub struct Services {
    config: Config,
    systemctl: PathBuf,
    own: Option<String>,
    #[cfg(unix)]
    child: Offspring,
}

impl Services {
    /// As they are configured, for an app in `folder`.
    pub fn new(config: &Config, folder: &ClientFolder) -> Self {
        #[cfg(not(unix))]
        let _ = folder;
        Self {
            config: config.clone(),
            systemctl: systemctl(config),
            own: config.own.clone().or_else(own_unit),
            #[cfg(unix)]
            child: Offspring::new(config.start.as_deref().unwrap_or("false"), folder),
        }
    }

    /// Whether the app is a child of this process.
    pub fn is_child(&self) -> bool {
        self.config.control == Control::Child
    }

    /// Starts the child again where it has ended by itself.
    pub fn revive(&self) {
        #[cfg(unix)]
        if self.is_child() {
            self.child.revive();
        }
    }

    /// All that stand still during an update: those that are configured, in their order, and those of the
    /// package. The updater's own is none of them.
    pub fn of(&self, package: &[Service]) -> Vec<Service> {
        match self.config.control {
            Control::None => return Vec::new(),
            Control::Child => {
                let name = CHILD.to_owned();
                return vec![Service { order: 0, name }];
            }
            Control::Systemd | Control::Command => {}
        }
        let configured = self.config.units.iter().zip(i64::MIN..);
        let configured = configured.map(|(name, order)| Service {
            order,
            name: name.clone(),
        });
        let mut all: Vec<Service> = package.to_vec();
        all.sort();
        let mut known = BTreeSet::new();
        let all = configured.chain(all).filter(|service| {
            let name = unit_of(&service.name).to_owned();
            let own = self.own.as_deref().map(unit_of) == Some(name.as_str());
            if own {
                log::info!("{} is this updater and goes on", service.name);
            }
            !own && known.insert(name)
        });
        all.collect()
    }

    /// What is known of a service.
    pub fn look(&self, name: &str) -> Found {
        let (known, at_boot) = match self.config.control {
            Control::Systemd => {
                let mut command = self.systemctl("show", name);
                command.arg("--property=LoadState,UnitFileState");
                let said = run(command, LOOK).unwrap_or_default();
                let value = |name: &str| {
                    let mut lines = said.lines();
                    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                };
                (
                    value("LoadState").is_none_or(|state| state == "loaded"),
                    !matches!(value("UnitFileState"), Some("disabled" | "masked")),
                )
            }
            Control::Command | Control::Child | Control::None => (true, true),
        };
        Found {
            known,
            at_boot,
            state: self.state(name),
        }
    }

    /// Sees that there are such services. Fails with `SERVICES_FAILED`.
    pub fn need(&self, services: &[Service]) -> Result<()> {
        match services.iter().find(|it| !self.look(&it.name).known) {
            Some(service) => Err(failed(
                &service.name,
                "is no service that systemd knows",
                None,
            )),
            None => Ok(()),
        }
    }

    /// Stops services, those that start last first, and sees that they have stopped. Fails with
    /// `SERVICES_FAILED`.
    pub fn stop(&self, services: &[Service]) -> Result<()> {
        for service in services.iter().rev() {
            let name = &service.name;
            if self.state(name) == State::Stopped {
                continue;
            }
            log::info!("stopping {name}");
            let patience = self.config.stop_timeout();
            let deadline = Instant::now() + patience;
            let said = self.tell("stop", name, patience);
            loop {
                // One that has failed does not run.
                match self.state(name) {
                    State::Stopped | State::Failed => break,
                    State::Running | State::Between if Instant::now() < deadline => sleep(POLL),
                    State::Running | State::Between => {
                        return Err(failed(name, "does not stop", said.err()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts services in their order, the later ones also where an earlier one does not start. Fails with
    /// `SERVICES_FAILED`; whether they run then, [`Services::check`] says.
    pub fn start(&self, services: &[Service]) -> Result<()> {
        let deadline = Instant::now() + self.config.start_timeout();
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut first = Ok(());
        for service in services {
            log::info!("starting {}", service.name);
            self.forgive(&service.name);
            let told = self.tell("start", &service.name, left().max(POLL));
            if let Err(problem) = told {
                let error = failed(&service.name, "does not start", Some(problem));
                log::error!("{}", error.chain());
                first = first.and(Err(error));
            }
        }
        first
    }

    /// Lets systemd read its units anew: a version may have brought others.
    pub fn reload(&self) {
        if self.config.control == Control::Systemd {
            let mut command = Command::new(&self.systemctl);
            command.arg("daemon-reload");
            if let Err(problem) = run(command, LOOK) {
                log::warn!("the units cannot be read anew: {}", problem.trim());
            }
        }
    }

    /// Sees that services run, and that the app answers where it is to. Fails with `SERVICES_FAILED`.
    pub fn check(&self, services: &[Service]) -> Result<()> {
        let deadline = Instant::now() + self.config.start_timeout();
        self.see_running(services, deadline)?;
        let Some(url) = &self.config.health_url else {
            return Ok(());
        };
        let agent = nearby(Duration::from_secs(5));
        loop {
            // One that has ended by now does not answer later.
            if let Some(service) = services
                .iter()
                .find(|service| self.state(&service.name) == State::Failed)
            {
                return Err(failed(&service.name, "has failed", None));
            }
            let problem = match agent.get(url).call() {
                Ok(answer) if answer.status() == 200 => return Ok(()),
                Ok(answer) => format!("it answers {}", answer.status()),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(failed(url, "does not answer with 200", Some(problem)));
            }
            sleep(POLL);
        }
    }

    /// Whether the whole system is going down. systemd stops everything then and starts nothing: that a
    /// service does not run says nothing of a version.
    pub fn system_ends(&self) -> bool {
        if self.config.control != Control::Systemd {
            return false;
        }
        let mut command = Command::new(&self.systemctl);
        command.arg("is-system-running");
        let (Ok(said) | Err(said)) = run(command, LOOK);
        said.trim() == "stopping"
    }

    /// Runs the command for when nothing runs any more.
    pub fn alarm(&self, problem: &str) {
        log::error!("no version runs: {problem}");
        let Some(line) = &self.config.alarm else {
            return;
        };
        let mut command = shell(line, &std::env::temp_dir());
        command.env("CASTOFF_REASON", problem);
        if let Err(problem) = run(command, LOOK) {
            log::error!("the alarm {line:?}: {problem}");
        }
    }

    /// Sees all of them running, side by side: each for as long as is wanted.
    fn see_running(&self, services: &[Service], deadline: Instant) -> Result<()> {
        let mut seen = vec![None; services.len()];
        loop {
            let mut down = None;
            for (service, since) in services.iter().zip(&mut seen) {
                match self.state(&service.name) {
                    State::Running => {
                        since.get_or_insert_with(Instant::now);
                    }
                    State::Failed => return Err(failed(&service.name, "has failed", None)),
                    state @ (State::Stopped | State::Between) => {
                        *since = None;
                        down.get_or_insert((&service.name, state));
                    }
                }
            }
            let steady = |since: &Option<Instant>| {
                since.is_some_and(|since| since.elapsed() >= self.config.steady())
            };
            if seen.iter().all(steady) {
                return Ok(());
            }
            if let Some((name, state)) = down
                && (Instant::now() >= deadline || self.system_ends())
            {
                let why = format!("it is {state:?}");
                return Err(failed(name, "does not run", Some(why)));
            }
            sleep(POLL.min(self.config.steady().max(TICK)));
        }
    }

    /// systemd refuses for a while to start a service that has died some times in a row. Those were starts
    /// of another version, or long ago, and must not keep this one from running.
    fn forgive(&self, name: &str) {
        if self.config.control == Control::Systemd {
            // One that systemd has never seen has nothing to be forgiven.
            let _ = run(self.systemctl("reset-failed", name), LOOK);
        }
    }

    /// Tells a service to stop or to start.
    fn tell(&self, what: &str, name: &str, patience: Duration) -> Result<(), String> {
        let command = match self.config.control {
            Control::None => return Ok(()),
            #[cfg(unix)]
            Control::Child if what == "stop" => return self.child.stop(patience),
            #[cfg(unix)]
            Control::Child => return self.child.start(self.config.stop_timeout()),
            #[cfg(not(unix))]
            Control::Child => return Err("there are no such children here".to_owned()),
            Control::Systemd => self.systemctl(what, name),
            Control::Command => {
                let line = match what {
                    "stop" => &self.config.stop,
                    _ => &self.config.start,
                };
                for_service(line.as_deref().unwrap_or("false"), name)
            }
        };
        if self.config.control == Control::Command && what == "start" {
            // What it leaves running would lose its output with this process.
            return run_silently(command, patience);
        }
        run(command, patience).map(drop)
    }

    fn state(&self, name: &str) -> State {
        match self.config.control {
            Control::None => State::Running,
            #[cfg(unix)]
            Control::Child => self.child.state(),
            #[cfg(not(unix))]
            Control::Child => State::Stopped,
            Control::Systemd => match run(self.systemctl("is-active", name), LOOK) {
                // The last line: there may be a warning before.
                Ok(said) | Err(said) => match said.lines().next_back().unwrap_or_default().trim() {
                    "active" => State::Running,
                    "inactive" | "unknown" => State::Stopped,
                    "failed" => State::Failed,
                    _ => State::Between,
                },
            },
            Control::Command => {
                let line = self.config.status.as_deref().unwrap_or("false");
                match run(for_service(line, name), LOOK) {
                    Ok(_) => State::Running,
                    Err(_) => State::Stopped,
                }
            }
        }
    }

    fn systemctl(&self, what: &str, name: &str) -> Command {
        let mut command = Command::new(&self.systemctl);
        command.arg(what).arg(name);
        command
    }
}

/// The program by which systemd is told what to do.
pub(crate) fn systemctl(config: &Config) -> PathBuf {
    let usual = ["/usr/bin/systemctl", "/bin/systemctl"];
    let found = usual.iter().map(Path::new).find(|path| path.exists());
    let found = found.unwrap_or(Path::new("systemctl"));
    config
        .systemctl
        .clone()
        .unwrap_or_else(|| found.to_path_buf())
}

fn for_service(line: &str, name: &str) -> Command {
    let mut command = shell(line, &std::env::temp_dir());
    command.env("CASTOFF_SERVICE", name);
    command
}

/// A command line for the system's shell, in `folder`.
pub(crate) fn shell(line: &str, folder: &Path) -> Command {
    let environment: Vec<_> = std::env::vars_os().collect();
    let runner = Runner {
        environment: &environment,
        timeout: LOOK,
        keep_open: None,
    };
    runner.shell(line, folder)
}

/// A name as systemd completes it.
pub(crate) fn unit_of(name: &str) -> &str {
    name.strip_suffix(".service").unwrap_or(name)
}

/// The service that this process runs in, as its control group says.
fn own_unit() -> Option<String> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let unit = groups.lines().find_map(|line| {
        let last = line.rsplit('/').next()?;
        last.ends_with(".service").then(|| last.to_owned())
    })?;
    // A session of a user manager is not ours.
    (!unit.starts_with("user@")).then_some(unit)
}

fn failed(name: &str, what: &str, why: Option<String>) -> Error {
    let mut problem = format!("{name} {what}");
    if let Some(why) = why.filter(|why| !why.trim().is_empty()) {
        problem.push_str(": ");
        problem.push_str(why.trim());
    }
    Error::ServicesFailed { problem }
}

/// Runs a program to its end, or to that of its time; what it says, as the error where it fails.
pub(crate) fn run(mut command: Command, patience: Duration) -> Result<String, String> {
    let (mut reader, writer) = std::io::pipe().map_err(|error| error.to_string())?;
    command.stdout(writer.try_clone().map_err(|error| error.to_string())?);
    command.stderr(writer);
    let (name, mut child) = spawn(command)?;
    let output = Arc::new(Mutex::new(Vec::new()));
    let (sink, (done, is_done)) = (Arc::clone(&output), mpsc::channel());
    std::thread::spawn(move || {
        let mut block = [0; 1024];
        while let Ok(read @ 1..) = reader.read(&mut block) {
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            if sink.len() < MOST_SAID {
                sink.extend_from_slice(&block[..read]);
            }
        }
        let _ = done.send(());
    });
    let success = end_of(&mut child, &name, patience)?;
    // What it leaves running may keep the pipe open: nobody waits for that.
    let _ = is_done.recv_timeout(LAST_WORDS);
    let said = output.lock().unwrap_or_else(PoisonError::into_inner);
    let said = String::from_utf8_lossy(&said).into_owned();
    if success { Ok(said) } else { Err(said) }
}

/// The same of what leaves something running, without what it says.
fn run_silently(mut command: Command, patience: Duration) -> Result<(), String> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (name, mut child) = spawn(command)?;
    if end_of(&mut child, &name, patience)? {
        Ok(())
    } else {
        Err(format!("{name} failed"))
    }
}

/// Starts a program in a group of its own, so that what it starts can be ended with it.
fn spawn(mut command: Command) -> Result<(String, Child), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    Ok((name, child))
}

/// Whether a program has succeeded, when it has ended. One that takes too long is asked to end, with its
/// group, and then made to.
fn end_of(child: &mut Child, name: &str, patience: Duration) -> Result<bool, String> {
    let late = Instant::now() + patience;
    let mut asked = false;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if !asked => return Ok(status.success()),
            Err(error) => return Err(error.to_string()),
            Ok(None) if Instant::now() < late => {}
            Ok(None) if !asked => {
                end_group(child, false);
                asked = true;
            }
            Ok(None) if Instant::now() < late + GRACE => {}
            Ok(_) => {
                end_group(child, true);
                let _ = child.kill();
                let _ = child.wait();
                let limit = patience.as_secs();
                return Err(format!("{name} did not end within {limit} s"));
            }
        }
        sleep(TICK);
    }
}

#[cfg(unix)]
fn end_group(child: &Child, at_once: bool) {
    use rustix::process::{Pid, Signal, kill_process_group};
    let signal = if at_once { Signal::KILL } else { Signal::TERM };
    if let Err(error) = kill_process_group(Pid::from_child(child), signal) {
        log::debug!("process group {}: {error}", child.id());
    }
}

#[cfg(not(unix))]
fn end_group(_child: &Child, _at_once: bool) {}
