//! At a folder.

use std::fs;

use castoff_publish::steps;
use serde_json::{Value, json};

use crate::common::{app, command};
use crate::world::{APP, Publisher, update};

#[test]
fn a_version_is_published_made_current_and_taken_back() {
    let publisher = Publisher::new();
    let home = publisher.launcher();
    let package = publisher.package("1.0.0");
    let said = publisher.said(&["publish", &package]);
    assert!(said.contains("castoff activate 1.0.0"), "{said}");
    assert!(said.contains("[source]\nkind = \"folder\""), "{said}");
    assert_eq!(
        publisher.names(),
        ["app-1.0.0.zip", "release-1.0.0.json"],
        "nothing is current"
    );
    assert_eq!(update(&home)["error"], "TRUST_UNSIGNED");
    publisher.done(&["activate", "1.0.0"]);
    assert_eq!(update(&home)["version"], "1.0.0");

    let said = publisher.publish("1.1.0");
    assert!(said.starts_with("1.1.0 is current in stable at "), "{said}");
    assert_eq!(update(&home)["version"], "1.1.0");
    publisher.publish("1.2.0b1");
    assert_eq!(update(&home)["version"], "1.2.0b1");
    let list = publisher.published();
    assert_eq!(list["releases"][0]["version"], "1.2.0b1");
    assert_eq!(list["releases"][0]["current"], json!(["stable"]));
    assert_eq!(list["channels"]["stable"]["seq"], 3);

    let said = publisher.said(&["withdraw", "1.2.0b1"]);
    assert!(said.contains("gets 1.1.0"), "{said}");
    assert_eq!(update(&home)["version"], "1.1.0");
    // What is not current is taken back too, and what is stays.
    let said = publisher.said(&["withdraw", "1.0.0"]);
    assert!(said.contains("gets 1.1.0"), "{said}");
    let said = publisher.refused(&["withdraw", "1.1.0"], "REQUEST_INVALID");
    assert!(said.contains("no version before 1.1.0"), "{said}");
    publisher.refused(&["activate", "1.0.0"], "REQUEST_INVALID");
    publisher.refused(&["activate", "9.0.0"], "NOT_PUBLISHED");
    let list = publisher.published();
    assert_eq!(list["channels"]["stable"]["seq"], 5);
    let releases = list["releases"].as_array().unwrap();
    let withdrawn: Vec<_> = releases.iter().map(|row| &row["withdrawn"]).collect();
    assert_eq!(withdrawn, [&json!(true), &json!(false), &json!(true)]);
    let list = publisher.done(&["published"]);
    assert!(list.contains("1.1.0  current in stable"), "{list}");
    assert!(list.contains("1.0.0  withdrawn"), "{list}");
}

