//! Real SQLite databases, open and closed, and real commands.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::*;
use crate::Code;
use crate::config::DumpConfig;

struct World {
    _root: tempfile::TempDir,
    folder: ClientFolder,
    environment: Vec<(OsString, OsString)>,
    config: DatabasesConfig,
}

impl World {
    fn new(sqlite: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let client = root.path().join("My App 客户端");
        fs::create_dir_all(client.join("db")).unwrap();
        Self {
            folder: ClientFolder::new(client, "local_version.json"),
            _root: root,
            environment: std::env::vars_os().collect(),
            config: DatabasesConfig {
                sqlite: sqlite.iter().map(ToString::to_string).collect(),
                other: None,
            },
        }
    }

    fn databases(&self) -> Databases<'_> {
        let runner = Runner {
            environment: &self.environment,
            timeout: Duration::from_mins(1),
            keep_open: None,
        };
        Databases::new(&self.folder, &self.config, runner)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.root().join(name)
    }

    fn stopped(&self) -> ChangeLock {
        ChangeLock::take(&self.folder, Duration::from_mins(1)).unwrap()
    }
}

/// A database with one row, and the connection to it.
fn database(path: &Path, journal: &str, row: &str) -> Connection {
    let database = Connection::open(path).unwrap();
    database
        .pragma_update(None, "journal_mode", journal)
        .unwrap();
    database
        .pragma_update(None, "wal_autocheckpoint", 0)
        .unwrap();
    database
        .execute_batch("CREATE TABLE IF NOT EXISTS t (x TEXT)")
        .unwrap();
    write(&database, row);
    database
}

fn write(database: &Connection, row: &str) {
    database
        .execute("INSERT INTO t VALUES (?1)", [row])
        .unwrap();
}

/// What a database says, and that it is whole.
fn rows(path: &Path) -> Vec<String> {
    let database = Connection::open(path).unwrap();
    let check: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
    let mut rows = database.prepare("SELECT x FROM t ORDER BY rowid").unwrap();
    let rows = rows.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The files of a database that its program has left as they are, as a crash does.
fn crashed(from: &Path, to: &Path) {
    for suffix in SUFFIXES.iter().chain(&["-shm"]) {
        if beside(from, suffix).exists() {
            fs::copy(beside(from, suffix), beside(to, suffix)).unwrap();
        }
    }
}

#[test]
fn nothing_is_copied_where_nothing_is_configured() {
    let world = World::new(&[]);
    assert!(!world.databases().copy("1.0.0", None, None).unwrap());
    assert!(
        !world
            .databases()
            .put_back("1.0.0", &world.stopped())
            .unwrap()
    );
    assert!(!world.folder.own().join("data").exists());
}

#[cfg(feature = "sqlite")]
#[test]
fn a_database_in_use_is_copied_and_put_back() {
    for journal in ["wal", "delete"] {
        let world = World::new(&["db/app.db"]);
        let path = world.path("db/app.db");
        let app = database(&path, journal, "old");
        let version = "1.0.0".parse().unwrap();
        assert!(
            world
                .databases()
                .copy("1.0.0", Some(&version), None)
                .unwrap()
        );
        write(&app, "new");
        drop(app);
        // What the source was is as it was, and the copy is one file.
        let kept = world.folder.own().join("data").join("1.0.0");
        let mut names: Vec<_> = fs::read_dir(&kept)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["0.sqlite", "data.json"], "{journal}");

        let data = world.databases().check("1.0.0").unwrap().unwrap();
        assert_eq!(data.version, Some(version));
        assert_eq!(
            data.size(),
            fs::metadata(kept.join("0.sqlite")).unwrap().len()
        );
        assert!(
            world
                .databases()
                .put_back("1.0.0", &world.stopped())
                .unwrap()
        );
        assert_eq!(rows(&path), ["old"], "{journal}");
        assert_eq!(
            rows(&beside(&path, ".replaced")),
            ["old", "new"],
            "{journal}"
        );
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn a_copy_is_of_one_instant_while_another_program_writes() {
    let world = World::new(&["app.db"]);
    let path = world.path("app.db");
    let app = database(&path, "wal", "first");
    app.execute_batch("CREATE TABLE pair (a INTEGER, b INTEGER); INSERT INTO pair VALUES (0, 0)")
        .unwrap();
    let (enough, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let app = Connection::open(&path).unwrap();
            app.busy_timeout(Duration::from_mins(1)).unwrap();
            while !enough.load(Ordering::Relaxed) {
                app.execute_batch(
                    "BEGIN IMMEDIATE; UPDATE pair SET a = a + 1; UPDATE pair SET b = b + 1; COMMIT",
                )
                .unwrap();
                begun.store(true, Ordering::Relaxed);
            }
        });
        while !begun.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(1));
        }
        let copied: Vec<_> = (0..5)
            .map(|n| world.databases().copy(&format!("{n}"), None, None))
            .collect();
        enough.store(true, Ordering::Relaxed);
        assert!(copied.into_iter().all(Result::unwrap));
    });
    for n in 0..5 {
        let copy = Connection::open(world.folder.own().join(format!("data/{n}/0.sqlite"))).unwrap();
        let (a, b): (i64, i64) = copy
            .query_row("SELECT a, b FROM pair", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert!(a == b && a > 0, "{a} {b}");
    }
    assert_eq!(world.databases().list(), ["0", "1", "2", "3", "4"]);
}

