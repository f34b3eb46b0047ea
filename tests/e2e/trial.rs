//! The trial by its configuration: what a new version has to show, how often it may fail, which
//! ends count, what is remembered, and what is forgiven.

use std::process::{Child, Stdio};

use castoff_testkit::http::Reply;
use castoff_testkit::package::Package;
use serde_json::{Value, json};

use crate::world::{ENTRY, Run, World, app, dying, dying_after, ending};

fn with_entry(version: &str, script: String) -> Package {
    app(version).executable(ENTRY, script)
}

/// An app that has its script from either system's commands.
fn scripted(version: &str, unix: &str, windows: &str) -> Package {
    let script = if cfg!(windows) {
        format!("@echo off\r\n{windows}\r\n")
    } else {
        format!("#!/bin/sh\n{unix}\n")
    };
    with_entry(version, script)
}

/// One that notes its start in `starts`, does something, and runs until there is a file `end`. Left
/// behind by a test that fails, it ends by itself.
fn running(version: &str, unix: &str, windows: &str) -> Package {
    let unix = format!(
        "echo {version} >> starts\n{unix}\nfor x in 1 2 3 4 5 6; do for y in 1 2 3 4 5 6 7 8 9 0; do\n\
         [ -e end ] && {{ echo \"app {version} \"; exit 0; }}; sleep 0.5; done; done\nexit 9"
    );
    let windows = format!(
        "echo {version}>>starts\r\n{windows}\r\nfor /l %%x in (1,1,30) do (\r\n\
         if exist end (\r\necho app {version} \r\nexit 0\r\n)\r\nping -n 2 127.0.0.1 >nul\r\n)\r\nexit 9"
    );
    scripted(version, &unix, &windows)
}

/// A world with 1.0.0 installed and past its trial, and then this configuration below `[run]`.
fn installed(run: &str) -> World {
    installed_as(&app("1.0.0"), run)
}

fn installed_as(package: &Package, run: &str) -> World {
    let world = World::new();
    world.publish("1.0.0", package);
    world.run(&[]).assert_app("1.0.0");
    assert_eq!(world.state()["trial"], Value::Null);
    world.configure(&format!("[run]\n{run}"));
    world
}

