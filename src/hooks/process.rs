//! A command with a time limit, whose output goes to the log.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::entry;
use crate::record;

/// How often a command that says nothing is looked at. The standard library cannot wait for a
/// process with a limit.
const POLL: Duration = Duration::from_millis(20);

/// What a command that is asked to end may take, and then what the system may take to end it.
const GRACE: Duration = Duration::from_secs(5);

/// How long the last output of a command that has ended is waited for. Its end comes with the
/// command's own, unless something that it has started keeps the pipe open.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// The longest line, in bytes; a longer one is broken.
const LONGEST_LINE: u64 = 1000;

/// How much of one command's output is logged, in bytes: a migration that names every row must not
/// push everything else out of the log.
const MOST_LOGGED: usize = 256 << 10;

/// How many lines an error repeats.
const LAST_LINES: usize = 5;

/// What every command is run with.
#[derive(Clone, Copy, Debug)]
pub struct Runner<'a> {
    /// The launcher's environment, usually all of [`std::env::vars_os`]. Commands get it without
    /// Castoff's own variables.
    pub environment: &'a [(OsString, OsString)],
    /// For each command.
    pub timeout: Duration,
    /// A lock that outlives the launcher, if that is ended, until the command has ended too: on
    /// Unix the command inherits it. What a command leaves running holds it as well.
    pub keep_open: Option<&'a File>,
}

/// Why a command failed, and what it said last.
#[derive(Debug)]
pub(crate) struct Failure {
    problem: String,
    last: VecDeque<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        for (index, line) in self.last.iter().enumerate() {
            f.write_str(if index == 0 { "; last output: " } else { " / " })?;
            f.write_str(line)?;
        }
        Ok(())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            problem: error.to_string(),
            last: VecDeque::new(),
        }
    }
}

