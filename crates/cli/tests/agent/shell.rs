//! `castoff update` of an app that has services: the same upgrade, from a shell.

use std::fs;
use std::process::Output;
use std::time::Duration;

use castoff_testkit::http::Reply;
use castoff_testkit::until;
use serde_json::{Value, json};

use crate::forge;
use crate::otrs::{assert_app, installation, offer, tarball};
use crate::world::World;

fn update(world: &World, more: &[&str]) -> Output {
    let arguments = [&["update"][..], more].concat();
    world.command(&arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn log(world: &World) -> String {
    fs::read_to_string(world.opt().join("logs/update.log")).unwrap_or_default()
}

/// Release and package of a version, by its tag.
fn offer_tag(world: &World, repo: &str, version: &str) {
    let release = forge::release(world, repo, version, &tarball(version).1);
    let tag = format!("/repos/{repo}/releases/tags/v{version}");
    world
        .server
        .replace(&tag, Reply::json(&release.to_string()));
}

#[test]
fn an_app_is_upgraded_from_a_shell_with_its_services_and_a_line_for_each_step() {
    let world = installation("hooks.after_commit = [\"true\"]\ndatabases.sqlite = [\"data.db\"]");
    let database = rusqlite::Connection::open(world.opt().join("data.db")).unwrap();
    database.execute_batch("CREATE TABLE t (x)").unwrap();
    let agent = world.opt().join("agent.toml");
    let text = fs::read_to_string(&agent).unwrap();
    let text = text.replace(
        "[services]",
        "[packages]\nkeep_in = \"instance/releases\"\n[services]",
    );
    fs::write(&agent, text).unwrap();
    offer(&world, &["1.1.0"]);
    let output = update(&world, &[]);
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    assert_app(&world, "1.1.0");
    assert_eq!(world.calls(), ["stop otrs", "start otrs"]);
    for line in [
        "] [INFO] The source offers version v1.1.0, 1.0.0 is installed\n",
        "] [INFO] Stopping services...\n",
        "] [INFO] Copying the databases\n",
        "] [INFO] Running the commands of hooks.after_commit\n",
        "] [INFO] Starting services...\n",
        "] [INFO] Successfully installed version v1.1.0\n",
    ] {
        assert!(told.contains(line), "{line}: {told}");
        assert!(log(&world).contains(line), "{line}: {}", log(&world));
    }
    assert!(
        told.ends_with("\nSuccessfully installed version v1.1.0\n"),
        "{told}"
    );
    // The package stays, as it was fetched.
    let kept = world
        .opt()
        .join("instance/releases/1.1.0/org.castoff.otrs-1.1.0.tar.gz");
    assert_eq!(fs::read(kept).unwrap(), tarball("1.1.0").1);

    // Nothing new: nothing is stopped or started.
    let again = update(&world, &["--json"]);
    let document: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(document["outcome"], "success", "{document}");
    assert_eq!(document["message"], "Version v1.1.0 is installed already");
    assert_eq!(world.calls(), [""; 0]);
}

#[test]
fn packages_stay_as_many_as_backups_and_nothing_else_goes() {
    let world = installation("update.keep = 2");
    let agent = world.opt().join("agent.toml");
    let text = fs::read_to_string(&agent).unwrap();
    let text = text.replace("[services]", "[packages]\nkeep_in = \"kept\"\n[services]");
    fs::write(&agent, text).unwrap();
    for other in ["0.9.0/notes.txt", "readme/org.castoff.otrs-readme.zip"] {
        let path = world.opt().join("kept").join(other);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "mine").unwrap();
    }
    for version in ["1.2.0", "1.9.0", "1.10.0"] {
        offer(&world, &[version]);
        let output = update(&world, &[]);
        assert!(output.status.success(), "{}", said(&output));
    }
    // One that does not come to run is not kept, and takes no other's place.
    offer(&world, &["1.11.0"]);
    world.faults(&["dies otrs 1.11.0"]);
    assert!(!update(&world, &[]).status.success());
    let kept = fs::read_dir(world.opt().join("kept")).unwrap();
    let mut kept: Vec<_> = kept.map(|it| it.unwrap().file_name()).collect();
    kept.sort();
    assert_eq!(kept, ["0.9.0", "1.10.0", "1.9.0", "readme"]);
}

#[test]
fn another_repository_and_one_version_can_be_meant() {
    let world = installation("");
    offer(&world, &["1.2.0"]);
    offer_tag(&world, "other/otrs", "1.1.0");
    let output = update(&world, &["--repo=other/otrs", "--target=v1.1.0"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_app(&world, "1.1.0");
    // For this once.
    let output = update(&world, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(
        fs::read_to_string(world.opt().join("VERSION")).unwrap(),
        "1.2.0"
    );
    for (wrong, code) in [
        ("--repo=../x", "CONFIG_INVALID"),
        ("--target=new", "VERSION_INVALID"),
    ] {
        let output = update(&world, &[wrong]);
        assert!(!output.status.success());
        assert!(said(&output).contains(code), "{}", said(&output));
    }
}

#[test]
fn what_does_not_run_or_does_not_migrate_leads_back_and_is_told_by_the_exit_code() {
    let world = installation("");
    offer(&world, &["1.1.0"]);
    world.faults(&["dies otrs 1.1.0"]);
    let output = update(&world, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).ends_with("\nUpdate failed, version 1.0.0 is back\n"));
    assert!(log(&world).contains("] [ERROR] "), "{}", log(&world));
    assert_app(&world, "1.0.0");

    let world = installation("hooks.after_commit = [\"exit 3\"]");
    offer(&world, &["1.1.0"]);
    let output = update(&world, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["outcome"], "failed");
    let error = document["error"].as_str().unwrap();
    assert!(error.contains("after_commit"), "{error}");
    assert_app(&world, "1.0.0");
}

#[test]
fn a_shell_and_the_resident_updater_take_turns_and_take_up_what_the_other_has_left() {
    let mut world = installation("update.when = \"manual\"");
    offer(&world, &["1.1.0"]);
    world.start();
    // Killed while the services stand still: the resident one brings the app back, told or not.
    let mut killed = world.command(&["update"]);
    let killed = killed.env("CASTOFF_FAIL", "commit.rename=kill").output();
    assert!(!killed.unwrap().status.success());
    assert_eq!(world.state("otrs"), "inactive");
    let order = json!({"download_url": world.server.url("/repos/owner/otrs/tarball/v1.1.0")});
    let start = || {
        world.call(
            "POST",
            "/upgrade/api/start-upgrade",
            Some(&order.to_string()),
        )
    };
    world.wait_for("failed");
    assert_app(&world, "1.0.0");

    // While a shell is at work, the page is told so.
    offer(&world, &["1.2.0"]);
    let (path, bytes) = tarball("1.2.0");
    let slow = Reply::file(&bytes).delay(Duration::from_secs(3));
    world.server.replace(&path, slow);
    let before = world.server.asked(&path);
    let mut shell = world.command(&["update"]).spawn().unwrap();
    until(|| world.server.asked(&path) > before, || "nobody asks");
    assert_eq!(start().0, 409);
    let second = update(&world, &[]);
    assert!(
        said(&second).contains("UPDATE_RUNNING"),
        "{}",
        said(&second)
    );
    assert!(shell.wait().unwrap().success());
    let read = |name: &str| fs::read_to_string(world.opt().join(name)).unwrap();
    assert_eq!(read("VERSION"), "1.2.0");
    // And a shell takes up what was left by one that nobody restarts.
    world.kill();
    offer(&world, &["1.3.0"]);
    let mut killed = world.command(&["update"]);
    let killed = killed.env("CASTOFF_FAIL", "commit.rename=kill").output();
    assert!(!killed.unwrap().status.success());
    let output = update(&world, &[]);
    assert!(output.status.success(), "{}", said(&output));
    let version = fs::read_to_string(world.opt().join("VERSION")).unwrap();
    assert_eq!(version, "1.3.0");
    assert_eq!(world.state("otrs"), "active");
}

#[test]
fn told_to_end_it_leaves_a_download_and_finishes_an_installation() {
    let world = installation("");
    offer(&world, &["1.1.0"]);
    let (path, bytes) = tarball("1.1.0");
    world
        .server
        .replace(&path, Reply::file(&bytes).stall_after(10));
    let end = |world: &World, ready: &dyn Fn() -> bool| {
        let child = world.command(&["update"]).spawn().unwrap();
        until(ready, || log(world));
        let id = child.id().to_string();
        let told = std::process::Command::new("kill")
            .args(["-INT", &id])
            .status();
        assert!(told.unwrap().success());
        child.wait_with_output().unwrap().status.code()
    };
    let asked = || world.server.asked(&path) > 0;
    assert_eq!(end(&world, &asked), Some(130));
    assert_app(&world, "1.0.0");
    assert_eq!(world.calls(), [""; 0]);

    let world = installation("hooks.after_commit = [\"touch begun; sleep 2\"]");
    offer(&world, &["1.1.0"]);
    let begun = || world.opt().join("begun").exists();
    assert_eq!(end(&world, &begun), Some(0));
    assert_app(&world, "1.1.0");
}

#[test]
fn why_nothing_is_begun_is_said_in_the_language_of_the_shell() {
    let world = installation("update.when = \"manual\"");
    offer(&world, &["1.1.0"]);
    fs::create_dir_all(world.opt().join(".castoff")).unwrap();
    let lock = fs::File::create(world.opt().join(".castoff/operation.lock")).unwrap();
    lock.lock().unwrap();
    let told = |locale: &str| {
        let mut command = world.command(&["update"]);
        let output = command.env("LC_ALL", locale).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        said(&output)
    };
    for (locale, text) in [
        ("C", "Another update of this app is under way ("),
        ("zh_CN.UTF-8", "这个应用正在进行另一次更新（"),
    ] {
        let told = told(locale);
        let last = told.lines().last().unwrap();
        assert!(last.starts_with(text), "{told}");
        assert!(last.ends_with(" [UPDATE_RUNNING]"), "{told}");
    }
    drop(lock);
    // Also where the configuration cannot be read.
    let path = world.opt().join("launcher.toml");
    fs::write(path, "app = \"org.castoff.otrs\"\nlog_levl = \"debug\"").unwrap();
    for (locale, text, meant) in [
        ("C", "The settings hold", " Did you mean log_level?"),
        ("zh_CN.UTF-8", "设置中有", "您要写的是 log_level 吗？"),
    ] {
        let told = told(locale);
        assert!(told.contains(text) && told.contains(meant), "{told}");
        assert!(told.ends_with(" [CONFIG_INVALID]\n"), "{told}");
    }
}
