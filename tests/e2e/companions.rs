//! What goes along with a version: hooks, databases, Python dependencies; and that data goes back
//! with the version, whatever happens in between.
#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

use std::fs;
use std::process::Command;

use castoff_testkit::http::Reply;
use castoff_testkit::package::Package;
use castoff_testkit::sign::{Document, Signer};
use rusqlite::Connection;

use crate::world::{ENTRY, Layout, Run, World, app, dying, script};

/// The database of the app, wherever its versions lie.
const DATABASE: &str = "data.db";

/// A migration to what 1.1.0 wants, which ends with `code`. In two transactions: the first stays,
/// whatever becomes of the second.
fn migration(code: u8) -> String {
    format!(
        "python3 -c \"import sqlite3, sys; c = sqlite3.connect('$CASTOFF_CLIENT_DIR/{DATABASE}'); \
         c.execute('update notes set text = \\\"migrated\\\"'); c.commit(); sys.exit({code})\""
    )
}

fn config(hooks: &str) -> String {
    format!("[databases]\nsqlite = [\"{DATABASE}\"]\n[hooks]\n{hooks}")
}

fn after_commit(command: &str) -> String {
    config(&format!("after_commit = ['''{command}''']"))
}

fn write_note(world: &World, text: &str) {
    let database = Connection::open(world.path(DATABASE)).unwrap();
    database
        .execute_batch("create table if not exists notes (text); delete from notes;")
        .unwrap();
    database
        .execute("insert into notes values (?1)", [text])
        .unwrap();
}

fn note(world: &World) -> String {
    let database = Connection::open(world.path(DATABASE)).unwrap();
    database
        .query_row("select text from notes", [], |row| row.get(0))
        .unwrap()
}

/// 1.0.0, confirmed, with a note in its database; 1.1.0 is published.
fn ready(layout: Layout, config: &str, next: &Package) -> World {
    let world = World::laid_out(layout, "");
    world.publish_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    write_note(&world, "mine");
    world.configure(config);
    world.publish("1.1.0", next);
    world
}

fn has_python() -> bool {
    let found = Command::new("python3")
        .arg("-c")
        .arg("import sqlite3")
        .status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        eprintln!("left out: there is no python3 with sqlite3");
    }
    found
}

#[test]
fn a_migration_comes_with_its_version() {
    if !has_python() {
        return;
    }
    for &layout in Layout::ALL {
        let world = ready(layout, &after_commit(&migration(0)), &app("1.1.0"));
        world.run(&[]).assert_app("1.1.0");
        assert_eq!(note(&world), "migrated");
        world.assert_tidy();
        // Once.
        write_note(&world, "later");
        world.run(&[]).assert_app("1.1.0");
        assert_eq!(note(&world), "later");
    }
}

#[test]
fn a_migration_that_fails_half_way_leaves_version_and_data_of_before() {
    if !has_python() {
        return;
    }
    for &layout in Layout::ALL {
        let world = ready(layout, &after_commit(&migration(3)), &app("1.1.0"));
        let files = || {
            let mut tree = world.tree();
            // SQLite's copy has another counter.
            tree.retain(|path, _| !path.starts_with(DATABASE));
            tree
        };
        let before = files();
        let run = world.run(&[]);
        run.assert_app("1.0.0").assert_told("HOOK_FAILED");
        assert_eq!((files(), note(&world).as_str()), (before, "mine"));
        world.assert_tidy();
    }
}

#[test]
fn a_kill_around_a_migration_leaves_version_and_data_of_one_time() {
    if !has_python() {
        return;
    }
    for &layout in Layout::ALL {
        for step in [
            "data.copied",
            "commit.journalled",
            "commit.migrating",
            "commit.migrated",
            "commit.trial",
            "commit.done",
        ] {
            let what = format!("{layout:?} {step}");
            let world = ready(layout, &after_commit(&migration(0)), &app("1.1.0"));
            world.run_failing(&format!("{step}=kill")).assert_killed();
            if step == "commit.migrated" {
                // And once more on the way back, before and after the data is put back.
                for again in ["undo.paths", "undo.data", "undo.versioned"] {
                    world.run_failing(&format!("{again}=kill")).assert_killed();
                }
            }
            // Offline, so that what was there is what starts.
            world.server.unroute(crate::world::CHECK);
            let run = world.run(&[]);
            assert_eq!(run.code, Some(0), "{what}: {run:#?}");
            let wanted = match world.version().as_str() {
                "1.0.0" => "mine",
                "1.1.0" => "migrated",
                other => panic!("{what}: {other}"),
            };
            assert_eq!(note(&world), wanted, "{what}");
            assert!(
                run.stdout.contains(&format!("app {} ", world.version())),
                "{what}: {run:#?}"
            );
        }
    }
}

