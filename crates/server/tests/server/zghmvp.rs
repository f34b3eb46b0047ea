//! The addresses of both Django servers.

use castoff_server::registry::{App, Role};
use castoff_testkit::package::{Built, Package, hostile};
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
        file.starts_with("/media/nuitkal_packs/20") && file.ends_with(".zip"),
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
        .assert_text(404, r#"{"detail":"No Version matches the given query."}"#);
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
        (world.first("active").to_owned(), "GET"),
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
    for (form, field) in [
        (
            Form::default()
                .text("entry_point", "a")
                .file("file", "a.zip", &one.bytes),
            "version",
        ),
        (
            Form::default()
                .text("version", " ")
                .text("entry_point", "a")
                .file("file", "a.zip", &one.bytes),
            "version",
        ),
        (
            Form::default()
                .text("version", "2.0.0")
                .file("file", "a.zip", &one.bytes),
            "entry_point",
        ),
    ] {
        world
            .send(&path, &form)
            .assert_text(400, &json!({field: [required]}).to_string());
    }
    let without = Form::default()
        .text("version", "2.0.0")
        .text("entry_point", "a");
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
            .text("entry_point", "a")
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
