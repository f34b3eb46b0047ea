//! Updates of files that are open, running or read-only, on Windows.

use std::fs::{self, File};
use std::io::Read;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use castoff_testkit::http::{Reply, Server};
use castoff_testkit::package::{Package, Tree};
use serde_json::json;

use super::{Outcome, Updater};
use crate::config::Config;
use crate::progress::Silent;
use crate::{Code, Error, Result};

/// Where a child process of [`an_updater_that_is_killed`] finds its world.
const CHILD: &str = "CASTOFF_TEST_HOME";

/// Not as long as an update waits, and long enough to be noticed.
const MOMENT: Duration = Duration::from_secs(2);

const SHARE_READ: u32 = 1;
const SHARE_DELETE: u32 = 4;

/// A launcher's folder and its endpoint.
struct World {
    server: Server,
    folder: tempfile::TempDir,
    client: PathBuf,
}

impl World {
    fn new() -> Self {
        Self::with_client("client")
    }

    fn with_client(client: &str) -> Self {
        let server = Server::start();
        let folder = tempfile::tempdir().unwrap();
        let client = folder.path().join(client);
        let text = format!(
            "app = \"org.castoff.test\"\n[source]\nurl = \"{}\"\n[network]\nretries = 0\n",
            server.url("/active")
        );
        fs::write(folder.path().join("launcher.toml"), text).unwrap();
        Self {
            server,
            folder,
            client,
        }
    }

    fn publish(&self, version: &str, package: &Package) {
        let built = package.build();
        let file = format!("/{version}.zip");
        let answer = json!({"version": version, "file": file, "file_size": built.size, "file_hash": built.sha256});
        self.server
            .replace("/active", Reply::json(&answer.to_string()));
        self.server.route(&file, Reply::file(&built.bytes));
    }

    /// How often a version was fetched.
    fn fetched(&self, version: &str) -> usize {
        let file = format!("/{version}.zip");
        let requests = self.server.requests();
        requests
            .iter()
            .filter(|request| request.path() == file)
            .count()
    }

    /// A world in which 1.0.0 is installed and 1.1.0 is offered.
    fn between() -> Self {
        let world = Self::new();
        world.install("1.0.0");
        world.publish("1.1.0", &app("1.1.0"));
        world
    }

    fn install(&self, version: &str) {
        self.publish(version, &app(version));
        self.update().unwrap();
    }

    fn update(&self) -> Result<Outcome> {
        update(self.folder.path(), &self.client)
    }

    fn recover(&self) -> Result<()> {
        let config = Config::load(self.folder.path(), None, &|_| None).unwrap();
        Updater::new(&config, &self.client, &Silent)
            .unwrap()
            .recover()
    }

    fn restore(&self, wanted: &str) -> Result<()> {
        let config = Config::load(self.folder.path(), None, &|_| None).unwrap();
        let updater = Updater::new(&config, &self.client, &Silent).unwrap();
        updater.roll_back(wanted, false).map(|_| ())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.client.join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// Everything that an update must leave as it is when it is put off.
    fn tree(&self) -> Tree {
        Tree::read(&self.client, &[".castoff"])
    }

    #[track_caller]
    fn assert_tidy(&self) {
        for name in ["journal.json", "staging", "backup", "restoring", "aside"] {
            assert!(!self.path(".castoff").join(name).exists(), "{name}");
        }
    }
}

fn update(home: &Path, client: &Path) -> Result<Outcome> {
    let config = Config::load(home, None, &|_| None).unwrap();
    Updater::new(&config, client, &Silent)
        .unwrap()
        .update(false)
}

/// Files that change, one that stays, one that only this version has.
fn app(version: &str) -> Package {
    let text = |name: &str| format!("{name} of {version}\n");
    Package::new(version)
        .file("a.txt", text("a"))
        .file("lib/b.dll", text("b"))
        .file("stays.txt", "always the same")
        .file(&format!("only/{version}.txt"), text("only"))
        .file("z.txt", text("z"))
        .list()
}

fn open(path: &Path, share: u32) -> File {
    File::options()
        .read(true)
        .share_mode(share)
        .open(path)
        .unwrap()
}

#[track_caller]
fn assert_put_off(result: Result<Outcome>, file: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), Code::FileInUse, "{}", error.chain());
    let (_, path) = error
        .details()
        .into_iter()
        .find(|(name, _)| *name == "path")
        .unwrap();
    assert!(path.ends_with(file), "{path}");
}

