//! What an app is told of its version, and what becomes of versions that are looked for unasked.

use std::fs;

use castoff_testkit::http::Reply;
use castoff_testkit::package::{Package, sha256};
use castoff_testkit::until;
use serde_json::{Value, json};

use crate::forge;
use crate::world::World;

const REPO: &str = "owner/otrs";

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
    world.server.replace(&path, Reply::file(&bytes));
    let mut release = forge::release(world, REPO, version, b"");
    release["body"] = json!(notes);
    release["assets"] = json!([{
        "name": "otrs.zip", "size": bytes.len(), "digest": format!("sha256:{}", sha256(&bytes)),
        "url": world.server.url(&format!("/repos/{REPO}/releases/assets/1")),
        "browser_download_url": world.server.url(&path),
    }]);
    forge::announce(world, REPO, &[release.clone()]);
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
    let now = read(&world, ".env");
    assert_eq!(now, "SECRET=1\nAPP_VERSION=1.3.0\nDEBUG=0\n");
    assert_eq!(world.calls(), ["stop otrs", "start otrs"]);
    assert_eq!(world.get("/upgrade/api/upgrade-log")["log"], done["log"]);
    let log = || read(&world, "logs/update.log");
    until(|| log().contains("Successfully installed version"), log);

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

/// Any other user than root.
const USER: u32 = 65534;

#[test]
#[expect(
    clippy::print_stderr,
    reason = "what is left out is said where tests say it"
)]
fn what_belongs_to_the_apps_user_is_written_with_that_users_rights() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    if !crate::orders::is_root() {
        eprintln!("left out: this is not root");
        return;
    }
    let record = "record = { env_file = \"conf/.env\", sqlite = \"db/data.db\", \
         statement = \"UPDATE app_update_status SET current_version = :version\" }";
    let mut world = world("", record);
    for (folder, file, text) in [("conf", ".env", "A=1\n"), ("db", "data.db", "")] {
        let folder = world.opt().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file), text).unwrap();
    }
    let database = world.opt().join("db/data.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE app_update_status (current_version TEXT);
             INSERT INTO app_update_status VALUES ('1.2.9')",
        )
        .unwrap();
    drop(connection);
    for path in ["conf", "conf/.env", "db", "db/data.db"] {
        chown(world.opt().join(path), Some(USER), Some(USER)).unwrap();
    }
    // They get as far as their folders.
    for folder in [world.home(), &world.opt()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    release(&world, "1.3.0", "");
    world.start();
    let done = upgrade(&world);
    assert_eq!(done["success"], true, "{done}");
    let user = std::process::Command::new(env!("CARGO_BIN_EXE_castoff"));
    let runs = std::os::unix::process::CommandExt::uid(&mut { user }, USER)
        .arg("--version")
        .output();
    if !runs.is_ok_and(|output| output.status.success()) {
        eprintln!("left out: another user does not reach the program");
        return;
    }
    assert_eq!(
        read(&world, "conf/.env"),
        "A=1\nAPP_VERSION=1.3.0\n",
        "{}",
        world.log()
    );
    let connection = rusqlite::Connection::open(&database).unwrap();
    let version: String = connection
        .query_row("SELECT current_version FROM app_update_status", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(version, "1.3.0");
    let owner = fs::metadata(world.opt().join("conf/.env")).unwrap().uid();
    assert_eq!(owner, USER);
    // A link that the user has put there leads nowhere that they may not write.
    let foreign = world.opt().join("foreign");
    fs::write(&foreign, "A=1\n").unwrap();
    let env = world.opt().join("conf/.env");
    fs::remove_file(&env).unwrap();
    std::os::unix::fs::symlink(&foreign, &env).unwrap();
    release(&world, "1.4.0", "");
    assert_eq!(upgrade(&world)["success"], true);
    assert_eq!(
        fs::read_to_string(&env).unwrap(),
        "A=1\nAPP_VERSION=1.4.0\n"
    );
}

#[test]
fn what_is_found_unasked_waits_for_a_word_or_is_installed_and_the_outcome_is_told() {
    let often = "update.when = \"background\"\nupdate.interval = 1";
    let mut waits = world(often, "");
    release(&waits, "1.3.0", "");
    waits.start();
    let asked = |world: &World| {
        world
            .server
            .asked(&format!("/repos/{REPO}/releases/latest"))
    };
    until(|| asked(&waits) >= 2, || waits.log());
    assert_eq!(read(&waits, "app.py"), "app 1.2.9");
    // What leads back against the rules is no failure, at every check again.
    let refuse = format!("{often}\nupdate.downgrade = \"refuse\"");
    let mut older = crate::unasked::world(&refuse, "checks = { install = true }");
    release(&older, "1.2.0", "");
    older.start();
    until(|| asked(&older) >= 2, || older.log());
    assert_eq!(older.progress()["data"]["stage"], "idle");

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
    until(|| !outcomes().is_empty(), || world.log());
    let told = &outcomes()[0];
    let wanted = (&json!("failed"), &json!("1.2.9"));
    assert_eq!((&told["outcome"], &told["version"]), wanted, "{told}");
    assert_eq!(told["code"], "DEPLOYMENT_FAILED");
    // What has failed here is not tried again by itself.
    world.faults(&[]);
    let before = asked(&world);
    until(|| asked(&world) >= before + 3, || world.log());
    assert_eq!(read(&world, "app.py"), "app 1.2.9");
    // Nor is it told again.
    assert_eq!(outcomes().len(), 1);
    assert_eq!(world.progress()["data"]["stage"], "failed");
    // The next version is.
    release(&world, "1.4.0", "");
    let app = || read(&world, "app.py");
    until(|| app() == "app 1.4.0", || world.log());
}
