//! Services that are told by commands of the configuration what to do.

use std::process::Command;
use std::time::Duration;

use super::program::{run, run_silently, shell};
use super::{LOOK, Means, State};
use crate::config::Services as Config;

/// The command lines, each with the service's name in `CASTOFF_SERVICE`.
#[derive(Debug)]
pub(super) struct Commands {
    stop: String,
    start: String,
    status: String,
}

impl Commands {
    /// As they are configured.
    pub(super) fn new(config: &Config) -> Self {
        let line = |line: &Option<String>| line.clone().unwrap_or_else(|| "false".to_owned());
        Self {
            stop: line(&config.stop),
            start: line(&config.start),
            status: line(&config.status),
        }
    }
}

impl Means for Commands {
    fn stop(&self, name: &str, patience: Duration) -> Result<(), String> {
        run(for_service(&self.stop, name), patience).map(drop)
    }

    fn start(&self, name: &str, patience: Duration) -> Result<(), String> {
        // What it leaves running would lose its output with this process.
        run_silently(for_service(&self.start, name), patience)
    }

    fn state(&self, name: &str) -> State {
        match run(for_service(&self.status, name), LOOK) {
            Ok(_) => State::Running,
            Err(_) => State::Stopped,
        }
    }
}

fn for_service(line: &str, name: &str) -> Command {
    let mut command = shell(line, &std::env::temp_dir());
    command.env("CASTOFF_SERVICE", name);
    command
}
