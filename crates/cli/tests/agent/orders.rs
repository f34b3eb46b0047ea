//! Orders: good, wrong, repeated, too late, and from whom.

use castoff_testkit::http::{Reply, Tls};
use castoff_testkit::sign::{Document, Signer};
use castoff_testkit::until;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::world::{World, api};

#[test]
fn a_wrong_order_is_refused_in_words() {
    let mut world = World::new();
    world.start();
    let package = world.app("1.0.0");
    let good = world.order("1.0.0", &package);
    let with = |key: &str, value: Value| {
        let mut order = good.clone();
        order[key] = value;
        order
    };
    for order in [
        json!({}),
        json!([]),
        with("version", json!("../1.0.0")),
        with("version", json!("")),
        with("version", json!(1)),
        with("package_url", json!("ftp://a.example/x.zip")),
        with("package_url", json!("file:///etc/passwd")),
        with("package_name", json!("../x.zip")),
        with("package_name", json!("a/b.zip")),
        with("package_name", json!("")),
        with("package_size", json!(0)),
        with("package_size", json!(-1)),
        with("package_size", json!("12")),
        with("package_md5", json!("ABCDEF0123456789ABCDEF0123456789")),
        with("package_md5", json!("abc")),
    ] {
        let (status, answer) = world.call("POST", "/api/v1.0/download", Some(&order.to_string()));
        assert_eq!(
            (status, &answer["code"]),
            (200, &json!(400)),
            "{order}: {answer}"
        );
    }
    for body in ["", "{", "{}", "{\"version\": \"\"}"] {
        let (status, answer) = world.call("POST", "/api/v1.0/update", Some(body));
        assert_eq!(
            (status, &answer["code"]),
            (200, &json!(400)),
            "{body}: {answer}"
        );
    }
    let answer = world.post("/api/v1.0/update", &json!({"version": "2.0.0"}));
    assert_eq!(
        answer,
        json!({"code": 404, "msg": "Package not found: 2.0.0"})
    );
    assert_eq!(world.progress()["data"]["stage"], "idle");
}

#[test]
fn while_one_is_under_way_another_is_told_so_and_the_same_is_fine() {
    let mut world = World::new();
    world.start();
    let package = world.app("1.0.0");
    let order = world.order("1.0.0", &package);
    world.server.unroute("/1.0.0.zip");
    let slow = Reply::file(&package).trickle(20, std::time::Duration::from_millis(50));
    world.server.route("/1.0.0.zip", slow);
    let success = json!({"code": 200, "msg": "success", "data": null});
    assert_eq!(world.post("/api/v1.0/download", &order), success);
    assert_eq!(world.post("/api/v1.0/download", &order), success);
    let mut other = order.clone();
    other["version"] = "2.0.0".into();
    for (path, body) in [
        ("/api/v1.0/download", other),
        ("/api/v1.0/update", json!({"version": "1.0.0"})),
    ] {
        let busy = world.post(path, &body);
        assert_eq!(busy["code"], 409, "{busy}");
        assert_eq!(busy["msg"], "Operation already in progress: downloading");
        assert_eq!(busy["stage"], "downloading");
        assert!(busy["progress"].is_u64());
    }
    world.wait_for("toInstall");
    assert_eq!(world.post("/api/v1.0/download", &order), success);
    assert_eq!(world.progress()["data"]["stage"], "toInstall");
}

