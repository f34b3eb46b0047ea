//! From a folder to a package to what a launcher installs, as a publisher types it.

#![cfg_attr(
    target_os = "linux",
    expect(clippy::print_stderr, reason = "a test that is left out says so")
)]

#[expect(dead_code, reason = "the other tests ask an endpoint besides")]
mod common;

use std::fs;
#[cfg(target_os = "linux")]
use std::io::Write as _;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::Command;
use std::process::{Output, Stdio};

use castoff_testkit::package::Tree;
use serde_json::json;
use tempfile::TempDir;

use common::{command, document};

const APP: &str = "com.example.client";

/// Runs the command without a terminal, as cron does.
fn castoff(folder: &Path, args: &[&str]) -> Output {
    let mut command = command(folder, args);
    command.stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn done(folder: &Path, args: &[&str]) -> String {
    let output = castoff(folder, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The content of an app's folder, as a build leaves it.
fn build(folder: &Path, version: &str) {
    let write = |path: &str, content: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("main.bin", "#!/bin/sh\n");
    write("version.txt", version);
    write("lib/big.so", &"always the same\n".repeat(10_000));
    write(&format!("only/{version}.txt"), version);
    write("数据/说明.txt", "说明");
    fs::create_dir_all(folder.join("plugins")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.join("main.bin"), mode).unwrap();
        std::os::unix::fs::symlink("big.so", folder.join("lib/link.so")).unwrap();
    }
}

/// A publisher's folder, with a key and a launcher.toml that names the app.
fn publisher() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let key = done(folder.path(), &["keygen", "--no-passphrase"]);
    fs::write(
        folder.path().join("launcher.toml"),
        format!("app = \"{APP}\"\n"),
    )
    .unwrap();
    (folder, key)
}

/// A launcher's folder that follows the publisher's.
fn launcher(publisher: &Path, key: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let config = format!(
        "app = \"{APP}\"\nlog_dir = \"logs\"\n[source]\nkind = \"folder\"\nurl = {}\n\
         [trust]\nkeys = [\"{key}\"]\n",
        json!(publisher)
    );
    fs::write(home.path().join("launcher.toml"), config).unwrap();
    home
}

/// The app's own files, without what the launcher keeps beside them.
fn app(folder: &Path) -> Tree {
    Tree::read(folder, &[".castoff", ".backup", "local_version.json"])
}

#[test]
fn a_folder_becomes_what_people_have() {
    let (folder, key) = publisher();
    let here = folder.path();
    build(&here.join("dist"), "1.0.0");
    let pack = ["pack", "dist", "--version", "1.0.0"];
    let package = done(here, &pack);
    assert_eq!(package, "com.example.client-1.0.0.zip");
    let targeted = done(here, &[&pack[..], &["--target", "linux-x86_64"]].concat());
    assert_eq!(targeted, "com.example.client-1.0.0-linux-x86_64.zip");
    // The package says its version itself.
    announce(here, &package);
    let home = launcher(here, &key);
    let update = document(&castoff(home.path(), &["update", "--json"]));
    assert_eq!(update["version"], "1.0.0", "{update}");
    let differences = app(&here.join("dist")).differences(&app(&home.path().join("client")));
    assert_eq!(differences, [] as [&str; 0]);
}

/// Makes a package current.
fn announce(here: &Path, package: &str) {
    done(here, &["sign", package, "--entry-point", "main.bin"]);
    done(here, &["index", "new"]);
}

#[test]
fn what_has_changed_is_installed_over_the_version_that_it_fits() {
    let (folder, key) = publisher();
    let here = folder.path();
    for version in ["0.9.0", "1.0.0", "1.1.0"] {
        build(&here.join(version), version);
    }
    // A file that another one replaces, and one that only changes its mode.
    fs::write(here.join("1.0.0/plug"), "x").unwrap();
    fs::create_dir_all(here.join("1.1.0/plug/in")).unwrap();
    fs::write(here.join("1.1.0/plug/in/x"), "x").unwrap();
    for version in ["1.0.0", "1.1.0"] {
        fs::write(here.join(version).join("tool"), "#!/bin/sh\n").unwrap();
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(here.join("1.1.0/tool"), mode).unwrap();
    }
    let pack = |version: &str, more: &[&str]| {
        let args = ["pack", version, "--version", version];
        done(here, &[&args[..], more].concat())
    };
    let (fitting, other) = (launcher(here, &key), launcher(here, &key));
    let update = |home: &TempDir| document(&castoff(home.path(), &["update", "--json"]));
    let client = |home: &TempDir| app(&home.path().join("client"));

    let old = pack("0.9.0", &[]);
    announce(here, &old);
    assert_eq!(update(&other)["version"], "0.9.0");
    let whole = pack("1.0.0", &[]);
    announce(here, &whole);
    assert_eq!(update(&fitting)["version"], "1.0.0");

    let partial = pack("1.1.0", &["--against", &whole]);
    let size = |name: &str| fs::metadata(here.join(name)).unwrap().len();
    assert!(size(&partial) < size(&whole));
    announce(here, &partial);
    let before = client(&other);
    assert_eq!(update(&other)["error"], "PARTIAL_MISFIT");
    assert_eq!(client(&other).differences(&before), [] as [&str; 0]);
    let nothing = launcher(here, &key);
    assert_ne!(update(&nothing)["outcome"], "installed");

    assert_eq!(update(&fitting)["version"], "1.1.0");
    let differences = app(&here.join("1.1.0")).differences(&client(&fitting));
    assert_eq!(differences, [] as [&str; 0]);

    let output = castoff(
        here,
        &["pack", "1.1.0", "--version", "1.1.0", "--against", &partial],
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("[REQUEST_INVALID]"), "{said}");
}

#[test]
fn what_is_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let refused = |args: &[&str], text: &str| {
        let output = castoff(here, args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(text), "{said}");
    };
    refused(
        &["pack", "dist", "--version", "1"],
        "dist is no folder [REQUEST_INVALID]",
    );
    build(&here.join("dist"), "1.0.0");
    refused(&["pack", "dist"], "--version");
    refused(&["pack", "dist", "--version", "one two"], "--version");
    refused(
        &["pack", "dist", "--version", "1", "--output", "dist/a.zip"],
        "[REQUEST_INVALID]",
    );
    assert_eq!(done(here, &["pack", "dist", "--version", "1"]), "app-1.zip");
    fs::write(here.join("plain.zip"), b"PK").unwrap();
    refused(&["sign", "plain.zip", "--app", APP], "[ARCHIVE_INVALID]");
}

