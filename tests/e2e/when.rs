//! When updates are looked for, and which are taken: modes, interval, skip, pin, critical releases,
//! rollout, metered connections.

use std::fs::{self, File};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use castoff_testkit::http::{Reply, Server};
use serde_json::{Value, json};

use crate::world::{CHECK, Run, World, app};

#[track_caller]
fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    castoff_testkit::until(condition, || what);
}

/// Waits until no worker is left.
#[track_caller]
fn settle(world: &World) {
    #[cfg(target_os = "linux")]
    wait_until("the end of the worker", || {
        let home = fs::canonicalize(world.home()).unwrap();
        !fs::read_dir("/proc").unwrap().flatten().any(|process| {
            fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe.starts_with(&home))
        })
    });
    #[cfg(not(target_os = "linux"))]
    {
        // A process that was just started may not have come to its lock.
        std::thread::sleep(Duration::from_secs(2));
        let lock = world.path(".castoff/fetch.lock");
        wait_until("the end of the worker", || {
            File::open(&lock).is_ok_and(|lock| lock.try_lock().is_ok())
        });
    }
}

/// A world with 1.0.0 installed, of that configuration from then on.
fn installed(config: &str) -> World {
    let world = World::new();
    world.update_to("1.0.0");
    // On trial until here.
    world.run(&[]).assert_app("1.0.0");
    world.configure(config);
    world
}

/// What a running app holds.
fn running(world: &World) -> File {
    let lock = File::open(world.path(".castoff/run.lock")).unwrap();
    lock.lock_shared().unwrap();
    lock
}

/// Publishes a version with more in its answer.
fn publish(world: &World, version: &str, more: &[(&str, Value)]) {
    let built = world.publish_app(version);
    let mut answer = World::answer(&built, version);
    for (name, value) in more {
        answer[*name] = value.clone();
    }
    world.announce(&answer);
}

fn checks(world: &World) -> usize {
    let requests = world.server.requests();
    requests
        .iter()
        .filter(|request| request.path() == CHECK)
        .count()
}

fn pending(world: &World) -> bool {
    world.state()["pending"]["version"] == "1.1.0"
}

/// Makes the launcher forget when it has last asked.
fn forget_asking(world: &World) {
    change_state(world, |state| drop(state.remove("asked")));
}

fn change_state(world: &World, change: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let mut state = world.state();
    change(state.as_object_mut().unwrap());
    world.write(".castoff/state.json", &state.to_string());
}

#[test]
fn in_the_background_the_app_starts_at_once_and_the_next_start_installs_without_a_server() {
    let mut world = installed("stall_timeout = 8\n[update]\nwhen = \"background\"");
    publish(&world, "1.1.0", &[]);
    let built = app("1.1.0").build();
    world.media("1.1.0", Reply::file(&built.bytes).stall_after(200));
    // The pipes of a start end with the app: the worker keeps none of them.
    world.run(&["a"]).assert_app("1.0.0");
    wait_until("a part of the package", || {
        fs::read_dir(world.path(".castoff/downloads")).is_ok_and(|mut files| files.next().is_some())
    });
    // While it downloads: at once, and with a second worker, which ends.
    let run = world.run(&["b"]);
    run.assert_app("1.0.0");
    assert_eq!(run.stderr, "", "nothing is said");
    world.media("1.1.0", Reply::file(&built.bytes));
    // The stalled download is tried again; if it has given up, the next start begins anew.
    let mut next = Instant::now() + Duration::from_secs(25);
    wait_until("a release that waits", || {
        if Instant::now() > next && !pending(&world) {
            next += Duration::from_secs(25);
            world.run(&[]);
        }
        pending(&world) || world.version() == "1.1.0"
    });
    settle(&world);
    world.server = Arc::new(Server::start());
    let run = world.run(&[]);
    run.assert_app("1.1.0");
    assert_eq!(world.version(), "1.1.0");
    settle(&world);
    world.assert_tidy();
    assert!(world.state()["pending"].is_null());
}

#[test]
fn the_first_installation_in_the_background_is_one_before_the_start() {
    let world = World::with("[update]\nwhen = \"background\"");
    world.update_to("1.0.0");
    settle(&world);
}

