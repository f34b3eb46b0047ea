//! The source that answers file by file.

use std::collections::BTreeMap;
use std::fs::{self, File};

use castoff_testkit::http::{Reply, Server};
use castoff_testkit::package::Built;
use castoff_testkit::sign::{Document, Signer, role};
use serde_json::{Value, json};

use crate::world::{ENTRY, World, app, script};

const CHECK: &str = "/api/v1/nuitkal_pack/apps/0d87/check-update/";

type Files = BTreeMap<String, Vec<u8>>;

/// The files of an app of that version.
fn files(version: &str) -> Files {
    BTreeMap::from([
        (ENTRY.to_owned(), script(version).into_bytes()),
        ("data/changes.txt".to_owned(), version.into()),
        (
            "stays.py".to_owned(),
            b"print('always the same')\n".to_vec(),
        ),
        (format!("only/{version}.bin"), version.repeat(500).into()),
        ("说明.txt".to_owned(), "说明".into()),
        // The content of another file.
        (
            "copy of stays.py".to_owned(),
            b"print('always the same')\n".to_vec(),
        ),
    ])
}

fn world() -> World {
    let world = World::new();
    let source = format!(
        "kind = \"check-files\"\nurl = \"{}\"",
        world.server.url(CHECK)
    );
    world.configure_source(&source, "");
    world
}

fn hash(content: &[u8]) -> String {
    Built::of_bytes("0", content.to_vec()).sha256
}

/// What the server says of a file.
fn entry(path: &str, content: &[u8]) -> Value {
    let hash = hash(content);
    let url = format!("/media/nuitkal-pack/{hash}");
    json!({"hash": hash, "path": path, "url": url, "size": content.len()})
}

/// Announces a version to those who have another, as the server does: `keep` is what both have by name.
fn announce(world: &World, version: &str, new: &Files, old: &Files) {
    let list = |wanted: &dyn Fn(&str) -> bool| -> Vec<Value> {
        let wanted = new.iter().filter(|(path, _)| wanted(path));
        wanted.map(|(path, content)| entry(path, content)).collect()
    };
    let delete = old.iter().filter(|(path, _)| !new.contains_key(*path));
    let delete: Vec<Value> = delete.map(|(path, content)| entry(path, content)).collect();
    let answer = json!({
        "current_version": null, "active_version": version, "entry_point": ENTRY,
        "changelog": format!("what is new in {version}"), "need_update": true,
        "add": list(&|path| !old.contains_key(path)), "keep": list(&|path| old.contains_key(path)),
        "delete": delete,
    });
    world
        .server
        .replace(CHECK, Reply::json(&answer.to_string()));
    for content in new.values() {
        let path = format!("/media/nuitkal-pack/{}", hash(content));
        world.server.replace(&path, Reply::file(content));
    }
}

/// The media that were asked for since `before` requests.
fn fetched(world: &World, before: usize) -> Vec<String> {
    let requests = world.server.requests().into_iter().skip(before);
    let media = requests.filter(|it| it.path().starts_with("/media/"));
    media.map(|it| it.path().to_owned()).collect()
}

#[track_caller]
fn assert_files(world: &World, expected: &Files) {
    for (path, content) in expected {
        assert_eq!(&fs::read(world.path(path)).unwrap(), content, "{path}");
    }
}

#[test]
fn only_what_differs_is_fetched_and_what_is_gone_is_removed() {
    let world = world();
    let (one, two) = (files("1.0.0"), files("2.0.0"));
    announce(&world, "1.0.0", &one, &Files::new());
    let first = world.run(&[]);
    first.assert_app("1.0.0");
    assert_files(&world, &one);
    assert_eq!(
        fetched(&world, 0).len(),
        one.len() - 1,
        "one content is fetched once"
    );
    world.write("notes of the user.txt", "mine");
    world.run(&[]).assert_app("1.0.0");

    announce(&world, "2.0.0", &two, &one);
    let before = world.server.requests().len();
    let update = world.run(&[]);
    update.assert_app("2.0.0");
    assert!(update.stderr.contains("what is new in 2.0.0"), "{update:?}");
    assert_files(&world, &two);
    assert!(!world.path("only/1.0.0.bin").exists());
    assert_eq!(world.read("notes of the user.txt"), "mine");
    assert_eq!(
        fetched(&world, before).len(),
        3,
        "entry point, changes, only"
    );
    let asked = world.server.requests();
    assert!(asked[before].target.ends_with("?version=1.0.0"));
    assert_eq!(world.backups(), ["1.0.0"]);
    world.assert_tidy();
    assert!(!world.path(".castoff/downloads").exists());
}

