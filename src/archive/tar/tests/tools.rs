//! Tars of the tools that people make them with, compared with what `tar xf` makes of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use castoff_testkit::package::{Node, Tree};

use super::*;

/// The content of a file and whether it may be executed, or a link's target; by path.
type Found = BTreeMap<String, (bool, Vec<u8>)>;

/// Runs a tool in a folder. False, said aloud: it is not there.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn run(folder: &Path, program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    // What this user has told git is not the test's.
    let command = command.args(arguments).current_dir(folder);
    let command = command.env("HOME", folder).env("GIT_CONFIG_NOSYSTEM", "1");
    let Ok(output) = command.output() else {
        eprintln!("left out: there is no {program}");
        return false;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    true
}

/// A folder `app` with what apps consist of; `long`: with paths that are too long for a header.
fn tree(folder: &Path, long: bool) {
    let app = folder.join("app");
    let write = |path: &str, content: &[u8], mode: u32| {
        let path = app.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    write("main.py", b"print(1)\n", 0o644);
    write("run.sh", b"#!/bin/sh\n", 0o755);
    write("private", b"x", 0o600);
    write("empty.py", b"", 0o644);
    write("lib/程序 1.py", &b"x = 1\n".repeat(50_000), 0o644);
    write("lib/block", &[7; 1024], 0o644);
    fs::create_dir_all(app.join("data/empty")).unwrap();
    symlink("../main.py", app.join("lib/link")).unwrap();
    symlink("lib", app.join("libs")).unwrap();
    fs::hard_link(app.join("run.sh"), app.join("same.sh")).unwrap();
    if long {
        let deep = format!("{}/{}/{}", "a".repeat(120), "目".repeat(40), "c".repeat(90));
        write(&deep, b"deep", 0o755);
        symlink(&deep, app.join("deep")).unwrap();
    }
}

/// Opens a tar and compares it with what GNU tar unpacks.
fn compare(folder: &Path, name: &str, wrapped: bool) {
    let scratch = tempfile::tempdir().unwrap();
    let how = Opening {
        wrapped,
        ..Opening::new(name, scratch.path())
    };
    let archive = Archive::open(File::open(folder.join(name)).unwrap(), &how).unwrap();
    let mut here = Found::new();
    for (path, content) in contents(&archive) {
        here.insert(path, (false, content));
    }
    for entry in archive.entries().iter().filter(|entry| entry.executable) {
        here.get_mut(entry.path.as_str()).unwrap().0 = true;
    }

    let unpacked = tempfile::tempdir().unwrap();
    let package = folder.join(name);
    let mut arguments = vec!["xf", package.to_str().unwrap()];
    if wrapped {
        // To tar, the dot before a slash is a component.
        let dotted = name.starts_with("dot");
        arguments.push(if dotted {
            "--strip-components=2"
        } else {
            "--strip-components=1"
        });
    }
    if !run(unpacked.path(), "tar", &arguments) {
        return;
    }
    let mut there = Found::new();
    for (path, node) in Tree::read(unpacked.path(), &[]).0 {
        let found = match node {
            Node::File(mode, content) => (mode & 0o111 != 0, content),
            Node::Link(target) => (false, target.into_bytes()),
            Node::Folder(_) => continue,
        };
        there.insert(path, found);
    }
    assert!(there.len() >= 6, "{name}");
    for path in here.keys().chain(there.keys()) {
        assert!(here.get(path) == there.get(path), "{name}: {path} differs");
    }
    if !name.starts_with("git") {
        let empty = if wrapped {
            "data/empty"
        } else {
            "app/data/empty"
        };
        let empty = SafePath::try_from(empty).unwrap();
        assert!(archive.folders().contains(&empty), "{name}");
    }
}

#[test]
fn tars_of_gnu_tar() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), false);
    for format in ["v7", "oldgnu", "gnu", "ustar", "pax"] {
        if format == "gnu" {
            fs::remove_dir_all(folder.path().join("app")).unwrap();
            tree(folder.path(), true);
        }
        if format == "ustar" {
            fs::remove_dir_all(folder.path().join("app")).unwrap();
            tree(folder.path(), false);
        }
        let name = format!("{format}.tgz");
        let option = format!("--format={format}");
        if !run(folder.path(), "tar", &["czf", &name, &option, "app"]) {
            return;
        }
        compare(folder.path(), &name, false);
        compare(folder.path(), &name, true);
    }
}