#[test]
fn a_package_that_is_another_one_is_not_kept() {
    let mut world = World::new();
    world.start();
    let package = world.app("1.0.0");
    let mut order = world.order("1.0.0", &package);
    order["package_md5"] = "0".repeat(32).into();
    world.post("/api/v1.0/download", &order);
    let failed = world.wait_for("failed");
    let error = failed["data"]["error"].as_str().unwrap();
    assert!(error.starts_with(&format!("MD5_MISMATCH: expected {}, got ", "0".repeat(32))));
    assert_eq!(failed["data"]["message"], "MD5 verification failed");
    let left = std::fs::read_dir(world.opt().join(".castoff/downloads")).unwrap();
    let left: Vec<_> = left.map(|it| it.unwrap().file_name()).collect();
    assert!(
        !left
            .iter()
            .any(|it| it.to_string_lossy().ends_with(".package")),
        "{left:?}"
    );
    // A size that is wrong, and a server that has nothing.
    let mut order = world.order("1.0.0", &package);
    order["package_size"] = 7.into();
    world.post("/api/v1.0/download", &order);
    let failed = world.wait_for("failed");
    assert!(
        failed["data"]["error"]
            .as_str()
            .unwrap()
            .starts_with("DOWNLOAD_FAILED: ")
    );
    world.server.replace("/1.0.0.zip", Reply::status(404));
    order["package_size"] = package.len().into();
    world.post("/api/v1.0/download", &order);
    let failed = world.wait_for("failed");
    assert!(
        failed["data"]["error"]
            .as_str()
            .unwrap()
            .starts_with("DOWNLOAD_FAILED: ")
    );
    world.bring("1.0.0");
}

#[test]
fn a_package_is_not_installed_a_day_after_its_verification() {
    let mut world = World::new();
    world.start();
    let package = world.app("1.0.0");
    world.fetch("1.0.0", &package);
    world.kill();
    let place = world.opt().join(".castoff/agent.json");
    let mut memory: Value = serde_json::from_slice(&std::fs::read(&place).unwrap()).unwrap();
    let then = Utc::now() - TimeDelta::hours(25);
    memory["verified_at"] = then.to_rfc3339().into();
    std::fs::write(&place, memory.to_string()).unwrap();
    world.start();
    let answer = world.post("/api/v1.0/update", &json!({"version": "1.0.0"}));
    assert_eq!(answer["code"], 410, "{answer}");
    assert!(
        answer["msg"]
            .as_str()
            .unwrap()
            .starts_with("PACKAGE_EXPIRED"),
        "{answer}"
    );
    assert_eq!(world.progress()["data"]["stage"], "toInstall");
    // Ordered again, it is verified again, and not fetched again.
    let requests = world.server.requests().len();
    let order = json!({
        "version": "1.0.0", "package_url": world.server.url("/1.0.0.zip"), "package_name": "1.0.0.zip",
        "package_size": package.len(), "package_md5": crate::world::md5(&package),
    });
    world.post("/api/v1.0/download", &order);
    world.wait_for("toInstall");
    let fetched = world.server.requests()[requests..]
        .iter()
        .filter(|it| it.path() == "/1.0.0.zip")
        .count();
    assert_eq!(fetched, 0);
    world.install("1.0.0");
    world.wait_for("success");
}

#[test]
fn with_pinned_keys_an_order_has_to_be_signed() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let keys = format!("trust.keys = [\"{}\"]", signer.public());
    let mut world = World::with(&keys, "");
    world.start();
    let package = world.app("1.0.0");
    let order = world.order("1.0.0", &package);
    let url = order["package_url"].as_str().unwrap().to_owned();
    let document =
        Document::release("1.0.0", &url, &package).with("app", json!("org.castoff.device"));
    let with = |release: Option<String>| {
        let mut order = order.clone();
        if let Some(release) = release {
            order["release"] = release.into();
        }
        order
    };
    let other = Document::release("1.0.0", &url, b"other").with("app", json!("org.castoff.device"));
    for release in [
        None,
        Some(document.signed(&[&stranger])),
        Some(other.signed(&[&signer])),
    ] {
        world.post("/api/v1.0/download", &with(release));
        let failed = world.wait_for("failed");
        assert!(
            failed["data"]["error"]
                .as_str()
                .unwrap()
                .starts_with("DOWNLOAD_FAILED: ")
        );
    }
    let good = with(Some(document.signed(&[&signer])));
    world.post("/api/v1.0/download", &good);
    world.wait_for("toInstall");
    world.install("1.0.0");
    world.wait_for("success");
    assert_eq!(world.read("bin/worker"), "worker 1.0.0");
}