#[cfg(feature = "sqlite")]
#[test]
fn a_locked_database_is_waited_for_and_then_given_up() {
    let world = World::new(&[]);
    let (path, to) = (world.path("app.db"), world.path("copy"));
    let app = database(&path, "delete", "row");
    app.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let locked = sqlite::copy(&path, &to, Duration::from_millis(200)).unwrap_err();
    assert!(
        matches!(&locked, sqlite::Failure::Problem(problem) if problem.contains("stayed locked")),
        "{locked:?}"
    );
    std::thread::scope(|scope| {
        let copied = scope.spawn(|| sqlite::copy(&path, &to, Duration::from_mins(1)));
        sleep(Duration::from_millis(200));
        app.execute_batch("COMMIT").unwrap();
        copied.join().unwrap().unwrap();
    });
    assert_eq!(rows(&to), ["row"]);
}

#[cfg(feature = "sqlite")]
#[test]
fn what_sqlite_cannot_read_is_copied_as_a_file_only_while_the_app_is_closed() {
    let world = World::new(&["secret.db", "empty.db"]);
    fs::write(world.path("secret.db"), vec![0x5a; 8192]).unwrap();
    fs::write(world.path("empty.db"), b"").unwrap();
    let refused = world.databases().copy("1", None, None).unwrap_err();
    assert_eq!(refused.code(), Code::DatabaseCopyFailed);
    assert!(refused.to_string().contains("secret.db"));
    assert!(world.databases().list().is_empty());
    assert!(!world.folder.own().join("copying").exists());

    world
        .databases()
        .copy("1", None, Some(&world.stopped()))
        .unwrap();
    fs::write(world.path("secret.db"), b"other").unwrap();
    fs::write(world.path("empty.db"), b"other").unwrap();
    world.databases().put_back("1", &world.stopped()).unwrap();
    assert_eq!(fs::read(world.path("secret.db")).unwrap(), vec![0x5a; 8192]);
    let empty = Connection::open(world.path("empty.db")).unwrap();
    let tables: i64 = empty
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 0);
}

#[cfg(feature = "sqlite")]
#[test]
fn a_damaged_database_is_not_taken_for_a_copy() {
    let world = World::new(&["app.db"]);
    let path = world.path("app.db");
    let app = database(&path, "delete", "row");
    app.execute_batch("CREATE INDEX i ON t (x)").unwrap();
    app.execute_batch("BEGIN").unwrap();
    for _ in 0..2000 {
        write(
            &app,
            "a row that fills some pages of the table and of its index",
        );
    }
    app.execute_batch("COMMIT").unwrap();
    drop(app);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let error = world
        .databases()
        .copy("1", None, Some(&world.stopped()))
        .unwrap_err();
    assert_eq!(error.code(), Code::DatabaseCopyFailed, "{error}");
}

#[test]
fn the_files_of_a_closed_database_are_copied_with_what_a_crash_has_left() {
    let world = World::new(&[]);
    let live = world.path("live.db");
    let app = database(&live, "wal", "in the log");
    let (path, to) = (world.path("app.db"), world.path("copy"));
    crashed(&live, &path);
    drop(app);
    let parts = copy_files(&path, &to).unwrap();
    let suffixes: Vec<_> = parts.iter().map(|part| part.suffix.as_str()).collect();
    assert_eq!(suffixes, ["", "-wal"]);
    assert_eq!(rows(&to), ["in the log"]);
}

/// A database as a program that was killed has left it, with rows that are in its `-wal` alone.
fn left(world: &World, name: &str, row: &str) -> PathBuf {
    let (live, path) = (world.path(&format!("{name}.live")), world.path(name));
    let app = database(&live, "wal", row);
    crashed(&live, &path);
    drop(app);
    path
}