#[test]
fn a_folder_that_another_client_installed_is_taken_over() {
    let world = world();
    let (one, two) = (files("1.0.0"), files("2.0.0"));
    for (path, content) in &one {
        world.write(path, &String::from_utf8(content.clone()).unwrap());
    }
    world.write("local_version.json", r#"{"version": "1.0.0"}"#);
    world.write("user.db", "mine");
    announce(&world, "2.0.0", &two, &one);
    world.run(&[]).assert_app("2.0.0");
    assert_files(&world, &two);
    assert!(
        !world.path("only/1.0.0.bin").exists(),
        "the server says that it came with 1.0.0"
    );
    assert_eq!(world.read("user.db"), "mine");
    assert_eq!(fetched(&world, 0).len(), 3, "what was there is not fetched");
}

#[test]
fn a_file_of_another_content_is_refused_and_the_app_starts() {
    let world = world();
    let (one, two) = (files("1.0.0"), files("2.0.0"));
    announce(&world, "1.0.0", &one, &Files::new());
    world.run(&[]).assert_app("1.0.0");
    announce(&world, "2.0.0", &two, &one);
    let media = format!("/media/nuitkal-pack/{}", hash(&two["data/changes.txt"]));
    world.server.replace(&media, Reply::file(b"9.9.9"));
    let tree = world.tree();
    let refused = world.run(&[]);
    refused.assert_app("1.0.0").assert_told("HASH_MISMATCH");
    assert_eq!(world.tree(), tree);
    world.assert_tidy();
}

#[test]
fn what_was_fetched_before_a_break_is_not_fetched_again() {
    let world = world();
    let (one, two) = (files("1.0.0"), files("2.0.0"));
    announce(&world, "1.0.0", &one, &Files::new());
    world.run(&[]).assert_app("1.0.0");
    announce(&world, "2.0.0", &two, &one);
    let media = format!("/media/nuitkal-pack/{}", hash(&two["data/changes.txt"]));
    world.server.replace(&media, Reply::status(404));
    // Six at once: the others are there, or on their way, when this one fails.
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("HTTP_STATUS");
    announce(&world, "2.0.0", &two, &one);
    let before = world.server.requests().len();
    world.run(&[]).assert_app("2.0.0");
    let again = fetched(&world, before);
    assert!(again.contains(&media), "{again:?}");
    assert_files(&world, &two);
}

#[test]
fn a_damaged_file_is_brought_back_alone() {
    let world = world();
    let one = files("1.0.0");
    announce(&world, "1.0.0", &one, &Files::new());
    world.run(&[]).assert_app("1.0.0");
    fs::write(world.path("stays.py"), "spoilt").unwrap();
    let before = world.server.requests().len();
    let repaired = world.run(&["--castoff", "doctor", "--repair"]);
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    assert_files(&world, &one);
    assert!(fetched(&world, before).len() <= 1);
}

#[test]
fn the_releases_are_listed_with_their_notes() {
    let world = world();
    let release = |version: &str, notes: &str| {
        json!({"id": 1, "version": version, "changelog": notes,
               "upload_time": "2026-11-21T02:28:25.475039Z", "files": []})
    };
    let list = json!([
        release("1.9.0", "- **faster**"),
        release("1.10.0", "# New\n\nsee [here](https://a.example/)"),
        release("no version", "-"),
    ]);
    let path = CHECK.replace("check-update", "list");
    world.server.route(&path, Reply::json(&list.to_string()));
    let told = world.run(&["--castoff", "releases"]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(
        told.stdout,
        "1.10.0  2026-11-21\n  New\n\n  see here (https://a.example/)\n\n\
         1.9.0  2026-11-21\n  • faster\n"
    );
    let told = world.run(&["--castoff", "releases", "1", "--json"]);
    let json: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(json[0]["version"], "1.10.0");
    assert_eq!(json.as_array().unwrap().len(), 1);
}

#[test]
fn with_pinned_keys_the_signed_package_is_installed_and_nothing_else() {
    let (root, releaser) = (Signer::new(), Signer::new());
    let world = World::new();
    let source = format!(
        "kind = \"check-files\"\nurl = \"{}\"\ndocuments = \"{}\"",
        world.server.url(CHECK),
        world.server.url("/signed/{version}")
    );
    let trust = format!("[trust]\nkeys = [\"{}\"]", root.public());
    world.configure_source(&source, &trust);
    let roles = [&root, &releaser, &root].map(|signer| role(&[signer], 1));
    let keys = Document::keys(1, &roles[0], &roles[1], &roles[2]).signed(&[&root]);
    let sign = |version: &str, signer: &Signer| {
        let built = app(version).build();
        let document = Document::release(version, "app.zip", &built.bytes)
            .with("packages/any/entry_point", json!(ENTRY))
            .signed(&[signer]);
        let folder = format!("/signed/{version}");
        for (name, bytes) in [
            ("app.zip", built.bytes.as_slice()),
            (&format!("release-{version}.json"), document.as_bytes()),
            ("keys.1.json", keys.as_bytes()),
        ] {
            world
                .server
                .route(&format!("{folder}/{name}"), Reply::file(bytes));
        }
    };
    announce(&world, "1.0.0", &files("1.0.0"), &Files::new());
    sign("1.0.0", &releaser);
    world.run(&[]).assert_app("1.0.0");
    // What is there is what was signed, and not what the answer lists.
    assert!(!world.path("copy of stays.py").exists());

    announce(&world, "1.1.0", &files("1.1.0"), &files("1.0.0"));
    let run = world.run(&[]);
    run.assert_app("1.0.0").assert_told("TRUST_UNSIGNED");
    sign("1.1.0", &releaser);
    world.run(&[]).assert_app("1.1.0");
    announce(&world, "1.2.0", &files("1.2.0"), &files("1.1.0"));
    sign("1.2.0", &Signer::new());
    let run = world.run(&[]);
    run.assert_app("1.1.0").assert_told("TRUST_SIGNATURE");
}

#[test]
fn the_token_goes_to_the_host_of_the_endpoint_alone() {
    let world = World::new();
    let source = format!(
        "kind = \"check-files\"\nurl = \"{}\"\n[source.headers]\nX-Own = \"s3cret\"",
        world.server.url(CHECK)
    );
    world.configure_source(&source, "");
    let other = Server::start();
    let (there, here) = ("stored elsewhere", script("1.0.0"));
    other.route("/elsewhere", Reply::file(there.as_bytes()));
    world.server.route("/here", Reply::file(here.as_bytes()));
    let mut elsewhere = entry("data.txt", there.as_bytes());
    elsewhere["url"] = other.url("/elsewhere").into();
    let mut own = entry(ENTRY, here.as_bytes());
    own["url"] = "/here".into();
    let answer = json!({"active_version": "1.0.0", "entry_point": ENTRY, "add": [own, elsewhere]});
    world.server.route(CHECK, Reply::json(&answer.to_string()));
    world.run(&[]).assert_app("1.0.0");
    let carries = |server: &Server, path: &str| {
        let asked = server.requests();
        let request = asked.iter().find(|request| request.path() == path);
        request.unwrap().header("x-own") == Some("s3cret")
    };
    assert!(carries(&world.server, CHECK) && carries(&world.server, "/here"));
    assert!(!carries(&other, "/elsewhere"));
}

#[test]
fn what_waits_is_installed_without_asking_or_left() {
    let world = world();
    let url = format!(
        "kind = \"check-files\"\nurl = \"{}\"",
        world.server.url(CHECK)
    );
    announce(&world, "1.0.0", &files("1.0.0"), &Files::new());
    for _ in 0..2 {
        world.run(&[]).assert_app("1.0.0");
    }
    world.configure_source(&url, "[update]\nwhen = \"manual\"");
    announce(&world, "1.1.0", &files("1.1.0"), &files("1.0.0"));
    let fetch = || {
        let lock = File::open(world.path(".castoff/run.lock")).unwrap();
        lock.lock_shared().unwrap();
        world.run(&["--castoff", "update"]);
        assert_eq!(world.state()["pending"]["version"], "1.1.0");
        world.server.requests().len()
    };
    // What is needed now was not when it was fetched.
    let before = fetch();
    fs::write(world.path("说明.txt"), "by the app").unwrap();
    world.run(&[]).assert_app("1.0.0");
    assert!(world.state()["pending"].is_null());
    assert_eq!(world.server.requests().len(), before);
    let before = fetch();
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.server.requests().len(), before);
    assert_files(&world, &files("1.1.0"));
}

#[test]
fn the_version_file_in_a_release_is_nobodys_to_install() {
    let world = world();
    let with_own = |version| {
        let mut files = files(version);
        files.insert("local_version.json".to_owned(), b"{}".to_vec());
        files
    };
    announce(&world, "1.0.0", &with_own("1.0.0"), &Files::new());
    world.run(&[]).assert_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    announce(&world, "1.1.0", &with_own("1.1.0"), &with_own("1.0.0"));
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.version(), "1.1.0");
}

#[test]
fn the_largest_package_is_as_large_as_all_of_its_files() {
    let world = World::new();
    let source = format!(
        "kind = \"check-files\"\nurl = \"{}\"",
        world.server.url(CHECK)
    );
    let own = files("1.0.0");
    let sum: usize = own.values().map(Vec::len).sum();
    let limit = |bytes: usize| {
        world.configure_source(&source, &format!("max_package_size = {bytes}"));
    };
    announce(&world, "1.0.0", &own, &Files::new());
    limit(sum / 2);
    world.run(&[]).assert_told("TOO_LARGE");
    limit(sum);
    world.run(&["--castoff", "update", "--force"]);
    world.run(&[]).assert_app("1.0.0");
}