impl Runner<'_> {
    /// A command line for the system's shell, in `folder` and with the environment for commands.
    pub fn shell(&self, line: &str, folder: &Path) -> Command {
        #[cfg(unix)]
        let mut command = Command::new("/bin/sh");
        #[cfg(unix)]
        command.arg("-c").arg(line);
        #[cfg(windows)]
        let mut command = Command::new(self.system("cmd.exe"));
        #[cfg(windows)]
        {
            use std::os::windows::process::CommandExt;
            // With /S the outer quotes go and the rest is taken as the administrator wrote it; /D
            // leaves out what the registry would run first.
            command
                .args(["/D", "/S", "/C"])
                .raw_arg(format!("\"{line}\""));
        }
        self.prepare(&mut command, folder);
        command
    }

    /// Gives a command its folder and the environment for commands.
    pub(crate) fn prepare(&self, command: &mut Command, folder: &Path) {
        command
            .current_dir(folder)
            .env_clear()
            .envs(entry::inherited(self.environment));
    }

    /// A program of Windows itself: looked for by name, one in the working folder could be taken.
    #[cfg(windows)]
    fn system(&self, name: &str) -> std::path::PathBuf {
        let root = entry::variable(self.environment, "SystemRoot");
        Path::new(root.unwrap_or(r"C:\Windows".as_ref()))
            .join("System32")
            .join(name)
    }

    /// Runs a command to its end, or to that of its time. `name` stands before its lines in the
    /// log.
    pub(crate) fn run(&self, mut command: Command, name: &str) -> Result<(), Failure> {
        let (reader, writer) = io::pipe()?;
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        #[cfg(unix)]
        {
            // A group of its own, so that what it starts can be ended with it.
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        #[cfg(windows)]
        {
            // The launcher may have no console, and a window of its own is for nobody.
            std::os::windows::process::CommandExt::creation_flags(
                &mut command,
                castoff_windows::process::NO_WINDOW,
            );
        }
        let lock = self.keep_open.map(File::try_clone).transpose()?;
        #[cfg(unix)]
        if let Some(lock) = &lock {
            rustix::io::fcntl_setfd(lock, rustix::io::FdFlags::empty()).map_err(io::Error::from)?;
        }
        let mut child = command.spawn()?;
        // Our own ends of the pipe: while they are open, the output has no end.
        drop((command, lock));
        let (send, lines) = sync_channel(64);
        thread::spawn(move || pass_lines(reader, &send));

        let mut output = Output::new(name);
        let deadline = Instant::now().checked_add(self.timeout);
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break None;
            }
            if !output.take(&lines, POLL) {
                thread::sleep(POLL);
            }
        };
        if status.is_none() {
            self.end(&mut child);
        }
        let enough = Instant::now() + LAST_OUTPUT;
        while Instant::now() < enough && output.take(&lines, LAST_OUTPUT) {}
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(output.failure(describe(status))),
            None => {
                let seconds = self.timeout.as_secs_f64();
                Err(output.failure(format!("it did not end within {seconds} s")))
            }
        }
    }

    /// Ends a command and what it has started: asks its group first, and insists after a while.
    #[cfg(unix)]
    #[expect(clippy::unused_self, reason = "Windows needs the environment")]
    fn end(&self, child: &mut Child) {
        use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

        let group = child.id().try_into().ok().and_then(Pid::from_raw);
        let Some(group) = group else { return };
        for signal in [Signal::TERM, Signal::KILL] {
            let _ = kill_process_group(group, signal);
            let enough = Instant::now() + GRACE;
            while Instant::now() < enough {
                // Until it is waited for, the command itself is still counted.
                let ended = child.try_wait().is_ok_and(|status| status.is_some());
                if ended && test_kill_process_group(group).is_err() {
                    return;
                }
                thread::sleep(POLL);
            }
        }
        record::warn!("process {} cannot be ended", child.id());
    }

    /// Ends a command and what it has started, as far as the system still knows whose child is
    /// whose.
    #[cfg(windows)]
    fn end(&self, child: &mut Child) {
        let id = child.id().to_string();
        let tree = Command::new(self.system("taskkill.exe"))
            .args(["/T", "/F", "/PID", &id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let enough = Instant::now() + GRACE;
        let ended = |child: &mut Child| loop {
            match child.try_wait() {
                Ok(None) if Instant::now() < enough => thread::sleep(POLL),
                Ok(None) => return false,
                _ => return true,
            }
        };
        if let Ok(mut tree) = tree
            && !ended(&mut tree)
        {
            let _ = tree.kill();
        }
        let _ = child.kill();
        if !ended(child) {
            record::warn!("process {id} cannot be ended");
        }
    }
}

/// How a command ended that did not succeed.
fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("ended by signal {signal}");
    }
    format!("exit code {}", status.code().unwrap_or(1))
}

/// What has been heard of a command.
struct Output<'a> {
    name: &'a str,
    logged: usize,
    last: VecDeque<String>,
}

impl<'a> Output<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            logged: 0,
            last: VecDeque::new(),
        }
    }

    /// Waits for a line for so long, and logs it. False when there will be no more.
    fn take(&mut self, lines: &Receiver<String>, limit: Duration) -> bool {
        let line = match lines.recv_timeout(limit) {
            Ok(line) => line,
            Err(error) => return error == RecvTimeoutError::Timeout,
        };
        if self.logged <= MOST_LOGGED {
            self.logged += line.len();
            if self.logged <= MOST_LOGGED {
                record::info!("{}: {line}", self.name);
            } else {
                record::info!("{}: the rest of its output is left out", self.name);
            }
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
        true
    }

    fn failure(self, problem: String) -> Failure {
        Failure {
            problem,
            last: self.last,
        }
    }
}

/// Passes on what is read, line by line, until there is no more or nobody listens.
fn pass_lines(reader: impl Read, send: &SyncSender<String>) {
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        match (&mut reader)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = clean(&line);
        if !line.is_empty() && send.send(line).is_err() {
            return;
        }
    }
}

/// A line as it can be logged: without control characters, and of a line that was overwritten by
/// carriage returns what was to be seen in the end.
fn clean(line: &[u8]) -> String {
    let line = line.trim_ascii_end();
    let seen = line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line);
    String::from_utf8_lossy(seen)
        .chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect()
}
