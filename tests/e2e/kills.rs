//! The process is killed, fails, runs out of disk or panics at every named step; started again,
//! it ends with either version whole, and the app starts.
//!
//! The list of steps is the engine's own: a step that is added there is tried here, and one that
//! no scenario reaches fails the test. (Those of a copy per user are walked through in
//! `read_only.rs`, with all the others that lie on its way.)

use std::collections::BTreeMap;

use castoff::steps::Step;
use castoff_testkit::package::Package;

use crate::selfupdate::{announce_launcher, another, assert_launcher_works};
use crate::world::{ENTRY, Run, World, app, dying};

/// The trees of the two versions, as a fresh install has them.
fn whole() -> [(&'static str, BTreeMap<String, String>); 2] {
    ["1.0.0", "1.1.0"].map(|version| {
        let world = World::new();
        world.publish_app(version);
        world.run(&[]).assert_app(version);
        (version, world.tree())
    })
}

/// An app of 1.1.0 that dies by a signal right after its start.
fn broken() -> Package {
    app("1.1.0").executable(ENTRY, dying())
}

/// A world with 1.0.0 installed and 1.1.0 published.
fn before_update(package: &Package) -> World {
    let world = World::new();
    world.publish_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    world.publish("1.1.0", package);
    world
}

/// The undo's steps are reached by a version that fails its trial, the launcher's by one with
/// which a launcher is announced, the others by any update.
fn scenario(step: Step) -> World {
    if is_the_launchers(step) {
        let world = before_update(&app("1.1.0"));
        announce_launcher(&world, &app("1.1.0").build(), "1.1.0", &another());
        return world;
    }
    let undoes = step.as_str().starts_with("undo.");
    before_update(&if undoes { broken() } else { app("1.1.0") })
}

fn is_the_launchers(step: Step) -> bool {
    step.as_str().starts_with("launcher.")
}

#[track_caller]
fn assert_whole(world: &World, whole: &[(&str, BTreeMap<String, String>)], run: &Run, what: &str) {
    let version = world.version();
    let (_, tree) = whole
        .iter()
        .find(|(whole, _)| *whole == version)
        .unwrap_or_else(|| panic!("{what}: version {version}: {run:#?}"));
    assert_eq!(&world.tree(), tree, "{what}: a mixture of {version}");
    assert!(
        run.stdout.contains(&format!("app {version} ")),
        "{what}: {run:#?}"
    );
    assert_eq!(run.code, Some(0), "{what}: {run:#?}");
}

/// What a world must look like in the end: the update goes through when nothing disturbs it, and
/// a version that fails its trial does not.
#[track_caller]
fn assert_end(world: &World, step: Step, what: &str) {
    let version = if step.as_str().starts_with("undo.") {
        "1.0.0"
    } else {
        "1.1.0"
    };
    let last = world.run(&[]);
    assert!(
        last.stdout.contains(&format!("app {version} ")),
        "{what}, in the end: {last:#?}"
    );
    world.assert_tidy();
    if is_the_launchers(step) {
        assert_launcher_works(world, what);
    }
}

/// Steps that are reached once for each file are also tried at a later file.
fn orders(step: Step) -> Vec<String> {
    let name = step.as_str();
    let many = ["stage.file", "backup.file", "commit.rename", "undo.path"].contains(&name);
    let counts: &[u32] = if many { &[1, 2, 3] } else { &[1] };
    counts
        .iter()
        .map(|count| format!("{name}@{count}"))
        .collect()
}

/// Spreads the steps over the cores: each world is alone in its folder.
fn for_every_step(work: impl Fn(Step) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(step) =
                    Step::ALL.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    // Others are walked through where they belong: read_only.rs, uninstall.rs.
                    let name = step.as_str();
                    if !["seed.", "uninstall."]
                        .iter()
                        .any(|other| name.starts_with(other))
                    {
                        work(*step);
                    }
                }
            });
        }
    });
}