#[test]
fn a_file_that_stays_open_puts_the_update_off() {
    for (held, share) in [
        ("lib/b.dll", 0),
        ("z.txt", SHARE_READ),
        ("only/1.0.0.txt", SHARE_READ),
    ] {
        let world = World::between();
        let before = world.tree();
        let file = open(&world.path(held), share);
        let result = world.update();
        assert_put_off(result, held.rsplit('/').next().unwrap());
        drop(file);
        assert_eq!(before.differences(&world.tree()), Vec::<String>::new());
        world.assert_tidy();
        assert_eq!(world.fetched("1.1.0"), 1);

        assert!(matches!(world.update(), Ok(Outcome::Updated { .. })));
        assert_eq!(world.read("lib/b.dll"), "b of 1.1.0\n");
        assert!(!world.path("only/1.0.0.txt").exists());
        assert_eq!(world.fetched("1.1.0"), 1, "{held}: it was fetched again");
        world.assert_tidy();
    }
}

#[test]
fn a_file_that_is_open_for_a_moment_is_waited_for() {
    let world = World::between();
    let file = open(&world.path("a.txt"), 0);
    let begun = Instant::now();
    let scanner = thread::spawn(move || {
        thread::sleep(MOMENT);
        drop(file);
    });
    assert!(matches!(world.update(), Ok(Outcome::Updated { .. })));
    assert!(begun.elapsed() >= MOMENT);
    scanner.join().unwrap();
    assert_eq!(world.read("a.txt"), "a of 1.1.0\n");
    world.assert_tidy();
}

#[test]
fn a_file_whose_reader_lets_it_go_is_replaced_under_it() {
    let world = World::between();
    let mut files =
        ["a.txt", "only/1.0.0.txt"].map(|path| open(&world.path(path), SHARE_READ | SHARE_DELETE));
    assert!(matches!(world.update(), Ok(Outcome::Updated { .. })));
    assert_eq!(world.read("a.txt"), "a of 1.1.0\n");
    assert!(!world.path("only").join("1.0.0.txt").exists());
    let mut text = String::new();
    for file in &mut files {
        file.read_to_string(&mut text).unwrap();
    }
    assert_eq!(text, "a of 1.0.0\nonly of 1.0.0\n");
    drop(files);
    assert!(matches!(world.update(), Ok(Outcome::UpToDate { .. })));
    world.assert_tidy();
}

