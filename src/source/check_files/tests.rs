use castoff_testkit::http::{Reply, Server};
use chrono::Utc;
use serde_json::{Value, json};

use super::CheckFiles;
use crate::archive::SafePath;
use crate::fetch::tests::{PATIENT, client, network, source};
use crate::release::Release;
use crate::source::{Ask, Source as _};
use crate::trust::{Anchor, Sha256, Trust};
use crate::version::Version;
use crate::{Code, Result};

const PATH: &str = "/api/v1/nuitkal_pack/apps/0d87e1b2-0000-4000-8000-000000000000/check-update/";

fn entry(path: &str, content: &str) -> Value {
    let hash = Sha256::of(content.as_bytes()).to_string();
    let url = format!("/media/nuitkal-pack/{hash}");
    json!({"hash": hash, "path": path, "url": url, "size": content.len()})
}

/// An answer as the server gives it.
fn answer() -> Value {
    json!({
        "current_version": "1.0.0", "active_version": "2.0.0", "entry_point": "main.py",
        "changelog": "c", "need_update": true,
        "add": [entry("sub/nf.txt", "new")], "keep": [entry("main.py", "main 2")],
        "delete": [{"path": "old.txt", "hash": "00", "size": 1}, "older.txt", "../outside"],
    })
}

fn ask(reply: Reply, installed: Option<&str>) -> (Result<Release>, Server) {
    let server = Server::start();
    server.route(PATH, reply);
    let source = source(&server.url(PATH));
    let client = client(&network(), &source);
    let installed: Option<Version> = installed.map(|version| version.parse().unwrap());
    let anchor = Anchor {
        app: "",
        channel: "stable",
        indexed: false,
        pinned: None,
    };
    let mut trust = Trust::new(&anchor, Utc::now());
    let ask = Ask::within(&client, installed.as_ref(), PATIENT);
    let result = CheckFiles::new(&source).latest(&ask, &mut trust);
    (result.map(|trusted| trusted.release().clone()), server)
}

fn read(answer: &Value) -> Result<Release> {
    ask(Reply::json(&answer.to_string()), Some("1.0.0")).0
}

#[test]
fn what_is_added_and_what_is_in_both_versions_makes_the_release() {
    let (release, server) = ask(Reply::json(&answer().to_string()), Some("1.0.0+a.b"));
    let release = release.unwrap();
    assert_eq!(release.version.as_str(), "2.0.0");
    assert_eq!(release.entry_point.as_deref(), Some("main.py"));
    assert_eq!(release.notes, "c");
    let package = &release.package;
    assert!(package.by_file && package.size == Some(9), "{package:?}");
    let manifest = release.manifest.unwrap();
    let paths: Vec<&str> = manifest.files.keys().map(SafePath::as_str).collect();
    assert_eq!(paths, ["main.py", "sub/nf.txt"]);
    let file = &manifest.files[&"sub/nf.txt".try_into().unwrap()];
    let url = format!("/media/nuitkal-pack/{}", file.sha256);
    assert_eq!(file.url, server.url(&url));
    let gone: Vec<&str> = manifest.gone.iter().map(SafePath::as_str).collect();
    assert_eq!(
        gone,
        ["old.txt", "older.txt"],
        "what leads outside was never ours"
    );
    let asked = server.requests();
    assert!(
        asked[0].target.ends_with("?version=1.0.0%2Ba.b"),
        "{}",
        asked[0].target
    );
}

#[test]
fn a_release_is_known_again_by_its_files_wherever_they_are() {
    let id = |answer: &Value| read(answer).unwrap().package.id();
    let same = id(&answer());
    let mut first = answer();
    first["add"] = json!([entry("main.py", "main 2"), entry("sub/nf.txt", "new")]);
    first["keep"] = json!([]);
    first["delete"] = json!([]);
    assert_eq!(id(&first), same);
    let mut other = answer();
    other["keep"] = json!([entry("main.py", "main 3")]);
    assert_ne!(id(&other), same);
    other = answer();
    other["active_version"] = json!("2.0.1");
    assert_ne!(id(&other), same);
}

#[test]
fn an_answer_that_must_not_be_followed_is_refused() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut answer = answer();
        change(&mut answer);
        read(&answer).unwrap_err()
    };
    let code = |change: &dyn Fn(&mut Value)| with(change).code();
    let outside = [
        "../a",
        "/a",
        "C:x",
        "a/../../b",
        "CON",
        "a:stream",
        "",
        ".castoff/x",
    ];
    for path in outside {
        let error = with(&|answer| answer["add"][0]["path"] = json!(path));
        assert_eq!(error.code(), Code::AnswerInvalid, "{path}");
    }
    assert_eq!(
        code(&|it| it["add"][0]["url"] = json!("ftp://a/b")),
        Code::AnswerInvalid
    );
    assert_eq!(
        code(&|it| it["entry_point"] = json!("../x")),
        Code::AnswerInvalid
    );
    let twice = json!([entry("a", "one"), entry("a", "two")]);
    assert_eq!(code(&|it| it["add"] = twice.clone()), Code::AnswerInvalid);
    let folded = json!([entry("a", "one"), entry("A", "two")]);
    assert_eq!(code(&|it| it["add"] = folded.clone()), Code::AnswerInvalid);
    let nothing = |it: &mut Value| {
        it["add"] = json!([]);
        it["keep"] = Value::Null;
    };
    assert_eq!(code(&nothing), Code::AnswerInvalid);
    // The largest sizes must not add up to a small one.
    let huge = |it: &mut Value| {
        for list in ["add", "keep"] {
            it[list][0]["size"] = json!(u64::MAX);
        }
    };
    assert_eq!(code(&huge), Code::AnswerInvalid);
}
