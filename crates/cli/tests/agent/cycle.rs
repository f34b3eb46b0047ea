//! The way of a version: ordered, fetched, installed, running; also with a kill in the middle.

use std::fs;
use std::time::{Duration, Instant};

use castoff_testkit::http::Reply;
use castoff_testkit::until;
use serde_json::{Value, json};

use crate::world::{World, api};

#[test]
fn a_version_is_fetched_and_installed_and_every_step_is_told() {
    let mut world = World::new();
    world.start();
    let idle = json!({
        "code": 200, "msg": "success", "stage": null, "progress": null,
        "data": {"stage": "idle", "progress": 0, "message": "Updater ready", "error": null},
    });
    assert_eq!(world.progress(), idle);

    world.fetch("1.0.0", &world.app("1.0.0"));
    let ready = world.progress();
    assert_eq!(ready["data"]["message"], "Package ready to install: 1.0.0");
    assert_eq!(ready["data"]["progress"], 100);
    world.install("1.0.0");
    let done = world.wait_for("success");
    assert_eq!(
        done["data"]["message"],
        "Successfully installed version 1.0.0"
    );
    assert_eq!(done["code"], 200);
    assert_eq!(world.link("current").as_deref(), Some("v1.0.0"));
    assert_eq!(world.link("previous"), None);
    assert_eq!(world.read("bin/device-api"), "api 1.0.0");
    // The worker is to start first, and what does not run is not stopped.
    assert_eq!(world.calls(), ["start worker", "start device-api"]);

    world.bring("1.1.0");
    assert_eq!(world.link("current").as_deref(), Some("v1.1.0"));
    assert_eq!(world.link("previous").as_deref(), Some("v1.0.0"));
    assert_eq!(
        world.calls(),
        [
            "stop device-api",
            "stop worker",
            "start worker",
            "start device-api"
        ]
    );
    assert_eq!(world.state("worker"), "active");
    assert_reports(&world);
}

/// Every stage in its order, and the progress of each never goes back.
fn assert_reports(world: &World) {
    let good = || {
        let reports = world.reports();
        reports.iter().filter(|it| it["stage"] == "success").count()
    };
    until(|| good() >= 2, || format!("{:?}", world.reports()));
    let reports = world.reports();
    let mut stages: Vec<&Value> = reports.iter().map(|it| &it["stage"]).collect();
    stages.dedup();
    let cycle = [
        "downloading",
        "verifying",
        "toInstall",
        "installing",
        "rebooting",
        "success",
    ];
    assert_eq!(stages, [cycle, cycle].concat());
    for pair in reports
        .windows(2)
        .filter(|pair| pair[0]["stage"] == pair[1]["stage"])
    {
        assert!(
            pair[0]["progress"].as_u64() <= pair[1]["progress"].as_u64(),
            "{pair:?}"
        );
    }
    let said = |text: &str| reports.iter().any(|it| it["message"] == text);
    for text in [
        "Downloading version 1.1.0...",
        "Verifying package integrity...",
        "Installing version 1.1.0...",
        "Stopping services...",
        "Starting services...",
        "Verifying deployment...",
    ] {
        assert!(said(text), "{text} is missing in {reports:?}");
    }
    assert!(
        reports
            .iter()
            .all(|it| it["error"].is_null() && it.as_object().unwrap().len() == 4)
    );
}

#[test]
fn what_a_package_does_not_carry_stays() {
    let mut world = World::new();
    world.start();
    world.bring("1.0.0");
    world.calls();
    world.fetch("1.1.0", &world.package("1.1.0", &[api("1.1.0")]));
    world.install("1.1.0");
    world.wait_for("success");
    assert_eq!(world.read("bin/device-api"), "api 1.1.0");
    assert_eq!(world.read("bin/worker"), "worker 1.0.0");
    // Only what it changes stands still.
    assert_eq!(world.calls(), ["stop device-api", "start device-api"]);
}

