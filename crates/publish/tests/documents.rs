//! The documents as publishers make them, and what a launcher makes of them: by real files.

use std::fs;
use std::path::{Path, PathBuf};

use castoff::config::TrustConfig;
use castoff::trust::{PublicKey, Role};
use castoff_publish::document::{Document, Folder};
use castoff_publish::keys::{RoleWish, Wishes};
use castoff_publish::signer::{NewPair, Signer};
use castoff_publish::verify::{Launcher, Report, verify};
use castoff_publish::{Error, Result, index, keys, release};
use castoff_testkit::package::Package;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tempfile::TempDir;

const APP: &str = "com.example.client";

struct World {
    folder: TempDir,
    keys: TempDir,
    now: DateTime<Utc>,
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            keys: tempfile::tempdir().unwrap(),
            now: Utc::now(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn folder(&self) -> Folder {
        Folder::open(self.path()).unwrap()
    }

    fn signer(&self, name: &str) -> Signer {
        let secret = self.keys.path().join(format!("{name}.key"));
        if !secret.exists() {
            let pair = NewPair::named(self.keys.path(), name).unwrap();
            pair.make(None).unwrap();
        }
        Signer::open(&secret, &mut |_: &Path| panic!("nobody is to be asked")).unwrap()
    }

    fn signers(&self, names: &[&str]) -> Vec<Signer> {
        names.iter().map(|name| self.signer(name)).collect()
    }

    fn public(&self, names: &[&str]) -> Vec<PublicKey> {
        let signers = self.signers(names);
        signers.iter().map(|it| it.public().clone()).collect()
    }

    fn package(&self, version: &str) -> PathBuf {
        let path = self.path().join(format!("app-{version}.zip"));
        let built = Package::new(version).file("main", version).list().build();
        fs::write(&path, built.bytes).unwrap();
        path
    }

    fn draft(&self, version: &str) -> release::Draft {
        release::Draft {
            app: APP.to_owned(),
            version: version.parse().unwrap(),
            target: None,
            package: self.package(version),
            entry_point: Some("main".to_owned()),
            notes: Some("what is new".to_owned()),
            urls: Vec::new(),
            critical_below: None,
            system: None,
            launchers: Vec::new(),
        }
    }

    fn release(&self, version: &str, names: &[&str]) {
        release::sign(&self.draft(version), &self.signers(names), &[]).unwrap();
    }

    fn index(&self, version: &str, names: &[&str]) -> Result<()> {
        self.index_of(&index_draft(version), names)
    }

    fn index_of(&self, draft: &index::Draft, names: &[&str]) -> Result<()> {
        index::make(&self.folder(), draft, &self.signers(names), &[], self.now).map(drop)
    }

    fn verify(&self, pinned: &[&str], threshold: usize) -> Report {
        self.verify_at(self.path(), pinned, threshold)
    }

    fn verify_at(&self, path: &Path, pinned: &[&str], threshold: usize) -> Report {
        let launcher = Launcher {
            app: APP.to_owned(),
            channel: "stable".to_owned(),
            pinned: TrustConfig {
                role: Role::new(self.public(pinned), threshold).unwrap(),
                first: 1,
            },
            target: "linux-x86_64".to_owned(),
        };
        verify(path, launcher, self.now).unwrap()
    }
}

fn index_draft(version: &str) -> index::Draft {
    index::Draft {
        app: Some(APP.to_owned()),
        channel: "stable".to_owned(),
        current: version.parse().unwrap(),
        revoked: Vec::new(),
        rollout: None,
        expires: index::LIFETIME,
    }
}

fn refusal(report: &Report) -> Option<&'static str> {
    report.refused.as_ref().map(|error| error.code().as_str())
}

fn code<T>(result: Result<T>) -> &'static str {
    result.err().map_or("nothing", |error: Error| error.code())
}

fn wish(keys: Vec<PublicKey>, threshold: usize) -> RoleWish {
    RoleWish {
        keys,
        threshold: Some(threshold),
    }
}

fn payload(path: &Path) -> Value {
    Document::read(path).unwrap().value().clone()
}

