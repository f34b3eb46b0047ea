use castoff_testkit::sign::{APP, Document, Signer, role};
use serde_json::{Value, json};

use super::*;
use crate::Code;

const PACKAGE: &[u8] = b"a package";
const DAY: TimeDelta = TimeDelta::days(1);

/// A publisher, and a launcher that pins the first key.
struct World {
    root: Signer,
    release: Signer,
    index: Signer,
    pinned: TrustConfig,
    now: DateTime<Utc>,
    indexed: bool,
}

fn pin(signers: &[&Signer], threshold: usize) -> TrustConfig {
    let keys = signers
        .iter()
        .map(|signer| signer.public().parse().unwrap());
    TrustConfig {
        role: Role::new(keys.collect(), threshold).unwrap(),
        first: 1,
    }
}

impl World {
    fn new() -> Self {
        let root = Signer::new();
        Self {
            pinned: pin(&[&root], 1),
            root,
            release: Signer::new(),
            index: Signer::new(),
            // After this build, so that it is this clock that counts.
            now: built() + DAY * 30,
            indexed: true,
        }
    }

    fn anchor(&self) -> Anchor<'_> {
        Anchor {
            app: APP,
            channel: "stable",
            indexed: self.indexed,
            pinned: Some(&self.pinned),
        }
    }

    fn trust(&self) -> Trust {
        Trust::new(&self.anchor(), self.now)
    }

    /// The keys document that gives each role a key of its own.
    fn keys(&self, number: u64) -> Document {
        let one = |signer: &Signer| role(&[signer], 1);
        let (root, release, index) = (one(&self.root), one(&self.release), one(&self.index));
        Document::keys(number, &root, &release, &index)
    }

    fn index_of(&self, seq: u64, version: &str) -> Document {
        let times = json!(self.now.to_rfc3339());
        Document::index(seq, version, &release(version)).with("issued", times)
    }

    /// A launcher that has followed the first keys document.
    fn settled(&self) -> Trust {
        let mut trust = self.trust();
        trust
            .follow(self.keys(1).signed(&[&self.root]).as_bytes())
            .unwrap();
        trust
    }

    /// What comes of an index and the release that it names.
    fn offer(&self, trust: &mut Trust, index: &Document, release: &Document) -> Result<Trusted> {
        let index = index.signed(&[&self.index]);
        let named = trust.index(index.as_bytes(), "stable.json")?;
        let release = release.signed(&[&self.release]);
        trust.release(release.as_bytes(), Some(&named), None, &resolve)
    }
}

fn release(version: &str) -> Document {
    Document::release(version, &format!("{version}.zip"), PACKAGE)
}

#[expect(clippy::unnecessary_wraps, reason = "that of a source can fail")]
fn resolve(link: &str) -> Result<String> {
    Ok(format!("https://a.example/{link}"))
}

fn code<T>(result: Result<T>) -> Code {
    result.err().expect("an error").code()
}

#[test]
fn a_package_is_what_was_announced_or_it_is_not_verified() {
    let fetched = |bytes: &[u8]| Fetched {
        file: tempfile::tempfile().unwrap(),
        path: std::path::PathBuf::new(),
        sha256: Sha256::of(bytes),
        size: bytes.len() as u64,
    };
    let mut package = Package {
        url: "https://a.example/a.zip".to_owned(),
        mirrors: Vec::new(),
        sha256: Some(Sha256::of(PACKAGE)),
        size: Some(PACKAGE.len() as u64),
        files: None,
        md5: None,
        wrapped: false,
        by_file: false,
    };
    assert!(verify(fetched(PACKAGE), &package).is_ok());
    let longer = [PACKAGE, b"more"].concat();
    for (bytes, expected) in [
        (&b"a Package"[..], Code::HashMismatch),
        (&longer, Code::SizeMismatch),
    ] {
        assert_eq!(code(verify(fetched(bytes), &package)), expected);
    }
    package.size = None;
    assert_eq!(code(verify(fetched(&longer), &package)), Code::HashMismatch);
}

