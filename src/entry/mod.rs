//! Starts the app: finds its entry point and what runs it, starts it, and judges its trial.
//!
//! [`resolve`] finds out everything that can be known beforehand; what it returns either becomes
//! the launcher's process ([`Prepared::exec`], so that signals, terminal and exit code are the
//! app's own) or a child of it ([`Prepared::spawn`]), which can be put on [trial](Running::judge).
//!
//! Promised:
//! - The app runs in the client folder, is named by an absolute path, and gets every argument
//!   unchanged, whatever characters it has.
//! - Nothing is started because it happens to lie in the working directory or the client folder:
//!   an interpreter is looked for where the configuration says, at fixed places of the client
//!   folder, and in those absolute folders of PATH that lie outside of the client folder.
//! - The entry point lies inside the client folder, links resolved.
//! - The app's environment is the launcher's, without Castoff's own variables, and with
//!   `CASTOFF_VERSION`, `CASTOFF_LAUNCHER` and `CASTOFF_CWD`, and with `CASTOFF_READY_FILE` where
//!   it is on trial and has to say that it is ready.
//!
//! Not promised: that the file which was checked is the file which is started (who can write to
//! the client folder can change the app anyway); that an interpreter which was found is of a
//! fitting version; that Python from the Microsoft Store is found without `py` (the Store's
//! aliases cannot be told from its advertisements, so they are passed over).

mod confirm;
mod kind;
mod run;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
pub(crate) use signals::obey as obey_signals;

/// Whether a start that failed may succeed in a moment.
///
/// On Unix someone has the file open for writing: another thread that has just started something
/// hands it open handles for an instant. On Windows somebody has it for himself (32, 33), or the
/// system had a fault of its own (1359), as Wine now and then has.
fn may_pass(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ExecutableFileBusy
        || (cfg!(windows) && matches!(error.raw_os_error(), Some(32 | 33 | 1359)))
}

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::config::RunConfig;
use crate::version::Version;
use crate::{Error, Result, record};

pub use confirm::{Proof, Verdict};
pub use run::{End, Running};

/// What is to be started, and how.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The client folder. On Windows without the prefix `\\?\`, which cmd.exe cannot work in.
    pub folder: &'a Path,
    /// The entry point, relative to the client folder.
    pub entry: &'a str,
    /// The app's arguments.
    pub args: &'a [OsString],
    /// The launcher's environment, usually all of [`std::env::vars_os`].
    pub environment: &'a [(OsString, OsString)],
    /// `[run]` of the configuration.
    pub run: &'a RunConfig,
    /// What is installed: `CASTOFF_VERSION`.
    pub version: Option<&'a Version>,
    /// The launcher's executable: `CASTOFF_LAUNCHER`.
    pub launcher: Option<&'a Path>,
    /// Where the launcher was started: `CASTOFF_CWD`.
    pub cwd: Option<&'a Path>,
    /// The file that a version on trial is to make when it is ready: `CASTOFF_READY_FILE`.
    pub ready_file: Option<&'a Path>,
    /// The run lock. On Unix the app inherits it, so that it outlives a launcher that does not
    /// wait: give it up by closing it, since unlocking it would unlock it for the app too. On
    /// Windows nothing is inherited.
    pub keep_open: Option<&'a File>,
}

/// An app that is ready to be started.
#[derive(Debug)]
#[must_use = "nothing is started yet"]
pub struct Prepared {
    path: PathBuf,
    command: Command,
    /// A handle of its own of [`Launch::keep_open`]: what is done to it does not reach the
    /// caller's, and children that are started later do not inherit it.
    #[cfg_attr(windows, expect(dead_code, reason = "Windows inherits no locks"))]
    lock: Option<File>,
}

/// Finds the entry point and what runs it, so that what can fail before the start fails here.
///
/// On Unix an entry point that is executed itself and lacks the x bit gets it: installations made
/// without file modes have it nowhere.
pub fn resolve(launch: &Launch<'_>) -> Result<Prepared> {
    resolve_in(launch, None)
}

/// [`resolve`], with the `python` of the environment that holds the app's dependencies
/// ([`crate::environments::python_for`]).
pub fn resolve_in(launch: &Launch<'_>, python: Option<&Path>) -> Result<Prepared> {
    let folder = std::path::absolute(launch.folder).map_err(Error::io("find", launch.folder))?;
    let path = kind::locate(&folder, launch.entry)?;
    let search = kind::Search {
        folder: &folder,
        path: variable(launch.environment, "PATH"),
        python: launch.run.python.as_deref(),
        environment: python,
        unheard: unheard(),
    };
    let mut command = kind::command(&path, launch.entry, &search)?;
    command
        .args(launch.args)
        .current_dir(&folder)
        .env_clear()
        .envs(environment(launch, python));
    let lock = launch
        .keep_open
        .map(File::try_clone)
        .transpose()
        .map_err(Error::io("keep open the lock of", &folder))?;
    Ok(Prepared {
        path,
        command,
        lock,
    })
}

/// A Python that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    /// The interpreter, or what starts it: `py.exe` on Windows.
    pub program: PathBuf,
    /// What has to come before its own arguments.
    before: &'static [&'static str],
}

