//! The trial: a version that cannot run is undone, remembered, and the one before starts.

use castoff_testkit::package::Package;

use crate::world::{ENTRY, World, app, dying, dying_after, ending};

fn with_entry(version: &str, script: String) -> Package {
    app(version).executable(ENTRY, script)
}

fn installed() -> World {
    let world = World::new();
    world.publish_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    world
}

/// The new version fails; the old one starts in the same run, and the bad one is not tried again.
fn assert_rolled_back(package: &Package, code: &str) {
    let world = installed();
    let before = world.tree();
    world.publish("1.1.0", package);
    let run = world.run(&["x"]);
    run.assert_app("1.0.0").assert_told(code);
    assert_eq!(world.tree(), before);
    assert_eq!(world.version(), "1.0.0");
    assert_eq!(world.backups(), Vec::<String>::new());
    world.assert_tidy();
    let fetched = world.server.requests().len();
    let again = world.run(&[]);
    again.assert_app("1.0.0");
    assert_eq!(
        world.server.requests().len(),
        fetched + 1,
        "only checked, not fetched again"
    );
    assert_eq!(world.state()["last"]["outcome"], "BAD_VERSION");
    // A corrected package of the same version is another one.
    world.publish_app("1.1.0");
    world.run(&[]).assert_app("1.1.0");
}

#[test]
fn a_version_that_dies_by_a_signal_is_undone() {
    assert_rolled_back(&with_entry("1.1.0", dying()), "TRIAL_FAILED");
}

#[test]
fn a_version_whose_entry_point_is_missing_is_undone() {
    let package = Package::new("1.1.0")
        .file("other.txt", b"no entry point")
        .list();
    assert_rolled_back(&package, "ENTRY_MISSING");
}

#[test]
fn a_version_whose_entry_point_cannot_be_executed_is_undone() {
    let world = installed();
    let mut answer = World::answer(
        &world.publish(
            "1.1.0",
            &app("1.1.0").executable("run.exe", b"\x7fELF no program"),
        ),
        "1.1.0",
    );
    answer["entry_point"] = "run.exe".into();
    world.announce(&answer);
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("START_FAILED");
    assert_eq!(world.version(), "1.0.0");
}

#[test]
fn an_early_exit_is_no_crash_and_stays_on_trial() {
    let world = installed();
    world.publish("1.1.0", &with_entry("1.1.0", ending("early", 3)));
    for _ in 0..5 {
        let run = world.run(&[]);
        assert_eq!(
            (run.code, run.stdout.trim_end()),
            (Some(3), "early"),
            "{run:?}"
        );
        assert_eq!(world.version(), "1.1.0");
    }
    assert_eq!(world.state()["trial"]["version"], "1.1.0");
}

#[cfg(unix)]
#[test]
fn a_machine_that_dies_with_the_new_version_does_not_try_for_ever() {
    let world = installed();
    world.publish(
        "1.1.0",
        &with_entry("1.1.0", "#!/bin/sh\nkill -KILL $PPID\n".to_owned()),
    );
    for _ in 0..2 {
        world.run(&[]).assert_killed();
        assert_eq!(world.version(), "1.1.0");
    }
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("TRIAL_FAILED");
}

#[test]
fn a_first_install_that_dies_has_nothing_to_go_back_to_and_says_so() {
    let world = World::new();
    world.publish("1.0.0", &with_entry("1.0.0", dying()));
    let run = world.run(&[]);
    run.assert_told("TRIAL_FAILED");
    assert_ne!(run.code, Some(0));
    assert_eq!(world.version(), "1.0.0", "it stays installed");
    world.publish_app("1.0.1");
    world.run(&[]).assert_app("1.0.1");
}

