//! Install and update: what is written, kept, removed and preserved.

use std::fs;
#[cfg(target_os = "linux")]
use std::path::Path;

use castoff_testkit::http::{Reply, Server};
use castoff_testkit::package::Package;
use serde_json::json;

#[cfg(target_os = "linux")]
use crate::world::Layout;
use crate::world::{CHECK, ENTRY, World, app, partial_app, script};
#[cfg(unix)]
use crate::world::{Run, mode};

#[test]
fn first_install_then_nothing_new_then_an_update() {
    let world = World::new();
    world.publish_app("1.0.0");
    let first = world.run(&["one", "two words"]);
    first.assert_app("1.0.0");
    assert!(
        // The quotes are a batch file's.
        first
            .stdout
            .replace('"', "")
            .contains("app 1.0.0 1.0.0 args: one two words"),
        "{first:?}"
    );
    assert_eq!(world.version(), "1.0.0");
    assert_eq!(world.state()["last"]["outcome"], "installed");
    world.assert_tidy();

    // A first start is a trial; from here on nothing is new, and nothing is said or written.
    let state = world.read(".castoff/state.json");
    world.run(&[]).assert_app("1.0.0");
    let silent = world.run(&[]);
    assert_eq!(silent.assert_app("1.0.0").stderr, "");
    let again = world.read(".castoff/state.json");
    assert_ne!(state, again, "the outcome became up-to-date");
    world.run(&[]).assert_app("1.0.0");
    assert_eq!(world.read(".castoff/state.json"), again);

    world.publish_app("1.1.0");
    let update = world.run(&[]);
    update.assert_app("1.1.0");
    assert!(update.stderr.contains("what is new in 1.1.0"), "{update:?}");
    assert_eq!(world.version(), "1.1.0");
    assert!(
        !world.path("only/1.0.0.bin").exists(),
        "what only 1.0.0 had is gone"
    );
    assert_eq!(world.backups(), ["1.0.0"]);
    world.assert_tidy();
    let fresh = World::new();
    fresh.update_to("1.1.0");
    assert_eq!(
        world.tree(),
        fresh.tree(),
        "an update leads to the same tree as an install"
    );
}