#[test]
fn a_program_that_runs_is_replaced_and_goes_on() {
    let world = World::new();
    let windows = std::env::var_os("SystemRoot").unwrap();
    let program = fs::read(Path::new(&windows).join("system32/ping.exe")).unwrap();
    world.publish("1.0.0", &app("1.0.0").file("app.exe", &program));
    world.update().unwrap();
    world.publish("1.1.0", &app("1.1.0").file("app.exe", "the new one"));
    let mut running = Command::new(world.path("app.exe"))
        .args(["-n", "600", "127.0.0.1"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let overwritten = File::options().write(true).open(world.path("app.exe"));
    assert_eq!(overwritten.unwrap_err().raw_os_error(), Some(32), "it runs");

    assert!(matches!(world.update(), Ok(Outcome::Updated { .. })));
    assert_eq!(world.read("app.exe"), "the new one");
    assert!(running.try_wait().unwrap().is_none(), "it goes on");
    let kept = fs::read(world.path(".backup/1.0.0/app.exe")).unwrap();
    assert!(kept == program, "the backup is whole");

    // Back to the file that runs, under a third name of it.
    world.restore("1.0.0").unwrap();
    assert!(fs::read(world.path("app.exe")).unwrap() == program);
    assert!(running.try_wait().unwrap().is_none(), "it goes on");
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(world.update().unwrap_err().code(), Code::BadVersion);
    world.assert_tidy();
}

/// Not a test: what [`killed`] runs.
#[test]
#[ignore = "run by other tests, as a process of its own"]
fn an_updater_that_is_killed() {
    if let Some(home) = std::env::var_os(CHILD) {
        let home = Path::new(&home);
        let _ = update(home, &home.join("client"));
    }
}

/// A world in which an update was killed at a step, and the folder as it was before.
fn killed(step: &str) -> (World, Tree) {
    let world = World::between();
    let before = world.tree();
    let name = "updater::in_use_tests::an_updater_that_is_killed";
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored"])
        .env("CASTOFF_FAIL", format!("{step}=kill"))
        .env(CHILD, world.folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    assert!(world.path(".castoff/journal.json").exists());
    (world, before)
}

/// The folder is as before, but for the backup, which is removed by the next update.
#[track_caller]
fn assert_undone(world: &World, before: &Tree) {
    let now = Tree::read(
        &world.client,
        &[".castoff", ".backup", "local_version.json"],
    );
    let mut before = before.clone();
    before.0.remove("local_version.json");
    assert_eq!(before.differences(&now), Vec::<String>::new());
    assert!(!world.path(".castoff/journal.json").exists());
    assert!(matches!(world.update(), Ok(Outcome::Updated { .. })));
    world.assert_tidy();
}

#[test]
fn an_undo_puts_back_what_was_moved_aside_and_never_came_back() {
    let (world, before) = killed("commit.rename@1");
    // As a kill between the two renames would leave it.
    fs::create_dir_all(world.path(".castoff/aside")).unwrap();
    fs::rename(world.path("z.txt"), world.path(".castoff/aside/1-1")).unwrap();
    world.recover().unwrap();
    assert_undone(&world, &before);
}

#[test]
fn an_undo_waits_for_files_that_are_open_for_a_moment() {
    let (world, before) = killed("commit.renamed");
    let files = ["a.txt", "only/1.1.0.txt"].map(|path| open(&world.path(path), 0));
    let scanner = thread::spawn(move || {
        thread::sleep(MOMENT);
        drop(files);
    });
    world.recover().unwrap();
    scanner.join().unwrap();
    assert_undone(&world, &before);
}

#[test]
fn an_undo_that_cannot_be_done_is_done_at_a_later_start() {
    let (world, before) = killed("commit.renamed");
    let file = open(&world.path("lib/b.dll"), SHARE_READ);
    let error = world.recover().unwrap_err();
    assert_eq!(error.code(), Code::RecoveryFailed);
    let Error::RecoveryFailed { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.code(), Code::FileInUse, "{}", source.chain());
    assert!(world.path(".castoff/journal.json").exists());
    drop(file);
    world.recover().unwrap();
    assert_undone(&world, &before);
}

#[test]
fn a_restore_that_meets_an_open_file_changes_nothing() {
    let world = World::between();
    world.update().unwrap();
    let before = world.tree();
    let file = open(&world.path("z.txt"), SHARE_READ);
    let error = world.restore("1.0.0").unwrap_err();
    assert_eq!(error.code(), Code::FileInUse, "{}", error.chain());
    drop(file);
    assert_eq!(before.differences(&world.tree()), Vec::<String>::new());
    world.restore("1.0.0").unwrap();
    assert_eq!(world.read("z.txt"), "z of 1.0.0\n");
    world.assert_tidy();
}

#[test]
fn read_only_files_are_replaced_removed_and_kept() {
    let world = World::new();
    let make_read_only = |version: &str| {
        for path in [
            "a.txt",
            "stays.txt",
            "z.txt",
            &format!("only/{version}.txt"),
        ] {
            let mut permissions = fs::metadata(world.path(path)).unwrap().permissions();
            permissions.set_readonly(true);
            fs::set_permissions(world.path(path), permissions).unwrap();
        }
    };
    world.install("1.0.0");
    for (version, next) in [("1.0.0", "1.1.0"), ("1.1.0", "1.2.0"), ("1.2.0", "1.3.0")] {
        make_read_only(version);
        world.install(next);
        assert_eq!(world.read("a.txt"), format!("a of {next}\n"));
        assert!(!world.path(&format!("only/{version}.txt")).exists());
        world.assert_tidy();
    }
    make_read_only("1.3.0");
    world.restore("1.2.0").unwrap();
    assert_eq!(world.read("z.txt"), "z of 1.2.0\n");
    assert_eq!(world.read("only/1.2.0.txt"), "only of 1.2.0\n");
    assert!(!world.path("only/1.3.0.txt").exists());
    // And a backup with such files in it goes.
    let folder = crate::state::ClientFolder::new(&world.client, "local_version.json");
    crate::layout::backup::discard(&folder, "1.1.0").unwrap();
    assert!(!world.path(".backup/1.1.0").exists());
}

#[test]
fn a_folder_deeper_than_260_characters_is_updated() {
    let deep = ["a-folder-with-a-long-name"; 12].join("/");
    let world = World::with_client(&deep);
    assert!(world.client.as_os_str().len() > 300);
    world.install("1.0.0");
    world.install("1.1.0");
    assert_eq!(world.read("lib/b.dll"), "b of 1.1.0\n");
    world.restore("1.0.0").unwrap();
    assert_eq!(world.read("lib/b.dll"), "b of 1.0.0\n");
    world.assert_tidy();
}