#[test]
fn a_release_that_the_index_names_passes() {
    let world = World::new();
    let mut trust = world.settled();
    let passed = world
        .offer(&mut trust, &world.index_of(1, "1.1.0"), &release("1.1.0"))
        .unwrap();
    assert_eq!(passed.level(), Level::Index);
    assert_eq!(passed.version.as_str(), "1.1.0");
    assert_eq!(passed.package.url, "https://a.example/1.1.0.zip");
    assert_eq!(passed.package.id(), Sha256::of(PACKAGE));
    assert_eq!(passed.package.size, Some(PACKAGE.len() as u64));
    // Again: the same index, and the release that is known.
    let index = world.index_of(1, "1.1.0").signed(&[&world.index]);
    let named = trust.index(index.as_bytes(), "x").unwrap();
    let known = trust.known_release().unwrap();
    assert!(trust.release(&known, Some(&named), None, &resolve).is_ok());
    // What another index names is not known.
    let next = world.index_of(2, "1.2.0").signed(&[&world.index]);
    trust.index(next.as_bytes(), "x").unwrap();
    assert!(trust.known_release().is_none());
}

#[test]
fn the_pinned_keys_speak_for_every_role_until_others_are_named() {
    let world = World::new();
    let mut trust = world.trust();
    let index = world.index_of(1, "1.1.0").signed(&[&world.root]);
    let named = trust.index(index.as_bytes(), "x").unwrap();
    let signed = release("1.1.0").signed(&[&world.root]);
    assert!(
        trust
            .release(signed.as_bytes(), Some(&named), None, &resolve)
            .is_ok()
    );
    trust
        .follow(world.keys(1).signed(&[&world.root]).as_bytes())
        .unwrap();
    assert_eq!(
        code(trust.index(index.as_bytes(), "x")),
        Code::TrustSignature
    );
}

#[test]
fn what_is_not_signed_is_refused_where_keys_are_pinned() {
    let mut world = World::new();
    let plain = || {
        let mut trust = World::new().settled();
        let passed = {
            let world = World::new();
            let mut trust = world.settled();
            world
                .offer(&mut trust, &world.index_of(1, "1.1.0"), &release("1.1.0"))
                .unwrap()
        };
        let release = Release {
            document: None,
            ..passed.release().clone()
        };
        (
            code(trust.unsigned(release.clone())),
            code(trust.recall(release.clone())),
            {
                let anchor = Anchor {
                    app: "",
                    channel: "stable",
                    indexed: false,
                    pinned: None,
                };
                trust = Trust::new(&anchor, Utc::now());
                trust.unsigned(release).unwrap().level()
            },
        )
    };
    let (direct, recalled, level) = plain();
    assert_eq!(
        (direct, recalled),
        (Code::TrustUnsigned, Code::TrustUnsigned)
    );
    assert_eq!(level, Level::Digest);
    // Where the source has an index, a signed release alone is not enough.
    let signed = release("1.1.0").signed(&[&world.release]);
    let alone = |world: &World| {
        let mut trust = world.settled();
        trust
            .release(signed.as_bytes(), None, None, &resolve)
            .map(|it| it.level())
    };
    assert_eq!(code(alone(&world)), Code::TrustUnsigned);
    world.indexed = false;
    assert_eq!(alone(&world).unwrap(), Level::Release);
}

#[test]
fn keys_are_followed_one_by_one_and_by_both() {
    let world = World::new();
    let next = Signer::new();
    let one = |signer: &Signer| role(&[signer], 1);
    let second = Document::keys(2, &one(&next), &one(&world.release), &one(&world.index));
    let mut trust = world.settled();
    for signers in [
        vec![],
        vec![&next],
        vec![&world.root],
        vec![&world.release, &next],
    ] {
        let refused = trust.follow(second.signed(&signers).as_bytes());
        let expected = if signers.is_empty() {
            Code::TrustUnsigned
        } else {
            Code::TrustSignature
        };
        assert_eq!(code(refused), expected);
    }
    let both = [&world.root, &next];
    for number in [0, 1, 3, u64::MAX] {
        let other = second.clone().with("version", json!(number));
        assert_eq!(
            code(trust.follow(other.signed(&both).as_bytes())),
            Code::TrustMismatch
        );
    }
    // What was refused is not held against what is right.
    trust.follow(second.signed(&both).as_bytes()).unwrap();
    assert_eq!(trust.next_keys(), Some(3));
    let third = Document::keys(3, &one(&world.root), &one(&next), &one(&next));
    let old = third.signed(&[&world.root]);
    assert_eq!(code(trust.follow(old.as_bytes())), Code::TrustSignature);
}