#[test]
fn a_failed_trial_takes_the_data_back_too() {
    if !has_python() {
        return;
    }
    for &layout in Layout::ALL {
        let broken = app("1.1.0").executable(ENTRY, dying());
        let world = ready(layout, &after_commit(&migration(0)), &broken);
        world
            .run(&[])
            .assert_app("1.0.0")
            .assert_told("TRIAL_FAILED");
        assert_eq!(note(&world), "mine", "{layout:?}");
        world.run(&[]).assert_app("1.0.0");
        assert_eq!(note(&world), "mine", "{layout:?}");
    }
}

#[test]
fn once_confirmed_data_goes_back_only_when_asked_and_the_present_one_is_kept() {
    for &layout in Layout::ALL {
        let world = ready(layout, &config(""), &app("1.1.0"));
        world.run(&[]).assert_app("1.1.0");
        write_note(&world, "worked on");
        let run = world.run(&["--castoff", "rollback"]);
        assert_eq!(run.code, Some(0), "{run:#?}");
        assert_eq!(note(&world), "worked on", "{layout:?}");

        let world = ready(layout, &config(""), &app("1.1.0"));
        world.run(&[]).assert_app("1.1.0");
        write_note(&world, "worked on");
        let run = world.run(&["--castoff", "rollback", "--with-data"]);
        assert_eq!(run.code, Some(0), "{run:#?}");
        assert_eq!(note(&world), "mine", "{layout:?}");
        world.run(&[]).assert_app("1.0.0");
        let kept = match layout {
            Layout::InPlace => "1.1.0",
            Layout::Snapshot => "v1.1.0",
        };
        // Asked for once more, nothing is lost: the older data is not written over.
        if layout == Layout::InPlace {
            let run = world.run(&["--castoff", "rollback", "1.0.0", "--with-data"]);
            assert_eq!(run.code, Some(0), "{run:#?}");
            assert_eq!(note(&world), "mine", "{layout:?}");
            let run = world.run(&["--castoff", "rollback", "--with-data"]);
            run.assert_told("NO_WAY_BACK");
        }
        let copy = world.path(&format!(".castoff/data/{kept}/data.json"));
        assert!(copy.exists(), "{layout:?}: {}", copy.display());
        if layout == Layout::Snapshot {
            // And forward again, data included.
            let run = world.run(&["--castoff", "rollback", "1.1.0", "--with-data"]);
            assert_eq!(run.code, Some(0), "{run:#?}");
            assert_eq!(note(&world), "worked on");
        }
    }
}

#[test]
fn every_hook_comes_in_its_place_and_knows_what_it_is_about() {
    for &layout in Layout::ALL {
        let say =
            "echo $CASTOFF_HOOK ${CASTOFF_FROM-} ${CASTOFF_TO-} >> $CASTOFF_CLIENT_DIR/../hooks";
        let hooks: String = [
            "before_backup",
            "after_stage",
            "after_commit",
            "before_start",
            "after_confirm",
            "on_rollback",
        ]
        .map(|hook| format!("{hook} = [\"{say}\"]\n"))
        .concat();
        let world = World::laid_out(layout, &format!("[hooks]\n{hooks}"));
        let said = || fs::read_to_string(world.home().join("hooks")).unwrap_or_default();
        world.publish_app("1.0.0");
        world.run(&[]).assert_app("1.0.0");
        world.publish_app("1.1.0");
        world.run(&[]).assert_app("1.1.0");
        world.run(&["--castoff", "rollback"]);
        let first = "after_stage 1.0.0\nbefore_backup 1.0.0\nafter_commit 1.0.0\n\
                     before_start 1.0.0\nafter_confirm 1.0.0\n";
        let second = "after_stage 1.0.0 1.1.0\nbefore_backup 1.0.0 1.1.0\n\
                      after_commit 1.0.0 1.1.0\nbefore_start 1.1.0\nafter_confirm 1.0.0 1.1.0\n";
        let back = "on_rollback 1.1.0 1.0.0\n";
        assert_eq!(said(), format!("{first}{second}{back}"), "{layout:?}");
    }
}

