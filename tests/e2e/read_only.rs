//! An installation that the user may not write, and the user's copy of it.
//!
//! Most of it needs a disk that is mounted read-only; see `disks.rs`. The kills do not: a copy that
//! is in use stays in use beside an installation that can be written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use castoff::steps::Step;
use serde_json::{Value, json};

use crate::disks::{Disk, or_left_out};
use crate::world::{CHECK, Run, World, app, partial_app, tree_of};

/// A world whose client folder cannot be written, with a version installed and no source.
struct ReadOnly {
    disk: Disk,
    world: World,
}

impl ReadOnly {
    /// `None` where nothing can be mounted.
    fn with(version: &str) -> Option<Self> {
        let world = World::new();
        fs::create_dir(world.client()).unwrap();
        let disk = or_left_out(Disk::tmpfs(&world.client(), "size=64m"))?;
        let read_only = Self { disk, world };
        read_only.administrator_installs(version);
        Some(read_only)
    }

    /// Another user, who may write there, brings the installation to a version.
    fn administrator_installs(&self, version: &str) {
        self.disk.remount("rw");
        self.world.publish_app(version);
        for _ in 0..2 {
            let mut command = self.world.command(&[]);
            command.env("HOME", self.world.home().join("administrator"));
            Run::of(&mut command).assert_app(version);
        }
        assert_eq!(self.world.version(), version);
        self.world.server.unroute(CHECK);
        self.disk.remount("ro");
    }

    /// Starts offline, and checks which version starts from which folder.
    #[track_caller]
    fn assert_starts(&self, version: &str, folder: &Path) {
        self.world.server.unroute(CHECK);
        self.world.run(&[]).assert_app(version);
        assert_eq!(doctor(&self.world)["client_folder"], json!(folder));
    }
}

/// The user's copy.
fn copy_of(world: &World) -> PathBuf {
    world
        .home()
        .join("user/.local/share/org.castoff.test/client")
}

fn doctor(world: &World) -> Value {
    let run = world.run(&["--castoff", "doctor", "--json"]);
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:#?}"))
}

#[test]
fn without_news_there_is_no_copy() {
    let Some(it) = ReadOnly::with("1.0.0") else {
        return;
    };
    it.assert_starts("1.0.0", &it.world.client());
    it.world.update_to("1.0.0");
    let built = app("1.1.0").build();
    let mut answer = World::answer(&built, "1.1.0");
    answer["file_hash"] = "0".repeat(64).into();
    it.world.announce(&answer);
    it.world
        .media("1.1.0", castoff_testkit::http::Reply::file(&built.bytes));
    it.world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("HASH_MISMATCH");
    assert_eq!(tree_of(&copy_of(&it.world)), BTreeMap::new());
    let told = doctor(&it.world);
    assert_eq!(told["why"], "not-writable");
    assert_eq!(told["read_only"]["version"], "1.0.0");
    assert_eq!(told["copy"]["version"], Value::Null);
}

#[test]
fn an_update_begins_with_a_copy_and_stays_in_use() {
    let Some(it) = ReadOnly::with("1.0.0") else {
        return;
    };
    it.disk.remount("rw");
    it.world.write("site.ini", "the administrator's");
    it.disk.remount("ro");
    let before = it.world.tree();
    // It fits only where 1.0.0 is.
    it.world.publish("1.1.0", &partial_app("1.1.0", "1.0.0"));
    it.world.run(&[]).assert_app("1.1.0");
    assert_eq!(it.world.tree(), before);
    let copy = copy_of(&it.world);
    for (file, text) in [
        ("stays.py", "print('always the same')\n"),
        ("data/changes.txt", "changes 1.1.0\n"),
        ("site.ini", "the administrator's"),
    ] {
        assert_eq!(fs::read_to_string(copy.join(file)).unwrap(), text, "{file}");
    }
    assert!(!copy.join("only/1.0.0.bin").exists());
    assert!(copy.join(".backup/1.0.0/backup.json").exists());
    it.assert_starts("1.1.0", &copy);
    assert_eq!(doctor(&it.world)["why"], "not-writable");

    // As administrator for once.
    it.disk.remount("rw");
    it.assert_starts("1.1.0", &copy);
    let told = doctor(&it.world);
    assert_eq!(told["why"], "kept");
    assert_eq!(told["read_only"]["version"], "1.0.0");
    assert_eq!(told["copy"]["version"], "1.1.0");
    let told = it.world.run(&["--castoff", "doctor"]).stdout;
    assert!(told.contains("which stays in use"), "{told}");
    it.world.update_to("1.2.0");
    assert_eq!(it.world.version(), "1.0.0");
}