#[test]
fn thresholds_count_distinct_keys() {
    let mut world = World::new();
    let (a, b) = (Signer::new(), Signer::new());
    world.pinned = pin(&[&world.root, &a, &b], 2);
    let mut trust = world.trust();
    let root = role(&[&world.root, &a, &b], 2);
    let keys = world.keys(1).with("roles/root", root);
    for signers in [vec![&a], vec![&a, &a], vec![&a, &a.alias()]] {
        assert_eq!(
            code(trust.follow(keys.signed(&signers).as_bytes())),
            Code::TrustSignature
        );
    }
    trust.follow(keys.signed(&[&a, &b]).as_bytes()).unwrap();
}

#[test]
fn a_key_set_that_cannot_work_is_refused() {
    let world = World::new();
    let mut trust = world.trust();
    let twice = role(&[&world.root, &world.root.alias()], 2);
    for (path, value) in [
        ("roles/index", Value::Null),
        ("roles/index", json!({"threshold": 1, "keys": []})),
        (
            "roles/index",
            json!({"threshold": 0, "keys": [world.index.public()]}),
        ),
        (
            "roles/index",
            json!({"threshold": 2, "keys": [world.index.public()]}),
        ),
        ("roles/index", json!({"threshold": 1, "keys": ["no key"]})),
        ("roles/root", twice),
        ("expires", Value::Null),
        ("expires", json!("tomorrow")),
        ("version", json!("1")),
        ("spec", json!(2)),
        ("spec", Value::Null),
        ("type", json!("index")),
        ("type", Value::Null),
        ("min_version", json!("none")),
    ] {
        let keys = world.keys(1).with(path, value.clone());
        let refused = trust.follow(keys.signed(&[&world.root]).as_bytes());
        assert_eq!(code(refused), Code::TrustInvalid, "{path} {value}");
    }
    for (path, value) in [("app", json!("another")), ("app", Value::Null)] {
        let keys = world.keys(1).with(path, value);
        assert_eq!(
            code(trust.follow(keys.signed(&[&world.root]).as_bytes())),
            Code::TrustMismatch
        );
    }
}

#[test]
fn no_more_than_some_steps_are_taken_at_once() {
    let world = World::new();
    let mut trust = world.trust();
    let mut steps = 0;
    while let Some(number) = trust.next_keys() {
        trust
            .follow(world.keys(number).signed(&[&world.root]).as_bytes())
            .unwrap();
        steps += 1;
    }
    assert_eq!(steps, MOST_STEPS);
}

#[test]
fn expired_keys_stop_updates() {
    let world = World::new();
    for (expires, fine) in [
        (world.now - DAY, false),
        (world.now, false),
        (world.now + DAY, true),
    ] {
        let mut trust = world.trust();
        let keys = world.keys(1).with("expires", json!(expires.to_rfc3339()));
        trust
            .follow(keys.signed(&[&world.root]).as_bytes())
            .unwrap();
        let offer = world.offer(&mut trust, &world.index_of(1, "1.0"), &release("1.0"));
        assert_eq!(offer.is_ok(), fine, "{expires}");
        if !fine {
            assert_eq!(code(offer), Code::TrustExpired);
        }
        // Nor is anything learnt of those whom nobody vouches for any more.
        assert_eq!(trust.last_index().is_some(), fine, "{expires}");
    }
}

