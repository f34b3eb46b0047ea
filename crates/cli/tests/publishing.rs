//! The commands of publishers, as a person or a script calls them, up to a launcher that installs
//! what they have made.

#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

#[expect(dead_code, reason = "the other tests ask an endpoint besides")]
mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use castoff_testkit::http::{Reply, Server};
use castoff_testkit::sign::Signer;
use serde_json::{Value, json};
use tempfile::TempDir;

use common::{ENTRY, app, command, document};

const APP: &str = "com.example.client";
const PASSPHRASE: &str = "CASTOFF_PASSPHRASE";

/// Runs the command without a terminal, as cron does.
fn castoff(folder: &Path, args: &[&str]) -> Output {
    let mut command = command(folder, args);
    command.env_remove(PASSPHRASE).stdin(Stdio::null());
    command.output().unwrap()
}

#[track_caller]
fn done(folder: &Path, args: &[&str]) -> String {
    let output = castoff(folder, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Asserts that it fails, by this code, and returns what was said.
#[track_caller]
fn refused(folder: &Path, args: &[&str], code: &str) -> String {
    let output = castoff(folder, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("[{code}]")), "{args:?}: {said}");
    said
}

fn keygen(folder: &Path, name: &str) -> String {
    done(folder, &["keygen", name, "--no-passphrase"])
}

fn package(folder: &Path, version: &str) -> String {
    let name = format!("app-{version}.zip");
    fs::write(folder.join(&name), app(version).build().bytes).unwrap();
    name
}

fn sign(folder: &Path, version: &str, more: &[&str]) -> String {
    let package = package(folder, version);
    let args = [
        "sign",
        &package,
        "--app",
        APP,
        "--version",
        version,
        "--entry-point",
        ENTRY,
    ];
    done(folder, &[&args[..], more].concat())
}

/// A launcher's folder with this source, beside the publisher's.
fn launcher(kind: &str, url: &str, keys: &[&str]) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let config = format!(
        "app = \"{APP}\"\nlog_dir = \"logs\"\n[source]\nkind = \"{kind}\"\nurl = {}\n\
         [trust]\nkeys = {}\n",
        json!(url),
        json!(keys)
    );
    fs::write(home.path().join("launcher.toml"), config).unwrap();
    home
}

fn serve(server: &Server, folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("/releases/{}", entry.file_name().to_str().unwrap());
        server.replace(&path, Reply::file(&fs::read(entry.path()).unwrap()));
    }
}

#[test]
fn three_commands_make_what_a_launcher_installs() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let key = keygen(here, "castoff");
    assert_eq!(sign(here, "1.0.0", &[]), "release-1.0.0.json");
    assert_eq!(done(here, &["index", "new"]), "stable.json");
    // What lies on the server has no secret in it.
    let public = tempfile::tempdir().unwrap();
    let publish = || {
        for entry in fs::read_dir(here).unwrap() {
            let name = entry.unwrap().file_name();
            if !name.to_str().unwrap().starts_with("castoff") {
                fs::copy(here.join(&name), public.path().join(&name)).unwrap();
            }
        }
    };
    publish();
    let server = Server::start();
    serve(&server, public.path());
    let url = server.url("/releases");
    let stick = public.path().to_str().unwrap();
    for (kind, url) in [("folder", stick), ("index", &url)] {
        let home = launcher(kind, url, &[&key]);
        let update = document(&castoff(home.path(), &["update", "--json"]));
        assert_eq!(
            update,
            json!({"outcome": "installed", "version": "1.0.0", "from": null}),
            "{kind}"
        );
        assert!(home.path().join("client/only-1.0.0").exists());
    }

    let homes = [
        launcher("folder", stick, &[&key]),
        launcher("index", &url, &[&key]),
    ];
    for home in &homes {
        document(&castoff(home.path(), &["update", "--json"]));
    }
    sign(here, "1.1.0", &["--notes", "new"]);
    done(here, &["index", "new"]);
    publish();
    serve(&server, public.path());
    for home in &homes {
        let update = document(&castoff(home.path(), &["update", "--json"]));
        assert_eq!(update["version"], "1.1.0", "{update}");
    }
    // Nobody else's.
    let other = launcher("folder", stick, &[&Signer::new().public()]);
    let update = document(&castoff(other.path(), &["update", "--json"]));
    assert_eq!(update["error"], "TRUST_SIGNATURE");
}

