//! Attacks on signed releases, by servers and by thieves of keys, through the real launcher.
//!
//! First the attacks that the specification of The Update Framework lists, then those that updaters
//! have met. What must be refused is told by its code, leaves the installed version byte for byte
//! as it was, and the app starts. `docs/security.md` says what each test stands for.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use castoff::release::target;
#[cfg(not(windows))]
use castoff_testkit::http::Tls;
use castoff_testkit::http::{Reply, Server};
use castoff_testkit::package::{Built, sha256};
use castoff_testkit::sign::{Document, Signer, envelope, role};
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::selfupdate::{another, assert_launcher, assert_unchanged, give_own_launcher};
use crate::siege::Besieged;
use crate::world::{CHECK, ENTRY, Run, World, app};

/// Where the documents and packages are.
const SITE: &str = "/releases/";

/// The index of the channel that is followed.
const INDEX: &str = "stable.json";

/// The number of the index that named 1.0.0.
const FIRST: u64 = 5;

/// Who signs: a key for each role.
struct Publisher {
    root: Signer,
    release: Signer,
    index: Signer,
}

impl Publisher {
    fn new() -> Self {
        Self {
            root: Signer::new(),
            release: Signer::new(),
            index: Signer::new(),
        }
    }

    /// The keys document that gives each role its key.
    fn keys(&self, number: u64) -> Document {
        let one = |signer: &Signer| role(&[signer], 1);
        let (root, release, index) = (one(&self.root), one(&self.release), one(&self.index));
        Document::keys(number, &root, &release, &index)
    }
}

/// A release document for an app of the tests.
fn release_of(version: &str, built: &Built) -> Document {
    Document::release(version, &format!("{version}.zip"), &built.bytes)
        .with("packages/any/entry_point", json!(ENTRY))
}

/// Bytes of the same length that are others.
fn spoilt(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

fn after(hours: i64) -> Value {
    json!((Utc::now() + TimeDelta::hours(hours)).to_rfc3339())
}

/// How a source is asked.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Index,
    Check,
}

/// A launcher that pins the publisher's root key and has 1.0.0, and a server that is the attacker's.
struct Siege {
    besieged: Besieged,
    publisher: Publisher,
}

impl Siege {
    /// Of a source with an index.
    fn new() -> Self {
        Self::of(Kind::Index, Publisher::new(), "")
    }

    /// Of a source whose check answers carry signed releases, and no index.
    fn check() -> Self {
        Self::of(Kind::Check, Publisher::new(), "")
    }

    fn of(kind: Kind, publisher: Publisher, more: &str) -> Self {
        let pinned = format!("[trust]\nkeys = [\"{}\"]", publisher.root.public());
        let keys = publisher.keys(1).signed(&[&publisher.root]);
        Self::settle(kind, publisher, &format!("{more}\n{pinned}"), &keys)
    }

    /// With these keys pinned, and this first keys document.
    fn settle(kind: Kind, publisher: Publisher, config: &str, keys: &str) -> Self {
        let server = Server::start();
        let besieged = Besieged::new(|parent| {
            let world = World::inside(parent, server, "");
            let url = world.server.url(SITE);
            if kind == Kind::Index {
                world.configure_source(&format!("kind = \"index\"\nurl = \"{url}\""), config);
            } else {
                world.configure(config);
            }
            serve(&world, "keys.1.json", keys);
            let built = package(&world, "1.0.0");
            let release = release_of("1.0.0", &built);
            if kind == Kind::Index {
                name(&world, &publisher, FIRST, "1.0.0", &release);
            } else {
                let signed = release.signed(&[&publisher.release]);
                answer(&world, "1.0.0", Some(&signed), &[keys]);
            }
            for _ in 0..2 {
                world.run(&[]).assert_app("1.0.0");
            }
            world
        });
        Self {
            besieged,
            publisher,
        }
    }

    fn world(&self) -> &World {
        &self.besieged.world
    }

    /// Puts a document on the server.
    fn serve(&self, name: &str, text: &str) {
        serve(self.world(), name, text);
    }

    /// Lets the server answer otherwise.
    fn reply(&self, name: &str, reply: Reply) {
        reply_with(self.world(), name, reply);
    }

    /// Puts a package of that version on the server.
    fn package(&self, version: &str) -> Built {
        package(self.world(), version)
    }

    /// Publishes as the publisher would: package, release, index.
    fn publish(&self, seq: u64, version: &str) -> Document {
        let release = release_of(version, &self.package(version));
        name(self.world(), &self.publisher, seq, version, &release);
        release
    }

    /// Publishes a signed release in a check answer.
    fn announce(&self, version: &str) -> Document {
        let release = release_of(version, &self.package(version));
        let signed = release.signed(&[&self.publisher.release]);
        answer(self.world(), version, Some(&signed), &[]);
        release
    }

    /// Publishes the keys document of that number, signed by root.
    fn rotate(&self, number: u64, keys: &Document) {
        let signed = keys.signed(&[&self.publisher.root]);
        self.serve(&format!("keys.{number}.json"), &signed);
    }

    /// What is remembered of documents.
    fn memory(&self) -> String {
        self.world().read(".castoff/trust.json")
    }

    /// Everything that is wrong with a start at which this should be refused.
    fn faults(&self, name: &str, code: &str) -> Vec<String> {
        let before = self.memory();
        let mut faults = self.besieged.faults(&self.world().run(&[]), name, code);
        if self.memory() != before {
            faults.push(format!("{name}: learnt {}", self.memory()));
        }
        faults
    }

