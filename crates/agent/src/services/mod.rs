//! What runs: stopped, started and looked at, by one of three means: `systemd`, `commands` of the
//! configuration, or as a `child` of this process.
//!
//! Promises: a service counts as stopped when it is seen to be, and as running when it is seen to be
//! twice; every call of another program has a time limit; the updater's own service is left alone; names
//! have been checked, so that none is taken for an option or a command.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use castoff::state::ClientFolder;
use castoff::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::config::{Control, Services as Config};
use crate::report::nearby;

#[cfg(unix)]
mod child;
mod commands;
pub(crate) mod program;
pub(crate) mod systemd;

/// How often a service that is stopping or starting is looked at.
const POLL: Duration = Duration::from_millis(200);

/// For one look at a service.
const LOOK: Duration = Duration::from_secs(10);

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

/// By what means services are stopped, started and looked at. Problems are said in words; whether it has
/// helped is seen by the state.
trait Means: Debug + Send + Sync {
    /// Tells a service to stop, and waits for that at most so long.
    fn stop(&self, name: &str, patience: Duration) -> Result<(), String>;

    /// Tells it to start, and waits for that at most so long; one that is attached has its own limits.
    fn start(&self, name: &str, patience: Duration) -> Result<(), String>;

    /// How it is.
    fn state(&self, name: &str) -> State;

    /// What else is known of it.
    fn look(&self, name: &str) -> Found {
        Found {
            known: true,
            at_boot: true,
            state: self.state(name),
        }
    }

    /// A version may have brought other services.
    fn reload(&self) {}

    /// Whether the whole system is going down: everything stops then, and nothing starts. That a service does
    /// not run says nothing of a version.
    fn system_ends(&self) -> bool {
        false
    }

    /// The services that begin and end with this updater, and of which there are no others.
    fn attached(&self) -> Option<Vec<Service>> {
        None
    }

    /// Starts again what has ended by itself, where nobody else does.
    fn revive(&self) {}
}

/// There is nothing to stop or to start: it counts as running.
#[derive(Debug)]
struct Nothing;

impl Means for Nothing {
    fn stop(&self, _: &str, _: Duration) -> Result<(), String> {
        Ok(())
    }

    fn start(&self, _: &str, _: Duration) -> Result<(), String> {
        Ok(())
    }

    fn state(&self, _: &str) -> State {
        State::Running
    }

    fn attached(&self) -> Option<Vec<Service>> {
        Some(Vec::new())
    }
}

/// The services of an app.
#[derive(Debug)]
pub struct Services {
    config: Config,
    means: Box<dyn Means>,
    /// What the last alarm was raised for.
    alarmed: Mutex<Option<String>>,
    /// The updater's, as systemd names it.
    own_unit: Option<String>,
}

impl Services {
    /// As they are configured, for an app in `folder`.
    pub fn new(config: &Config, folder: &ClientFolder) -> Self {
        #[cfg(not(unix))]
        let _ = folder;
        Self {
            means: match config.control {
                Control::Systemd => Box::new(systemd::Systemd::new(config)),
                Control::Command => Box::new(commands::Commands::new(config)),
                #[cfg(unix)]
                Control::Child => Box::new(child::Offspring::new(config, folder)),
                // The configuration was refused.
                #[cfg(not(unix))]
                Control::Child => Box::new(Nothing),
                Control::None => Box::new(Nothing),
            },
            alarmed: Mutex::default(),
            own_unit: config.own.clone().or_else(systemd::own_unit),
            config: config.clone(),
        }
    }

    /// Whether packages may bring services.
    pub fn may_be_more(&self) -> bool {
        self.means.attached().is_none()
    }

    /// Starts those that begin with this updater. The log says why one does not start; it is tried again.
    pub fn begin(&self) {
        if let Some(attached) = self.means.attached() {
            let _ = self.start(&attached);
        }
    }

    /// Ends those that end with it: they would be nobody's.
    pub fn leave(&self) {
        if let Some(attached) = self.means.attached()
            && let Err(error) = self.stop(&attached)
        {
            log::error!("{}", error.chain());
        }
    }

