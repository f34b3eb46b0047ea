//! Services that misbehave, and what comes back then.

use std::fs;
use std::os::unix::fs::symlink;

use castoff_testkit::until;
use serde_json::{Value, json};

use crate::world::{Module, World, api, worker};

/// Installs 1.1.0, which fails, and returns the progress.
fn fail(world: &World) -> Value {
    world.fetch("1.1.0", &world.app("1.1.0"));
    world.calls();
    world.install("1.1.0");
    let failed = world.wait_for("failed");
    assert_eq!(failed["code"], 500);
    assert_eq!(failed["stage"], "failed");
    assert_eq!(failed["progress"], 100);
    let msg = format!(
        "Update failed: {}",
        failed["data"]["error"].as_str().unwrap()
    );
    assert_eq!(failed["msg"], msg);
    failed
}

fn error(failed: &Value) -> &str {
    failed["data"]["error"].as_str().unwrap()
}

#[test]
fn a_service_that_fails_in_the_new_version_brings_the_one_before_back() {
    for fault in ["refuses worker v1.1.0", "dies device-api v1.1.0"] {
        let mut world = World::new();
        world.start();
        world.bring("1.0.0");
        world.faults(&[fault]);
        let failed = fail(&world);
        assert!(
            error(&failed).starts_with("DEPLOYMENT_FAILED: "),
            "{failed}"
        );
        assert!(
            error(&failed).ends_with("version 1.0.0 is back"),
            "{failed}"
        );
        assert_eq!(world.link("current").as_deref(), Some("v1.0.0"));
        assert_eq!(world.read("bin/device-api"), "api 1.0.0");
        for service in ["device-api", "worker"] {
            assert_eq!(world.state(service), "active", "{fault}");
        }
        assert_eq!(world.alarm(), None);
        // The package is gone with it, and may be ordered again.
        let answer = world.post("/api/v1.0/update", &json!({"version": "1.1.0"}));
        assert_eq!(
            answer,
            json!({"code": 404, "msg": "Package not found: 1.1.0"})
        );
        world.faults(&[]);
        world.bring("1.1.0");
        assert_eq!(world.link("current").as_deref(), Some("v1.1.0"));
    }
}

#[test]
fn a_service_that_does_not_stop_leaves_everything_as_it_is() {
    for fault in ["stays device-api any", "hang device-api any"] {
        let mut world = World::new();
        world.start();
        world.bring("1.0.0");
        world.faults(&[fault]);
        let failed = fail(&world);
        assert!(
            error(&failed).starts_with("PROCESS_KILL_FAILED: "),
            "{failed}"
        );
        assert_eq!(world.link("current").as_deref(), Some("v1.0.0"));
        assert_eq!(world.link("previous"), None);
        // The package waits on: when the service stops, it can be installed.
        world.faults(&[]);
        world.install("1.1.0");
        world.wait_for("success");
    }
}

#[test]
fn the_factory_version_is_the_second_way_back_and_then_there_is_an_alarm() {
    let mut world = World::new();
    world.start();
    world.bring("0.9.0");
    let set = world.command(&["factory", "set"]).output().unwrap();
    assert!(set.status.success(), "{set:?}");
    world.bring("1.0.0");
    world.faults(&["dies device-api v1.1.0", "dies device-api v1.0.0"]);
    let failed = fail(&world);
    assert!(
        error(&failed).ends_with("version 0.9.0 is back"),
        "{failed}"
    );
    assert_eq!(world.link("current").as_deref(), Some("v0.9.0"));
    assert_eq!(world.state("device-api"), "active");
    let told = world.reports();
    for text in [
        "Rolling back to the version before...",
        "Rolling back to the factory version...",
    ] {
        assert!(told.iter().any(|it| it["message"] == text), "{text}");
    }

    world.faults(&["dies device-api any"]);
    let failed = fail(&world);
    assert!(error(&failed).contains("no version runs"), "{failed}");
    assert!(world.alarm().unwrap().contains("device-api"));
    // What does not run stands still.
    assert_eq!(world.state("worker"), "inactive");
}

