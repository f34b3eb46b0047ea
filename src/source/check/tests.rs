use std::time::Duration;

use castoff_testkit::http::{Reply, Server};
use chrono::Utc;
use serde_json::json;

use super::Check;
use crate::config::SourceConfig;
use crate::fetch::Client;
use crate::fetch::tests::{PATIENT, SHORT, client, network, source};
use crate::release::{Release, target};
use crate::source::{Answers, Ask, Source as _};
use crate::trust::{Anchor, Trust};
use crate::{Code, Error, Result};

const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn ask_within(server: &Server, timeout: Duration) -> Result<Release> {
    let source = source(&server.url("/api/apps/1/active/"));
    let client = client(&network(), &source);
    latest(&source, &client, timeout)
}

/// Asks where nothing has to be signed.
fn latest(source: &SourceConfig, client: &Client, timeout: Duration) -> Result<Release> {
    let anchor = Anchor {
        app: "",
        channel: "stable",
        indexed: false,
        pinned: None,
    };
    let mut trust = Trust::new(&anchor, Utc::now());
    let ask = Ask::within(client, None, timeout);
    let trusted = Check::new(source).latest(&ask, &mut trust)?;
    Ok(trusted.release().clone())
}

fn ask(reply: Reply) -> Result<Release> {
    let server = Server::start();
    server.route("/api/apps/1/active/", reply);
    ask_within(&server, PATIENT)
}

fn ask_json(body: &str) -> Result<Release> {
    ask(Reply::json(body))
}

/// A good answer in which some fields are changed; null removes one.
fn ask_with(changes: &serde_json::Value) -> Result<Release> {
    let mut answer = json!({"version": "1.0.0", "file": "/a.zip", "file_hash": HASH});
    for (key, value) in changes.as_object().unwrap() {
        answer[key] = value.clone();
    }
    ask_json(&answer.to_string())
}

#[test]
fn the_documented_answer_is_a_release() {
    let release = ask_json(&format!(
        r#"{{"version":"1.0.1","download_url":"http://127.0.0.1:9/media/update_1.0.1.zip",
            "file_hash":"{}","file_size":1048576,"is_active":true}}"#,
        HASH.to_uppercase()
    ))
    .unwrap();
    assert_eq!(release.version.as_str(), "1.0.1");
    assert_eq!(
        release.package.url,
        "http://127.0.0.1:9/media/update_1.0.1.zip"
    );
    assert_eq!(release.package.id().to_string(), HASH);
    assert_eq!(release.package.size, Some(1_048_576));
    assert_eq!((release.notes.as_str(), release.entry_point), ("", None));
}

#[test]
fn the_real_answer_is_a_release_whose_file_is_on_the_host_of_the_check() {
    let server = Server::start();
    server.route(
        "/api/apps/1/active/",
        Reply::json(&format!(
            r#"{{"id":1,"version":"1.0.0","file":"/media/nuitkal_packs/2026/11/a1.zip",
                "entry_point":"main.py","file_size":414,"file_hash":"{HASH}",
                "upload_time":"2026-11-21T02:28:25.475039Z","changelog":"log 1.0.0",
                "is_active":true,"app":"0d87"}}"#
        )),
    );
    let release = ask_within(&server, PATIENT).unwrap();
    let expected = server.url("/media/nuitkal_packs/2026/11/a1.zip");
    assert_eq!(release.package.url, expected);
    assert_eq!(release.package.size, Some(414));
    assert_eq!(release.entry_point.as_deref(), Some("main.py"));
    assert_eq!(release.notes, "log 1.0.0");
}

#[test]
fn a_file_without_a_leading_slash_is_on_the_host_of_the_check_too() {
    let release = ask_with(&json!({"file": "media/包 1.zip"})).unwrap();
    let path = release.package.url.splitn(4, '/').nth(3).unwrap();
    assert_eq!(path, "media/%E5%8C%85%201.zip");
}

#[test]
fn an_address_that_is_null_or_empty_gives_way_to_the_next_field() {
    for none in [json!(null), json!("")] {
        let release = ask_with(&json!({"download_url": none})).unwrap();
        assert!(release.package.url.ends_with("/a.zip"));
    }
}

