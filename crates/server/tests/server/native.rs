//! The addresses of `castoff publish` and of launchers.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castoff_publish::document::Folder;
use castoff_publish::signer::{NewPair, Signer};
use castoff_publish::{index, release};
use castoff_server::config::Read;
use castoff_server::registry::Role;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::site::{Answer, Site};

pub(crate) const APP: &str = "org.example.client";

/// A package whose files tell its version.
pub(crate) fn package(version: &str) -> Vec<u8> {
    zip(&[
        ("run.sh", &format!("echo {version}\n")),
        ("same.txt", "the same\n"),
    ])
}

pub(crate) fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A publisher of the app [`APP`] at a site.
pub(crate) struct Publisher<'a> {
    pub(crate) site: &'a Site,
    pub(crate) token: String,
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(site: &'a Site) -> Self {
        site.app(APP);
        Self {
            site,
            token: site.token(Role::Publish),
        }
    }

    fn path(path: &str) -> String {
        format!("/api/v1/apps/{APP}{path}")
    }

    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        self.site.ask(method, path, &all, body)
    }

    fn begin(&self, length: usize, metadata: &str) -> Answer {
        let length = length.to_string();
        let headers = [
            ("upload-length", length.as_str()),
            ("upload-metadata", metadata),
        ];
        self.ask("POST", &Self::path("/uploads"), &headers, b"")
    }

    fn patch(&self, location: &str, offset: usize, bytes: &[u8]) -> Answer {
        let offset = offset.to_string();
        let headers = [
            ("upload-offset", offset.as_str()),
            ("content-type", "application/offset+octet-stream"),
        ];
        self.ask("PATCH", location, &headers, bytes)
    }

    fn offset(&self, location: &str) -> usize {
        let answer = self.ask("HEAD", location, &[], b"").assert(200);
        answer.header("upload-offset").parse().unwrap()
    }

    /// Uploads bytes whole. Says the upload's address.
    pub(crate) fn upload(&self, name: &str, bytes: &[u8]) -> String {
        let begun = self.begin(bytes.len(), &metadata(name)).assert(201);
        let location = begun.header("location").to_owned();
        self.patch(&location, 0, bytes).assert(204);
        location
    }

    pub(crate) fn publish(&self, version: &str) -> Answer {
        self.publish_as(version, &package(version), &json!({}))
    }

    pub(crate) fn publish_as(&self, version: &str, bytes: &[u8], more: &Value) -> Answer {
        let location = self.upload(&format!("client-{version}.zip"), bytes);
        let id = location.rsplit('/').next().unwrap();
        let mut wish = json!({"version": version, "upload": id});
        for (name, value) in more.as_object().unwrap() {
            wish[name] = value.clone();
        }
        self.site.post(&Self::path("/releases"), &self.token, &wish)
    }

    pub(crate) fn activate(&self, version: &str) -> Answer {
        let path = Self::path("/channels/stable/activate");
        self.site
            .post(&path, &self.token, &json!({"version": version}))
    }

    fn withdraw(&self, version: &str) -> Answer {
        let path = Self::path("/channels/stable/withdraw");
        self.site
            .post(&path, &self.token, &json!({"version": version}))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Answer {
        self.ask(
            "PUT",
            &Self::path(&format!("/documents/{name}")),
            &[],
            bytes,
        )
    }

    fn current(&self) -> Value {
        self.site.get(&format!("/apps/{APP}/check")).json()["version"].clone()
    }

    fn releases(&self) -> Value {
        self.ask("GET", &Self::path("/releases"), &[], b"")
            .assert(200)
            .json()
    }
}

fn metadata(name: &str) -> String {
    format!("filename {}", STANDARD.encode(name))
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (status, Some(code)),
        "{answer:?}"
    );
}

