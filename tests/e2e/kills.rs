//! The kill matrix: whatever is done, in either layout, the process is killed, fails, hangs, runs
//! out of disk or panics at every step on the way; started again, it ends with one version whole,
//! and the app starts.
//!
//! The steps are not listed here: each operation is carried out once undisturbed, and says which it
//! comes by. That chain is asserted too, and a step that the engine has and no operation reaches
//! fails the test. (Those of a copy per user, of an uninstall, of a factory version, of a repair and
//! of migrations are walked through where they belong: `read_only.rs`, `uninstall.rs`, `repair.rs`,
//! `companions.rs`, and the tests of `castoff`.)

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use castoff::steps::Step;
use castoff_testkit::package::Package;

use crate::selfupdate::{announce_launcher, another, assert_launcher_works};
use crate::world::{ENTRY, Layout, Run, World, app, dying};

/// What is done, from a world that is ready for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    /// The first version is installed.
    Install,
    /// 1.0.0 becomes 1.1.0.
    Update,
    /// 1.1.0 dies at its start, and 1.0.0 comes back.
    FailedTrial,
    /// A person goes back from 1.1.0 to 1.0.0.
    Rollback,
    /// A start finds an update to 1.1.0 that was killed half-way.
    Recover,
    /// 1.2.0 is installed and confirmed, and an older version goes.
    Prune,
    /// 1.1.0 comes with a new launcher.
    Launcher,
}

impl Operation {
    const ALL: [Self; 7] = [
        Self::Update,
        Self::FailedTrial,
        Self::Install,
        Self::Rollback,
        Self::Recover,
        Self::Prune,
        Self::Launcher,
    ];

    /// A world in which the next run does it.
    fn ready(self, layout: Layout) -> World {
        let keep = if self == Self::Prune { 0 } else { 3 };
        let world = World::laid_out(layout, &format!("[update]\nkeep = {keep}"));
        let installed: &[&str] = match self {
            Self::Install => &[],
            Self::Update | Self::FailedTrial | Self::Recover | Self::Launcher => &["1.0.0"],
            Self::Rollback | Self::Prune => &["1.0.0", "1.1.0"],
        };
        for version in installed {
            world.publish_app(version);
            world.run(&[]).assert_app(version);
        }
        match self {
            Self::Install => {
                world.publish_app("1.0.0");
            }
            Self::Rollback => {}
            Self::Update => {
                world.publish_app("1.1.0");
            }
            Self::FailedTrial => {
                world.publish("1.1.0", &broken());
            }
            Self::Recover => {
                world.publish_app("1.1.0");
                world.run_failing("commit.trial=kill").assert_killed();
            }
            Self::Prune => {
                world.publish_app("1.2.0");
            }
            Self::Launcher => {
                let built = world.publish_app("1.1.0");
                announce_launcher(&world, &built, "1.1.0", &another());
            }
        }
        world
    }

    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Rollback => &["--castoff", "rollback", "1.0.0"],
            // Else the same start would go on and update.
            Self::Recover => &["--castoff", "run"],
            _ => &[],
        }
    }

    /// What is installed when nothing disturbs it, in the end.
    fn leads_to(self) -> &'static str {
        match self {
            Self::Install | Self::FailedTrial | Self::Rollback => "1.0.0",
            Self::Update | Self::Recover | Self::Launcher => "1.1.0",
            Self::Prune => "1.2.0",
        }
    }
}

/// An app of 1.1.0 that dies by a signal right after its start.
fn broken() -> Package {
    app("1.1.0").executable(ENTRY, dying())
}

type Tree = BTreeMap<String, String>;

/// The trees of all versions, as a fresh install has them.
fn whole() -> BTreeMap<&'static str, Tree> {
    let tree = |version| {
        let world = World::new();
        world.publish_app(version);
        world.run(&[]).assert_app(version);
        (version, world.tree())
    };
    ["1.0.0", "1.1.0", "1.2.0"].map(tree).into()
}

/// Those of `operations` that are tried here: under an emulator a process takes ten times as long to
/// start, and only the first `few` are.
fn tried(operations: &[Operation], few: usize) -> &[Operation] {
    if cfg!(emulated) {
        &operations[..few]
    } else {
        operations
    }
}

