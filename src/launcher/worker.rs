//! The worker: a process of its own that looks for updates while the app runs (`update.when =
//! "background"`).
//!
//! Promises: it keeps nothing of the start busy. It has no terminal, console or window, null for its
//! standard streams, a session of its own, and the root for its working directory; it is nobody's
//! child, so that an app which takes the launcher's process over never meets it; it shows nothing,
//! and logs to the usual log; it ends after its work.
//!
//! Not promised: that it is there. Without a shell on Unix, or where the system starts no process, the
//! log says so, and the app starts. Of what else the launcher was handed open, it lets go of the
//! numbers that shells and service managers use, 3 to 9.

use std::ffi::OsString;
use std::io;

use super::Session;
use crate::record;
use crate::updater::Updater;

/// Starts one for the launcher's folder.
pub(super) fn start(session: &Session) -> io::Result<()> {
    let executable = std::env::current_exe()?;
    let (program, arguments): (_, Vec<OsString>) = if let Some(launcher) = &session.launcher {
        (launcher, vec!["--castoff".into(), "background".into()])
    } else {
        let folder = session.home.clone().into();
        let arguments = vec!["background".into(), "--dir".into(), folder];
        (&executable, arguments)
    };
    record::debug!("a worker looks for updates");
    #[cfg(unix)]
    {
        use std::process::{Command, Stdio};

        /// The shell ends at once, and is waited for: what it leaves has another parent.
        const DETACH: &str = r#""$0" "$@" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &"#;

        let status = Command::new("/bin/sh")
            .arg("-c")
            .arg(DETACH)
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!("the shell ended with {status}")));
        }
        Ok(())
    }
    #[cfg(windows)]
    {
        let words: Vec<OsString> = std::iter::once(program.into()).chain(arguments).collect();
        castoff_windows::process::detach(program, &super::shortcut::command_line(&words))
    }
}

/// Does the work of one, and gives the exit code, which nobody waits for.
#[expect(
    clippy::disallowed_methods,
    reason = "this process is a worker's alone, and a folder that it keeps could not be removed"
)]
pub(super) fn work(session: &Session) -> u8 {
    #[cfg(unix)]
    {
        // It fails for whoever has one of their own already.
        let _ = rustix::process::setsid();
        let _ = std::env::set_current_dir("/");
    }
    #[cfg(windows)]
    let _ = std::env::set_current_dir(std::env::temp_dir());
    match session.updater().and_then(Updater::fetch_ahead) {
        Ok(Some(outcome)) => record::info!("{}: {}", outcome.as_str(), outcome.version()),
        Ok(None) => {}
        Err(error) => {
            record::warn!("{}: {}", error.code(), error.chain());
            return super::exit_code(&error);
        }
    }
    0
}
