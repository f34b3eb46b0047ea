//! Commands of the configuration, run at the named steps of an update.
//!
//! Promised: the commands of a hook run one after the other, each by the system's shell and within
//! its time; the first that fails ends the list. What they say is in the log, line by line, cleaned
//! and within bounds. A command that outlives its time is ended with what it has started; what it
//! leaves running keeps nobody waiting. Commands come from the configuration of this machine, and from a
//! package only where it is signed and the configuration allows it
//! ([`Commands`](crate::release::Commands)).
//!
//! Not promised: that a command which failed half-way is undone (databases are put back, see
//! [`crate::database`]; all else is the command's own business), or that a process which has left
//! its process group is found.

mod process;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

pub(crate) use process::Failure;
pub use process::Runner;

use crate::config::HooksConfig;
use crate::version::Version;
use crate::{Error, Result, record};

/// A step of an update at which commands are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before the backup is made: the version before is in place.
    BeforeBackup,
    /// The changed files of the new version are staged, nothing is changed yet.
    AfterStage,
    /// The new version is in place and has not been started: migrations.
    AfterCommit,
    /// Before every start of the app.
    BeforeStart,
    /// The new version has passed its trial.
    AfterConfirm,
    /// The version before has been put back.
    OnRollback,
}

impl Hook {
    /// Every hook, in the order in which an update meets them.
    pub const ALL: &[Self] = &[
        Self::BeforeBackup,
        Self::AfterStage,
        Self::AfterCommit,
        Self::BeforeStart,
        Self::AfterConfirm,
        Self::OnRollback,
    ];

    /// Its name in the configuration and in `CASTOFF_HOOK`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeBackup => "before_backup",
            Self::AfterStage => "after_stage",
            Self::AfterCommit => "after_commit",
            Self::BeforeStart => "before_start",
            Self::AfterConfirm => "after_confirm",
            Self::OnRollback => "on_rollback",
        }
    }

    /// Its command lines.
    pub fn commands(self, config: &HooksConfig) -> &[String] {
        match self {
            Self::BeforeBackup => &config.before_backup,
            Self::AfterStage => &config.after_stage,
            Self::AfterCommit => &config.after_commit,
            Self::BeforeStart => &config.before_start,
            Self::AfterConfirm => &config.after_confirm,
            Self::OnRollback => &config.on_rollback,
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the commands of a hook are told: each field is a variable, and one that is `None` is not
/// set. Paths are absolute.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// `CASTOFF_CLIENT_DIR`: the client folder.
    pub client_dir: &'a Path,
    /// `CASTOFF_APP_DIR`: the folder of the version in question, in which the commands run.
    pub app_dir: &'a Path,
    /// `CASTOFF_STAGED_DIR`: what is staged, for `after_stage`.
    pub staged_dir: Option<&'a Path>,
    /// `CASTOFF_FROM`: the version that is left.
    pub from: Option<&'a Version>,
    /// `CASTOFF_TO`: the version that is in place in the end.
    pub to: Option<&'a Version>,
    /// `CASTOFF_REASON`: why, for `on_rollback`.
    pub reason: Option<&'a str>,
    /// `CASTOFF_PYTHON`: the interpreter that the app is run with.
    pub python: Option<&'a Path>,
}

impl Occasion<'_> {
    fn variables(&self, hook: Hook) -> impl Iterator<Item = (&'static str, OsString)> {
        let path = |path: Option<&Path>| path.map(OsString::from);
        let version = |version: Option<&Version>| version.map(|version| version.as_str().into());
        [
            ("CASTOFF_HOOK", Some(hook.as_str().into())),
            ("CASTOFF_CLIENT_DIR", path(Some(self.client_dir))),
            ("CASTOFF_APP_DIR", path(Some(self.app_dir))),
            ("CASTOFF_STAGED_DIR", path(self.staged_dir)),
            ("CASTOFF_FROM", version(self.from)),
            ("CASTOFF_TO", version(self.to)),
            ("CASTOFF_REASON", self.reason.map(OsString::from)),
            ("CASTOFF_PYTHON", path(self.python)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Runs the commands of a hook, one after the other; the first that fails ends it with
/// `HOOK_FAILED`.
pub fn run(
    hook: Hook,
    commands: &[&String],
    runner: &Runner<'_>,
    occasion: &Occasion<'_>,
) -> Result<()> {
    for &line in commands {
        record::info!("{hook}: {line}");
        let mut command = runner.shell(line, occasion.app_dir);
        command.envs(occasion.variables(hook));
        runner
            .run(command, hook.as_str())
            .map_err(|failure| Error::HookFailed {
                hook: hook.as_str(),
                command: line.clone(),
                problem: failure.to_string(),
            })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