#[test]
fn a_version_that_fails_its_trial_is_undone_and_not_tried_again() {
    let Some(it) = ReadOnly::with("1.0.0") else {
        return;
    };
    let dying = app("1.1.0").executable("run.sh", b"#!/bin/sh\nkill -SEGV $$\n");
    it.world.publish("1.1.0", &dying);
    it.world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("TRIAL_FAILED");
    let asked = it.world.server.requests().len();
    it.world.run(&[]).assert_app("1.0.0");
    assert_eq!(it.world.server.requests().len(), asked + 1);
    // The same with one that lacks its entry point.
    it.world.publish(
        "1.2.0",
        &castoff_testkit::package::Package::new("1.2.0")
            .file("a", b"b")
            .list(),
    );
    it.world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("ENTRY_MISSING");
    let asked = it.world.server.requests().len();
    it.world.run(&[]).assert_app("1.0.0");
    assert_eq!(it.world.server.requests().len(), asked + 1);
}

#[test]
fn an_administrator_who_upgrades_takes_the_user_along() {
    let Some(it) = ReadOnly::with("1.0.0") else {
        return;
    };
    let (base, copy) = (it.world.client(), copy_of(&it.world));
    it.world.update_to("1.2.0");
    fs::write(copy.join("notes.txt"), "the user's").unwrap();
    // Not as new as the copy.
    it.administrator_installs("1.1.0");
    it.assert_starts("1.2.0", &copy);
    it.administrator_installs("1.2.0");
    it.assert_starts("1.2.0", &base);
    it.administrator_installs("2.0.0");
    it.assert_starts("2.0.0", &base);
    // The copy, which is of 1.2.0, follows.
    it.world.publish("2.1.0", &partial_app("2.1.0", "2.0.0"));
    it.world.run(&[]).assert_app("2.1.0");
    it.assert_starts("2.1.0", &copy);
    assert!(!copy.join("only/1.2.0.bin").exists());
    assert_eq!(
        fs::read_to_string(copy.join("notes.txt")).unwrap(),
        "the user's"
    );
}

#[test]
fn a_source_that_goes_back_is_followed() {
    let Some(it) = ReadOnly::with("2.0.0") else {
        return;
    };
    let (base, copy) = (it.world.client(), copy_of(&it.world));
    it.world.update_to("1.5.0");
    it.assert_starts("1.5.0", &copy);
    it.administrator_installs("2.1.0");
    it.assert_starts("2.1.0", &base);
    it.world.update_to("1.5.0");
    it.assert_starts("1.5.0", &copy);

    it.world.configure("[update]\ndowngrade = \"refuse\"");
    it.administrator_installs("2.2.0");
    it.world.publish_app("1.5.0");
    it.world.run(&[]).assert_app("2.2.0");
    it.assert_starts("2.2.0", &base);
}