#[test]
fn an_index_never_goes_back_and_one_number_is_one_content() {
    let world = World::new();
    let mut trust = world.settled();
    world
        .offer(&mut trust, &world.index_of(5, "1.1.0"), &release("1.1.0"))
        .unwrap();
    for (seq, version) in [(4, "1.1.0"), (5, "1.2.0"), (0, "1.1.0")] {
        let refused = world.offer(&mut trust, &world.index_of(seq, version), &release(version));
        assert_eq!(code(refused), Code::TrustRolledBack, "{seq}");
    }
    world
        .offer(&mut trust, &world.index_of(5, "1.1.0"), &release("1.1.0"))
        .unwrap();
    // A publisher withdraws by a higher number and an older version.
    world
        .offer(&mut trust, &world.index_of(6, "1.0.0"), &release("1.0.0"))
        .unwrap();
}

#[test]
fn an_index_holds_until_it_expires_by_the_latest_of_the_clocks() {
    let mut world = World::new();
    let index = world
        .index_of(1, "1.1.0")
        .with("expires", json!((world.now + DAY).to_rfc3339()));
    let offer = |world: &World, index: &Document| {
        world.offer(&mut world.settled(), index, &release("1.1.0"))
    };
    assert!(offer(&world, &index).is_ok());
    world.now += DAY;
    assert_eq!(code(offer(&world, &index)), Code::TrustExpired);
    // 2099: nothing holds; 1970: this build's time is the clock.
    world.now = DateTime::from_timestamp(4_070_908_800, 0).unwrap();
    assert_eq!(code(offer(&world, &index)), Code::TrustExpired);
    world.now = DateTime::from_timestamp(0, 0).unwrap();
    let old = index
        .clone()
        .with("issued", json!("2000-01-01T00:00:00Z"))
        .with("expires", json!("2001-01-01T00:00:00Z"));
    assert_eq!(code(offer(&world, &old)), Code::TrustExpired);
    assert_eq!(code(offer(&world, &index)), Code::TrustFromFuture);
}

#[test]
fn the_last_signature_that_was_seen_is_a_clock_too() {
    let mut world = World::new();
    let mut trust = world.settled();
    world
        .offer(&mut trust, &world.index_of(1, "1.0"), &release("1.0"))
        .unwrap();
    // The machine's clock goes back by a month, and an index of a month ago is offered.
    let index = world
        .index_of(2, "1.1.0")
        .with("issued", json!((world.now - DAY * 30).to_rfc3339()))
        .with("expires", json!((world.now - DAY * 10).to_rfc3339()));
    world.now -= DAY * 30;
    trust.now = world.now;
    assert_eq!(
        code(world.offer(&mut trust, &index, &release("1.1.0"))),
        Code::TrustExpired
    );
}

#[test]
fn an_index_from_the_future_is_refused() {
    let world = World::new();
    let issued = |by: TimeDelta| {
        let index = world
            .index_of(1, "1.0")
            .with("issued", json!((world.now + by).to_rfc3339()));
        world.offer(&mut world.settled(), &index, &release("1.0"))
    };
    assert!(issued(TimeDelta::hours(23)).is_ok());
    assert_eq!(code(issued(TimeDelta::hours(25))), Code::TrustFromFuture);
}

#[test]
fn an_index_for_others_is_refused() {
    let world = World::new();
    let mut trust = world.settled();
    for (path, value, expected) in [
        ("app", json!("another"), Code::TrustMismatch),
        ("channel", json!("beta"), Code::TrustMismatch),
        ("type", json!("release"), Code::TrustInvalid),
        ("spec", json!(2), Code::TrustInvalid),
        ("seq", json!(-1), Code::TrustInvalid),
        ("seq", json!("1"), Code::TrustInvalid),
        ("seq", json!(1.5), Code::TrustInvalid),
        ("current", Value::Null, Code::TrustInvalid),
        ("current/sha256", json!("00"), Code::TrustInvalid),
        ("current/version", json!(""), Code::TrustInvalid),
        ("revoked", json!([1]), Code::TrustInvalid),
        ("issued", json!(1), Code::TrustInvalid),
    ] {
        let index = world.index_of(1, "1.0").with(path, value.clone());
        let refused = world.offer(&mut trust, &index, &release("1.0"));
        assert_eq!(code(refused), expected, "{path} {value}");
    }
    // 2^64, which no whole number of 64 bits is.
    let text = String::from_utf8(world.index_of(1, "1.0").bytes()).unwrap();
    let text = text.replace("\"seq\":1", "\"seq\":18446744073709551616");
    let index = castoff_testkit::sign::envelope(text.as_bytes(), &[&world.index]);
    assert_eq!(code(trust.index(index.as_bytes(), "x")), Code::TrustInvalid);
    // None of it was remembered.
    world
        .offer(&mut trust, &world.index_of(0, "1.0"), &release("1.0"))
        .unwrap();
}