    /// Starts again what has ended by itself, where nobody else does.
    pub fn revive(&self) {
        self.means.revive();
    }

    /// All that stand still during an update: those that are configured, in their order, and those of the
    /// package. The updater's own is none of them.
    pub fn of(&self, package: &[Service]) -> Vec<Service> {
        if let Some(attached) = self.means.attached() {
            return attached;
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
            let name = systemd::unit_of(&service.name).to_owned();
            let own = self.own_unit.as_deref().map(systemd::unit_of) == Some(name.as_str());
            if own {
                log::info!("{} is this updater and goes on", service.name);
            }
            !own && known.insert(name)
        });
        all.collect()
    }

    /// What is known of a service.
    pub fn look(&self, name: &str) -> Found {
        self.means.look(name)
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
            if self.means.state(name) == State::Stopped {
                continue;
            }
            log::info!("stopping {name}");
            let patience = self.config.stop_timeout();
            let deadline = Instant::now() + patience;
            let said = self.means.stop(name, patience);
            loop {
                // One that has failed does not run.
                match self.means.state(name) {
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
            let told = self.means.start(&service.name, left().max(POLL));
            if let Err(problem) = told {
                let error = failed(&service.name, "does not start", Some(problem));
                log::error!("{}", error.chain());
                first = first.and(Err(error));
            }
        }
        first
    }

    /// A version may have brought other services: systemd reads its units anew.
    pub fn reload(&self) {
        self.means.reload();
    }

    /// Sees that services run, and that the app answers where it is to. Fails with `SERVICES_FAILED`.
    pub fn check(&self, services: &[Service]) -> Result<()> {
        self.see_good(services)?;
        *self.alarmed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    fn see_good(&self, services: &[Service]) -> Result<()> {
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
                .find(|service| self.means.state(&service.name) == State::Failed)
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

    /// Whether the whole system is going down: that a service does not run says nothing of a version then.
    pub fn system_ends(&self) -> bool {
        self.means.system_ends()
    }

    /// Runs the command for when nobody but a person can go on: no version runs, or an installation cannot be
    /// brought to its end. Once for each problem, until all is well again.
    pub fn alarm(&self, problem: &str) {
        log::error!("a person is needed: {problem}");
        let Some(line) = &self.config.alarm else {
            return;
        };
        let mut alarmed = self.alarmed.lock().unwrap_or_else(PoisonError::into_inner);
        if alarmed.as_deref() == Some(problem) {
            return;
        }
        let mut command = program::shell(line, &std::env::temp_dir());
        command.env("CASTOFF_REASON", problem);
        match program::run(command, LOOK) {
            Ok(_) => *alarmed = Some(problem.to_owned()),
            Err(problem) => log::error!("the alarm {line:?}: {problem}"),
        }
    }

    /// Sees all of them running, side by side: each for as long as is wanted.
    fn see_running(&self, services: &[Service], deadline: Instant) -> Result<()> {
        let mut seen = vec![None; services.len()];
        loop {
            let mut down = None;
            for (service, since) in services.iter().zip(&mut seen) {
                match self.means.state(&service.name) {
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
            sleep(POLL.min(self.config.steady().max(program::TICK)));
        }
    }
}

fn failed(name: &str, what: &str, why: Option<String>) -> Error {
    let mut problem = format!("{name} {what}");
    if let Some(why) = why.filter(|why| !why.trim().is_empty()) {
        problem.push_str(": ");
        problem.push_str(why.trim());
    }
    Error::ServicesFailed { problem }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_raised_once_until_all_is_well_again() {
        let folder = tempfile::tempdir().unwrap();
        let raised = folder.path().join("raised");
        let config = Config {
            control: Control::None,
            alarm: Some(format!(
                "echo \"$CASTOFF_REASON\" >> '{}'",
                raised.display()
            )),
            ..Config::default()
        };
        let client = ClientFolder::new(folder.path(), "local_version.json");
        let services = Services::new(&config, &client);
        for problem in ["a", "a", "b"] {
            services.alarm(problem);
        }
        services.check(&[]).unwrap();
        services.alarm("b");
        assert_eq!(std::fs::read_to_string(raised).unwrap(), "a\nb\nb\n");
    }
}