#[test]
fn commands_of_a_package_are_run_where_it_is_signed_and_they_are_allowed() {
    let signer = Signer::new();
    let pinned = format!("[trust]\nkeys = [\"{}\"]", signer.public());
    let allowed = "[hooks]\npackage = true\nafter_commit = [\"echo own>> told.txt\"]";
    for (config, runs) in [
        (allowed.to_owned(), false),
        (pinned.clone(), false),
        (format!("{allowed}\n{pinned}"), true),
    ] {
        let world = World::with("");
        world.publish_app("1.0.0");
        world.run(&[]).assert_app("1.0.0");
        world.configure(&config);
        let built = app("1.1.0")
            .command("after_stage", "echo staged>> told.txt")
            .command("after_commit", "echo brought>> told.txt")
            .build();
        let document = Document::release("1.1.0", "/media/1.1.0.zip", &built.bytes)
            .with("packages/any/entry_point", ENTRY.into())
            .signed(&[&signer]);
        let mut answer = World::answer(&built, "1.1.0");
        answer["release"] = serde_json::from_str(&document).unwrap();
        world.announce(&answer);
        world.media("1.1.0", Reply::file(&built.bytes));
        let run = world.run(&[]);
        if runs {
            run.assert_app("1.1.0");
            let told = world.read("told.txt");
            let lines: Vec<&str> = told.lines().map(str::trim).collect();
            assert_eq!(lines, ["staged", "own", "brought"], "{run:#?}");
        } else {
            run.assert_app("1.0.0").assert_told("PACKAGE_COMMANDS");
            assert!(!world.path("told.txt").exists(), "{config}");
        }
    }
}

#[test]
fn a_hook_before_the_commit_that_fails_changes_nothing() {
    for &layout in Layout::ALL {
        for hook in ["before_backup", "after_stage"] {
            let world = World::laid_out(layout, "");
            world.publish_app("1.0.0");
            world.run(&[]).assert_app("1.0.0");
            world.configure(&format!("[hooks]\n{hook} = [\"exit 7\"]"));
            let before = world.tree();
            world.publish_app("1.1.0");
            let run = world.run(&[]);
            run.assert_app("1.0.0").assert_told("HOOK_FAILED");
            assert_eq!(world.tree(), before, "{layout:?} {hook}");
            world.assert_tidy();
        }
    }
}

/// An app of Python that says which environment it runs in.
fn python_app(version: &str, requirements: &str) -> Package {
    Package::new(version)
        .file(
            "main.py",
            format!("import sys\nprint('app {version} in', sys.prefix)\n").as_bytes(),
        )
        .file("requirements.txt", requirements.as_bytes())
        .file(ENTRY, script(version).as_bytes())
        .list()
}

fn publish_python(world: &World, version: &str, requirements: &str) {
    let built = world.publish(version, &python_app(version, requirements));
    let mut answer = World::answer(&built, version);
    answer["entry_point"] = "main.py".into();
    world.announce(&answer);
}

fn environment(run: &Run) -> String {
    let prefix = run.stdout.split(" in ").nth(1).unwrap_or_default();
    prefix
        .trim()
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn every_state_of_the_requirements_has_its_environment_and_going_back_goes_back_to_it() {
    let venv = Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .status();
    if !venv.is_ok_and(|status| status.success()) {
        eprintln!("left out: there is no python3 with venv");
        return;
    }
    for &layout in Layout::ALL {
        let world = World::laid_out(layout, "[python]\nrequirements = \"requirements.txt\"");
        publish_python(&world, "1.0.0", "# nothing yet\n");
        let first = world.run(&[]);
        assert!(
            first.stdout.contains("/.castoff/environments/"),
            "{first:#?}"
        );
        // The same file, the same environment.
        publish_python(&world, "1.1.0", "# nothing yet\n");
        let same = world.run(&[]);
        assert!(same.stdout.contains("app 1.1.0"), "{same:#?}");
        assert_eq!(environment(&same), environment(&first));
        publish_python(&world, "1.2.0", "# nothing still\n");
        let other = world.run(&[]);
        assert!(other.stdout.contains("app 1.2.0"), "{other:#?}");
        assert_ne!(environment(&other), environment(&first));
        let back = world.run(&["--castoff", "rollback"]);
        assert_eq!(back.code, Some(0), "{back:#?}");
        let run = world.run(&[]);
        assert!(run.stdout.contains("app 1.1.0"), "{run:#?}");
        assert_eq!(environment(&run), environment(&first), "{layout:?}");
    }
}