#[test]
fn backups_are_listed_kept_to_their_number_and_restored_bit_for_bit() {
    let world = World::with("[update]\nkeep = 2");
    let mut trees = Vec::new();
    for version in ["1.0.0", "1.1.0", "1.2.0", "1.3.0"] {
        world.publish_app(version);
        world.run(&[]).assert_app(version);
        world.run(&[]).assert_app(version);
        trees.push(world.tree());
    }
    assert_eq!(world.backups(), ["1.1.0", "1.2.0"]);
    let list = world.run(&["--castoff", "backups", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(list[0]["version"], "1.2.0");
    assert_eq!(list[0]["reason"], "update to 1.3.0");
    assert_eq!(
        world
            .run(&["--castoff", "backups", "restore", "1.1.0"])
            .code,
        Some(0)
    );
    assert_eq!(world.tree(), trees[1]);
    let missing = world.run(&["--castoff", "backups", "restore", "7.7.7"]);
    missing.assert_told("BACKUP_NOT_FOUND");
    assert_ne!(missing.code, Some(0));
}

#[test]
fn a_damaged_backup_is_not_restored_and_not_deleted() {
    let world = installed();
    world.publish_app("1.1.0");
    world.run(&[]).assert_app("1.1.0");
    let kept = world.path(".backup/1.0.0/data/changes.txt");
    std::fs::remove_file(&kept).unwrap();
    std::fs::write(&kept, "damaged").unwrap();
    let run = world.run(&["--castoff", "backups", "restore", "1.0.0"]);
    run.assert_told("BACKUP_DAMAGED");
    assert!(kept.exists());
    world.run(&[]).assert_app("1.1.0");
}

#[test]
fn a_restore_leaves_what_is_preserved_alone_and_lasts() {
    let world = World::with("[update]\npreserve = [\"data.db\"]");
    world.publish("1.0.0", &app("1.0.0").file("data.db", b"empty"));
    world.run(&[]).assert_app("1.0.0");
    world.publish("1.1.0", &app("1.1.0").file("data.db", b"empty"));
    world.run(&[]).assert_app("1.1.0");
    world.write("data.db", "a month of work");
    let restored = world.run(&["--castoff", "backups", "restore", "1.0.0"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert_eq!(world.read("data.db"), "a month of work");
    // What was left by hand is not installed again by the next start, but on request.
    world.run(&[]).assert_app("1.0.0");
    let forced = world.run(&["--castoff", "update", "--force"]);
    assert_eq!(forced.code, Some(0), "{forced:?}");
    world.run(&[]).assert_app("1.1.0");
}

#[test]
fn a_failed_version_without_a_usable_backup_is_started_as_it_is() {
    let world = installed();
    world.publish("1.1.0", &with_entry("1.1.0", dying()));
    let damage = dying_after("rm -rf .backup", "rmdir /s /q .backup");
    world.publish("1.1.0", &with_entry("1.1.0", damage));
    let run = world.run(&[]);
    run.assert_told("TRIAL_FAILED");
    // Nothing to go back to: it is not refused for ever.
    world.write(ENTRY, &ending("app 1.1.0 mended", 0));
    world.run(&[]).assert_app("1.1.0");
}

#[test]
fn a_backup_named_outside_the_folder_is_not_followed() {
    let world = installed();
    let victim = world.home().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("precious"), "mine").unwrap();
    world.publish("1.1.0", &with_entry("1.1.0", ending("early", 1)));
    world.run(&[]);
    std::fs::copy(
        world.path(".backup/1.0.0/backup.json"),
        victim.join("backup.json"),
    )
    .unwrap();
    let state = world.read(".castoff/state.json");
    let evil = state.replace("\"name\": \"1.0.0\"", "\"name\": \"../../victim\"");
    assert_ne!(state, evil);
    world.write(".castoff/state.json", &evil);
    world.write(ENTRY, &dying());
    world.run(&[]).assert_told("TRIAL_FAILED");
    assert_eq!(
        std::fs::read_to_string(victim.join("precious")).unwrap(),
        "mine"
    );
}

#[test]
fn an_entry_point_outlives_the_loss_of_the_state() {
    let world = installed();
    std::fs::remove_file(world.path(".castoff/state.json")).unwrap();
    world.server.unroute(crate::world::CHECK);
    world.run(&[]).assert_app("1.0.0");
}

#[test]
fn a_folder_that_the_app_has_filled_is_kept_beside_what_comes_back() {
    let world = World::new();
    world.publish("1.0.0", &app("1.0.0").file("data/x", b"a file"));
    world.run(&[]).assert_app("1.0.0");
    let script = dying_after("echo mine > data/x/users", "echo mine>data\\x\\users");
    world.publish(
        "1.1.0",
        &with_entry("1.1.0", script).file("data/x/inner", b"in a folder"),
    );
    world.run(&[]).assert_app("1.0.0");
    assert_eq!(world.read("data/x"), "a file");
    assert_eq!(world.read("data/x.kept-1/users").trim_end(), "mine");
}

#[test]
fn what_is_preserved_stays_through_a_restore() {
    let world = World::with("[update]\npreserve = [\"data/\", \"new.ini\"]");
    world.publish_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    let restore = || {
        let run = world.run(&["--castoff", "backups", "restore", "1.0.0"]);
        assert_eq!(run.code, Some(0), "{run:#?}");
    };
    let update = |version| {
        world.publish(version, &app(version).file("new.ini", "default"));
        world.run(&[]).assert_app(version);
    };
    update("1.1.0");
    // As long as what it replaces: only its content and its time tell.
    let mine = "changes by me\n";
    world.write("data/changes.txt", mine);
    world.write("new.ini", "mine too");
    restore();
    assert_eq!(world.read("data/changes.txt"), mine);
    assert_eq!(world.read("new.ini"), "mine too");
    // What is recorded is what is there, so that the next backup is right.
    update("1.2.0");
    std::fs::remove_file(world.path("data/changes.txt")).unwrap();
    restore();
    assert_eq!(world.read("data/changes.txt"), mine);
}

#[cfg(unix)]
#[test]
fn a_restore_with_a_link_in_the_way_changes_nothing() {
    let world = installed();
    world.publish_app("1.1.0");
    world.run(&[]).assert_app("1.1.0");
    let elsewhere = world.home().join("elsewhere");
    std::fs::rename(world.path("data"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, world.path("data")).unwrap();
    let before = world.tree();
    let run = world.run(&["--castoff", "backups", "restore", "1.0.0"]);
    run.assert_told("TARGET_UNSAFE");
    assert_eq!(world.tree(), before);
    world.assert_tidy();
    world.run(&[]).assert_app("1.1.0");
}