#[test]
fn one_key_is_enough_for_everything() {
    let world = World::new();
    world.release("1.0.0", &["a"]);
    world.index("1.0.0", &["a"]).unwrap();
    let report = world.verify(&["a"], 1);
    assert!(report.is_trusted(), "{:?}", report.refused);
    assert_eq!(report.index.as_ref().unwrap().0.seq, 1);
    assert_eq!(report.release.as_ref().unwrap().1.by, world.public(&["a"]));
    let package = report.package.as_ref().unwrap();
    let file = std::path::absolute(world.path())
        .unwrap()
        .join("app-1.0.0.zip");
    assert_eq!(package.file.as_deref(), Some(&*file));
    // What the package's list says is what the release says of it.
    let document = payload(&world.path().join("release-1.0.0.json"));
    let list = Package::new("1.0.0")
        .file("main", "1.0.0")
        .list()
        .file_list();
    assert_eq!(
        document["packages"]["any"]["files"],
        castoff_testkit::package::sha256(&list)
    );
    assert_eq!(refusal(&world.verify(&["b"], 1)), Some("TRUST_SIGNATURE"));

    fs::write(&file, b"PK").unwrap();
    assert_eq!(refusal(&world.verify(&["a"], 1)), Some("SIZE_MISMATCH"));
    fs::remove_file(&file).unwrap();
    assert_eq!(refusal(&world.verify(&["a"], 1)), Some("IO_ERROR"));
}

#[test]
fn two_of_three_sign_on_machines_of_their_own() {
    let world = World::new();
    let three = ["a", "b", "c"];
    world.release("1.0.0", &["a"]);
    world.index("1.0.0", &["a"]).unwrap();
    assert_eq!(refusal(&world.verify(&three, 2)), Some("TRUST_SIGNATURE"));
    for name in ["release-1.0.0.json", "stable.json"] {
        let document = Document::read(&world.path().join(name)).unwrap();
        let written = document.sign(&world.signers(&["b"])).unwrap();
        assert_eq!(written.added, world.public(&["b"]));
        // Again, which changes nothing.
        let before = fs::read(world.path().join(name)).unwrap();
        let again = written.document.sign(&world.signers(&["b", "a"])).unwrap();
        assert!(again.added.is_empty());
        assert_eq!(again.already.len(), 2);
        assert_eq!(fs::read(world.path().join(name)).unwrap(), before);
    }
    let report = world.verify(&three, 2);
    assert!(report.is_trusted(), "{:?}", report.refused);
    assert_eq!(report.release.unwrap().1.by, world.public(&["a", "b"]));
    assert_eq!(refusal(&world.verify(&three, 3)), Some("TRUST_SIGNATURE"));
}

#[test]
fn keys_are_rotated_by_both_thresholds() {
    let world = World::new();
    let folder = world.folder();
    let wishes = Wishes {
        root: wish(world.public(&["r1", "r2", "r3"]), 2),
        release: wish(world.public(&["rel"]), 1),
        index: wish(world.public(&["idx"]), 1),
        ..Wishes::default()
    };
    let signers = |names: &[&str]| world.signers(names);
    let first = keys::init(&folder, APP, &wishes, &signers(&["r1"]), world.now).unwrap();
    assert_eq!(folder.standings(&first.document).unwrap()[0].lacks(), 1);
    // Nobody could follow it yet.
    let change = Wishes {
        root: wish(world.public(&["r2", "r4"]), 2),
        ..Wishes::default()
    };
    let rotate =
        |names: &[&str]| keys::rotate(&folder, &change, 1, &signers(names), &[], world.now);
    assert_eq!(code(rotate(&["r1", "r2"])), "REQUEST_INVALID");
    first.document.sign(&signers(&["r2"])).unwrap();
    world.release("1.0.0", &["rel"]);
    world.index("1.0.0", &["idx"]).unwrap();
    let pinned = ["r1", "r2", "r3"];
    assert!(world.verify(&pinned, 2).is_trusted());
    let twice = keys::init(&folder, APP, &wishes, &signers(&["r1"]), world.now);
    assert_eq!(code(twice), "FILE_EXISTS");

    // Somebody who has signed nothing of it cannot carry it over.
    assert_eq!(code(rotate(&["r4"])), "DOCUMENT_FOREIGN");
    let second = rotate(&["r2", "r4"]).unwrap();
    let standings = folder.standings(&second.document).unwrap();
    assert_eq!(standings[0].lacks(), 1, "of the old root");
    assert_eq!(standings[0].missing, world.public(&["r1", "r3"]));
    assert_eq!(standings[1].lacks(), 0, "of the new root");
    assert_eq!(refusal(&world.verify(&pinned, 2)), Some("TRUST_SIGNATURE"));
    second.document.sign(&signers(&["r3"])).unwrap();
    let report = world.verify(&pinned, 2);
    assert!(report.is_trusted(), "{:?}", report.refused);
    assert_eq!(report.steps.len(), 2);
    assert_eq!(report.steps[1].keys.number, 2);
    // What was not said has stayed.
    let (one, two) = (
        payload(&world.path().join("keys.1.json")),
        payload(&world.path().join("keys.2.json")),
    );
    for field in ["/roles/release", "/roles/index", "/expires", "/app"] {
        assert_eq!(one.pointer(field), two.pointer(field), "{field}");
    }
    // Old root without the new one.
    fs::remove_file(world.path().join("keys.2.json")).unwrap();
    rotate(&["r1", "r2"]).unwrap();
    assert_eq!(refusal(&world.verify(&pinned, 2)), Some("TRUST_SIGNATURE"));
}