#[test]
fn a_release_is_the_one_that_the_index_names() {
    let world = World::new();
    let index = world.index_of(1, "1.1.0");
    let offer = |release: &Document| world.offer(&mut world.settled(), &index, release);
    assert!(offer(&release("1.1.0")).is_ok());
    // Signed all of them, and old or of another version.
    assert_eq!(code(offer(&release("1.0.0"))), Code::TrustMismatch);
    let changed = release("1.1.0").with("notes", json!("other"));
    assert_eq!(code(offer(&changed)), Code::TrustMismatch);
    let other = Document::index(1, "9.9.9", &release("1.1.0"));
    let refused = world.offer(&mut world.settled(), &other, &release("1.1.0"));
    assert_eq!(code(refused), Code::TrustMismatch);
}

#[test]
fn each_role_signs_its_own_documents_only() {
    let world = World::new();
    let mut trust = world.settled();
    let index = world.index_of(1, "1.0");
    for signer in [&world.root, &world.release] {
        let refused = trust.index(index.signed(&[signer]).as_bytes(), "x");
        assert_eq!(code(refused), Code::TrustSignature);
    }
    let named = trust
        .index(index.signed(&[&world.index]).as_bytes(), "x")
        .unwrap();
    for signer in [&world.root, &world.index] {
        let signed = release("1.0").signed(&[signer]);
        let refused = trust.release(signed.as_bytes(), Some(&named), None, &resolve);
        assert_eq!(code(refused), Code::TrustSignature);
    }
    for signer in [&world.release, &world.index] {
        let keys = world.keys(2).signed(&[signer]);
        assert_eq!(code(trust.follow(keys.as_bytes())), Code::TrustSignature);
    }
}

#[test]
fn a_release_has_something_for_this_machine() {
    let world = World::new();
    let offer = |release: &Document| {
        let index = Document::index(1, "1.0", release);
        world.offer(&mut world.settled(), &index, release)
    };
    let package = json!({"size": 1, "sha256": Sha256::of(b"x").to_string(), "urls": ["a.zip"]});
    let only = |target: &str| release("1.0").with("packages", json!({target: package}));
    assert!(offer(&only(&target())).is_ok());
    assert_eq!(code(offer(&only("plan9-mips"))), Code::TargetUnavailable);
    let both = only("any").with(&format!("packages/{}", target()), json!({
        "size": 2, "sha256": Sha256::of(b"xx").to_string(), "urls": ["own.zip", "own.zip", "mirror.zip"],
        "entry_point": "bin/app",
    }));
    let own = offer(&both).unwrap();
    assert_eq!(own.package.size, Some(2));
    assert_eq!(own.entry_point.as_deref(), Some("bin/app"));
    assert_eq!(own.package.url, "https://a.example/own.zip");
    assert_eq!(own.package.mirrors, ["https://a.example/mirror.zip"]);
    let new = only("any").with("packages/any/system", json!("99.0"));
    assert_eq!(code(offer(&new)), Code::TargetUnavailable);
    assert!(offer(&only("any").with("packages/any/system", json!("1.0"))).is_ok());
    for (field, value) in [
        ("size", Value::Null),
        ("size", json!("1")),
        ("sha256", json!("x")),
        ("urls", json!("a.zip")),
        ("urls", Value::Null),
        ("entry_point", json!("../../bin/sh")),
        ("files", json!("x")),
        ("system", json!(10)),
    ] {
        let wrong = only("any").with(&format!("packages/any/{field}"), value.clone());
        assert_eq!(code(offer(&wrong)), Code::TrustInvalid, "{field} {value}");
    }
    for (field, value) in [
        ("packages", Value::Null),
        ("packages", json!([])),
        ("version", json!(1)),
    ] {
        let wrong = release("1.0").with(field, value.clone());
        assert_eq!(code(offer(&wrong)), Code::TrustInvalid, "{field} {value}");
    }
}