#[test]
fn what_must_not_be_served_is_not_started() {
    let mut world = World::new();
    let refused = |world: &World, args: &[&str], said: &str| {
        let output = world.command(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && text.contains(said),
            "{args:?}: {text}"
        );
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    refused(&world, &["agent", "--listen", &port], "cannot listen there");
    // Whoever may call from elsewhere has to have a token, wherever the address was said.
    refused(&world, &["agent", "--listen", "0.0.0.0:0"], "token_file");
    // Nor is there another for the same folder, whatever its port.
    world.start();
    refused(&world, &["agent"], "UPDATE_RUNNING");
}

#[test]
fn root_does_not_work_on_what_others_may_change() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    if !is_root() {
        return;
    }
    for name in ["", "agent.toml", "launcher.toml"] {
        let path = world.opt().join(name);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode | 0o022)).unwrap();
        let output = world.command(&["agent"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("TARGET_UNSAFE"), "{name}: {text}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    // What stands in for launcher.toml says as much.
    let app = world.opt();
    std::fs::remove_file(app.join("launcher.toml")).unwrap();
    let variables = format!(
        "APP_UPDATE_REPO=owner/otrs\nAPP_UPDATE_GITHUB_API={}\n",
        world.server.url("")
    );
    std::fs::write(app.join(".env"), variables).unwrap();
    std::os::unix::fs::chown(app.join(".env"), Some(65534), None).unwrap();
    let output = world.command(&["agent"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("TARGET_UNSAFE") && text.contains(".env"),
        "{text}"
    );
    // A way that others may turn elsewhere is none.
    let theirs = world.home().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::symlink(&app, theirs.join("app")).unwrap();
    std::os::unix::fs::chown(&theirs, Some(65534), None).unwrap();
    std::fs::remove_file(app.join(".env")).unwrap();
    world.configure(
        "app = \"x\"\nlayout = \"snapshot\"\nsource.kind = \"pushed\"",
        "",
        "",
    );
    let through = theirs.join("app");
    let through = through.to_str().unwrap();
    let output = world
        .command(&["agent", "--dir", through])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("TARGET_UNSAFE") && text.contains("theirs"),
        "{text}"
    );
}

/// What cannot be read now is not taken for nothing, and stays.
#[test]
fn a_memory_that_cannot_be_read_is_not_written_over() {
    let mut world = World::new();
    let memory = world.opt().join(".castoff/agent.json");
    std::fs::create_dir_all(&memory).unwrap();
    world.start();
    let order = world.order("1.0.0", &world.app("1.0.0"));
    let answer = world.post("/api/v1.0/download", &order);
    assert_eq!(answer["code"], 500, "{answer}");
    assert!(memory.is_dir());
    // One that makes no sense is forgotten, and nothing waits for it.
    std::fs::remove_dir(&memory).unwrap();
    std::fs::write(&memory, "{").unwrap();
    world.bring("1.0.0");
}

/// A start while another process is at work takes up later what it would have taken up.
#[test]
fn an_order_is_taken_up_when_another_process_has_done_its_work() {
    let mut world = World::new();
    world.start();
    let package = world.app("1.0.0");
    let order = world.order("1.0.0", &package);
    let stalled = Reply::file(&package)
        .etag("\"1.0.0\"")
        .stall_after(100)
        .times(1);
    world.server.replace("/1.0.0.zip", stalled);
    let whole = Reply::file(&package).etag("\"1.0.0\"");
    world.server.route("/1.0.0.zip", whole);
    world.post("/api/v1.0/download", &order);
    until(|| world.server.asked("/1.0.0.zip") > 0, || world.log());
    world.kill();
    let lock = std::fs::File::open(world.opt().join(".castoff/operation.lock")).unwrap();
    lock.lock().unwrap();
    world.start();
    assert_eq!(world.progress()["data"]["stage"], "idle");
    drop(lock);
    until(
        || world.progress()["data"]["stage"] == "toInstall",
        || world.log(),
    );
}

pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

#[test]
fn what_waits_is_for_the_word_alone_and_what_was_spoilt_is_not_installed() {
    let mut world = World::new();
    world.start();
    world.bring("1.0.0");
    world.fetch("1.1.0", &world.app("1.1.0"));
    // Who updates by hand asks the source, which is none.
    let output = world.command(&["update"]).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(world.link("current").as_deref(), Some("v1.0.0"));
    assert_eq!(world.progress()["data"]["stage"], "toInstall");
    let downloads = std::fs::read_dir(world.opt().join(".castoff/downloads")).unwrap();
    let mut paths = downloads.map(|it| it.unwrap().path());
    let package = paths
        .find(|it| it.extension().is_some_and(|end| end == "package"))
        .unwrap();
    let mut bytes = std::fs::read(&package).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&package, bytes).unwrap();
    world.calls();
    world.install("1.1.0");
    let failed = world.wait_for("failed");
    assert!(
        failed["data"]["error"]
            .as_str()
            .unwrap()
            .starts_with("DEPLOYMENT_FAILED: "),
        "{failed}"
    );
    assert_eq!(world.link("current").as_deref(), Some("v1.0.0"));
    assert_eq!(world.calls(), [""; 0]);
    world.bring("1.1.0");
    // The same version in another make is one more, not the same.
    let mut other = api("1.1.0");
    other.content = "api 1.1.0, made again".to_owned();
    world.fetch("1.1.0", &world.package("1.1.0", &[other]));
    world.install("1.1.0");
    world.wait_for("success");
    assert_eq!(world.read("bin/device-api"), "api 1.1.0, made again");
}