#[test]
fn keys_go_on_after_a_root_that_is_lost() {
    let world = World::new();
    let folder = world.folder();
    let of = |name: &str| Wishes {
        root: wish(world.public(&[name]), 1),
        ..Wishes::default()
    };
    keys::init(
        &folder,
        APP,
        &of("lost"),
        &world.signers(&["lost"]),
        world.now,
    )
    .unwrap();
    let rotate = |wishes: &Wishes, first| {
        let (signers, known) = (world.signers(&["new"]), world.public(&["lost"]));
        keys::rotate(&folder, wishes, first, &signers, &known, world.now)
    };
    // Nobody has the old key any more; launchers pin the new one, and begin with keys.2.
    rotate(&of("new"), 1).unwrap();
    assert_eq!(code(rotate(&Wishes::default(), 1)), "REQUEST_INVALID");
    let third = rotate(&Wishes::default(), 2).unwrap();
    let standings = folder.standings(&third.document).unwrap();
    assert!(standings.iter().all(|standing| standing.lacks() == 0));
}

#[test]
fn expired_keys_are_not_carried_over_silently() {
    let world = World::new();
    let wishes = Wishes {
        expires: Some(TimeDelta::days(1)),
        ..Wishes::default()
    };
    let signers = world.signers(&["a"]);
    let long_ago = world.now - TimeDelta::days(2);
    keys::init(&world.folder(), APP, &wishes, &signers, long_ago).unwrap();
    world.release("1.0.0", &["a"]);
    world.index("1.0.0", &["a"]).unwrap();
    assert_eq!(refusal(&world.verify(&["a"], 1)), Some("TRUST_EXPIRED"));
    let rotate =
        |wishes: &Wishes| keys::rotate(&world.folder(), wishes, 1, &signers, &[], world.now);
    assert_eq!(code(rotate(&Wishes::default())), "REQUEST_INVALID");
    rotate(&wishes).unwrap();
    assert!(world.verify(&["a"], 1).is_trusted());
}

#[test]
fn roles_that_cannot_be_are_refused() {
    let world = World::new();
    let signers = world.signers(&["a"]);
    let init = |wishes: &Wishes| keys::init(&world.folder(), APP, wishes, &signers, world.now);
    for wishes in [
        Wishes {
            root: wish(world.public(&["a"]), 2),
            ..Wishes::default()
        },
        Wishes {
            release: wish(world.public(&["a", "a"]), 1),
            ..Wishes::default()
        },
        Wishes {
            index: wish(Vec::new(), 0),
            ..Wishes::default()
        },
    ] {
        assert_eq!(code(init(&wishes)), "REQUEST_INVALID", "{wishes:?}");
    }
    let app = keys::init(
        &world.folder(),
        "a b",
        &Wishes::default(),
        &signers,
        world.now,
    );
    assert_eq!(code(app), "REQUEST_INVALID");
    assert!(!world.path().join("keys.1.json").exists());
}