#[test]
fn what_is_published_and_activated_is_what_launchers_get() {
    let site = Site::start();
    let publisher = Publisher::new(&site);
    refused(&site.get(&format!("/apps/{APP}/check")), 404, "NOT_FOUND");
    let more = json!({"notes": "New\nthings", "entry_point": "run.sh", "critical_below": "0.9"});
    let release = publisher
        .publish_as("1.0.0", &package("1.0.0"), &more)
        .assert(201)
        .json();
    assert_eq!(release["active"], json!([]));
    refused(&site.get(&format!("/apps/{APP}/check")), 404, "NOT_FOUND");
    publisher.activate("1.0.0").assert(200);
    let check = site.get(&format!("/apps/{APP}/check")).assert(200);
    let answer = check.json();
    assert_eq!(answer["version"], "1.0.0");
    assert_eq!(answer["changelog"], "New\nthings");
    assert_eq!(answer["critical_below"], "0.9");
    assert_eq!(answer["entry_point"], "run.sh");
    assert_eq!(answer["rollout"], Value::Null);
    let url = answer["download_url"].as_str().unwrap();
    assert_eq!(url, site.url(answer["file"].as_str().unwrap()));
    let bytes = site.get(answer["file"].as_str().unwrap()).assert(200).body;
    assert_eq!(bytes, package("1.0.0"));
    assert_eq!(
        site.get(&format!("/apps/{APP}/client-1.0.0.zip")).body,
        bytes
    );
    // Not again.
    let tag = check.header("etag").to_owned();
    let again = site.ask(
        "GET",
        &format!("/apps/{APP}/check"),
        &[("if-none-match", &tag)],
        b"",
    );
    assert_eq!((again.status, again.body.len()), (304, 0));
    publisher.publish("1.1.0").assert(201);
    publisher.activate("1.1.0").assert(200);
    let again = site.ask(
        "GET",
        &format!("/apps/{APP}/check"),
        &[("if-none-match", &tag)],
        b"",
    );
    assert_eq!(again.assert(200).json()["version"], "1.1.0");
    let active = publisher.releases();
    assert_eq!(active["releases"][0]["active"], json!(["stable"]));
    assert_eq!(active["releases"][1]["active"], json!([]));
    assert_eq!(
        active["channels"]["stable"],
        json!({"version": "1.1.0", "seq": null, "rollout": 100})
    );
}

#[test]
fn publishing_twice_is_no_error_and_no_version_is_ever_changed() {
    let site = Site::start();
    let publisher = Publisher::new(&site);
    publisher.publish("1.0.0").assert(201);
    publisher.publish("1.0.0").assert(200);
    let other = zip(&[("run.sh", "echo other\n")]);
    refused(
        &publisher.publish_as("1.0.0", &other, &json!({})),
        409,
        "VERSION_EXISTS",
    );
    // However it is written.
    refused(
        &publisher.publish_as("v1.0", &other, &json!({})),
        409,
        "VERSION_EXISTS",
    );
    let windows = json!({"target": "windows-x86_64"});
    refused(
        &publisher.publish_as("1.0.0", &other, &windows),
        409,
        "CONFLICT",
    );
    let location = publisher.upload("client-1.0.0-win.zip", &other);
    let wish = json!({"version": "1.0.0", "target": "windows-x86_64", "upload": location.rsplit('/').next()});
    let answer = site
        .post(&Publisher::path("/releases"), &publisher.token, &wish)
        .assert(201);
    assert_eq!(answer.json()["packages"].as_array().unwrap().len(), 2);
    let check = |target: &str| {
        site.get(&format!("/apps/{APP}/check?target={target}"))
            .json()["file_size"]
            .clone()
    };
    publisher.activate("1.0.0").assert(200);
    assert_eq!(check("windows-x86_64"), other.len());
    assert_eq!(check("linux-x86_64"), package("1.0.0").len());
}

