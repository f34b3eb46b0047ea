//! The snapshot layout: a folder for each version, links, and going back by a switch.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use castoff_testkit::package::Package;

use crate::world::{ENTRY, Layout, World, app, dying, mode, script, tree_of};

fn world(config: &str) -> World {
    World::laid_out(Layout::Snapshot, config)
}

/// 1.0.0 installed and confirmed, then 1.1.0.
fn updated(config: &str) -> World {
    let world = world(config);
    for version in ["1.0.0", "1.1.0"] {
        world.publish_app(version);
        world.run(&[]).assert_app(version);
    }
    world
}

fn link(world: &World, name: &str) -> Option<String> {
    let target = fs::read_link(world.path("versions").join(name)).ok()?;
    Some(target.to_string_lossy().into_owned())
}

#[track_caller]
fn assert_links(world: &World, current: &str, previous: Option<&str>) {
    assert_eq!(link(world, "current").as_deref(), Some(current));
    assert_eq!(link(world, "previous").as_deref(), previous);
    assert!(!world.path("versions/.current.new").exists());
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// The inodes of all files below a folder.
fn inodes(folder: &Path) -> Vec<u64> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            found.extend(inodes(&path));
        } else if metadata.is_file() {
            found.push(metadata.ino());
        }
    }
    found
}

fn versions(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.path("versions")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_update_is_a_new_folder_and_a_switch_of_relative_links() {
    let world = world("");
    world.publish_app("1.0.0");
    world.run(&["a"]).assert_app("1.0.0");
    assert_links(&world, "v1.0.0", None);
    let first = tree_of(&world.path("versions/v1.0.0"));

    world.publish_app("1.1.0");
    let run = world.run(&["b c"]);
    run.assert_app("1.1.0");
    assert!(run.stdout.contains("args: b c"), "{run:?}");
    assert_links(&world, "v1.1.0", Some("v1.0.0"));
    world.assert_tidy();
    assert_eq!(tree_of(&world.path("versions/v1.0.0")), first);
    let in_place = World::new();
    in_place.publish_app("1.1.0");
    in_place.run(&[]).assert_app("1.1.0");
    assert_eq!(world.tree(), in_place.tree());
    // Code is shared between versions, what an app may write is not.
    let of = |version: &str, path: &str| inode(&world.path("versions").join(version).join(path));
    assert_eq!(of("v1.0.0", "stays.py"), of("v1.1.0", "stays.py"));
    let text = "\u{8bf4}\u{660e}.txt";
    assert_ne!(of("v1.0.0", text), of("v1.1.0", text));
    // Nothing is written at a start with nothing new.
    world.run(&[]).assert_app("1.1.0");
    assert_links(&world, "v1.1.0", Some("v1.0.0"));
}

#[test]
fn what_was_added_is_carried_over_and_what_is_preserved_is_shared() {
    let config = "[update]\npreserve = [\"uploads/\", \".env\", \"data/*.db\"]";
    let world = world(config);
    let package = app("1.0.0")
        .file(".env", b"default\n")
        .file("data/start.db", b"as shipped\n")
        .file("gone/with/its.file", b"only here\n");
    world.publish("1.0.0", &package);
    world.run(&[]).assert_app("1.0.0");
    assert_eq!(world.read("shared/.env"), "default\n");
    assert_eq!(
        fs::read_link(world.path("versions/v1.0.0/.env")).unwrap(),
        Path::new("../../shared/.env")
    );
    world.write("versions/current/uploads/photo", "mine");
    world.write("versions/current/.env", "changed\n");
    world.write("versions/current/data/start.db", "written\n");
    world.write("versions/current/plugins/own.txt", "mine too");
    fs::create_dir(world.path("versions/current/empty")).unwrap();
    symlink("run.sh", world.path("versions/current/start")).unwrap();

    let package = app("1.1.0")
        .file(".env", b"new default\n")
        .file("data/start.db", b"as shipped again\n");
    world.publish("1.1.0", &package);
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.read("versions/v1.1.0/uploads/photo"), "mine");
    assert_eq!(world.read("shared/uploads/photo"), "mine");
    assert_eq!(world.read("versions/current/.env"), "changed\n");
    assert_eq!(world.read("versions/current/data/start.db"), "written\n");
    assert_eq!(world.read("versions/current/plugins/own.txt"), "mine too");
    assert!(world.path("versions/v1.1.0/empty").is_dir());
    assert!(!world.path("versions/v1.1.0/gone").exists());
    assert_eq!(
        fs::read_link(world.path("versions/v1.1.0/start")).unwrap(),
        Path::new("run.sh")
    );
    assert!(!world.path("versions/v1.1.0/only/1.0.0.bin").exists());
    // Each version has its own copy of what an app writes and nobody shares.
    world.write("versions/current/plugins/own.txt", "later");
    assert_eq!(world.read("versions/v1.0.0/plugins/own.txt"), "mine too");
}

