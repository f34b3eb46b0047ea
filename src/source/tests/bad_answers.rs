//! Bad answers, and what every source has to say of them: the code, the words that matter and the hint.
//!
//! What is the same for all sources that ask a server is one list of functions, by the names of which
//! [`cells`] makes the tests. The forges run it too, beside what is bad in their own words
//! (`src/source/forge/tests.rs`). The other four have a module each here; the index has one for each
//! of its documents.
//!
//! What cannot happen:
//!
//! - `check`, `check-files`: several files, of which none fits. An answer announces one package, or the
//!   files themselves; `no_package` is one that announces neither.
//! - `index`, `folder`: an answer without a release. An index names one, or it is none (`no_release`).
//! - `folder`: statuses, limits of questions and redirects. A file has none of them; what cannot be
//!   opened is `unreachable`, and where a document leads is signed.

use std::path::Path;

use castoff_testkit::http::{Reply, Server};
use castoff_testkit::sign::{Document, Signer, role};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::ask;
use crate::config::SourceConfig;
use crate::fetch::tests::source;
use crate::launcher::messages::{Lang, hint, what};
use crate::source::Source;
use crate::source::check::Check;
use crate::source::check_files::CheckFiles;
use crate::source::folder::Folder;
use crate::source::index::Index;
use crate::trust::Trusted;
use crate::{Code, Result};

/// Makes a module for each source, with a test for each name that the file has a function of.
macro_rules! cells {
    ($($source:ident = $kit:ident { $($name:ident,)* })*) => {
        $(mod $source {
            $(#[test]
            fn $name() {
                super::$name(super::$kit);
            })*
        })*
    };
}
pub(in crate::source) use cells;

/// A source that asks a server.
pub(in crate::source) trait Asked: Copy {
    /// What it makes of this answer.
    fn answered(self, reply: &Reply) -> Result<Trusted>;

    /// The code for an answer that is none.
    fn senseless(self) -> Code {
        Code::AnswerInvalid
    }
}

/// The error has this code, and a person reads these words and this hint; gives what they read.
#[track_caller]
pub(in crate::source) fn refused(
    result: Result<Trusted>,
    code: Code,
    words: &[&str],
    advice: &str,
) -> String {
    let error = result.map(|it| it.version.clone()).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    let (what, hint) = (what(&error, Lang::En), hint(&error, Lang::En));
    for word in words {
        assert!(what.contains(word), "{word}: {what}");
    }
    assert!(hint.contains(advice), "{hint}");
    what
}

const TOKEN_ADVICE: &str = "source.token, or a header in source.headers";
const SIGN_IN_ADVICE: &str = "a sign-in page, sign in first";
const PUBLISHER_ADVICE: &str = "tell the publisher";

const PAGE: &str = "<!DOCTYPE html><title>Sign in</title>";

pub(in crate::source) fn unreachable(source: impl Asked) {
    let result = source.answered(&Reply::status(200).reset_at_once());
    let words = ["could not be reached (http://127.0.0.1:"];
    refused(
        result,
        Code::Unreachable,
        &words,
        "Check the network connection",
    );
}