#[test]
fn what_waits_and_is_damaged_or_gone_is_no_hindrance() {
    let world = installed("[update]\nwhen = \"manual\"");
    publish(&world, "1.1.0", &[]);
    for damage in [true, false] {
        let lock = running(&world);
        world.run(&["--castoff", "update"]);
        assert!(pending(&world), "{}", world.log());
        drop(lock);
        for file in fs::read_dir(world.path(".castoff/downloads")).unwrap() {
            let path = file.unwrap().path();
            if damage {
                let mut bytes = fs::read(&path).unwrap();
                bytes[50] ^= 1;
                fs::write(&path, bytes).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
        }
        let before = world.server.requests().len();
        world.run(&[]).assert_app("1.0.0");
        assert!(!pending(&world));
        assert_eq!(world.server.requests().len(), before);
    }
}

#[test]
fn manual_asks_nobody_and_installs_what_was_fetched_while_the_app_ran() {
    let world = installed("[update]\nwhen = \"manual\"\nskip = [\"3.0\"]");
    publish(&world, "1.1.0", &[]);
    let before = world.server.requests().len();
    world.run(&[]).assert_app("1.0.0");
    assert_eq!(world.server.requests().len(), before);
    let lock = running(&world);
    assert_eq!(world.run(&["--castoff", "update"]).code, Some(0));
    assert!(pending(&world));
    let doctor = world.run(&["--castoff", "doctor", "--json"]);
    let told: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let updates = &told["updates"];
    assert_eq!(updates["when"], "manual", "{updates}");
    assert_eq!(updates["waiting"], "1.1.0", "{updates}");
    assert_eq!(updates["skip"], json!(["3.0"]), "{updates}");
    assert!(updates["last_check"]["at"].is_string(), "{updates}");
    drop(lock);
    let before = world.server.requests().len();
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.server.requests().len(), before);
}

#[test]
fn within_the_interval_nobody_is_asked_but_by_a_person() {
    let world = installed("[update]\ninterval = 3600");
    publish(&world, "1.1.0", &[]);
    let before = checks(&world);
    world.run(&[]).assert_app("1.0.0");
    let check = world.run(&["--castoff", "check"]);
    assert!(check.stdout.contains("1.0.0"), "{check:?}");
    assert!(check.stdout.contains("minutes ago"), "{check:?}");
    assert_eq!(checks(&world), before);
    let check = world.run(&["--castoff", "check", "--force"]);
    assert!(check.stdout.contains("1.1.0"), "{check:?}");
    assert_eq!(checks(&world), before + 1);
    let check = world.run(&["--castoff", "check", "--json"]);
    let told: Value = serde_json::from_str(&check.stdout).unwrap();
    assert_eq!(told["offered"], "1.1.0", "{told}");
    assert!(told["kept_from"].is_string(), "{told}");
    assert_eq!(checks(&world), before + 1);
    // Still within it.
    world.run(&[]).assert_app("1.0.0");
    assert_eq!(checks(&world), before + 1);
    // A clock that was set back.
    change_state(&world, |state| {
        state["asked"]["at"] = "2999-01-01T00:00:00Z".into();
    });
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(checks(&world), before + 2);
    publish(&world, "1.2.0", &[]);
    world.run(&["--castoff", "update"]);
    assert_eq!(
        (world.version(), checks(&world)),
        ("1.2.0".into(), before + 3)
    );
}

#[test]
fn a_dead_server_costs_a_start_its_time_once() {
    let world = installed("[update]\ninterval = 3600");
    forget_asking(&world);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            held.push(stream);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let start = || {
        let begun = Instant::now();
        let mut command = world.command(&[]);
        command
            .env("CASTOFF_SOURCE_URL", &url)
            .env("CASTOFF_NETWORK_CHECK_TIMEOUT", "2");
        let run = Run::of(&mut command);
        run.assert_app("1.0.0");
        (run, begun.elapsed())
    };
    let (run, took) = start();
    run.assert_told("SOURCE_UNREACHABLE");
    assert!(took < Duration::from_secs(40), "{took:?}");
    let connections = count.load(Ordering::SeqCst);
    assert!(connections >= 1);
    let (run, _) = start();
    assert_eq!(run.stderr, "");
    assert_eq!(count.load(Ordering::SeqCst), connections);
    assert_eq!(world.state()["asked"]["error"], "SOURCE_UNREACHABLE");
}