#[test]
fn what_the_user_put_there_stays() {
    let world = World::new();
    world.update_to("1.0.0");
    world.write("mine.txt", "mine");
    world.write("only/mine.bin", "mine too");
    world.write("data/deep/mine.zip", "a zip of mine");
    world.update_to("1.1.0");
    for path in ["mine.txt", "only/mine.bin", "data/deep/mine.zip"] {
        assert!(world.read(path).contains("mine"), "{path}");
    }
    let restored = world.run(&["--castoff", "backups", "restore", "1.0.0"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert_eq!(world.version(), "1.0.0");
    for path in ["mine.txt", "only/mine.bin", "data/deep/mine.zip"] {
        assert!(world.read(path).contains("mine"), "{path}");
    }
}

#[test]
fn a_user_file_that_a_release_overwrites_comes_back_with_the_backup() {
    let world = World::new();
    world.update_to("1.0.0");
    world.write("plugin.py", "my own plugin");
    world.publish("1.1.0", &app("1.1.0").file("plugin.py", b"theirs"));
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.read("plugin.py"), "theirs");
    assert_eq!(
        world
            .run(&["--castoff", "backups", "restore", "1.0.0"])
            .code,
        Some(0)
    );
    assert_eq!(world.read("plugin.py"), "my own plugin");
}

#[test]
fn the_preserve_list_is_honoured_and_its_defaults_are_installed_once() {
    let world = World::with("[update]\npreserve = [\".env\", \"uploads/\"]");
    world.publish(
        "1.0.0",
        &app("1.0.0")
            .file(".env", b"default")
            .file("uploads/a", b"sample"),
    );
    world.run(&[]).assert_app("1.0.0");
    assert_eq!(world.read(".env"), "default");
    world.write(".env", "secret");
    world.write("uploads/a", "theirs");
    world.publish(
        "1.1.0",
        &app("1.1.0")
            .file(".env", b"default 2")
            .file("uploads/a", b"sample 2"),
    );
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(
        (
            world.read(".env").as_str(),
            world.read("uploads/a").as_str()
        ),
        ("secret", "theirs")
    );
    world.update_to("1.2.0");
    assert_eq!(
        (
            world.read(".env").as_str(),
            world.read("uploads/a").as_str()
        ),
        ("secret", "theirs")
    );
}

#[test]
fn a_package_without_a_list_is_laid_over_what_is_there() {
    let world = World::new();
    let package = |version: &str| {
        Package::new(version)
            .file(ENTRY, script(version))
            .python_modes()
    };
    world.publish(
        "1.0.0",
        &package("1.0.0")
            .file("lib/a.py", b"a = 1\n")
            .file("b.txt", b"b"),
    );
    world.run(&[]).assert_app("1.0.0");
    assert_eq!(world.read("lib/a.py"), "a = 1\n");
    #[cfg(unix)]
    {
        assert_eq!(
            mode(&world.path("b.txt")),
            0o644,
            "0600 in the zip is advice"
        );
        assert_eq!(
            mode(&world.path(ENTRY)),
            0o755,
            "the entry point can be executed"
        );
    }
    // Partial: the packager packs only what has changed.
    world.publish("1.1.0", &package("1.1.0").file("lib/a.py", b"a = 2\n"));
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(
        (
            world.read("lib/a.py").as_str(),
            world.read("b.txt").as_str()
        ),
        ("a = 2\n", "b")
    );
    assert_eq!(
        world
            .run(&["--castoff", "backups", "restore", "1.0.0"])
            .code,
        Some(0)
    );
    assert_eq!(world.read("lib/a.py"), "a = 1\n");
}

#[test]
fn a_partial_package_with_a_list_fits_only_where_it_fits() {
    let world = World::new();
    world.update_to("1.0.0");
    world.publish("1.1.0", &partial_app("1.1.0", "1.0.0"));
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.read("stays.py"), "print('always the same')\n");

    let other = World::new();
    other.update_to("0.9.0");
    let before = other.tree();
    other.publish("1.1.0", &partial_app("1.1.0", "1.0.0"));
    other
        .run(&[])
        .assert_app("0.9.0")
        .assert_told("PARTIAL_MISFIT");
    assert_eq!(other.tree(), before);
}

#[test]
fn a_folder_of_the_python_client_is_adopted_and_can_be_handed_back() {
    let world = World::new();
    world.write(ENTRY, &script("0.9.0"));
    world.write(
        "local_version.json",
        "{\n  \"version\": \"0.9.0\",\n  \"update_time\": \"2026-11-21T02:29:00.749021\"\n}",
    );
    world.write("stays.py", "print('always the same')\n");
    world.write("users.doc", "not of any release");
    world.write(
        &format!(".backup/{ENTRY}"),
        "the Python client's own backup",
    );
    let before = world.tree();
    world.update_to("1.0.0");
    assert_eq!(world.read("users.doc"), "not of any release");
    assert_eq!(
        world.read(&format!(".backup/{ENTRY}")),
        "the Python client's own backup"
    );
    assert_eq!(
        world
            .run(&["--castoff", "backups", "restore", "0.9.0"])
            .code,
        Some(0)
    );
    assert_eq!(world.tree(), before);
    assert!(
        world
            .read("local_version.json")
            .contains("2026-11-21T02:29:00.749021")
    );

    // The Python client takes over, installs another version, and hands back.
    world.write(ENTRY, &script("0.9.5"));
    world.write("local_version.json", "{\n  \"version\": \"0.9.5\"\n}");
    world.update_to("1.1.0");
    assert_eq!(
        world
            .run(&["--castoff", "backups", "restore", "0.9.5"])
            .code,
        Some(0)
    );
    assert_eq!(world.read(ENTRY), script("0.9.5"));
    let text = world.read("local_version.json");
    assert!(
        text.contains("\n  \"version\": \"0.9.5\""),
        "indented by two: {text}"
    );
}

