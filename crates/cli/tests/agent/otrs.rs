//! OTRS Web's upgrade: its addresses as its pages call them, and its page.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use castoff_testkit::http::Reply;
use castoff_testkit::package::Package;
use castoff_testkit::tar::gzip;
use castoff_testkit::until;
use serde_json::{Value, json};

use crate::forge;
use crate::world::{Answer, World};

const REPO: &str = "owner/otrs";

const LATEST: &str = "/repos/owner/otrs/releases/latest";

const LIST: &str = "/repos/owner/otrs/releases";

/// For what takes two seconds by default, on a machine that has other things to do.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

/// What may not run in notes.
const NOTES: &str = "# New\n\n* **faster** lists\n* see [the manual](https://docs.example/otrs)\n\n\
    <script>document.title = 'taken'</script>\n\n[click](javascript:alert(1)) ![x](https://evil.example/x.png)";

/// An installation of version 1.0.0 as the app that updated itself has left it.
pub(crate) fn installation(launcher: &str) -> World {
    let world = World::new();
    let text = format!(
        "app = \"org.castoff.otrs\"\nname = \"OTRS Web\"\nclient_dir = \".\"\nlayout = \"in-place\"\n\
         log_dir = \"../logs\"\nlog_level = \"debug\"\ninstalled_version = \"1.0.0\"\nnetwork.retries = 1\n\
         update.preserve = [\".env\", \"uploads/\"]\nupdate.interval = \"24 h\"\n{launcher}\n\
         [source]\nkind = \"github\"\nurl = \"{}\"\nrepo = \"owner/otrs\"\n",
        world.server.url("")
    );
    world.write(&text, "[web]\nupgrade = true", "units = [\"otrs\"]");
    let write = |path: &str, text: &str| {
        let path = world.opt().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("VERSION", "1.0.0");
    write("app.py", "VERSION = '1.0.0'\n");
    write(".env", "SECRET=mine\n");
    write("uploads/mine.xlsx", "mine");
    write("upgrade_backups/backup_20261121_024535/app.py", "old\n");
    write("upgrade_backups/not_a_backup/app.py", "old\n");
    fs::write(world.home().join("run/otrs"), "active\n").unwrap();
    world
}

/// Offers versions, the newest first.
pub(crate) fn offer(world: &World, versions: &[&str]) {
    let releases: Vec<_> = versions.iter().map(|it| release(world, it)).collect();
    forge::announce(world, REPO, &releases);
}

fn package(version: &str) -> Package {
    Package::new(version)
        .file("VERSION", version)
        .file("app.py", format!("VERSION = '{version}'\n"))
        .file(".env", "SECRET=of the repository\n")
        .file("uploads/.gitkeep", "")
        .file(&format!("only_in_{version}.py"), "x = 1\n")
}

/// The package of a version, and where it lies.
pub(crate) fn tarball(version: &str) -> (String, Vec<u8>) {
    let built = package(version).build_tar("owner-otrs-0123abc/", gzip);
    (forge::tarball(REPO, version), built.bytes)
}

/// What is said of a version.
pub(crate) fn release(world: &World, version: &str) -> Value {
    let (_, package) = tarball(version);
    let mut release = forge::release(world, REPO, version, &package);
    release["name"] = json!(format!("OTRS Web {version}"));
    release["body"] = json!(NOTES);
    release
}

/// Asks for an upgrade as the page of the original does.
fn upgrade(world: &World) -> Value {
    let url = world.server.url("/repos/owner/otrs/tarball/v1.1.0");
    let wanted = json!({"download_url": url, "is_tarball": true});
    let (status, answer) = world.call(
        "POST",
        "/upgrade/api/start-upgrade",
        Some(&wanted.to_string()),
    );
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Has it forget when the source was asked: whoever insists is heard only now and then.
fn restart(world: &mut World) {
    world.kill();
    world.start();
}

/// The form of the page, as a browser sends it.
fn submit(world: &World, path: &str, body: &str) -> Answer {
    let origin = format!("Origin: http://{}", world.address());
    let form = "Content-Type: application/x-www-form-urlencoded";
    world.send("POST", path, &[&origin, form], body)
}

/// Presses the button of the page, which nobody waits for.
fn press(world: &World) {
    let answer = submit(world, "/upgrade/start?lang=en", "");
    assert_eq!(answer.status, 303, "{answer:?}");
    assert!(answer.head.contains("location: ../upgrade?lang=en"));
}

fn read(world: &World, path: &str) -> String {
    fs::read_to_string(world.opt().join(path)).unwrap_or_default()
}

/// The app is whole in a version, runs, and what is the user's is there.
#[track_caller]
pub(crate) fn assert_app(world: &World, version: &str) {
    assert_eq!(read(world, "VERSION"), version, "{}", world.log());
    assert_eq!(read(world, "app.py"), format!("VERSION = '{version}'\n"));
    let new = world.opt().join("only_in_1.1.0.py").exists();
    assert_eq!(new, version == "1.1.0");
    assert_eq!(read(world, ".env"), "SECRET=mine\n");
    assert_eq!(read(world, "uploads/mine.xlsx"), "mine");
    assert_eq!(world.state("otrs"), "active");
}

fn lines(answer: &Value) -> Vec<&str> {
    let lines = answer["log"].as_array().unwrap();
    lines.iter().map(|it| it.as_str().unwrap()).collect()
}

#[test]
fn a_check_says_what_there_is_and_asks_only_when_it_has_to() {
    let mut world = installation("update.when = \"manual\"");
    offer(&world, &["1.1.0", "1.0.0"]);
    world.start();
    let begun = Instant::now();
    let checked = world.get("/upgrade/api/check-update?force=true");
    assert_eq!(
        checked,
        json!({"success": true, "data": {
            "current_version": "1.0.0", "latest_version": "1.1.0", "update_available": true,
            "is_newer": true, "is_same": false, "is_older": false,
            "release_name": "OTRS Web 1.1.0", "release_notes": NOTES,
            "published_at": "2025-10-17T10:00:00Z",
            "download_url": "https://github.example/owner/otrs/releases/tag/v1.1.0",
            "tarball_url": world.server.url("/repos/owner/otrs/tarball/v1.1.0"),
            "zipball_url": world.server.url("/repos/owner/otrs/zipball/v1.1.0"),
            "source": "github",
        }})
    );
    let asked = world.server.requests().len();
    assert_eq!(world.get("/upgrade/api/check-update"), checked);
    assert_eq!(world.server.requests().len(), asked);

    // Nor is it by those who insist, once they have an answer.
    offer(&world, &["1.2.0"]);
    let again = world.get("/upgrade/api/check-update?force=true");
    // After ten seconds it is asked again.
    if begun.elapsed() < Duration::from_secs(8) {
        assert_eq!(again, checked);
        assert_eq!(world.server.requests().len(), asked);
    }

    // The other two ways to lie to the installed one.
    for (version, same, older) in [("1.0.0", true, false), ("0.9.0", false, true)] {
        offer(&world, &[version]);
        restart(&mut world);
        let data = &world.get("/upgrade/api/check-update?force=true")["data"];
        let got = ["is_newer", "is_same", "is_older", "update_available"].map(|it| &data[it]);
        assert_eq!(
            got,
            [&json!(false), &json!(same), &json!(older), &json!(false)]
        );
    }

    world.server.replace(LATEST, Reply::status(500));
    restart(&mut world);
    let dead = world.call("GET", "/upgrade/api/check-update?force=true", None);
    let data = json!({
        "current_version": "1.0.0", "latest_version": null, "update_available": false,
        "error": "Unable to fetch latest version information",
    });
    assert_eq!(dead, (200, json!({"success": true, "data": data})));
    let page = world.send("GET", "/upgrade?lang=en", &[], "");
    assert!(page.body.contains("The source does not answer"));
}

#[test]
fn a_silent_source_is_asked_once_and_keeps_no_page_for_longer_than_a_check() {
    let mut world = installation("update.when = \"manual\"");
    for path in [LATEST, LIST] {
        world.server.replace(path, Reply::status(200).silent());
    }
    world.start();
    let asked = || [LATEST, LIST].map(|path| world.server.asked(path));
    let open = || world.begin("GET", "/upgrade?lang=en", &[], "");
    let (begun, first) = (Instant::now(), Instant::now());
    let mut pages: Vec<_> = std::iter::repeat_with(open).take(10).collect();
    for page in &mut pages {
        let mut text = String::new();
        page.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
    assert!(begun.elapsed() < CHECK_TIMEOUT, "{:?}", begun.elapsed());
    assert_eq!(asked(), [1, 0]);
    let page = || world.send("GET", "/upgrade?lang=en", &[], "").body;
    until(|| page().contains("The source does not answer"), page);
    // From then on nobody waits, nor is anything asked, whoever insists.
    let begun = Instant::now();
    let told = world.get("/upgrade/api/check-update?force=true");
    assert_eq!(told["data"]["latest_version"], json!(null));
    assert_eq!(submit(&world, "/upgrade/check", "").status, 303);
    assert_eq!(
        world.call("GET", "/upgrade/api/version-history", None).0,
        502
    );
    assert!(!page().contains("http-equiv"));
    assert!(begun.elapsed() < CHECK_TIMEOUT, "{:?}", begun.elapsed());
    // After ten seconds it may be asked again.
    if first.elapsed() < Duration::from_secs(8) {
        assert_eq!(asked(), [1, 0]);
    }
}

#[test]
fn what_is_known_is_shown_while_the_source_keeps_silent() {
    let mut world = installation("update.when = \"manual\"");
    offer(&world, &["1.1.0", "1.0.0"]);
    world.start();
    world.get("/upgrade/api/check-update");
    for path in [LATEST, LIST] {
        world.server.replace(path, Reply::status(200).silent());
    }
    // What is offered is kept on disk, and the versions are asked for.
    restart(&mut world);
    let (latest, list) = (world.server.asked(LATEST), world.server.asked(LIST));
    let begun = Instant::now();
    let page = world.send("GET", "/upgrade?lang=en", &[], "").body;
    assert!(begun.elapsed() < CHECK_TIMEOUT, "{:?}", begun.elapsed());
    assert!(page.contains("Upgrade to 1.1.0"), "{page}");
    assert_eq!(world.server.asked(LATEST), latest);
    assert_eq!(world.server.asked(LIST), list + 1);
}

#[test]
fn many_who_insist_at_once_are_one_question() {
    let mut world = installation("update.when = \"manual\"\nnetwork.check_timeout = 20");
    offer(&world, &["1.1.0"]);
    let release = release(&world, "1.1.0").to_string();
    let slow = Reply::json(&release).delay(Duration::from_secs(1));
    world.server.replace(LATEST, slow);
    world.start();
    let path = "/upgrade/api/check-update?force=true";
    let ask = || world.begin("GET", path, &[], "");
    let mut answers: Vec<_> = std::iter::repeat_with(ask).take(10).collect();
    for answer in &mut answers {
        let mut text = String::new();
        answer.read_to_string(&mut text).unwrap();
        assert!(text.contains("\"latest_version\":\"1.1.0\""), "{text}");
        assert!(text.contains("zipball/v1.1.0"), "{text}");
    }
    assert_eq!([LATEST, LIST].map(|it| world.server.asked(it)), [1, 1]);
}

#[test]
fn the_page_says_how_often_it_is_looked_where_nothing_is_configured() {
    let mut world = installation("update.when = \"manual\"");
    let path = world.opt().join("launcher.toml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("update.interval = \"24 h\"", "update.interval = 0");
    fs::write(&path, text).unwrap();
    offer(&world, &["1.1.0"]);
    world.start();
    for (lang, hours) in [("en", "<dd>24 h</dd>"), ("zh-CN", "<dd>24 小时</dd>")] {
        let page = world.send("GET", &format!("/upgrade?lang={lang}"), &[], "");
        assert!(page.body.contains(hours), "{}", page.body);
    }
    let config = world.get("/upgrade/api/config");
    assert_eq!(config["data"]["check_interval_hours"], 24);
}

#[test]
fn the_source_is_asked_without_being_told_to() {
    let mut world = installation("");
    offer(&world, &["1.1.0"]);
    world.start();
    until(|| world.server.asked(LATEST) > 0, || "nobody asks");
    assert_app(&world, "1.0.0");
}

#[test]
fn what_is_configured_and_what_there_was_is_told() {
    let mut world = installation("");
    offer(&world, &["1.1.0", "1.0.0", "0.9.0"]);
    world.start();
    let history = world.get("/upgrade/api/version-history?limit=2");
    assert_eq!(history["success"], true);
    let page = |version: &str| format!("https://github.example/owner/otrs/releases/tag/v{version}");
    let entry = |version: &str| {
        json!({
            "version": version, "name": format!("OTRS Web {version}"), "body": NOTES,
            "published_at": "2025-10-17T10:00:00Z", "html_url": page(version),
        })
    };
    assert_eq!(history["data"], json!([entry("1.1.0"), entry("1.0.0")]));
    for limit in ["", "?limit=", "?limit=many"] {
        let all = world.get(&format!("/upgrade/api/version-history{limit}"));
        assert_eq!(all["data"].as_array().unwrap().len(), 3);
    }
    assert_eq!(
        world.get("/upgrade/api/config"),
        json!({"success": true, "data": {
            "auto_check_enabled": true, "check_interval_hours": 24, "github_repo": "owner/otrs",
            "update_source": "github", "yunxiao_repo": "",
        }})
    );
    let backups = world.get("/upgrade/api/backup-list");
    let path = world.opt().join("upgrade_backups/backup_20261121_024535");
    assert_eq!(
        backups,
        json!({"success": true, "data": [{
            "name": "backup_20261121_024535", "path": path, "created_at": "2026-11-21 02:45:35",
            "size": 4,
        }]})
    );
    assert_eq!(
        world.get("/upgrade/api/upgrade-log"),
        json!({"success": true, "log": []})
    );
}

#[test]
fn an_upgrade_brings_the_new_version_and_a_backup_of_the_old_which_can_be_restored() {
    let mut world = installation("");
    offer(&world, &["1.1.0", "1.0.0"]);
    world.start();
    world.calls();
    let answer = upgrade(&world);
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(answer["message"], "Successfully installed version v1.1.0");
    assert_app(&world, "1.1.0");
    assert_eq!(world.calls(), ["stop otrs", "start otrs"]);

    // Each line is as the original has it, and in its file.
    let log = lines(&answer);
    for line in &log {
        let (time, rest) = line.split_at(22);
        let pattern = time.replace(|c: char| c.is_ascii_digit(), "0");
        assert_eq!(pattern, "[0000-00-00 00:00:00] ");
        assert!(rest.starts_with("[INFO] "), "{line}");
    }
    for text in [
        "[INFO] The source offers version v1.1.0, 1.0.0 is installed",
        "[INFO] Installing version v1.1.0...",
        "[INFO] Stopping services...",
        "[INFO] Starting services...",
    ] {
        assert!(log.iter().any(|it| it.ends_with(text)), "{text}: {log:#?}");
    }
    let told = world.get("/upgrade/api/upgrade-log");
    assert_eq!(told["log"], answer["log"]);
    let written = read(&world, "logs/update.log");
    assert_eq!(written.lines().collect::<Vec<_>>(), log);

    let checked = world.get("/upgrade/api/check-update");
    assert_eq!(checked["data"]["is_same"], true, "{checked}");
    let backups = world.get("/upgrade/api/backup-list");
    let backup = backups["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "1.0.0");
    let backup = backup.unwrap_or_else(|| panic!("{backups}"));
    assert!(Path::new(backup["path"].as_str().unwrap()).is_dir());
    assert!(backup["size"].as_u64().unwrap() > 0);

    let (status, answer) = world.call(
        "POST",
        "/upgrade/api/restore-backup",
        Some(&json!({"backup_path": backup["path"]}).to_string()),
    );
    assert_eq!(
        (status, answer),
        (200, json!({"success": true, "message": "Backup restored"}))
    );
    assert_app(&world, "1.0.0");
    assert_eq!(world.calls(), ["stop otrs", "start otrs"]);
    // Somebody who asks for it gets it again.
    assert_eq!(upgrade(&world)["success"], true);
    assert_app(&world, "1.1.0");
}

#[test]
fn a_service_that_does_not_run_in_the_new_version_brings_the_old_one_back() {
    // Also where nothing is asked of a new version but to be there: the services are.
    for launcher in ["", "run.confirm = \"none\""] {
        let mut world = installation(launcher);
        offer(&world, &["1.1.0"]);
        world.start();
        world.faults(&["dies otrs 1.1.0"]);
        let answer = upgrade(&world);
        assert_eq!(answer["success"], false);
        let message = answer["message"].as_str().unwrap();
        assert!(
            message.starts_with(
                "Update failed, version 1.0.0 is back: DEPLOYMENT_FAILED: otrs has failed"
            ),
            "{message}"
        );
        assert!(lines(&answer).last().unwrap().contains("[ERROR]"));
        assert_app(&world, "1.0.0");
        world.faults(&[]);
        assert_eq!(upgrade(&world)["success"], true);
        assert_app(&world, "1.1.0");
    }
}

#[test]
fn a_migration_that_fails_brings_the_old_version_back() {
    let mut world = installation(
        "hooks.after_commit = [\"echo x > migrated; echo 'no such table' >&2; exit 3\"]",
    );
    offer(&world, &["1.1.0"]);
    world.start();
    let answer = upgrade(&world);
    assert_eq!(answer["success"], false);
    assert!(world.opt().join("migrated").exists());
    assert!(
        answer["message"].as_str().unwrap().contains("after_commit"),
        "{answer}"
    );
    assert_app(&world, "1.0.0");
    assert_eq!(world.alarm(), None);
}

#[test]
fn a_kill_in_the_middle_leaves_a_version_that_is_whole_and_runs() {
    for (step, version, stage) in [
        // Who has asked for it does not have to ask again.
        ("fetch.verified", "1.1.0", "success"),
        ("commit.rename", "1.0.0", "failed"),
        ("commit.versioned", "1.0.0", "failed"),
        ("commit.done", "1.1.0", "success"),
    ] {
        let mut world = installation("");
        offer(&world, &["1.1.0"]);
        world.start_with(&[("CASTOFF_FAIL", &format!("{step}=kill"))]);
        // It may be gone before it answers.
        let origin = format!("Origin: http://{}", world.address());
        let _answer = world.begin("POST", "/upgrade/start", &[&origin], "");
        world.wait_for_end();
        world.start();
        world.wait_for(stage);
        assert_app(&world, version);
        let answer = upgrade(&world);
        assert_eq!(answer["success"], true, "{step}: {answer}");
        assert_app(&world, "1.1.0");
    }
}

#[test]
fn a_restore_that_is_killed_is_finished_or_begins_anew() {
    for (step, version, stage) in [
        // The older version is none of those that were asked for until it is begun to be put back.
        ("backup.begun", "1.1.0", "failed"),
        ("undo.journalled", "1.0.0", "success"),
        ("undo.path", "1.0.0", "success"),
        ("undo.done", "1.0.0", "success"),
    ] {
        let mut world = installation("");
        offer(&world, &["1.1.0"]);
        world.start();
        assert_eq!(upgrade(&world)["success"], true);
        world.kill();
        world.start_with(&[("CASTOFF_FAIL", &format!("{step}=kill"))]);
        let origin = format!("Origin: http://{}", world.address());
        let form = "Content-Type: application/x-www-form-urlencoded";
        let _answer = world.begin("POST", "/upgrade/restore", &[&origin, form], "name=1.0.0");
        world.wait_for_end();
        world.start();
        let now = world.wait_for(stage);
        let message = now["data"]["message"].as_str().unwrap();
        let wanted = match stage {
            "success" => "Version 1.0.0 is restored",
            _ => "The installation was interrupted",
        };
        assert_eq!(message, wanted, "{step}");
        assert_app(&world, version);
    }
}

#[test]
fn a_backup_that_does_not_run_leads_back_to_what_was_there() {
    let mut world = installation("");
    offer(&world, &["1.1.0"]);
    world.start();
    assert_eq!(upgrade(&world)["success"], true);
    world.faults(&["dies otrs 1.0.0"]);
    let backup = world.opt().join(".backup/1.0.0");
    let wanted = json!({"backup_path": backup}).to_string();
    let (status, answer) = world.call("POST", "/upgrade/api/restore-backup", Some(&wanted));
    assert_eq!(status, 500, "{answer}");
    let error = answer["error"].as_str().unwrap();
    assert!(
        error.starts_with("Restoring failed, version v1.1.0 is back: "),
        "{error}"
    );
    assert_app(&world, "1.1.0");
    assert_eq!(world.alarm(), None);
    // The backup is still there, for when it does.
    world.faults(&[]);
    let (_, answer) = world.call("POST", "/upgrade/api/restore-backup", Some(&wanted));
    assert_eq!(answer["success"], true, "{answer}");
    assert_app(&world, "1.0.0");
}

#[test]
fn an_upgrade_that_was_being_fetched_goes_on_and_waits_for_the_network() {
    let mut world = installation("update.when = \"manual\"");
    offer(&world, &["1.1.0"]);
    let (path, bytes) = tarball("1.1.0");
    world
        .server
        .replace(&path, Reply::file(&bytes).stall_after(10));
    world.start();
    press(&world);
    until(|| world.server.asked(&path) > 0, || "nobody asks");
    let begun = Instant::now();
    world.calls();
    world.terminate();
    // It waits for no download, and leaves the services alone.
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(world.calls(), [""; 0]);
    // As at a boot: the network is there a moment later.
    world.server.replace(LATEST, Reply::status(503));
    world.start();
    until(|| world.log().contains("again in 1 s"), || world.log());
    offer(&world, &["1.1.0"]);
    world.wait_for("success");
    assert_app(&world, "1.1.0");
    // Once is enough.
    world.terminate();
    world.start();
    assert_eq!(world.progress()["data"]["stage"], "idle");
}

#[test]
fn an_update_by_hand_that_was_killed_is_undone_but_not_under_an_app_that_runs() {
    let mut world = installation("");
    offer(&world, &["1.1.0"]);
    world.start();
    assert_eq!(upgrade(&world)["success"], true);
    world.kill();
    fs::write(world.home().join("run/otrs"), "inactive\n").unwrap();
    let mut back = world.command(&["rollback", "1.0.0"]);
    let output = back.env("CASTOFF_FAIL", "undo.path=kill").output().unwrap();
    assert!(!output.status.success());
    assert!(world.opt().join(".castoff/journal.json").exists());
    // Somebody has started it, and it does not end.
    fs::write(world.home().join("run/otrs"), "active\n").unwrap();
    world.faults(&["stays otrs any"]);
    world.start();
    let now = world.wait_for("failed");
    let error = now["data"]["error"].as_str().unwrap();
    assert!(error.starts_with("PROCESS_KILL_FAILED: "), "{error}");
    assert!(world.opt().join(".castoff/journal.json").exists());
    assert!(world.alarm().is_some());
    world.kill();
    world.faults(&[]);
    world.start();
    world.wait_for("failed");
    assert!(!world.opt().join(".castoff/journal.json").exists());
    assert_eq!(read(&world, "VERSION"), "1.0.0");
    assert_eq!(world.state("otrs"), "active");
}

#[test]
fn what_is_not_of_the_source_is_refused_and_so_is_what_is_no_backup() {
    let mut world = installation("");
    offer(&world, &["1.1.0"]);
    world.start();
    let post = |path: &str, body: &str| world.call("POST", path, Some(body));
    for body in [
        "{}",
        "",
        "[]",
        "{\"download_url\": 1}",
        "{\"download_url\": \" \"}",
    ] {
        assert_eq!(
            post("/upgrade/api/start-upgrade", body),
            (
                400,
                json!({"success": false, "error": "Download URL is required"})
            )
        );
    }
    let server = world.server.url("");
    for url in [
        "https://evil.example/owner/otrs/x.tar.gz",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "not an address",
        &format!("{server}/repos/evil/otrs/tarball/v1.1.0"),
        &format!("{server}/repos/owner/otrs/../../evil/x"),
        &format!("{server}/repos/owner/otrs-2/tarball/v1.1.0"),
        "https://github.example/owner/otrs/releases/tag/v9.9.9",
        "https://github.example@evil.example/owner/otrs/releases/tag/v1.1.0",
    ] {
        let (status, answer) = post(
            "/upgrade/api/start-upgrade",
            &json!({"download_url": url}).to_string(),
        );
        assert_eq!(status, 400, "{url}: {answer}");
        assert_eq!(
            answer["error"],
            "Download URL is not one of the configured source"
        );
    }
    for (path, status) in [
        (String::new(), 400),
        ("/etc".to_owned(), 404),
        ("1.0.0".to_owned(), 404),
        (world.opt().join("uploads").display().to_string(), 404),
        (
            world
                .opt()
                .join("upgrade_backups/backup_20261121_024535/../not_a_backup")
                .display()
                .to_string(),
            404,
        ),
        (
            world
                .opt()
                .join("upgrade_backups/backup_20261121_024535")
                .display()
                .to_string(),
            409,
        ),
    ] {
        let (got, answer) = post(
            "/upgrade/api/restore-backup",
            &json!({"backup_path": path}).to_string(),
        );
        assert_eq!((got, &answer["success"]), (status, &json!(false)), "{path}");
        assert!(answer["error"].is_string());
    }
    assert_eq!(post("/upgrade/api/restore-backup", "{}").0, 400);
    assert_app(&world, "1.0.0");
    assert_eq!(world.calls(), [""; 0]);
    // The page of the release is one of its addresses.
    let page = "https://github.example/owner/otrs/releases/tag/v1.1.0";
    let (status, answer) = post(
        "/upgrade/api/start-upgrade",
        &json!({"download_url": page}).to_string(),
    );
    assert_eq!(
        (status, &answer["success"]),
        (200, &json!(true)),
        "{answer}"
    );
    assert_app(&world, "1.1.0");
}

#[test]
fn a_form_of_another_page_does_nothing() {
    let mut world = installation("update.when = \"manual\"");
    offer(&world, &["1.1.0"]);
    world.start();
    let form = "Content-Type: application/x-www-form-urlencoded";
    for (headers, status) in [
        (vec![form], 403),
        (vec![form, "Origin: https://evil.example"], 403),
        (vec![form, "Origin: null"], 403),
        (vec![form, "Sec-Fetch-Site: cross-site"], 403),
    ] {
        for path in ["/upgrade/start", "/upgrade/check", "/upgrade/restore"] {
            let answer = world.send("POST", path, &headers, "name=1.0.0");
            assert_eq!(answer.status, status, "{path} {headers:?}");
        }
    }
    assert_app(&world, "1.0.0");
    assert_eq!(world.server.requests().len(), 0);
}

#[test]
fn the_page_shows_notes_without_what_would_run_and_links_that_are_relative() {
    let mut world = installation("");
    offer(&world, &["1.1.0", "1.0.0"]);
    world.start();
    for (headers, title) in [
        (vec!["Accept-Language: en"], "Upgrade to 1.1.0"),
        (
            vec!["Accept-Language: zh-CN,zh;q=0.9,en;q=0.8"],
            "升级到 1.1.0",
        ),
    ] {
        let page = world.send("GET", "/upgrade", &headers, "");
        assert_eq!(page.status, 200);
        let policy =
            "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'";
        assert!(page.head.contains(policy), "{}", page.head);
        assert!(!page.head.contains("unsafe"));
        let body = &page.body;
        for part in [
            title,
            "<strong>faster</strong>",
            "href=\"https://docs.example/otrs\" rel=\"noopener",
            "href=\"https://github.example/owner/otrs/releases/tag/v1.1.0\"",
        ] {
            assert!(body.contains(part), "{part}: {body}");
        }
        for part in ["taken", "javascript:", "evil.example", "style=", "onclick"] {
            assert!(!body.contains(part), "{part}: {body}");
        }
        // Under the path of another server they lead to the same places.
        for link in ["href=\"", "src=\"", "action=\""] {
            for target in body.split(link).skip(1) {
                assert!(!target.starts_with('/'), "{target:.40}");
            }
        }
    }
    let both = world.send("GET", "/upgrade?lang=zh-CN", &["Accept-Language: en"], "");
    assert!(both.body.contains("<html lang=\"zh-CN\">"));
    assert!(both.body.contains("action=\"upgrade/start?lang=zh-CN\""));
    for name in ["style.css", "upgrade.css", "upgrade.js", "icon.svg"] {
        let file = world.send("GET", &format!("/upgrade/files/{name}"), &[], "");
        assert_eq!(file.status, 200);
    }
    assert_eq!(
        world.send("GET", "/upgrade/files/../x", &[], "").status,
        404
    );
}

#[test]
fn events_tell_of_an_upgrade_as_it_happens_and_end_with_the_updater() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let mut world = installation("");
    offer(&world, &["1.1.0"]);
    world.start();
    let address = world.address().to_owned();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    write!(
        stream,
        "GET /upgrade/events?lang=zh-CN HTTP/1.1\r\nHost: {address}\r\n\r\n"
    )
    .unwrap();
    let mut events = BufReader::new(stream).lines().map_while(Result::ok);
    let mut next = || -> Value {
        let line = events.find(|line| line.starts_with("data: ")).unwrap();
        serde_json::from_str(&line["data: ".len()..]).unwrap()
    };
    assert_eq!(next()["busy"], false);
    press(&world);
    let mut seen = Vec::new();
    let mut log = Vec::new();
    loop {
        let now = next();
        assert_eq!(now["from"], log.len(), "no line twice, none left out");
        log.extend(now["lines"].as_array().unwrap().clone());
        seen.push(now["stage"].as_str().unwrap().to_owned());
        if now["busy"] == false {
            assert_eq!(now["message"], "版本 v1.1.0 已安装并正常运行");
            break;
        }
    }
    seen.dedup();
    assert_eq!(seen.last().unwrap(), "success");
    assert!(seen.contains(&"installing".to_owned()), "{seen:?}");
    assert_eq!(json!(log), world.get("/upgrade/api/upgrade-log")["log"]);
    // An open page keeps nobody from ending.
    let begun = Instant::now();
    world.terminate();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_second_one_is_told_that_one_is_under_way() {
    let mut world = installation("");
    offer(&world, &["1.1.0"]);
    let tarball = "/repos/owner/otrs/tarball/v1.1.0";
    world.server.replace(tarball, Reply::status(200).silent());
    world.start();
    press(&world);
    let url = world.server.url(tarball);
    let (status, answer) = world.call(
        "POST",
        "/upgrade/api/start-upgrade",
        Some(&json!({"download_url": url}).to_string()),
    );
    assert_eq!(
        (status, answer),
        (
            409,
            json!({"success": false, "error": "Operation already in progress: downloading"})
        )
    );
    let page = world.send("GET", "/upgrade?lang=en", &[], "").body;
    assert!(
        page.contains("<noscript><meta http-equiv=\"refresh\""),
        "{page}"
    );
    assert!(!page.contains("<button class=\"main\""), "{page}");
}

#[test]
fn an_order_that_waits_outlives_an_upgrade_that_finds_nothing() {
    let mut world = installation("update.when = \"manual\"");
    offer(&world, &["1.0.0"]);
    world.start();
    world.fetch("1.1.0", &package("1.1.0").build().bytes);
    press(&world);
    let done = world.wait_for("success");
    assert_eq!(
        done["data"]["message"],
        "Version v1.0.0 is installed already"
    );
    world.install("1.1.0");
    until(|| read(&world, "VERSION") == "1.1.0", || world.log());
    world.wait_for("success");
    assert_app(&world, "1.1.0");
}

#[test]
fn an_archive_of_unknown_length_is_not_said_to_be_whole() {
    let mut world = installation("update.when = \"manual\"");
    offer(&world, &["1.1.0"]);
    let (path, bytes) = tarball("1.1.0");
    let slow = Reply::file(&bytes).chunked();
    let slow = slow.trickle(bytes.len() / 20, Duration::from_millis(100));
    world.server.replace(&path, slow);
    world.start();
    press(&world);
    let now = || world.progress()["data"].clone();
    let mut seen = Value::Null;
    let fetching = || {
        seen = now();
        seen["message"].as_str().unwrap().ends_with(" MB")
    };
    until(fetching, || world.log());
    assert_eq!(seen["progress"], 0, "{seen}");
    assert!(!seen["message"].as_str().unwrap().contains('/'), "{seen}");
    world.wait_for("success");
    assert_app(&world, "1.1.0");
}

#[test]
fn what_another_process_or_the_disk_keeps_from_beginning_is_said() {
    let mut world = installation("update.when = \"manual\"");
    offer(&world, &["1.1.0"]);
    world.start();
    assert_eq!(upgrade(&world)["success"], true);
    let path = world.opt().join(".castoff/operation.lock");
    let lock = fs::File::open(&path).unwrap();
    lock.lock().unwrap();
    let english = "Another process is at work on this app";
    let assert_said = |status: u16, texts: [&str; 2]| {
        for (lang, text) in ["en", "zh-CN"].iter().zip(texts) {
            for (path, form) in [("start", ""), ("restore", "name=1.0.0")] {
                let answer = submit(&world, &format!("/upgrade/{path}?lang={lang}"), form);
                assert_eq!(answer.status, status, "{answer:?}");
                let body = answer.body;
                assert!(body.contains(&format!("<h1>{text}")), "{text}: {body}");
                assert!(body.contains(&format!("../upgrade?lang={lang}")), "{body}");
            }
        }
    };
    assert_said(409, [english, "另一个进程正在处理此应用"]);
    let url = world.server.url("/repos/owner/otrs/tarball/v1.1.0");
    let backup = world.opt().join(".backup/1.0.0");
    for (path, wanted) in [
        ("start-upgrade", json!({"download_url": url})),
        ("restore-backup", json!({"backup_path": backup})),
    ] {
        let path = format!("/upgrade/api/{path}");
        let error = format!("Operation already in progress: {english}");
        let refused = json!({"success": false, "error": error});
        let told = world.call("POST", &path, Some(&wanted.to_string()));
        assert_eq!(told, (409, refused));
    }
    drop(lock);
    // A lock that cannot be had.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_said(500, ["", ""]);
    fs::remove_dir(&path).unwrap();
    assert_app(&world, "1.1.0");
    let restored = submit(&world, "/upgrade/restore?lang=en", "name=1.0.0");
    assert_eq!(restored.status, 303);
    world.wait_for("success");
    assert_app(&world, "1.0.0");
}