    /// Starts; what is offered is refused, and nothing of it remembered.
    #[track_caller]
    fn refused(&self, code: &str) {
        let faults = self.faults("", code);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    /// Starts; what is offered is refused, and the index or the keys that came with it are good and
    /// remembered.
    #[track_caller]
    fn refused_though(&self, code: &str) {
        self.refused_in(&self.world().run(&[]), code);
    }

    /// The same of a run that was made otherwise.
    #[track_caller]
    fn refused_in(&self, run: &Run, code: &str) {
        let faults = self.besieged.faults(run, "", code);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    /// Starts with these variables.
    fn run_with(&self, variables: &[(&str, &str)]) -> Run {
        let mut command = self.world().command(&[]);
        command.envs(variables.iter().copied());
        Run::of(&mut command)
    }

    /// Starts; nothing that was refused stands in the way of what the publisher offers.
    #[track_caller]
    fn follows(&self, version: &str) {
        self.world().run(&[]).assert_app(version);
        assert_eq!(self.world().version(), version);
    }

    /// How often a file was asked for.
    fn asked(&self, file: &str) -> usize {
        let path = format!("{SITE}{file}");
        let requests = self.world().server.requests();
        requests.iter().filter(|one| one.path() == path).count()
    }
}

fn reply_with(world: &World, name: &str, reply: Reply) {
    let path = format!("{SITE}{name}");
    world.server.replace(&path, reply);
}

fn serve(world: &World, name: &str, text: &str) {
    reply_with(world, name, Reply::json(text));
}

fn package(world: &World, version: &str) -> Built {
    let built = app(version).build();
    reply_with(world, &format!("{version}.zip"), Reply::file(&built.bytes));
    built
}

/// Puts a release on the server, and an index that names it.
fn name(world: &World, publisher: &Publisher, seq: u64, version: &str, release: &Document) {
    let file = format!("release-{version}.json");
    serve(world, &file, &release.signed(&[&publisher.release]));
    let index = Document::index(seq, version, release);
    serve(world, INDEX, &index.signed(&[&publisher.index]));
}

/// Puts a check answer on the server, with a signed release in it, and keys.
fn answer(world: &World, version: &str, release: Option<&str>, keys: &[&str]) -> Value {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let mut answer = json!({
        "version": version, "download_url": world.server.url(&format!("{SITE}{version}.zip")),
        "keys": keys.iter().map(|text| parse(text)).collect::<Value>(),
    });
    if let Some(release) = release {
        answer["release"] = parse(release);
    }
    world.announce(&answer);
    answer
}

// The attacks of The Update Framework's specification.

#[test]
fn arbitrary_software() {
    let siege = Siege::new();
    let stranger = Signer::new();
    let built = siege.package("1.1.0");
    let release = release_of("1.1.0", &built);
    let index = Document::index(FIRST + 1, "1.1.0", &release);
    let file = "release-1.1.0.json";

    // Signed by nobody whom root has named, nor by root itself.
    for signer in [&stranger, &siege.publisher.release, &siege.publisher.root] {
        siege.serve(INDEX, &index.signed(&[signer]));
        siege.refused("TRUST_SIGNATURE");
    }
    siege.serve(INDEX, &index.signed(&[&siege.publisher.index]));
    for signer in [&stranger, &siege.publisher.index, &siege.publisher.root] {
        siege.serve(file, &release.signed(&[signer]));
        siege.refused_though("TRUST_SIGNATURE");
    }
    // Other bytes than those that were signed: as many, more, fewer.
    siege.serve(file, &release.signed(&[&siege.publisher.release]));
    let zip = "1.1.0.zip";
    let longer = [&built.bytes[..], b"more"].concat();
    for (bytes, code) in [
        (&longer[..], "SIZE_MISMATCH"),
        (&built.bytes[..100], "SIZE_MISMATCH"),
        (&spoilt(&built.bytes), "HASH_MISMATCH"),
    ] {
        siege.reply(zip, Reply::file(bytes));
        siege.refused_though(code);
        let forgotten = siege.world().run(&["--castoff", "retry"]);
        assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    }
    siege.package("1.1.0");
    siege.follows("1.1.0");
}

#[test]
fn endless_data() {
    let siege = Siege::new();
    let built = app("1.1.0").build();
    let release = release_of("1.1.0", &built);
    // In large blocks: slow retrieval is another test.
    let block = format!("{{\"payload\": \"{}", "A".repeat(64 << 10));
    let endless = || Reply::json(&block).endless();
    for file in ["keys.2.json", INDEX] {
        siege.reply(file, endless());
        siege.refused("TOO_LARGE");
        siege.world().server.unroute(&format!("{SITE}{file}"));
    }
    // A document that does end, beyond its limit, and is signed.
    let index = Document::index(FIRST + 1, "1.1.0", &release);
    let large = index.clone().with("notes", json!("x".repeat(512 << 10)));
    siege.serve(INDEX, &large.signed(&[&siege.publisher.index]));
    siege.refused("TOO_LARGE");

    siege.serve(INDEX, &index.signed(&[&siege.publisher.index]));
    siege.reply("release-1.1.0.json", endless());
    siege.refused_though("TOO_LARGE");
    let signed = release.signed(&[&siege.publisher.release]);
    siege.serve("release-1.1.0.json", &signed);
    siege.reply("1.1.0.zip", Reply::file(&built.bytes).endless());
    siege.refused_though("SIZE_MISMATCH");

    let siege = Siege::check();
    siege.world().server.unroute(CHECK).route(CHECK, endless());
    siege.refused("TOO_LARGE");
}

#[test]
fn extraneous_dependencies() {
    // What the answer says beside the signed release is not for the launcher to take.
    let siege = Siege::check();
    let release = siege.announce("1.1.0");
    let signed = release.signed(&[&siege.publisher.release]);
    let mut answer = answer(siege.world(), "1.1.0", Some(&signed), &[]);
    let other = another();
    answer["launchers"] = json!({target(): {
        "url": "/evil", "size": other.len(), "sha256": sha256(&other),
    }});
    answer["entry_point"] = json!("stays.py");
    answer["changelog"] = json!("call this number");
    siege.world().announce(&answer);
    siege.world().server.route("/evil", Reply::file(&other));
    let run = siege.world().run(&[]);
    run.assert_app("1.1.0");
    assert!(!run.stderr.contains("this number"), "{run:?}");
    assert_unchanged(siege.world());
    let requests = siege.world().server.requests();
    assert!(requests.iter().all(|one| one.path() != "/evil"));

    // Nor what the package brings beside what its list, or the list beside what was signed.
    let siege = Siege::new();
    let built = siege.package("1.1.0");
    let release = release_of("1.1.0", &built).with("packages/any/files", json!(sha256(b"other")));
    name(
        siege.world(),
        &siege.publisher,
        FIRST + 1,
        "1.1.0",
        &release,
    );
    siege.refused_though("FILE_LIST_INVALID");
}

#[test]
fn fast_forward_and_the_recovery_by_new_index_keys() {
    let mut siege = Siege::new();
    // A thief of the index key cannot say that it is next year.
    let release = release_of("1.0.0", &app("1.0.0").build());
    let far = Document::index(u64::MAX, "1.0.0", &release);
    let next_year = far.clone().with("issued", after(24 * 365));
    siege.serve(INDEX, &next_year.signed(&[&siege.publisher.index]));
    siege.refused("TRUST_FROM_FUTURE");
    // That there is no larger number he can.
    siege.serve(INDEX, &far.signed(&[&siege.publisher.index]));
    siege.follows("1.0.0");
    siege.publish(FIRST + 1, "1.1.0");
    siege.refused("TRUST_ROLLED_BACK");
    // Other keys of other roles change nothing about that.
    siege.publisher.release = Signer::new();
    siege.rotate(2, &siege.publisher.keys(2));
    siege.publish(FIRST + 1, "1.1.0");
    siege.refused_though("TRUST_ROLLED_BACK");
    siege.publisher.index = Signer::new();
    siege.rotate(3, &siege.publisher.keys(3));
    siege.publish(FIRST + 1, "1.1.0");
    siege.follows("1.1.0");
    // The thief's index is none any more.
    siege.serve(INDEX, &far.signed(&[&Signer::new()]));
    let run = siege.world().run(&[]);
    run.assert_app("1.1.0").assert_told("TRUST_SIGNATURE");
}

#[test]
fn indefinite_freeze() {
    let siege = Siege::new();
    let release = release_of("1.1.0", &siege.package("1.1.0"));
    let index = |seq: u64, issued: Value, expires: Value| {
        let index = Document::index(seq, "1.1.0", &release).with("issued", issued);
        let index = index.with("expires", expires);
        siege.serve(INDEX, &index.signed(&[&siege.publisher.index]));
    };
    siege.serve(
        "release-1.1.0.json",
        &release.signed(&[&siege.publisher.release]),
    );
    // Of before this launcher was built: no clock of the machine can make it hold again.
    index(
        FIRST + 1,
        json!("2001-01-01T00:00:00Z"),
        json!("2001-02-01T00:00:00Z"),
    );
    siege.refused("TRUST_EXPIRED");
    index(FIRST + 1, after(-48), after(-24));
    siege.refused("TRUST_EXPIRED");

    // What was signed last is a clock too: a machine whose clock stands cannot be held by an index
    // that had expired by then.
    let first = release_of("1.0.0", &app("1.0.0").build());
    let ahead = Document::index(FIRST + 1, "1.0.0", &first).with("issued", after(20));
    siege.serve(INDEX, &ahead.signed(&[&siege.publisher.index]));
    siege.follows("1.0.0");
    index(FIRST + 2, after(-48), after(10));
    siege.refused("TRUST_EXPIRED");
    index(FIRST + 2, after(-48), after(30));
    siege.follows("1.1.0");
}

/// A release of 1.1.0 with these addresses for its package.
fn mirrored(siege: &Siege, urls: &[&str]) -> Built {
    let built = app("1.1.0").build();
    let release = release_of("1.1.0", &built).with("packages/any/urls", json!(urls));
    name(
        siege.world(),
        &siege.publisher,
        FIRST + 1,
        "1.1.0",
        &release,
    );
    built
}

#[test]
fn malicious_mirrors_before_a_good_one() {
    type Spoil = fn(&[u8]) -> Reply;
    let mirrors: [(&str, Spoil); 5] = [
        ("other.zip", |bytes| Reply::file(&spoilt(bytes))),
        ("longer.zip", |bytes| {
            Reply::file(&[bytes, b"more"].concat())
        }),
        ("gone.zip", |_| Reply::status(404)),
        ("page.zip", |_| Reply::html("<html>no</html>")),
        // What it has sent by then is gone on with, and found out.
        ("half.zip", |bytes| {
            Reply::file(&spoilt(bytes)).cut_after(bytes.len() / 2)
        }),
    ];
    for (mirror, spoil) in mirrors {
        let siege = Siege::new();
        let built = mirrored(&siege, &[mirror, "1.1.0.zip"]);
        siege.reply(mirror, spoil(&built.bytes));
        siege.package("1.1.0");
        siege.follows("1.1.0");
        assert!(siege.asked(mirror) > 0, "{mirror}");
        siege.world().assert_tidy();
    }
}

#[test]
fn malicious_mirrors_and_no_other() {
    let siege = Siege::new();
    let other = Server::start();
    let built = mirrored(&siege, &["a.zip", &other.url("/b.zip")]);
    siege.reply("a.zip", Reply::file(&spoilt(&built.bytes)));
    other.route("/b.zip", Reply::status(404));
    siege.refused_though("HASH_MISMATCH");
    assert_eq!((siege.asked("a.zip"), other.requests().len()), (1, 1));
}

#[test]
fn mix_and_match() {
    let siege = Siege::new();
    let old = release_of("1.1.0", &siege.package("1.1.0"));
    let new = release_of("1.2.0", &siege.package("1.2.0"));
    let publisher = &siege.publisher;
    let sign = |release: &Document| release.signed(&[&publisher.release]);
    name(siege.world(), publisher, FIRST + 1, "1.2.0", &new);
    // An older release under the new index, where the new one should be.
    siege.serve("release-1.2.0.json", &sign(&old));
    siege.refused_though("TRUST_MISMATCH");
    // The same version as it was signed another time.
    let other = new.clone().with("notes", json!("as of last week"));
    siege.serve("release-1.2.0.json", &sign(&other));
    siege.refused("TRUST_MISMATCH");
    // Who has the index key gives an old release the name of a new one.
    let named = Document::index(FIRST + 2, "9.0.0", &old);
    siege.serve(INDEX, &named.signed(&[&publisher.index]));
    siege.serve("release-9.0.0.json", &sign(&old));
    siege.refused_though("TRUST_MISMATCH");
    // The new release under the old index: nothing is news, and the new one is not asked for.
    let before = siege.asked("release-1.2.0.json");
    let siege = Siege::new();
    siege.serve("release-1.0.0.json", &sign(&new));
    siege.follows("1.0.0");
    assert_eq!((before > 0, siege.asked("release-1.2.0.json")), (true, 0));
}

#[test]
fn rollback() {
    let siege = Siege::new();
    for seq in [FIRST - 1, 0] {
        siege.publish(seq, "1.1.0");
        siege.refused("TRUST_ROLLED_BACK");
    }
    // One number is one content, for everybody.
    siege.publish(FIRST, "1.1.0");
    siege.refused("TRUST_ROLLED_BACK");
    siege.publish(FIRST + 2, "1.1.0");
    siege.follows("1.1.0");
    siege.publish(FIRST + 1, "1.0.0");
    let run = siege.world().run(&[]);
    run.assert_app("1.1.0").assert_told("TRUST_ROLLED_BACK");
    // A publisher leads back by a higher number.
    siege.publish(FIRST + 3, "1.0.0");
    siege.follows("1.0.0");
}

#[test]
fn rollback_by_a_signed_release_without_an_index() {
    let siege = Siege::check();
    siege.announce("0.9.0");
    siege.refused("DOWNGRADE_REFUSED");
    let forced = siege.world().run(&["--castoff", "update", "--force"]);
    forced.assert_told("DOWNGRADE_REFUSED");
    assert_ne!(forced.code, Some(0), "{forced:?}");
    assert_eq!(siege.asked("0.9.0.zip"), 0);
    siege.announce("1.1.0");
    siege.follows("1.1.0");
}

#[test]
fn rollback_of_the_launcher_by_a_signed_release_without_an_index() {
    let siege = Siege::check();
    let other = another();
    let launcher = json!({"size": other.len(), "sha256": sha256(&other), "urls": ["/MyApp"]});
    let built = siege.package("0.9.0");
    let old = release_of("0.9.0", &built).with("launchers", json!({target(): launcher}));
    let signed = old.signed(&[&siege.publisher.release]);
    answer(siege.world(), "0.9.0", Some(&signed), &[]);
    siege.world().server.route("/MyApp", Reply::file(&other));
    siege.refused("DOWNGRADE_REFUSED");
    let forced = siege.world().run(&["--castoff", "update", "--force"]);
    forced.assert_told("DOWNGRADE_REFUSED");
    assert_unchanged(siege.world());
    let requests = siege.world().server.requests();
    assert!(requests.iter().all(|one| one.path() != "/MyApp"));
}

/// A byte at a time, for longer than any test lasts.
fn trickling(reply: Reply) -> Reply {
    reply.trickle(1, Duration::from_millis(50))
}

/// Longer than the limits that the tests of slow servers set, on the slowest machine.
const IN_TIME: Duration = Duration::from_secs(15);

#[test]
fn slow_retrieval_of_documents() {
    let siege = Siege::new();
    let release = release_of("1.1.0", &siege.package("1.1.0"));
    let index = Document::index(FIRST + 1, "1.1.0", &release).signed(&[&siege.publisher.index]);
    let keys = siege.publisher.keys(2).signed(&[&siege.publisher.root]);
    for (file, text) in [("keys.2.json", &keys), (INDEX, &index)] {
        siege.reply(file, trickling(Reply::json(text)));
        let begun = Instant::now();
        let run = siege.run_with(&[("CASTOFF_NETWORK_CHECK_TIMEOUT", "0.5")]);
        siege.refused_in(&run, "SOURCE_UNREACHABLE");
        assert!(begun.elapsed() < IN_TIME, "{file}: {run:?}");
        siege.world().server.unroute(&format!("{SITE}{file}"));
    }
}

#[test]
fn slow_retrieval_of_a_package() {
    let siege = Siege::new();
    let built = mirrored(&siege, &["a.zip"]);
    siege.reply("a.zip", trickling(Reply::file(&built.bytes)));
    let begun = Instant::now();
    let limits = [
        ("CASTOFF_NETWORK_STALL_TIMEOUT", "0.5"),
        ("CASTOFF_NETWORK_RETRIES", "0"),
    ];
    let run = siege.run_with(&limits);
    run.assert_app("1.0.0").assert_told("DOWNLOAD_STALLED");
    assert!(begun.elapsed() < IN_TIME, "{run:?}");
    assert_eq!(siege.world().version(), "1.0.0");
    siege.reply("a.zip", Reply::file(&built.bytes));
    siege.follows("1.1.0");
}

#[test]
fn a_stolen_index_key_chooses_among_what_the_publisher_has_released() {
    let siege = Siege::new();
    let thief = Signer::new();
    let built = siege.package("6.6.6");
    // What nobody has released, he can name and not sign.
    let forged = release_of("6.6.6", &built);
    let index = Document::index(FIRST + 1, "6.6.6", &forged);
    siege.serve(INDEX, &index.signed(&[&siege.publisher.index]));
    for signer in [&thief, &siege.publisher.index] {
        siege.serve("release-6.6.6.json", &forged.signed(&[signer]));
        siege.refused_though("TRUST_SIGNATURE");
    }
    // An index that takes back what it names is none that a thief could use.
    let revoked = json!(["0.9.0"]);
    let index = Document::index(FIRST + 2, "0.9.0", &release_of("0.9.0", &built));
    let index = index.with("revoked", revoked);
    siege.serve(INDEX, &index.signed(&[&siege.publisher.index]));
    siege.refused_though("TRUST_WITHDRAWN");
    // What root has ruled out, he cannot bring back.
    let keys = siege.publisher.keys(2).with("min_version", json!("0.9.0"));
    siege.rotate(2, &keys);
    siege.publish(FIRST + 3, "0.8.0");
    siege.refused_though("TRUST_WITHDRAWN");
    // Between these, he leads back. That is all.
    siege.publish(FIRST + 4, "0.9.0");
    siege.follows("0.9.0");
}

#[test]
fn a_stolen_release_key_is_worth_nothing_after_the_next_keys() {
    let mut siege = Siege::check();
    let stolen = std::mem::replace(&mut siege.publisher.release, Signer::new());
    let keys = siege.publisher.keys(2).signed(&[&siege.publisher.root]);
    let forged = release_of("6.6.6", &siege.package("6.6.6")).signed(&[&stolen]);
    answer(siege.world(), "6.6.6", Some(&forged), &[&keys]);
    siege.refused_though("TRUST_SIGNATURE");
    // Also where the new keys are held back from now on.
    answer(siege.world(), "6.6.6", Some(&forged), &[]);
    siege.refused("TRUST_SIGNATURE");
    siege.announce("1.1.0");
    siege.follows("1.1.0");
}

#[test]
fn a_stolen_release_key_alone_offers_nothing_where_there_is_an_index() {
    let siege = Siege::new();
    let forged = release_of("6.6.6", &siege.package("6.6.6"));
    let signed = forged.signed(&[&siege.publisher.release]);
    // In place of the one that is named, and under an index of the thief's own.
    siege.publish(FIRST + 1, "1.1.0");
    siege.serve("release-1.1.0.json", &signed);
    siege.refused_though("TRUST_MISMATCH");
    siege.serve("release-6.6.6.json", &signed);
    let index = Document::index(FIRST + 2, "6.6.6", &forged);
    siege.serve(INDEX, &index.signed(&[&siege.publisher.release]));
    siege.refused("TRUST_SIGNATURE");
}

/// A launcher that pins three root keys, of which two have to sign.
fn two_of_three() -> (Siege, [Signer; 3]) {
    let publisher = Publisher::new();
    let roots = [publisher.root.clone(), Signer::new(), Signer::new()];
    let keys: Vec<String> = roots.iter().map(Signer::public).collect();
    let config = format!("[trust]\nkeys = {keys:?}\nthreshold = 2");
    let root = role(&roots.each_ref(), 2);
    let first = publisher.keys(1).with("roles/root", root);
    let first = first.signed(&[&roots[0], &roots[1]]);
    (
        Siege::settle(Kind::Index, publisher, &config, &first),
        roots,
    )
}

#[test]
fn stolen_root_keys_below_the_threshold_name_nobody() {
    let (siege, roots) = two_of_three();
    let thief = Publisher::new();
    let root = role(&roots.each_ref(), 2);
    let keys = thief.keys(2).with("roles/root", root);
    siege.serve("keys.2.json", &keys.signed(&[&roots[0]]));
    siege.refused("TRUST_SIGNATURE");
    // Whoever is named has signed as well, and those before have not.
    siege.serve(
        "keys.2.json",
        &thief.keys(2).signed(&[&thief.root, &roots[0]]),
    );
    siege.refused("TRUST_SIGNATURE");
    // Those before have, and those who are named have not.
    siege.serve(
        "keys.2.json",
        &thief.keys(2).signed(&[&roots[0], &roots[1]]),
    );
    siege.refused("TRUST_SIGNATURE");
    siege.serve("keys.2.json", &keys.signed(&[&roots[2], &roots[1]]));
    name(
        siege.world(),
        &thief,
        FIRST,
        "1.0.0",
        &release_of("1.0.0", &app("1.0.0").build()),
    );
    siege.follows("1.0.0");
}

#[test]
fn the_same_key_counted_twice_or_under_another_name() {
    let (siege, roots) = two_of_three();
    let [a, b, _] = &roots;
    let keys = siege
        .publisher
        .keys(2)
        .with("roles/root", role(&roots.each_ref(), 2));
    for signers in [[a, a], [a, &a.alias()], [&a.alias(), &a.alias()]] {
        siege.serve("keys.2.json", &keys.signed(&signers));
        siege.refused("TRUST_SIGNATURE");
    }
    // A role that names a key twice is none, whoever has signed it.
    for name in ["root", "release", "index"] {
        let twice = role(&[a, &a.alias()], 2);
        let keys = keys.clone().with(&format!("roles/{name}"), twice);
        siege.serve("keys.2.json", &keys.signed(&[a, b]));
        siege.refused("TRUST_INVALID");
    }
    siege.serve("keys.2.json", &keys.signed(&[a, b]));
    siege.follows("1.0.0");
}

#[test]
fn wrong_software() {
    let siege = Siege::new();
    let publisher = &siege.publisher;
    let release = release_of("1.1.0", &siege.package("1.1.0"));
    let index = Document::index(FIRST + 1, "1.1.0", &release);
    // The publisher's own, for another app and another channel.
    for (field, value) in [("app", "org.castoff.other"), ("channel", "beta")] {
        let other = index.clone().with(field, json!(value));
        siege.serve(INDEX, &other.signed(&[&publisher.index]));
        siege.refused("TRUST_MISMATCH");
    }
    let keys = publisher.keys(2).with("app", json!("org.castoff.other"));
    siege.rotate(2, &keys);
    siege.refused("TRUST_MISMATCH");
    siege.world().server.unroute(&format!("{SITE}keys.2.json"));

    let offer = |seq: u64, release: &Document| {
        name(siege.world(), publisher, seq, "1.1.0", release);
    };
    offer(
        FIRST + 1,
        &release.clone().with("app", json!("org.castoff.other")),
    );
    siege.refused_though("TRUST_MISMATCH");
    let package = release.0["packages"]["any"].clone();
    offer(
        FIRST + 2,
        &release
            .clone()
            .with("packages", json!({"plan9-mips": package})),
    );
    siege.refused_though("TARGET_UNAVAILABLE");
    offer(
        FIRST + 3,
        &release.clone().with("packages/any/system", json!("9999.0")),
    );
    siege.refused_though("TARGET_UNAVAILABLE");
    offer(FIRST + 4, &release);
    siege.follows("1.1.0");
}

// What updaters have met.

#[test]
fn unsigned_metadata_claims_a_version() {
    let siege = Siege::check();
    let old = release_of("0.9.0", &siege.package("0.9.0")).signed(&[&siege.publisher.release]);
    // An old signed release that is labelled 99.0, beside the document and in its envelope.
    answer(siege.world(), "99.0.0", Some(&old), &[]);
    siege.refused("DOWNGRADE_REFUSED");
    let mut labelled: Value = serde_json::from_str(&old).unwrap();
    labelled["version"] = json!("99.0.0");
    answer(siege.world(), "99.0.0", Some(&labelled.to_string()), &[]);
    siege.refused("TRUST_INVALID");
    // The installed one with such a label is no news.
    let same = release_of("1.0.0", &app("1.0.0").build()).signed(&[&siege.publisher.release]);
    answer(siege.world(), "99.0.0", Some(&same), &[]);
    siege.follows("1.0.0");
}

#[test]
fn downgrade_through_configuration_environment_or_argument() {
    let follow = "[update]\ndowngrade = \"follow\"";
    let siege = Siege::of(Kind::Check, Publisher::new(), follow);
    siege.announce("0.9.0");
    siege.refused("DOWNGRADE_REFUSED");
    let run = siege.run_with(&[("CASTOFF_UPDATE_DOWNGRADE", "follow")]);
    siege.refused_in(&run, "DOWNGRADE_REFUSED");
    for args in [
        &["--force"][..],
        &["--castoff", "run", "--downgrade", "0.9.0"],
    ] {
        siege.refused_in(&siege.world().run(args), "DOWNGRADE_REFUSED");
    }
    let forced = siege.world().run(&["--castoff", "update", "--force"]);
    forced.assert_told("DOWNGRADE_REFUSED");
    assert_eq!(siege.world().version(), "1.0.0");

    let siege = Siege::new();
    siege.publish(FIRST - 1, "0.9.0");
    let forced = siege.world().run(&["--castoff", "update", "--force"]);
    forced.assert_told("TRUST_ROLLED_BACK");
    // Asked as a source without an index, it has nothing to say.
    let site = siege.world().server.url(SITE);
    siege.reply(
        "",
        Reply::json(
            &json!({"version": "0.9.0", "file": "0.9.0.zip",
        "file_hash": sha256(b"")})
            .to_string(),
        ),
    );
    let run = siege.run_with(&[
        ("CASTOFF_SOURCE_KIND", "check"),
        ("CASTOFF_SOURCE_URL", &site),
    ]);
    siege.refused_in(&run, "TRUST_UNSIGNED");
}

#[test]
fn missing_or_empty_key_configuration() {
    let siege = Siege::new();
    // Variables with nothing in them take no key away.
    siege.publish(FIRST - 1, "0.9.0");
    for nothing in ["", " ", "\n"] {
        let run = siege.run_with(&[("CASTOFF_TRUST_KEYS", nothing)]);
        siege.refused_in(&run, "TRUST_ROLLED_BACK");
    }
    // Nothing is started with a configuration that means to have keys and has none: nobody can say
    // whose app it is.
    siege.publish(FIRST + 1, "1.1.0");
    let before = siege.world().tree();
    let asked = siege.world().server.requests().len();
    let url = siege.world().server.url(SITE);
    let (index, check) = (
        format!("kind = \"index\"\nurl = \"{url}\""),
        format!("url = \"{url}\""),
    );
    let key = siege.publisher.root.public();
    for (source, trust) in [
        (&index, String::new()),
        (&index, "[trust]".to_owned()),
        (&check, "[trust]\nthreshold = 1".to_owned()),
        (&check, "[trust]\nkeys = []".to_owned()),
        (&check, "[trust]\nkeys = [\"\"]".to_owned()),
        (&check, "[trust]\nkeys = \"\"".to_owned()),
        (&check, format!("[trust]\nkeys = [\"{}\"]", &key[1..])),
        (
            &check,
            format!("[trust]\nkeys = [\"{key}\"]\nthreshold = 0"),
        ),
        (
            &check,
            format!("[trust]\nkeys = [\"{key}\"]\nthreshold = 2"),
        ),
        (&check, format!("[trust]\nkey = [\"{key}\"]")),
    ] {
        siege.world().configure_source(source, &trust);
        let run = siege.world().run(&[]);
        run.assert_told("CONFIG_INVALID");
        assert_eq!(run.code, Some(78), "{trust}: {run:?}");
        assert_eq!(siege.world().tree(), before, "{trust}");
    }
    assert_eq!(
        siege.world().server.requests().len(),
        asked,
        "nobody was asked"
    );
}

#[test]
fn a_verifier_that_fails_is_no_success() {
    let siege = Siege::check();
    let release = release_of("1.1.0", &siege.package("1.1.0"));
    let bytes = release.bytes();
    let key = &siege.publisher.release;
    let good = key.sign(&bytes);
    let lines: Vec<&str> = good.lines().collect();
    let without = |line: usize| {
        let mut lines = lines.clone();
        lines.remove(line);
        lines.join("\n")
    };
    // "RUQ..." and "RWQ..." begin what was made before and after minisign hashed what it signs.
    let relabelled = good.replacen("\nRU", "\nRW", 1);
    assert_ne!(relabelled, good);
    let signatures = [
        ("of other bytes", key.sign(b"other"), "TRUST_SIGNATURE"),
        ("legacy", key.sign_legacy(&bytes), "TRUST_SIGNATURE"),
        (
            "the algorithm's name changed",
            relabelled,
            "TRUST_SIGNATURE",
        ),
        (
            "another trusted comment",
            good.replacen("trusted comment: ", "trusted comment: x", 2),
            "TRUST_SIGNATURE",
        ),
        ("empty", String::new(), "TRUST_INVALID"),
        ("garbage", "garbage".to_owned(), "TRUST_INVALID"),
        (
            "truncated",
            good[..good.len() / 2].to_owned(),
            "TRUST_INVALID",
        ),
        ("no comment", without(0), "TRUST_INVALID"),
        ("no signature", without(1), "TRUST_INVALID"),
        ("no trusted comment", without(2), "TRUST_INVALID"),
        ("no global signature", without(3), "TRUST_INVALID"),
    ];
    let mut faults = Vec::new();
    let mut offer = |name: &str, sigs: &[&str], code: &str| {
        let mut document: Value = serde_json::from_str(&release.signed(&[])).unwrap();
        document["sigs"] = json!(sigs);
        answer(siege.world(), "1.1.0", Some(&document.to_string()), &[]);
        faults.extend(siege.faults(name, code));
    };
    for (name, signature, code) in &signatures {
        offer(name, &[signature], code);
    }
    offer("none", &[], "TRUST_UNSIGNED");
    offer("too many", &[good.as_str(); 17], "TRUST_INVALID");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // Beside a good one, those of others are passed over.
    let text = envelope(&bytes, &[&Signer::new(), key]);
    answer(siege.world(), "1.1.0", Some(&text), &[]);
    siege.follows("1.1.0");
}

#[test]
fn keys_that_are_skipped_or_refused_do_not_count_and_do_no_harm() {
    let mut siege = Siege::new();
    let first = siege.publisher.root.clone();
    let keys_2 = siege.publisher.keys(2);
    siege.publisher.root = Signer::new();
    siege.publisher.index = Signer::new();
    let keys_3 = siege.publisher.keys(3);
    let both = [&first, &siege.publisher.root];
    // The third in the place of the second.
    siege.serve("keys.2.json", &keys_3.signed(&both));
    siege.refused("TRUST_MISMATCH");
    // A second one that nobody has signed, and then the good one: what was refused is not kept.
    siege.serve("keys.2.json", &keys_2.signed(&[&Signer::new()]));
    siege.refused("TRUST_SIGNATURE");
    siege.serve("keys.2.json", "{");
    siege.refused("TRUST_INVALID");
    // The second holds, whatever is wrong with the third.
    siege.serve("keys.2.json", &keys_2.signed(&[&first]));
    siege.serve("keys.3.json", &keys_3.signed(&[&siege.publisher.root]));
    siege.refused_though("TRUST_SIGNATURE");
    let memory: Value = serde_json::from_str(&siege.memory()).unwrap();
    assert_eq!(memory["keys"].as_array().map(Vec::len), Some(2));
    siege.serve("keys.3.json", &keys_3.signed(&both));
    siege.publish(FIRST, "1.1.0");
    siege.follows("1.1.0");
    assert_eq!(siege.asked("keys.4.json"), 1);
}

#[test]
fn keys_documents_in_a_check_answer() {
    let mut siege = Siege::check();
    let mut chain = vec![siege.publisher.keys(1).signed(&[&siege.publisher.root])];
    for number in 2..5 {
        let before = std::mem::replace(&mut siege.publisher.root, Signer::new());
        siege.publisher.release = Signer::new();
        let keys = siege.publisher.keys(number);
        chain.push(keys.signed(&[&before, &siege.publisher.root]));
    }
    let signed = release_of("1.1.0", &siege.package("1.1.0")).signed(&[&siege.publisher.release]);
    let all: Vec<&str> = chain.iter().map(String::as_str).collect();
    // One is missing, or they are in another order.
    for (keys, code) in [
        (vec![all[0], all[2], all[1], all[3]], "TRUST_SIGNATURE"),
        (vec![all[0], all[1], all[3]], "TRUST_SIGNATURE"),
    ] {
        answer(siege.world(), "1.1.0", Some(&signed), &keys);
        siege.refused_though(code);
    }
    let mut wrong = answer(siege.world(), "1.1.0", Some(&signed), &[]);
    wrong["keys"] = json!("none");
    siege.world().announce(&wrong);
    siege.refused("ANSWER_INVALID");
    answer(siege.world(), "1.1.0", Some(&signed), &all);
    siege.follows("1.1.0");
}

#[test]
fn more_keys_than_are_followed_at_once() {
    // Whoever has root can keep a launcher busy, and no longer than this at a start.
    const AT_ONCE: u64 = 32;
    let mut siege = Siege::check();
    let sign = |siege: &Siege, number| {
        siege
            .publisher
            .keys(number)
            .signed(&[&siege.publisher.root])
    };
    let last = AT_ONCE + 2;
    let mut chain: Vec<String> = (1..last).map(|number| sign(&siege, number)).collect();
    siege.publisher.release = Signer::new();
    chain.push(sign(&siege, last));
    let signed = release_of("1.1.0", &siege.package("1.1.0")).signed(&[&siege.publisher.release]);
    let all: Vec<&str> = chain.iter().map(String::as_str).collect();
    answer(siege.world(), "1.1.0", Some(&signed), &all);
    siege.refused_though("TRUST_SIGNATURE");
    siege.follows("1.1.0");
}

/// A world that asks a server for signed check answers, with a token in headers of all kinds.
fn with_token(siege: &mut Siege, url: &str) {
    let trust = format!("[trust]\nkeys = [\"{}\"]", siege.publisher.root.public());
    let headers = "AUTHORIZATION = \"s3cret\"\nprivate-token = \"s3cret\"\nX-Own = \"s3cret\"";
    let source = format!("url = \"{url}\"\n[source.headers]\n{headers}");
    siege.world().configure_source(&source, &trust);
    siege.besieged.watch();
}

/// Whether a request carries the token.
fn carries_token(request: &castoff_testkit::http::Request) -> bool {
    let names = ["authorization", "private-token", "x-own"];
    let found: Vec<_> = names.iter().map(|name| request.header(name)).collect();
    assert!(
        found.iter().all(|one| *one == found[0]),
        "all or none: {found:?}"
    );
    found[0].is_some()
}

#[test]
fn token_headers_of_any_case_go_to_the_documents_host_alone() {
    let mut siege = Siege::check();
    let url = siege.world().server.url(CHECK);
    with_token(&mut siege, &url);
    let other = Server::start();
    let third = Server::start();
    let built = app("1.1.0").build();
    other.route("/a.zip", Reply::redirect(302, &third.url("/b.zip")));
    third.route("/b.zip", Reply::file(&built.bytes));
    let urls = json!([other.url("/a.zip")]);
    let release = release_of("1.1.0", &built).with("packages/any/urls", urls);
    let signed = release.signed(&[&siege.publisher.release]);
    let mut answer = answer(siege.world(), "1.1.0", Some(&signed), &[]);
    // An address in the clear, of a host that only the attacker has named.
    let stranger = Server::start();
    answer["download_url"] = json!(stranger.url("/evil.zip"));
    siege.world().announce(&answer);
    let before = siege.world().server.requests().len();
    siege.follows("1.1.0");
    let asked = siege.world().server.requests().split_off(before);
    assert!(
        !asked.is_empty() && asked.iter().all(carries_token),
        "{asked:?}"
    );
    for server in [&stranger, &other, &third] {
        let asked = server.requests();
        assert!(
            !asked.is_empty() && !asked.iter().any(carries_token),
            "{asked:?}"
        );
    }

    // Nor along a redirect of the documents themselves, and nothing else than the documents comes
    // from there.
    let mut siege = Siege::check();
    let url = siege.world().server.url(CHECK);
    with_token(&mut siege, &url);
    let elsewhere = Server::start();
    let moved = Reply::redirect(307, &elsewhere.url("/check"));
    siege.world().server.unroute(CHECK).route(CHECK, moved);
    elsewhere.route("/check", Reply::json("{}"));
    siege.refused("TRUST_UNSIGNED");
    let asked = elsewhere.requests();
    assert!(
        !asked.is_empty() && !asked.iter().any(carries_token),
        "{asked:?}"
    );
}

/// Pinned keys make plain http safe for what is signed, and a redirect that gives up https all the
/// same refused: the token and what is asked for would be read on the way.
#[cfg(not(windows))]
#[test]
fn a_redirect_from_https_to_http_where_keys_are_pinned() {
    let tls = Tls::new();
    let secure = Server::start_tls(&tls);
    let mut siege = Siege::check();
    siege.announce("1.1.0");
    with_token(&mut siege, &secure.url(CHECK));
    let trusting = |siege: &Siege| {
        let mut command = siege.world().command(&[]);
        Run::of(command.env("SSL_CERT_FILE", &tls.ca_pem_path))
    };
    let before = siege.world().server.requests().len();
    secure.route(
        CHECK,
        Reply::redirect(302, &siege.world().server.url(CHECK)),
    );
    siege.refused_in(&trusting(&siege), "REDIRECT_REFUSED");
    assert_eq!(
        siege.world().server.requests().len(),
        before,
        "nothing in the clear"
    );

    // An address on http that was signed is fetched, without the token.
    let built = app("1.1.0").build();
    let release = release_of("1.1.0", &built);
    let urls = json!([siege.world().server.url(&format!("{SITE}1.1.0.zip"))]);
    let release = release.with("packages/any/urls", urls);
    let signed: Value = serde_json::from_str(&release.signed(&[&siege.publisher.release])).unwrap();
    secure.replace(CHECK, Reply::json(&json!({"release": signed}).to_string()));
    trusting(&siege).assert_app("1.1.0");
    let asked = siege.world().server.requests().split_off(before);
    assert!(
        !asked.is_empty() && !asked.iter().any(carries_token),
        "{asked:?}"
    );
    assert!(secure.requests().iter().all(carries_token));
}

/// A siege in which 1.1.0 is known by its index and waits to be installed, while the server says
/// nothing of use; and what `state.json` says of what waits.
fn waiting() -> (Siege, Value, Built) {
    let mut siege = Siege::new();
    let release = siege.publish(FIRST + 1, "1.1.0");
    let signed = release.signed(&[&siege.publisher.release]);
    siege.reply("release-1.1.0.json", Reply::status(500));
    siege.refused_though("HTTP_STATUS");
    let built = app("1.1.0").build();
    let pending = json!({
        "version": "1.1.0", "notes": "", "entry_point": ENTRY, "document": signed,
        "package": {"url": siege.world().server.url(&format!("{SITE}gone.zip")),
                    "sha256": built.sha256, "size": built.bytes.len()},
    });
    put_download(&siege, &built.sha256, &built.bytes);
    siege.besieged.watch();
    (siege, pending, built)
}

/// Where a package waits.
fn download(siege: &Siege, digest: &str) -> PathBuf {
    siege
        .world()
        .path(&format!(".castoff/downloads/{}.package", &digest[..32]))
}

fn put_download(siege: &Siege, digest: &str, bytes: &[u8]) {
    let path = download(siege, digest);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Writes into `state.json` what waits.
fn wait(siege: &Siege, pending: &Value) {
    let mut state = siege.world().state();
    state["pending"] = pending.clone();
    siege
        .world()
        .write(".castoff/state.json", &state.to_string());
}

#[test]
fn what_waits_is_installed_by_its_signatures() {
    let (siege, mut pending, _) = waiting();
    // What else is said of it counts for nothing.
    pending["version"] = json!("0.0.1");
    pending["entry_point"] = json!("stays.py");
    pending["launcher"] = json!({"url": "http://a.example/", "sha256": sha256(b""), "size": 1});
    wait(&siege, &pending);
    siege.follows("1.1.0");
    assert_eq!(siege.asked("gone.zip"), 0);
    assert_unchanged(siege.world());
}

#[test]
fn what_waits_is_altered_where_it_is_remembered() {
    let (mut siege, pending, _) = waiting();
    let evil = app("6.6.6").build();
    put_download(&siege, &evil.sha256, &evil.bytes);
    siege.besieged.watch();
    let stranger = Signer::new();
    let old = app("0.9.0").build();
    let key = siege.publisher.release.clone();
    let mut package = pending.clone();
    package["package"] = json!({"url": pending["package"]["url"], "sha256": evil.sha256,
                                "size": evil.bytes.len()});
    let with = |base: &Value, document: Value| {
        let mut pending = base.clone();
        pending["document"] = document;
        pending
    };
    let signed = |release: Document, signer: &Signer| json!(release.signed(&[signer]));
    let mut replaced = with(&pending, signed(release_of("0.9.0", &old), &key));
    replaced["package"]["sha256"] = json!(old.sha256);
    for (what, pending, code) in [
        ("another package", package.clone(), "TRUST_UNSIGNED"),
        (
            "one that is signed by a stranger",
            with(&package, signed(release_of("6.6.6", &evil), &stranger)),
            "TRUST_SIGNATURE",
        ),
        ("no document", with(&pending, Value::Null), "TRUST_UNSIGNED"),
        (
            "half a document",
            with(&pending, json!("{\"payload\"")),
            "TRUST_INVALID",
        ),
        ("an older release", replaced, "TRUST_MISMATCH"),
    ] {
        wait(&siege, &pending);
        let faults = siege.faults(what, code);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

#[test]
fn what_waits_and_nothing_is_remembered_that_speaks_for_it() {
    let (siege, pending, _) = waiting();
    fs::remove_file(siege.world().path(".castoff/trust.json")).unwrap();
    wait(&siege, &pending);
    siege.reply(INDEX, Reply::status(500));
    siege.refused_though("TRUST_UNSIGNED");
}

#[test]
fn what_waits_is_altered_where_it_lies() {
    let (siege, pending, built) = waiting();
    put_download(&siege, &built.sha256, &spoilt(&built.bytes));
    wait(&siege, &pending);
    // It is thrown away, and cannot be had again.
    let run = siege.world().run(&[]);
    run.assert_app("1.0.0").assert_told("HTTP_STATUS");
    assert_eq!(siege.world().version(), "1.0.0");
    assert!(!download(&siege, &built.sha256).exists());
}

#[test]
fn what_waits_is_older_than_what_is_installed() {
    let siege = Siege::check();
    let built = siege.package("0.9.0");
    let signed = release_of("0.9.0", &built).signed(&[&siege.publisher.release]);
    siege.world().server.unroute(CHECK);
    put_download(&siege, &built.sha256, &built.bytes);
    let pending = json!({
        "version": "2.0.0", "notes": "", "entry_point": ENTRY, "document": signed,
        "package": {"url": siege.world().server.url("/gone.zip"), "sha256": built.sha256,
                    "size": built.bytes.len()},
    });
    wait(&siege, &pending);
    let run = siege.world().run(&[]);
    run.assert_app("1.0.0");
    assert_eq!(
        siege.world().state()["last"]["outcome"],
        "DOWNGRADE_REFUSED"
    );
    assert_eq!(siege.world().version(), "1.0.0");
}

#[test]
fn what_waits_is_taken_back_where_nothing_but_a_signature_speaks_for_it() {
    let siege = Siege::check();
    let built = siege.package("1.1.0");
    let signed = release_of("1.1.0", &built).signed(&[&siege.publisher.release]);
    put_download(&siege, &built.sha256, &built.bytes);
    let pending = json!({
        "version": "1.1.0", "notes": "", "entry_point": ENTRY, "document": signed,
        "package": {"url": siege.world().server.url("/gone.zip"), "sha256": built.sha256,
                    "size": built.bytes.len()},
    });
    wait(&siege, &pending);
    siege.announce("1.0.0");
    siege.follows("1.0.0");
    assert_eq!(siege.world().state()["pending"], Value::Null);
    // Who holds the answers back from now on cannot bring it about.
    siege.world().server.unroute(CHECK);
    let run = siege.world().run(&[]);
    run.assert_app("1.0.0").assert_told("HTTP_STATUS");
    assert_eq!(siege.world().version(), "1.0.0");
}

#[test]
fn what_waits_is_withdrawn_meanwhile() {
    // By the index that still names it.
    let (siege, pending, built) = waiting();
    let release = release_of("1.1.0", &built);
    wait(&siege, &pending);
    let index = Document::index(FIRST + 2, "1.1.0", &release);
    let revoked = index.with("revoked", json!(["1.1.0"]));
    siege.serve(INDEX, &revoked.signed(&[&siege.publisher.index]));
    siege.refused_though("TRUST_WITHDRAWN");
    // Also once the server says nothing any more.
    siege.reply(INDEX, Reply::status(500));
    siege.refused("TRUST_WITHDRAWN");

    // By root.
    let (siege, pending, _) = waiting();
    wait(&siege, &pending);
    siege.rotate(
        2,
        &siege.publisher.keys(2).with("min_version", json!("1.1.1")),
    );
    siege.reply(INDEX, Reply::status(500));
    siege.refused_though("TRUST_WITHDRAWN");

    // By the next index, whose release cannot be had.
    let (siege, pending, _) = waiting();
    wait(&siege, &pending);
    siege.publish(FIRST + 2, "1.2.0");
    siege.reply("release-1.2.0.json", Reply::status(500));
    siege.refused_though("TRUST_MISMATCH");

    // By nobody: its index has expired.
    let (siege, pending, built) = waiting();
    let index = Document::index(FIRST + 2, "1.1.0", &release_of("1.1.0", &built));
    let index = index.with("issued", after(-48)).with("expires", after(10));
    siege.serve(INDEX, &index.signed(&[&siege.publisher.index]));
    siege.refused_though("HTTP_STATUS");
    let beta = Document::index(1, "1.0.0", &release_of("1.0.0", &app("1.0.0").build()));
    let beta = beta
        .with("channel", json!("beta"))
        .with("issued", after(20));
    siege.serve("beta.json", &beta.signed(&[&siege.publisher.index]));
    let run = siege.run_with(&[("CASTOFF_CHANNEL", "beta")]);
    run.assert_app("1.0.0");
    siege.reply(INDEX, Reply::status(500));
    wait(&siege, &pending);
    siege.refused_though("TRUST_EXPIRED");
}

/// The real thing: fetched while the app runs, altered until it ends.
#[cfg(unix)]
#[test]
fn a_package_is_swapped_between_hash_and_use() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let siege = Siege::new();
    let script = "#!/bin/sh\necho \"app 1.1.0 $CASTOFF_VERSION\"\nread line\nexit 0\n";
    let built = app("1.1.0").executable(ENTRY, script).build();
    siege.reply("1.1.0.zip", Reply::file(&built.bytes));
    name(
        siege.world(),
        &siege.publisher,
        FIRST + 1,
        "1.1.0",
        &release_of("1.1.0", &built),
    );
    let mut child = siege
        .world()
        .command(&[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "app 1.1.0 1.1.0");

    siege.publish(FIRST + 2, "1.2.0");
    siege.world().run(&[]);
    assert_eq!(siege.world().state()["last"]["outcome"], "pending");
    let digest = app("1.2.0").build().sha256;
    let path = download(&siege, &digest);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, spoilt(&bytes)).unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();

    siege.reply(INDEX, Reply::status(500));
    siege.reply("1.2.0.zip", Reply::status(404));
    let before = siege.world().tree();
    let run = Run::of(&mut siege.world().command(&[]));
    run.assert_app("1.1.0").assert_told("HTTP_STATUS");
    assert_eq!(siege.world().tree(), before);
    assert!(!path.exists(), "what is something else is thrown away");
    // The same bytes again, and they are installed without a source.
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    siege.world().run(&["--castoff", "retry"]);
    siege.follows("1.2.0");
}

#[test]
fn expired_metadata_does_not_stop_the_app() {
    let siege = Siege::new();
    siege.publish(FIRST + 1, "1.1.0");
    let keys = siege.publisher.keys(2).with("expires", after(-1));
    siege.rotate(2, &keys);
    siege.refused_though("TRUST_EXPIRED");
    siege.refused("TRUST_EXPIRED");
    let siege_2 = Siege::check();
    let keys = siege_2.publisher.keys(2).with("expires", after(-1));
    let keys = keys.signed(&[&siege_2.publisher.root]);
    let release = release_of("1.1.0", &siege_2.package("1.1.0"));
    let signed = release.signed(&[&siege_2.publisher.release]);
    answer(siege_2.world(), "1.1.0", Some(&signed), &[&keys]);
    siege_2.refused_though("TRUST_EXPIRED");
    // New ones end it.
    siege.rotate(3, &siege.publisher.keys(3));
    siege.follows("1.1.0");
}

/// Offers an index whose payload is these bytes, signed.
fn offer_index(siege: &Siege, payload: &[u8]) {
    siege.serve(INDEX, &envelope(payload, &[&siege.publisher.index]));
}

#[test]
fn metadata_with_duplicate_keys() {
    let siege = Siege::new();
    let release = siege.publish(FIRST + 1, "1.1.0");
    let index = Document::index(FIRST + 1, "1.1.0", &release).bytes();
    let text = String::from_utf8(index).unwrap();
    let twice = [
        text.replacen('{', "{\"seq\":6,", 1),
        text.replacen("\"current\":{", "\"current\":{\"version\":\"1.1.0\",", 1),
        text.replacen('{', "{\"unknown\":1,\"unknown\":1,", 1),
    ];
    for payload in twice {
        offer_index(&siege, payload.as_bytes());
        siege.refused("TRUST_INVALID");
    }
    let good = envelope(text.as_bytes(), &[&siege.publisher.index]);
    for field in ["payload", "sigs"] {
        let value = if field == "sigs" { "[]" } else { "\"\"" };
        let twice = good.replacen('{', &format!("{{\"{field}\":{value},"), 1);
        siege.serve(INDEX, &twice);
        siege.refused("TRUST_INVALID");
    }
    siege.serve(INDEX, &good);
    siege.follows("1.1.0");
}

#[test]
fn metadata_that_is_nested_deeply() {
    let siege = Siege::new();
    let release = siege.publish(FIRST + 1, "1.1.0");
    let deep = "[".repeat(100_000);
    siege.serve(INDEX, &deep);
    siege.refused("TRUST_INVALID");
    offer_index(&siege, deep.as_bytes());
    siege.refused("TRUST_INVALID");
    let index = Document::index(FIRST + 1, "1.1.0", &release).bytes();
    let text = String::from_utf8(index).unwrap();
    let nested = format!("{{\"x\":{}{},", "[".repeat(200), "]".repeat(200));
    offer_index(&siege, text.replacen('{', &nested, 1).as_bytes());
    siege.refused("TRUST_INVALID");
}

#[test]
fn metadata_with_wrong_types_or_missing_fields() {
    let mut faults = Vec::new();
    let siege = Siege::new();
    let release = siege.publish(FIRST + 1, "1.1.0");
    let index = Document::index(FIRST + 1, "1.1.0", &release);
    for field in [
        "type",
        "spec",
        "seq",
        "issued",
        "expires",
        "current",
        "current/version",
        "current/sha256",
    ] {
        for value in [Value::Null, json!([]), json!(true), json!(-1), json!("x")] {
            let wrong = index.clone().with(field, value.clone());
            siege.serve(INDEX, &wrong.signed(&[&siege.publisher.index]));
            faults.extend(siege.faults(&format!("index {field} {value}"), "TRUST_INVALID"));
        }
    }
    for (field, value) in [
        ("channel", Value::Null),
        ("revoked", json!("1.0")),
        ("app", json!(1)),
    ] {
        let wrong = index.clone().with(field, value);
        siege.serve(INDEX, &wrong.signed(&[&siege.publisher.index]));
        faults.extend(siege.faults(&format!("index {field}"), "TRUST_INVALID"));
    }
    siege.serve(INDEX, &index.signed(&[&siege.publisher.index]));
    let keys = siege.publisher.keys(2);
    for field in [
        "type",
        "spec",
        "version",
        "expires",
        "roles",
        "roles/root",
        "roles/index",
        "roles/release/threshold",
        "roles/release/keys",
    ] {
        siege.rotate(2, &keys.clone().with(field, json!("x")));
        faults.extend(siege.faults(&format!("keys {field}"), "TRUST_INVALID"));
    }
    for (field, value) in [("app", Value::Null), ("version", json!(7))] {
        siege.rotate(2, &keys.clone().with(field, value));
        faults.extend(siege.faults(&format!("keys {field}"), "TRUST_MISMATCH"));
    }

    // Of a release, in an answer: where an index names one, its digest decides.
    let siege = Siege::check();
    let release = release_of("1.1.0", &siege.package("1.1.0"));
    for field in [
        "type",
        "spec",
        "version",
        "packages",
        "packages/any",
        "packages/any/size",
        "packages/any/sha256",
    ] {
        for value in [Value::Null, json!([])] {
            let wrong = release.clone().with(field, value.clone());
            let signed = wrong.signed(&[&siege.publisher.release]);
            answer(siege.world(), "1.1.0", Some(&signed), &[]);
            let code = if field == "packages/any" && value.is_null() {
                "TARGET_UNAVAILABLE"
            } else {
                "TRUST_INVALID"
            };
            faults.extend(siege.faults(&format!("release {field} {value}"), code));
        }
    }
    for (field, value) in [
        ("packages/any/urls", json!("1.1.0.zip")),
        ("packages/any/entry_point", json!("../run.sh")),
        ("packages/any/files", json!("00")),
        ("packages/any/system", json!(10)),
        ("launchers", json!([])),
        ("critical_below", json!("")),
        ("notes", json!(1)),
    ] {
        let wrong = release.clone().with(field, value);
        let signed = wrong.signed(&[&siege.publisher.release]);
        answer(siege.world(), "1.1.0", Some(&signed), &[]);
        faults.extend(siege.faults(&format!("release {field}"), "TRUST_INVALID"));
    }
    for text in ["{}", "[]", "\"x\"", "1"] {
        answer(siege.world(), "1.1.0", Some(text), &[]);
        faults.extend(siege.faults(&format!("release {text}"), "TRUST_INVALID"));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn metadata_with_unusual_versions() {
    let siege = Siege::new();
    let release = release_of("1.1.0", &siege.package("1.1.0"));
    let mut seq = FIRST;
    let mut offer = |version: &str| {
        seq += 1;
        let index = Document::index(seq, version, &release);
        siege.serve(INDEX, &index.signed(&[&siege.publisher.index]));
    };
    for wrong in ["", "newest", "../../1.1.0", "1.1\n.0", &"1.".repeat(5_000)] {
        offer(wrong);
        siege.refused("TRUST_INVALID");
    }
    // A version's document has a name of its own, which leads nowhere else.
    for (version, name) in [
        ("1.2.9.1", "release-1.2.9.1.json"),
        ("v1.2", "release-1.2.json"),
        ("release/v1.2.6", "release-1.2.6.json"),
        ("1.2.3-rc.1", "release-1.2.3-rc.1.json"),
    ] {
        offer(version);
        siege.refused_though("TRUST_UNSIGNED");
        assert_eq!(siege.asked(name), 1, "{version}");
    }
}

#[test]
fn metadata_with_the_largest_number_and_beyond() {
    let siege = Siege::new();
    let release = siege.publish(FIRST + 1, "1.1.0");
    let index = Document::index(FIRST + 1, "1.1.0", &release).bytes();
    let text = String::from_utf8(index).unwrap();
    let with = |seq: &str| text.replace("\"seq\":6", &format!("\"seq\":{seq}"));
    for beyond in ["18446744073709551616", "1e30", "-1", "6.5", "NaN"] {
        offer_index(&siege, with(beyond).as_bytes());
        siege.refused("TRUST_INVALID");
    }
    offer_index(&siege, with("18446744073709551615").as_bytes());
    siege.follows("1.1.0");
    // Nothing wraps round.
    offer_index(&siege, with("0").as_bytes());
    let run = siege.world().run(&[]);
    run.assert_app("1.1.0").assert_told("TRUST_ROLLED_BACK");
    // Nor do keys.
    let keys = siege.publisher.keys(u64::MAX);
    siege.rotate(2, &keys);
    let run = siege.world().run(&[]);
    run.assert_app("1.1.0").assert_told("TRUST_MISMATCH");
}

#[test]
fn a_signature_from_another_document_type() {
    // One key for everything: only the type tells documents apart.
    let mut publisher = Publisher::new();
    publisher.release = publisher.root.clone();
    publisher.index = publisher.root.clone();
    let siege = Siege::of(Kind::Index, publisher, "");
    let key = &siege.publisher.root;
    let release = release_of("1.1.0", &siege.package("1.1.0"));
    let index = Document::index(FIRST + 1, "1.1.0", &release).signed(&[key]);
    let keys = siege.publisher.keys(2).signed(&[key]);
    let release = release.signed(&[key]);
    for other in [&release, &keys] {
        siege.serve(INDEX, other);
        siege.refused("TRUST_INVALID");
    }
    for other in [&release, &index] {
        siege.serve("keys.2.json", other);
        siege.refused("TRUST_INVALID");
    }
    siege.world().server.unroute(&format!("{SITE}keys.2.json"));
    // An index that names what is no release.
    let keys = siege.publisher.keys(2);
    for (seq, other) in [
        (FIRST + 1, keys.clone()),
        (FIRST + 2, Document::index(9, "1.1.0", &keys)),
    ] {
        let index = Document::index(seq, "1.1.0", &other);
        siege.serve(INDEX, &index.signed(&[key]));
        siege.serve("release-1.1.0.json", &other.signed(&[key]));
        siege.refused_though("TRUST_INVALID");
    }
}

#[test]
fn keys_are_pinned_and_nothing_is_signed() {
    let siege = Siege::check();
    let built = siege.package("1.1.0");
    // A full answer in the clear, as launchers without keys take it.
    let mut plain = World::answer(&built, "1.1.0");
    plain["file"] = json!(format!("{SITE}1.1.0.zip"));
    siege.world().announce(&plain);
    siege.refused("TRUST_UNSIGNED");
    plain["release"] = Value::Null;
    siege.world().announce(&plain);
    siege.refused("TRUST_UNSIGNED");
    let unsigned = release_of("1.1.0", &built).signed(&[]);
    answer(siege.world(), "1.1.0", Some(&unsigned), &[]);
    siege.refused("TRUST_UNSIGNED");

    let siege = Siege::new();
    let release = siege.publish(FIRST + 1, "1.1.0");
    for (status, code) in [
        (403, "ACCESS_DENIED"),
        (404, "TRUST_UNSIGNED"),
        (410, "TRUST_UNSIGNED"),
    ] {
        siege.reply(INDEX, Reply::status(status));
        siege.refused(code);
    }
    siege.serve(INDEX, &release.signed(&[]));
    siege.refused("TRUST_UNSIGNED");
    siege.publish(FIRST + 1, "1.1.0");
    siege.reply("release-1.1.0.json", Reply::status(404));
    siege.refused_though("TRUST_UNSIGNED");
}

#[test]
fn a_source_that_cannot_be_reached() {
    let siege = Siege::new();
    siege.publish(FIRST + 1, "1.1.0");
    for reply in [Reply::status(500), Reply::status(200).reset_at_once()] {
        let status = format!("{reply:?}").contains("status: 500");
        siege.reply("keys.2.json", reply);
        siege.refused(if status {
            "HTTP_STATUS"
        } else {
            "SOURCE_UNREACHABLE"
        });
    }
    let nobody = [("CASTOFF_SOURCE_URL", "http://127.0.0.1:1/")];
    siege.refused_in(&siege.run_with(&nobody), "SOURCE_UNREACHABLE");
    siege.reply("keys.2.json", Reply::status(404));
    siege.follows("1.1.0");
}

#[test]
fn a_signed_launcher_is_taken() {
    let siege = Siege::new();
    if cfg!(windows) {
        give_own_launcher(siege.world());
    }
    let other = another();
    let launcher = json!({"size": other.len(), "sha256": sha256(&other), "urls": ["MyApp"]});
    let release = release_of("1.1.0", &siege.package("1.1.0"));
    let release = release.with("launchers", json!({target(): launcher}));
    name(
        siege.world(),
        &siege.publisher,
        FIRST + 1,
        "1.1.0",
        &release,
    );
    siege.reply("MyApp", Reply::file(&other));
    siege.follows("1.1.0");
    assert_launcher(siege.world(), &other);
    siege.follows("1.1.0");
}

#[test]
fn a_signed_launcher_of_other_bytes_is_not_taken() {
    let siege = Siege::new();
    let other = another();
    let launcher = json!({"size": other.len(), "sha256": sha256(&other), "urls": ["MyApp"]});
    let release = release_of("1.1.0", &siege.package("1.1.0"));
    let release = release.with("launchers", json!({target(): launcher}));
    name(
        siege.world(),
        &siege.publisher,
        FIRST + 1,
        "1.1.0",
        &release,
    );
    let mut spoilt = other;
    *spoilt.last_mut().unwrap() ^= 1;
    siege.reply("MyApp", Reply::file(&spoilt));
    siege.follows("1.1.0");
    assert_unchanged(siege.world());
    assert!(siege.world().log().contains("HASH_MISMATCH"));
}

/// A folder with signed documents, and a launcher that asks it.
struct Stick {
    world: World,
    publisher: Publisher,
    folder: tempfile::TempDir,
}

impl Stick {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let stick = Self {
            world: World::new(),
            publisher: Publisher::new(),
            folder,
        };
        let source = format!(
            "kind = \"folder\"\nurl = '{}'",
            stick.folder.path().display()
        );
        let key = stick.publisher.root.public();
        let trust = format!("[trust]\nkeys = [\"{key}\"]");
        stick.world.configure_source(&source, &trust);
        let keys = stick.publisher.keys(1).signed(&[&stick.publisher.root]);
        stick.put("keys.1.json", keys.as_bytes());
        stick
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    fn publish(&self, seq: u64, version: &str) -> Built {
        let built = app(version).build();
        let release = release_of(version, &built);
        let signed = release.signed(&[&self.publisher.release]);
        self.put(&format!("release-{version}.json"), signed.as_bytes());
        let index = Document::index(seq, version, &release);
        self.put(INDEX, index.signed(&[&self.publisher.index]).as_bytes());
        self.put(&format!("{version}.zip"), &built.bytes);
        built
    }
}

#[test]
fn a_folder_installs_updates_and_vanishes() {
    let stick = Stick::new();
    let world = &stick.world;
    stick.publish(1, "1.0.0");
    world.run(&[]).assert_app("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    stick.publish(2, "1.1.0");
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.run(&[]).assert_app("1.1.0").stderr, "");
    let before = world.tree();
    let away = stick.folder.path().with_extension("away");
    fs::rename(stick.folder.path(), &away).unwrap();
    let run = world.run(&[]);
    run.assert_app("1.1.0").assert_told("SOURCE_UNREACHABLE");
    fs::rename(&away, stick.folder.path()).unwrap();
    assert_eq!(world.tree(), before);
    assert!(world.server.requests().is_empty(), "no server was asked");
}

#[test]
fn a_folder_that_is_not_there_installs_nothing() {
    let stick = Stick::new();
    fs::remove_dir_all(stick.folder.path()).unwrap();
    let run = stick.world.run(&[]);
    run.assert_told("SOURCE_UNREACHABLE");
    assert_ne!(run.code, Some(0), "{run:?}");
    assert!(stick.world.tree().is_empty());
    fs::create_dir(stick.folder.path()).unwrap();
    stick.world.run(&[]).assert_told("TRUST_UNSIGNED");
    assert!(stick.world.tree().is_empty());
}

#[test]
fn a_first_install_is_of_what_is_signed_alone() {
    let stick = Stick::new();
    let built = stick.publish(1, "1.0.0");
    let release = release_of("1.0.0", &built);
    let refused = |code: &str| {
        let run = stick.world.run(&[]);
        run.assert_told(code);
        assert_ne!(run.code, Some(0), "{run:?}");
        assert!(stick.world.tree().is_empty(), "{code}");
        assert_eq!(stick.world.version(), "none");
    };
    let stranger = Signer::new();
    let index = Document::index(2, "1.0.0", &release);
    stick.put(INDEX, index.signed(&[&stranger]).as_bytes());
    refused("TRUST_SIGNATURE");
    stick.put(INDEX, index.signed(&[&stick.publisher.index]).as_bytes());
    stick.put("1.0.0.zip", &spoilt(&built.bytes));
    refused("HASH_MISMATCH");
    stick.publish(3, "1.1.0");
    stick.world.run(&[]).assert_app("1.1.0");
}

#[test]
fn a_folder_is_believed_for_its_signatures_alone() {
    let stick = Stick::new();
    let world = &stick.world;
    stick.publish(5, "1.0.0");
    for _ in 0..2 {
        world.run(&[]).assert_app("1.0.0");
    }
    let before = world.tree();
    let refused = |code: &str| {
        let run = world.run(&[]);
        run.assert_app("1.0.0").assert_told(code);
        assert_eq!(world.tree(), before, "{code}");
        assert_eq!(world.state()["last"]["outcome"], code);
    };
    stick.publish(4, "1.1.0");
    refused("TRUST_ROLLED_BACK");
    let built = stick.publish(6, "1.1.0");
    stick.put("1.1.0.zip", &spoilt(&built.bytes));
    refused("HASH_MISMATCH");
    let release = release_of("1.2.0", &built);
    let index = Document::index(7, "1.2.0", &release);
    stick.put(INDEX, index.signed(&[&Signer::new()]).as_bytes());
    refused("TRUST_SIGNATURE");
    stick.put(INDEX, &vec![b' '; 600 << 10]);
    refused("TOO_LARGE");
    // Nothing outside the folder is read for what a document links to.
    let outside = release.with("packages/any/urls", json!(["../1.1.0.zip"]));
    let index = Document::index(7, "1.2.0", &outside);
    stick.put(INDEX, index.signed(&[&stick.publisher.index]).as_bytes());
    let signed = outside.signed(&[&stick.publisher.release]);
    stick.put("release-1.2.0.json", signed.as_bytes());
    refused("ANSWER_INVALID");
    // A folder where a document should be.
    fs::create_dir(stick.folder.path().join("keys.2.json")).unwrap();
    refused("SOURCE_UNREACHABLE");
}

#[test]
fn trust_json_is_deleted_or_damaged() {
    let siege = Siege::new();
    let before = siege.memory();
    let file = siege.world().path(".castoff/trust.json");
    let stranger = Publisher::new();
    let forged = stranger.keys(1).signed(&[&stranger.root]);
    let foreign = json!({"keys": [forged], "indexes": {}, "releases": {}}).to_string();
    let mut halved: Value = serde_json::from_str(&before).unwrap();
    halved["keys"] = json!([]);
    let without_keys = halved.to_string();
    for damaged in [
        None,
        Some(""),
        Some("{\"keys\": [[["),
        Some("[]"),
        Some("\u{0}\u{0}"),
        Some(&foreign),
        Some(&without_keys),
    ] {
        match damaged {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        // What nobody has signed is no better now.
        let release = release_of("1.1.0", &siege.package("1.1.0"));
        let index = Document::index(FIRST + 1, "1.1.0", &release);
        siege.serve(INDEX, &index.signed(&[&stranger.index]));
        siege.refused_though("TRUST_SIGNATURE");
        // Everything is learnt again.
        let release = release_of("1.0.0", &siege.package("1.0.0"));
        name(siege.world(), &siege.publisher, FIRST, "1.0.0", &release);
        siege.follows("1.0.0");
        let learnt: Value = serde_json::from_str(&siege.memory()).unwrap();
        let count = |name: &str| learnt[name].as_array().map_or(0, Vec::len);
        assert_eq!(
            (count("keys"), learnt["indexes"]["stable"].is_string()),
            (1, true)
        );
        siege.publish(FIRST - 1, "0.9.0");
        siege.refused("TRUST_ROLLED_BACK");
    }
}

#[test]
fn trust_json_that_cannot_be_written() {
    let mut siege = Siege::new();
    let file = siege.world().path(".castoff/trust.json");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    siege.besieged.watch();
    siege.publish(FIRST + 1, "1.1.0");
    // Nothing is built on what could not be kept: else a second start could be led back.
    let run = siege.world().run(&[]);
    run.assert_app("1.0.0");
    assert_eq!(siege.world().version(), "1.0.0");
    let told = ["IO_ERROR", "PERMISSION_DENIED"];
    let outcome = siege.world().state()["last"]["outcome"].clone();
    assert!(
        told.iter().any(|code| outcome == *code),
        "{outcome}: {run:?}"
    );
    assert_eq!(siege.asked("1.1.0.zip"), 0);
    fs::remove_dir(&file).unwrap();
    siege.follows("1.1.0");
}

#[cfg(target_os = "linux")]
mod on_disks {
    use super::*;
    use crate::disks::{Disk, or_left_out, tool};

    /// A world whose client folder is a disk of its own.
    fn on_disk(publisher: &Publisher, size: &str) -> Option<(Disk, World)> {
        let world = World::new();
        fs::create_dir(world.client()).unwrap();
        let disk = or_left_out(Disk::tmpfs(&world.client(), size))?;
        let source = format!("kind = \"index\"\nurl = \"{}\"", world.server.url(SITE));
        let trust = format!("[trust]\nkeys = [\"{}\"]", publisher.root.public());
        world.configure_source(&source, &trust);
        let keys = publisher.keys(1).signed(&[&publisher.root]);
        serve(&world, "keys.1.json", &keys);
        Some((disk, world))
    }

    fn publish(world: &World, publisher: &Publisher, seq: u64, version: &str) {
        let release = release_of(version, &package(world, version));
        name(world, publisher, seq, version, &release);
    }

    #[test]
    fn trust_json_on_a_full_disk() {
        let publisher = Publisher::new();
        let Some((_disk, world)) = on_disk(&publisher, "size=8m") else {
            return;
        };
        publish(&world, &publisher, FIRST, "1.0.0");
        for _ in 0..2 {
            world.run(&[]).assert_app("1.0.0");
        }
        let remembered = world.read(".castoff/trust.json");
        publish(&world, &publisher, FIRST + 1, "1.1.0");
        let filler = world.path("filler");
        let file = fs::File::create(&filler).unwrap();
        let mut size = 1 << 20;
        // What fits, block by block.
        while size >= 4096 {
            let block = vec![0; size];
            if std::io::Write::write_all(&mut &file, &block).is_err() {
                size /= 2;
            }
        }
        let before = world.tree();
        let asked = |name: &str| {
            let path = format!("{SITE}{name}");
            let requests = world.server.requests();
            requests.iter().filter(|one| one.path() == path).count()
        };
        let run = world.run(&[]);
        run.assert_app("1.0.0").assert_told("DISK_FULL");
        assert_eq!(world.tree(), before);
        assert_eq!(world.read(".castoff/trust.json"), remembered);
        assert_eq!(asked("1.1.0.zip"), 0);
        assert!(world.log().contains("what was learnt cannot be kept"));
        drop(file);
        fs::remove_file(&filler).unwrap();
        world.run(&[]).assert_app("1.1.0");
    }

    /// A file that even the superuser cannot change, as long as this is not dropped.
    struct Immutable(PathBuf);

    impl Immutable {
        fn new(path: PathBuf) -> Option<Self> {
            let text = path.to_str().unwrap();
            or_left_out(tool("chattr", &["+i", text]))?;
            Some(Self(path))
        }
    }

    impl Drop for Immutable {
        fn drop(&mut self) {
            let _ = tool("chattr", &["-i", self.0.to_str().unwrap()]);
        }
    }

    #[test]
    fn trust_json_that_nobody_may_change() {
        let siege = Siege::new();
        let file = siege.world().path(".castoff/trust.json");
        let Some(immutable) = Immutable::new(file) else {
            return;
        };
        // With nothing to install, there is nothing to be said of it.
        siege.publish(FIRST + 1, "1.0.0");
        siege.follows("1.0.0");
        siege.publish(FIRST + 2, "1.1.0");
        siege.refused("PERMISSION_DENIED");
        assert_eq!(siege.asked("1.1.0.zip"), 0);
        // Who only asks is told.
        let check = siege.world().run(&["--castoff", "check", "--json"]);
        assert!(check.stdout.contains("\"offered\":\"1.1.0\""), "{check:?}");
        drop(immutable);
        siege.follows("1.1.0");
    }

    #[test]
    fn a_read_only_installation_and_its_copy() {
        let publisher = Publisher::new();
        let Some((disk, world)) = on_disk(&publisher, "size=64m") else {
            return;
        };
        publish(&world, &publisher, FIRST, "1.0.0");
        for _ in 0..2 {
            let mut command = world.command(&[]);
            command.env("HOME", world.home().join("administrator"));
            Run::of(&mut command).assert_app("1.0.0");
        }
        let installed = world.tree();
        disk.remount("ro");
        let user = world
            .home()
            .join("user/.local/share/org.castoff.test/client");
        // What the administrator's launcher has seen binds the user's.
        publish(&world, &publisher, FIRST - 1, "0.9.0");
        let run = world.run(&[]);
        run.assert_app("1.0.0").assert_told("TRUST_ROLLED_BACK");
        publish(&world, &publisher, FIRST + 1, "1.1.0");
        let zip = fs::read_to_string(user.join("local_version.json"));
        assert!(zip.is_err(), "{zip:?}");
        world.run(&[]).assert_app("1.1.0");
        assert!(user.join(".castoff/trust.json").exists());
        // And what the user's has seen stays seen.
        publish(&world, &publisher, FIRST, "1.0.0");
        let run = world.run(&[]);
        run.assert_app("1.1.0").assert_told("TRUST_ROLLED_BACK");
        assert_eq!(world.tree(), installed);
    }
}