#[test]
fn a_publisher_begins_with_one_command() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let releases = here.join("releases");
    let source = releases.to_str().unwrap();
    let begin = [
        "init",
        "--app",
        APP,
        "--source",
        source,
        "--entry-point",
        "main.bin",
        "--sign",
        "--no-passphrase",
        "--dir",
        "releases",
    ];
    let refused = |args: &[&str], texts: &[&str]| {
        let output = castoff(here, args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(texts.iter().all(|text| said.contains(text)), "{said}");
    };
    refused(&begin, &["is no folder"]);
    fs::create_dir(&releases).unwrap();

    // Without a terminal nobody is asked, and what is missing is named.
    for flag in ["--app", "--source", "--entry-point"] {
        let at = begin.iter().position(|arg| *arg == flag).unwrap();
        let less = [&begin[..at], &begin[at + 2..]].concat();
        refused(&less, &[flag, "[REQUEST_INVALID]"]);
    }
    let without = |flag: &str| -> Vec<&str> {
        let args = begin.iter().copied();
        args.filter(|arg| *arg != flag).collect()
    };
    refused(&without("--sign"), &["--no-sign"]);
    refused(&without("--no-passphrase"), &["[PASSPHRASE_NEEDED]"]);
    let unsigned = [&without("--sign")[..], &["--no-sign"]].concat();
    refused(&unsigned, &["in a folder is believed for its signatures"]);
    let with = |flag: &str, value: &'static str| -> Vec<&str> {
        let at = begin.iter().position(|arg| *arg == flag).unwrap();
        let mut args = begin.to_vec();
        args[at + 1] = value;
        args
    };
    refused(&with("--app", "my app"), &["names no app"]);
    refused(&with("--app", ""), &["--app"]);
    refused(
        &with("--source", "https://"),
        &["source.url", "[CONFIG_INVALID]"],
    );
    refused(
        &with("--entry-point", "../main"),
        &["entry_point", "[CONFIG_INVALID]"],
    );
    assert_eq!(
        fs::read_dir(&releases).unwrap().count(),
        0,
        "nothing was written"
    );

    let written = done(here, &begin);
    let names = [
        "castoff.key",
        "castoff.pub",
        "launcher.toml",
        "publish.toml",
    ];
    let names = names.map(|name| Path::new("releases").join(name).display().to_string());
    assert_eq!(written.lines().collect::<Vec<_>>(), names);
    refused(&begin, &["[FILE_EXISTS]"]);

    // From here on, the versions are all that has to be said.
    build(&here.join("dist"), "1.0.0");
    done(&releases, &["pack", "../dist", "--version", "1.0.0"]);
    done(&releases, &["sign", "com.example.client-1.0.0.zip"]);
    done(&releases, &["index", "new"]);
    let home = tempfile::tempdir().unwrap();
    fs::copy(
        releases.join("launcher.toml"),
        home.path().join("launcher.toml"),
    )
    .unwrap();
    let update = document(&castoff(home.path(), &["update", "--json"]));
    assert_eq!(update["version"], "1.0.0", "{update}");
    let document = castoff_publish::document::Document::read(&releases.join("release-1.0.0.json"));
    let entry = document.unwrap().value()["packages"]["any"]["entry_point"].clone();
    assert_eq!(entry, "main.bin");

    fs::write(releases.join("publish.toml"), "entry = \"main\"\n").unwrap();
    let output = castoff(&releases, &["sign", "com.example.client-1.0.0.zip"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("publish.toml: unknown field"), "{said}");
}

