//! `doctor` and `doctor --repair`: what is missing or damaged is found and brought back.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::world::{CHECK, ENTRY, Layout, Run, World, app};

const REPAIR: [&str; 4] = ["--castoff", "doctor", "--repair", "--json"];

/// Versions installed one after the other, all of them good.
fn installed(layout: Layout, config: &str, versions: &[&str]) -> World {
    let world = World::laid_out(layout, config);
    for version in versions {
        world.update_to(version);
    }
    world
}

fn document(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("no document: {run:#?}"))
}

/// What plain `doctor` says of the files.
fn files(world: &World) -> Value {
    document(&world.run(&["--castoff", "doctor", "--json"]))["files"].clone()
}

#[track_caller]
fn repaired(world: &World) -> Value {
    let run = world.run(&REPAIR);
    assert_eq!(run.code, Some(0), "{run:#?}");
    world.assert_tidy();
    document(&run)
}

/// Changes what a file holds, and neither its size nor its time.
fn rot(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn what_is_missing_or_damaged_comes_back_and_what_was_changed_stays() {
    for &layout in Layout::ALL {
        let world = installed(layout, "", &["1.0.0"]);
        let (whole, app) = (world.tree(), world.app_folder());
        assert_eq!(
            files(&world),
            json!({"listed": 5, "missing": [], "damaged": [], "changed": []})
        );
        fs::remove_dir_all(app.join("only")).unwrap();
        fs::write(app.join(ENTRY), "longer by far than what was there").unwrap();
        rot(&app.join("stays.py"));
        fs::write(app.join("data/changes.txt"), "mine").unwrap();
        // Only a thorough look finds what has its size and its time.
        let doctor = world.run(&["--castoff", "doctor", "--json"]);
        assert_eq!(doctor.code, Some(74), "{doctor:#?}");
        let mut found = json!({
            "listed": 5, "missing": ["only/1.0.0.bin"], "damaged": [ENTRY],
            "changed": ["data/changes.txt"],
        });
        assert_eq!(document(&doctor)["files"], found);
        let doctor = world.run(&["--castoff", "doctor"]);
        assert!(
            doctor.stdout.contains("--castoff doctor --repair"),
            "{doctor:#?}"
        );

        let lists = lists(&world);
        found["damaged"] = json!([ENTRY, "stays.py"]);
        let told = json!({"outcome": "repaired", "files": found, "older": 0});
        assert_eq!(repaired(&world), told, "{layout:?}");
        assert_eq!(
            fs::read_to_string(app.join("data/changes.txt")).unwrap(),
            "mine"
        );
        let mut tree = world.tree();
        tree.insert("data/changes.txt".into(), whole["data/changes.txt"].clone());
        assert_eq!(tree, whole, "{layout:?}");
        assert_eq!(world.backups(), Vec::<String>::new());
        assert_eq!(world.state()["trial"], Value::Null);
        // The files are as the list has them, times too, and the list is as it was.
        assert_eq!(lists, self::lists(&world));
        assert_eq!(repaired(&world)["outcome"], "whole");
        world.run(&[]).assert_app("1.0.0");
        world.update_to("1.1.0");
    }
}

/// The list of the files of 1.0.0.
fn lists(world: &World) -> Value {
    let one = world.path(".castoff/installed.json");
    let other = world.path(".castoff/versions/v1.0.0.json");
    let text = fs::read(one).or_else(|_| fs::read(other)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn a_repaired_file_has_the_time_of_the_list() {
    for &layout in Layout::ALL {
        let world = installed(layout, "", &["1.0.0"]);
        let path = world.app_folder().join("stays.py");
        let modified = || fs::metadata(&path).unwrap().modified().unwrap();
        let before = modified();
        fs::remove_file(&path).unwrap();
        repaired(&world);
        assert_eq!(modified(), before, "{layout:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_program_may_be_executed_again() {
    use std::os::unix::fs::PermissionsExt;
    let world = installed(Layout::InPlace, "", &["1.0.0"]);
    // Nothing has to be fetched for it.
    world.server.unroute(CHECK);
    fs::set_permissions(world.path(ENTRY), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(repaired(&world)["files"]["damaged"], json!([ENTRY]));
    world.run(&[]).assert_app("1.0.0");
}

#[test]
fn an_app_that_was_deleted_whole_comes_back() {
    for &layout in Layout::ALL {
        let config = "[update]\npreserve = [\"uploads/\", \".env\"]";
        let world = World::laid_out(layout, config);
        world.publish(
            "1.0.0",
            &app("1.0.0")
                .file(".env", b"default\n")
                .file("uploads/first", b"1"),
        );
        world.run(&[]).assert_app("1.0.0");
        let whole = world.tree();
        for entry in fs::read_dir(world.app_folder()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() == ".castoff" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                fs::remove_dir_all(entry.path()).unwrap();
            } else {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        if layout != Layout::InPlace {
            fs::remove_dir(world.path("versions/v1.0.0")).unwrap();
        }
        repaired(&world);
        assert_eq!(world.version(), "1.0.0");
        assert_eq!(world.tree(), whole, "{layout:?}");
        assert_eq!(repaired(&world)["outcome"], "whole");
        world.run(&[]).assert_app("1.0.0");
    }
}

#[test]
fn an_older_version_that_has_a_file_is_enough() {
    for &layout in Layout::ALL {
        let world = installed(layout, "", &["1.0.0", "1.1.0"]);
        let whole = world.tree();
        world.server.unroute(CHECK);
        fs::remove_file(world.app_folder().join("stays.py")).unwrap();
        let asked = world.server.requests().len();
        assert_eq!(repaired(&world)["files"]["missing"], json!(["stays.py"]));
        assert_eq!(world.server.requests().len(), asked);
        assert_eq!(world.tree(), whole, "{layout:?}");
        world.run(&[]).assert_app("1.1.0");
    }
}

#[test]
fn a_file_that_rots_for_several_versions_is_mended_in_all() {
    for &layout in Layout::ALL {
        let world = installed(layout, "", &["1.0.0", "1.1.0"]);
        let kept = match layout {
            Layout::InPlace => world.path(".backup/1.0.0/stays.py"),
            #[cfg(unix)]
            Layout::Snapshot => world.path("versions/v1.0.0/stays.py"),
        };
        let mine = world.app_folder().join("stays.py");
        let good = fs::read(&mine).unwrap();
        rot(&mine);
        // Where they are one file, it is damaged already.
        if fs::read(&kept).unwrap() == good {
            rot(&kept);
        }
        assert_eq!(repaired(&world)["older"], 1, "{layout:?}");
        assert_eq!(fs::read(&mine).unwrap(), good);
        assert_eq!(fs::read(&kept).unwrap(), good);
        let back = world.run(&["--castoff", "rollback", "1.0.0"]);
        assert_eq!(back.code, Some(0), "{back:#?}");
        world.run(&[]).assert_app("1.0.0");
    }
}

#[test]
fn what_nobody_has_any_more_is_told_and_the_rest_is_mended() {
    for &layout in Layout::ALL {
        let world = installed(layout, "", &["1.0.0", "1.1.0"]);
        let whole = world.tree();
        let damage = || {
            fs::remove_file(world.app_folder().join("stays.py")).unwrap();
            fs::remove_dir_all(world.app_folder().join("only")).unwrap();
        };
        let incomplete = || {
            damage();
            let run = world.run(&REPAIR);
            run.assert_told("REPAIR_INCOMPLETE")
                .assert_told("only/1.1.0.bin");
            assert_eq!(run.code, Some(74), "{run:#?}");
            assert_eq!(document(&run)["error"], "REPAIR_INCOMPLETE");
            assert!(world.app_folder().join("stays.py").exists());
            world.assert_tidy();
        };
        // Nobody answers.
        world.server.unroute(CHECK);
        incomplete();
        // It answers again.
        world.publish_app("1.1.0");
        repaired(&world);
        assert_eq!(world.tree(), whole, "{layout:?}");
        // It offers another version, which is the way out then.
        world.publish_app("1.2.0");
        incomplete();
        world.run(&[]).assert_app("1.2.0");
    }
}

#[test]
fn what_was_changed_in_an_older_version_stays_there() {
    let settings = |version| app(version).file("settings.ini", "size=1");
    for &layout in Layout::ALL {
        let world = World::laid_out(layout, "");
        world.publish("1.0.0", &settings("1.0.0"));
        world.run(&[]).assert_app("1.0.0");
        world.publish("1.1.0", &settings("1.1.0"));
        world.run(&[]).assert_app("1.1.0");
        let kept = match layout {
            Layout::InPlace => world.path(".backup/1.0.0/settings.ini"),
            #[cfg(unix)]
            Layout::Snapshot => world.path("versions/v1.0.0/settings.ini"),
        };
        fs::write(&kept, "size=2").unwrap();
        let mine = world.app_folder().join("settings.ini");
        fs::remove_file(&mine).unwrap();
        assert_eq!(repaired(&world)["older"], 0, "{layout:?}");
        assert_eq!(fs::read_to_string(&mine).unwrap(), "size=1");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "size=2");
    }
}

/// After a restore the list names what the user had made of a file, and no package has that.
#[test]
fn what_only_the_user_had_does_not_keep_the_rest_from_being_mended() {
    let settings = |version| app(version).file("settings.ini", "size=1");
    let world = World::new();
    world.publish("1.0.0", &settings("1.0.0"));
    world.run(&[]).assert_app("1.0.0");
    world.write("settings.ini", "size=2");
    world.publish("1.1.0", &settings("1.1.0").file("settings.ini", "size=3"));
    world.run(&[]).assert_app("1.1.0");
    let back = world.run(&["--castoff", "rollback", "1.0.0"]);
    assert_eq!(back.code, Some(0), "{back:#?}");
    assert_eq!(world.read("settings.ini"), "size=2");
    world.publish("1.0.0", &settings("1.0.0"));
    fs::remove_dir_all(world.path(".backup")).unwrap();
    fs::remove_file(world.path("settings.ini")).unwrap();
    fs::remove_file(world.path("stays.py")).unwrap();
    let run = world.run(&REPAIR);
    run.assert_told("REPAIR_INCOMPLETE")
        .assert_told("(1): settings.ini");
    assert!(world.path("stays.py").exists());
    assert!(!world.path("settings.ini").exists());
}

#[test]
fn nothing_is_repaired_while_the_app_runs() {
    let world = installed(Layout::InPlace, "", &["1.0.0"]);
    fs::remove_file(world.path("stays.py")).unwrap();
    let held = fs::File::open(world.path(".castoff/run.lock")).unwrap();
    held.lock_shared().unwrap();
    let run = world.run(&REPAIR);
    run.assert_told("APP_RUNNING");
    assert_eq!(run.code, Some(75), "{run:#?}");
    assert!(!world.path("stays.py").exists());
    drop(held);
    repaired(&world);
    assert!(world.path("stays.py").exists());
}

#[test]
fn what_is_in_the_way_stays_and_is_told() {
    let world = installed(Layout::InPlace, "", &["1.0.0"]);
    fs::remove_file(world.path("stays.py")).unwrap();
    world.write("stays.py/mine.txt", "mine");
    world.run(&REPAIR).assert_told("TARGET_UNSAFE");
    assert_eq!(world.read("stays.py/mine.txt"), "mine");
    fs::remove_dir_all(world.path("stays.py")).unwrap();
    fs::create_dir(world.path("stays.py")).unwrap();
    repaired(&world);
    assert!(world.path("stays.py").is_file());
}

#[test]
fn what_has_no_list_is_not_repaired() {
    let world = World::new();
    world.run(&REPAIR).assert_told("NOT_INSTALLED");
    world.publish_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    // As the Python client leaves it.
    world.write("local_version.json", "{\"version\": \"1.0.1\"}");
    world.run(&REPAIR).assert_told("STATE_INVALID");
    assert_eq!(files(&world), Value::Null);
}

#[test]
fn a_repair_that_is_killed_anywhere_can_be_repeated() {
    for &layout in Layout::ALL {
        let broken = || {
            let world = installed(layout, "", &["1.0.0", "1.1.0"]);
            let whole = world.tree();
            // One from the older version, the rest from the package.
            fs::remove_file(world.app_folder().join("stays.py")).unwrap();
            fs::remove_dir_all(world.app_folder().join("only")).unwrap();
            fs::remove_dir_all(world.app_folder().join("data")).unwrap();
            (world, whole)
        };
        let (world, _) = broken();
        let trace = world.home().join("trace");
        let run = Run::of(world.command(&REPAIR).env("CASTOFF_TRACE", &trace));
        assert_eq!(run.code, Some(0), "{run:#?}");
        let trace = fs::read_to_string(trace).unwrap();
        let steps: BTreeSet<&str> = trace.lines().collect();
        for expected in ["fetch.named", "stage.file", "stage.filled", "repair.file"] {
            assert!(steps.contains(expected), "{layout:?}: {steps:?}");
        }
        let again = ["repair.file@2", "repair.file@3", "stage.file@2"];
        for place in steps.into_iter().chain(again) {
            let (world, whole) = broken();
            let order = format!("{place}=kill");
            Run::of(world.command(&REPAIR).env("CASTOFF_FAIL", &order)).assert_killed();
            // What is there is what was installed, and nothing else.
            let tree = world.tree();
            assert!(
                tree.iter().all(|it| whole.get(it.0) == Some(it.1)),
                "{layout:?} {order}"
            );
            repaired(&world);
            assert_eq!(world.tree(), whole, "{layout:?} {order}");
            world.run(&[]).assert_app("1.1.0");
        }
    }
}

#[cfg(unix)]
#[test]
fn the_factory_version_stays_read_only_through_a_repair() {
    use crate::snapshot::protect;
    use crate::world::mode;
    for order in ["", "repair.file=kill", "factory.file=kill"] {
        let world = installed(Layout::Snapshot, "", &["1.0.0"]);
        let factory = world.path("versions/v1.0.0");
        std::os::unix::fs::symlink("v1.0.0", world.path("versions/factory")).unwrap();
        rot(&factory.join("stays.py"));
        fs::remove_dir_all(factory.join("data")).unwrap();
        protect(&factory);
        if !order.is_empty() {
            Run::of(world.command(&REPAIR).env("CASTOFF_FAIL", order)).assert_killed();
        }
        repaired(&world);
        for file in ["stays.py", "data/changes.txt"] {
            assert_eq!(mode(&factory.join(file)), 0o444, "{file}");
        }
        for folder in [ENTRY, "data", "only", ""] {
            assert_eq!(mode(&factory.join(folder)), 0o555, "{folder}");
        }
        assert_eq!(repaired(&world)["outcome"], "whole");
        world.run(&[]).assert_app("1.0.0");
    }
}