#[test]
fn an_index_counts_up_and_keeps_what_was_revoked() {
    let mut world = World::new();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        world.release(version, &["a"]);
    }
    world.index("1.0.0", &["a"]).unwrap();
    let revoking = index::Draft {
        revoked: vec!["1.0.0".parse().unwrap()],
        ..index_draft("1.1.0")
    };
    world.index_of(&revoking, &["a"]).unwrap();
    world.index("1.2.0", &["a"]).unwrap();
    let path = world.path().join("stable.json");
    let document = payload(&path);
    assert_eq!(document["seq"], 3);
    assert_eq!(document["revoked"], serde_json::json!(["1.0.0"]));
    assert_eq!(code(world.index("1.0.0", &["a"])), "REQUEST_INVALID");

    world.now += TimeDelta::days(40);
    assert_eq!(refusal(&world.verify(&["a"], 1)), Some("TRUST_EXPIRED"));
    let signers = world.signers(&["a"]);
    let (folder, month) = (world.folder(), TimeDelta::days(30));
    index::renew(&folder, "stable", month, &signers, &[], world.now).unwrap();
    assert!(world.verify(&["a"], 1).is_trusted());
    let renewed = payload(&path);
    assert_eq!(renewed["seq"], 4);
    assert_eq!(renewed["current"], document["current"]);
    assert_eq!(renewed["revoked"], document["revoked"]);
    let none = index::renew(&folder, "beta", month, &signers, &[], world.now);
    assert_eq!(code(none), "REQUEST_INVALID");
}

#[test]
fn an_index_names_only_what_launchers_would_take() {
    let world = World::new();
    assert_eq!(code(world.index("1.0.0", &["a"])), "REQUEST_INVALID");
    let path = world.path().join("release-1.0.0.json");
    fs::write(&path, "{}").unwrap();
    assert_eq!(code(world.index("1.0.0", &["a"])), "TRUST_INVALID");
    fs::remove_file(&path).unwrap();
    let other = release::Draft {
        app: "com.example.other".to_owned(),
        ..world.draft("1.0.0")
    };
    release::sign(&other, &world.signers(&["a"]), &[]).unwrap();
    assert_eq!(code(world.index("1.0.0", &["a"])), "TRUST_MISMATCH");
    // One under the name of another version.
    world.release("1.1.0", &["a"]);
    fs::rename(world.path().join("release-1.1.0.json"), &path).unwrap();
    assert_eq!(code(world.index("1.0.0", &["a"])), "TRUST_MISMATCH");
    fs::remove_file(&path).unwrap();
    // One that lacks a signature.
    let wishes = Wishes {
        release: wish(world.public(&["a", "b"]), 2),
        ..Wishes::default()
    };
    keys::init(
        &world.folder(),
        APP,
        &wishes,
        &world.signers(&["a"]),
        world.now,
    )
    .unwrap();
    world.release("1.0.0", &["a"]);
    assert_eq!(code(world.index("1.0.0", &["a"])), "TRUST_SIGNATURE");
    let document = Document::read(&path).unwrap();
    document.sign(&world.signers(&["b"])).unwrap();
    world.index("1.0.0", &["a"]).unwrap();
    assert!(world.verify(&["a"], 1).is_trusted());
}

#[test]
fn what_somebody_else_has_put_there_is_not_signed_along() {
    let world = World::new();
    world.release("1.0.0", &["thief"]);
    let own = world.signers(&["a"]);
    let draft = release::Draft {
        target: Some("linux-x86_64".to_owned()),
        ..world.draft("1.0.0")
    };
    assert_eq!(code(release::sign(&draft, &own, &[])), "DOCUMENT_FOREIGN");
    world.index("1.0.0", &["thief"]).unwrap();
    assert_eq!(code(world.index("1.0.0", &["a"])), "DOCUMENT_FOREIGN");
    let month = TimeDelta::days(30);
    let renew = |known: &[PublicKey]| {
        index::renew(&world.folder(), "stable", month, &own, known, world.now)
    };
    assert_eq!(code(renew(&[])), "DOCUMENT_FOREIGN");
    // A key of before, by name.
    assert_eq!(code(renew(&world.public(&["thief"]))), "nothing");
}