/// On a terminal, which `script` of util-linux is for it.
#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_a_publisher_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let program = format!("{} init --no-passphrase", env!("CARGO_BIN_EXE_castoff"));
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &program, "/dev/null"]);
    terminal
        .current_dir(here)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut terminal = match terminal.spawn() {
        Ok(terminal) => terminal,
        Err(error) => {
            eprintln!("left out: script cannot be run here: {error}");
            return;
        }
    };
    let answers = format!("{APP}\nhttps://updates.example.com/r/\nmain.bin\n\n");
    let mut input = terminal.stdin.take().unwrap();
    input.write_all(answers.as_bytes()).unwrap();
    let output = terminal.wait_with_output().unwrap();
    drop(input);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.matches("[Y/n]?").count(), 1, "{said}");
    let text = fs::read_to_string(here.join("launcher.toml")).unwrap();
    assert!(
        text.contains("kind = \"index\"") && text.contains("[trust]"),
        "{text}"
    );
}

#[test]
fn a_publisher_without_keys_begins_too() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let written = done(
        here,
        &[
            "init",
            "--app",
            APP,
            "--name",
            "我的 \"App\"",
            "--source",
            "https://updates.example.com/active/",
            "--entry-point",
            "main.bin",
            "--no-sign",
        ],
    );
    assert_eq!(written, "launcher.toml\npublish.toml");
    let text = fs::read_to_string(here.join("launcher.toml")).unwrap();
    assert!(
        text.contains("kind = \"check\"") && !text.contains("trust"),
        "{text}"
    );
    let doctor = document(&castoff(here, &["doctor", "--json"]));
    assert!(doctor.to_string().contains("我的"), "{doctor}");
}