#[test]
fn tars_of_the_folder_itself() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), true);
    if run(folder.path(), "tar", &["czf", "dot.tgz", "./app"]) {
        compare(folder.path(), "dot.tgz", true);
        let bare = ["czf", "bare.tgz", "-C", "app", "."];
        run(folder.path(), "tar", &bare);
        let scratch = tempfile::tempdir().unwrap();
        let file = File::open(folder.path().join("bare.tgz")).unwrap();
        let archive = Archive::open(file, &Opening::new("bare.tgz", scratch.path())).unwrap();
        let found = contents(&archive);
        assert_eq!(found["main.py"], b"print(1)\n");
        assert_eq!(found["same.sh"], found["run.sh"]);
    }
}

#[test]
fn tars_that_zstd_has_packed() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), true);
    if !run(folder.path(), "zstd", &["--version"]) {
        return;
    }
    for (name, program) in [
        ("fast.tar.zst", "zstd -1"),
        ("small.tar.zst", "zstd -19 --long=27"),
        ("pipe.tar.zst", "zstd -T2 --no-check"),
    ] {
        if run(folder.path(), "tar", &["cf", name, "-I", program, "app"]) {
            compare(folder.path(), name, true);
        }
    }
}

#[test]
fn tars_of_python() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), true);
    for format in ["GNU", "PAX"] {
        let name = format!("python-{format}.tgz");
        let script = format!(
            "import tarfile\nwith tarfile.open('{name}', 'w:gz', format=tarfile.{format}_FORMAT) as out:\n    out.add('app')"
        );
        if run(folder.path(), "python3", &["-c", &script]) {
            compare(folder.path(), &name, false);
        }
    }
}

#[test]
fn tars_in_the_shape_of_npms() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), true);
    let script = "
import tarfile
def plain(entry):
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 499162500, 0, 0, '', ''
    return entry
with tarfile.open('app-1.0.0.tgz', 'w:gz', format=tarfile.PAX_FORMAT) as out:
    out.add('app', 'package', filter=plain)
";
    if run(folder.path(), "python3", &["-c", script]) {
        compare(folder.path(), "app-1.0.0.tgz", true);
    }
}

#[test]
fn tars_of_git_in_the_shape_of_a_forges() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), true);
    let app = folder.path().join("app");
    if !run(&app, "git", &["init", "-q"]) {
        return;
    }
    run(&app, "git", &["add", "."]);
    let who = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
    run(&app, "git", &[&who[..], &["commit", "-qm", "1"]].concat());
    for (name, format) in [("git.tar.gz", "tar.gz"), ("git.zip", "zip")] {
        let format = format!("--format={format}");
        let output = format!("--output=../{name}");
        let prefix = "--prefix=owner-app-1a2b3c/";
        run(&app, "git", &["archive", &format, prefix, &output, "HEAD"]);
    }
    compare(folder.path(), "git.tar.gz", true);
    compare(folder.path(), "git.tar.gz", false);
    // The same as a zip, which tar does not read.
    let opened = ["git.tar.gz", "git.zip"].map(|name| {
        let scratch = tempfile::tempdir().unwrap();
        let how = Opening {
            wrapped: true,
            ..Opening::new(name, scratch.path())
        };
        let file = File::open(folder.path().join(name)).unwrap();
        contents(&Archive::open(file, &how).unwrap())
    });
    assert!(opened[0] == opened[1]);
}