#[test]
fn a_service_that_nobody_knows_ends_an_installation_before_anything_stops() {
    let mut world = World::new();
    world.start();
    world.bring("1.0.0");
    world.faults(&["unknown worker any"]);
    let failed = fail(&world);
    assert!(error(&failed).contains("worker is no service"), "{failed}");
    assert_eq!(world.calls(), [""; 0]);
    assert_eq!(world.link("current").as_deref(), Some("v1.0.0"));
    // The package waits on: when there is one, it can be installed.
    world.faults(&[]);
    world.install("1.1.0");
    world.wait_for("success");
}

#[test]
fn a_service_that_does_not_run_while_the_system_goes_down_is_no_verdict() {
    let mut world = World::new();
    world.start();
    world.bring("1.0.0");
    world.fetch("1.1.0", &world.app("1.1.0"));
    // What systemd says to a start while it stops everything.
    world.faults(&["refuses worker any"]);
    world.system("stopping");
    world.install("1.1.0");
    let failed = world.wait_for("failed");
    assert!(error(&failed).contains("going down"), "{failed}");
    assert_eq!(world.link("current").as_deref(), Some("v1.1.0"));
    assert_eq!(world.alarm(), None);
    world.terminate();
    world.faults(&[]);
    world.system("running");
    world.start();
    world.wait_for("success");
    assert_eq!(world.link("current").as_deref(), Some("v1.1.0"));
    assert_eq!(world.state("device-api"), "active");
}

#[test]
fn commands_of_a_package_need_a_signature_or_a_word() {
    let with = |world: &World, line: &str| {
        let mut module = api("1.0.0");
        module.commands = vec![line.to_owned()];
        world.package("1.0.0", &[module])
    };
    let mut world = World::new();
    world.start();
    let marker = world.home().join("ran");
    let touch = format!("pwd > {}", marker.display());
    world.fetch("1.0.0", &with(&world, &touch));
    world.install("1.0.0");
    let failed = world.wait_for("failed");
    assert!(error(&failed).starts_with("INVALID_MANIFEST: "), "{failed}");
    assert!(!marker.exists());
    assert_eq!(world.link("current"), None);
    assert_eq!(world.calls(), [""; 0]);

    let mut world = World::with("", "[packages]\ncommands = \"always\"");
    world.start();
    let marker = world.home().join("ran");
    let touch = format!("pwd > {}", marker.display());
    world.fetch("1.0.0", &with(&world, &touch));
    world.install("1.0.0");
    world.wait_for("success");
    let place = fs::read_to_string(marker).unwrap();
    assert!(place.contains("versions"), "{place}");

    // A migration that fails leads back.
    let mut module = api("1.1.0");
    module.commands = vec!["echo no such table >&2; exit 3".to_owned()];
    world.fetch("1.1.0", &world.package("1.1.0", &[module]));
    world.install("1.1.0");
    let failed = world.wait_for("failed");
    assert!(error(&failed).contains("no such table"), "{failed}");
    assert_eq!(world.link("current").as_deref(), Some("v1.0.0"));
    assert_eq!(world.state("device-api"), "active");
}

#[test]
fn a_manifest_that_asks_for_too_much_is_refused_before_anything_stops() {
    let mut world = World::new();
    world.start();
    world.bring("1.0.0");
    world.calls();
    let module = |dst: &'static str| Module {
        dst,
        ..worker("1.1.0")
    };
    let mut twice = worker("1.1.0");
    twice.dst = "bin/other";
    let bad_service = Module {
        service: Some(("--now", 1)),
        ..worker("1.1.0")
    };
    for modules in [
        vec![module("/etc/cron.d/evil")],
        vec![module("../outside")],
        vec![module("versions/v1.0.0/bin/worker")],
        vec![module(".castoff/state.json")],
        vec![worker("1.1.0"), twice],
        vec![bad_service],
        vec![],
    ] {
        world.fetch("1.1.0", &world.package("1.1.0", &modules));
        world.install("1.1.0");
        let failed = world.wait_for("failed");
        assert!(error(&failed).starts_with("INVALID_MANIFEST: "), "{failed}");
        assert_eq!(world.link("current").as_deref(), Some("v1.0.0"));
    }
    // One that names another version than was asked for.
    let other = world.app("1.2.0");
    world.fetch("1.1.0", &other);
    world.install("1.1.0");
    assert!(error(&world.wait_for("failed")).starts_with("INVALID_MANIFEST: "));
    assert_eq!(world.calls(), [""; 0]);
    assert_eq!(world.read("bin/worker"), "worker 1.0.0");
}