#[test]
fn an_older_version_is_followed_unless_refused() {
    let world = World::new();
    world.update_to("1.1.0");
    world.update_to("1.0.0");
    world.configure("[update]\ndowngrade = \"refuse\"");
    world.publish_app("0.9.0");
    world.run(&[]).assert_app("1.0.0");
    assert_eq!(world.state()["last"]["outcome"], "DOWNGRADE_REFUSED");
}

#[test]
fn both_shapes_of_the_check_answer_are_understood() {
    let built = app("1.0.0").build();
    for (field, url) in [("download_url", None), ("file", Some("/media/1.0.0.zip"))] {
        let world = World::new();
        let absolute = world.server.url("/media/1.0.0.zip");
        let mut answer =
            json!({"version": "1.0.0", "file_hash": built.sha256, "entry_point": ENTRY});
        answer[field] = url.unwrap_or(&absolute).into();
        world.announce(&answer);
        world.media("1.0.0", Reply::file(&built.bytes));
        world.run(&[]).assert_app("1.0.0");
    }
}

#[test]
fn stale_byte_code_does_not_survive_its_source() {
    let world = World::new();
    world.publish("1.0.0", &app("1.0.0").file("mod.py", b"x = 1\n"));
    world.run(&[]).assert_app("1.0.0");
    world.write("__pycache__/mod.cpython-311.pyc", "stale");
    world.write("__pycache__/stays.cpython-311.pyc", "fresh");
    world.publish("1.1.0", &app("1.1.0").file("mod.py", b"x = 2\n"));
    world.run(&[]).assert_app("1.1.0");
    assert!(!world.path("__pycache__/mod.cpython-311.pyc").exists());
    assert_eq!(world.read("__pycache__/stays.cpython-311.pyc"), "fresh");
}

#[test]
fn a_file_becomes_a_folder_and_back() {
    let world = World::new();
    world.publish("1.0.0", &app("1.0.0").file("thing", b"a file"));
    world.run(&[]).assert_app("1.0.0");
    let before = world.tree();
    world.publish("1.1.0", &app("1.1.0").file("thing/inner", b"in a folder"));
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.read("thing/inner"), "in a folder");
    assert_eq!(
        world
            .run(&["--castoff", "backups", "restore", "1.0.0"])
            .code,
        Some(0)
    );
    assert_eq!(world.tree(), before);
    world.publish("1.1.1", &app("1.1.1").file("thing/inner", b"in a folder"));
    world.run(&[]).assert_app("1.1.1");
    world.publish("1.2.0", &app("1.2.0").file("thing", b"a file again"));
    world.run(&[]).assert_app("1.2.0");
    assert_eq!(world.read("thing"), "a file again");
}

#[cfg(unix)]
#[test]
fn links_inside_the_tree_are_kept_and_replaced() {
    let world = World::new();
    let package = |version: &str, target: &str| {
        app(version)
            .file("lib/a.so.1", b"one")
            .file("lib/a.so.2", b"two")
            .link("lib/a.so", target)
    };
    world.publish("1.0.0", &package("1.0.0", "a.so.1"));
    world.run(&[]).assert_app("1.0.0");
    let before = world.tree();
    assert_eq!(world.read("lib/a.so"), "one");
    world.publish("1.1.0", &package("1.1.0", "a.so.2"));
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.read("lib/a.so"), "two");
    assert_eq!(
        world
            .run(&["--castoff", "backups", "restore", "1.0.0"])
            .code,
        Some(0)
    );
    assert_eq!(world.tree(), before);
}

