//! The launcher as a GUI program of Windows: redirected, and in a console with its app.
//!
//! The app is this program, started again to play a part: so is whoever has the console.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::os::windows::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use castoff_testkit::http::{Reply, Server};
use castoff_windows::console;

use crate::world::{CHECK, Run, World};

/// The part that this process plays.
const PART: &str = "WINDOWS_PART";
/// What makes this program play it, also as arguments of the launcher.
const PLAY: [&str; 4] = [
    "--exact",
    "windows::part",
    "--nocapture",
    "--test-threads=1",
];

/// A console without a window.
const NO_WINDOW: u32 = 0x0800_0000;

/// What the other tests start; by itself nothing.
#[test]
fn part() {
    let Ok(part) = env::var(PART) else { return };
    match part.as_str() {
        "app" => {
            console::outlive(|event| {
                drop(writeln!(io::stdout(), "app told {event:?}"));
                // The launcher has to outlive it by more than an instant.
                thread::sleep(Duration::from_millis(300));
                std::process::exit(42);
            })
            .unwrap();
            fs::write("ready", "").unwrap();
            // It is ended from outside, and does not stay if that fails.
            thread::sleep(Duration::from_mins(1));
            std::process::exit(1);
        }
        "director" => {
            console::outlive(|_| {}).unwrap();
            let mut launcher = Command::new(env::var_os("LAUNCHER").unwrap())
                .args(PLAY)
                .env(PART, "app")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            // Whoever directs says when.
            io::stdin().read_to_end(&mut Vec::new()).unwrap();
            console::interrupt().unwrap();
            let mut said = String::new();
            let stdout = launcher.stdout.as_mut().unwrap();
            stdout.read_to_string(&mut said).unwrap();
            drop(write!(io::stdout(), "{said}"));
            std::process::exit(launcher.wait().unwrap().code().unwrap());
        }
        other => panic!("no part {other}"),
    }
}

/// A world in which this program is installed as the app, and nothing new is offered.
fn installed() -> World {
    let world = World::new();
    let own = env::current_exe().unwrap();
    fs::create_dir_all(world.client()).unwrap();
    // The same file under another name, or a copy: it is large.
    fs::hard_link(&own, world.path("app.exe"))
        .or_else(|_| fs::copy(&own, world.path("app.exe")).map(|_| ()))
        .unwrap();
    world.write("local_version.json", "{\"version\": \"1.0.0\"}");
    world.announce(&serde_json::json!({
        "version": "1.0.0", "file": "/media/1.0.0.zip", "entry_point": "app.exe",
        "file_size": 1, "file_hash": "0".repeat(64),
    }));
    let text = fs::read_to_string(world.home().join("launcher.toml")).unwrap();
    let text = format!("entry_point = \"app.exe\"\nlog_level = \"debug\"\n{text}");
    fs::write(world.home().join("launcher.toml"), text).unwrap();
    world
}

#[test]
fn what_is_redirected_gets_the_messages_in_utf_8_and_the_exit_code() {
    let world = World::new();
    world.server.unroute(CHECK);
    let run = Run::of(world.command(&[]).env("CASTOFF_LANGUAGE", "zh-CN"));
    assert_eq!(run.code, Some(69), "{run:?}");
    run.assert_told("NOT_INSTALLED");
    assert!(run.stderr.contains("\u{8fd8}\u{6ca1}\u{6709}"), "{run:?}");

    let run = world.run(&["--castoff", "version"]);
    assert_eq!(run.code, Some(0));
    assert!(run.stdout.starts_with("castoff "), "{run:?}");
}

/// Starts the launcher in a console of its own, and presses Ctrl+C there when it is time.
fn interrupted(world: &World, is_time: impl Fn() -> bool) -> Output {
    let mut director = Command::new(env::current_exe().unwrap());
    director
        .args(PLAY)
        .env(PART, "director")
        .env("LAUNCHER", world.launcher())
        .creation_flags(NO_WINDOW)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut director = director.spawn().unwrap();
    let end = Instant::now() + Duration::from_mins(1);
    while !is_time() {
        assert!(Instant::now() < end, "it is never time: {}", world.log());
        thread::sleep(Duration::from_millis(20));
    }
    drop(director.stdin.take());
    director.wait_with_output().unwrap()
}

#[test]
fn control_c_reaches_the_app_and_its_exit_code_is_passed_on() {
    let world = installed();
    let run = interrupted(&world, || world.path("ready").exists());
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.contains("app told Interrupt"), "{run:?}");
    assert_eq!(run.status.code(), Some(42), "{run:?}\n{}", world.log());
    assert!(
        world.log().contains("from the console: Interrupt"),
        "{}",
        world.log()
    );
}

#[test]
fn control_c_ends_a_launcher_that_has_no_app_yet() {
    let world = World::new();
    world
        .server
        .route(CHECK, Reply::json("{}").delay(Duration::from_mins(10)));
    let run = interrupted(&world, || !world.server.requests().is_empty());
    assert_ne!(run.status.code(), Some(69), "it has waited: {run:?}");
    assert_eq!(world.log(), "", "{run:?}");
}

#[test]
fn the_folder_of_a_user_with_an_awkward_name() {
    let parent = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = parent.path().join("O'Brien & 小明 ^(x) ;=!");
    fs::create_dir(&folder).unwrap();
    let world = World::inside(&folder, Server::start(), "");
    for version in ["1.0.0", "1.1.0"] {
        world.publish_app(version);
        let run = world.run(&["a&b", "c ^d", "小明"]);
        run.assert_app(version);
        assert!(run.stdout.contains("args: \"a&b\" \"c ^d\""), "{run:?}");
    }
}
