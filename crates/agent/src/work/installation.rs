//! What becomes of an installation: a version that runs, which is the new one, the one before, or the factory
//! version.

use std::sync::PoisonError;
use std::time::Duration;

use castoff::fetch::Client;
use castoff::state::Link;
use castoff::updater::{Outcome, Updater};
use castoff::version::Version;
use castoff::{Code, Error};
use chrono::Utc;

use super::Agent;
use super::failure::{DEPLOYMENT, Failure, Then};
use super::keeper::Keeper;
use super::watch::Notes;
use crate::board::{Progress, Stage};
use crate::memory::{Installation, Level};
use crate::report;
use crate::services::{Service, program};

/// For each command of a package, as the original has it.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

impl Agent {
    /// From what an interrupted installation has left to a version that runs.
    pub(super) fn go_on_now(&self, installation: Installation) -> Result<String, Failure> {
        // At its start the system may have started what is about to be undone.
        let stopped = self.services.stop(&self.services_of(&installation));
        if let Err(error) = stopped {
            // Files are not put back under an app that runs, nor is one that still runs taken for the new one.
            let failure = Failure::of(&error, "PROCESS_KILL_FAILED").unsettled();
            self.services.alarm(&failure.problem);
            return Err(failure);
        }
        self.bring_to_run(installation)
    }

    /// What becomes of an installation by the engine: it is tried out, or what was stopped starts again.
    pub(super) fn outcome_of(
        &self,
        result: castoff::Result<Outcome>,
        keeper: &Keeper<'_>,
    ) -> Result<String, Failure> {
        let installation = keeper.installation();
        match result {
            Ok(Outcome::UpToDate { version }) if !keeper.is_stopping() => {
                let updater = self
                    .asking()
                    .map_err(|error| Failure::of(&error, DEPLOYMENT))?;
                let services = self.services_of(&installation);
                match self.start_what_is_there(&updater, &services) {
                    Ok(()) => Ok(format!("Version {version} is installed already")),
                    Err(error) => Err(Failure::of(&error, DEPLOYMENT)),
                }
            }
            Ok(_) => self.bring_to_run(installation),
            Err(error) => {
                let stopping = keeper.is_stopping();
                let code = if stopping && error.code() == Code::ServicesFailed {
                    "PROCESS_KILL_FAILED"
                } else {
                    DEPLOYMENT
                };
                Err(self.call_off(&installation, Failure::of(&error, code), stopping))
            }
        }
    }