#[test]
fn a_release_grows_by_targets() {
    let world = World::new();
    let signers = world.signers(&["a"]);
    world.release("1.0.0", &["a"]);
    // The very same is signed once.
    let again = release::sign(&world.draft("1.0.0"), &signers, &[]).unwrap();
    assert_eq!(
        (again.added.len(), again.already.len(), again.dropped),
        (0, 1, 0)
    );
    fs::create_dir(world.path().join("linux")).unwrap();
    fs::write(world.path().join("linux/MyApp"), "launcher").unwrap();
    let more = release::Draft {
        target: Some("linux-x86_64".to_owned()),
        urls: vec![
            "https://a.example/app.zip".to_owned(),
            "mirror.zip".to_owned(),
        ],
        critical_below: Some("0.9".parse().unwrap()),
        system: Some("5.10".to_owned()),
        launchers: vec![("linux-x86_64".to_owned(), world.path().join("linux/MyApp"))],
        notes: None,
        ..world.draft("1.0.0")
    };
    let written = release::sign(&more, &signers, &[]).unwrap();
    assert_eq!((written.added.len(), written.dropped), (1, 1));
    let document = written.document.value();
    assert_eq!(document["packages"]["any"]["urls"][0], "app-1.0.0.zip");
    assert_eq!(document["packages"]["linux-x86_64"]["system"], "5.10");
    assert_eq!(document["launchers"]["linux-x86_64"]["size"], 8);
    assert_eq!(
        document["launchers"]["linux-x86_64"]["urls"][0],
        "linux/MyApp"
    );
    assert_eq!(document["notes"], "what is new", "what is not said stays");
    let report = world.verify_at(written.document.path(), &["a"], 1);
    assert!(report.is_trusted(), "{:?}", report.refused);
    let package = report.package.unwrap();
    assert_eq!(package.urls[0], "https://a.example/app.zip");
    assert!(package.file.is_none(), "it is elsewhere");
}

#[test]
fn a_package_that_no_launcher_takes_is_not_announced() {
    let world = World::new();
    let signers = world.signers(&["a"]);
    let sign = |draft: &release::Draft| code(release::sign(draft, &signers, &[]));
    let good = world.draft("1.0.0");
    let with = |change: &dyn Fn(&mut release::Draft)| {
        let mut draft = good.clone();
        change(&mut draft);
        sign(&draft)
    };
    assert_eq!(
        with(&|draft| draft.version = "1.1.0".parse().unwrap()),
        "FILE_LIST_INVALID"
    );
    assert_eq!(
        with(&|draft| draft.entry_point = Some("../x".to_owned())),
        "TRUST_INVALID"
    );
    assert_eq!(with(&|draft| draft.app = String::new()), "REQUEST_INVALID");
    for url in ["../x.zip", "ftp://a.example/x.zip", ""] {
        assert_eq!(
            with(&|draft| draft.urls = vec![url.to_owned()]),
            "REQUEST_INVALID"
        );
    }
    for target in ["", "a b", "linux/x"] {
        assert_eq!(
            with(&|draft| draft.target = Some(target.to_owned())),
            "REQUEST_INVALID"
        );
    }
    for hostile in castoff_testkit::package::hostile::all() {
        fs::write(&good.package, &hostile.bytes).unwrap();
        assert_eq!(sign(&good), hostile.code, "{}", hostile.name);
    }
    let lying = Package::new("1.0.0").file("main", "1.0.1");
    let list = Package::new("1.0.0")
        .file("main", "1.0.0")
        .list()
        .file_list();
    let lying = lying.file("castoff-files.json", list).build();
    fs::write(&good.package, lying.bytes).unwrap();
    assert_eq!(sign(&good), "FILE_LIST_INVALID");
    assert!(!world.path().join("release-1.0.0.json").exists());
}

#[test]
fn single_documents_are_looked_at_alone() {
    let world = World::new();
    let wishes = Wishes {
        release: wish(world.public(&["rel"]), 1),
        index: wish(world.public(&["idx"]), 1),
        min_version: Some("1.0.0".parse().unwrap()),
        ..Wishes::default()
    };
    keys::init(
        &world.folder(),
        APP,
        &wishes,
        &world.signers(&["a"]),
        world.now,
    )
    .unwrap();
    world.release("1.0.0", &["rel"]);
    world.release("0.9.0", &["rel"]);
    world.index("1.0.0", &["idx"]).unwrap();
    for name in ["keys.1.json", "stable.json", "release-1.0.0.json"] {
        let path = world.path().join(name);
        let report = world.verify_at(&path, &["a"], 1);
        assert!(report.is_trusted(), "{name}: {:?}", report.refused);
        assert_eq!(report.steps.len(), 1, "{name}");
        let refused = world.verify_at(&path, &["b"], 1);
        assert_eq!(refusal(&refused), Some("TRUST_SIGNATURE"), "{name}");
    }
    let old = world.verify_at(&world.path().join("release-0.9.0.json"), &["a"], 1);
    assert_eq!(refusal(&old), Some("TRUST_WITHDRAWN"));
    assert_eq!(
        code(Document::read(&world.path().join("app-1.0.0.zip"))),
        "TRUST_INVALID"
    );
}