#[test]
fn a_copy_that_is_broken_gives_way_and_is_repaired() {
    let Some(it) = ReadOnly::with("1.0.0") else {
        return;
    };
    let (base, copy) = (it.world.client(), copy_of(&it.world));
    let update = || {
        it.world.publish_app("1.1.0");
        for _ in 0..2 {
            it.world.run(&[]).assert_app("1.1.0");
        }
        it.assert_starts("1.1.0", &copy);
    };
    let breaks: [fn(&Path); 4] = [
        |copy| fs::remove_file(copy.join("run.sh")).unwrap(),
        |copy| fs::remove_file(copy.join(".castoff/installed.json")).unwrap(),
        |copy| fs::write(copy.join(".castoff/installed.json"), "{\"version\":").unwrap(),
        |copy| fs::write(copy.join("local_version.json"), "{").unwrap(),
    ];
    for breaks in breaks {
        update();
        breaks(&copy);
        it.assert_starts("1.0.0", &base);
    }
    update();
    // What only the start finds out.
    fs::remove_file(copy.join("run.sh")).unwrap();
    std::os::unix::fs::symlink("/bin/true", copy.join("run.sh")).unwrap();
    it.world.server.unroute(CHECK);
    it.world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("ENTRY_INVALID");
    fs::remove_file(copy.join("run.sh")).unwrap();
    update();
    // What cannot be undone.
    fs::write(copy.join(".castoff/journal.json"), "{").unwrap();
    it.world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("RECOVERY_FAILED");
}

#[test]
fn a_copy_that_does_not_start_gives_way_to_a_base_that_says_no_version() {
    let Some(it) = ReadOnly::with("1.0.0") else {
        return;
    };
    it.world.publish_app("1.1.0");
    for _ in 0..2 {
        it.world.run(&[]).assert_app("1.1.0");
    }
    it.disk.remount("rw");
    for own in ["local_version.json", ".castoff/state.json"] {
        fs::remove_file(it.world.path(own)).unwrap();
    }
    it.disk.remount("ro");
    it.world.server.unroute(CHECK);
    let start = || Run::of(it.world.command(&[]).env("CASTOFF_ENTRY_POINT", "run.sh"));
    start().assert_app("1.1.0");
    let entry = copy_of(&it.world).join("run.sh");
    fs::remove_file(&entry).unwrap();
    std::os::unix::fs::symlink("/bin/true", &entry).unwrap();
    let run = start();
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(run.stdout.contains("args: "), "no app: {run:#?}");
    run.assert_told("ENTRY_INVALID");
    run.assert_told("Starting what is in");
}

#[test]
fn an_uninstall_takes_the_copy_and_says_that_the_installation_stays() {
    let Some(it) = ReadOnly::with("1.0.0") else {
        return;
    };
    let base = it.world.client();
    it.world.update_to("1.1.0");
    let run = it.world.run(&["--castoff", "uninstall", "--yes", "--json"]);
    let removed: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(removed["version"], "1.1.0");
    assert_eq!(removed["read_only"], json!(base));
    assert_eq!(removed["launcher_removed"], false);
    assert!(!copy_of(&it.world).exists());
    for (language, stays) in [("en", "The app itself stays in"), ("zh-CN", "应用本身仍在")] {
        let mut again = it.world.command(&["--castoff", "uninstall", "--yes"]);
        let told = Run::of(again.env("CASTOFF_LANGUAGE", language)).stdout;
        assert!(told.contains(stays), "{told}");
        assert!(told.contains(&base.display().to_string()), "{told}");
    }
    it.assert_starts("1.0.0", &base);
}

#[test]
fn a_full_disk_leaves_the_installation_in_use() {
    let Some(it) = ReadOnly::with("1.0.0") else {
        return;
    };
    let user = it.world.home().join("user");
    fs::create_dir_all(&user).unwrap();
    let Some(_disk) = or_left_out(Disk::tmpfs(&user, "size=3m")) else {
        return;
    };
    it.world.publish_app("1.1.0");
    it.world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("DISK_FULL");
    it.assert_starts("1.0.0", &it.world.client());
}