#[test]
fn uploads_go_on_where_they_broke_off() {
    let site = Site::start();
    let publisher = Publisher::new(&site);
    let bytes = package("1.0.0");
    let begun = publisher
        .begin(bytes.len(), &metadata("client-1.0.0.zip"))
        .assert(201);
    let location = begun.header("location").to_owned();
    assert_eq!(publisher.offset(&location), 0);
    publisher.patch(&location, 0, &bytes[..10]).assert(204);
    assert_eq!(publisher.offset(&location), 10);
    for wrong in [0, 9, 11] {
        refused(
            &publisher.patch(&location, wrong, &bytes[10..]),
            409,
            "CONFLICT",
        );
    }
    // A connection that breaks in the middle of what it announced.
    let mut stream = TcpStream::connect(site.address).unwrap();
    write!(
        stream,
        "PATCH {location} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nupload-offset: 10\r\n\
         content-type: application/offset+octet-stream\r\ncontent-length: {}\r\n\r\n",
        publisher.token,
        bytes.len() - 10
    )
    .unwrap();
    stream.write_all(&bytes[10..30]).unwrap();
    stream.flush().unwrap();
    while publisher.offset(&location) < 30 {
        std::thread::yield_now();
    }
    drop(stream);
    let unfinished = json!({"version": "1.0.0", "upload": location.rsplit('/').next()});
    let answer = site.post(&Publisher::path("/releases"), &publisher.token, &unfinished);
    refused(&answer, 409, "CONFLICT");
    let site_token = publisher.token.clone();
    publisher.patch(&location, 30, &bytes[30..]).assert(204);
    refused(
        &publisher.patch(&location, bytes.len(), b"x"),
        413,
        "TOO_LARGE",
    );
    let answer = site.post(&Publisher::path("/releases"), &site_token, &unfinished);
    assert_eq!(
        answer.assert(201).json()["packages"][0]["size"],
        bytes.len()
    );
    // It is done with.
    assert_eq!(publisher.ask("HEAD", &location, &[], b"").status, 404);
    assert_eq!(
        std::fs::read_dir(site.server.config.spool())
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn an_upload_that_is_given_up_or_wrong_leaves_nothing() {
    let site = Site::with(|config| config.max_upload = 10_000);
    let publisher = Publisher::new(&site);
    let bytes = package("1.0.0");
    refused(
        &publisher.begin(10_001, &metadata("a.zip")),
        413,
        "TOO_LARGE",
    );
    refused(&publisher.begin(5, "filename *"), 400, "REQUEST_INVALID");
    let location = publisher.upload("a.zip", &bytes);
    publisher.ask("DELETE", &location, &[], b"").assert(204);
    assert_eq!(publisher.ask("HEAD", &location, &[], b"").status, 404);
    let digest = STANDARD.encode("0".repeat(64));
    let begun = publisher.begin(
        bytes.len(),
        &format!("{},sha256 {digest}", metadata("a.zip")),
    );
    let location = begun.header("location").to_owned();
    publisher.patch(&location, 0, &bytes).assert(204);
    let wish = json!({"version": "1.0.0", "upload": location.rsplit('/').next()});
    refused(
        &site.post(&Publisher::path("/releases"), &publisher.token, &wish),
        422,
        "PACKAGE_INVALID",
    );
    for (name, hostile) in [
        ("outside", zip(&[("../a", "x")])),
        ("absolute", zip(&[("/etc/a", "x")])),
        ("twice", zip(&[("A", "x"), ("a", "y")])),
        ("no zip", b"PK and no more".to_vec()),
        ("nothing", Vec::new()),
    ] {
        let answer = publisher.publish_as("1.0.0", &hostile, &json!({}));
        assert_eq!(answer.status, 422, "{name}: {}", answer.text());
    }
    for name in [
        "../a.zip",
        "a/b.zip",
        "check",
        "stable.json",
        ".a",
        "a b.zip",
        "",
    ] {
        let location = publisher.upload(name, &bytes);
        let wish = json!({"version": "1.0.0", "upload": location.rsplit('/').next()});
        let answer = site.post(&Publisher::path("/releases"), &publisher.token, &wish);
        refused(&answer, 400, "REQUEST_INVALID");
        publisher.ask("DELETE", &location, &[], b"");
    }
    assert_eq!(publisher.releases()["releases"], json!([]));
    assert_eq!(
        std::fs::read_dir(site.server.config.spool())
            .unwrap()
            .count(),
        0
    );
    let media = site.server.config.media();
    let kept = |name: &str| std::fs::read_dir(media.join(name)).map_or(0, Iterator::count);
    assert_eq!(kept("nuitkal_packs"), 0);
}

#[test]
fn the_current_one_is_kept_and_the_withdrawn_one_never_comes_back() {
    let site = Site::start();
    let publisher = Publisher::new(&site);
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        publisher.publish(version).assert(201);
    }
    refused(&publisher.activate("9.0.0"), 404, "NOT_FOUND");
    publisher.activate("1.0.0").assert(200);
    publisher.activate("1.2.0").assert(200);
    // 1.1.0 was never current.
    let answer = publisher.withdraw("1.2.0").assert(200).json();
    assert_eq!(
        (&answer["withdrawn"], &answer["version"]),
        (&json!("1.2.0"), &json!("1.0.0"))
    );
    assert_eq!(publisher.current(), "1.0.0");
    refused(&publisher.activate("1.2.0"), 409, "CONFLICT");
    publisher.activate("1.1.0").assert(200);
    assert_eq!(publisher.current(), "1.1.0");
    publisher.withdraw("1.1.0").assert(200);
    assert_eq!(
        publisher.withdraw("1.0.0").assert(200).json()["version"],
        Value::Null
    );
    refused(&site.get(&format!("/apps/{APP}/check")), 404, "NOT_FOUND");
}

#[test]
fn ranges_of_packages_are_answered() {
    let site = Site::start();
    let publisher = Publisher::new(&site);
    let release = publisher.publish("1.0.0").assert(201).json();
    let path = release["packages"][0]["url"].as_str().unwrap();
    let whole = package("1.0.0");
    let get = |headers: &[(&str, &str)]| site.ask("GET", path, headers, b"");
    let answer = get(&[]).assert(200);
    assert_eq!(
        (answer.body.as_slice(), answer.header("accept-ranges")),
        (whole.as_slice(), "bytes")
    );
    assert_eq!(answer.header("content-type"), "application/zip");
    assert!(answer.header("cache-control").contains("immutable"));
    let (tag, date) = (
        answer.header("etag").to_owned(),
        answer.header("last-modified").to_owned(),
    );
    let part = get(&[("range", "bytes=10-19"), ("if-range", &tag)]).assert(206);
    assert_eq!(part.body, whole[10..20]);
    assert_eq!(
        part.header("content-range"),
        format!("bytes 10-19/{}", whole.len())
    );
    assert_eq!(
        get(&[("range", "bytes=10-"), ("if-range", &date)])
            .assert(206)
            .body,
        whole[10..]
    );
    assert_eq!(
        get(&[("range", "bytes=-5")]).assert(206).body,
        whole[whole.len() - 5..]
    );
    assert_eq!(
        get(&[("range", "bytes=10-"), ("if-range", "\"other\"")])
            .assert(200)
            .body,
        whole
    );
    assert_eq!(get(&[("range", "bytes=0-1,4-5")]).assert(200).body, whole);
    let beyond = get(&[("range", "bytes=99999-")]).assert(416);
    assert_eq!(
        beyond.header("content-range"),
        format!("bytes */{}", whole.len())
    );
    get(&[("if-none-match", &tag)]).assert(304);
    get(&[("if-modified-since", &date)]).assert(304);
    assert_eq!(site.ask("HEAD", path, &[], b"").assert(200).body, b"");
    for other in [
        "/media/nothing",
        "/media/../castoff.sqlite",
        "/media/%2e%2e/castoff.sqlite",
        "/media//a",
    ] {
        assert_eq!(site.get(other).status, 404, "{other}");
    }
    // Those that were taken whole are counted: four.
    site.wait(site.server.downloads.write(&site.server))
        .unwrap();
    let counted = publisher.releases()["releases"][0]["downloads"].clone();
    assert!(counted.as_i64().unwrap() >= 3, "{counted}");
}

#[test]
fn tokens_let_their_bearers_do_what_they_are_for() {
    let site = Site::with(|config| config.read = Read::Token);
    let publisher = Publisher::new(&site);
    let (reader, admin) = (site.token(Role::Read), site.token(Role::Admin));
    publisher.publish("1.0.0").assert(201);
    publisher.activate("1.0.0").assert(200);
    let check = format!("/apps/{APP}/check");
    refused(&site.get(&check), 401, "TOKEN_MISSING");
    let prefixed = site.get(&format!("/t/{reader}{check}")).assert(200).json();
    // Links lead back the same way.
    let file = prefixed["file"].as_str().unwrap();
    assert!(file.starts_with(&format!("/t/{reader}/media/")), "{file}");
    assert_eq!(site.get(file).assert(200).body, package("1.0.0"));
    refused(
        &site.get(file.strip_prefix(&format!("/t/{reader}")).unwrap()),
        401,
        "TOKEN_MISSING",
    );
    let apps = |token: &str| site.post("/api/v1/apps", token, &json!({"key": "org.example.other"}));
    refused(&apps(&reader), 403, "ROLE_MISSING");
    refused(&apps(&publisher.token), 403, "ROLE_MISSING");
    apps(&admin).assert(201);
    refused(&apps(&admin), 409, "CONFLICT");
    let wish = json!({"version": "1.0.0"});
    let activate = Publisher::path("/channels/stable/activate");
    refused(&site.post(&activate, &reader, &wish), 403, "ROLE_MISSING");
    site.wait(async {
        let mut change = site.server.registry.change("a test").await.unwrap();
        let tokens = site.server.registry.tokens().await.unwrap();
        for token in tokens.iter().filter(|token| token.role == Role::Read) {
            assert!(change.revoke_token(&token.name).await.unwrap());
        }
        change.commit().await.unwrap();
    });
    refused(
        &site.get(&format!("/t/{reader}{check}")),
        401,
        "TOKEN_INVALID",
    );
}

#[test]
fn who_guesses_tokens_has_to_wait_and_nobody_else() {
    let site = Site::with(|config| config.trusted_proxies = vec![[127, 0, 0, 1].into()]);
    let publisher = Publisher::new(&site);
    let guess = |client: &str| {
        let headers = [
            ("authorization", "Bearer ct_guess"),
            ("x-forwarded-for", client),
        ];
        site.ask("GET", "/api/v1/apps", &headers, b"")
    };
    for _ in 0..10 {
        refused(&guess("10.0.0.1"), 401, "TOKEN_INVALID");
    }
    let answer = guess("10.0.0.1");
    refused(&answer, 429, "TOO_MANY");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() <= 61);
    // What a client says of itself does not count, what the proxy adds does.
    refused(&guess("10.0.0.9, 10.0.0.1"), 429, "TOO_MANY");
    refused(&guess("10.0.0.2"), 401, "TOKEN_INVALID");
    publisher.publish("1.0.0").assert(201);
}