fn start(world: &World) -> Child {
    let mut command = world.command(&[]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[track_caller]
fn until(what: &str, holds: impl FnMut() -> bool) {
    castoff_testkit::until(holds, || what);
}

fn starts(world: &World) -> usize {
    world
        .read("starts")
        .lines()
        .filter(|line| line.starts_with('1'))
        .count()
}

fn on_trial(world: &World) -> bool {
    world.state()["trial"] != Value::Null
}

/// The new version passes its trial while it runs; only then it is told to end.
#[track_caller]
fn assert_confirmed(world: &World) {
    let mut launcher = start(world);
    until("it is good", || {
        starts(world) == 1 && world.version() == "1.1.0" && !on_trial(world)
    });
    assert_eq!(launcher.try_wait().unwrap(), None, "the app runs");
    world.write("end", "");
    assert_eq!(launcher.wait().unwrap().code(), Some(0));
    world.run(&[]).assert_app("1.1.0");
}

#[test]
fn a_crash_loop_is_healed_in_one_launch_after_as_many_attempts_as_configured() {
    for (attempts, expected) in [("", 2), ("attempts = 1", 1), ("attempts = 3", 3)] {
        let world = installed(attempts);
        let dying = dying_after("echo 1.1.0 >> starts", "echo 1.1.0>>starts");
        world.publish("1.1.0", &with_entry("1.1.0", dying));
        let run = world.run(&[]);
        run.assert_app("1.0.0").assert_told("TRIAL_FAILED");
        assert_eq!(starts(&world), expected, "{attempts}");
        assert_eq!(world.state()["bad"][0]["version"], "1.1.0");
        assert!(world.log().contains("failed its trial"));
        // The version that came back has shown that it runs.
        assert_eq!(world.state()["back_from"], Value::Null);
        world.run(&[]).assert_app("1.0.0");
        assert_eq!(starts(&world), expected, "it is left out");
    }
}

#[test]
fn starts_are_counted_on_disk_before_they_are_made() {
    let world = installed("attempts = 3");
    let dying = dying_after(
        "cat .castoff/state.json >> seen",
        "type .castoff\\state.json>>seen",
    );
    world.publish("1.1.0", &with_entry("1.1.0", dying));
    world.run(&[]).assert_app("1.0.0");
    let seen = world.read("seen");
    let tries: Vec<_> = seen
        .lines()
        .filter_map(|line| line.trim().strip_prefix("\"tries\": "))
        .collect();
    assert_eq!(tries, ["1", "2", "3"], "{seen}");
}

#[test]
fn exit_codes_decide_where_they_are_listed() {
    let world = installed("fail_codes = [3]\nok_codes = [4]");
    world.publish("1.1.0", &with_entry("1.1.0", ending("app 1.1.0 ", 3)));
    let run = world.run(&[]);
    run.assert_app("1.0.0").assert_told("exit code 3");
    world.publish("1.2.0", &with_entry("1.2.0", ending("app 1.2.0 ", 4)));
    assert_eq!(world.run(&[]).code, Some(4));
    assert!(!on_trial(&world));
    // Any other code is no verdict, and is not counted.
    world.publish("1.3.0", &with_entry("1.3.0", ending("app 1.3.0 ", 5)));
    for _ in 0..4 {
        assert_eq!(world.run(&[]).code, Some(5));
        assert_eq!(world.state()["trial"]["tries"], 0);
    }
}

#[test]
fn a_version_that_says_that_it_is_ready_is_good() {
    let world = installed("confirm = \"ready\"");
    let ready = (
        "> \"$CASTOFF_READY_FILE\"",
        "type nul>\"%CASTOFF_READY_FILE%\"",
    );
    world.publish("1.1.0", &running("1.1.0", ready.0, ready.1));
    assert_confirmed(&world);
}

#[test]
fn only_a_version_on_trial_is_told_where_to_say_that_it_is_ready() {
    let world = installed("confirm = \"ready\"");
    let tell = (
        "echo \"file:$CASTOFF_READY_FILE\"",
        "echo file:%CASTOFF_READY_FILE%",
    );
    world.publish("1.1.0", &scripted("1.1.0", tell.0, tell.1));
    // It ends with 0 and was never ready: it stays on trial, and that is not counted.
    for _ in 0..3 {
        let run = world.run(&[]);
        let file = run.stdout.trim().strip_prefix("file:").unwrap();
        let folder = std::path::Path::new(file).parent().unwrap();
        assert!(
            folder.ends_with(".castoff") && folder.is_absolute(),
            "{run:?}"
        );
        assert_eq!(world.state()["trial"]["tries"], 0);
    }
    world.configure("[run]\nconfirm = \"alive\"");
    assert_eq!(world.run(&[]).stdout.trim(), "file:");
}

#[test]
fn a_version_that_runs_and_is_never_ready_is_not_killed_and_the_second_time_goes_back() {
    let world = installed("confirm = \"ready\"\nconfirm_within = 1");
    world.publish("1.1.0", &running("1.1.0", "", ""));
    for tries in 1..=2 {
        let mut launcher = start(&world);
        until("it is given up", || {
            world.log().matches("runs and is not confirmed").count() == tries
        });
        assert_eq!(launcher.try_wait().unwrap(), None, "the app runs");
        assert_eq!(world.state()["trial"]["tries"], tries);
        world.write("end", "");
        assert_eq!(launcher.wait().unwrap().code(), Some(0));
        std::fs::remove_file(world.path("end")).unwrap();
    }
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("TRIAL_FAILED");
    assert_eq!(starts(&world), 2);
}

#[test]
fn a_file_that_was_left_behind_makes_nobody_ready() {
    let world = installed("confirm = \"ready\"");
    world.write(".castoff/ready", "");
    world.publish("1.1.0", &with_entry("1.1.0", ending("app 1.1.0 ", 0)));
    world.run(&[]).assert_app("1.1.0");
    assert!(on_trial(&world));
}

#[test]
fn a_version_whose_address_answers_is_good() {
    let world = installed("");
    let url = world.server.url("/health");
    world.configure(&format!(
        "[run]\nconfirm = \"http\"\nconfirm_url = \"{url}\""
    ));
    world.server.route("/health", Reply::status(503).times(1));
    world.server.route("/health", Reply::status(200));
    world.publish("1.1.0", &running("1.1.0", "", ""));
    assert_confirmed(&world);
}

#[test]
fn a_version_whose_address_does_not_answer_well_goes_back() {
    let world = installed("");
    let url = world.server.url("/health");
    world.configure(&format!(
        "[run]\nconfirm = \"http\"\nconfirm_url = \"{url}\"\nconfirm_within = 1\nattempts = 1"
    ));
    world.server.route("/health", Reply::status(500));
    world.publish("1.1.0", &running("1.1.0", "", ""));
    assert_unconfirmed(&world);
}

#[test]
fn a_version_whose_command_succeeds_is_good() {
    let line = if cfg!(windows) {
        "if exist starts (exit 0) else (exit 1)"
    } else {
        "test -e starts"
    };
    let world = installed(&format!(
        "confirm = \"command\"\nconfirm_command = '{line}'"
    ));
    world.publish("1.1.0", &running("1.1.0", "", ""));
    assert_confirmed(&world);
}

#[test]
fn a_version_whose_command_fails_goes_back() {
    let world = installed(
        "confirm = \"command\"\nconfirm_command = \"exit 1\"\nconfirm_within = 1\nattempts = 1",
    );
    world.publish("1.1.0", &running("1.1.0", "", ""));
    assert_unconfirmed(&world);
}

/// The one attempt passes without a verdict; the next start is one of the old version.
#[track_caller]
fn assert_unconfirmed(world: &World) {
    let mut launcher = start(world);
    until("it is given up", || {
        world.log().contains("runs and is not confirmed")
    });
    world.write("end", "");
    assert_eq!(launcher.wait().unwrap().code(), Some(0));
    assert_eq!(world.version(), "1.1.0");
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("TRIAL_FAILED");
}

#[test]
fn a_version_that_crashes_before_it_is_confirmed_goes_back_at_once() {
    let line = "[run]\nconfirm = \"command\"\nconfirm_command = \"exit 1\"";
    let world = installed("");
    world.configure(line);
    world.publish("1.1.0", &with_entry("1.1.0", dying()));
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("TRIAL_FAILED");
}

#[test]
fn where_nothing_is_asked_a_version_is_good_as_soon_as_it_is_installed() {
    let world = installed("confirm = \"none\"\n[update]\nkeep = 1");
    for version in ["1.1.0", "1.2.0", "1.3.0"] {
        world.publish(version, &with_entry(version, dying()));
        let update = world.run(&["--castoff", "update"]);
        assert_eq!(update.code, Some(0), "{update:?}");
        assert!(!on_trial(&world));
    }
    assert_eq!(world.backups(), ["1.2.0"]);
    let run = world.run(&[]);
    assert_ne!(run.code, Some(0));
    assert_eq!(world.version(), "1.3.0");
}

#[test]
fn a_key_that_is_needed_and_missing_is_named() {
    let world = installed("confirm = \"http\"");
    let run = world.run(&[]);
    run.assert_told("CONFIG_INVALID")
        .assert_told("run.confirm_url");
    assert_eq!(run.code, Some(78));
}

#[test]
fn a_launcher_that_does_not_wait_for_the_app_stays_until_the_verdict() {
    let world = installed("confirm = \"ready\"\nwait = false");
    let ready = (
        "sleep 1; > \"$CASTOFF_READY_FILE\"",
        "ping -n 2 127.0.0.1 >nul\r\ntype nul>\"%CASTOFF_READY_FILE%\"",
    );
    world.publish("1.1.0", &running("1.1.0", ready.0, ready.1));
    let status = start(&world).wait().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!on_trial(&world), "it ended too early");
    world.write("end", "");
}

#[test]
fn who_clicks_again_while_it_runs_unconfirmed_gets_it_again() {
    let world = installed("confirm = \"ready\"\nconfirm_within = 1\nattempts = 1");
    world.publish("1.1.0", &running("1.1.0", "", ""));
    let mut first = start(&world);
    until("it is given up", || {
        world.log().contains("runs and is not confirmed")
    });
    let mut second = start(&world);
    until("it runs twice", || starts(&world) == 2);
    world.write("end", "");
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_eq!(second.wait().unwrap().code(), Some(0));
    world.run(&[]).assert_app("1.0.0");
}

#[test]
fn two_launchers_at_once_go_back_once() {
    let world = installed("");
    world.publish("1.1.0", &with_entry("1.1.0", dying()));
    world.run(&["--castoff", "update"]);
    let runs: Vec<Run> = std::thread::scope(|scope| {
        let starts = [(); 2].map(|()| scope.spawn(|| world.run(&[])));
        starts.map(|start| start.join().unwrap()).into()
    });
    for run in runs {
        run.assert_app("1.0.0");
    }
    assert_eq!(world.state()["bad"].as_array().unwrap().len(), 1);
    world.assert_tidy();
}

#[test]
fn a_first_install_that_fails_keeps_being_started() {
    let world = World::new();
    let dying = dying_after(
        "echo 1.1.0 >> starts; [ -e mended ] && exit 0",
        "echo 1.1.0>>starts\r\n@if exist mended exit 0",
    );
    world.publish("1.0.0", &with_entry("1.0.0", dying));
    for expected in [2, 3, 4] {
        let run = world.run(&[]);
        run.assert_told("TRIAL_FAILED");
        assert_eq!(starts(&world), expected);
        assert_eq!(world.state()["bad"], json!([]));
    }
    world.write("mended", "");
    assert_eq!(world.run(&[]).code, Some(0));
    assert!(!on_trial(&world));
}

/// An app that dies while there is a file `broken`.
fn fragile(version: &str) -> Package {
    let dies = if cfg!(windows) {
        "exit -1073741819"
    } else {
        "kill -SEGV $$"
    };
    scripted(
        version,
        &format!("[ -e broken ] && {dies}\necho \"app {version} \""),
        &format!("if exist broken {dies}\r\necho app {version} "),
    )
}

#[test]
fn an_old_version_that_fails_alike_clears_the_mark_of_the_new_one() {
    let world = installed_as(&fragile("1.0.0"), "");
    world.publish("1.1.0", &fragile("1.1.0"));
    world.write("broken", "");
    let run = world.run(&[]);
    run.assert_told("TRIAL_FAILED");
    assert_ne!(run.code, Some(0), "the old version died: {run:?}");
    assert_eq!(world.version(), "1.0.0");
    assert_eq!(world.state()["bad"], json!([]));
    assert!(world.log().contains("the version before fails too"));
    std::fs::remove_file(world.path("broken")).unwrap();
    world.run(&[]).assert_app("1.1.0");
    assert!(!on_trial(&world));
}

#[test]
fn an_old_version_that_cannot_be_started_either_clears_the_mark_too() {
    let world = installed("");
    // What runs Python is gone, for both.
    for version in ["1.1.0", "1.2.0"] {
        let package = app(version).file("main.py", version.as_bytes());
        let mut answer = World::answer(&world.publish(version, &package), version);
        answer["entry_point"] = "main.py".into();
        world.announce(&answer);
        let more = if version == "1.1.0" {
            "confirm = \"none\""
        } else {
            ""
        };
        world.configure(&format!("[run]\npython = \"no-such-python\"\n{more}"));
        world.run(&["--castoff", "update"]);
    }
    let run = world.run(&[]);
    run.assert_told("INTERPRETER_MISSING");
    assert_eq!(run.code, Some(72));
    assert_eq!(world.version(), "1.1.0");
    assert_eq!(world.state()["bad"], json!([]));
}

#[test]
fn an_old_version_that_proves_nothing_is_watched_until_it_does() {
    let world = installed_as(&fragile("1.0.0"), "ok_codes = []");
    world.publish("1.1.0", &with_entry("1.1.0", dying()));
    // Killed when the new one is marked: the watch is the next launch's.
    world.run_failing("undo.versioned=kill").assert_killed();
    assert_ne!(world.state()["back_from"], Value::Null);
    world.run(&[]).assert_app("1.0.0");
    assert_eq!(world.state()["back_from"], Value::Null);
    assert_eq!(world.state()["bad"][0]["version"], "1.1.0");
    // From here on its crash is its own.
    world.write("broken", "");
    assert_ne!(world.run(&[]).code, Some(0));
    assert_eq!(world.state()["bad"][0]["version"], "1.1.0");
}

#[test]
fn retry_clears_marks_and_says_which() {
    let world = installed("");
    world.publish("1.1.0", &with_entry("1.1.0", dying()));
    world.run(&[]).assert_app("1.0.0");
    let retry = |args: &[&str]| {
        let all = [&["--castoff", "retry"], args].concat();
        let run = world.run(&all);
        assert_eq!(run.code, Some(0), "{run:?}");
        run.stdout
    };
    assert!(retry(&["9.9.9"]).contains("Nothing is left out"));
    assert_eq!(world.state()["bad"][0]["version"], "1.1.0");
    let told: Value = serde_json::from_str(&retry(&["--json"])).unwrap();
    assert_eq!(told, json!({"outcome": "retry", "versions": ["1.1.0"]}));
    assert!(retry(&[]).contains("Nothing is left out"));
    // It is tried again, and fails again.
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("TRIAL_FAILED");
    assert!(retry(&["1.1.0"]).contains("Test App 1.1.0"));
    assert_eq!(world.state()["bad"], json!([]));
}

#[test]
fn retry_does_not_wait_for_a_package_that_failed_its_checks_which_is_no_bad_version() {
    let world = installed("");
    let built = app("1.1.0").build();
    let mut answer = World::answer(&built, "1.1.0");
    answer["file_hash"] = "0".repeat(64).into();
    world.announce(&answer);
    world.media("1.1.0", Reply::file(&built.bytes));
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("HASH_MISMATCH");
    assert_eq!(world.state()["bad"], json!([]));
    assert!(!on_trial(&world));
    world.run(&[]).assert_app("1.0.0");
    assert_eq!(world.state()["last"]["outcome"], "BACKING_OFF");
    assert!(world.run(&["--castoff", "retry"]).stdout.contains("1.1.0"));
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("HASH_MISMATCH");
}

#[test]
fn retry_where_nothing_is_installed_makes_nothing() {
    let world = World::new();
    let run = world.run(&["--castoff", "retry"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(!world.client().exists());
}

#[cfg(unix)]
mod asked_to_end {
    use super::*;

    /// An app that crashes when it is asked to end. It makes a file `set` when it would.
    fn crashing(signal: &str) -> Package {
        let trap = format!("ulimit -c 0; trap 'kill -SEGV $$' {signal}; > set");
        running("1.1.0", &trap, "")
    }

    fn assert_no_failure(world: &World) {
        until("it is written", || world.state()["trial"]["tries"] == 0);
        assert_eq!(world.version(), "1.1.0");
        assert_eq!(world.state()["bad"], json!([]));
        assert_eq!(starts(world), 1, "it was started again");
    }

    #[test]
    fn a_crash_at_an_end_that_somebody_asked_for_is_no_failure() {
        for signal in ["TERM", "INT", "HUP", "QUIT"] {
            let world = installed("trial = 600");
            world.publish("1.1.0", &crashing(signal));
            let mut launcher = start(&world);
            until("it runs", || world.path("set").exists());
            let id = launcher.id().to_string();
            let sent = std::process::Command::new("kill")
                .args(["-s", signal, &id])
                .status();
            assert!(sent.unwrap().success());
            assert!(!launcher.wait().unwrap().success());
            assert_no_failure(&world);
        }
    }

    #[test]
    fn a_crash_at_a_control_c_is_no_failure() {
        let python = std::process::Command::new("python3").arg("-V").output();
        if !python.is_ok_and(|output| output.status.success()) {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "not tried: there is no python3");
            return;
        }
        // The driver is the terminal. It reads what the launcher says, so that nothing is held up.
        let driver = "import os, pty, sys, threading, time\n\
            pid, terminal = pty.fork()\n\
            if pid == 0:\n\
            \x20   os.execv(sys.argv[1], sys.argv[1:2])\n\
            def read():\n\
            \x20   try:\n\
            \x20       while os.read(terminal, 1000): pass\n\
            \x20   except OSError: pass\n\
            threading.Thread(target=read, daemon=True).start()\n\
            for x in range(6000):\n\
            \x20   if os.path.exists(sys.argv[2]): break\n\
            \x20   time.sleep(0.01)\n\
            os.write(terminal, b'\\x03')\n\
            os.waitpid(pid, 0)\n";
        let world = installed("trial = 600");
        world.publish("1.1.0", &crashing("INT"));
        let mut command = std::process::Command::new("python3");
        command
            .args(["-c", driver])
            .arg(world.launcher())
            .arg(world.path("set"));
        crate::world::isolate(&mut command, &world.home().join("user"));
        assert!(command.status().unwrap().success());
        assert_no_failure(&world);
    }

    #[test]
    fn an_app_that_is_ended_by_somebody_has_not_failed() {
        // The app itself is sent the signal, not the launcher.
        let world = installed("trial = 600");
        world.publish("1.1.0", &running("1.1.0", "echo $$ > pid", ""));
        let mut launcher = start(&world);
        until("it runs", || world.read("pid").ends_with('\n'));
        let pid = world.read("pid");
        let sent = std::process::Command::new("kill")
            .args(["-s", "KILL", pid.trim()])
            .status();
        assert!(sent.unwrap().success());
        assert!(!launcher.wait().unwrap().success());
        assert_no_failure(&world);
    }
}