#[test]
fn the_place_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let done = |args: &[&str]| {
        let output = command(folder.path(), args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for name in ["www", "dist"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("dist/main.bin"), "x").unwrap();
    let init = ["init", "--app", APP, "--source", "./www", "--entry-point"];
    let said = done(
        &[
            &init[..],
            &["main.bin", "--to", "www", "--sign", "--no-passphrase"],
        ]
        .concat(),
    );
    let publish = ["publish", "com.example.client-1.0.0.zip", "--activate"];
    assert!(
        said.contains(&format!("castoff {}", publish.join(" "))),
        "{said}"
    );
    done(&["pack", "dist", "--version", "1.0.0"]);
    done(&publish);
    assert!(folder.path().join("www/stable.json").exists());
}

#[test]
fn publishing_again_repeats_nothing() {
    let publisher = Publisher::new();
    let home = publisher.launcher();
    publisher.publish("1.0.0");
    let times = || {
        let modified = |name: &String| {
            fs::metadata(publisher.place().join(name))
                .unwrap()
                .modified()
        };
        let names = publisher.names();
        let times = names.iter().map(|name| modified(name).unwrap());
        names.iter().cloned().zip(times).collect::<Vec<_>>()
    };
    let before = times();
    let said = publisher.done(&["publish", "app-1.0.0.zip", "--activate"]);
    assert!(said.ends_with(", as before"), "{said}");
    publisher.done(&["publish", ".", "--activate"]);
    publisher.done(&["publish", "."]);
    publisher.done(&["activate", "1.0.0"]);
    assert_eq!(times(), before);
    // An index with less than half of its time is renewed.
    publisher.done(&["activate", "1.0.0", "--expires", "1y"]);
    assert_eq!(publisher.published()["channels"]["stable"]["seq"], 2);
    assert_eq!(update(&home)["version"], "1.0.0");
    // For some at first, and then for all.
    publisher.done(&["activate", "1.0.0", "--rollout", "0"]);
    assert_eq!(publisher.published()["channels"]["stable"]["rollout"], 0);
    publisher.publish("1.1.0");
    assert_eq!(
        publisher.published()["channels"]["stable"]["rollout"],
        Value::Null
    );
    publisher.done(&["activate", "1.1.0", "--rollout", "0"]);
    assert_eq!(update(&home)["error"], "ROLLOUT_PENDING");
    publisher.done(&["activate", "1.1.0"]);
    assert_eq!(update(&home)["version"], "1.1.0");
}

#[test]
fn what_was_published_is_not_replaced() {
    let publisher = Publisher::new();
    let home = publisher.launcher();
    publisher.publish("1.0.0");
    let other = app("1.0.0").file("another", "x").build().bytes;
    fs::write(publisher.own().join("app-1.0.0.zip"), other).unwrap();
    let before = fs::read(publisher.own().join("release-1.0.0.json")).unwrap();
    let args = ["publish", "app-1.0.0.zip", "--activate"];
    let said = publisher.refused(&args, "PACKAGE_DIFFERS");
    assert!(said.contains("as a new version"), "{said}");
    assert_eq!(
        fs::read(publisher.own().join("release-1.0.0.json")).unwrap(),
        before
    );
    // Nor under another name.
    fs::rename(
        publisher.own().join("app-1.0.0.zip"),
        publisher.own().join("other.zip"),
    )
    .unwrap();
    publisher.refused(&["publish", "other.zip"], "PACKAGE_DIFFERS");
    // Nor is a file that no document names.
    fs::write(publisher.place().join("app-1.1.0.zip"), "x").unwrap();
    let package = publisher.package("1.1.0");
    publisher.refused(&["publish", &package, "--activate"], "PACKAGE_DIFFERS");
    assert_eq!(update(&home)["version"], "1.0.0");
    // What a current release says is what launchers are to see.
    publisher.package("1.0.0");
    let args = ["publish", "app-1.0.0.zip", "--notes", "better"];
    publisher.refused(&args, "DOCUMENT_DIFFERS");
}

#[test]
fn without_a_key_a_folder_takes_nothing() {
    let publisher = Publisher::new();
    fs::rename(
        publisher.own().join("castoff.key"),
        publisher.folder.path().join("castoff.key"),
    )
    .unwrap();
    let package = publisher.package("1.0.0");
    let args = ["publish", &package, "--activate"];
    let said = publisher.refused(&args, "KEY_NEEDED");
    assert!(said.contains("castoff keygen"), "{said}");
    assert!(publisher.names().is_empty());
    publisher.refused(&["publish", &package, "--to", "none"], "IO_ERROR");
    let said = publisher.refused(
        &["publish", &package, "--to", "ftp://host/"],
        "REQUEST_INVALID",
    );
    assert!(said.contains("no place to publish"), "{said}");
    // Signed on another machine, it goes from here.
    let key = publisher.folder.path().join("castoff.key");
    let key = ["--key", key.to_str().unwrap()];
    publisher.done(&[&["sign", &package], &key[..]].concat());
    publisher.done(&["publish", &package]);
    publisher.refused(&["activate", "1.0.0"], "KEY_NEEDED");
    publisher.done(&[&["index", "new"], &key[..]].concat());
    publisher.done(&["publish", "."]);
    assert_eq!(update(&publisher.launcher())["version"], "1.0.0");
}

#[test]
fn several_machines_publish_one_version() {
    let publisher = Publisher::new();
    let package = publisher.package("1.0.0");
    publisher.done(&["publish", &package, "--target", "plan9-mips"]);
    // Another one knows what is at the place, and has the key.
    fs::remove_file(publisher.own().join("release-1.0.0.json")).unwrap();
    fs::remove_file(publisher.own().join(&package)).unwrap();
    fs::write(
        publisher.own().join("here.zip"),
        app("1.0.0").file("here", "x").build().bytes,
    )
    .unwrap();
    let target = castoff::release::target();
    publisher.done(&["publish", "here.zip", "--target", &target]);
    let list = publisher.published();
    assert_eq!(list["releases"][0]["packages"].as_array().unwrap().len(), 2);
    publisher.done(&["activate", "1.0.0"]);
    let home = publisher.launcher();
    assert_eq!(update(&home)["version"], "1.0.0");
    assert!(home.path().join("client/here").exists());
    // What others have signed is not added to.
    let other = Publisher::new();
    let (package, place) = (other.package("1.0.0"), publisher.place());
    let args = ["publish", &package, "--target", "plan9-arm", "--to"];
    let args = [&args[..], &[place.to_str().unwrap()]].concat();
    other.refused(&args, "DOCUMENT_FOREIGN");
}

#[test]
fn an_index_goes_on_from_the_one_at_the_place() {
    let publisher = Publisher::new();
    for version in ["1.0.0", "1.1.0"] {
        publisher.publish(version);
    }
    publisher.done(&["withdraw", "1.0.0"]);
    // A folder that has seen none of it, and has something of its own.
    let own = publisher.own();
    fs::remove_file(own.join("stable.json")).unwrap();
    let package = publisher.package("1.2.0b1");
    publisher.done(&["sign", &package]);
    publisher.done(&["index", "new", "--current", "1.2.0b1", "--revoke", "0.9.0"]);
    publisher.refused(&["publish", "."], "INDEX_OLD");
    publisher.done(&["publish", &package, "--activate"]);
    let bytes = fs::read(publisher.place().join("stable.json")).unwrap();
    assert_eq!(bytes, fs::read(own.join("stable.json")).unwrap());
    let index = castoff_publish::document::Document::read(&own.join("stable.json")).unwrap();
    assert_eq!(index.value()["seq"], 4);
    assert_eq!(index.value()["revoked"], json!(["0.9.0", "1.0.0"]));
    // A stranger's index is not gone on from.
    let other = Publisher::new();
    other.publish("1.0.0");
    fs::copy(
        other.place().join("stable.json"),
        publisher.place().join("stable.json"),
    )
    .unwrap();
    publisher.refused(&["activate", "1.1.0"], "DOCUMENT_FOREIGN");
}

#[test]
fn a_publication_can_be_killed_anywhere_and_repeated() {
    for step in steps::ALL {
        let publisher = Publisher::new();
        let homes = [publisher.launcher(), publisher.launcher()];
        publisher.outlives(step, &homes);
        let parts = publisher.names();
        assert!(
            parts.iter().all(|name| !name.contains("part")),
            "{step}: {parts:?}"
        );
    }
}