#[test]
fn another_machine_is_played_without_knowing_its_system() {
    let world = World::new();
    let package = json!({
        "size": 1, "sha256": Sha256::of(b"x").to_string(), "urls": ["a.zip"], "system": "99.0",
    });
    let release = release("1.0").with("packages", json!({"plan9-mips": package}));
    let index = Document::index(1, "1.0", &release);
    let mut there = world.settled().for_target("plan9-mips");
    assert!(world.offer(&mut there, &index, &release).is_ok());
    let refused = world.offer(&mut world.settled(), &index, &release);
    assert_eq!(code(refused), Code::TargetUnavailable);
}

#[test]
fn the_announced_launcher_is_signed_with_the_release() {
    let world = World::new();
    let launcher = json!({"size": 3, "sha256": Sha256::of(b"new").to_string(), "urls": ["MyApp"]});
    let release = release("1.0").with("launchers", json!({target(): launcher}));
    let index = Document::index(1, "1.0", &release);
    let mut passed = world.offer(&mut world.settled(), &index, &release).unwrap();
    let launcher = passed.take_launcher().unwrap();
    assert_eq!(launcher.url, "https://a.example/MyApp");
    assert_eq!(launcher.id(), Sha256::of(b"new"));
    // Not with one that has waited, which the launcher of today may be newer than.
    let mut trust = world.settled();
    let waits = world.offer(&mut trust, &index, &release).unwrap();
    let mut recalled = trust.recall(waits.release().clone()).unwrap();
    assert!(recalled.take_launcher().is_none());
}

#[test]
fn the_least_version_is_the_roots_to_say() {
    let world = World::new();
    let mut trust = world.trust();
    let keys = world.keys(1).with("min_version", json!("1.1.0"));
    trust
        .follow(keys.signed(&[&world.root]).as_bytes())
        .unwrap();
    let refused = world.offer(&mut trust, &world.index_of(1, "1.0.9"), &release("1.0.9"));
    assert_eq!(code(refused), Code::TrustWithdrawn);
    world
        .offer(&mut trust, &world.index_of(2, "1.1.0"), &release("1.1.0"))
        .unwrap();
}

#[test]
fn a_release_says_below_what_it_is_critical() {
    let world = World::new();
    let release = release("1.2.0").with("critical_below", json!("1.1.0"));
    let index = Document::index(1, "1.2.0", &release);
    let passed = world.offer(&mut world.settled(), &index, &release).unwrap();
    let critical = |installed: &str| passed.is_critical_for(Some(&installed.parse().unwrap()));
    assert!(critical("1.0.9") && !critical("1.1.0") && !passed.is_critical_for(None));
}

#[test]
fn new_index_keys_begin_a_new_epoch() {
    let mut world = World::new();
    let mut trust = world.settled();
    // A thief has the index key, and signs the largest number there is.
    let far = world.index_of(u64::MAX, "1.0").with(
        "issued",
        json!((world.now + TimeDelta::hours(20)).to_rfc3339()),
    );
    world.offer(&mut trust, &far, &release("1.0")).unwrap();
    let refused = world.offer(&mut trust, &world.index_of(7, "1.1"), &release("1.1"));
    assert_eq!(code(refused), Code::TrustRolledBack);
    // Other keys, but not for the index: nothing is forgotten.
    let release_key = role(&[&world.release, &world.root], 1);
    let second = world.keys(2).with("roles/release", release_key);
    trust
        .follow(second.signed(&[&world.root]).as_bytes())
        .unwrap();
    assert_eq!(trust.last_index().unwrap().seq, u64::MAX);
    world.index = Signer::new();
    trust
        .follow(world.keys(3).signed(&[&world.root]).as_bytes())
        .unwrap();
    assert!(trust.last_index().is_none() && trust.known_release().is_none());
    world
        .offer(&mut trust, &world.index_of(7, "1.1"), &release("1.1"))
        .unwrap();
}