#[test]
fn a_download_that_is_killed_goes_on_from_the_byte() {
    let mut world = World::new();
    world.start();
    let numbers = (0..200_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_string());
    let noise: String = numbers.collect();
    let mut module = api("1.0.0");
    module.content = noise;
    let package = world.package("1.0.0", &[module]);
    let order = world.order("1.0.0", &package);
    world.server.unroute("/1.0.0.zip");
    let file = || Reply::file(&package).etag("\"a\"");
    world
        .server
        .route("/1.0.0.zip", file().stall_after(300_000).times(1));
    world.server.route("/1.0.0.zip", file());
    world.post("/api/v1.0/download", &order);
    let downloads = world.opt().join(".castoff/downloads");
    let part = || {
        let entries = fs::read_dir(&downloads);
        let sizes = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|it| Some(it.metadata().ok()?.len()));
        sizes.max().unwrap_or(0)
    };
    // The last bytes that came may not be a whole block yet.
    until(|| part() >= 250_000, || world.log());
    world.kill();
    let wanted = format!("bytes={}-", part());
    // Nobody has to order it again.
    world.start();
    world.wait_for("toInstall");
    let requests = world.server.requests();
    let asked: Vec<_> = requests
        .iter()
        .filter(|it| it.path() == "/1.0.0.zip")
        .collect();
    assert_eq!(asked.last().unwrap().header("range"), Some(wanted.as_str()));
    // What was verified is remembered, and not fetched again.
    let before = asked.len();
    world.kill();
    world.start();
    assert_eq!(world.progress()["data"]["stage"], "toInstall");
    world.post("/api/v1.0/download", &order);
    assert_eq!(world.progress()["data"]["stage"], "toInstall");
    let requests = world.server.requests();
    assert_eq!(
        requests
            .iter()
            .filter(|it| it.path() == "/1.0.0.zip")
            .count(),
        before
    );
    world.install("1.0.0");
    world.wait_for("success");
}

/// A kill at any step of an installation leads to the new version or to the one before, with its services.
#[test]
fn a_kill_in_the_middle_of_an_installation_is_finished_or_undone() {
    for step in [
        "stage.filled",
        "build.filled",
        "commit.journalled",
        "commit.placed",
        "switch.current",
        "commit.trial",
        "commit.done",
    ] {
        let mut world = World::new();
        world.start();
        world.bring("1.0.0");
        world.kill();
        let order = format!("{step}=kill");
        world.start_with(&[("CASTOFF_FAIL", &order)]);
        world.fetch("1.1.0", &world.app("1.1.0"));
        // It may be gone before it answers.
        let order = json!({"version": "1.1.0"}).to_string();
        let _answer = world.begin("POST", "/api/v1.0/update", &[], &order);
        world.wait_for_end();
        world.start();
        let stage = || {
            world.progress()["data"]["stage"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let mut end = String::new();
        let ended = || {
            end = stage();
            !matches!(end.as_str(), "installing" | "rebooting")
        };
        until(ended, || format!("{step}: {}", world.log()));
        let now = world.link("current").unwrap();
        // What was not switched for good is undone; what was, is finished.
        let wanted = match step {
            "stage.filled" | "build.filled" => ("toInstall", "v1.0.0"),
            "commit.done" => ("success", "v1.1.0"),
            _ => ("failed", "v1.0.0"),
        };
        assert_eq!((end.as_str(), now.as_str()), wanted, "{step}");
        for service in ["device-api", "worker"] {
            assert_eq!(world.state(service), "active", "{step}: {service}, {end}");
        }
        let whole = format!("api {}", now.trim_start_matches('v'));
        assert_eq!(world.read("bin/device-api"), whole, "{step}");
        // It can be installed now, whatever has happened.
        if end != "success" {
            world.fetch("1.1.0", &world.app("1.1.0"));
            world.install("1.1.0");
            world.wait_for("success");
        }
    }
}

#[test]
fn sigterm_ends_a_download_at_once_and_an_installation_when_it_is_done() {
    let mut world = World::new();
    world.start();
    let package = world.app("1.0.0");
    let order = world.order("1.0.0", &package);
    world
        .server
        .replace("/1.0.0.zip", Reply::file(&package).stall_after(10).times(1));
    world.server.route("/1.0.0.zip", Reply::file(&package));
    world.post("/api/v1.0/download", &order);
    world.wait_for("downloading");
    let begun = Instant::now();
    world.terminate();
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    world.start();
    world.wait_for("toInstall");
    world.install("1.0.0");
    world.terminate();
    assert_eq!(world.link("current").as_deref(), Some("v1.0.0"));
    assert_eq!(world.state("device-api"), "active");
}

/// Somebody else's request that never ends does not keep the updater from ending.
#[test]
fn half_a_request_does_not_keep_it_from_ending() {
    use std::io::Write as _;
    let mut world = World::new();
    world.start();
    let mut stream = std::net::TcpStream::connect(world.address()).unwrap();
    stream
        .write_all(b"POST /api/v1.0/update HTTP/1.1\r\nHost: x")
        .unwrap();
    let begun = Instant::now();
    world.terminate();
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}