#[test]
fn addresses_in_answers_are_those_that_were_asked() {
    let site = Site::with(|config| config.trusted_proxies = vec![[127, 0, 0, 1].into()]);
    let publisher = Publisher::new(&site);
    publisher.publish("1.0.0").assert(201);
    publisher.activate("1.0.0").assert(200);
    let url = |site: &Site, headers: &[(&str, &str)]| {
        let answer = site
            .ask("GET", &format!("/apps/{APP}/check"), headers, b"")
            .json();
        answer["download_url"]
            .as_str()
            .unwrap()
            .split("/media/")
            .next()
            .unwrap()
            .to_owned()
    };
    let forwarded = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "updates.example.com"),
    ];
    assert_eq!(url(&site, &forwarded), "https://updates.example.com");
    assert_eq!(url(&site, &[("x-forwarded-host", "a/b\"")]), site.url(""));
    let strict = site.beside(|config| config.trusted_proxies.clear());
    assert_eq!(url(&strict, &forwarded), strict.url(""));
    let named = site.beside(|config| config.public_url = Some("https://example.org/x".to_owned()));
    assert_eq!(url(&named, &[]), "https://example.org/x");
}

/// A publisher's own folder: a key pair, packages and documents.
struct Desk {
    folder: tempfile::TempDir,
    signer: Signer,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let pair = NewPair::named(folder.path(), "publisher").unwrap();
        pair.make(None).unwrap();
        let signer = Signer::open(&pair.secret, &mut |_: &Path| unreachable!()).unwrap();
        Self { folder, signer }
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap()
    }

    /// Signs a release of the package that a publisher has published.
    fn release(&self, version: &str) -> Vec<u8> {
        let path = self.folder.path().join(format!("client-{version}.zip"));
        std::fs::write(&path, package(version)).unwrap();
        let draft = release::Draft {
            app: APP.to_owned(),
            version: version.parse().unwrap(),
            target: None,
            package: path,
            entry_point: Some("run.sh".to_owned()),
            notes: None,
            urls: Vec::new(),
            critical_below: None,
            system: None,
            launchers: Vec::new(),
        };
        release::sign(&draft, std::slice::from_ref(&self.signer), &[]).unwrap();
        self.read(&format!("release-{version}.json"))
    }

    fn index(&self, version: &str) -> Vec<u8> {
        let draft = index::Draft {
            app: Some(APP.to_owned()),
            channel: "stable".to_owned(),
            current: version.parse().unwrap(),
            revoked: Vec::new(),
            rollout: None,
            expires: TimeDelta::days(30),
        };
        let folder = Folder::open(self.folder.path()).unwrap();
        let signers = std::slice::from_ref(&self.signer);
        index::make(&folder, &draft, signers, &[], Utc::now()).unwrap();
        self.read("stable.json")
    }
}

