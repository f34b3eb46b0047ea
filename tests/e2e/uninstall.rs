//! Uninstalling: what goes, what stays, and what an interruption leaves.

use serde_json::{Value, json};

use crate::world::{Run, World, app};

const UNINSTALL: [&str; 3] = ["--castoff", "uninstall", "--json"];

fn document(run: &Run) -> Value {
    assert_eq!(run.code, Some(0), "{run:#?}");
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:#?}"))
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::process::Stdio;

    use castoff::steps::Step;

    use super::*;

    /// 1.1.0 installed over 1.0.0, and files of the user's.
    fn lived_in() -> World {
        let world = World::with("[update]\npreserve = [\"/settings.ini\", \"uploads/\"]");
        let settings = |version| app(version).file("settings.ini", b"as delivered\n");
        for version in ["1.0.0", "1.1.0"] {
            world.publish(version, &settings(version));
            world.run(&[]).assert_app(version);
        }
        world.write("uploads/photo.jpg", "mine");
        world.write("notes.txt", "mine");
        world.write("stays.py", "changed by me");
        world.write("__pycache__/stays.cpython-311.pyc", "made by Python");
        fs::create_dir(world.path("empty")).unwrap();
        world
    }

    const USERS: [&str; 4] = ["notes.txt", "settings.ini", "stays.py", "uploads/photo.jpg"];

    /// What is in a folder, by its paths.
    fn files(world: &World) -> Vec<String> {
        let tree = world.tree();
        assert!(!world.path(".castoff").exists(), "{tree:?}");
        assert!(!world.path(".backup").exists(), "{tree:?}");
        assert!(!world.path("local_version.json").exists(), "{tree:?}");
        let files = tree.into_keys().filter(|path| !path.ends_with('/'));
        files.collect()
    }

    #[test]
    fn the_users_files_stay_and_all_else_goes() {
        let world = lived_in();
        let removed = document(&world.run(&UNINSTALL));
        assert_eq!(removed["outcome"], "uninstalled");
        assert_eq!(removed["version"], "1.1.0");
        assert_eq!(removed["kept"], json!(USERS));
        assert_eq!(removed["launcher_removed"], false, "nobody has agreed");
        assert_eq!(files(&world), USERS);
        assert_eq!(world.read("stays.py"), "changed by me");
        assert!(!world.path("empty").exists() && !world.path("data").exists());
        assert!(!world.home().join("logs").exists());
        assert!(world.launcher().exists());
        // Nothing is left to be done; all that remains is the user's.
        let again = document(&world.run(&UNINSTALL));
        assert_eq!(again["kept"], json!(USERS));
        assert_eq!(again["files"], 0);
        let everything = world.run(&["--castoff", "uninstall", "--everything", "--json"]);
        assert_eq!(document(&everything)["kept"], json!([]));
        assert!(!world.client().exists());
    }

    #[test]
    fn yes_removes_the_launcher_too_and_no_file_of_the_users() {
        let world = lived_in();
        let run = world.run(&["--castoff", "uninstall", "--yes"]);
        assert_eq!(run.code, Some(0), "{run:#?}");
        for users in USERS {
            assert!(run.stdout.contains(&format!("\n  {users}\n")), "{run:#?}");
        }
        assert_eq!(files(&world), USERS);
        let left: Vec<_> = fs::read_dir(world.home()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0].file_name(), "client");
    }

    #[test]
    fn everything_is_everything_and_the_folder_goes_with_it() {
        let world = lived_in();
        fs::create_dir_all(world.home().join("user/Desktop")).unwrap();
        let run = world.run(&["--castoff", "shortcut"]);
        assert_eq!(run.code, Some(0), "{run:#?}");
        // The user's home is in the launcher's folder here, as nowhere else: so that stays.
        let run = world.run(&["--castoff", "uninstall", "--everything", "--yes", "--json"]);
        let removed = document(&run);
        assert_eq!(removed["shortcuts"].as_array().unwrap().len(), 2);
        assert_eq!(removed["launcher_removed"], false);
        assert!(!world.client().exists());
        let user = world.home().join("user");
        assert_eq!(fs::read_dir(user.join("Desktop")).unwrap().count(), 0);
        fs::remove_dir_all(&user).unwrap();
        let mut command = world.command(&["--castoff", "uninstall", "--yes", "--json"]);
        let elsewhere = tempfile::tempdir().unwrap();
        let run = Run::of(command.env("HOME", elsewhere.path()));
        assert_eq!(document(&run)["launcher_removed"], true);
        assert!(!world.home().exists());
    }

    #[test]
    fn an_uninstall_waits_for_neither_the_app_nor_an_update() {
        let world = World::new();
        let waits = app("1.0.0").executable("run.sh", b"#!/bin/sh\necho ready\nread line\n");
        world.publish("1.0.0", &waits);
        let mut app = world
            .command(&[])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(app.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let before = world.tree();
        let run = world.run(&UNINSTALL);
        assert_eq!(run.code, Some(75), "{run:#?}");
        run.assert_told("APP_RUNNING");
        assert_eq!(world.tree(), before);
        drop(app.stdin.take());
        app.wait().unwrap();

        let lock = fs::File::open(world.path(".castoff/update.lock")).unwrap();
        lock.lock().unwrap();
        let run = world.run(&UNINSTALL);
        assert_eq!(run.code, Some(75), "{run:#?}");
        run.assert_told("UPDATE_RUNNING");
        assert_eq!(world.tree(), before);
        drop(lock);
        document(&world.run(&UNINSTALL));
        assert!(!world.client().exists());
    }

    /// An uninstall on a terminal.
    #[cfg(target_os = "linux")]
    struct Asked(std::process::Child);

    #[cfg(target_os = "linux")]
    impl Asked {
        fn by(world: &World) -> Self {
            let launcher = world.command(&["--castoff", "uninstall"]);
            let line = format!("'{}' --castoff uninstall", launcher.get_program().display());
            let mut terminal = std::process::Command::new("script");
            crate::world::isolate(&mut terminal, &world.home().join("user"));
            terminal
                .args(["--quiet", "--return", "--echo", "never", "--command", &line])
                .arg("/dev/null")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            Self(terminal.spawn().unwrap())
        }

        /// What is said until the next question, or the end.
        fn until_asked(&mut self) -> String {
            let mut said = Vec::new();
            let mut byte = [0];
            while !said.ends_with(b"[y/N] ") {
                match std::io::Read::read(self.0.stdout.as_mut().unwrap(), &mut byte) {
                    Ok(1) => said.push(byte[0]),
                    _ => break,
                }
            }
            String::from_utf8(said).unwrap()
        }

        fn answer(&mut self, answer: &str) {
            let input = self.0.stdin.as_mut().unwrap();
            std::io::Write::write_all(input, format!("{answer}\n").as_bytes()).unwrap();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn while_a_person_thinks_nothing_is_held_and_what_they_were_not_shown_is_asked_anew() {
        let world = lived_in();
        let mut asked = Asked::by(&world);
        let question = asked.until_asked();
        assert!(
            question.contains("Remove Test App from this machine?"),
            "{question}"
        );
        world.run(&[]).assert_app("1.1.0");
        asked.answer("y");
        let question = asked.until_asked();
        assert!(question.contains("  notes.txt"), "{question}");
        assert!(!question.contains("later.txt"), "{question}");
        world.write("later.txt", "mine, and not shown");
        asked.answer("y");
        assert!(asked.until_asked().contains("from this machine?"));
        assert_eq!(world.read("later.txt"), "mine, and not shown");
        asked.answer("y");
        assert!(asked.until_asked().contains("  later.txt"));
        asked.answer("y");
        let end = asked.until_asked();
        assert!(end.contains("Test App was removed."), "{end}");
        assert_eq!(asked.0.wait().unwrap().code(), Some(0));
        assert!(!world.client().exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_no_removes_nothing() {
        let world = lived_in();
        let before = world.tree();
        let mut asked = Asked::by(&world);
        asked.until_asked();
        asked.answer("");
        asked.until_asked();
        assert_eq!(asked.0.wait().unwrap().code(), Some(75));
        assert_eq!(world.tree(), before);
    }

    #[test]
    fn after_a_kill_at_any_step_nothing_half_is_started_and_a_second_one_finishes() {
        let steps = Step::ALL
            .iter()
            .filter(|step| step.as_str().starts_with("uninstall."));
        let mut tried = 0;
        for step in steps {
            for count in [1, 3] {
                let order = format!("{}@{count}=kill", step.as_str());
                if count > 1 && *step != Step::UninstallFile {
                    continue;
                }
                tried += 1;
                let world = lived_in();
                let run = Run::of(world.command(&UNINSTALL).env("CASTOFF_FAIL", &order));
                run.assert_killed();
                // The server is away, and the entry point is configured too: still it starts nothing.
                world.server.unroute(crate::world::CHECK);
                let start = Run::of(world.command(&[]).env("CASTOFF_ENTRY_POINT", "run.sh"));
                if *step != Step::UninstallUnnamed {
                    assert!(!start.stdout.contains("app 1"), "{order}: {start:#?}");
                    assert_eq!(start.code, Some(69), "{order}: {start:#?}");
                }
                document(&world.run(&UNINSTALL));
                assert_eq!(files(&world), USERS, "{order}");
            }
        }
        assert_eq!(tried, 5);
    }

    #[test]
    fn a_start_after_an_interrupted_uninstall_installs_the_app_again() {
        let world = lived_in();
        let order = "uninstall.file@3=kill";
        Run::of(world.command(&UNINSTALL).env("CASTOFF_FAIL", order)).assert_killed();
        world.run(&[]).assert_app("1.1.0");
        assert_eq!(world.version(), "1.1.0");
        assert_eq!(world.read("notes.txt"), "mine");
    }

    /// 1.0.0 installed, and 1.1.0 offered, which has a file of the name of one of the user's.
    fn with_a_name_taken() -> World {
        let world = World::new();
        world.update_to("1.0.0");
        world.write("only/1.1.0.bin", "mine");
        world.publish_app("1.1.0");
        world
    }

    #[test]
    fn an_interrupted_update_is_undone_first() {
        let world = with_a_name_taken();
        world.run_failing("commit.renamed=kill").assert_killed();
        let removed = document(&world.run(&UNINSTALL));
        assert_eq!(removed["kept"], json!(["only/1.1.0.bin"]));
        assert_eq!(world.read("only/1.1.0.bin"), "mine");
    }

    #[test]
    fn a_backup_with_the_only_copy_of_a_file_of_the_users_stays() {
        let world = with_a_name_taken();
        for _ in 0..2 {
            world.run(&[]).assert_app("1.1.0");
        }
        let removed = document(&world.run(&UNINSTALL));
        assert_eq!(removed["kept"], json!([".backup/1.0.0"]));
        assert_eq!(world.read(".backup/1.0.0/only/1.1.0.bin"), "mine");
        document(&world.run(&["--castoff", "uninstall", "--everything", "--json"]));
        assert!(!world.client().exists());
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let world = World::new();
        let outside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::write(outside.path().join("precious"), "x").unwrap();
        world.publish("1.0.0", &app("1.0.0").link("link.py", "stays.py"));
        world.run(&[]).assert_app("1.0.0");
        std::os::unix::fs::symlink(outside.path(), world.path("mine")).unwrap();
        assert_eq!(document(&world.run(&UNINSTALL))["kept"], json!(["mine"]));
        document(&world.run(&["--castoff", "uninstall", "--everything", "--json"]));
        assert!(!world.client().exists());
        assert!(outside.path().join("precious").exists());
    }

    #[test]
    fn an_app_without_a_list_is_the_users_until_they_say_otherwise() {
        let world = World::new();
        world.write("run.sh", "#!/bin/sh\n");
        world.write("local_version.json", "{\"version\": \"1.0.0\"}");
        let removed = document(&world.run(&UNINSTALL));
        assert_eq!(removed["kept"], json!(["run.sh"]));
        assert!(world.path("run.sh").exists());
    }

    #[test]
    fn a_launcher_in_a_folder_with_other_things_stays() {
        let world = World::new();
        world.update_to("1.0.0");
        fs::write(world.home().join("another program"), "").unwrap();
        let run = world.run(&["--castoff", "uninstall", "--yes"]);
        assert_eq!(run.code, Some(0), "{run:#?}");
        assert!(
            run.stdout.contains("The launcher is still there"),
            "{run:#?}"
        );
        assert!(world.launcher().exists());
        assert!(world.home().join("launcher.toml").exists());
        assert!(!world.client().exists());
    }

    #[test]
    fn of_a_launcher_that_lies_where_nobody_may_write_the_users_copy_goes() {
        let world = World::new();
        world.publish_app("1.0.0");
        // A file where a folder would have to be made.
        fs::write(world.home().join("blocked"), "").unwrap();
        let run = |args: &[&str]| {
            Run::of(
                world
                    .command(args)
                    .env("CASTOFF_CLIENT_DIR", "blocked/client"),
            )
        };
        run(&[]).assert_app("1.0.0");
        let copy = world.home().join("user/.local/share/org.castoff.test");
        assert!(copy.join("client/run.sh").exists());
        let removed = document(&run(&["--castoff", "uninstall", "--yes", "--json"]));
        assert_eq!(removed["launcher_removed"], false);
        assert!(!copy.exists());
    }
}

#[test]
fn where_nothing_is_installed_there_is_nothing_to_fail() {
    let world = World::new();
    let removed = document(&world.run(&UNINSTALL));
    assert_eq!(removed["files"], 0);
    assert!(!world.client().exists(), "not even a lock is made");
}

#[cfg(windows)]
#[test]
fn a_program_of_the_app_that_runs_leaves_everything_as_it_was() {
    use std::fs;
    use std::process::{Command, Stdio};

    let world = World::new();
    let windows = std::env::var_os("SystemRoot").unwrap();
    let ping = fs::read(std::path::Path::new(&windows).join("system32/ping.exe")).unwrap();
    world.publish("1.0.0", &app("1.0.0").file("tools/zz.exe", ping));
    let update = world.run(&["--castoff", "update"]);
    assert_eq!(update.code, Some(0), "{update:#?}");
    let before = world.tree();
    // Not started by the launcher: no lock tells of it.
    let mut tool = Command::new(world.path("tools/zz.exe"))
        .args(["-n", "600", "127.0.0.1"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let run = world.run(&["--castoff", "uninstall", "--yes"]);
    tool.kill().unwrap();
    tool.wait().unwrap();
    assert_eq!(run.code, Some(75), "{run:#?}");
    run.assert_told("FILE_IN_USE").assert_told("zz.exe");
    assert_eq!(world.tree(), before);
    assert_eq!(world.version(), "1.0.0");
    assert!(world.path(".castoff/installed.json").exists());
    document(&world.run(&UNINSTALL));
    assert!(!world.client().exists());
}

#[cfg(windows)]
#[test]
fn on_windows_too_the_launcher_removes_itself_last() {
    let world = World::new();
    world.publish("1.0.0", &app("1.0.0"));
    let update = world.run(&["--castoff", "update"]);
    assert_eq!(update.code, Some(0), "{update:#?}");
    world.write("notes.txt", "mine");
    let removed = document(&world.run(&UNINSTALL));
    assert_eq!(removed["kept"], json!(["notes.txt"]));
    assert!(!world.path("run.sh").exists() && !world.path(".castoff").exists());
    assert!(world.launcher().exists());
    let all = ["--castoff", "uninstall", "--everything", "--yes", "--json"];
    let removed = document(&world.run(&all));
    assert_eq!(removed["launcher_removed"], true, "{removed}");
    let gone = || !world.launcher().exists();
    castoff_testkit::until(gone, || "the launcher is still there");
    assert!(!world.client().exists());
    assert!(!world.home().join("launcher.toml").exists());
}