#[test]
fn a_version_that_crashes_is_left_and_both_links_are_as_they_were() {
    let world = updated("");
    world.run(&[]).assert_app("1.1.0");
    let before = (world.tree(), link(&world, "previous"));
    world.publish("1.2.0", &app("1.2.0").executable(ENTRY, dying()));
    world
        .run(&[])
        .assert_app("1.1.0")
        .assert_told("TRIAL_FAILED");
    assert_eq!((world.tree(), link(&world, "previous")), before);
    world.assert_tidy();
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.state()["last"]["outcome"], "BAD_VERSION");
    // What failed does not stay.
    assert_eq!(versions(&world), ["v1.0.0", "v1.1.0"]);
    world.publish_app("1.2.0");
    world.run(&[]).assert_app("1.2.0");
    assert_links(&world, "v1.2.0", Some("v1.1.0"));
    // A person has left it; a corrected one of the same version gets a folder of its own.
    assert_eq!(world.run(&["--castoff", "rollback"]).code, Some(0));
    world.publish("1.2.0", &app("1.2.0").file("corrected", b"yes"));
    world.run(&[]).assert_app("1.2.0");
    assert_links(&world, "v1.2.0_2", Some("v1.1.0"));
}

#[test]
fn a_person_goes_back_to_the_version_before_and_to_any_other() {
    let world = updated("[update]\nkeep = 5");
    world.publish_app("1.2.0");
    world.run(&[]).assert_app("1.2.0");
    let run = world.run(&["--castoff", "rollback"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_links(&world, "v1.1.0", Some("v1.2.0"));
    // It lasts, although the server still offers the newer one.
    world.run(&[]).assert_app("1.1.0");
    let run = world.run(&["--castoff", "rollback", "1.0.0"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_links(&world, "v1.0.0", Some("v1.1.0"));
    world.run(&[]).assert_app("1.0.0");
    // And forward again, without fetching anything.
    let fetched = world.server.requests().len();
    let run = world.run(&["--castoff", "rollback", "1.2.0"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_links(&world, "v1.2.0", Some("v1.0.0"));
    assert_eq!(world.server.requests().len(), fetched);
    for (to, code) in [
        ("9.9", "BACKUP_NOT_FOUND"),
        ("../v1.0.0", "BACKUP_NOT_FOUND"),
        ("factory", "NO_WAY_BACK"),
    ] {
        world.run(&["--castoff", "rollback", to]).assert_told(code);
    }
    assert_links(&world, "v1.2.0", Some("v1.0.0"));
}

#[test]
fn old_versions_go_but_none_that_is_needed() {
    let world = updated("[update]\nkeep = 1");
    for version in ["1.2.0", "1.3.0", "1.4.0"] {
        world.publish_app(version);
        world.run(&[]).assert_app(version);
    }
    // The one before, and one more.
    assert_eq!(versions(&world), ["v1.2.0", "v1.3.0", "v1.4.0"]);
    assert!(!world.path(".castoff/versions/v1.1.0.json").exists());
    for (name, code) in [("1.3.0", "VERSION_NEEDED"), ("1.0.0", "BACKUP_NOT_FOUND")] {
        world
            .run(&["--castoff", "backups", "delete", name])
            .assert_told(code);
    }
    // A program that was started without Castoff runs from it.
    let folder = world.path("versions/v1.2.0");
    let mut sleeper = std::process::Command::new("sleep")
        .arg("60")
        .current_dir(&folder)
        .spawn()
        .unwrap();
    let refused = world.run(&["--castoff", "backups", "delete", "1.2.0"]);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    if cfg!(target_os = "linux") {
        refused.assert_told("running");
        assert!(folder.exists());
        let run = world.run(&["--castoff", "backups", "delete", "1.2.0"]);
        assert_eq!(run.code, Some(0), "{run:?}");
    }
    assert_eq!(versions(&world), ["v1.3.0", "v1.4.0"]);
    world.assert_tidy();
}

#[test]
fn older_versions_may_take_so_much_room() {
    let world = world("[update]\nkeep = 9\nkeep_space = \"50 KiB\"");
    for version in ["1.0.0", "1.1.0", "1.2.0", "1.3.0"] {
        let package = app(version).file("large.bin", vec![7; 30_000].as_slice());
        world.publish(version, &package);
        world.run(&[]).assert_app(version);
    }
    assert_eq!(versions(&world), ["v1.1.0", "v1.2.0", "v1.3.0"]);
}

/// A tree as the scripts of the devices make it: relative links, no list, nothing of Castoff's.
fn existing_tree(world: &World) {
    for version in ["1.0.0", "1.1.0"] {
        let folder = format!("versions/v{version}");
        world.write(&format!("{folder}/{ENTRY}"), &script(version));
        fs::set_permissions(
            world.path(&format!("{folder}/{ENTRY}")),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        world.write(&format!("{folder}/services/camera/main.py"), "print(1)\n");
        world.write(&format!("{folder}/bin/tool"), "tool");
    }
    for (name, target) in [
        ("current", "v1.1.0"),
        ("previous", "v1.0.0"),
        ("factory", "v1.0.0"),
    ] {
        symlink(target, world.path("versions").join(name)).unwrap();
    }
}

#[test]
fn a_tree_that_other_tools_have_made_is_taken_over() {
    let world = world("");
    fs::create_dir_all(world.path("versions")).unwrap();
    existing_tree(&world);
    world.configure("[run]\n");
    let text = fs::read_to_string(world.home().join("launcher.toml")).unwrap();
    let text = text.replace("[source]", &format!("entry_point = \"{ENTRY}\"\n[source]"));
    fs::write(world.home().join("launcher.toml"), text).unwrap();
    let untouched = tree_of(&world.path("versions/v1.0.0"));

    // Nothing new, and nothing changed.
    world.publish_app("1.1.0");
    world.run(&[]).assert_app("1.1.0");
    assert_links(&world, "v1.1.0", Some("v1.0.0"));

    // What a package does not carry is carried over.
    world.publish_app("1.2.0");
    world.run(&[]).assert_app("1.2.0");
    assert_links(&world, "v1.2.0", Some("v1.1.0"));
    assert_eq!(
        world.read("versions/current/services/camera/main.py"),
        "print(1)\n"
    );
    assert_eq!(world.read("versions/current/bin/tool"), "tool");
    assert_eq!(tree_of(&world.path("versions/v1.0.0")), untouched);
    assert_eq!(link(&world, "factory").as_deref(), Some("v1.0.0"));
    let run = world.run(&["--castoff", "rollback", "factory"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    world.run(&[]).assert_app("1.0.0");
}

#[test]
fn an_update_from_a_read_only_factory_version_shares_nothing_with_it() {
    let world = world("");
    world.publish_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    // What `castoff factory set` leaves.
    let factory = world.path("versions/v1.0.0");
    symlink("v1.0.0", world.path("versions/factory")).unwrap();
    protect(&factory);
    world.publish_app("1.1.0");
    world.run(&[]).assert_app("1.1.0");
    let new = world.path("versions/v1.1.0");
    let of_factory = inodes(&factory);
    assert!(inodes(&new).iter().all(|inode| !of_factory.contains(inode)));
    assert_eq!(mode(&new.join("stays.py")), 0o644);
    assert_eq!(mode(&new.join("data/changes.txt")), 0o644);
    assert_eq!(mode(&new.join(ENTRY)), 0o755);
    assert_eq!(mode(&new), 0o755);
}

pub(crate) fn protect(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            protect(&path);
        } else {
            let mode = if mode(&path) & 0o111 == 0 {
                0o444
            } else {
                0o555
            };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).unwrap();
}

#[test]
fn what_is_in_the_way_is_refused_and_nothing_is_changed() {
    let world = updated("");
    let package = |version: &str| Package::new(version).executable(ENTRY, script(version));
    // The user's folder where the new version has a file.
    world.write("versions/current/notes/mine.txt", "mine");
    world.publish("1.2.0", &package("1.2.0").file("notes", b"a file").list());
    world
        .run(&[])
        .assert_app("1.1.0")
        .assert_told("TARGET_UNSAFE");
    assert_links(&world, "v1.1.0", Some("v1.0.0"));
    world.assert_tidy();
    // `previous` is a folder of somebody's.
    fs::remove_file(world.path("versions/previous")).unwrap();
    fs::create_dir(world.path("versions/previous")).unwrap();
    world.publish("1.3.0", &package("1.3.0").list());
    world
        .run(&[])
        .assert_app("1.1.0")
        .assert_told("TARGET_UNSAFE");
    assert_eq!(link(&world, "current").as_deref(), Some("v1.1.0"));
}