pub(in crate::source) fn status_401(source: impl Asked) {
    let reply = Reply::json(r#"{"message":"401 Unauthorized"}"#).with_status(401);
    let result = source.answered(&reply);
    let words = ["refuses access (401, http://127.0.0.1:"];
    refused(result, Code::AccessDenied, &words, TOKEN_ADVICE);
}

pub(in crate::source) fn status_403(source: impl Asked) {
    let reply = Reply::json(r#"{"message":"Forbidden"}"#).with_status(403);
    let result = source.answered(&reply.header("X-RateLimit-Remaining", "41"));
    let words = ["refuses access (403, http://127.0.0.1:"];
    refused(result, Code::AccessDenied, &words, TOKEN_ADVICE);
}

pub(in crate::source) fn too_many_questions(source: impl Asked) {
    let said = |reply: Reply| {
        let words = ["answers no more questions until", "http://127.0.0.1:"];
        let result = source.answered(&reply);
        refused(
            result,
            Code::RateLimited,
            &words,
            "nothing you need to do: it is asked again",
        )
    };
    // As GitHub says it, and Gitee; as GitLab does.
    for (status, prefix) in [(403, "X-RateLimit-"), (429, "RateLimit-")] {
        let reply = Reply::status(status)
            .header(&format!("{prefix}Limit"), "60")
            .header(&format!("{prefix}Remaining"), "0")
            .header(&format!("{prefix}Reset"), "1768675258");
        let said = said(reply);
        assert!(said.contains("until 2026-01-17T18:40:58Z"), "{said}");
    }
    for reply in [
        Reply::status(403).header("Retry-After", "30"),
        Reply::status(429).header("Retry-After", "30"),
        Reply::status(429),
    ] {
        let said = said(reply);
        let (_, until) = said.split_once("until ").unwrap();
        let until: DateTime<Utc> = until.split(' ').next().unwrap().parse().unwrap();
        let wait = until.signed_duration_since(Utc::now()).num_seconds();
        assert!((-20..=60).contains(&wait), "{said}");
    }
}

pub(in crate::source) fn status_500(source: impl Asked) {
    let result = source.answered(&Reply::status(500).body(PAGE));
    let words = ["answered with an error (500, http://127.0.0.1:"];
    refused(
        result,
        Code::HttpStatus,
        &words,
        "The next start tries again",
    );
}

pub(in crate::source) fn web_page(source: impl Asked) {
    let result = source.answered(&Reply::html(PAGE));
    let said = refused(result, source.senseless(), &["Sign in"], SIGN_IN_ADVICE);
    // A signed document is judged by its bytes alone.
    if source.senseless() == Code::AnswerInvalid {
        assert!(said.contains("text/html"), "{said}");
    }
}

pub(in crate::source) fn truncated_answer(source: impl Asked) {
    for body in ["[{\"tag_name\": \"v1", "{\"payload\": ", ""] {
        let result = source.answered(&Reply::json(body));
        let words = ["EOF while parsing"];
        refused(result, source.senseless(), &words, PUBLISHER_ADVICE);
    }
}

/// A server that answers what is asked with one document.
#[derive(Clone, Copy)]
enum Endpoint {
    Whole,
    FileByFile,
}

const CHECK: Endpoint = Endpoint::Whole;
const CHECK_FILES: Endpoint = Endpoint::FileByFile;

const ENDPOINT: &str = "/api/apps/1/active/";

impl Endpoint {
    fn good(self) -> Value {
        let hash = "0".repeat(64);
        match self {
            Self::Whole => json!({"version": "1.1.0", "file": "/a.zip", "file_hash": hash}),
            Self::FileByFile => json!({"active_version": "1.1.0", "add": [
                {"path": "main.py", "hash": hash, "size": 1, "url": "/a"},
            ]}),
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::Whole => "version",
            Self::FileByFile => "active_version",
        }
    }

    fn ask(self, source: &SourceConfig) -> Result<Trusted> {
        let asked: Box<dyn Source> = match self {
            Self::Whole => Box::new(Check::new(source)),
            Self::FileByFile => Box::new(CheckFiles::new(source)),
        };
        ask(source, None, None, |ask, trust| asked.latest(ask, trust))
    }

    /// What it makes of a good answer in which this place has another value; null removes it.
    fn changed(self, place: &str, value: Value) -> Result<Trusted> {
        let mut answer = self.good();
        match answer.pointer_mut(place) {
            Some(field) => *field = value,
            None => answer[place.trim_start_matches('/')] = value,
        }
        self.answered(&Reply::json(&answer.to_string()))
    }
}

impl Asked for Endpoint {
    fn answered(self, reply: &Reply) -> Result<Trusted> {
        let server = Server::start();
        server.route(ENDPOINT, reply.clone());
        self.ask(&source(&server.url(ENDPOINT)))
    }
}

const KEYS: &str = "keys.1.json";
const STABLE: &str = "stable.json";
const RELEASE: &str = "release-1.1.0.json";

/// Signed documents, and which of them is bad.
#[derive(Clone, Copy)]
struct Papers {
    bad: &'static str,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Server,
    Folder,
}

const INDEX: Papers = Papers {
    bad: STABLE,
    place: Place::Server,
};
const INDEX_KEYS: Papers = Papers { bad: KEYS, ..INDEX };
const INDEX_RELEASE: Papers = Papers {
    bad: RELEASE,
    ..INDEX
};
const FOLDER: Papers = Papers {
    place: Place::Folder,
    ..INDEX
};

impl Papers {
    /// The documents by their names, each changed before it is signed.
    fn signed(
        signer: &Signer,
        change: &dyn Fn(&str, Document) -> Document,
    ) -> Vec<(&'static str, String)> {
        let role = role(&[signer], 1);
        let keys = change(KEYS, Document::keys(1, &role, &role, &role));
        let release = change(RELEASE, Document::release("1.1.0", "app.zip", b"bytes"));
        let index = change(STABLE, Document::index(1, "1.1.0", &release));
        [(KEYS, keys), (STABLE, index), (RELEASE, release)]
            .map(|(name, document)| (name, document.signed(&[signer])))
            .into()
    }

    /// Asks for them where they are put.
    fn ask(self, signer: &Signer, documents: &[(&str, String)]) -> Result<Trusted> {
        match self.place {
            Place::Server => {
                let server = Server::start();
                for (name, text) in documents {
                    server.route(&format!("/{name}"), Reply::json(text));
                }
                Self::at(&server.url("/"), signer)
            }
            Place::Folder => {
                let folder = tempfile::tempdir().unwrap();
                for (name, text) in documents {
                    std::fs::write(folder.path().join(name), text).unwrap();
                }
                Self::within(folder.path(), signer)
            }
        }
    }

    fn at(url: &str, signer: &Signer) -> Result<Trusted> {
        Self::asked_as(&source(url), signer)
    }

    fn asked_as(source: &SourceConfig, signer: &Signer) -> Result<Trusted> {
        ask(source, Some(signer), None, |ask, trust| {
            Index::new(source).latest(ask, trust)
        })
    }

    fn within(folder: &Path, signer: &Signer) -> Result<Trusted> {
        let source = source(folder.to_str().unwrap());
        ask(&source, Some(signer), None, |ask, trust| {
            Folder::new(&source).latest(ask, trust)
        })
    }

    /// What comes of it when the bad one is this.
    fn told(self, text: &str) -> Result<Trusted> {
        let signer = Signer::new();
        let mut documents = Self::signed(&signer, &|_, document| document);
        documents.retain(|(name, _)| *name != self.bad);
        documents.push((self.bad, text.to_owned()));
        self.ask(&signer, &documents)
    }

    /// What comes of it when a document is signed with another value at this place.
    fn changed(self, name: &str, place: &str, value: &Value) -> Result<Trusted> {
        let signer = Signer::new();
        let documents = Self::signed(&signer, &|it, document| {
            if it == name {
                document.with(place, value.clone())
            } else {
                document
            }
        });
        self.ask(&signer, &documents)
    }
}

/// Of those on a server.
impl Asked for Papers {
    fn answered(self, reply: &Reply) -> Result<Trusted> {
        let (server, signer) = (Server::start(), Signer::new());
        for (name, text) in Self::signed(&signer, &|_, document| document) {
            let good = Reply::json(&text);
            let reply = if name == self.bad { reply } else { &good };
            server.route(&format!("/{name}"), reply.clone());
        }
        Self::at(&server.url("/"), &signer)
    }

    fn senseless(self) -> Code {
        Code::TrustInvalid
    }
}

cells! {
    check = CHECK {
        unreachable, status_401, status_403, too_many_questions, endpoint_404, status_500, web_page,
        truncated_answer, wrong_types_in_a_check, wrong_shapes, no_active_version, no_package,
        endpoint_moved, active_version_that_is_none,
    }
    check_files = CHECK_FILES {
        unreachable, status_401, status_403, too_many_questions, endpoint_404, status_500, web_page,
        truncated_answer, wrong_types_in_a_list_of_files, wrong_shapes, no_active_version,
        no_package, endpoint_moved, active_version_that_is_none,
    }
    index = INDEX {
        unreachable, status_401, status_403, too_many_questions, document_404, status_500, web_page,
        truncated_answer, wrong_types_in_documents, wrong_envelopes, no_release,
        no_package_for_this_machine, index_moved, signed_version_that_is_none,
    }
    index_keys = INDEX_KEYS {
        unreachable, status_401, keys_403, too_many_questions, status_500, web_page,
        truncated_answer, wrong_envelopes,
    }
    index_release = INDEX_RELEASE {
        unreachable, status_401, status_403, too_many_questions, document_404, status_500, web_page,
        truncated_answer, wrong_envelopes, index_moved,
    }
    folder = FOLDER {
        folder_unreachable, document_that_is_none, document_missing, page_in_a_document,
        truncated_document, wrong_types_in_documents, wrong_envelopes, no_release,
        no_package_for_this_machine, signed_version_that_is_none,
    }
}

fn endpoint_404(endpoint: Endpoint) {
    let answered = |body: &str| endpoint.answered(&Reply::status(404).body(body));
    for body in [PAGE, "[]", r#"{"error":"not found"}"#] {
        let words = ["answered with an error (404, http://127.0.0.1:"];
        refused(answered(body), Code::HttpStatus, &words, PUBLISHER_ADVICE);
    }
    let unknown = answered(r#"{"detail":"No App matches the given query."}"#);
    let words = ["does not offer this app", "No App matches"];
    refused(unknown, Code::AppUnavailable, &words, "source.url names it");
}

/// As both Django servers say it.
fn no_active_version(endpoint: Endpoint) {
    for (status, body, said) in [
        (404, r#"{"error":"应用 demo 没有激活版本"}"#, "没有激活版本"),
        (
            400,
            r#"{"error":"该应用暂无激活版本"}"#,
            "该应用暂无激活版本",
        ),
        (404, r#"{"error":"No active version"}"#, "No active version"),
    ] {
        let result = endpoint.answered(&Reply::status(status).body(body));
        let words = ["no version on offer", said];
        refused(
            result,
            Code::NoActiveVersion,
            &words,
            "by activating one on the server",
        );
    }
}

fn no_package(endpoint: Endpoint) {
    let (place, field) = match endpoint {
        Endpoint::Whole => ("/file", "field download_url or file: is missing"),
        Endpoint::FileByFile => ("/add", "field add: names no file"),
    };
    let result = endpoint.changed(place, Value::Null);
    refused(result, Code::AnswerInvalid, &[field], PUBLISHER_ADVICE);
}

fn active_version_that_is_none(endpoint: Endpoint) {
    let result = endpoint.changed(&format!("/{}", endpoint.version()), json!("nightly"));
    let words = ["\"nightly\" cannot be understood as a version"];
    refused(
        result,
        Code::VersionInvalid,
        &words,
        "versions such as 1.2.3",
    );
}

fn wrong_shapes(endpoint: Endpoint) {
    for (body, problem) in [
        ("null", "null, no object"),
        ("[]", "a list, no object"),
        ("7", "the number 7, no object"),
        ("\"1.0.0\"", "the text \"1.0.0\", no object"),
        ("{}{}", "trailing characters"),
        ("{\"a\":1,\"a\":2}", "the key \"a\" is there twice"),
    ] {
        let result = endpoint.answered(&Reply::json(body));
        refused(result, Code::AnswerInvalid, &[problem], PUBLISHER_ADVICE);
    }
}

/// Changes one field after the other, and finds it named.
fn assert_fields_named<const N: usize>(endpoint: Endpoint, cases: [(&str, Value, &str); N]) {
    for (place, value, field) in cases {
        let result = endpoint.changed(place, value);
        let field = format!("field {field}: ");
        refused(result, Code::AnswerInvalid, &[&field], PUBLISHER_ADVICE);
    }
}

fn wrong_types_in_a_check(endpoint: Endpoint) {
    let hash = "0".repeat(64);
    assert_fields_named(
        endpoint,
        [
            ("/version", Value::Null, "version"),
            ("/version", json!(1.2), "version"),
            ("/file", json!(7), "file"),
            ("/download_url", json!({"a": 1}), "download_url"),
            ("/file_hash", Value::Null, "file_hash"),
            ("/file_hash", json!(""), "file_hash"),
            ("/file_hash", json!(&hash[1..]), "file_hash"),
            ("/file_hash", json!(hash.replace('0', "x")), "file_hash"),
            ("/file_hash", json!([hash]), "file_hash"),
            ("/file_size", json!("414"), "file_size"),
            ("/file_size", json!(-1), "file_size"),
            ("/file_size", json!(1.5), "file_size"),
            ("/file_size", json!(true), "file_size"),
            ("/changelog", json!(["a"]), "changelog"),
            ("/entry_point", json!(false), "entry_point"),
            ("/launchers", json!([]), "launchers"),
            ("/critical_below", json!(1), "critical_below"),
            ("/rollout", json!("10"), "rollout"),
            ("/rollout", json!(101), "rollout"),
        ],
    );
}

fn wrong_types_in_a_list_of_files(endpoint: Endpoint) {
    assert_fields_named(
        endpoint,
        [
            ("/active_version", Value::Null, "active_version"),
            ("/active_version", json!(2), "active_version"),
            ("/add", json!({}), "add"),
            ("/add", json!(["a"]), "add[0]"),
            ("/add/0/path", Value::Null, "add[0].path"),
            ("/add/0/path", json!(["main.py"]), "add[0].path"),
            ("/add/0/hash", json!("abc"), "add[0].hash"),
            ("/add/0/hash", json!(7), "add[0].hash"),
            ("/add/0/size", Value::Null, "add[0].size"),
            ("/add/0/size", json!(-1), "add[0].size"),
            ("/add/0/size", json!("1"), "add[0].size"),
            ("/add/0/url", json!({}), "add[0].url"),
            ("/add/0/url", Value::Null, "add[0].url"),
            ("/keep", json!("main.py"), "keep"),
            ("/keep", json!([7]), "keep[0]"),
            ("/delete", json!({}), "delete"),
            ("/delete", json!(["old.txt", 7]), "delete[1]"),
            ("/delete", json!([{"path": 7}]), "delete[0].path"),
            ("/entry_point", json!(false), "entry_point"),
            ("/changelog", json!({}), "changelog"),
        ],
    );
}

/// It is followed, and the answer holds; what is secret is not told to the other host.
fn assert_moved(
    documents: &[(String, String)],
    moved: &str,
    latest: impl Fn(&SourceConfig) -> Result<Trusted>,
    url: &str,
) -> (Trusted, Server) {
    let (server, other) = (Server::start(), Server::start());
    for (path, text) in documents {
        if path == moved {
            server.route(path, Reply::redirect(302, &other.url(path)));
            other.route(path, Reply::json(text));
        } else {
            server.route(path, Reply::json(text));
        }
    }
    let mut source = source(&server.url(url));
    let secret = "Bearer a-secret";
    source
        .headers
        .insert("Authorization".to_owned(), secret.to_owned());
    let trusted = latest(&source).unwrap();
    let asked = server.requests();
    assert!(
        asked
            .iter()
            .all(|it| it.header("authorization") == Some(secret))
    );
    let [asked] = &other.requests()[..] else {
        panic!("the other host was asked more than once");
    };
    assert_eq!(asked.header("authorization"), None);
    (trusted, other)
}

fn endpoint_moved(endpoint: Endpoint) {
    let documents = [(ENDPOINT.to_owned(), endpoint.good().to_string())];
    let latest = |source: &SourceConfig| endpoint.ask(source);
    let (trusted, other) = assert_moved(&documents, ENDPOINT, latest, ENDPOINT);
    assert_eq!(trusted.version.as_str(), "1.1.0");
    // A path is one on the host that has answered.
    let url = match &trusted.manifest {
        Some(manifest) => &manifest.files.values().next().unwrap().url,
        None => &trusted.package.url,
    };
    assert!(url.starts_with(&other.url("/")), "{url}");
}

fn index_moved(papers: Papers) {
    let signer = Signer::new();
    let documents: Vec<(String, String)> = Papers::signed(&signer, &|_, document| document)
        .into_iter()
        .map(|(name, text)| (format!("/{name}"), text))
        .collect();
    let latest = |source: &SourceConfig| Papers::asked_as(source, &signer);
    let (trusted, other) = assert_moved(&documents, &format!("/{}", papers.bad), latest, "/");
    assert_eq!(trusted.version.as_str(), "1.1.0");
    // What is signed speaks of the folder that is configured, wherever one document comes from.
    let url = &trusted.package.url;
    assert!(!url.starts_with(&other.url("/")), "{url}");
}

fn document_404(papers: Papers) {
    for status in [404, 410] {
        let result = papers.answered(&Reply::status(status).body(PAGE));
        let words = [papers.bad, "http://127.0.0.1:", "there is no such document"];
        refused(result, Code::TrustUnsigned, &words, PUBLISHER_ADVICE);
    }
}

/// Object stores say so of what is not there.
fn keys_403(papers: Papers) {
    let result = papers.answered(&Reply::status(403));
    assert_eq!(result.unwrap().version.as_str(), "1.1.0");
}

fn wrong_envelopes(papers: Papers) {
    for (text, problem) in [
        ("null", "null, no object"),
        ("[]", "a list, no object"),
        ("7", "the number 7, no object"),
        (r#"{"payload":"e30="}"#, "holds no signature"),
        (
            r#"{"payload":7,"sigs":[]}"#,
            "field payload: is the number 7",
        ),
        (r#"{"sigs":["a"]}"#, "field payload: is missing"),
        (r#"{"payload":"?","sigs":["a"]}"#, "field payload: "),
        (r#"{"payload":"e30=","sigs":"a"}"#, "field sigs: "),
        (r#"{"payload":"e30=","sigs":[1]}"#, "field sigs: "),
        (r#"{"payload":"e30=","sigs":["a"]}"#, "field sigs: "),
        (
            r#"{"payload":"e30=","sigs":[],"more":1}"#,
            "field more: does not belong",
        ),
    ] {
        let code = match problem {
            "holds no signature" => Code::TrustUnsigned,
            _ => Code::TrustInvalid,
        };
        refused(papers.told(text), code, &[problem], PUBLISHER_ADVICE);
    }
}

fn wrong_types_in_documents(papers: Papers) {
    let machine = json!({"size": 1, "sha256": "0".repeat(64), "urls": ["a"]});
    let with = |field: &str, value: Value| {
        let mut machine = machine.clone();
        machine[field] = value;
        json!({"any": machine})
    };
    for (name, place, value, field) in [
        (STABLE, "type", json!("release"), "type"),
        (STABLE, "spec", json!(2), "spec"),
        (STABLE, "channel", json!(7), "channel"),
        (STABLE, "seq", json!("1"), "seq"),
        (STABLE, "seq", json!(-1), "seq"),
        (STABLE, "issued", json!("yesterday"), "issued"),
        (STABLE, "expires", Value::Null, "expires"),
        (STABLE, "current", json!([]), "current"),
        (STABLE, "current/sha256", json!("abc"), "current.sha256"),
        (STABLE, "rollout", json!("10"), "rollout"),
        (STABLE, "revoked", json!("1.0.0"), "revoked"),
        (STABLE, "revoked", json!([1]), "revoked"),
        (RELEASE, "version", json!(1), "version"),
        (RELEASE, "notes", json!([]), "notes"),
        (RELEASE, "packages", json!([]), "packages"),
        (RELEASE, "packages", json!({"any": 7}), "packages.any"),
        (
            RELEASE,
            "packages",
            with("size", json!("1")),
            "packages.any.size",
        ),
        (
            RELEASE,
            "packages",
            with("sha256", json!(7)),
            "packages.any.sha256",
        ),
        (
            RELEASE,
            "packages",
            with("urls", json!("a")),
            "packages.any.urls",
        ),
        (RELEASE, "critical_below", json!(1), "critical_below"),
        (KEYS, "version", json!("1"), "version"),
        (KEYS, "roles", json!([]), "roles"),
        (
            KEYS,
            "roles/index/threshold",
            json!("1"),
            "roles.index.threshold",
        ),
        (KEYS, "roles/index/keys", json!(["a"]), "roles.index.keys"),
    ] {
        let result = papers.changed(name, place, &value);
        let field = format!("field {field}: ");
        refused(result, Code::TrustInvalid, &[&field], PUBLISHER_ADVICE);
    }
}

fn no_release(papers: Papers) {
    let result = papers.changed(STABLE, "current", &Value::Null);
    let words = [STABLE, "field current: is missing"];
    refused(result, Code::TrustInvalid, &words, PUBLISHER_ADVICE);
}

fn no_package_for_this_machine(papers: Papers) {
    let other = json!({"amiga-m68k": {"size": 1, "sha256": "0".repeat(64), "urls": ["a"]}});
    let result = papers.changed(RELEASE, "packages", &other);
    let words = ["Version 1.1.0", &crate::release::target()];
    refused(
        result,
        Code::TargetUnavailable,
        &words,
        "Ask the publisher whether there will be one",
    );
}

fn signed_version_that_is_none(papers: Papers) {
    for (name, place, field) in [
        (STABLE, "current/version", "field current.version: "),
        (RELEASE, "version", "field version: "),
    ] {
        let result = papers.changed(name, place, &json!("nightly"));
        refused(
            result,
            Code::TrustInvalid,
            &[field, "nightly"],
            PUBLISHER_ADVICE,
        );
    }
}

fn folder_unreachable(_: Papers) {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("stick");
    let result = Papers::within(&gone, &Signer::new());
    let words = ["could not be reached", "stick"];
    refused(
        result,
        Code::Unreachable,
        &words,
        "The next start looks for updates again",
    );
}

/// What has the name of a document and cannot be read as a file.
fn document_that_is_none(papers: Papers) {
    let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::new());
    std::fs::create_dir(folder.path().join(papers.bad)).unwrap();
    let result = Papers::within(folder.path(), &signer);
    let words = [papers.bad, "no ordinary file"];
    refused(
        result,
        Code::Unreachable,
        &words,
        "The next start looks for updates again",
    );
}

fn document_missing(papers: Papers) {
    let signer = Signer::new();
    for missing in [STABLE, RELEASE] {
        let mut documents = Papers::signed(&signer, &|_, document| document);
        documents.retain(|(name, _)| *name != missing);
        let result = papers.ask(&signer, &documents);
        let words = [missing, "there is no such document"];
        refused(result, Code::TrustUnsigned, &words, PUBLISHER_ADVICE);
    }
}

fn page_in_a_document(papers: Papers) {
    for bad in [KEYS, STABLE, RELEASE] {
        let result = Papers { bad, ..papers }.told(PAGE);
        refused(result, Code::TrustInvalid, &["Sign in"], SIGN_IN_ADVICE);
    }
}

fn truncated_document(papers: Papers) {
    let signer = Signer::new();
    let documents = Papers::signed(&signer, &|_, document| document);
    for cut in 0..documents.len() {
        let mut documents = documents.clone();
        let text = &mut documents[cut].1;
        text.truncate(text.len() / 2);
        let result = papers.ask(&signer, &documents);
        let words = ["EOF while parsing"];
        refused(result, Code::TrustInvalid, &words, PUBLISHER_ADVICE);
    }
}