    /// After an installation that has failed before the switch, or was undone: what was stopped goes on, if
    /// the version before is whole.
    pub(super) fn call_off(
        &self,
        installation: &Installation,
        mut failure: Failure,
        stopped: bool,
    ) -> Failure {
        if self.services.system_ends() {
            return failure;
        }
        let settled = self.asking().and_then(|updater| {
            updater.settle()?;
            if stopped {
                let mut services = self.services.of(&installation.before);
                // They may be those of all versions, and this one may not have them all.
                services.retain(|service| self.services.look(&service.name).known);
                return Ok(self.start_what_is_there(&updater, &services));
            }
            Ok(Ok(()))
        });
        match settled {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                failure.problem.push_str("; and the version before: ");
                failure.problem.push_str(&error.chain());
                self.services.alarm(&failure.problem);
            }
            Err(error) => {
                // A mixture is not started.
                failure.problem.push_str("; ");
                failure.problem.push_str(&error.chain());
                self.services.alarm(&failure.problem);
                return if stopped {
                    failure.unsettled()
                } else {
                    failure
                };
            }
        }
        // Nothing was switched: the package waits on.
        self.note(|memory| memory.installation = None);
        self.clear_packages(installation);
        failure
    }

    /// From a switch that has been made, or was interrupted, to a version that runs; says what has come of it.
    pub(super) fn bring_to_run(&self, mut installation: Installation) -> Result<String, Failure> {
        let notes = Notes(&self.board);
        let updater = self
            .updater(&notes)
            .map_err(|error| Failure::of(&error, DEPLOYMENT))?;
        if let Err(error) = updater.settle() {
            // What lies there may be a mixture: it is not started.
            let failure = Failure::of(&error, DEPLOYMENT).unsettled();
            self.services.alarm(&failure.problem);
            return Err(failure);
        }
        let switched = is_of(updater.installed().as_ref(), &installation);
        if installation.level == Level::New && !switched {
            let problem = "it was interrupted".to_owned();
            let failure = Failure::deployment(problem, "The installation was interrupted");
            return Err(self.call_off(&installation, failure, true));
        }
        loop {
            let Err(error) = self.try_out(&updater, &mut installation) else {
                break;
            };
            let problem = error.chain();
            log::error!("{:?}: {problem}", installation.level);
            if self.services.system_ends() {
                return Err(Failure::deployment(
                    format!("the system is going down: {problem}"),
                    "The installation goes on at the next start",
                ));
            }
            let first = installation
                .why
                .get_or_insert_with(|| problem.clone())
                .clone();
            if installation.level == Level::Previous {
                // The factory version is of all of them.
                let all = self.services.of(&self.memory().services);
                if let Err(error) = self.services.stop(&all) {
                    log::error!("{}", error.chain());
                }
            } else if let Err(error) = self.services.stop(&self.services_of(&installation)) {
                log::error!("{}", error.chain());
            }
            installation.level = match installation.level {
                Level::New => Level::Previous,
                Level::Previous => Level::Factory,
                Level::Factory => {
                    self.services.alarm(&first);
                    self.clear_packages(&installation);
                    return Err(Failure::deployment(
                        format!("{first}; no version runs: {problem}"),
                        "Update failed, and no version runs",
                    ));
                }
            };
            let kept = installation.clone();
            self.note(|memory| memory.installation = Some(kept));
        }
        let version = updater.installed();
        let version = version.map_or_else(|| "none".to_owned(), |it| it.to_string());
        self.clear_packages(&installation);
        match installation.why {
            None => {
                self.note(|memory| memory.know(&installation.wishes.services));
                Ok(if installation.left.is_some() {
                    format!("Version {version} is restored")
                } else {
                    format!("Successfully installed version {version}")
                })
            }
            Some(why) => {
                let what = if installation.left.is_some() {
                    "Restoring"
                } else {
                    "Update"
                };
                Err(Failure::deployment(
                    format!("{why}; version {version} is back"),
                    &format!("{what} failed, version {version} is back"),
                ))
            }
        }
    }

    /// Puts the version of a level in place, starts the services, and sees that they run.
    fn try_out(
        &self,
        updater: &Updater<'_>,
        installation: &mut Installation,
    ) -> castoff::Result<()> {
        let mut services = self.services_of(installation);
        let write = |percent, message: &str| self.board.write(Stage::Rebooting, percent, message);
        let trial = updater.trial();
        let is_new = is_of(updater.installed().as_ref(), installation);
        match (installation.level, &trial) {
            (Level::New, Some(trial)) => {
                match updater.begin_trial(trial) {
                    Ok(true) => {}
                    Ok(false) => {
                        let problem = "its starts were interrupted too often".to_owned();
                        return Err(Error::ServicesFailed { problem });
                    }
                    // A disk that takes no count is no fault of the version.
                    Err(error) => log::error!("{}", error.chain()),
                }
                run_commands(updater, &installation.wishes.commands)?;
            }
            (Level::Previous, Some(trial)) => {
                write(80, "Rolling back to the version before...");
                let why = installation.why.clone().unwrap_or_default();
                updater.fail_trial(trial, &why)?;
            }
            (Level::Previous, None) if is_new => {
                write(80, "Rolling back to the version before...");
                let left = installation.left.as_deref().unwrap_or("previous");
                updater.roll_back(left, false)?;
            }
            (Level::Factory, _) => {
                write(80, "Rolling back to the factory version...");
                let folder = updater.folder();
                if folder.linked(Link::Current) == folder.linked(Link::Factory) {
                    return Err(Error::NoWayBack {
                        to: "factory".to_owned(),
                    });
                }
                updater.roll_back("factory", false)?;
            }
            (Level::New | Level::Previous, None) => {}
        }
        if let Some(version) = updater.installed() {
            // Before it starts: it may look only then.
            self.config.record.tell(updater.folder(), &version);
        }
        write(85, "Starting services...");
        self.services.reload();
        if installation.left.is_some() || installation.level == Level::Factory {
            // They are those of all versions, and this one may not have them all.
            services.retain(|service| self.services.look(&service.name).known);
        }
        self.services.start(&services)?;
        write(95, "Verifying deployment...");
        self.services.check(&services)?;
        if let (Level::New, Some(trial)) = (installation.level, &trial) {
            updater.pass_trial(trial);
        }
        Ok(())
    }

    /// What an installation has come to.
    pub(super) fn conclude(&self, result: Result<String, Failure>) -> Progress {
        let ends = result.is_err() && self.ends();
        // What cannot be brought to its end is tried again and again, and told once.
        let unsettled = result.as_ref().err().filter(|it| it.then == Then::GoOn);
        let unsettled = unsettled.map(|failure| failure.problem.clone());
        let mut before = self
            .unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_known = unsettled.is_some() && *before == unsettled;
        *before = unsettled;
        drop(before);
        if !ends && !is_known {
            self.tell_outcome(result.as_ref());
        }
        let waits = self.waits();
        match result {
            Ok(message) => {
                self.note(|memory| {
                    if waits {
                        // Something else that somebody has ordered.
                        memory.installation = None;
                        memory.upgrade = false;
                    } else {
                        memory.rest();
                    }
                });
                Progress::at(Stage::Success, 100, message)
            }
            Err(failure) => {
                if failure.then != Then::GoOn && !ends {
                    self.note(|memory| {
                        memory.upgrade = false;
                        if waits {
                            // Something else that somebody has ordered.
                            memory.installation = None;
                        } else if memory.installation.is_some() {
                            // What was not installed can be, when the reason is gone.
                            memory.rest();
                        }
                    });
                }
                failure.last_word()
            }
        }
    }

    /// The services that belong to an installation: to the version before, those that it had; to the factory
    /// version, whichever have ever run.
    fn services_of(&self, installation: &Installation) -> Vec<Service> {
        match installation.level {
            Level::New => self.services.of(&installation.wishes.services),
            Level::Previous => self.services.of(&installation.before),
            Level::Factory => self.services.of(&self.memory().services),
        }
    }

    /// Starts what is in place, and sees that it runs. The app is told before which version it is.
    fn start_what_is_there(
        &self,
        updater: &Updater<'_>,
        services: &[Service],
    ) -> castoff::Result<()> {
        if let Some(version) = updater.installed() {
            self.config.record.tell(updater.folder(), &version);
        }
        let started = self.services.start(services);
        started.and_then(|()| self.services.check(services))
    }

    /// Tells whoever is configured what an operation has come to. Nobody waits for it.
    fn tell_outcome(&self, result: Result<&String, &Failure>) {
        let url = self.config.outcome_url.clone();
        if url.is_empty() {
            return;
        }
        let version = self.asking().ok().and_then(|updater| updater.installed());
        let body = serde_json::json!({
            "app": self.engine.app,
            "version": version.map(|version| version.to_string()),
            "outcome": if result.is_ok() { "success" } else { "failed" },
            "code": result.err().map(|failure| failure.code),
            "message": result.map_or_else(|failure| failure.problem.as_str(), String::as_str),
            "at": Utc::now().to_rfc3339(),
        });
        match Client::new(&self.engine.network, &self.engine.source) {
            Ok(client) => {
                let telling = report::tell(client, url, &body);
                *self.telling.lock().unwrap_or_else(PoisonError::into_inner) = Some(telling);
            }
            Err(error) => log::error!("{}", error.chain()),
        }
    }
}

/// The commands that a package brings, in the folder of the version.
fn run_commands(updater: &Updater<'_>, lines: &[String]) -> castoff::Result<()> {
    for line in lines {
        log::info!("post_cmds: {line}");
        let command = program::shell(line, &updater.folder().tree());
        program::run(command, COMMAND_LIMIT).map_err(|problem| Error::HookFailed {
            hook: "post_cmds",
            command: line.clone(),
            problem: problem.trim().to_owned(),
        })?;
    }
    Ok(())
}

/// Whether a version is the one that an installation is of.
fn is_of(version: Option<&Version>, installation: &Installation) -> bool {
    version.is_some() && version == installation.version.parse().ok().as_ref()
}
