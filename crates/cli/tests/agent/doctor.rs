//! `castoff agent doctor`: a device that is well, and each of its ailments.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::world::World;

/// A device with two versions, a factory version and links, whose updater runs.
fn device() -> World {
    let mut world = World::with("snapshot.bin_dir = \"../bin\"", "");
    world.name_services();
    world.start();
    world.bring("1.0.0");
    for arguments in [&["factory", "set"], &["links", "setup"]] {
        let done = world.command(arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    world.bring("1.1.0");
    let address = world.address().to_owned();
    world.listen_at(&address);
    world
}

/// Whether it is healthy, and the findings that are none of `ok`.
fn examine(world: &World) -> (bool, Vec<Value>) {
    let output = world.command(&["agent", "doctor", "--json"]).output();
    let output = output.unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    let count = |level: &str| {
        let of = findings.iter().filter(|it| it["level"] == level);
        of.count()
    };
    assert_eq!(document["faults"], count("fault"));
    assert_eq!(output.status.success(), count("fault") == 0);
    let bad = findings.iter().filter(|it| it["level"] != "ok").cloned();
    (output.status.success(), bad.collect())
}

#[track_caller]
fn assert_fault(world: &World, name: &str) {
    let (healthy, findings) = examine(world);
    assert!(!healthy, "{name} is not seen");
    let fault = findings.iter().find(|it| it["level"] == "fault").unwrap();
    assert_eq!(fault["name"], name, "{findings:?}");
    assert!(fault["advice"].is_string(), "{fault}");
}

#[test]
fn a_good_device_is_told_to_be_good() {
    let world = device();
    let (healthy, findings) = examine(&world);
    assert!(healthy, "{findings:?}");
    // Nothing is signed here, and no systemd runs this updater.
    let names: Vec<_> = findings.iter().map(|it| it["name"].as_str()).collect();
    let known = [Some("service castoff-agent"), Some("keys"), Some("access")];
    assert!(
        names.iter().all(|name| known.contains(name)),
        "{findings:?}"
    );

    let table = world.command(&["agent", "doctor"]).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.lines().any(|line| line.starts_with("ok ")), "{table}");
    let mut chinese = world.command(&["agent", "doctor"]);
    let chinese = chinese.env("CASTOFF_LANGUAGE", "zh-CN").output().unwrap();
    let chinese = String::from_utf8(chinese.stdout).unwrap();
    assert!(chinese.contains("正常"), "{chinese}");
    assert_eq!(chinese.lines().count(), table.lines().count());
}

#[test]
fn every_ailment_is_seen() {
    let mut world = device();
    let versions = world.opt().join("versions");

    let current = versions.join("current");
    let target = fs::read_link(&current).unwrap();
    fs::remove_file(&current).unwrap();
    assert_fault(&world, "link current");
    std::os::unix::fs::symlink("v9.9.9", &current).unwrap();
    assert_fault(&world, "link current");
    fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink(target, &current).unwrap();

    let factory = versions.join("v1.0.0/bin/worker");
    let mode = fs::metadata(&factory).unwrap().permissions();
    fs::set_permissions(&factory, Permissions::from_mode(0o755)).unwrap();
    assert_fault(&world, "factory");
    fs::set_permissions(&factory, Permissions::from_mode(0o444)).unwrap();
    let (healthy, findings) = examine(&world);
    assert!(healthy, "{findings:?}");
    let lame = |it: &Value| it["name"] == "factory programs" && it["level"] == "warning";
    assert!(findings.iter().any(lame), "{findings:?}");
    fs::set_permissions(&factory, mode).unwrap();

    let worker = world.home().join("run/worker");
    fs::write(&worker, "inactive").unwrap();
    assert_fault(&world, "service worker");
    fs::write(&worker, "active").unwrap();
    world.faults(&["unknown worker any"]);
    assert_fault(&world, "service worker");
    world.faults(&[]);

    let program = versions.join("v1.1.0/bin/worker");
    let content = fs::read(&program).unwrap();
    fs::write(&program, "something else").unwrap();
    assert_fault(&world, "files");
    fs::write(&program, content).unwrap();

    fs::set_permissions(&program, Permissions::from_mode(0o777)).unwrap();
    assert_fault(&world, "access");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();

    let (healthy, findings) = examine(&world);
    assert!(healthy, "{findings:?}");
    let address = world.address().to_owned();
    world.kill();
    assert_fault(&world, "port");
    // Another program has its port, and says nothing that the updater would say.
    let other = TcpListener::bind(address).unwrap();
    assert_fault(&world, "port");
    drop(other);

    let toml = world.opt().join("agent.toml");
    fs::write(&toml, "listne = 1").unwrap();
    assert_fault(&world, "configuration");
}

#[test]
fn a_token_that_others_can_read_is_none() {
    let mut world = World::with("", "token_file = \"token\"");
    let token = world.opt().join("token");
    fs::write(&token, "0123456789abcdef\n").unwrap();
    fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
    world.start();
    let address = world.address().to_owned();
    world.listen_at(&address);
    let (healthy, findings) = examine(&world);
    assert!(healthy, "{findings:?}");
    fs::set_permissions(&token, Permissions::from_mode(0o644)).unwrap();
    assert_fault(&world, "token");
}
