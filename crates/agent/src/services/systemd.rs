//! Services that systemd keeps: `systemctl` is asked and told.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::program::run;
use super::{Found, LOOK, Means, POLL, State};
use crate::config::Services as Config;

/// systemd.
#[derive(Debug)]
pub(super) struct Systemd {
    systemctl: PathBuf,
}

impl Systemd {
    /// As it is configured.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            systemctl: systemctl(config),
        }
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(&self.systemctl);
        command.arg(what);
        command
    }

    fn of(&self, what: &str, name: &str) -> Command {
        let mut command = self.command(what);
        command.arg(name);
        command
    }
}

impl Means for Systemd {
    fn stop(&self, name: &str, patience: Duration) -> Result<(), String> {
        run(self.of("stop", name), patience).map(drop)
    }

    fn start(&self, name: &str, patience: Duration) -> Result<(), String> {
        // It refuses for a while to start a service that has died some times in a row. Those were starts of
        // another version, or long ago, and must not keep this one from running. One that it has never seen
        // has nothing to be forgiven.
        let begun = Instant::now();
        let _ = run(self.of("reset-failed", name), LOOK);
        let left = patience.saturating_sub(begun.elapsed()).max(POLL);
        run(self.of("start", name), left).map(drop)
    }

    fn state(&self, name: &str) -> State {
        let (Ok(said) | Err(said)) = run(self.of("is-active", name), LOOK);
        // The last line: there may be a warning before.
        match said.lines().next_back().unwrap_or_default().trim() {
            "active" => State::Running,
            "inactive" | "unknown" => State::Stopped,
            "failed" => State::Failed,
            _ => State::Between,
        }
    }

    fn look(&self, name: &str) -> Found {
        let mut command = self.of("show", name);
        command.arg("--property=LoadState,UnitFileState");
        let said = run(command, LOOK).unwrap_or_default();
        let value = |name: &str| {
            let mut lines = said.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        };
        Found {
            known: value("LoadState").is_none_or(|state| state == "loaded"),
            at_boot: !matches!(value("UnitFileState"), Some("disabled" | "masked")),
            state: self.state(name),
        }
    }

    fn reload(&self) {
        if let Err(problem) = run(self.command("daemon-reload"), LOOK) {
            log::warn!("the units cannot be read anew: {}", problem.trim());
        }
    }

    fn system_ends(&self) -> bool {
        let (Ok(said) | Err(said)) = run(self.command("is-system-running"), LOOK);
        said.trim() == "stopping"
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

/// A name as systemd completes it.
pub(crate) fn unit_of(name: &str) -> &str {
    name.strip_suffix(".service").unwrap_or(name)
}

/// The service that this process runs in, as its control group says.
pub(crate) fn own_unit() -> Option<String> {
    unit_in(&std::fs::read_to_string("/proc/self/cgroup").ok()?)
}

fn unit_in(groups: &str) -> Option<String> {
    // The innermost: a service may have groups of its own.
    let unit = groups
        .lines()
        .find_map(|line| line.rsplit('/').find(|part| part.ends_with(".service")))?;
    // A session of a user manager is not ours.
    (!unit.starts_with("user@")).then(|| unit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_the_service_that_it_runs_in() {
        let unit = |groups: &str| unit_in(groups);
        assert_eq!(
            unit("0::/system.slice/otrs.service\n").unwrap(),
            "otrs.service"
        );
        let below = "0::/system.slice/otrs.service/worker\n";
        assert_eq!(unit(below).unwrap(), "otrs.service");
        let of_many = "1:name=systemd:/system.slice/castoff-agent.service\n0::/\n";
        assert_eq!(unit(of_many).unwrap(), "castoff-agent.service");
        for none in [
            "0::/\n",
            "0::/user.slice/user-0.slice/session-3.scope\n",
            "0::/user.slice/user@0.service\n",
        ] {
            assert_eq!(unit(none), None, "{none}");
        }
    }
}