/// Starts quietly, and tells who asks, also with `--force`.
#[track_caller]
fn refused(world: &World, code: &str) {
    let run = world.run(&[]);
    run.assert_app("1.0.0");
    assert_eq!(run.stderr, "", "quiet");
    assert!(world.log().contains(code));
    let check = world.run(&["--castoff", "check"]);
    assert!(check.stdout.contains(code), "{check:?}");
    let update = world.run(&["--castoff", "update"]);
    update.assert_told(code);
    assert_eq!(update.code, Some(69));
}

#[test]
fn what_is_skipped_or_not_the_pinned_version_is_refused() {
    let world = installed("[update]\nskip = [\"1.1\"]");
    publish(&world, "1.1.0", &[]);
    for (config, code) in [
        ("[update]\nskip = [\"1.1\"]", "VERSION_SKIPPED"),
        ("[update]\npin = \"1.0.0\"", "VERSION_PINNED"),
    ] {
        world.configure(config);
        refused(&world, code);
        world
            .run(&["--castoff", "update", "--force"])
            .assert_told(code);
    }
    world.configure("[update]\npin = \"1.1.0\"\nskip = [\"1.0\"]");
    world.run(&[]).assert_app("1.1.0");
}

#[test]
fn a_critical_release_that_is_known_overrides_manual_interval_and_skip() {
    let config = "[update]\nwhen = \"manual\"\ninterval = 3600\nskip = [\"1.1\"]";
    let world = installed(config);
    publish(&world, "1.1.0", &[("critical_below", json!("1.0.5"))]);
    // Nobody knows.
    world.run(&[]).assert_app("1.0.0");
    let check = world.run(&["--castoff", "check", "--force"]);
    assert!(check.stdout.contains("closes a hole"), "{check:?}");
    // It cannot be had: the app starts, and the person is told.
    world.media("1.1.0", Reply::status(404));
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("HTTP_STATUS");
    // What is quiet of another release is told of this one.
    let mut damaged = app("1.1.0").build().bytes;
    damaged[50] ^= 1;
    world.media("1.1.0", Reply::file(&damaged));
    for code in ["HASH_MISMATCH", "BACKING_OFF"] {
        world.run(&[]).assert_app("1.0.0").assert_told(code);
    }
    world.run(&["--castoff", "retry"]);
    world.media("1.1.0", Reply::file(&app("1.1.0").build().bytes));
    world.run(&[]).assert_app("1.1.0");
    let before = checks(&world);
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(checks(&world), before);
}

#[test]
fn an_unsafe_version_is_not_started_where_a_fixed_one_waits_and_that_is_configured() {
    let world = installed("[update]\nwhen = \"manual\"\nblock_critical = true");
    publish(&world, "1.1.0", &[("critical_below", json!("1.1.0"))]);
    world.run(&["--castoff", "check"]);
    let lock = running(&world);
    let run = world.run(&[]);
    run.assert_told("CRITICAL_BLOCKED");
    assert_eq!((run.code, &*run.stdout), (Some(69), ""));
    assert!(pending(&world));
    world.configure("[update]\nwhen = \"manual\"");
    world.run(&[]).assert_app("1.0.0");
    drop(lock);
    world.configure("[update]\nwhen = \"manual\"\nblock_critical = true");
    world.run(&[]).assert_app("1.1.0");
}

#[test]
fn what_would_not_be_installed_keeps_nobody_from_the_app() {
    let config = "[update]\nwhen = \"manual\"\nblock_critical = true";
    let world = installed(config);
    publish(&world, "1.1.0", &[("critical_below", json!("1.1.0"))]);
    let _lock = running(&world);
    world.run(&["--castoff", "update"]);
    assert!(pending(&world));
    world.run(&[]).assert_told("CRITICAL_BLOCKED");
    // It has failed here.
    change_state(&world, |state| {
        let package = state["pending"]["package"]["sha256"].clone();
        state["bad"] = json!([{"version": "1.1.0", "digest": package, "why": "a reason"}]);
    });
    let run = world.run(&[]);
    run.assert_app("1.0.0").assert_told("BAD_VERSION");
}

