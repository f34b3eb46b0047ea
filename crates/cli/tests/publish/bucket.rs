//! At a bucket of a real store. Where it is, and with which credentials, the environment says, as
//! ci/services.sh sets it: `CASTOFF_TEST_S3`, and `CASTOFF_TEST_S3_PUBLIC` for the same bucket as everybody
//! reads it.

use std::fs;
use std::thread;
use std::time::Duration;

use castoff_publish::steps;
use serde_json::json;

use crate::common::app;
use crate::line::{Line, noise};
use crate::world::{Publisher, update};

/// The bucket that the tests share.
const BUCKET: &str = "castoff-test";

/// The store: as publishers ask it, and as everybody does. `None`, and said: there is none.
#[expect(clippy::print_stderr, reason = "what is left out is said")]
fn store() -> Option<(String, String)> {
    let variable = |name| std::env::var(name).ok();
    let (Some(store), Some(public)) = (
        variable("CASTOFF_TEST_S3"),
        variable("CASTOFF_TEST_S3_PUBLIC"),
    ) else {
        eprintln!("left out: CASTOFF_TEST_S3 says no store");
        return None;
    };
    Some((store, public))
}

/// One who publishes in a folder of the bucket that is nobody else's.
fn publisher(store: &str, public: &str) -> Publisher {
    let own = tempfile::tempdir().unwrap();
    let folder = own.path().file_name().unwrap().to_str().unwrap();
    let folder = folder.trim_start_matches('.');
    let to = format!("s3://{BUCKET}/{folder}?endpoint={store}&region=us-east-1");
    let mut publisher = Publisher::at(&to, "index", "");
    publisher.source.1 = format!("{public}/{BUCKET}/{folder}/");
    publisher
}

#[test]
fn a_version_is_published_made_current_and_taken_back() {
    let Some((store, public)) = store() else {
        return;
    };
    let publisher = publisher(&store, &public);
    let home = publisher.launcher();
    let package = publisher.package("1.0.0");
    let said = publisher.said(&["publish", &package]);
    assert!(said.contains("kind = \"index\""), "{said}");
    let address = publisher.source.1.replace(&public, &store);
    assert!(said.contains(&address), "{said}");
    assert_eq!(update(&home)["error"], "TRUST_UNSIGNED");
    publisher.done(&["activate", "1.0.0"]);
    assert_eq!(update(&home)["version"], "1.0.0");
    publisher.publish("1.1.0");
    assert_eq!(update(&home)["version"], "1.1.0");
    let again = publisher.said(&["publish", "app-1.1.0.zip", "--activate"]);
    assert!(again.contains("app-1.1.0.zip: is there already"), "{again}");
    publisher.publish("1.2.0b1");
    let list = publisher.published();
    assert_eq!(list["releases"][0]["current"], json!(["stable"]));
    assert_eq!(list["channels"]["stable"]["seq"], 3);
    let said = publisher.said(&["withdraw", "1.2.0b1"]);
    assert!(said.contains("gets 1.1.0"), "{said}");
    assert_eq!(update(&home)["version"], "1.1.0");

    let other = app("1.0.0").file("another", "x").build().bytes;
    fs::write(publisher.own().join(&package), other).unwrap();
    publisher.refused(&["publish", &package], "PACKAGE_DIFFERS");
    publisher.refused(&["activate", "9.0.0"], "NOT_PUBLISHED");
}