#[test]
fn a_kill_at_every_step_leaves_either_version_whole() {
    let whole = whole();
    for_every_step(|step| {
        for order in orders(step) {
            let world = scenario(step);
            world.run_failing(&format!("{order}=kill")).assert_killed();
            let next = world.run(&[]);
            assert_whole(&world, &whole, &next, &order);
            assert_end(&world, step, &order);
        }
    });
}

#[test]
fn a_kill_at_every_step_of_the_recovery_can_be_recovered_from_too() {
    let whole = whole();
    let undo = Step::ALL.iter().filter(|step| {
        // The mark and the journal of a rollback are no part of a recovery.
        step.as_str().starts_with("undo.")
            && !["undo.marked", "undo.journalled"].contains(&step.as_str())
    });
    for step in undo {
        for first in ["commit.journalled", "commit.rename@2", "commit.trial"] {
            let what = format!("{first}, then {}", step.as_str());
            let world = before_update(&app("1.1.0"));
            world.run_failing(&format!("{first}=kill")).assert_killed();
            world
                .run_failing(&format!("{}=kill", step.as_str()))
                .assert_killed();
            world.run_failing(&format!("{}@2=kill", step.as_str()));
            let next = world.run(&[]);
            assert_whole(&world, &whole, &next, &what);
            assert_end(&world, Step::CommitDone, &what);
        }
    }
}

#[test]
fn a_failure_at_every_step_starts_the_app_in_the_same_run() {
    let whole = whole();
    for_every_step(|step| {
        for action in ["error", "full", "panic"] {
            let order = format!("{}={action}", step.as_str());
            let world = scenario(step);
            let run = world.run_failing(&order);
            if step.as_str().starts_with("undo.") {
                // An undo that fails cannot go on: nothing may be started, and the next start
                // tries again.
                let next = world.run(&[]);
                assert_whole(&world, &whole, &next, &order);
            } else {
                let mut run = run;
                if cfg!(windows) && action == "panic" && run.code == Some(70) {
                    // Windows cannot replace a process; the app's code went to the one after it.
                    run.code = Some(0);
                }
                assert_whole(&world, &whole, &run, &order);
                if action == "full" && world.version() == "1.0.0" {
                    run.assert_told("DISK_FULL");
                }
            }
            assert_end(&world, step, &order);
        }
    });
}

#[test]
fn a_kill_during_a_first_install_leaves_nothing_or_the_whole() {
    for_every_step(|step| {
        let unreached = [
            "commit.remove",
            "backup.begun",
            "backup.file",
            "backup.filled",
        ];
        if step.as_str().starts_with("undo.") || unreached.contains(&step.as_str()) {
            return;
        }
        let world = World::new();
        let built = world.publish_app("1.0.0");
        if is_the_launchers(step) {
            announce_launcher(&world, &built, "1.0.0", &another());
        }
        world
            .run_failing(&format!("{}=kill", step.as_str()))
            .assert_killed();
        world.run(&[]).assert_app("1.0.0");
        world.assert_tidy();
        if is_the_launchers(step) {
            assert_launcher_works(&world, step.as_str());
        }
    });
}

#[cfg(unix)]
#[test]
fn a_link_that_became_a_folder_comes_back_through_any_kill() {
    for step in Step::ALL
        .iter()
        .filter(|step| step.as_str().starts_with("undo."))
    {
        for count in [1, 2, 3, 4] {
            let world = World::new();
            let old = app("1.0.0").file("lib64/a", b"same").link("lib", "lib64");
            world.publish("1.0.0", &old);
            world.run(&[]).assert_app("1.0.0");
            let before = world.tree();
            let new = app("1.1.0").file("lib64/a", b"same").file("lib/a", b"same");
            world.publish("1.1.0", &new.executable(ENTRY, dying()));
            let what = format!("{}@{count}=kill", step.as_str());
            world.run_failing(&what);
            let run = world.run(&[]);
            assert!(run.stdout.contains("app 1.0.0 "), "{what}: {run:#?}");
            assert_eq!(world.tree(), before, "{what}");
        }
    }
}