#[test]
fn a_break_in_the_download_is_resumed_at_the_next_start() {
    let world = World::with("[update]\nkeep = 2");
    world.update_to("1.0.0");
    let big: Vec<u8> = (0..400_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let built = app("1.1.0").file("big.bin", &big).build();
    world.announce(&World::answer(&built, "1.1.0"));
    world.media(
        "1.1.0",
        Reply::file(&built.bytes).etag("\"e\"").cut_after(500_000),
    );
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("DOWNLOAD_FAILED");
    world.media("1.1.0", Reply::file(&built.bytes).etag("\"e\""));
    world.run(&[]).assert_app("1.1.0");
    let last = world
        .server
        .requests()
        .into_iter()
        .rfind(|request| request.path().starts_with("/media"));
    let range = last.unwrap().header("range").unwrap_or_default().to_owned();
    assert!(
        range.starts_with("bytes=") && range != "bytes=0-",
        "resumed: {range:?}"
    );
}

#[test]
fn a_package_of_another_host_is_fetched_without_the_token() {
    let other = Server::start();
    let world = World::new();
    let built = app("1.0.0").build();
    let mut answer = World::answer(&built, "1.0.0");
    answer["file"] = other.url("/a.zip").into();
    world.announce(&answer);
    other.route("/a.zip", Reply::file(&built.bytes));
    let text = fs::read_to_string(world.home().join("launcher.toml")).unwrap();
    let text = text.replace(
        "[network]",
        "[source.headers]\nPRIVATE-TOKEN = \"s3cret\"\n[network]",
    );
    fs::write(world.home().join("launcher.toml"), text).unwrap();
    world.run(&[]).assert_app("1.0.0");
    let checks = world.server.requests();
    assert!(
        checks
            .iter()
            .all(|request| request.header("private-token") == Some("s3cret"))
    );
    assert!(checks.iter().any(|request| request.path() == CHECK));
    assert_eq!(other.requests()[0].header("private-token"), None);
}

#[test]
fn two_launchers_at_once_end_with_one_whole_version() {
    let world = World::new();
    world.update_to("1.0.0");
    world.publish_app("1.1.0");
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| world.run(&[]))).collect();
        for run in runs {
            let run = run.join().unwrap();
            assert_eq!(run.code, Some(0), "{run:?}");
            assert!(run.stdout.contains("app 1."), "{run:?}");
        }
    });
    world.run(&[]).assert_app("1.1.0");
    world.assert_tidy();
}

#[cfg(unix)]
#[test]
fn a_running_app_puts_the_commit_off_until_it_is_closed() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let world = World::new();
    let waiting = "#!/bin/sh\necho \"app 1.0.0 $CASTOFF_VERSION\"\nread line\n";
    world.publish(
        "1.0.0",
        &app("1.0.0").executable("run.sh", waiting.as_bytes()),
    );
    let mut child = world
        .command(&[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "app 1.0.0 1.0.0");

    world.publish_app("1.1.0");
    let second = world.run(&[]);
    assert_eq!(
        world.version(),
        "1.0.0",
        "nothing is changed under a running app: {second:?}"
    );
    assert_eq!(world.state()["last"]["outcome"], "pending");
    drop(child.stdin.take());
    child.wait().unwrap();

    // Offline now; what was fetched is installed all the same.
    world.server.unroute(CHECK);
    world.server.unroute("/media/1.1.0.zip");
    Run::of(&mut world.command(&[])).assert_app("1.1.0");
}

/// As root updates an app of another user's.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_replaced_keeps_its_owner_and_its_attributes() {
    use std::os::unix::fs::{MetadataExt, chown};
    for layout in [Layout::InPlace, Layout::Snapshot] {
        let world = World::laid_out(layout, "");
        world.publish_app("1.0.0");
        world.run(&[]).assert_app("1.0.0");
        let old = world.app_folder().join(ENTRY);
        let set = |path: &Path, name: &str| {
            rustix::fs::setxattr(path, name, b"kept", rustix::fs::XattrFlags::empty())
        };
        if set(&old, "user.castoff").is_err() {
            // This file system has none.
            return;
        }
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            chown(&old, Some(1234), Some(2345)).unwrap();
            chown(world.app_folder(), Some(1235), Some(2346)).unwrap();
        }
        world.publish("1.1.0", &app("1.1.0").file("fresh.txt", "new"));
        world.run(&[]).assert_app("1.1.0");
        let new = world.app_folder().join(ENTRY);
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(&new, "user.castoff", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"kept");
        if is_root {
            let owner = |path: &Path| {
                let found = fs::metadata(path).unwrap();
                (found.uid(), found.gid())
            };
            assert_eq!(owner(&new), (1234, 2345));
            assert_eq!(owner(&world.app_folder().join("fresh.txt")), (1235, 2346));
        }
    }
}
