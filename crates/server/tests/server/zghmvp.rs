//! The addresses of both Django servers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use castoff::config::Config;
use castoff::progress::Silent;
use castoff::updater::{Outcome, Updater};
use castoff::version::Version;
use castoff_server::registry::{App, Role};
use castoff_testkit::package::{Built, Package, hostile, sha256};
use serde_json::{Value, json};

use crate::site::{Answer, Form, Site};

/// A server with an app, and who may publish.
struct World {
    site: Site,
    app: App,
    token: String,
}

impl World {
    fn new() -> Self {
        Self::of(Site::start())
    }

    fn of(site: Site) -> Self {
        let (app, token) = (site.app("demo"), site.token(Role::Publish));
        Self { site, app, token }
    }

    /// An address of the first server's that is the app's.
    fn first(&self, path: &str) -> String {
        format!("/api/nuitkal_pack/apps/{}/{path}", self.app.id)
    }

    /// The same of the later one.
    fn later(&self, path: &str) -> String {
        format!("/api/v1/nuitkal_pack/apps/{}/{path}", self.uuid())
    }

    fn uuid(&self) -> String {
        let id = &self.app.id;
        let parts = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]];
        parts.join("-")
    }

    fn send(&self, path: &str, form: &Form) -> Answer {
        self.site.post_form(path, &self.token, form)
    }

    /// Uploads a package as the first server's publishers do.
    #[track_caller]
    fn publish(&self, built: &Built) -> Answer {
        self.send(&self.first("upload/"), &form(built)).assert(201)
    }

    /// What is current, as the first server says it.
    fn active(&self) -> Value {
        self.site.get(&self.first("active/")).assert(200).json()
    }

    fn versions(&self) -> usize {
        let list = self.site.get(&self.first("list/")).assert(200).json();
        list["data"].as_array().unwrap().len()
    }

    /// Nothing of an upload lies about.
    #[track_caller]
    fn assert_tidy(&self) {
        let spool = self.site.server.config.spool();
        let left: Vec<_> = spool
            .read_dir()
            .unwrap()
            .map(|it| it.unwrap().path())
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn package(version: &str) -> Built {
    Package::new(version)
        .file("main.py", format!("print('{version}')"))
        .file("sub/stays.txt", b"the same")
        .file(&format!("only/{version}.txt"), version)
        .build()
}

/// How that is uploaded.
fn form(built: &Built) -> Form {
    Form::default()
        .text("version", &built.version)
        .text("entry_point", "main.py")
        .text("changelog", &format!("log {}", built.version))
        .file("file", "a.zip", &built.bytes)
}

#[test]
fn the_first_server_answers_field_for_field() {
    let world = World::new();
    let id = &world.app.id;
    let shown = format!(
        r#"{{"id":"{id}","name":"demo","description":"demo app","enable_time":"{}","disable_time":null,"is_available":true}}"#,
        castoff_server::registry::text_of(world.app.enable_time.unwrap())
    );
    world
        .site
        .get("/api/nuitkal_pack/apps/")
        .assert_text(200, &format!("[{shown}]"));
    world.site.get(&world.first("")).assert_text(200, &shown);
    world
        .site
        .get(&world.first("active/"))
        .assert_text(404, r#"{"error":"应用 demo 没有激活版本"}"#);
    world
        .site
        .get(&world.first("list/"))
        .assert_text(200, r#"{"data":[],"message":"版本列表获取成功"}"#);

    let one = package("1.0.0");
    let uploaded = world.publish(&one);
    let active = world.active();
    let file = active["file"].as_str().unwrap().to_owned();
    assert!(
        file.starts_with("/media/nuitkal_packs/20") && file.ends_with("_demo-1.0.0.zip"),
        "{file}"
    );
    uploaded.assert_text(201, &format!(
        r#"{{"message":"版本上传成功","data":{{"app":"{id}","version":"1.0.0","file":"{}","entry_point":"main.py","changelog":"log 1.0.0","is_active":true}}}}"#,
        world.site.url(&file)
    ));
    let time = active["upload_time"].as_str().unwrap();
    assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
    let version = format!(
        r#"{{"id":1,"version":"1.0.0","file":"{file}","entry_point":"main.py","file_size":{},"file_hash":"{}","upload_time":"{time}","changelog":"log 1.0.0","is_active":true,"app":"{id}"}}"#,
        one.size, one.sha256
    );
    world
        .site
        .get(&world.first("active/"))
        .assert_text(200, &version);
    assert_eq!(world.site.get(&file).assert(200).body, one.bytes);

    let two = package("2.0.0");
    world
        .send(
            &world.first("upload/"),
            &form(&two).text("is_active", "false"),
        )
        .assert(201);
    assert_eq!(world.active()["version"], "1.0.0");
    let list = world.site.get(&world.first("list/")).assert(200);
    assert!(
        list.text()
            .ends_with(&format!(r#",{version}],"message":"版本列表获取成功"}}"#)),
        "{}",
        list.text()
    );
    assert_eq!(list.json()["data"][0]["version"], "2.0.0");
    assert_eq!(list.json()["data"][0]["is_active"], false);

    let path = world.first("set_active/");
    let body = json!({"version": "2.0.0"});
    world.site.post(&path, &world.token, &body).assert_text(
        200,
        r#"{"message":"版本 2.0.0 已设为激活版本","version":"2.0.0"}"#,
    );
    assert_eq!(world.active()["version"], "2.0.0");
    // The publisher's way to go back.
    world
        .site
        .post(&path, &world.token, &json!({"version": "1.0.0"}))
        .assert(200);
    assert_eq!(world.active()["version"], "1.0.0");
    world
        .site
        .post(&path, &world.token, &json!({"version": "3.0.0"}))
        .assert_text(404, r#"{"error":"版本 3.0.0 不存在"}"#);
    world.site.post(&path, &world.token, &json!({})).assert(400);
    world.assert_tidy();
}

#[test]
fn the_documented_addresses_are_those_of_the_default_app() {
    let world = World::new();
    world.site.get("/api/nuitkal_pack/check/").assert(404);
    let one = package("1.0.1");
    // Neither entry point nor change log have to be said.
    let form = Form::default()
        .text("version", "1.0.1")
        .file("file", "update.zip", &one.bytes);
    let uploaded = world.send("/api/nuitkal_pack/upload/", &form);
    let check = world
        .site
        .get("/api/nuitkal_pack/check/")
        .assert(200)
        .json();
    let file = check["file"].as_str().unwrap();
    let address = world.site.url(file);
    uploaded.assert_text(201, &format!(
        r#"{{"message":"版本上传成功","version":"1.0.1","download_url":"{address}","file_hash":"{}","file_size":{},"is_active":true}}"#,
        one.sha256, one.size
    ));
    assert_eq!(
        check,
        json!({
            "version": "1.0.1", "file_hash": one.sha256, "file_size": one.size, "download_url": address,
            "file": file, "changelog": "", "is_active": true,
        })
    );
    let two = package("1.0.2");
    let form = Form::default()
        .text("version", "1.0.2")
        .text("is_active", "False")
        .file("file", "update.zip", &two.bytes);
    let answer = world.send("/api/nuitkal_pack/upload/", &form).assert(201);
    assert_eq!(answer.json()["is_active"], false);
    let versions = world
        .site
        .get("/api/nuitkal_pack/versions/")
        .assert(200)
        .json();
    assert_eq!(versions, world.site.get(&world.first("list/")).json());
    assert_eq!(versions["data"][0]["version"], "1.0.2");
    let activated = world.site.post(
        "/api/nuitkal_pack/set_active/1.0.2/",
        &world.token,
        &json!({}),
    );
    activated.assert_text(
        200,
        r#"{"message":"版本 1.0.2 已设为激活版本","version":"1.0.2"}"#,
    );
    assert_eq!(
        world.site.get("/api/nuitkal_pack/check/").json()["version"],
        "1.0.2"
    );

    // Of two apps, none is meant, unless it is configured.
    world.site.app("other");
    let answer = world
        .site
        .get("/api/nuitkal_pack/check/")
        .assert(404)
        .json();
    assert!(
        answer["detail"].as_str().unwrap().contains("default_app"),
        "{answer}"
    );
    let beside = world
        .site
        .beside(|config| config.default_app = Some("demo".to_owned()));
    assert_eq!(
        beside.get("/api/nuitkal_pack/check/").assert(200).json()["version"],
        "1.0.2"
    );
}

#[test]
fn an_app_is_there_while_it_is_available() {
    let world = World::new();
    world.publish(&package("1.0.0"));
    let no_app = r#"{"detail":"No App matches the given query."}"#;
    let past = chrono::Utc::now() - chrono::TimeDelta::hours(1);
    let coming = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    for (enable, disable) in [(None, None), (Some(coming), None), (Some(past), Some(past))] {
        let app = App {
            enable_time: enable,
            disable_time: disable,
            ..world.app.clone()
        };
        world
            .site
            .wait(castoff_server::publishing::change_app(
                &world.site.server,
                "a test",
                &app,
            ))
            .unwrap();
        world
            .site
            .get("/api/nuitkal_pack/apps/")
            .assert_text(200, "[]");
        world
            .site
            .get("/api/v1/nuitkal_pack/apps/")
            .assert_text(200, "[]");
        for path in ["", "active/", "list/"] {
            world.site.get(&world.first(path)).assert_text(404, no_app);
            world.site.get(&world.later(path)).assert_text(404, no_app);
            world
                .site
                .get(&format!("{}?is_available=", world.first(path)))
                .assert(200);
            world
                .site
                .get(&format!("{}?is_available=false", world.later(path)))
                .assert(200);
        }
        world
            .site
            .get(&world.later("check-update/"))
            .assert_text(404, no_app);
        world
            .site
            .get("/api/nuitkal_pack/check/")
            .assert_text(404, no_app);
        world
            .send(&world.first("upload/"), &form(&package("2.0.0")))
            .assert_text(404, no_app);
        let all = world
            .site
            .get("/api/nuitkal_pack/apps/?is_available=")
            .json();
        assert_eq!(all[0]["is_available"], false);
    }
    let app = App {
        disable_time: Some(coming),
        enable_time: Some(past),
        ..world.app.clone()
    };
    world
        .site
        .wait(castoff_server::publishing::change_app(
            &world.site.server,
            "a test",
            &app,
        ))
        .unwrap();
    assert_eq!(world.active()["version"], "1.0.0");
    for path in ["", "active/", "list/"] {
        for base in ["/api/nuitkal_pack", "/api/v1/nuitkal_pack"] {
            let unknown = "0".repeat(32);
            world
                .site
                .get(&format!("{base}/apps/{unknown}/{path}"))
                .assert_text(404, no_app);
        }
    }
}

#[test]
fn a_missing_slash_is_a_redirect_and_other_methods_are_refused() {
    let world = World::new();
    for (bare, methods) in [
        ("/api/nuitkal_pack/check".to_owned(), "GET"),
        ("/api/nuitkal_pack/versions".to_owned(), "GET"),
        ("/api/nuitkal_pack/upload".to_owned(), "POST"),
        ("/api/nuitkal_pack/set_active/1.0.0".to_owned(), "POST"),
        ("/api/nuitkal_pack/apps".to_owned(), "GET"),
        (world.first("active"), "GET"),
        (world.first("list"), "GET"),
        (world.first("upload"), "POST"),
        (world.first("set_active"), "POST"),
        ("/api/v1/nuitkal_pack/apps".to_owned(), "GET"),
        ("/api/v1/nuitkal_pack/apps/check-files".to_owned(), "POST"),
        ("/api/v1/nuitkal_pack/apps/upload-file".to_owned(), "POST"),
        (world.later("check-update"), "GET"),
        (world.later("active"), "GET"),
        (world.later("list"), "GET"),
        (world.later("upload-zip"), "POST"),
        (world.later("create-version"), "POST"),
    ] {
        let answer = world.site.get(&bare).assert(301);
        assert_eq!(answer.header("location"), format!("{bare}/"));
        let answer = world
            .site
            .get(&format!("{bare}?version=1%2E0&is_available="))
            .assert(301);
        assert_eq!(
            answer.header("location"),
            format!("{bare}/?version=1%2E0&is_available=")
        );
        let prefix = format!("/t/{}", world.token);
        let answer = world.site.get(&format!("{prefix}{bare}?a=b")).assert(301);
        assert_eq!(answer.header("location"), format!("{prefix}{bare}/?a=b"));
        let answer = world
            .site
            .ask("PUT", &format!("{bare}/"), &[], b"")
            .assert(405);
        assert!(answer.header("allow").starts_with(methods), "{answer:?}");
        assert_eq!(answer.json()["detail"], "Method \"PUT\" not allowed.");
    }
}

#[test]
fn what_the_first_server_refuses_it_refuses_in_its_words() {
    let world = World::new();
    let path = world.first("upload/");
    let one = package("1.0.0");
    world.publish(&one);
    let taken = r#"{"non_field_errors":["The fields app, version must make a unique set."]}"#;
    world.send(&path, &form(&one)).assert_text(400, taken);
    // The same version, written in another way.
    let again = form(&Built {
        version: "1.0".to_owned(),
        ..package("1.0.0")
    });
    world.send(&path, &again).assert_text(400, taken);
    let no_zip = r#"{"file":["仅支持 ZIP 格式的更新包文件"]}"#;
    let of = |file: &str, content: &[u8]| {
        let form = Form::default()
            .text("version", "2.0.0")
            .text("entry_point", "main.py");
        form.file("file", file, content)
    };
    world
        .send(&path, &of("a.tar.gz", &one.bytes))
        .assert_text(400, no_zip);
    world
        .send(&path, &of("a.zip", b"no zip at all"))
        .assert_text(400, no_zip);
    world
        .send(&path, &of("a.zip", b""))
        .assert_text(400, no_zip);
    let broken = &one.bytes[..one.bytes.len() - 40];
    world
        .send(&path, &of("a.zip", broken))
        .assert_text(400, no_zip);
    let required = "This field is required.";
    for form in [Form::default(), Form::default().text("version", " ")] {
        world
            .send(&path, &form.file("file", "a.zip", &one.bytes))
            .assert_text(400, &json!({"version": [required]}).to_string());
    }
    let without = Form::default()
        .text("version", "2.0.0")
        .text("entry_point", "a.py");
    world
        .send(&path, &without)
        .assert_text(400, r#"{"file":["No file was submitted."]}"#);
    let answer = world
        .send(
            &path,
            &of("a.zip", &one.bytes).text("version", "no version"),
        )
        .assert(400);
    assert!(
        answer.json()["version"][0]
            .as_str()
            .unwrap()
            .contains("no version"),
        "{}",
        answer.text()
    );
    for outside in ["../main.py", "/bin/sh", "C:\\main.py"] {
        let answer = world
            .send(&path, &of("a.zip", &one.bytes).text("entry_point", outside))
            .assert(400);
        assert!(
            answer.json()["entry_point"][0].is_string(),
            "{}",
            answer.text()
        );
    }
    let answer = world.send(
        &path,
        &of("a.zip", &one.bytes).text("entry_point", "main.txt"),
    );
    answer.assert_text(
        400,
        r#"{"entry_point":["入口文件扩展名必须是以下之一: .py, .sh, .bat, .cmd, .exe"]}"#,
    );
    assert_eq!(world.versions(), 1);
    world.assert_tidy();
}

#[test]
fn hostile_packages_are_refused_with_the_launchers_reason() {
    let world = World::new();
    for hostile in hostile::all() {
        let name = hostile.name;
        let form = Form::default()
            .text("version", "1.0.0")
            .text("entry_point", "a.py")
            .file("file", "a.zip", &hostile.bytes);
        let answer = world.send(&world.first("upload/"), &form);
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        assert!(
            answer.json()["file"][0].is_string(),
            "{name}: {}",
            answer.text()
        );
        let answer = world.send(&world.later("upload-zip/"), &form);
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        let said = answer.json()["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(said.starts_with("无效的 ZIP 文件"), "{name}: {said}");
    }
    assert_eq!(world.versions(), 0);
    world.assert_tidy();
}

/// A file, as the later server shows it.
fn entry(path: &str, content: &[u8]) -> String {
    let hash = sha256(content);
    format!(
        r#"{{"hash":"{hash}","path":"{path}","url":"/media/nuitkal-pack/{hash}","size":{}}}"#,
        content.len()
    )
}

#[test]
fn the_later_server_answers_field_for_field() {
    let world = World::new();
    let uuid = world.uuid();
    let created = castoff_server::registry::text_of(world.app.created);
    let shown = |active: &str, updated: &str| {
        format!(
            r#"{{"id":"{uuid}","name":"demo","description":"demo app","enable_time":"{}","disable_time":null,"active_version":{active},"created_at":"{created}","updated_at":"{updated}"}}"#,
            castoff_server::registry::text_of(world.app.enable_time.unwrap())
        )
    };
    world
        .site
        .get(&world.later(""))
        .assert_text(200, &shown("null", &created));
    let none = r#"{"error":"该应用暂无激活版本"}"#;
    world
        .site
        .get(&world.later("check-update/"))
        .assert_text(400, none);
    world
        .site
        .get(&world.later("active/"))
        .assert_text(400, none);
    world.site.get(&world.later("list/")).assert_text(200, "[]");

    let upload = world.later("upload-zip/");
    let (one, two) = (package("1.0.0"), package("2.0.0"));
    let said = r#"{"message":"版本上传成功","version":"1.0.0","is_active":true}"#;
    world
        .send(&upload, &form(&one).text("is_active", "true"))
        .assert_text(200, said);
    let main = entry("main.py", b"print('1.0.0')");
    let stays = entry("sub/stays.txt", b"the same");
    let only = entry("only/1.0.0.txt", b"1.0.0");
    let time = world.active()["upload_time"].as_str().unwrap().to_owned();
    let version = format!(
        r#"{{"id":1,"version":"1.0.0","entry_point":"main.py","upload_time":"{time}","changelog":"log 1.0.0","is_active":true,"file_count":3,"total_size":27,"created_at":"{time}","files":[{main},{only},{stays}]}}"#,
    );
    world
        .site
        .get(&world.later("active/"))
        .assert_text(200, &version);
    world
        .site
        .get(&world.later("list/"))
        .assert_text(200, &format!("[{version}]"));
    let all = world.site.get("/api/v1/nuitkal_pack/apps/").assert(200);
    all.assert_text(200, &format!("[{}]", shown(&version, &time)));

    // Unlike the first server's, it stays as it is unless it is told to become active.
    world.send(&upload, &form(&two)).assert_text(
        200,
        r#"{"message":"版本上传成功","version":"2.0.0","is_active":false}"#,
    );
    world
        .site
        .post(
            &world.first("set_active/"),
            &world.token,
            &json!({"version": "2.0.0"}),
        )
        .assert(200);
    let list = world.site.get(&world.later("list/")).assert(200).json();
    assert_eq!(
        (&list[0]["is_active"], &list[1]["is_active"]),
        (&json!(true), &json!(false))
    );

    let new = entry("main.py", b"print('2.0.0')");
    let added = entry("only/2.0.0.txt", b"2.0.0");
    let head = r#""active_version":"2.0.0","entry_point":"main.py","changelog":"log 2.0.0""#;
    let check = world.later("check-update/");
    world.site.get(&format!("{check}?version=1.0.0")).assert_text(200, &format!(
        r#"{{"current_version":"1.0.0",{head},"need_update":true,"add":[{added}],"keep":[{new},{stays}],"delete":[{only}]}}"#
    ));
    world.site.get(&format!("{check}?version=2.0.0")).assert_text(200, &format!(
        r#"{{"current_version":"2.0.0",{head},"need_update":false,"add":[],"keep":[{new},{added},{stays}],"delete":[]}}"#
    ));
    // Whoever has none, or one that is not known here, gets everything.
    for (query, said) in [
        ("", "null"),
        ("?version=", "null"),
        ("?version=0.9", r#""0.9""#),
        ("?version=x%20y", r#""x y""#),
    ] {
        world.site.get(&format!("{check}{query}")).assert_text(200, &format!(
            r#"{{"current_version":{said},{head},"need_update":true,"add":[{new},{added},{stays}],"keep":[],"delete":[]}}"#
        ));
    }
    let file = format!("/media/nuitkal-pack/{}", sha256(b"the same"));
    assert_eq!(world.site.get(&file).assert(200).body, b"the same");
    world.assert_tidy();
}

#[test]
fn what_the_later_server_refuses_it_refuses_in_its_words() {
    let world = World::new();
    let upload = world.later("upload-zip/");
    let one = package("1.0.0");
    world.send(&upload, &form(&one)).assert(200);
    let said = |error: &str| json!({"error": error}).to_string();
    world
        .send(&upload, &form(&one))
        .assert_text(400, &said("版本[1.0.0]已存在"));
    let zip = |form: Form| form.file("file", "a.zip", &one.bytes);
    let two = || Form::default().text("version", "2.0.0");
    world
        .send(&upload, &zip(Form::default()))
        .assert_text(400, &said("缺少版本号"));
    world
        .send(&upload, &two())
        .assert_text(400, &said("缺少文件"));
    world
        .send(&upload, &two().file("file", "a.rar", &one.bytes))
        .assert_text(400, &said("请上传 ZIP 格式的文件"));
    world
        .send(&upload, &two().file("file", "a.zip", b"PK no zip"))
        .assert_text(400, &said("无效的 ZIP 文件"));
    world
        .send(&upload, &zip(two().text("entry_point", "../x")))
        .assert(400);

    let create = world.later("create-version/");
    let post = |body: Value| world.site.post(&create, &world.token, &body);
    post(json!({"version": "1.0.0", "file_manifest": {}}))
        .assert_text(400, &said("版本 1.0.0 已存在"));
    post(json!({"file_manifest": {}})).assert_text(400, &said("缺少版本号"));
    for manifest in [json!(["a"]), json!("no"), json!({"a": 1}), Value::Null] {
        post(json!({"version": "2.0.0", "file_manifest": manifest}))
            .assert_text(400, &said("file_manifest 必须是字典"));
    }
    let answer = post(json!({"version": "2.0.0", "file_manifest": "{\"a.txt\":\"00\"}"}))
        .assert(400)
        .json();
    let error = answer["error"].as_str().unwrap();
    assert!(
        error.starts_with("未上传的文件列表, ") && error.ends_with(": 00"),
        "{error}"
    );
    // Paths out of the client folder are none, whatever lies there.
    let hash = sha256(b"the same");
    for path in [
        "../evil.txt",
        "/etc/evil",
        "C:/evil",
        "a/../../evil",
        "",
        "con",
    ] {
        let answer = post(json!({"version": "2.0.0", "file_manifest": {path: hash}}));
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(
            answer.json()["error"]
                .as_str()
                .unwrap()
                .starts_with("无效的 ZIP 文件: "),
            "{path}"
        );
    }
    let check = "/api/v1/nuitkal_pack/apps/check-files/";
    for body in [
        json!({}),
        json!({"file_hashes": "00"}),
        json!({"file_hashes": [1]}),
        json!([]),
    ] {
        world
            .site
            .post(check, &world.token, &body)
            .assert_text(400, &said("file_hashes 必须是列表"));
    }
    world
        .send("/api/v1/nuitkal_pack/apps/upload-file/", &Form::default())
        .assert_text(400, &said("缺少文件"));
    assert_eq!(world.versions(), 1);
    world.assert_tidy();
}

/// Files of a version, some of them with the content of another, or with none.
const FILES: [(&str, &[u8]); 4] = [
    ("main.py", b"print(1)"),
    ("sub\\on windows.txt", b"text"),
    ("\u{8bf4}\u{660e}.txt", b"print(1)"),
    ("empty", b""),
];

#[test]
fn files_are_uploaded_once_and_it_is_told_which_are_missing() {
    let world = World::new();
    let hashes: Vec<_> = FILES.iter().map(|(_, content)| sha256(content)).collect();
    let check = |hashes: &[String]| {
        let path = "/api/v1/nuitkal_pack/apps/check-files/";
        world
            .site
            .post(path, &world.token, &json!({"file_hashes": hashes}))
            .assert(200)
            .text()
    };
    let missing = json!(["00", hashes[0], hashes[1]]);
    let asked: Vec<String> = serde_json::from_value(missing.clone()).unwrap();
    assert_eq!(
        check(&asked),
        format!(r#"{{"missing_files":{missing},"existing_files":[],"delete_files":[]}}"#)
    );
    for (name, content) in FILES {
        let hash = sha256(content);
        let said = format!(
            r#"{{"message":"文件上传成功","id":"{hash}","url":"/media/nuitkal-pack/{hash}"}}"#
        );
        let form = Form::default().file("file", name.rsplit('\\').next().unwrap(), content);
        // The second time it is there already.
        for path in [
            world.later("upload-file/"),
            "/api/v1/nuitkal_pack/apps/upload-file/".to_owned(),
        ] {
            world.send(&path, &form).assert_text(200, &said);
        }
        let file = world.site.get(&format!("/media/nuitkal-pack/{hash}"));
        assert_eq!(file.assert(200).body, content);
    }
    let missing: Vec<String> = (0..300).map(|n: u32| sha256(&n.to_be_bytes())).collect();
    let mut many = missing.clone();
    many.extend([hashes[0].clone(), missing[0].clone(), hashes[0].clone()]);
    let answer: Value = serde_json::from_str(&check(&many)).unwrap();
    assert_eq!(answer["existing_files"], json!([hashes[0]]));
    assert_eq!(answer["missing_files"], json!(missing));
    world.assert_tidy();
}

#[test]
fn a_version_is_made_of_files_that_were_uploaded_before() {
    let world = World::new();
    for (_, content) in FILES {
        let form = Form::default().file("file", "any", content);
        world.send(&world.later("upload-file/"), &form).assert(200);
    }
    let mut manifest: serde_json::Map<_, _> = FILES
        .iter()
        .map(|(path, content)| ((*path).to_owned(), sha256(content).into()))
        .collect();
    // A folder, as the publishers' tool lists those that a zip has entries for.
    manifest.insert("sub".to_owned(), sha256(b"").into());
    let manifest = Value::Object(manifest).to_string();
    // As Python's requests sends a form without files.
    let line = |version: &str, active: &str| {
        let mut line = form_urlencoded::Serializer::new(String::new());
        line.append_pair("version", version)
            .append_pair("entry_point", "main.py");
        line.append_pair("changelog", "c & d")
            .append_pair("is_active", active);
        line.append_pair("file_manifest", &manifest).finish()
    };
    let bearer = format!("Bearer {}", world.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let create = world.later("create-version/");
    world
        .site
        .ask("POST", &create, &headers, line("1.0.0", "True").as_bytes())
        .assert_text(
            200,
            r#"{"message":"版本上传成功","version":"1.0.0","is_active":true}"#,
        );
    let check = world
        .site
        .get(&world.later("check-update/"))
        .assert(200)
        .json();
    let add = check["add"].as_array().unwrap();
    let mut paths: Vec<_> = add.iter().map(|it| it["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "empty",
            "main.py",
            "sub/on windows.txt",
            "\u{8bf4}\u{660e}.txt"
        ]
    );
    assert_eq!(check["changelog"], "c & d");
    // For clients that know packages alone.
    let active = world.active();
    let zip = world
        .site
        .get(active["file"].as_str().unwrap())
        .assert(200)
        .body;
    assert_eq!(sha256(&zip), active["file_hash"]);
    world
        .site
        .ask("POST", &create, &headers, line("1.1.0", "0").as_bytes())
        .assert(200);
    let list = world.site.get(&world.first("list/")).json();
    assert_eq!(list["data"][0]["version"], "1.1.0");
    assert_eq!(
        list["data"][0]["file_hash"], active["file_hash"],
        "the same files make the same zip"
    );
    assert_eq!(world.active()["version"], "1.0.0");
    world.assert_tidy();
}

#[test]
fn whoever_publishes_needs_a_token_and_links_repeat_the_one_before_the_path() {
    let world = World::new();
    let one = form(&package("1.0.0"));
    let reader = world.site.token(Role::Read);
    for path in [
        "/api/nuitkal_pack/upload/".to_owned(),
        "/api/nuitkal_pack/set_active/1.0.0/".to_owned(),
        world.first("upload/"),
        world.first("set_active/"),
        world.later("upload-zip/"),
        world.later("create-version/"),
        "/api/v1/nuitkal_pack/apps/check-files/".to_owned(),
        "/api/v1/nuitkal_pack/apps/upload-file/".to_owned(),
    ] {
        let kind = Form::kind();
        let answer = world
            .site
            .ask("POST", &path, &[("content-type", &kind)], &one.body())
            .assert(401);
        assert_eq!(answer.json()["error"]["code"], "TOKEN_MISSING", "{path}");
        let answer = world.site.post_form(&path, &reader, &one).assert(403);
        assert_eq!(answer.json()["error"]["code"], "ROLE_MISSING", "{path}");
        let answer = world.site.post_form(&path, "ct_wrong", &one).assert(401);
        assert_eq!(answer.json()["error"]["code"], "TOKEN_INVALID", "{path}");
    }
    assert_eq!(world.versions(), 0);
    let prefix = format!("/t/{}", world.token);
    let path = format!("{prefix}{}", world.first("upload/"));
    let kind = Form::kind();
    let answer = world
        .site
        .ask("POST", &path, &[("content-type", &kind)], &one.body())
        .assert(201)
        .json();
    let file = answer["data"]["file"].as_str().unwrap();
    assert!(
        file.starts_with(&world.site.url(&format!("{prefix}/media/"))),
        "{file}"
    );

    // Where fetching needs one too, what is told can be fetched.
    let site = world
        .site
        .beside(|config| config.read = castoff_server::config::Read::Token);
    for path in [
        world.first("active/"),
        world.first(""),
        world.later("check-update/"),
        "/api/nuitkal_pack/check/".to_owned(),
        "/api/nuitkal_pack/apps/".to_owned(),
    ] {
        site.get(&path).assert(401);
    }
    let prefix = format!("/t/{reader}");
    let active = site
        .get(&format!("{prefix}{}", world.first("active/")))
        .assert(200)
        .json();
    let file = active["file"].as_str().unwrap();
    assert!(file.starts_with(&prefix), "{file}");
    assert_eq!(site.get(file).assert(200).body, package("1.0.0").bytes);
    site.get(file.strip_prefix(&prefix).unwrap()).assert(401);
    let check = site
        .get(&format!("{prefix}/api/nuitkal_pack/check/"))
        .assert(200)
        .json();
    assert_eq!(check["download_url"], site.url(file));
    let check = site
        .get(&format!("{prefix}{}", world.later("check-update/")))
        .assert(200)
        .json();
    assert_eq!(
        site.get(check["add"][0]["url"].as_str().unwrap())
            .assert(200)
            .body,
        b"print('1.0.0')"
    );
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let world = World::new();
    let body = form(&package("1.0.0")).body();
    for path in [
        world.first("upload/"),
        world.later("upload-zip/"),
        "/api/v1/nuitkal_pack/apps/upload-file/".to_owned(),
    ] {
        let (bearer, kind) = (&world.token, Form::kind());
        let mut stream = TcpStream::connect(world.site.address).unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {bearer}\r\n\
             content-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .unwrap();
        stream.write_all(&body[..body.len() - 100]).unwrap();
        // The rest does not come. What the server says of it is read, if it says anything.
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    // A form whose end is missing, although all of the body came.
    let kind = Form::kind();
    let bearer = format!("Bearer {}", world.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", kind.as_str()),
    ];
    let answer = world
        .site
        .ask(
            "POST",
            &world.first("upload/"),
            &headers,
            &body[..body.len() - 100],
        )
        .assert(400);
    assert!(answer.json()["detail"].is_string(), "{}", answer.text());
    assert_eq!(world.versions(), 0);
    world.assert_tidy();
    world.publish(&package("1.0.0"));
}

#[test]
fn what_is_too_large_is_refused_and_the_answer_arrives() {
    let world = World::of(Site::with(|config| config.max_upload = 1 << 20));
    let large = vec![7; 40 << 20];
    let of = |content: &[u8]| {
        let form = Form::default()
            .text("version", "1.0.0")
            .text("entry_point", "a.py");
        form.file("file", "a.zip", content)
    };
    for content in [&large[..2 << 20], &large] {
        let answer = world
            .send(&world.first("upload/"), &of(content))
            .assert(413);
        assert!(
            answer.json()["file"][0]
                .as_str()
                .unwrap()
                .contains("max_upload"),
            "{}",
            answer.text()
        );
        for path in [
            world.later("upload-zip/"),
            "/api/v1/nuitkal_pack/apps/upload-file/".to_owned(),
        ] {
            let answer = world.send(&path, &of(content)).assert(413);
            assert!(
                answer.json()["error"]
                    .as_str()
                    .unwrap()
                    .contains("max_upload"),
                "{}",
                answer.text()
            );
        }
    }
    let text = "x".repeat(2 << 20);
    let answer = world
        .send(
            &world.first("upload/"),
            &form(&package("1.0.0")).text("changelog", &text),
        )
        .assert(413);
    assert!(answer.text().contains("longer than"), "{}", answer.text());
    let many = (0..200).fold(Form::default(), |form, _| form.text("a", "b"));
    world.send(&world.first("upload/"), &many).assert(400);
    // The answer to somebody without a token as well.
    let kind = Form::kind();
    world
        .site
        .ask(
            "POST",
            &world.first("upload/"),
            &[("content-type", &kind)],
            &of(&large).body(),
        )
        .assert(401);
    assert_eq!(world.versions(), 0);
    world.assert_tidy();
    world.publish(&package("1.0.0"));
}

#[test]
fn of_uploads_of_one_version_at_once_one_is_taken() {
    let world = World::new();
    let path = world.first("upload/");
    let uploads: Vec<_> = (0..8)
        .map(|index| {
            // Half of them the same bytes, half each its own.
            let content = format!("print({})", if index % 2 == 0 { 0 } else { index });
            let built = Package::new("1.0.0").file("main.py", content).build();
            form(&built)
        })
        .collect();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = uploads
            .iter()
            .map(|form| scope.spawn(|| world.send(&path, form)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let taken = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(taken, 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.assert_text(
            400,
            r#"{"non_field_errors":["The fields app, version must make a unique set."]}"#,
        );
    }
    assert_eq!(world.versions(), 1);
    let file = world.active()["file"].as_str().unwrap().to_owned();
    assert_eq!(
        sha256(&world.site.get(&file).assert(200).body),
        world.active()["file_hash"]
    );
    world.assert_tidy();
}

#[test]
fn there_is_always_one_active_version_while_it_changes() {
    let world = World::new();
    let (one, two) = (package("1.0.0"), package("2.0.0"));
    world.publish(&one);
    world.publish(&two);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let active = world.active();
                    let expected = if active["version"] == "1.0.0" {
                        &one
                    } else {
                        &two
                    };
                    assert_eq!(active["file_hash"], expected.sha256);
                    let list = world.site.get(&world.first("list/")).assert(200).json();
                    let current: Vec<_> = list["data"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .filter(|it| it["is_active"] == true)
                        .collect();
                    assert_eq!(current.len(), 1, "{list}");
                }
            });
        }
        for turn in 0..40 {
            let version = if turn % 2 == 0 { "1.0.0" } else { "2.0.0" };
            world
                .site
                .post(
                    &world.first("set_active/"),
                    &world.token,
                    &json!({"version": version}),
                )
                .assert(200);
            // Whoever asks afterwards is told so.
            assert_eq!(world.active()["version"], version);
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Updates a client folder as a launcher with that source does.
fn update(folder: &Path, source: &str) -> Outcome {
    let text =
        format!("app = \"demo\"\nname = \"Demo\"\nentry_point = \"main.py\"\n[source]\n{source}\n");
    fs::write(folder.join("launcher.toml"), text).unwrap();
    let config = Config::load(folder, None, &|_| None).unwrap();
    let client = folder.join("client");
    let updater = Updater::new(&config, &client, &Silent).unwrap();
    updater.update(true).unwrap()
}

#[test]
fn launchers_install_and_update_from_each_of_the_addresses() {
    let world = World::new();
    let (first, later) = (world.first("active/"), world.later("check-update/"));
    let documented = "/api/nuitkal_pack/check/";
    let prefix = format!("/t/{}", world.site.token(Role::Read));
    let places = [
        ("check", first.clone()),
        ("check", documented.to_owned()),
        ("check-files", later.clone()),
        ("check", format!("{prefix}{first}")),
        ("check-files", format!("{prefix}{later}")),
    ];
    let folders: Vec<_> = places
        .iter()
        .map(|_| tempfile::tempdir_in(world.site.folder()).unwrap())
        .collect();
    let update_all = |expected: &Outcome| {
        for ((kind, path), folder) in places.iter().zip(&folders) {
            let url = world.site.url(path);
            let source = format!("kind = \"{kind}\"\nurl = \"{url}\"");
            assert_eq!(&update(folder.path(), &source), expected, "{kind} {path}");
        }
    };
    let (one, two): (Version, Version) = ("1.0.0".parse().unwrap(), "2.0.0".parse().unwrap());
    world.publish(&package("1.0.0"));
    update_all(&Outcome::Installed {
        version: one.clone(),
    });
    world.publish(&package("2.0.0"));
    update_all(&Outcome::Updated { from: one, to: two });
    for folder in &folders {
        let client = folder.path().join("client");
        let main = fs::read_to_string(client.join("main.py")).unwrap();
        assert_eq!(main, "print('2.0.0')");
        assert!(client.join("sub").join("stays.txt").exists());
        assert!(client.join("only").join("2.0.0.txt").exists());
    }
}