#[test]
fn verify_says_what_a_launcher_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let key = keygen(here, "castoff");
    sign(here, "1.0.0", &["--target", "windows-x86_64"]);
    done(here, &["index", "new"]);
    let verify = |more: &[&str]| {
        let output = castoff(here, &[&["verify", "--json"], more].concat());
        let report = document(&output);
        assert_eq!(
            output.status.code(),
            Some(i32::from(report["trusted"] != true)),
            "{report}"
        );
        report
    };
    let pinned = ["--pub", "castoff.pub", "--target", "windows-x86_64"];
    let report = verify(&pinned);
    assert_eq!(report["trusted"], true, "{report}");
    assert_eq!(report["index"]["seq"], 1);
    assert_eq!(report["release"]["version"], "1.0.0");
    assert_eq!(report["release"]["level"], "index");
    let by_text = verify(&["--pub", &key, "--target", "windows-x86_64"]);
    assert_eq!(by_text["trusted"], true);
    let with = |more: &[&str]| verify(&[&pinned[..], more].concat())["error"].clone();
    assert_eq!(with(&["--app", "com.example.other"]), "TRUST_MISMATCH");
    assert_eq!(with(&["--channel", "beta"]), "TRUST_UNSIGNED");
    let other = verify(&["--pub", "castoff.pub", "--target", "plan9-mips"]);
    assert_eq!(other["error"], "TARGET_UNAVAILABLE");
    let stranger = Signer::new().public();
    assert_eq!(verify(&["--pub", &stranger])["error"], "TRUST_SIGNATURE");
    assert_eq!(with(&["release-1.0.0.json"]), Value::Null);

    // Configured here, nothing need be said.
    let config = format!("app = \"{APP}\"\n[trust]\nkeys = [\"{key}\"]\n");
    fs::write(here.join("launcher.toml"), config).unwrap();
    assert_eq!(verify(&["--target", "windows-x86_64"])["trusted"], true);
    let told = done(here, &["verify", "--target", "windows-x86_64"]);
    assert!(told.ends_with("A launcher would install 1.0.0."), "{told}");
    fs::write(here.join("app-1.0.0.zip"), "x").unwrap();
    assert_eq!(with(&[]), "SIZE_MISMATCH");
    let text = refused(
        here,
        &["verify", "--target", "windows-x86_64"],
        "SIZE_MISMATCH",
    );
    assert!(text.contains("A launcher would refuse it"), "{text}");
}

