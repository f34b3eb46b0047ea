//! Other programs: started in groups of their own, and ended with all that they have started when their time is
//! over.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

use castoff::hooks::Runner;

use super::LOOK;

/// How often a program that is running is looked at.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// What a program that is asked to end may take for it.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// How much of what a program says is kept, in bytes.
const MOST_SAID: usize = 4096;

/// How long the last output of a program that has ended is waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
pub(super) fn run_silently(mut command: Command, patience: Duration) -> Result<(), String> {
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