#[test]
fn a_publisher_signs_the_index_where_the_server_has_no_key() {
    let (site, desk) = (Site::start(), Desk::new());
    let publisher = Publisher::new(&site);
    publisher.publish("1.0.0").assert(201);
    let signed = desk.release("1.0.0");
    publisher.put("release-1.0.0.json", &signed).assert(200);
    publisher.put("release-1.0.0.json", &signed).assert(200);
    refused(&publisher.activate("1.0.0"), 409, "INDEX_NEEDED");
    let first = desk.index("1.0.0");
    publisher.put("stable.json", &first).assert(200);
    assert_eq!(
        site.get(&format!("/apps/{APP}/stable.json"))
            .assert(200)
            .body,
        first
    );
    assert_eq!(
        site.get(&format!("/apps/{APP}/release-1.0.0.json")).body,
        signed
    );
    assert_eq!(publisher.current(), "1.0.0");
    assert_eq!(publisher.releases()["channels"]["stable"]["seq"], 1);
    // The check brings it too.
    let answer = site.get(&format!("/apps/{APP}/check")).json();
    assert_eq!(
        answer["release"],
        serde_json::from_slice::<Value>(&signed).unwrap()
    );
    // Nothing goes back.
    let second = desk.index("1.0.0");
    publisher.put("stable.json", &second).assert(200);
    refused(&publisher.put("stable.json", &first), 409, "INDEX_OLD");
    publisher.put("stable.json", &second).assert(200);
    // An index of what is not here, or is here otherwise.
    let other = desk.release("1.1.0");
    let ahead = desk.index("1.1.0");
    refused(&publisher.put("stable.json", &ahead), 404, "NOT_FOUND");
    publisher
        .publish_as("1.1.0", &zip(&[("run.sh", "other")]), &json!({}))
        .assert(201);
    refused(
        &publisher.put("release-1.1.0.json", &other),
        409,
        "CONFLICT",
    );
    refused(&publisher.put("stable.json", &ahead), 409, "CONFLICT");
    for (name, bytes) in [
        ("release-1.0.0.json", b"{}".as_slice()),
        ("release-1.2.0.json", &signed),
        ("keys.1.json", &signed),
        ("stable.json", b"\xff"),
        ("a", b"nothing"),
    ] {
        refused(&publisher.put(name, bytes), 422, "DOCUMENT_INVALID");
    }
    assert_eq!(publisher.current(), "1.0.0");
}