#[test]
fn what_was_learnt_is_read_again_and_verified_again() {
    let world = World::new();
    let temporary = tempfile::tempdir().unwrap();
    let folder = ClientFolder::new(temporary.path(), "local_version.json");
    let file = temporary.path().join(".castoff/trust.json");
    let mut trust = Trust::load(&world.anchor(), &folder, world.now).unwrap();
    trust.keep(&world.anchor(), &folder).unwrap();
    assert!(!file.exists(), "nothing was learnt");
    trust
        .follow(world.keys(1).signed(&[&world.root]).as_bytes())
        .unwrap();
    world
        .offer(&mut trust, &world.index_of(5, "1.1.0"), &release("1.1.0"))
        .unwrap();
    trust.keep(&world.anchor(), &folder).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();

    let load = |world: &World| Trust::load(&world.anchor(), &folder, world.now).unwrap();
    let mut again = load(&world);
    assert_eq!(again.last_index().unwrap().seq, 5);
    assert!(again.known_release().is_some());
    let refused = world.offer(&mut again, &world.index_of(4, "1.1.0"), &release("1.1.0"));
    assert_eq!(code(refused), Code::TrustRolledBack);

    // Other keys are pinned: nothing of it counts.
    assert!(load(&World::new()).last_index().is_none());
    // Somebody has written what nobody has signed.
    let forged = world.index_of(9, "1.1.0").signed(&[&Signer::new()]);
    let with = |place: &str, document: &str| {
        let mut value: Value = serde_json::from_str(&text).unwrap();
        *value.pointer_mut(place).unwrap() = json!(document);
        value.to_string()
    };
    let keys = world.keys(1).signed(&[&Signer::new()]);
    let forgeries = [with("/indexes/stable", &forged), with("/keys/0", &keys)];
    for damaged in forgeries.into_iter().chain(["{".into(), "[]".into()]) {
        std::fs::write(&file, damaged).unwrap();
        let mut again = load(&world);
        assert!(again.last_index().is_none());
        assert_eq!(again.next_keys(), Some(1));
        again
            .follow(world.keys(1).signed(&[&world.root]).as_bytes())
            .unwrap();
    }
}

#[test]
fn two_launchers_that_learn_at_once_lose_nothing() {
    let world = World::new();
    let temporary = tempfile::tempdir().unwrap();
    let folder = ClientFolder::new(temporary.path(), "local_version.json");
    let load = || Trust::load(&world.anchor(), &folder, world.now).unwrap();
    let (mut one, mut other) = (load(), load());
    for (trust, seq) in [(&mut one, 6), (&mut other, 5)] {
        trust
            .follow(world.keys(1).signed(&[&world.root]).as_bytes())
            .unwrap();
        world
            .offer(trust, &world.index_of(seq, "1.0"), &release("1.0"))
            .unwrap();
    }
    one.keep(&world.anchor(), &folder).unwrap();
    // What it was told is older than what is known by now.
    let refused = other.keep(&world.anchor(), &folder);
    assert_eq!(code(refused), Code::TrustRolledBack);
    assert_eq!(other.last_index().unwrap().seq, 6);
    assert_eq!(load().last_index().unwrap().seq, 6);
}

#[test]
fn a_version_that_the_index_has_revoked_is_not_installed_and_the_index_remembered() {
    let world = World::new();
    let mut trust = world.settled();
    let waits = world
        .offer(&mut trust, &world.index_of(1, "1.0"), &release("1.0"))
        .unwrap();
    let waits = waits.release().clone();
    // By another spelling of it.
    let revoked = json!(["0.9", "v1.0.0"]);
    let index = world.index_of(2, "1.0").with("revoked", revoked);
    let refused = world.offer(&mut trust, &index, &release("1.0"));
    assert_eq!(code(refused), Code::TrustWithdrawn);
    assert_eq!(code(trust.recall(waits)), Code::TrustWithdrawn);
    let refused = world.offer(&mut trust, &world.index_of(1, "1.0"), &release("1.0"));
    assert_eq!(code(refused), Code::TrustRolledBack);
    let others = world.index_of(3, "1.1").with("revoked", json!(["1.0"]));
    world.offer(&mut trust, &others, &release("1.1")).unwrap();
}