/// The steps that an operation comes by, undisturbed, as often as it does.
fn steps_of(operation: Operation, layout: Layout) -> Vec<String> {
    let world = operation.ready(layout);
    let trace = world.home().join("trace");
    let mut command = world.command(operation.args());
    let run = Run::of(command.env("CASTOFF_TRACE", &trace));
    assert_eq!(run.code, Some(0), "{operation:?}: {run:#?}");
    let text = fs::read_to_string(trace).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The chain: a step that comes again and again counts once.
fn chain(steps: &[String]) -> Vec<&str> {
    let mut chain: Vec<&str> = steps.iter().map(String::as_str).collect();
    chain.dedup();
    chain
}

/// Where to disturb: every step, and of those that come for each file also the second and
/// the last time. (Not under an emulator.)
fn places(steps: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for step in steps {
        *counts.entry(step).or_default() += 1;
    }
    let mut places = Vec::new();
    for (step, count) in counts {
        let wanted: BTreeSet<u32> = if cfg!(emulated) {
            [1].into()
        } else {
            [1, 2, count].into()
        };
        let wanted = wanted.into_iter().filter(|wanted| *wanted <= count);
        places.extend(wanted.map(|wanted| format!("{step}@{wanted}")));
    }
    places
}

/// Does the work for every operation, layout and place, spread over the cores: each world is alone
/// in its folder.
fn everywhere(operations: &[Operation], work: impl Fn(Operation, Layout, World, &str) + Sync) {
    let mut jobs = Vec::new();
    for &operation in operations {
        for &layout in Layout::ALL {
            let ready = Arc::new(operation.ready(layout));
            for place in places(&steps_of(operation, layout)) {
                jobs.push((operation, layout, Arc::clone(&ready), place));
            }
        }
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((operation, layout, ready, place)) =
                    jobs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    work(*operation, *layout, ready.again(), place);
                }
            });
        }
    });
}

#[track_caller]
fn assert_whole(world: &World, whole: &BTreeMap<&str, Tree>, run: &Run, what: &str) {
    let version = world.version();
    let tree = whole
        .get(version.as_str())
        .unwrap_or_else(|| panic!("{what}: version {version}: {run:#?}"));
    assert_eq!(&world.tree(), tree, "{what}: a mixture of {version}");
    assert!(
        run.stdout.contains(&format!("app {version} ")),
        "{what}: {run:#?}"
    );
    assert_eq!(run.code, Some(0), "{what}: {run:#?}");
}

/// What a world must look like in the end: what was to be done is done when nothing disturbs it.
#[track_caller]
fn assert_end(world: &World, operation: Operation, what: &str) {
    if operation == Operation::Rollback && world.version() != "1.0.0" {
        let again = world.run(operation.args());
        assert_eq!(again.code, Some(0), "{what}, again: {again:#?}");
    }
    let last = world.run(&[]);
    let version = operation.leads_to();
    assert!(
        last.stdout.contains(&format!("app {version} ")),
        "{what}, in the end: {last:#?}"
    );
    world.assert_tidy();
    if operation == Operation::Launcher {
        assert_launcher_works(world, what);
    }
}

fn disturbed(world: &World, operation: Operation, order: &str) -> Run {
    Run::of(world.command(operation.args()).env("CASTOFF_FAIL", order))
}

#[test]
fn every_operation_has_its_chain_of_steps_and_every_step_an_operation() {
    let mut reached = BTreeSet::new();
    for layout in Layout::ALL {
        let mut told = String::new();
        for operation in Operation::ALL {
            let steps = steps_of(operation, *layout);
            let chain = chain(&steps).join("\n  ");
            let _ = writeln!(told, "{operation:?}\n  {chain}");
            reached.extend(steps);
        }
        insta::assert_snapshot!(format!("steps_{layout:?}"), told);
    }
    let elsewhere = |name: &str| {
        ["seed.", "uninstall.", "factory.", "commit.migrat", "undo.data", "repair."]
            .iter()
            .any(|other| name.starts_with(other))
            // The layout is for Unix.
            || (cfg!(windows) && ["build.", "switch.", "commit.placed"].iter().any(|other| name.starts_with(other)))
    };
    let missed: Vec<_> = Step::ALL
        .iter()
        .map(|step| step.as_str())
        .filter(|name| !reached.contains(*name) && !elsewhere(name))
        .collect();
    assert_eq!(missed, Vec::<&str>::new(), "no operation comes by these");
}

#[test]
fn a_kill_anywhere_leaves_one_version_whole() {
    let whole = whole();
    everywhere(
        tried(&Operation::ALL, 2),
        |operation, layout, world, place| {
            let what = format!("{layout:?} {operation:?} {place}=kill");
            disturbed(&world, operation, &format!("{place}=kill")).assert_killed();
            let next = world.run(&[]);
            assert_whole(&world, &whole, &next, &what);
            assert_end(&world, operation, &what);
        },
    );
}