#[test]
fn fields_are_called_as_configured() {
    let server = Server::start();
    let answer = json!({"v": "2", "u": ["not asked for"], "link": "/b", "sum": HASH, "n": "notes"});
    server.route("/check", Reply::json(&answer.to_string()));
    let mut source = source(&server.url("/check"));
    source.fields.version = "v".to_owned();
    source.fields.url = vec!["link".to_owned()];
    source.fields.sha256 = "sum".to_owned();
    source.fields.notes = "n".to_owned();
    let client = client(&network(), &source);
    let release = latest(&source, &client, PATIENT).unwrap();
    assert_eq!(
        (release.version.as_str(), release.notes.as_str()),
        ("2", "notes")
    );
    assert_eq!(release.package.url, server.url("/b"));
}

#[test]
fn optional_fields_may_be_null_and_an_entry_point_empty() {
    let nulls = json!({"file_size": null, "changelog": null, "entry_point": null});
    let release = ask_with(&nulls).unwrap();
    assert_eq!((release.package.size, release.entry_point), (None, None));
    assert_eq!(
        ask_with(&json!({"entry_point": ""})).unwrap().entry_point,
        None
    );
}

#[test]
fn a_byte_order_mark_is_no_obstacle() {
    let body = format!("\u{feff}{{\"version\":\"1\",\"file\":\"/a\",\"file_hash\":\"{HASH}\"}}");
    assert_eq!(ask_json(&body).unwrap().version.as_str(), "1");
}

#[test]
fn an_entry_point_outside_the_client_folder_is_refused() {
    for outside in [
        "/bin/sh",
        "\\\\host\\share\\a.exe",
        "C:\\a.exe",
        "C:a.exe",
        "../a.py",
        "a/../../b.py",
        "a\\..\\b.py",
        "a\nb",
    ] {
        let error = ask_with(&json!({"entry_point": outside})).unwrap_err();
        assert_eq!(error.code(), Code::AnswerInvalid, "{outside}");
    }
    for inside in [
        "main.py",
        "bin/app..old",
        "./run.sh",
        "bin\\app.exe",
        "应用/主.py",
    ] {
        let release = ask_with(&json!({"entry_point": inside})).unwrap();
        assert_eq!(release.entry_point.as_deref(), Some(inside));
    }
}

#[test]
fn an_address_with_another_scheme_or_credentials_is_refused() {
    for link in [
        "file:///etc/passwd",
        "https://u:p@h/",
        "//u@h/a",
        "/a\r\nX: y",
        "C:\\a",
    ] {
        for field in ["file", "download_url"] {
            let error = ask_with(&json!({field: link})).unwrap_err();
            assert_eq!(error.code(), Code::AnswerInvalid, "{link}");
        }
    }
}

