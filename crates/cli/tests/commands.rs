//! The commands on a client folder, and the demo, as a person or a script calls them.

mod common;

use castoff_testkit::http::{Reply, Server};
use serde_json::{Value, json};

use common::{CHECK, ENTRY, app, castoff, document, folder_asking, publish};

#[test]
fn check_update_run_backups_and_doctor_work_on_a_client_folder() {
    let server = Server::start();
    let folder = folder_asking(&server, "app = \"org.castoff.test\"");
    let home = folder.path();

    publish(&server, "1.0.0", &app("1.0.0"));
    let check = document(&castoff(home, &["check", "--json"]));
    assert_eq!(check["update_available"], true);
    assert_eq!(check["installed"], Value::Null);
    assert!(
        !home.join("client").join(ENTRY).exists(),
        "a check changes nothing"
    );

    let update = document(&castoff(home, &["update", "--json"]));
    assert_eq!(
        update,
        json!({"outcome": "installed", "version": "1.0.0", "from": null})
    );
    let check = document(&castoff(home, &["check", "--json"]));
    assert_eq!(check["update_available"], false);

    publish(&server, "1.1.0", &app("1.1.0"));
    let update = document(&castoff(home, &["update", "--json"]));
    assert_eq!(
        update,
        json!({"outcome": "updated", "version": "1.1.0", "from": "1.0.0"})
    );
    let run = castoff(home, &["run", "--dir", ".", "--", "a", "b c"]);
    let told = String::from_utf8_lossy(&run.stdout).replace('"', "");
    assert_eq!(told.trim_end(), "app 1.1.0 a b c");

    let list = document(&castoff(home, &["backups", "--json"]));
    assert_eq!(list[0]["version"], "1.0.0");
    let doctor = document(&castoff(home, &["doctor", "--json"]));
    assert_eq!(doctor["installed"], "1.1.0");
    assert_eq!(doctor["interrupted"], false);
    assert_eq!(doctor["backups"], 1);
    let doctor = castoff(home, &["doctor"]);
    assert!(
        String::from_utf8_lossy(&doctor.stdout).contains("1.1.0"),
        "{doctor:?}"
    );

    let restored = castoff(home, &["backups", "restore", "1.0.0"]);
    assert!(restored.status.success(), "{restored:?}");
    assert!(home.join("client/only-1.0.0").exists());
    assert!(!home.join("client/only-1.1.0").exists());
}

#[test]
fn an_error_is_a_document_with_its_code_too() {
    let server = Server::start();
    let folder = folder_asking(&server, "");
    server.route(CHECK, Reply::status(500));
    let check = castoff(folder.path(), &["check", "--json"]);
    assert_eq!(document(&check)["error"], "HTTP_STATUS");
    assert_eq!(check.status.code(), Some(69));
}

#[cfg(target_os = "linux")]
#[test]
fn shortcuts_to_a_folder_and_its_uninstall() {
    let server = Server::start();
    let folder = folder_asking(&server, "name = \"App\"");
    let home = folder.path();
    publish(&server, "1.0.0", &app("1.0.0"));
    assert!(castoff(home, &["update"]).status.success());
    let made = document(&castoff(home, &["shortcut", "--menu", "--json"]));
    let path = made["shortcuts"][0].as_str().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let start = format!(" run --dir {}\n", home.display());
    assert!(text.contains(&start), "{text}");
    let output = castoff(home, &["uninstall", "--yes", "--json"]);
    let removed = document(&output);
    assert_eq!(removed["files"], 2, "{output:?}");
    assert_eq!(removed["shortcuts"], made["shortcuts"]);
    assert_eq!(removed["launcher_removed"], false, "castoff is no launcher");
    assert!(!home.join("client").exists() && home.join("launcher.toml").exists());
    assert!(castoff(home, &["--version"]).status.success());
}

#[test]
fn the_demo_tells_its_twelve_steps() {
    let folder = tempfile::tempdir().unwrap();
    let demo = castoff(folder.path(), &["demo"]);
    assert!(demo.status.success(), "{demo:?}");
    let told = String::from_utf8_lossy(&demo.stdout);
    let versions: Vec<&str> = told
        .lines()
        .filter_map(|line| line.split("I am version ").nth(1)?.split(',').next())
        .collect();
    let crash_loop = ["1.4.0", "1.4.0", "1.1.0", "1.1.0", "1.4.1"];
    let expected = [
        &["1.0.0", "1.1.0", "1.1.0", "1.1.0"][..],
        &crash_loop,
        &["1.1.0"],
        // Fetched in the background, and installed.
        &["1.1.0", "1.4.2"],
        // Signed, then offered by a thief, then offline.
        &["1.5.0"; 3],
    ];
    assert_eq!(versions, expected.concat(), "{told}");
    let errors = String::from_utf8_lossy(&demo.stderr);
    for code in [
        "HASH_MISMATCH",
        "ENTRY_MISSING",
        "TRIAL_FAILED",
        "TRUST_SIGNATURE",
        "SOURCE_UNREACHABLE",
    ] {
        assert!(errors.contains(code), "{code}: {errors}");
    }
}