#[test]
fn an_upload_goes_on_with_the_part_where_it_broke_off() {
    let Some((store, public)) = store() else {
        return;
    };
    let line = Line::to(&store);
    let publisher = publisher(&line.address(), &public);
    // Three parts.
    let package = app("1.0.0").file("big", noise(40 << 20)).build().bytes;
    let size = package.len() as u64;
    fs::write(publisher.own().join("app-1.0.0.zip"), package).unwrap();
    let args = ["publish", "app-1.0.0.zip", "--activate"];

    // The whole command is ended in the second.
    line.break_at(24 << 20, true);
    let mut process = publisher.command(&args).spawn().unwrap();
    while line.sent() < 24 << 20 {
        assert_eq!(process.try_wait().unwrap(), None, "it has ended");
        thread::sleep(Duration::from_millis(5));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let note = publisher.own().join("app-1.0.0.zip.upload");
    assert!(note.exists());
    assert_eq!(
        update(&publisher.launcher())["error"],
        "TRUST_UNSIGNED",
        "nothing is there yet"
    );
    // And the connection breaks once, in the third.
    let before = line.sent();
    line.break_at(before + (20 << 20), false);
    let said = publisher.said(&args);
    assert!(said.contains("from an earlier attempt"), "{said}");
    let sent = line.sent() - before;
    assert!(sent < size - (8 << 20), "{sent} of {size}, and 4 MiB twice");
    assert!(!note.exists());
    assert_eq!(update(&publisher.launcher())["version"], "1.0.0");

    // Whether the store keeps the digest beside it or has to be asked for the bytes.
    let again = publisher.said(&args);
    assert!(again.contains("app-1.0.0.zip: is there already"), "{again}");
}

/// The file changes between two attempts, and back: no part of another file becomes one of this.
#[test]
fn a_file_that_changes_meanwhile_is_not_mixed() {
    let Some((store, public)) = store() else {
        return;
    };
    let line = Line::to(&store);
    let publisher = publisher(&line.address(), &public);
    let path = publisher.own().join("app-1.0.0.zip");
    let right = app("1.0.0").file("big", noise(40 << 20)).build().bytes;
    fs::write(&path, &right).unwrap();
    let args = ["publish", "app-1.0.0.zip", "--activate"];
    line.break_at(4 << 20, true);
    let mut process = publisher.command(&args).spawn().unwrap();
    while line.sent() < 4 << 20 {
        assert_eq!(process.try_wait().unwrap(), None, "it has ended");
        thread::sleep(Duration::from_millis(5));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    // As if the first part had been sent of something else.
    let note = publisher.own().join("app-1.0.0.zip.upload");
    let mut upload: serde_json::Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    let other = castoff::trust::Sha256::of(b"other").to_string();
    upload["parts"] = json!([{"size": 16 << 20, "sha256": other, "tag": "\"0\""}]);
    fs::write(&note, upload.to_string()).unwrap();
    line.break_at(u64::MAX, false);
    let said = publisher.said(&args);
    assert!(
        said.contains("0 B are there from an earlier attempt"),
        "{said}"
    );
    assert_eq!(update(&publisher.launcher())["version"], "1.0.0");
}

/// Versions may have plus signs, which some stores read as spaces.
#[test]
fn a_version_of_a_certain_build_is_published_and_found() {
    let Some((store, public)) = store() else {
        return;
    };
    let publisher = publisher(&store, &public);
    let package = publisher.package("1.0.0+build.5");
    publisher.done(&["publish", &package, "--activate"]);
    assert_eq!(update(&publisher.launcher())["version"], "1.0.0+build.5");
}

#[test]
fn what_the_store_does_not_do_is_told() {
    let Some((store, public)) = store() else {
        return;
    };
    let publisher = publisher(&store, &public);
    let package = publisher.package("1.0.0");
    let mut unknown = publisher.command(&["publish", &package]);
    let unknown = unknown.env("AWS_SECRET_ACCESS_KEY", "guess");
    let said = String::from_utf8(unknown.output().unwrap().stderr).unwrap();
    assert!(
        said.contains("[PLACE_REFUSED]") && said.contains("SignatureDoesNotMatch"),
        "{said}"
    );
    assert!(!said.contains("guess"), "{said}");
    let nowhere = format!("s3://no-such-bucket?endpoint={store}");
    let said = publisher.refused(&["published", "--to", &nowhere], "PLACE_REFUSED");
    assert!(said.contains("NoSuchBucket"), "{said}");
}

#[test]
fn a_publication_can_be_killed_anywhere_and_repeated() {
    let Some((store, public)) = store() else {
        return;
    };
    for step in steps::ALL {
        let publisher = publisher(&store, &public);
        publisher.outlives(step, &[publisher.launcher()]);
    }
}

/// Without a store too.
#[test]
fn credentials_are_those_of_the_environment() {
    let publisher = Publisher::at("s3://releases/app", "index", "");
    let package = publisher.package("1.0.0");
    let mut command = publisher.command(&["publish", &package]);
    let output = command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("[REQUEST_INVALID]") && said.contains("AWS_SECRET_ACCESS_KEY"),
        "{said}"
    );
}