#[test]
fn what_was_learnt_elsewhere_is_learnt_if_it_is_more() {
    let mut world = World::new();
    let settled = |seq: u64, world: &World| {
        let mut trust = world.settled();
        let index = world
            .index_of(seq, "1.0")
            .with("expires", json!((world.now + DAY).to_rfc3339()));
        world.offer(&mut trust, &index, &release("1.0")).unwrap();
        trust
    };
    let (base, mut copy) = (settled(5, &world), settled(4, &world));
    // That it has expired by now makes no difference.
    world.now += DAY * 2;
    copy.now = world.now;
    copy.learn_from(&base);
    assert_eq!(copy.last_index().unwrap().seq, 5);
    assert_eq!(copy.next_keys(), Some(2));
    copy.learn_from(&settled(3, &world));
    assert_eq!(copy.last_index().unwrap().seq, 5);
    let mut fresh = world.trust();
    fresh.learn_from(&copy);
    assert_eq!(fresh.last_index().unwrap().seq, 5);
    assert!(fresh.known_release().is_some());
    // Of another publisher's, nothing is.
    let mut other = World::new().trust();
    other.learn_from(&copy);
    assert!(other.last_index().is_none() && other.next_keys() == Some(1));
}

#[test]
fn a_release_that_has_waited_is_judged_by_what_is_known_now() {
    let mut world = World::new();
    let mut trust = world.settled();
    let short = world
        .index_of(1, "1.1.0")
        .with("expires", json!((world.now + DAY).to_rfc3339()));
    let waits = world
        .offer(&mut trust, &short, &release("1.1.0"))
        .unwrap()
        .release()
        .clone();
    assert_eq!(trust.recall(waits.clone()).unwrap().level(), Level::Index);
    let mut other = waits.clone();
    other.package.sha256 = Some(Sha256::of(b"another"));
    assert_eq!(code(trust.recall(other)), Code::TrustUnsigned);
    let mut named = waits.clone();
    named.version = "9.0".parse().unwrap();
    named.entry_point = Some("evil".to_owned());
    let recalled = trust.recall(named).unwrap();
    assert_eq!(
        (recalled.version.as_str(), &recalled.entry_point),
        ("1.1.0", &None)
    );
    let forged = Release {
        document: Some(release("1.1.0").signed(&[&Signer::new()])),
        ..waits.clone()
    };
    assert_eq!(code(trust.recall(forged)), Code::TrustSignature);
    // Nobody says that it is current.
    assert_eq!(
        code(world.settled().recall(waits.clone())),
        Code::TrustUnsigned
    );
    // The index that named it has expired, or names another by now.
    trust.now += DAY * 2;
    assert_eq!(code(trust.recall(waits.clone())), Code::TrustExpired);
    world.now = trust.now;
    world
        .offer(&mut trust, &world.index_of(2, "1.2.0"), &release("1.2.0"))
        .unwrap();
    assert_eq!(code(trust.recall(waits)), Code::TrustMismatch);
}

#[test]
fn later_keys_can_be_pinned_where_the_first_are_lost() {
    let mut world = World::new();
    let stolen = std::mem::replace(&mut world.root, Signer::new());
    // keys.2 was signed by the key that is stolen now, and by the one that is pinned now.
    let second = world.keys(2).signed(&[&stolen, &world.root]);
    world.pinned = TrustConfig {
        first: 2,
        ..pin(&[&world.root], 1)
    };
    let mut trust = world.trust();
    assert_eq!(trust.next_keys(), Some(2));
    let forged = world
        .keys(2)
        .with("notes", json!("forged"))
        .signed(&[&stolen]);
    assert_eq!(code(trust.follow(forged.as_bytes())), Code::TrustSignature);
    trust.follow(second.as_bytes()).unwrap();
    world
        .offer(&mut trust, &world.index_of(1, "1.0"), &release("1.0"))
        .unwrap();
}