#[test]
fn a_disk_that_is_full_is_told_as_such() {
    let mut world = World::new();
    world.start_with(&[("CASTOFF_FAIL", "fetch.block=full")]);
    let package = world.app("1.0.0");
    let order = world.order("1.0.0", &package);
    world.post("/api/v1.0/download", &order);
    let failed = world.wait_for("failed");
    let error = failed["data"]["error"].as_str().unwrap();
    assert!(error.starts_with("DISK_FULL: "), "{failed}");
}

#[test]
fn calls_from_elsewhere_need_the_token() {
    let mut world = World::with("", "token_file = \"token\"\nopen_reading = true");
    std::fs::write(world.opt().join("token"), "0123456789abcdef0123\n").unwrap();
    world.start();
    assert_eq!(world.progress()["data"]["stage"], "idle");
    let order = world.order("1.0.0", &world.app("1.0.0"));
    let (status, answer) = world.call("POST", "/api/v1.0/download", Some(&order.to_string()));
    assert_eq!((status, &answer["code"]), (401, &json!(401)));
    let bearer = "Bearer 0123456789abcdef0123";
    let path = "/api/v1.0/download";
    let (status, answer) = world.call_as("POST", path, Some(&order.to_string()), bearer);
    assert_eq!((status, &answer["code"]), (200, &json!(200)));
    world.wait_for("toInstall");
}

#[test]
fn calls_by_tls_are_answered_whoever_else_hesitates() {
    let tls = Tls::new();
    let files = json!([tls.certificate_pem_path, tls.key_pem_path]);
    let mut world = World::with(
        "",
        &format!("tls = {{ certificate = {}, key = {} }}", files[0], files[1]),
    );
    world.start();
    // One that never begins.
    let _idle = std::net::TcpStream::connect(world.address()).unwrap();
    let asked = world.progress_by_tls(&tls);
    let answer: Value =
        serde_json::from_slice(&asked.stdout).unwrap_or_else(|_| panic!("{asked:?}"));
    assert_eq!(answer["data"]["stage"], "idle");
}
