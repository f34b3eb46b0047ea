//! What the check, the index and the folder have in common with all sources.

pub(super) mod bad_answers;

use castoff_testkit::http::{Reply, Server};
use castoff_testkit::sign::{APP, Document, Signer};
use chrono::Utc;
use serde_json::{Value, json};

use super::check::Check;
use super::check_files::CheckFiles;
use super::folder::Folder;
use super::index::Index;
use super::{Announced, Answers, Ask, Source};
use crate::Result;
use crate::config::{SourceConfig, TrustConfig};
use crate::fetch::tests::{PATIENT, client, network, source};
use crate::trust::{Anchor, Role, Trust};

/// Asks a source as an installation does that trusts a key, or nobody.
fn ask<T>(
    source: &SourceConfig,
    signer: Option<&Signer>,
    answers: Option<&Answers>,
    question: impl FnOnce(&Ask<'_>, &mut Trust) -> Result<T>,
) -> Result<T> {
    let pinned = signer.map(|signer| TrustConfig {
        role: Role::new(vec![signer.public().parse().unwrap()], 1).unwrap(),
        first: 1,
    });
    let anchor = Anchor {
        app: APP,
        channel: "stable",
        indexed: signer.is_some(),
        pinned: pinned.as_ref(),
    };
    let client = client(&network(), source);
    let mut ask = Ask::within(&client, None, PATIENT);
    if let Some(answers) = answers {
        ask = ask.with_answers(answers);
    }
    question(&ask, &mut Trust::new(&anchor, Utc::now()))
}

fn versions(history: &[Announced]) -> Vec<&str> {
    history.iter().map(|it| it.version.as_str()).collect()
}

/// An index and the release that it names, by their names.
fn documents(signer: &Signer) -> [(&'static str, String); 2] {
    let release = Document::release("1.1.0", "app.zip", b"bytes");
    let index = Document::index(1, "1.1.0", &release).signed(&[signer]);
    [
        ("stable.json", index),
        ("release-1.1.0.json", release.signed(&[signer])),
    ]
}

#[test]
fn history_of_a_check() {
    let list = json!([
        {"id": 1, "version": "1.0.0", "changelog": "the first", "upload_time": "2026-11-21T02:28:25Z"},
        {"id": 3, "version": "1.10.0", "changelog": null, "is_active": true},
        {"id": 4, "version": "newest"},
        {"id": 2, "version": "1.2.0", "changelog": "more"},
    ]);
    for (check, path, answer) in [
        (
            "/api/apps/1/check/",
            "/api/apps/1/versions/",
            json!({"data": list}),
        ),
        ("/api/apps/1/active/", "/api/apps/1/list/", list),
    ] {
        let server = Server::start();
        server.route(path, Reply::json(&answer.to_string()));
        let source = source(&server.url(check));
        let history = ask(&source, None, None, |ask, trust| {
            Check::new(&source).history(ask, trust, 3)
        })
        .unwrap();
        assert_eq!(versions(&history), ["1.10.0", "1.2.0", "1.0.0"]);
        assert_eq!(history[2].notes, "the first");
        let published = history[2].published.as_deref();
        assert_eq!(published, Some("2026-11-21T02:28:25Z"));
    }
}

/// Asks twice a source that has nothing new to say the second time.
fn assert_etag(answer: &Value, kind: impl Fn(&SourceConfig) -> Box<dyn Source>) {
    let server = Server::start();
    let reply = Reply::json(&answer.to_string()).etag("\"one\"").times(1);
    server.route("/check", reply);
    server.route("/check", Reply::status(304));
    let source = source(&server.url("/check"));
    let folder = tempfile::tempdir().unwrap();
    let answers = Answers::load(&folder.path().join("answers.json"));
    for _ in 0..2 {
        let version = ask(&source, None, Some(&answers), |ask, trust| {
            Ok(kind(&source).latest(ask, trust)?.version.clone())
        })
        .unwrap();
        assert_eq!(version.as_str(), "1.0.0");
    }
    assert_eq!(
        server.requests()[1].header("if-none-match"),
        Some("\"one\"")
    );
}

#[test]
fn etag_of_a_check() {
    let answer = json!({"version": "1.0.0", "file": "/a.zip", "file_hash": "0".repeat(64)});
    assert_etag(&answer, |source| Box::new(Check::new(source)));
}

#[test]
fn etag_of_an_answer_file_by_file() {
    let file = json!({"path": "main.py", "hash": "0".repeat(64), "size": 1, "url": "/a"});
    let answer = json!({"active_version": "1.0.0", "add": [file]});
    assert_etag(&answer, |source| Box::new(CheckFiles::new(source)));
}

#[test]
fn history_and_etag_of_an_index() {
    let (server, signer) = (Server::start(), Signer::new());
    for (name, text) in documents(&signer) {
        let path = format!("/{name}");
        server.route(&path, Reply::json(&text).etag("\"one\"").times(1));
        server.route(&path, Reply::status(304));
    }
    let source = source(&server.url("/"));
    let folder = tempfile::tempdir().unwrap();
    let answers = Answers::load(&folder.path().join("answers.json"));
    for _ in 0..2 {
        let history = ask(&source, Some(&signer), Some(&answers), |ask, trust| {
            Index::new(&source).history(ask, trust, 9)
        })
        .unwrap();
        assert_eq!(versions(&history), ["1.1.0"]);
        assert_eq!(history[0].notes, "what is new in 1.1.0");
    }
}

#[test]
fn history_of_a_folder() {
    let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::new());
    for (name, text) in documents(&signer) {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let source = source(folder.path().to_str().unwrap());
    let history = ask(&source, Some(&signer), None, |ask, trust| {
        Folder::new(&source).history(ask, trust, 9)
    })
    .unwrap();
    assert_eq!(versions(&history), ["1.1.0"]);
}