impl Python {
    /// Finds the interpreter for the `.py` entry points of the app in `folder`, as a start does.
    pub fn find(
        folder: &Path,
        run: &RunConfig,
        environment: &[(OsString, OsString)],
    ) -> Option<Self> {
        let folder = std::path::absolute(folder).ok()?;
        let search = kind::Search {
            folder: &folder,
            path: variable(environment, "PATH"),
            python: run.python.as_deref(),
            environment: None,
            unheard: false,
        };
        let (program, before) = kind::python(false, &search).ok()?;
        Some(Self { program, before })
    }

    /// The interpreter, to be given arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.before);
        command
    }
}

impl Prepared {
    /// The entry point's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Turns this process into the app; returns only if that fails, and then this process is
    /// good for nothing but saying so: its working directory may have changed.
    ///
    /// Windows cannot: there the app is a child, and this process ends as it does.
    #[must_use = "it returns because it failed"]
    pub fn exec(self) -> Error {
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;

            signals::settle();
            let mut prepared = self;
            match prepared.start(|command| Err::<std::convert::Infallible, _>(command.exec())) {
                Err(error) => error,
            }
        }
        #[cfg(windows)]
        {
            match self.spawn().and_then(Running::wait) {
                Ok(end) => end.pass_on(),
                Err(error) => error,
            }
        }
    }

    /// Starts the app as a child, which outlives this process if need be.
    ///
    /// From here on signals go to the app (see [`Running`]).
    pub fn spawn(self) -> Result<Running> {
        Running::start(self)
    }

    /// Makes the attempt, and makes it again for as long as what is in the way may pass.
    fn start<T>(&mut self, attempt: impl Fn(&mut Command) -> io::Result<T>) -> Result<T> {
        /// On Unix together a fifth of a second, a hundred times what starting a process takes; on
        /// Windows two seconds, for a scanner that looks at what was just installed.
        const ATTEMPTS: u32 = 10;
        const PAUSE: Duration = Duration::from_millis(if cfg!(windows) { 200 } else { 20 });

        #[cfg(unix)]
        if let Some(lock) = &self.lock {
            rustix::io::fcntl_setfd(lock, rustix::io::FdFlags::empty())
                .map_err(|error| Error::io("keep open the lock for", &self.path)(error.into()))?;
        }
        record::debug!(
            "starting {} with {}",
            self.path.display(),
            self.command.get_program().display()
        );
        let mut left = ATTEMPTS;
        loop {
            left -= 1;
            match attempt(&mut self.command) {
                Err(error) if may_pass(&error) && left > 0 => {
                    thread::sleep(PAUSE);
                }
                result => return result.map_err(|error| self.start_failed(error)),
            }
        }
    }

    fn start_failed(&self, error: io::Error) -> Error {
        // The file is there, as `resolve` saw: what the system misses is what it names.
        let source = if error.kind() == io::ErrorKind::NotFound && self.path.exists() {
            let problem = "the loader or interpreter that it needs does not exist";
            io::Error::new(error.kind(), problem)
        } else {
            error
        };
        Error::StartFailed {
            path: self.command.get_program().into(),
            source,
        }
    }
}

/// Whether what this process starts has neither a console nor anything else to write to.
#[cfg(windows)]
fn unheard() -> bool {
    use std::os::windows::io::AsRawHandle;

    io::stdin().as_raw_handle().is_null()
        && io::stdout().as_raw_handle().is_null()
        && io::stderr().as_raw_handle().is_null()
}

/// Only Windows opens windows by itself.
#[cfg(unix)]
const fn unheard() -> bool {
    false
}

/// The app's environment.
fn environment(launch: &Launch<'_>, python: Option<&Path>) -> Vec<(OsString, OsString)> {
    let told = [
        (
            "CASTOFF_VERSION",
            launch.version.map(|version| version.as_str().into()),
        ),
        ("CASTOFF_LAUNCHER", launch.launcher.map(OsString::from)),
        ("CASTOFF_CWD", launch.cwd.map(OsString::from)),
        ("CASTOFF_READY_FILE", launch.ready_file.map(OsString::from)),
        ("CASTOFF_PYTHON", python.map(OsString::from)),
    ];
    let told = told
        .into_iter()
        .filter_map(|(name, value)| Some((name.into(), value?)));
    inherited(launch.environment).chain(told).collect()
}

/// What of the launcher's environment is handed on: all but Castoff's own variables.
pub(crate) fn inherited(
    environment: &[(OsString, OsString)],
) -> impl Iterator<Item = (OsString, OsString)> {
    /// What they begin with: the configuration and what tests order.
    const OWN: &[u8] = b"CASTOFF_";

    let own = |name: &OsString| {
        let name = name.as_encoded_bytes();
        name.get(..OWN.len())
            .is_some_and(|start| same_name(start, OWN))
    };
    environment
        .iter()
        .filter(move |(name, _)| !own(name))
        .cloned()
}

/// The value of a variable of that environment.
pub(crate) fn variable<'a>(
    environment: &'a [(OsString, OsString)],
    name: &str,
) -> Option<&'a OsStr> {
    environment
        .iter()
        .find(|(key, _)| same_name(key.as_encoded_bytes(), name.as_bytes()))
        .map(|(_, value)| value.as_os_str())
}

/// Whether the system takes two names for the same variable.
fn same_name(one: &[u8], other: &[u8]) -> bool {
    if cfg!(windows) {
        one.eq_ignore_ascii_case(other)
    } else {
        one == other
    }
}