#[test]
fn a_link_in_the_place_of_the_apps_folder_is_no_way_out() {
    let mut world = World::new();
    world.start();
    world.bring("1.0.0");
    let outside = world.home().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_file(world.opt().join("versions/current")).unwrap();
    symlink(&outside, world.opt().join("versions/current")).unwrap();
    world.fetch("1.1.0", &world.app("1.1.0"));
    world.install("1.1.0");
    let failed = world.wait_for("failed");
    assert!(
        error(&failed).starts_with("DEPLOYMENT_FAILED: "),
        "{failed}"
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn many_services_are_watched_side_by_side_and_the_app_has_to_answer() {
    let mut world = World::new();
    let health = world.server.url("/health");
    let text = fs::read_to_string(world.opt().join("agent.toml")).unwrap();
    let more = format!("{text}health_url = \"{health}\"\n").replace("steady = 50", "steady = 500");
    fs::write(world.opt().join("agent.toml"), more).unwrap();
    world
        .server
        .route("/health", castoff_testkit::http::Reply::json("{}"));
    world.start();
    let names: Vec<String> = (0..20).map(|number| format!("part-{number:02}")).collect();
    let modules = |version: &str| -> Vec<Module<'_>> {
        let modules = names.iter().zip(0..);
        let module = |(name, order): (&'static str, i64)| Module {
            name,
            dst: "bin/x",
            content: version.to_owned(),
            service: Some((name, order)),
            commands: Vec::new(),
        };
        modules
            .map(|(name, order)| module((name.clone().leak(), order)))
            .collect()
    };
    let mut all = modules("1.0.0");
    for module in &mut all {
        module.dst = format!("bin/{}", module.name).leak();
    }
    world.fetch("1.0.0", &world.package("1.0.0", &all));
    world.install("1.0.0");
    world.wait_for("success");
    // One that runs and does not answer is no version to stay with.
    world
        .server
        .replace("/health", castoff_testkit::http::Reply::status(503));
    world.fetch("1.1.0", &world.app("1.1.0"));
    world.install("1.1.0");
    for version in ["v1.1.0", "v1.0.0"] {
        let current = || world.link("current");
        until(|| current().as_deref() == Some(version), || world.log());
    }
    world
        .server
        .replace("/health", castoff_testkit::http::Reply::json("{}"));
    let failed = world.wait_for("failed");
    assert!(
        error(&failed).contains("does not answer with 200"),
        "{failed}"
    );
    assert!(
        error(&failed).ends_with("version 1.0.0 is back"),
        "{failed}"
    );
}

#[test]
fn a_service_that_the_new_version_brings_is_none_of_the_one_before() {
    let mut world = World::new();
    world.start();
    world.bring("1.0.0");
    world.faults(&["dies device-api v1.1.0", "refuses third v1.0.0"]);
    let mut third = worker("1.1.0");
    third.name = "third";
    third.dst = "bin/third";
    third.service = Some(("third", 3));
    world.fetch("1.1.0", &world.package("1.1.0", &[api("1.1.0"), third]));
    world.install("1.1.0");
    let failed = world.wait_for("failed");
    assert!(
        error(&failed).ends_with("version 1.0.0 is back"),
        "{failed}"
    );
    assert_eq!(world.alarm(), None);
    assert_eq!(world.state("device-api"), "active");
}