#[test]
fn a_kill_in_the_recovery_itself_can_be_recovered_from_too() {
    let whole = whole();
    everywhere(tried(&[Operation::Recover], 1), |_, layout, _, place| {
        for first in ["commit.journalled", "commit.listed", "commit.trial"] {
            let what = format!("{layout:?} {first}, then {place}");
            let world = Operation::Update.ready(layout);
            world.run_failing(&format!("{first}=kill")).assert_killed();
            // Twice in the same place, as far as each attempt gets there.
            for _ in 0..2 {
                world.run_failing(&format!("{place}=kill"));
            }
            let next = world.run(&[]);
            assert_whole(&world, &whole, &next, &what);
            assert_end(&world, Operation::Update, &what);
        }
    });
}

#[test]
fn a_failure_anywhere_starts_the_app_in_the_same_run() {
    let whole = whole();
    let operations = [
        Operation::Update,
        Operation::Install,
        Operation::FailedTrial,
        Operation::Prune,
        Operation::Launcher,
    ];
    everywhere(tried(&operations, 1), |operation, layout, ready, place| {
        for action in ["error", "full", "panic"] {
            let what = format!("{layout:?} {operation:?} {place}={action}");
            let world = ready.again();
            let mut run = disturbed(&world, operation, &format!("{place}={action}"));
            let switches = place.starts_with("switch.");
            let undoes = operation == Operation::FailedTrial
                && (switches || place.starts_with("undo."))
                // The launcher that is started anew comes by the same step, and panics again.
                || switches && action == "panic";
            let nothing_yet = operation == Operation::Install && world.version() == "none";
            if undoes || nothing_yet {
                // An undo that fails cannot go on, and where nothing is installed nothing can be
                // started: the next start tries again.
                run = world.run(&[]);
            } else if cfg!(windows) && action == "panic" && run.code == Some(70) {
                // Windows cannot replace a process; the app's code went to the one after it.
                run.code = Some(0);
            } else if action == "full"
                && operation == Operation::Update
                && world.version() == "1.0.0"
            {
                run.assert_told("DISK_FULL");
            }
            assert_whole(&world, &whole, &run, &what);
            assert_end(&world, operation, &what);
        }
    });
}

#[test]
fn a_failure_of_a_rollback_is_told_and_leaves_one_version_whole() {
    let whole = whole();
    everywhere(
        tried(&[Operation::Rollback], 0),
        |operation, layout, ready, place| {
            for action in ["error", "full"] {
                let what = format!("{layout:?} {operation:?} {place}={action}");
                let world = ready.again();
                let run = disturbed(&world, operation, &format!("{place}={action}"));
                assert_ne!(run.code, Some(0), "{what}: {run:#?}");
                let next = world.run(&[]);
                assert_whole(&world, &whole, &next, &what);
                assert_end(&world, operation, &what);
            }
        },
    );
}

/// A launcher that hangs holds its locks: another start meanwhile starts what is whole, or waits.
/// When the first is ended at last, all goes on.
#[test]
fn a_launcher_that_hangs_anywhere_does_not_make_another_start_a_mixture() {
    let whole = whole();
    let operations = [
        Operation::Update,
        Operation::FailedTrial,
        Operation::Rollback,
    ];
    everywhere(tried(&operations, 1), |operation, layout, world, place| {
        let what = format!("{layout:?} {operation:?} {place}=hang");
        let trace = world.home().join("trace");
        let mut hanging = world
            .command(operation.args())
            .env("CASTOFF_FAIL", format!("{place}=hang"))
            .env("CASTOFF_TRACE", &trace)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let (step, count) = place.split_once('@').unwrap();
        let count: usize = count.parse().unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        let reached = || {
            let text = fs::read_to_string(&trace).unwrap_or_default();
            text.lines().filter(|line| *line == step).count() >= count
        };
        while !reached() {
            assert!(Instant::now() < deadline, "{what}: never reached");
            std::thread::sleep(Duration::from_millis(5));
        }
        let next = std::thread::scope(|scope| {
            let other = scope.spawn(|| world.run(&[]));
            // Long enough for the other to find the locks held.
            std::thread::sleep(Duration::from_millis(100));
            hanging.kill().unwrap();
            hanging.wait().unwrap();
            other.join().unwrap()
        });
        assert_whole(&world, &whole, &next, &what);
        assert_end(&world, operation, &what);
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