#[test]
fn a_critical_release_that_another_fetches_is_waited_for() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let world = installed("");
    publish(&world, "1.1.0", &[("critical_below", json!("1.1.0"))]);
    let lock = File::create(world.path(".castoff/fetch.lock")).unwrap();
    lock.lock().unwrap();
    let mut command = world.command(&[]);
    let mut child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let waits = |line: &str| line.contains("Waiting for a download that is under way");
    assert!(lines.any(|line| waits(&line.unwrap())));
    drop(lock);
    assert!(lines.any(|line| line.unwrap().contains("updated from 1.0.0 to 1.1.0")));
    lines.for_each(drop);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(world.version(), "1.1.0");
}

#[test]
fn what_waits_is_installed_where_something_newer_is_refused() {
    for (more, config) in [
        (("rollout", json!(0)), ""),
        (("notes", json!("")), "[update]\nskip = [\"1.2\"]"),
        (("notes", json!("")), "[update]\npin = \"1.1\""),
    ] {
        let world = installed(config);
        publish(&world, "1.1.0", &[]);
        let lock = running(&world);
        world.run(&[]).assert_app("1.0.0");
        assert!(pending(&world));
        publish(&world, "1.2.0", &[more]);
        world.run(&[]).assert_app("1.0.0");
        assert!(pending(&world), "it still waits");
        drop(lock);
        world.run(&[]).assert_app("1.1.0");
    }
}

#[test]
fn a_rollout_of_nobody_reaches_first_installations_and_those_who_force_it() {
    let world = installed("");
    publish(&world, "1.1.0", &[("rollout", json!(0))]);
    refused(&world, "ROLLOUT_PENDING");
    let lot = world.state()["lot"].clone();
    assert!(lot.is_u64());
    let update = world.run(&["--castoff", "update", "--force"]);
    assert_eq!((update.code, world.version()), (Some(0), "1.1.0".into()));
    publish(&world, "1.2.0", &[("rollout", json!(100))]);
    world.run(&[]).assert_app("1.2.0");
    assert_eq!(world.state()["lot"], lot, "the number stays");

    let first = World::new();
    publish(&first, "1.0.0", &[("rollout", json!(0))]);
    first.run(&[]).assert_app("1.0.0");
}

#[cfg(target_os = "linux")]
#[test]
fn large_packages_wait_for_another_connection() {
    use std::os::unix::fs::PermissionsExt;

    let world = installed("[update]\nmetered_limit = 100");
    publish(&world, "1.1.0", &[]);
    let tools = world.home().join("tools");
    fs::create_dir(&tools).unwrap();
    let path = format!("{}:/usr/bin:/bin", tools.display());
    let busctl = |text: &str| {
        // Written by another process: one that runs it must not find it open for writing.
        let file = tools.join("busctl");
        let written = std::process::Command::new("sh")
            .args(["-c", "printf '%s' \"$1\" >\"$0\""])
            .args([file.as_os_str(), format!("#!/bin/sh\n{text}\n").as_ref()])
            .status();
        assert!(written.unwrap().success());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let run = |args: &[&str]| Run::of(world.command(args).env("PATH", &path));
    busctl("echo \"$*\" >>\"${0%/*}/asked\"; echo 'u 1'");
    let put_off = run(&[]);
    put_off.assert_app("1.0.0");
    assert_eq!(put_off.stderr, "");
    assert!(world.log().contains("METERED_CONNECTION"));
    let asked = fs::read_to_string(tools.join("asked")).unwrap();
    assert!(
        asked.contains("org.freedesktop.NetworkManager Metered"),
        "{asked}"
    );
    run(&["--castoff", "update"]).assert_told("METERED_CONNECTION");
    let doctor = run(&["--castoff", "doctor", "--json"]);
    let told: Value = serde_json::from_str(&doctor.stdout).unwrap();
    assert_eq!(told["updates"]["metered"], true, "{told}");
    run(&["--castoff", "update", "--force"]);
    assert_eq!(world.version(), "1.1.0");
    // It does not answer: left alone after a second, and ended.
    publish(&world, "1.2.0", &[]);
    busctl("exec sleep 600");
    run(&[]).assert_app("1.2.0");
    publish(&world, "1.3.0", &[]);
    busctl("echo 'u 2'");
    run(&[]).assert_app("1.3.0");
    publish(&world, "1.4.0", &[("critical_below", json!("1.4.0"))]);
    busctl("echo 'u 3'");
    run(&[]).assert_app("1.4.0");
}
