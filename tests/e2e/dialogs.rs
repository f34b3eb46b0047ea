//! The dialog for the last error, with a dialog program that writes down what it was told.
#![cfg(unix)]

use std::fs;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, ExitStatus, Stdio};

use crate::world::World;

/// A world in which nothing can be had, with a desktop that has that dialog program.
struct Desktop {
    world: World,
}

impl Desktop {
    fn with(program: &str, config: &str) -> Self {
        let world = World::new();
        let text = fs::read_to_string(world.home().join("launcher.toml")).unwrap();
        fs::write(
            world.home().join("launcher.toml"),
            format!("{config}\n{text}"),
        )
        .unwrap();
        let programs = world.home().join("programs");
        fs::create_dir(&programs).unwrap();
        let told = world.home().join("told");
        let script = format!(
            "#!/bin/sh\nprintf '<%s>\\n' \"$@\" >'{}'\nexit 1\n",
            told.display()
        );
        fs::write(programs.join(program), script).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(programs.join(program), mode).unwrap();
        Self { world }
    }

    /// The launcher as a desktop starts it: stderr goes to the session's log file.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.world.command(args);
        let log = File::create(self.world.home().join("session.log")).unwrap();
        command
            .env("DISPLAY", ":99")
            .env("PATH", self.world.home().join("programs"))
            .stdout(Stdio::null())
            .stderr(log);
        command
    }

    fn status(mut command: Command) -> ExitStatus {
        command.status().unwrap()
    }

    /// What the dialog program was told.
    fn told(&self) -> Option<String> {
        fs::read_to_string(self.world.home().join("told")).ok()
    }
}

#[test]
fn the_last_error_is_shown_where_nobody_reads_stderr() {
    let desktop = Desktop::with("zenity", "");
    let status = Desktop::status(desktop.command(&[]));
    assert_eq!(status.code(), Some(69));
    let told = desktop.told().expect("a dialog");
    for part in [
        "<--error>",
        "<--no-markup>",
        "<--title=Test App>",
        "<--text=",
        "[NOT_INSTALLED",
        "castoff.log",
    ] {
        assert!(told.contains(part), "no {part}: {told}");
    }
    let written = fs::read_to_string(desktop.world.home().join("session.log")).unwrap();
    for line in written.lines().skip_while(|line| !line.contains(": ")) {
        assert!(
            told.contains(line.trim()),
            "{line:?} is not in the dialog: {told}"
        );
    }
}

#[test]
fn an_error_of_the_configuration_is_shown_too() {
    let desktop = Desktop::with("xmessage", "colour = 'red'");
    let status = Desktop::status(desktop.command(&[]));
    assert_eq!(status.code(), Some(78));
    let told = desktop.told().expect("a dialog");
    assert!(told.contains("[CONFIG_INVALID]"), "{told}");

    let desktop = Desktop::with("xmessage", "colour = 'red'");
    let mut command = desktop.command(&[]);
    command.env("CASTOFF_DIALOGS", "false");
    assert_eq!(Desktop::status(command).code(), Some(78));
    assert_eq!(desktop.told(), None, "the variable counts by itself");
}

#[test]
fn nothing_is_shown_where_it_is_read_or_not_wanted_or_cannot_be_seen() {
    let quiet = |desktop: &Desktop, why: &str, command: Command| {
        assert_eq!(Desktop::status(command).code(), Some(69), "{why}");
        assert_eq!(desktop.told(), None, "{why}");
    };
    let desktop = Desktop::with("zenity", "");
    let mut command = desktop.command(&[]);
    command.env_remove("DISPLAY");
    quiet(&desktop, "no graphical session", command);

    let mut command = desktop.command(&[]);
    command.env("CASTOFF_DIALOGS", "false");
    quiet(&desktop, "the variable", command);

    let mut command = desktop.command(&["--castoff", "check"]);
    command.env("CASTOFF_LOG_LEVEL", "debug");
    quiet(&desktop, "a command of support staff", command);

    let mut command = desktop.command(&[]);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert_eq!(desktop.told(), None, "a pipe has a reader");

    let desktop = Desktop::with("zenity", "dialogs = false");
    let command = desktop.command(&[]);
    quiet(&desktop, "the configuration", command);
}

#[test]
fn an_app_that_starts_shows_no_dialog() {
    let desktop = Desktop::with("zenity", "");
    desktop.world.publish_app("1.0.0");
    desktop.world.run(&[]).assert_app("1.0.0");
    desktop.world.server.unroute(crate::world::CHECK);
    let status = Desktop::status(desktop.command(&[]));
    assert!(status.success(), "{status}");
    assert_eq!(desktop.told(), None);
}
