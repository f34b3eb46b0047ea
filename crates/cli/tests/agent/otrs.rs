//! A server's app that follows the releases of a repository, by the addresses of OTRS Web.

use std::fs;
use std::time::{Duration, Instant};

use castoff_testkit::http::Reply;
use castoff_testkit::package::{Package, sha256};
use serde_json::{Value, json};

use crate::world::World;

const REPO: &str = "/repos/owner/otrs";

/// An app in 1.2.9 that its own updater has left here, and GitHub's API.
fn world(launcher: &str, agent: &str) -> World {
    let world = World::bare();
    let source = format!(
        "app = \"org.castoff.otrs\"\ninstalled_version = \"1.2.9\"\n\
         update.preserve = [\".env\", \"uploads/\", \"database_backups/\", \"logs/\"]\n{launcher}\n\
         [source]\nkind = \"github\"\nurl = \"{}\"\nrepo = \"owner/otrs\"",
        world.server.url("")
    );
    let own = format!("web = {{ upgrade = true }}\n{agent}");
    world.configure(&source, &own, "units = [\"otrs\"]");
    for (path, text) in [
        ("app.py", "app 1.2.9"),
        ("gone.py", "only in 1.2.9"),
        (".env", "SECRET=1\nAPP_VERSION=1.2.9\nDEBUG=0\n"),
        ("uploads/letter.txt", "mine"),
        ("run-state", ""),
    ] {
        let path = world.opt().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::write(world.home().join("run/otrs"), "active").unwrap();
    world
}

fn package(version: &str) -> Package {
    Package::new(version)
        .file("app.py", format!("app {version}"))
        .file(".env", "APP_VERSION=0\n")
        .file(&format!("only-{version}.py"), "x")
}

/// Makes a version the latest release, with these notes.
fn release(world: &World, version: &str, notes: &str) -> Value {
    let bytes = package(version).list().build().bytes;
    let path = format!("/owner/otrs/releases/download/v{version}/otrs.zip");
    world.server.unroute(&path);
    world.server.route(&path, Reply::file(&bytes));
    let release = json!({
        "id": 1, "tag_name": format!("v{version}"), "name": format!("v{version}"), "draft": false,
        "prerelease": false, "body": notes, "published_at": "2025-10-17T10:00:00Z",
        "html_url": format!("https://github.example/owner/otrs/releases/tag/v{version}"),
        "tarball_url": world.server.url("/tarball"), "zipball_url": world.server.url("/zipball"),
        "assets": [{
            "name": "otrs.zip", "size": bytes.len(), "digest": format!("sha256:{}", sha256(&bytes)),
            "url": world.server.url(&format!("{REPO}/releases/assets/1")),
            "browser_download_url": world.server.url(&path),
        }],
    });
    let latest = format!("{REPO}/releases/latest");
    let list = format!("{REPO}/releases");
    for path in [&latest, &list] {
        world.server.unroute(path);
    }
    world
        .server
        .route(&latest, Reply::json(&release.to_string()));
    world
        .server
        .route(&list, Reply::json(&json!([release]).to_string()));
    release
}

fn read(world: &World, path: &str) -> String {
    fs::read_to_string(world.opt().join(path)).unwrap_or_default()
}

fn check(world: &World) -> Value {
    let answer = world.get("/upgrade/api/check-update?force=true");
    assert_eq!(answer["success"], true);
    answer["data"].clone()
}

/// Upgrades to what is offered, as the page does.
fn upgrade(world: &World) -> Value {
    let url = check(world)["zipball_url"].clone();
    world.post(
        "/upgrade/api/start-upgrade",
        &json!({"download_url": url, "is_tarball": false}),
    )
}

#[test]
fn an_app_is_upgraded_and_told_which_version_it_is() {
    let mut world = world("", "record = { env_file = \".env\" }");
    release(&world, "1.3.0", "* faster");
    world.start();
    let data = check(&world);
    assert_eq!(data["current_version"], "1.2.9");
    assert_eq!(data["latest_version"], "v1.3.0");
    for (field, wanted) in [
        ("update_available", true),
        ("is_newer", true),
        ("is_same", false),
        ("is_older", false),
    ] {
        assert_eq!(data[field], wanted, "{field}");
    }
    assert_eq!(data["release_name"], "v1.3.0");
    assert_eq!(data["release_notes"], "* faster");
    assert_eq!(data["published_at"], "2025-10-17T10:00:00Z");
    assert_eq!(
        data["download_url"],
        "https://github.example/owner/otrs/releases/tag/v1.3.0"
    );
    assert_eq!(data["source"], "github");

    let done = upgrade(&world);
    assert_eq!(done["success"], true, "{done}");
    let log = done["log"].as_array().unwrap();
    let line = log[0].as_str().unwrap();
    assert!(
        line.starts_with("[20") && line.contains("] [INFO] "),
        "{line}"
    );
    assert_eq!(read(&world, "app.py"), "app 1.3.0");
    assert_eq!(read(&world, "uploads/letter.txt"), "mine");
    // What was there without a list is the user's; what they keep stays but for one line.
    assert_eq!(read(&world, "gone.py"), "only in 1.2.9");
    let now = read(&world, ".env").replace("=v", "=");
    assert_eq!(now, "SECRET=1\nAPP_VERSION=1.3.0\nDEBUG=0\n");
    assert_eq!(world.calls(), ["stop otrs", "start otrs"]);
    assert_eq!(world.get("/upgrade/api/upgrade-log")["log"], done["log"]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !read(&world, "logs/update.log").contains("Successfully installed version") {
        assert!(
            Instant::now() < deadline,
            "{}",
            read(&world, "logs/update.log")
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let data = check(&world);
    assert_eq!(
        (&data["is_same"], &data["update_available"]),
        (&json!(true), &json!(false))
    );

    // And back.
    let list = world.get("/upgrade/api/backup-list")["data"].clone();
    let backup = &list[0];
    assert!(backup["path"].as_str().unwrap().starts_with('/'), "{list}");
    assert!(backup["size"].as_u64().unwrap() > 0);
    let back = world.post(
        "/upgrade/api/restore-backup",
        &json!({"backup_path": backup["path"]}),
    );
    assert_eq!(back, json!({"success": true, "message": "Backup restored"}));
    assert_eq!(read(&world, "app.py"), "app 1.2.9");
    assert_eq!(world.calls(), ["stop otrs", "start otrs"]);
    assert!(read(&world, ".env").contains("APP_VERSION=1.2.9\n"));
    assert_eq!(world.state("otrs"), "active");
}

#[test]
fn what_a_server_says_of_its_releases_and_itself() {
    let mut world = world("", "");
    release(&world, "1.3.0", "<script>alert(1)</script>");
    world.start();
    let history = world.get("/upgrade/api/version-history?limit=10");
    assert_eq!(
        history,
        json!({"success": true, "data": [{
            "version": "v1.3.0", "name": "v1.3.0", "body": "<script>alert(1)</script>",
            "published_at": "2025-10-17T10:00:00Z",
            "html_url": "https://github.example/owner/otrs/releases/tag/v1.3.0",
        }]})
    );
    assert_eq!(
        world.get("/upgrade/api/config"),
        json!({"success": true, "data": {
            "auto_check_enabled": true, "check_interval_hours": 0, "github_repo": "owner/otrs",
            "update_source": "github", "yunxiao_repo": "",
        }})
    );
    world.server.unroute(&format!("{REPO}/releases/latest"));
    world
        .server
        .route(&format!("{REPO}/releases/latest"), Reply::status(500));
    assert_eq!(
        check(&world),
        json!({
            "current_version": "1.2.9", "error": "Unable to fetch latest version information",
            "latest_version": null, "update_available": false,
        })
    );
}

#[test]
fn addresses_and_backups_that_nobody_has_named_are_refused() {
    let mut world = world("", "");
    release(&world, "1.3.0", "");
    let foreign = world.opt().join("upgrade_backups/backup_20261121_024535");
    fs::create_dir_all(&foreign).unwrap();
    fs::write(foreign.join("app.py"), "app 1.2.8").unwrap();
    world.start();
    let post = |path: &str, body: &Value| world.call("POST", path, Some(&body.to_string()));
    let start = "/upgrade/api/start-upgrade";
    assert_eq!(
        post(start, &json!({})),
        (
            400,
            json!({"success": false, "error": "Download URL is required"})
        )
    );
    for url in [
        "https://evil.example/otrs.zip",
        "https://github.example/owner/otrs/releases/tag/v1.2.0",
        "file:///etc/passwd",
        "x",
    ] {
        let (status, answer) = post(start, &json!({"download_url": url}));
        assert_eq!(
            (status, &answer["success"]),
            (400, &json!(false)),
            "{url}: {answer}"
        );
    }
    let restore = "/upgrade/api/restore-backup";
    assert_eq!(post(restore, &json!({})).0, 400);
    for path in [
        "/etc",
        "../..",
        "/",
        foreign.parent().unwrap().to_str().unwrap(),
    ] {
        assert_eq!(
            post(restore, &json!({"backup_path": path})).0,
            404,
            "{path}"
        );
    }
    let list = world.get("/upgrade/api/backup-list")["data"].clone();
    assert_eq!(
        list,
        json!([{
            "name": "backup_20261121_024535", "path": foreign, "created_at": "2026-11-21 02:45:35", "size": 9,
        }])
    );
    let (status, answer) = post(restore, &json!({"backup_path": foreign}));
    assert_eq!(status, 400, "{answer}");
    assert_eq!(read(&world, "app.py"), "app 1.2.9");
    assert_eq!(world.calls(), [""; 0]);
}

#[test]
fn a_service_or_a_migration_that_fails_brings_the_version_before_back() {
    let migration =
        "hooks.after_commit = [\"grep -q 1.2.9 app.py || { echo no such table; exit 3; }\"]";
    for (launcher, fault) in [("", "dies otrs v1.3.0"), (migration, "")] {
        let mut world = world(launcher, "record = { env_file = \".env\" }");
        release(&world, "1.3.0", "");
        world.faults(&[fault]);
        world.start();
        let done = upgrade(&world);
        assert_eq!(done["success"], false, "{done}");
        assert!(done["log"].to_string().contains("[ERROR]"), "{done}");
        assert_eq!(read(&world, "app.py"), "app 1.2.9", "{done}");
        assert_eq!(world.state("otrs"), "active", "{done}");
        assert!(read(&world, ".env").contains("APP_VERSION=1.2.9\n"));
        assert_eq!(world.alarm(), None);
        // It is the person's word that counts, when the reason is gone.
        world.faults(&[]);
        if launcher.is_empty() {
            assert_eq!(upgrade(&world)["success"], true);
            assert_eq!(read(&world, "app.py"), "app 1.3.0");
        }
    }
}

#[test]
fn a_kill_in_the_middle_of_an_upgrade_is_finished_or_undone() {
    for step in [
        "commit.journalled",
        "commit.rename",
        "commit.trial",
        "commit.done",
    ] {
        let mut world = world("", "");
        release(&world, "1.3.0", "");
        world.start_with(&[("CASTOFF_FAIL", &format!("{step}=kill"))]);
        let url = check(&world)["zipball_url"].clone();
        let body = json!({"download_url": url}).to_string();
        let _answer = world.send("POST", "/upgrade/api/start-upgrade", &body);
        world.wait_for_end();
        world.start();
        let deadline = Instant::now() + Duration::from_secs(30);
        let end = loop {
            let now = world.progress();
            let stage = now["data"]["stage"].as_str().unwrap().to_owned();
            if !matches!(stage.as_str(), "installing" | "rebooting") {
                break stage;
            }
            assert!(Instant::now() < deadline, "{step}: {now}");
            std::thread::sleep(Duration::from_millis(20));
        };
        let wanted = if end == "success" {
            "app 1.3.0"
        } else {
            "app 1.2.9"
        };
        assert_eq!(read(&world, "app.py"), wanted, "{step}: {end}");
        assert_eq!(world.state("otrs"), "active", "{step}: {end}");
        assert_eq!(upgrade(&world)["success"], true, "{step}");
        assert_eq!(read(&world, "app.py"), "app 1.3.0");
    }
}

#[test]
fn what_is_found_unasked_waits_for_a_word_or_is_installed_and_the_outcome_is_told() {
    let often = "update.when = \"background\"\nupdate.interval = 1";
    let mut waits = world(often, "");
    release(&waits, "1.3.0", "");
    waits.start();
    let asked = |world: &World| {
        let requests = world.server.requests();
        let latest = format!("{REPO}/releases/latest");
        requests.iter().filter(|it| it.path() == latest).count()
    };
    let until = |what: &dyn Fn() -> bool, world: &World| {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !what() {
            assert!(Instant::now() < deadline, "{}", world.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    until(&|| asked(&waits) >= 2, &waits);
    assert_eq!(read(&waits, "app.py"), "app 1.2.9");

    let mut world = world(often, "checks = { install = true }");
    world.server.route("/outcome", Reply::json("{}"));
    let text = fs::read_to_string(world.opt().join("agent.toml")).unwrap();
    let outcome = format!("outcome_url = \"{}\"\n{text}", world.server.url("/outcome"));
    fs::write(world.opt().join("agent.toml"), outcome).unwrap();
    release(&world, "1.3.0", "");
    world.faults(&["dies otrs v1.3.0"]);
    world.start();
    let outcomes = || {
        let requests = world.server.requests();
        let told = requests.iter().filter(|it| it.path() == "/outcome");
        told.map(|it| serde_json::from_slice(&it.body).unwrap())
            .collect::<Vec<Value>>()
    };
    until(&|| !outcomes().is_empty(), &world);
    let told = &outcomes()[0];
    let wanted = (&json!("failed"), &json!("1.2.9"));
    assert_eq!((&told["outcome"], &told["version"]), wanted, "{told}");
    assert_eq!(told["code"], "DEPLOYMENT_FAILED");
    // What has failed here is not tried again by itself.
    world.faults(&[]);
    let before = asked(&world);
    until(&|| asked(&world) >= before + 3, &world);
    assert_eq!(read(&world, "app.py"), "app 1.2.9");
    // The next version is.
    release(&world, "1.4.0", "");
    until(&|| read(&world, "app.py") == "app 1.4.0", &world);
}
