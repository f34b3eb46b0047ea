//! The launcher: the small executable that a person double-clicks instead of the app.
//!
//! All arguments are the app's, but for one reserved first one: `--castoff <command>` gives
//! support staff the commands of [`castoff::launcher::commands`].
//!
//! On Windows it is a GUI program, so that no console window opens at a double-click; the console
//! that it was started from is used all the same.

#![cfg_attr(windows, windows_subsystem = "windows")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use castoff::launcher::commands::Command;
use castoff::launcher::{Session, dialog, panic};

fn main() -> ExitCode {
    #[cfg(windows)]
    castoff_windows::process::harden();
    let executable = std::env::current_exe().ok();
    let home = executable
        .as_deref()
        .and_then(|path| path.parent())
        .map_or_else(|| PathBuf::from("."), std::path::Path::to_path_buf);
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let support = args.first().is_some_and(|first| first == "--castoff") && args.len() > 1;
    let (command, json) = if support {
        // What follows `run` is the app's.
        let json = args
            .iter()
            .position(|arg| arg == "--json")
            .filter(|_| args[1] != "run")
            .map(|place| args.remove(place));
        (Command::parse(&args[1..]), json.is_some())
    } else {
        (Ok(Command::Run { args }), false)
    };
    #[cfg(windows)]
    if command != Ok(Command::Background) {
        castoff_windows::console::attach();
    }
    let after = match command {
        Ok(Command::Run { .. }) => panic::After::StartTheApp,
        _ => panic::After::Report,
    };
    panic::install(after);
    if after == panic::After::StartTheApp {
        // Support staff and scheduled tasks read what a command says; nothing is to wait for them.
        dialog::allow();
    }
    if command == Ok(Command::Version) {
        // Worth asking of a launcher that has no configuration.
        return ExitCode::from(Command::tell_version(json));
    }
    if command == Ok(Command::SelfCheck) {
        // Asked by another launcher: nothing is written, and nobody is to be told of an error.
        return ExitCode::from(Command::check_self(&home));
    }
    let code = match Session::open(&home) {
        Ok(session) => match command {
            Ok(command) => session.with_launcher(executable).work(&command, json),
            Err(unknown) => session.usage(&unknown),
        },
        Err(error) => Session::report_unopened(&error),
    };
    ExitCode::from(code)
}