#[test]
fn wherever_a_restore_is_killed_no_database_meets_another_ones_log() {
    for (old_exists, copied_whole) in [(true, true), (true, false), (false, true)] {
        let mut point = 0;
        loop {
            let world = World::new(&[]);
            let target = world.path("db/app.db");
            if old_exists {
                crashed(&left(&world, "old.db", "new version's"), &target);
            }
            let source = left(&world, "source.db", "old version's");
            let copy = world.path("copy");
            let parts = if copied_whole {
                copy_files(&source, &copy).unwrap()
            } else {
                Vec::new()
            };
            let database = Database {
                name: "db/app.db".into(),
                kind: Kind::Sqlite,
                parts,
            };
            let mut left = point;
            let mut killed = false;
            let mut between = || {
                if left == 0 {
                    killed = true;
                    return Err(Error::Internal {
                        what: "killed".into(),
                    });
                }
                left -= 1;
                Ok(())
            };
            let result = put_back_sqlite(&database, &copy, &target, &mut between);
            assert_eq!(result.is_err(), killed);
            if target.exists() {
                // What an app would see that is started all the same.
                let seen = world.path("seen.db");
                crashed(&target, &seen);
                let seen = rows(&seen);
                let known = [["new version's"], ["old version's"]];
                assert!(
                    known.iter().any(|known| seen == known),
                    "{seen:?} after {point}"
                );
            }
            for _ in 0..2 {
                put_back_sqlite(&database, &copy, &target, &mut || Ok(())).unwrap();
                assert!(is_as(&database, &target).unwrap());
                assert!(!beside(&target, "-shm").exists());
            }
            if old_exists {
                assert_eq!(
                    rows(&beside(&target, ".replaced")),
                    ["new version's"],
                    "after {point}"
                );
            }
            if copied_whole {
                assert_eq!(rows(&target), ["old version's"], "after {point}");
            } else {
                assert!(!target.exists());
            }
            if !killed {
                assert!(point > 3, "there are points to be killed at");
                break;
            }
            point += 1;
        }
    }
}

#[test]
fn a_database_that_did_not_exist_is_absent_again_and_kept_aside() {
    let world = World::new(&["db/later.db"]);
    world
        .databases()
        .copy("1", None, Some(&world.stopped()))
        .unwrap();
    let path = world.path("db/later.db");
    drop(database(&path, "delete", "came later"));
    world.databases().put_back("1", &world.stopped()).unwrap();
    assert!(!path.exists());
    assert_eq!(rows(&beside(&path, ".replaced")), ["came later"]);
}

