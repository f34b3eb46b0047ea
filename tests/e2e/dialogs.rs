//! The dialog for the last error, with a dialog program that writes down what it was told.
#![cfg(unix)]

use std::fs;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::world::{World, app};

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

    /// Starts the launcher, which ends with that code, and gives what the dialog program was told.
    #[track_caller]
    fn fails(&self, code: i32) -> Option<String> {
        let status = Self::status(self.command(&[]));
        assert_eq!(status.code(), Some(code));
        self.told()
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
    let told = desktop.fails(69).expect("a dialog");
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
    let told = desktop.fails(78).expect("a dialog");
    assert!(told.contains("[CONFIG_INVALID]"), "{told}");

    let desktop = Desktop::with("xmessage", "colour = 'red'");
    let mut command = desktop.command(&[]);
    command.env("CASTOFF_DIALOGS", "false");
    assert_eq!(Desktop::status(command).code(), Some(78));
    assert_eq!(desktop.told(), None, "the variable counts by itself");

    let desktop = Desktop::with("xmessage", "dialogs = false\ncolour = 'red'");
    assert_eq!(desktop.fails(78), None, "so does the line of the file");
}

#[test]
fn a_second_panic_is_shown_unless_no_dialog_is_wanted() {
    for (config, shown) in [("", true), ("dialogs = false", false)] {
        let desktop = Desktop::with("zenity", config);
        desktop.world.publish_app("1.0.0");
        desktop.world.run(&[]).assert_app("1.0.0");
        desktop.world.publish_app("1.1.0");
        let run = desktop.world.run_failing("commit.renamed=kill");
        run.assert_killed();
        let mut command = desktop.command(&[]);
        // In the process that stands in for the first one too.
        command.env("CASTOFF_FAIL", "undo.path=panic");
        assert_eq!(Desktop::status(command).code(), Some(70));
        assert_eq!(desktop.told().is_some(), shown, "{config}");
    }
}

#[test]
#[cfg_attr(
    emulated,
    ignore = "qemu: its fork has memory of its own, so that a failed start is not reported"
)]
fn who_ends_the_launcher_while_a_dialog_is_open_ends_it() {
    let desktop = Desktop::with("zenity", "");
    let world = &desktop.world;
    // Before the app is started, the launcher gets ready to pass signals on to it.
    let built = world.publish(
        "1.0.0",
        &app("1.0.0").executable("broken", b"\x7fELF\0, cut off"),
    );
    let mut answer = World::answer(&built, "1.0.0");
    answer["entry_point"] = "broken".into();
    world.announce(&answer);
    let pid = world.home().join("pid");
    let waits = format!(
        "#!/bin/sh\necho $$ >'{pid}.new'\n/bin/mv '{pid}.new' '{pid}'\nexec /bin/sleep 600\n",
        pid = pid.display()
    );
    fs::write(world.home().join("programs/zenity"), waits).unwrap();
    let mut launcher = desktop.command(&[]).spawn().unwrap();
    let launcher_id = launcher.id().to_string();
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut ended_by = |done: &dyn Fn() -> bool| loop {
        let status = launcher.try_wait().unwrap();
        if status.is_some() || done() || Instant::now() > deadline {
            break status;
        }
        thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(ended_by(&|| pid.exists()), None, "{}", world.log());
    let dialog = fs::read_to_string(&pid).expect("a dialog");
    end(&launcher_id);
    let status = ended_by(&|| false);
    end(dialog.trim());
    let status = status.expect("it waits for the dialog");
    assert_eq!(status.signal(), Some(15));
}

/// Asks a process to end.
fn end(process: &str) {
    let kill = Command::new("kill").args(["-TERM", process]).status();
    assert!(kill.unwrap().success());
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

    let (_journal, stderr) = UnixStream::pair().unwrap();
    let mut command = desktop.command(&[]);
    command.stderr(OwnedFd::from(stderr));
    quiet(&desktop, "a socket has a reader", command);

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
