//! How the app is started: arguments, exit code, environment, folder, signals, places.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use castoff_testkit::package::Package;

use crate::world::{CHECK, Run, World, app};

fn installed(script: &str) -> World {
    let world = World::new();
    world.publish(
        "1.0.0",
        &Package::new("1.0.0")
            .executable("run.sh", script.as_bytes())
            .list(),
    );
    world
}

#[test]
fn arguments_folder_environment_and_exit_code_are_passed_on() {
    let world = installed(
        "#!/bin/sh\nprintf '<%s>' \"$@\"\necho\npwd\necho \"$CASTOFF_VERSION|$CASTOFF_LAUNCHER|$CASTOFF_CWD|$CASTOFF_NETWORK_RETRIES|\"\nexit 42\n",
    );
    let args = [
        "a b",
        "\"q\"",
        "'",
        "%PATH%",
        "$(id)",
        "`id`",
        "\u{4f60}\u{597d}",
        "new\nline",
        "",
        "--castoff",
    ];
    // On trial the first time, taken over by the app the second time.
    for _ in 0..2 {
        let run = Run::of(world.command(&args).env("CASTOFF_NETWORK_RETRIES", "0"));
        assert_eq!(run.code, Some(42), "{run:?}");
        let expected = format!("<{}>", args.join("><"));
        assert!(run.stdout.starts_with(&expected), "{run:?}");
        let client = fs::canonicalize(world.client()).unwrap();
        assert!(
            run.stdout.contains(&format!("\n{}\n", client.display())),
            "{run:?}"
        );
        assert!(run.stdout.contains("1.0.0|"), "{run:?}");
        assert!(run.stdout.contains("MyApp|"), "{run:?}");
        assert!(
            run.stdout.ends_with("||\n"),
            "configuration is not inherited: {run:?}"
        );
    }
}

#[test]
fn the_app_takes_the_process_over_when_nothing_is_on_trial() {
    let world = installed("#!/bin/sh\necho $$\n");
    world.run(&[]);
    let mut child = world.command(&[]).stdout(Stdio::piped()).spawn().unwrap();
    let pid = child.id().to_string();
    let line = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(line, pid);
    child.wait().unwrap();
}

#[test]
fn signals_reach_an_app_on_trial_and_its_end_is_passed_on() {
    let world = installed(
        "#!/bin/sh\ntrap 'echo got term; exit 7' TERM\necho ready\nwhile :; do sleep 0.05; done\n",
    );
    let mut child = world.command(&[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let status = std::process::Command::new("kill")
        .arg("-TERM")
        .arg(child.id().to_string())
        .status();
    assert!(status.unwrap().success());
    assert_eq!(lines.next().unwrap().unwrap(), "got term");
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

#[test]
fn an_app_that_is_killed_by_a_signal_looks_so_from_outside() {
    let world = installed("#!/bin/sh\nkill -TERM $$\n");
    for _ in 0..2 {
        let status = world.command(&[]).status().unwrap();
        assert_eq!(status.signal(), Some(15), "{status:?}");
    }
}

#[test]
fn offline_the_installed_app_starts_and_a_first_install_says_what_is_missing() {
    let world = installed("#!/bin/sh\necho \"app 1.0.0 $*\"\n");
    let nothing = World::new();
    let url = nothing.server.url(CHECK);
    let text = fs::read_to_string(nothing.home().join("launcher.toml")).unwrap();
    let closed = "http://127.0.0.1:1/";
    fs::write(
        nothing.home().join("launcher.toml"),
        text.replace(&url, closed),
    )
    .unwrap();
    let run = nothing.run(&[]);
    run.assert_told("NOT_INSTALLED")
        .assert_told("SOURCE_UNREACHABLE");
    assert_eq!(run.code, Some(69));

    world.run(&[]).assert_app("1.0.0");
    let offline = Run::of(world.command(&[]).env("CASTOFF_SOURCE_URL", closed));
    offline
        .assert_app("1.0.0")
        .assert_told("SOURCE_UNREACHABLE");
}

#[test]
fn without_waiting_the_launcher_ends_and_the_app_goes_on() {
    let world = World::with("[run]\nwait = false\ntrial = 1");
    // As long as it is told to, whatever else this machine does; and not for ever.
    let script = "#!/bin/sh\nn=0\nwhile [ ! -e go ] && [ $n -lt 1200 ]; do sleep 0.1; n=$((n+1)); done\n\
                  echo done > done.txt\n";
    world.publish(
        "1.0.0",
        &Package::new("1.0.0")
            .executable("run.sh", script.as_bytes())
            .list(),
    );
    let status = world
        .command(&[])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!world.path("done.txt").exists(), "the app still runs");
    // It holds the lock, although its launcher has ended: nothing is changed under it.
    world.publish("1.1.0", &app("1.1.0"));
    let status = world
        .command(&[])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(
        (status.code(), world.version().as_str()),
        (Some(0), "1.0.0")
    );
    world.write("go", "");
    for _ in 0..400 {
        if world.path("done.txt").exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the app did not go on");
}

#[test]
fn a_python_entry_point_runs_in_the_interpreter_of_its_virtual_environment() {
    let world = World::with("[network.x]");
    world.configure("");
    let python = "#!/bin/sh\necho \"venv python $CASTOFF_VERSION: $*\"\n";
    let package = Package::new("1.0.0")
        .executable(".venv/bin/python", python.as_bytes())
        .file("main.py", b"print('app')\n")
        .list();
    let mut answer = World::answer(&world.publish("1.0.0", &package), "1.0.0");
    answer["entry_point"] = "main.py".into();
    world.announce(&answer);
    let run = world.run(&["x"]);
    assert!(run.stdout.starts_with("venv python 1.0.0: "), "{run:?}");
    assert!(run.stdout.trim_end().ends_with("main.py x"), "{run:?}");
}

#[test]
fn a_folder_with_spaces_quotes_and_chinese_characters_is_no_obstacle() {
    let world = installed("#!/bin/sh\necho \"app 1.0.0 $*\"\n");
    let text = fs::read_to_string(world.home().join("launcher.toml")).unwrap();
    let name = "My \u{5ba2}\u{6237}\u{7aef} 'app' $(x) %PATH%";
    fs::write(
        world.home().join("launcher.toml"),
        format!("client_dir = \"{name}\"\n{text}"),
    )
    .unwrap();
    world.run(&[]).assert_app("1.0.0");
    assert!(world.home().join(name).join("run.sh").exists());
}

#[test]
fn the_log_tells_what_happened_with_time_and_level() {
    let world = installed("#!/bin/sh\necho \"app 1.0.0 $*\"\n");
    world.run(&[]).assert_app("1.0.0");
    let built = app("1.1.0").build();
    let mut answer = World::answer(&built, "1.1.0");
    answer["file_hash"] = "0".repeat(64).into();
    world.announce(&answer);
    world.media("1.1.0", castoff_testkit::http::Reply::file(&built.bytes));
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("HASH_MISMATCH");
    let log = world.log();
    let line = log
        .lines()
        .find(|line| line.contains("HASH_MISMATCH"))
        .unwrap_or_else(|| panic!("{log}"));
    assert!(
        line.starts_with("20") && line.contains('T') && line.contains("WARN"),
        "{line}"
    );
}