/// A world with 1.0.0 installed, an old copy of the user's with a file of their own in it, and an
/// update that fits 1.0.0 only.
fn with_an_old_copy() -> World {
    let world = World::new();
    world.publish_app("1.0.0");
    for _ in 0..2 {
        world.run(&[]).assert_app("1.0.0");
    }
    let copy = copy_of(&world);
    fs::create_dir_all(copy.join(".castoff")).unwrap();
    fs::create_dir_all(copy.join("data")).unwrap();
    let over = json!({"over": {"folder": world.client(), "version": "0.8"}});
    for (file, text) in [
        ("local_version.json", r#"{"version": "0.9"}"#),
        (".castoff/state.json", &*over.to_string()),
        ("data/changes.txt", "changes 0.9\n"),
        ("run.sh", "#!/bin/sh\necho app 0.9\n"),
        ("notes.txt", "the user's"),
    ] {
        fs::write(copy.join(file), text).unwrap();
    }
    world.publish("1.1.0", &partial_app("1.1.0", "1.0.0"));
    world
}

/// What starts is whole, and nothing else was touched.
#[track_caller]
fn assert_whole(
    world: &World,
    run: &Run,
    base: &BTreeMap<String, String>,
    whole: &BTreeMap<String, String>,
    what: &str,
) {
    assert_eq!(run.code, Some(0), "{what}: {run:#?}");
    assert_eq!(&world.tree(), base, "{what}");
    let notes = fs::read_to_string(copy_of(world).join("notes.txt"));
    assert_eq!(notes.unwrap(), "the user's", "{what}");
    if run.stdout.contains("app 1.1.0 ") {
        assert_eq!(&tree_of(&copy_of(world)), whole, "{what}: a mixture");
    } else {
        assert!(run.stdout.contains("app 1.0.0 "), "{what}: {run:#?}");
    }
}

#[test]
fn a_kill_at_every_step_of_a_copy_and_its_update() {
    let world = with_an_old_copy();
    let base = world.tree();
    world.run(&[]).assert_app("1.1.0");
    let whole = tree_of(&copy_of(&world));
    let steps: Vec<Step> = Step::ALL
        .iter()
        .copied()
        .filter(|step| {
            let others = [
                "undo.",
                "launcher.",
                "uninstall.",
                "repair.",
                "prune.",
                "factory.",
                // Of the other layout, and of migrations.
                "build.",
                "switch.",
                "commit.placed",
                "commit.migrat",
            ];
            !others.iter().any(|other| step.as_str().starts_with(other))
        })
        .collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = |step: Step| {
        // The copy meets a step first, then the update.
        let many = ["stage.file", "commit.rename"].contains(&step.as_str());
        for count in 1..=if many { 4 } else { 2 } {
            let order = format!("{}@{count}=kill", step.as_str());
            let world = with_an_old_copy();
            let killed = world.run_failing(&order);
            if count == 1 && step != Step::CommitRemove {
                killed.assert_killed();
            }
            world.server.unroute(CHECK);
            let offline = world.run(&[]);
            assert_whole(&world, &offline, &base, &whole, &order);
            world.publish("1.1.0", &partial_app("1.1.0", "1.0.0"));
            let last = world.run(&[]);
            assert_whole(&world, &last, &base, &whole, &order);
            last.assert_app("1.1.0");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(step) =
                    steps.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    work(*step);
                }
            });
        }
    });
}

#[test]
fn a_failure_at_the_steps_of_a_copy_starts_what_is_whole() {
    let world = with_an_old_copy();
    let base = world.tree();
    world.run(&[]).assert_app("1.1.0");
    let whole = tree_of(&copy_of(&world));
    for step in ["stage.file", "commit.rename", "seed.copied", "seed.noted"] {
        for action in ["error", "full", "panic"] {
            let order = format!("{step}={action}");
            let world = with_an_old_copy();
            let run = world.run_failing(&order);
            assert_whole(&world, &run, &base, &whole, &order);
            run.assert_app("1.0.0");
            world.run(&[]).assert_app("1.1.0");
        }
    }
}