#[test]
fn duplicate_keys_are_refused_also_when_spelt_differently_or_nested() {
    for body in [
        format!(r#"{{"version":"1","file":"/a","file_hash":"{HASH}","version":"2"}}"#),
        format!(r#"{{"version":"1","file":"/a","file_hash":"{HASH}","\u0066ile":"/b"}}"#),
        format!(r#"{{"version":"1","file":"/a","file_hash":"{HASH}","x":[{{"a":1,"a":1}}]}}"#),
    ] {
        let error = ask_json(&body).unwrap_err();
        assert_eq!(error.code(), Code::AnswerInvalid);
        assert!(error.to_string().contains("twice"), "{error}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    for body in ["[".repeat(100_000), "{\"a\":".repeat(100_000)] {
        assert_eq!(ask_json(&body).unwrap_err().code(), Code::AnswerInvalid);
    }
}

#[test]
fn what_is_no_json_object_is_quoted_in_short() {
    for body in [
        "",
        "null",
        "[]",
        "\"1.0.0\"",
        "{}{}",
        "{\"version\":",
        "\u{0}\u{1}",
    ] {
        assert_eq!(
            ask_json(body).unwrap_err().code(),
            Code::AnswerInvalid,
            "{body:?}"
        );
    }
    let invalid_utf8 = Reply::status(200).body(b"{\"version\":\"\xff\"}");
    assert_eq!(ask(invalid_utf8).unwrap_err().code(), Code::AnswerInvalid);

    let page = format!(
        "<html>\r\n<title>Log \u{7}in</title>{}",
        "页".repeat(10_000)
    );
    let said = ask(Reply::html(&page)).unwrap_err().to_string();
    assert!(said.contains("text/html"), "{said}");
    assert!(said.contains("<html> <title>Log in</title>"), "{said}");
    assert!(said.len() < 700, "{} bytes", said.len());
}

#[test]
fn an_error_repeats_little_of_what_was_sent() {
    let much = "a".repeat(100_000);
    for answer in [
        json!({"file": format!("file:///{much}")}),
        json!({"file": format!("/{much}")}),
        json!({"entry_point": format!("../{much}")}),
        json!({"version": much}),
        json!({"file_hash": much}),
        json!({"file_size": much}),
    ] {
        let said = ask_with(&answer).unwrap_err().chain();
        assert!(said.len() < 700, "{} bytes", said.len());
    }
    let twice = format!(r#"{{"{much}":1,"{much}":2}}"#);
    let said = ask_json(&twice).unwrap_err().chain();
    assert!(said.len() < 1000, "{} bytes", said.len());
}

#[test]
fn other_statuses_are_told_with_their_retry_after() {
    for status in [304, 400, 410, 500, 502, 503] {
        let reply = Reply::status(status).header("Retry-After", "7");
        let Error::HttpStatus {
            status: told,
            retry_after,
            ..
        } = ask(reply).unwrap_err()
        else {
            panic!("{status}");
        };
        assert_eq!((told, retry_after), (status, Some(Duration::from_secs(7))));
    }
}

#[test]
fn a_missing_slash_is_followed() {
    let server = Server::start();
    server.route(
        "/api/apps/1/active",
        Reply::redirect(301, "/api/apps/1/active/"),
    );
    let answer = json!({"version": "1", "file": "/a.zip", "file_hash": HASH});
    server.route("/api/apps/1/active/", Reply::json(&answer.to_string()));
    let source = source(&server.url("/api/apps/1/active"));
    let client = client(&network(), &source);
    let release = latest(&source, &client, PATIENT).unwrap();
    assert_eq!(release.package.url, server.url("/a.zip"));
}

#[test]
fn a_source_that_says_nothing_is_given_up_in_time() {
    let server = Server::start();
    server.fallback(Reply::json("{}").silent());
    assert_eq!(
        ask_within(&server, SHORT).unwrap_err().code(),
        Code::Unreachable
    );
}

#[test]
fn an_answer_beyond_two_mebibytes_is_too_large() {
    let body = format!("{{\"changelog\": \"{}\"}}", "x".repeat(2 << 20));
    assert_eq!(ask_json(&body).unwrap_err().code(), Code::TooLarge);
}

#[test]
fn the_launcher_for_this_machine_is_read_and_others_are_passed_over() {
    let entry = json!({"url": "/l", "sha256": HASH, "size": 7, "version": "2", "more": []});
    let launchers = json!({target(): entry, "amiga-m68k": 3});
    let launcher = ask_with(&json!({"launchers": launchers}))
        .unwrap()
        .launcher
        .unwrap();
    assert!(launcher.url.starts_with("http://127.0.0.1:") && launcher.url.ends_with("/l"));
    assert_eq!(
        (launcher.id().to_string().as_str(), launcher.size),
        (HASH, Some(7))
    );
    for none in [
        json!(null),
        json!({}),
        json!({target(): null}),
        json!({"amiga-m68k": entry}),
    ] {
        assert_eq!(
            ask_with(&json!({"launchers": none})).unwrap().launcher,
            None
        );
    }
}

#[test]
fn a_launcher_that_is_half_said_is_an_error_with_its_place() {
    for (launcher, place) in [
        (json!("/l"), String::new()),
        (json!({"url": "/l"}), ".sha256".to_owned()),
        (json!({"sha256": HASH}), ".url".to_owned()),
        (json!({"url": "/l", "sha256": "abc"}), ".sha256".to_owned()),
        (
            json!({"url": "/l", "sha256": HASH, "size": "7"}),
            ".size".to_owned(),
        ),
    ] {
        let error = ask_with(&json!({"launchers": {target(): launcher}})).unwrap_err();
        assert_eq!(error.code(), Code::AnswerInvalid);
        let place = format!("field launchers.{}{place}: ", target());
        assert!(error.to_string().contains(&place), "{error}");
    }
    let error = ask_with(&json!({"launchers": []})).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("field launchers: is a list, no object"),
        "{error}"
    );
}

#[test]
fn a_kept_answer_is_asked_for_by_its_etag_and_used_while_it_holds() {
    let server = Server::start();
    let path = "/api/apps/1/active/";
    let body = |version: &str| {
        json!({"version": version, "file": "/a.zip", "file_hash": HASH}).to_string()
    };
    server.route(path, Reply::json(&body("1.0.0")).etag("\"one\""));
    let source = source(&server.url(path));
    let client = client(&network(), &source);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("answers.json");
    let ask = || {
        let answers = Answers::load(&file);
        let anchor = Anchor {
            app: "",
            channel: "stable",
            indexed: false,
            pinned: None,
        };
        let mut trust = Trust::new(&anchor, Utc::now());
        let ask = Ask::within(&client, None, PATIENT).with_answers(&answers);
        let release = Check::new(&source).latest(&ask, &mut trust);
        answers.save(release.is_ok()).unwrap();
        release.map(|release| release.version.to_string())
    };
    let conditions = || {
        let asked = server.requests();
        let last = asked.last().unwrap();
        last.header("If-None-Match").map(str::to_owned)
    };
    assert_eq!(ask().unwrap(), "1.0.0");
    assert_eq!(conditions(), None);
    let answer = |reply: Reply| {
        server.replace(path, reply);
    };
    answer(Reply::status(304).body(""));
    assert_eq!(ask().unwrap(), "1.0.0", "the kept answer holds");
    assert_eq!(conditions().as_deref(), Some("\"one\""));

    answer(Reply::json(&body("1.1.0")).etag("\"two\""));
    assert_eq!(ask().unwrap(), "1.1.0");
    answer(Reply::json(&body("1.2.0")));
    assert_eq!(ask().unwrap(), "1.2.0");
    assert_eq!(conditions().as_deref(), Some("\"two\""));
    // That one came without a mark, and nothing of the one before is left.
    answer(Reply::json(&body("1.3.0")).etag("\"three\""));
    assert_eq!(ask().unwrap(), "1.3.0");
    assert_eq!(conditions(), None);

    // What is refused is not kept, whatever mark it has, and neither is what was kept before.
    answer(Reply::status(200).body("<html>").etag("\"page\""));
    assert_eq!(ask().unwrap_err().code(), Code::AnswerInvalid);
    assert_eq!(conditions().as_deref(), Some("\"three\""));
    answer(Reply::json(&body("1.4.0")).etag("\"page\""));
    assert_eq!(ask().unwrap(), "1.4.0");
    assert_eq!(conditions(), None);

    // Whoever says "unchanged" of what nobody has, is not believed.
    answer(Reply::status(304).body(""));
    std::fs::write(&file, "spoilt").unwrap();
    assert_eq!(ask().unwrap_err().code(), Code::HttpStatus);
}

#[test]
fn the_list_of_versions_lies_beside_the_endpoint() {
    for (check, list) in [
        (
            "https://a.example/api/1/check/",
            "https://a.example/api/1/versions/",
        ),
        (
            "https://a.example/api/1/active",
            "https://a.example/api/1/list/",
        ),
        (
            "https://a.example/api/1/active/?is_available=1&v=a/b",
            "https://a.example/api/1/list/?is_available=1&v=a/b",
        ),
        ("https://a.example/active", "https://a.example/list/"),
        ("https://a.example/", "https://a.example/list/"),
        ("https://a.example", "https://a.example/list/"),
    ] {
        assert_eq!(super::history_address(check), list);
    }
}