#[test]
fn a_copy_that_is_not_what_was_copied_is_not_put_back() {
    let world = World::new(&["app.db"]);
    let path = world.path("app.db");
    drop(database(&path, "delete", "row"));
    world
        .databases()
        .copy("1", None, Some(&world.stopped()))
        .unwrap();
    let kept = world.folder.own().join("data/1");
    let good = fs::read(kept.join("0.sqlite")).unwrap();
    let mut bad = good.clone();
    bad[100] ^= 1;
    let before = fs::read(&path).unwrap();
    for content in [Some(bad.as_slice()), Some(&good[1..]), None] {
        match content {
            Some(content) => fs::write(kept.join("0.sqlite"), content).unwrap(),
            None => fs::remove_file(kept.join("0.sqlite")).unwrap(),
        }
        let error = world
            .databases()
            .put_back("1", &world.stopped())
            .unwrap_err();
        assert_eq!(error.code(), Code::DatabaseDamaged);
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    fs::write(kept.join("data.json"), "{").unwrap();
    assert_eq!(
        world.databases().check("1").unwrap_err().code(),
        Code::DatabaseDamaged
    );
}

#[test]
fn only_configured_databases_are_written() {
    let mut world = World::new(&["app.db"]);
    let path = world.path("app.db");
    drop(database(&path, "delete", "row"));
    world
        .databases()
        .copy("1", None, Some(&world.stopped()))
        .unwrap();
    fs::write(&path, b"changed").unwrap();
    world.config.sqlite = vec!["other.db".into()];
    assert!(world.databases().put_back("1", &world.stopped()).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"changed");
    for name in ["../1", "a/b", "", ".."] {
        assert!(
            world
                .databases()
                .copy(name, None, Some(&world.stopped()))
                .is_err(),
            "{name}"
        );
    }
}

#[test]
fn a_copy_takes_the_place_of_one_of_its_name_and_can_be_removed() {
    let world = World::new(&["app.db"]);
    let app = database(&world.path("app.db"), "delete", "one");
    for row in ["two", "three"] {
        write(&app, row);
        world
            .databases()
            .copy("1", None, Some(&world.stopped()))
            .unwrap();
    }
    drop(app);
    assert_eq!(
        rows(&world.folder.own().join("data/1/0.sqlite")),
        ["one", "two", "three"]
    );
    world.databases().remove("1").unwrap();
    world.databases().remove("1").unwrap();
    assert!(world.databases().list().is_empty());
}

#[test]
fn other_databases_are_dumped_and_restored_by_commands() {
    let mut world = World::new(&[]);
    let commands = if cfg!(windows) {
        [
            r#"copy server "%CASTOFF_DUMP%""#,
            r#"copy "%CASTOFF_DUMP%" server"#,
        ]
    } else {
        [
            r#"cp server "$CASTOFF_DUMP""#,
            r#"cp "$CASTOFF_DUMP" server"#,
        ]
    };
    world.config.other = Some(DumpConfig {
        dump: commands[0].into(),
        restore: commands[1].into(),
    });
    let server = world.path("server");
    let error = world.databases().copy("1", None, None).unwrap_err();
    assert_eq!(error.code(), Code::DatabaseCopyFailed);
    assert!(error.to_string().contains("exit code 1"), "{error}");

    fs::write(&server, b"old").unwrap();
    assert!(world.databases().copy("1", None, None).unwrap());
    fs::write(&server, b"new").unwrap();
    assert!(world.databases().put_back("1", &world.stopped()).unwrap());
    assert_eq!(fs::read(&server).unwrap(), b"old");

    let other = world.config.other.as_mut().unwrap();
    (other.dump, other.restore) = ("echo nothing".into(), "exit 3".into());
    let error = world.databases().copy("2", None, None).unwrap_err();
    assert!(
        error.to_string().contains("did not write the file"),
        "{error}"
    );
    let error = world
        .databases()
        .put_back("1", &world.stopped())
        .unwrap_err();
    assert_eq!(error.code(), Code::DatabaseRestoreFailed);
    world.config.other = None;
    let error = world
        .databases()
        .put_back("1", &world.stopped())
        .unwrap_err();
    assert_eq!(error.code(), Code::DatabaseRestoreFailed);
}

#[cfg(unix)]
#[test]
fn a_link_stays_one_and_modes_are_kept() {
    use std::os::unix::fs::PermissionsExt;

    let world = World::new(&["app.db"]);
    let (real, link) = (world.path("db/real.db"), world.path("app.db"));
    drop(database(&real, "delete", "old"));
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("db/real.db", &link).unwrap();
    world
        .databases()
        .copy("1", None, Some(&world.stopped()))
        .unwrap();
    let app = Connection::open(&link).unwrap();
    write(&app, "new");
    drop(app);
    world.databases().put_back("1", &world.stopped()).unwrap();
    assert!(link.is_symlink());
    assert_eq!(rows(&link), ["old"]);
    assert_eq!(
        fs::metadata(&real).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

/// The app's own user may change the folder of the database, and root works there all the same, but goes nowhere
/// else from there.
#[cfg(unix)]
#[test]
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
#[cfg(feature = "sqlite")]
fn root_follows_nothing_in_a_folder_that_others_may_change() {
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};
    const USER: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can be somebody else");
        return;
    }
    let world = World::new(&["db/a.sqlite"]);
    let (path, databases) = (world.path("db/a.sqlite"), world.databases());
    drop(database(&path, "delete", "one"));
    for path in [&world.path("db"), &path] {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
    let stopped = world.stopped();
    assert!(databases.copy("1.0.0", None, Some(&stopped)).unwrap());
    write(&Connection::open(&path).unwrap(), "two");
    assert!(databases.put_back("1.0.0", &stopped).unwrap());
    assert_eq!(rows(&path), ["one"]);
    assert_eq!(fs::metadata(&path).unwrap().uid(), USER);

    // What the user puts there in its place leads nowhere.
    let secret = world.path("secret");
    fs::write(&secret, "of root").unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&secret, &path).unwrap();
    let refused = |result: Result<bool>| assert_eq!(result.unwrap_err().code(), Code::TargetUnsafe);
    refused(databases.copy("1.1.0", None, Some(&stopped)));
    refused(databases.put_back("1.0.0", &stopped));
    assert_eq!(fs::read_to_string(&secret).unwrap(), "of root");
    // Nor in the instant after it was looked at.
    let to = world.path("copy");
    assert!(copy_sqlite(&path, &to, true).is_err());
    assert!(!to.exists());

    // Nor is a folder believed that lies in another of theirs.
    let deep = World::new(&["db/deep/a.sqlite"]);
    let path = deep.path("db/deep/a.sqlite");
    fs::create_dir(path.parent().unwrap()).unwrap();
    drop(database(&path, "delete", "one"));
    chown(deep.path("db"), Some(USER), Some(USER)).unwrap();
    refused(deep.databases().copy("1.0.0", None, Some(&deep.stopped())));
}
