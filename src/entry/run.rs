//! The app as a child: its signals, its end, and how the launcher ends like it.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
#[cfg(windows)]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Prepared;
#[cfg(unix)]
use super::signals::Signals;
use crate::{Error, Result, record};

/// Whether the console has wished this process, and with it the app, to end.
#[cfg(windows)]
static ASKED_TO_END: AtomicBool = AtomicBool::new(false);

/// A running app.
///
/// While [`Running::judge`] or [`Running::wait`] waits, a signal that is sent to this process is
/// passed on to the app, and one that comes at another time, as soon as one of them is called: do
/// not dawdle between them. Ctrl+C reaches the app by itself and does not end this process, on
/// Windows as well. There the same goes for Ctrl+Break, and for a console that is closed as far as
/// the system allows: from the first start of an app on, this process stays until that has ended.
///
/// Dropping it leaves the app running.
#[derive(Debug)]
#[must_use = "the app is to be judged or waited for"]
pub struct Running {
    path: PathBuf,
    /// What it was started by, for what else is to be run in its folder and environment.
    command: Command,
    child: Child,
    started: Instant,
    #[cfg(unix)]
    signals: Signals,
}

/// How the app ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Code(i32),
    /// By this signal (Unix).
    Signal(i32),
}

impl Running {
    /// Starts what is prepared.
    pub(super) fn start(mut prepared: Prepared) -> Result<Self> {
        // Before the start, so that no signal falls between.
        #[cfg(unix)]
        let mut signals =
            Signals::watch().map_err(Error::io("watch for signals to", &prepared.path))?;
        #[cfg(unix)]
        let early = signals.early();
        #[cfg(windows)]
        {
            ASKED_TO_END.store(false, Ordering::Relaxed);
            castoff_windows::console::outlive(|event| {
                record::debug!("from the console: {event:?}");
                ASKED_TO_END.store(true, Ordering::Relaxed);
            })
            .map_err(Error::io("watch for signals to", &prepared.path))?;
        }

        let child = prepared.start(Command::spawn)?;
        let running = Self {
            path: prepared.path,
            command: prepared.command,
            child,
            started: Instant::now(),
            #[cfg(unix)]
            signals,
        };
        #[cfg(unix)]
        for signal in early {
            running.pass_on(signal);
        }
        Ok(running)
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// When the app was started.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Waits for the app's end.
    pub fn wait(mut self) -> Result<End> {
        loop {
            if let Some(end) = self.ended_by(None)? {
                return Ok(end);
            }
        }
    }

    /// How the app has ended by that time; `None` while it runs. Without a time, waits for it.
    pub(super) fn ended_by(&mut self, deadline: Option<Instant>) -> Result<Option<End>> {
        let status = self
            .status_by(deadline)
            .map_err(Error::io("wait for", &self.path))?;
        Ok(status.map(End::of))
    }

    /// Whether somebody wished the app to end: by a signal that was passed on, or one that the
    /// terminal gave to all. To be asked when it has ended.
    #[cfg(unix)]
    pub(super) fn was_asked_to_end(&mut self) -> bool {
        self.signals.asked_to_end()
    }

    /// Whether the console has wished the app to end. To be asked when it has ended.
    #[cfg(windows)]
    #[expect(clippy::unused_self, reason = "there is one console for all")]
    pub(super) fn was_asked_to_end(&mut self) -> bool {
        ASKED_TO_END.load(Ordering::Relaxed)
    }

    /// What runs a command line in the app's folder and environment: on Unix as a group of
    /// processes of its own, on Windows without a window.
    pub(super) fn shell(&self, line: &str) -> Command {
        #[cfg(unix)]
        let mut command = {
            use std::os::unix::process::CommandExt;

            let mut command = Command::new("/bin/sh");
            command.args(["-c", line]).process_group(0);
            command
        };
        #[cfg(windows)]
        let mut command = {
            use std::os::windows::process::CommandExt;

            // Never a relative path, which would lead into the working folder.
            let root = std::env::var_os("SystemRoot").unwrap_or_else(|| r"C:\Windows".into());
            let mut system = PathBuf::from(root);
            system.extend(["System32", "cmd.exe"]);
            let mut command = Command::new(system);
            // Its own rules: what is between the outermost quotation marks is the line.
            command.raw_arg(format!("/d /s /c \"{line}\""));
            command.creation_flags(castoff_windows::process::NO_WINDOW);
            command
        };
        let own = self.command.get_envs();
        let environment = own.filter_map(|(name, value)| Some((name, value?)));
        command.env_clear().envs(environment);
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        command
    }

    #[cfg(unix)]
    fn status_by(&mut self, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        loop {
            // Only here the process's number becomes free, so a signal never goes to another one.
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            let limit = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if limit == Some(Duration::ZERO) {
                return Ok(None);
            }
            for signal in self.signals.wait(limit)? {
                self.pass_on(signal);
            }
        }
    }

    #[cfg(windows)]
    fn status_by(&mut self, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        /// The standard library cannot wait for a process with a limit. Nobody notices this much.
        const PAUSE: Duration = Duration::from_millis(20);

        let Some(deadline) = deadline else {
            return self.child.wait().map(Some);
        };
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(left.min(PAUSE));
        }
    }