#[test]
fn a_server_with_the_index_key_signs_each_activation_with_the_next_number() {
    let desk = Desk::new();
    let key = desk.folder.path().join("publisher.key");
    let site = Site::with(|config| {
        config.index_keys.insert(APP.to_owned(), key);
    });
    let publisher = Publisher::new(&site);
    for version in ["1.0.0", "1.1.0"] {
        publisher.publish(version).assert(201);
        publisher
            .put(&format!("release-{version}.json"), &desk.release(version))
            .assert(200);
    }
    let index = || site.get(&format!("/apps/{APP}/stable.json")).assert(200);
    let payload = |answer: &Answer| -> Value {
        let envelope: Value = answer.json();
        let text = envelope["payload"]
            .as_str()
            .or_else(|| envelope["signed"].as_str());
        let bytes = STANDARD.decode(text.unwrap_or_else(|| panic!("{envelope}")));
        serde_json::from_slice(&bytes.unwrap()).unwrap()
    };
    assert_eq!(publisher.activate("1.0.0").assert(200).json()["seq"], 1);
    assert_eq!(publisher.activate("1.1.0").assert(200).json()["seq"], 2);
    assert_eq!(payload(&index())["current"]["version"], "1.1.0");
    assert_eq!(publisher.withdraw("1.1.0").assert(200).json()["seq"], 3);
    let last = payload(&index());
    assert_eq!(
        (&last["current"]["version"], &last["revoked"]),
        (&json!("1.0.0"), &json!(["1.1.0"]))
    );
    // What is fresh is not signed again, and what is not, is.
    site.wait(castoff_server::publishing::renew(&site.server))
        .unwrap();
    assert_eq!(payload(&index())["seq"], 3);
    publisher.publish("1.2.0").assert(201);
    refused(&publisher.activate("1.2.0"), 409, "CONFLICT");
    assert_eq!(publisher.current(), "1.0.0");
    // Several servers, each number once.
    let second = site.beside(|_| {});
    publisher
        .put("release-1.2.0.json", &desk.release("1.2.0"))
        .assert(200);
    let numbers = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (numbers, publisher) = (&numbers, &publisher);
            let site = if client % 2 == 0 { &site } else { &second };
            scope.spawn(move || {
                for round in 0..4 {
                    let version = ["1.0.0", "1.2.0"][(client + round) % 2];
                    let path = Publisher::path("/channels/stable/activate");
                    let answer = site.post(&path, &publisher.token, &json!({"version": version}));
                    let seq = answer.assert(200).json()["seq"].as_i64().unwrap();
                    numbers.lock().unwrap().push(seq);
                }
            });
        }
    });
    let mut numbers = numbers.into_inner().unwrap();
    numbers.sort_unstable();
    assert_eq!(numbers, (4..36).collect::<Vec<_>>());
    assert_eq!(payload(&index())["seq"], 35);
}

#[test]
fn every_address_is_described_and_every_description_is_answered() {
    let site = Site::start();
    let description = site.get("/openapi.json").assert(200).json();
    let paths = description["paths"].as_object().unwrap();
    let source = include_str!("../../src/native/mod.rs");
    for route in source.split(".route(\"").skip(1) {
        let path = route.split('"').next().unwrap();
        assert!(paths.contains_key(path), "{path} is not described");
    }
    let admin = site.token(Role::Admin);
    let bearer = format!("Bearer {admin}");
    for (path, methods) in paths {
        let methods = methods
            .as_object()
            .unwrap()
            .keys()
            .filter(|name| *name != "parameters");
        for method in methods {
            let path = path
                .replace("{app}", "org.example.none")
                .replace("{id}", &"0".repeat(32));
            let path = path.replace(['{', '}'], "");
            let answer = site.ask(
                &method.to_uppercase(),
                &path,
                &[("authorization", &bearer)],
                b"",
            );
            assert_ne!(answer.status, 405, "{method} {path}");
            assert!(
                !answer.text().contains("nothing under this address"),
                "{method} {path}"
            );
            assert!(answer.status < 500, "{method} {path}: {}", answer.text());
        }
    }
}