#[test]
fn a_key_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let output = castoff(here, &["keygen", "a", "--no-passphrase"]);
    let key = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains(&format!("[trust]\nkeys = [\"{}\"]", key.trim())),
        "{told}"
    );
    assert!(told.contains("offline"), "{told}");
    let read = |name: &str| fs::read_to_string(here.join(name)).unwrap();
    let (secret, public) = (read("a.key"), read("a.pub"));
    assert!(public.ends_with(&key), "{public}");
    refused(here, &["keygen", "a", "--no-passphrase"], "FILE_EXISTS");
    fs::remove_file(here.join("a.pub")).unwrap();
    refused(here, &["keygen", "a", "--no-passphrase"], "FILE_EXISTS");
    assert_eq!(read("a.key"), secret);
    assert!(!here.join("a.pub").exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(here.join("a.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_passphrase_comes_from_the_environment_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let told = refused(here, &["keygen"], "PASSPHRASE_NEEDED");
    assert!(
        told.contains(PASSPHRASE) && told.contains("--no-passphrase"),
        "{told}"
    );
    assert!(!here.join("castoff.key").exists());
    let with = |passphrase: &str, args: &[&str]| {
        let mut command = command(here, args);
        command.env(PASSPHRASE, passphrase).stdin(Stdio::null());
        command.output().unwrap()
    };
    assert!(with("right", &["keygen"]).status.success());
    let secret = fs::read_to_string(here.join("castoff.key")).unwrap();
    assert!(secret.contains("encrypted"), "{secret}");
    let package = package(here, "1.0.0");
    let args = ["sign", &package, "--app", APP, "--version", "1.0.0"];
    refused(here, &args, "PASSPHRASE_NEEDED");
    let wrong = with("wrong", &args);
    assert_eq!(wrong.status.code(), Some(1));
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("[PASSPHRASE_WRONG]"), "{said}");
    assert!(!here.join("release-1.0.0.json").exists());
    assert!(with("right", &args).status.success());
    assert!(here.join("release-1.0.0.json").exists());
}

#[test]
fn several_people_sign_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for name in ["a", "b", "c", "i"] {
        keygen(here, name);
    }
    let three = ["--root", "a.pub", "b.pub", "c.pub", "--root-threshold", "2"];
    let init = [
        &["keys", "init", "--app", APP][..],
        &three,
        &["--index", "i.pub", "--key", "a.key"],
    ];
    assert_eq!(done(here, &init.concat()), "keys.1.json");
    let show = || document(&castoff(here, &["keys", "show", "--json"]));
    let shown = show();
    assert_eq!(shown["complete"], false);
    assert_eq!(shown["roles"]["root"]["threshold"], 2);
    assert_eq!(shown["roles"]["root"]["keys"][0]["signed"], true);
    assert_eq!(shown["roles"]["index"]["threshold"], 1);
    assert_eq!(shown["signatures"][0]["lacks"], 1);
    let told = castoff(here, &["sign", "keys.1.json", "--key", "a.key"]);
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains("had signed it already"), "{told}");
    assert!(told.contains("missing: 1 signature by"), "{told}");
    done(here, &["sign", "keys.1.json", "--key", "c.key"]);
    assert_eq!(show()["complete"], true);

    // Without --key, nobody knows which of four is meant.
    refused(here, &["sign", "keys.1.json"], "REQUEST_INVALID");
    sign(here, "1.0.0", &["--key", "b.key"]);
    let index = ["index", "new", "--key", "i.key"];
    refused(here, &index, "TRUST_SIGNATURE");
    done(here, &["sign", "release-1.0.0.json", "--key", "c.key"]);
    done(here, &index);
    let pinned = [
        "--pub",
        "a.pub",
        "--pub",
        "b.pub",
        "--pub",
        "c.pub",
        "--threshold",
        "2",
    ];
    let verify = || castoff(here, &[&["verify"][..], &pinned].concat());
    assert!(verify().status.success(), "{:?}", verify());
    let mixed = [
        "sign",
        "release-1.0.0.json",
        "--key",
        "a.key",
        "--notes",
        "x",
    ];
    refused(here, &mixed, "REQUEST_INVALID");

    // One key is replaced by another.
    keygen(here, "d");
    let next = ["--root", "b.pub", "c.pub", "d.pub"];
    let rotate = [&["keys", "rotate"][..], &next, &["--key", "b.key"]].concat();
    // What b has not signed is vouched for by a key that b knows.
    refused(here, &rotate, "DOCUMENT_FOREIGN");
    let rotate = [&rotate[..], &["--signed-by", "a.pub"]].concat();
    assert_eq!(done(here, &rotate), "keys.2.json");
    assert_eq!(show()["signatures"].as_array().unwrap().len(), 2);
    assert_eq!(verify().status.code(), Some(1), "it lacks a signature");
    refused(here, &rotate, "REQUEST_INVALID");
    done(here, &["sign", "keys.2.json", "--key", "d.key"]);
    assert_eq!(
        verify().status.code(),
        Some(1),
        "the new root alone is not enough"
    );
    done(here, &["sign", "keys.2.json", "--key", "a.key"]);
    assert!(verify().status.success(), "{:?}", verify());
    let text = done(here, &["keys", "show"]);
    assert!(text.contains("keys number 2"), "{text}");
}