    /// Sends the app a signal. One that has ended meanwhile needs none.
    #[cfg(unix)]
    fn pass_on(&self, signal: i32) {
        let process = self.child.id().try_into().ok();
        let process = process.and_then(rustix::process::Pid::from_raw);
        let named = rustix::process::Signal::from_named_raw(signal);
        if let (Some(process), Some(named)) = (process, named) {
            record::debug!("passing signal {signal} on to process {}", self.child.id());
            let _ = rustix::process::kill_process(process, named);
        }
    }
}

impl End {
    fn of(status: ExitStatus) -> Self {
        #[cfg(unix)]
        {
            use std::os::unix::process::ExitStatusExt;

            if let Some(signal) = status.signal() {
                return Self::Signal(signal);
            }
        }
        // Without a signal there is a code.
        Self::Code(status.code().unwrap_or(1))
    }

    /// The exit code; after a signal 128 and its number, as shells have it.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }

    /// Ends this process as the app ended, so that whoever started it sees no difference: by the
    /// same signal, if it was one. Nothing is cleaned up.
    #[expect(
        clippy::disallowed_methods,
        reason = "an exit code has 32 bits on Windows, and only 8 in an ExitCode"
    )]
    pub fn pass_on(self) -> ! {
        #[cfg(unix)]
        if let Self::Signal(signal) = self {
            // The app has left a core dump if one was wanted; a second one would blame the wrong
            // program.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::set_dumpable_behavior(
                rustix::process::DumpableBehavior::NotDumpable,
            );
            // Returns for signals that it does not know: the code has to do then.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
        std::process::exit(self.code())
    }

    /// What was wrong, if the app crashed.
    ///
    /// On Unix: the signals that a program brings upon itself. Others come from people, service
    /// managers or a system that is short of memory. A shell's 128 + n is an exit code like any
    /// other.
    #[cfg(unix)]
    pub(super) fn fault(self) -> Option<String> {
        use signal_hook::consts::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};

        const FAULTS: [i32; 7] = [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP];

        match self {
            Self::Signal(signal) if FAULTS.contains(&signal) => {
                let name = signal_hook::low_level::signal_name(signal).unwrap_or("unnamed");
                Some(format!("signal {signal} ({name})"))
            }
            _ => None,
        }
    }

    /// What was wrong, if the app crashed: on Windows an exception's code becomes the exit code.
    #[cfg(windows)]
    pub(super) fn fault(self) -> Option<String> {
        exception(self.code().cast_unsigned())
    }
}

/// Whether an exit code of Windows is an exception that nobody caught.
///
/// The system's own have the two bits of severity set and the next two clear; -1 and its like,
/// with which programs end on purpose, have all of them set.
#[cfg(any(windows, test))]
pub(super) fn exception(code: u32) -> Option<String> {
    /// Ctrl+C, or the console closed; and what a program meets that is started while the session
    /// ends. None of them is the program's fault.
    const ENDED_FROM_OUTSIDE: [u32; 3] = [0xC000_013A, 0xC000_0142, 0xC000_026B];
    /// Exceptions of the Visual C++ and .NET run-times.
    const RUN_TIMES: [u32; 2] = [0xE06D_7363, 0xE043_4352];

    let system = code >> 28 == 0xC && !ENDED_FROM_OUTSIDE.contains(&code);
    (system || RUN_TIMES.contains(&code)).then(|| format!("exception 0x{code:08X}"))
}