#[test]
fn an_index_is_renewed_and_takes_versions_back() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    keygen(here, "castoff");
    for version in ["1.0.0", "1.1.0"] {
        sign(here, version, &[]);
    }
    done(
        here,
        &["index", "new", "--current", "1.0.0", "--channel", "beta"],
    );
    done(
        here,
        &["index", "renew", "--channel", "beta", "--expires", "2d"],
    );
    done(
        here,
        &["index", "new", "--channel", "beta", "--revoke", "1.0.0"],
    );
    let verify = [
        "verify",
        "--pub",
        "castoff.pub",
        "--channel",
        "beta",
        "--json",
    ];
    let report = document(&castoff(here, &verify));
    assert_eq!(report["index"]["seq"], 3);
    assert_eq!(report["index"]["revoked"], json!(["1.0.0"]));
    assert_eq!(report["release"]["version"], "1.1.0");
    refused(
        here,
        &["index", "new", "--current", "1.0.0", "--channel", "beta"],
        "REQUEST_INVALID",
    );
    refused(here, &["index", "new", "--current", "9"], "REQUEST_INVALID");
    refused(
        here,
        &["index", "new", "--app", "com.example.other"],
        "TRUST_MISMATCH",
    );
    refused(here, &["index", "renew"], "REQUEST_INVALID");
    let usage = castoff(here, &["index", "renew", "--expires", "soon"]);
    assert_eq!(usage.status.code(), Some(2));
}

/// Debian's minisign, when it is there.
fn minisign(folder: &Path, args: &[&str]) -> Option<Output> {
    let mut command = Command::new("minisign");
    command.args(args).current_dir(folder).stdin(Stdio::null());
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("left out: minisign cannot be run here: {error}");
            None
        }
    }
}

#[test]
fn minisign_and_castoff_take_each_others_files() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let Some(made) = minisign(here, &["-G", "-W", "-p", "theirs.pub", "-s", "theirs.key"]) else {
        return;
    };
    assert!(made.status.success(), "{made:?}");
    keygen(here, "own");
    sign(here, "1.0.0", &["--key", "own.key", "--key", "theirs.key"]);
    done(here, &["index", "new", "--key", "theirs.key"]);
    for name in ["release-1.0.0.json", "stable.json"] {
        let text = fs::read(here.join(name)).unwrap();
        let envelope = castoff::trust::Envelope::parse(&text, 1 << 20, name).unwrap();
        fs::write(here.join("payload"), envelope.payload()).unwrap();
        for (signature, key) in envelope.signatures().iter().rev().zip(["theirs", "own"]) {
            fs::write(here.join("payload.minisig"), signature).unwrap();
            let public = format!("{key}.pub");
            let verified = minisign(here, &["-V", "-p", &public, "-m", "payload"]).unwrap();
            assert!(verified.status.success(), "{name} {key}: {verified:?}");
        }
    }
    // A key of ours signs there, and counts here.
    fs::remove_file(here.join("payload.minisig")).unwrap();
    let signed = minisign(here, &["-S", "-s", "own.key", "-m", "payload"]).unwrap();
    assert!(signed.status.success(), "{signed:?}");
    let signature = fs::read_to_string(here.join("payload.minisig")).unwrap();
    let payload = fs::read(here.join("payload")).unwrap();
    let text = castoff::trust::seal(&payload, &[signature]);
    fs::write(here.join("stable.json"), text).unwrap();
    let verify = ["verify", "--pub", "own.pub"];
    assert!(castoff(here, &verify).status.success());
    let theirs = ["verify", "--pub", "theirs.pub"];
    refused(here, &theirs, "TRUST_SIGNATURE");
}
