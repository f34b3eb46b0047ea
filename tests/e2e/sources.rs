//! Sources other than the check, end to end: repositories at a forge.

use std::fs;

use castoff_testkit::http::Reply;
use castoff_testkit::package::Built;
use castoff_testkit::sign::{Document, Signer, role};
use serde_json::{Value, json};

use crate::world::{ENTRY, World, app};

const RELEASES: &str = "/repos/owner/app/releases";

/// A world whose source is a repository at GitHub, with more configuration.
fn github(more: &str) -> World {
    let world = World::new();
    let url = world.server.url("");
    let source = format!("kind = \"github\"\nurl = \"{url}\"\nrepo = \"owner/app\"");
    world.configure_source(&source, more);
    // A forge names none.
    let path = world.home().join("launcher.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("entry_point = \"{ENTRY}\"\n{config}")).unwrap();
    world
}

/// A release with files, as GitHub's API describes it; the files are put on the server as well.
fn release(world: &World, version: &str, files: &[(&str, &[u8])]) -> Value {
    let assets = files.iter().enumerate().map(|(number, (name, content))| {
        let path = format!("/owner/app/releases/download/v{version}/{name}");
        world.server.replace(&path, Reply::file(content));
        json!({
            "url": world.server.url(&format!("{RELEASES}/assets/{number}")), "id": number,
            "name": name, "label": "", "state": "uploaded", "content_type": "application/zip",
            "size": content.len(), "digest": format!("sha256:{}", castoff_testkit::package::sha256(content)),
            "download_count": 3, "browser_download_url": world.server.url(&path),
        })
    });
    json!({
        "id": 1, "tag_name": format!("v{version}"), "name": format!("App {version}"),
        "target_commitish": "main", "draft": false, "prerelease": false, "immutable": false,
        "body": format!("what is new in {version}"), "published_at": "2026-01-02T03:04:05Z",
        "html_url": format!("https://github.example/owner/app/releases/tag/v{version}"),
        "tarball_url": world.server.url("/tarball"), "zipball_url": world.server.url("/zipball"),
        "assets": assets.collect::<Vec<_>>(),
    })
}

/// Makes a release the latest one.
fn publish(world: &World, version: &str, files: &[(&str, &[u8])]) {
    let answer = release(world, version, files);
    let latest = format!("{RELEASES}/latest");
    world
        .server
        .replace(&latest, Reply::json(&answer.to_string()));
    world
        .server
        .replace(RELEASES, Reply::json(&json!([answer]).to_string()));
}

fn package_name(version: &str) -> String {
    let (system, processor) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("app-{version}-{system}-{processor}.zip")
}

/// Publishes an app for this machine, beside one for others.
fn publish_app(world: &World, version: &str) -> Built {
    let built = app(version).build();
    let files: [(&str, &[u8]); 2] = [
        ("app-freebsd-riscv64.zip", b"for others"),
        (&package_name(version), &built.bytes),
    ];
    publish(world, version, &files);
    built
}

#[test]
fn releases_at_github_are_installed_and_followed() {
    let world = github("");
    publish_app(&world, "1.0.0");
    world.run(&[]).assert_app("1.0.0");
    publish_app(&world, "1.1.0");
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.version(), "v1.1.0");
    world.assert_tidy();
    // Nothing new, and nothing is fetched.
    let before = world.server.requests().len();
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.server.requests().len(), before + 1);
}

#[test]
fn a_release_at_github_whose_bytes_are_others_is_refused() {
    let world = github("");
    publish_app(&world, "1.0.0");
    world.run(&[]).assert_app("1.0.0");
    let built = publish_app(&world, "1.1.0");
    let name = package_name("1.1.0");
    let path = format!("/owner/app/releases/download/v1.1.0/{name}");
    let mut bytes = built.bytes;
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    world.server.replace(&path, Reply::file(&bytes));
    world
        .run(&[])
        .assert_app("1.0.0")
        .assert_told("HASH_MISMATCH");
}

#[test]
fn a_forge_that_answers_no_more_questions_keeps_nobody_from_the_app() {
    let world = github("");
    publish_app(&world, "1.0.0");
    world.run(&[]).assert_app("1.0.0");
    let latest = format!("{RELEASES}/latest");
    world.server.unroute(&latest);
    let refused = Reply::status(403)
        .header("X-RateLimit-Remaining", "0")
        .header("X-RateLimit-Reset", "1768675258");
    world.server.route(&latest, refused);
    let run = world.run(&[]);
    run.assert_app("1.0.0").assert_told("RATE_LIMITED");
    assert!(run.stderr.contains("2026-01-17T18:40:58Z"), "{run:#?}");
}

#[test]
fn signed_releases_at_github_are_installed_and_others_are_not() {
    let (root, releaser) = (Signer::new(), Signer::new());
    let world = github(&format!("[trust]\nkeys = [\"{}\"]", root.public()));
    let roles = [&root, &releaser, &root].map(|signer| role(&[signer], 1));
    let keys = Document::keys(1, &roles[0], &roles[1], &roles[2]).signed(&[&root]);
    let publish_signed = |version: &str, signer: &Signer| {
        let built = app(version).build();
        let name = package_name(version);
        let document = Document::release(version, &name, &built.bytes).signed(&[signer]);
        let file = format!("release-{version}.json");
        let files: [(&str, &[u8]); 3] = [
            (&name, &built.bytes),
            (&file, document.as_bytes()),
            ("keys.1.json", keys.as_bytes()),
        ];
        publish(&world, version, &files);
    };
    publish_signed("1.0.0", &releaser);
    world.run(&[]).assert_app("1.0.0");
    publish_signed("1.1.0", &releaser);
    world.run(&[]).assert_app("1.1.0");
    assert_eq!(world.version(), "1.1.0");
    world.assert_tidy();
    publish_signed("1.2.0", &Signer::new());
    let run = world.run(&[]);
    run.assert_app("1.1.0").assert_told("TRUST_SIGNATURE");
    publish_app(&world, "1.2.0");
    world
        .run(&[])
        .assert_app("1.1.0")
        .assert_told("TRUST_UNSIGNED");
    // What was signed long ago is no way back.
    publish_signed("1.0.0", &releaser);
    world.run(&[]).assert_app("1.1.0");
    let refused = "version 1.0.0 is older than the installed 1.1.0";
    assert!(world.log().contains(refused), "{}", world.log());
}

/// Its variables, its `.env`, its folder, and GitHub by its own name, which is behind a proxy here. (On
/// Windows, the system alone says whose certificates are good.)
#[cfg(not(windows))]
#[test]
fn an_installation_of_otrs_web_is_updated_with_what_it_has() {
    use castoff_testkit::http::{Server, Tls};
    use castoff_testkit::package::Package;
    use castoff_testkit::tar::gzip;

    use crate::world::Run;

    let world = World::new();
    let home = world.home();
    fs::remove_file(home.join("launcher.toml")).unwrap();
    let dotenv = "APP_VERSION=1.2.5\nAPP_UPDATE_SOURCE=github\nAPP_UPDATE_REPO=owner/otrs\n\
        APP_UPDATE_GITHUB_TOKEN=t0k\nAPP_UPDATE_AUTO_CHECK=true\nAPP_UPDATE_CHECK_INTERVAL=24\n\
        SECRET_KEY=kept\n";
    fs::write(home.join(".env"), dotenv).unwrap();
    fs::write(home.join("app.py"), "VERSION = '1.2.5'\n").unwrap();
    fs::create_dir(home.join("uploads")).unwrap();
    fs::write(home.join("uploads/mine.xlsx"), "mine").unwrap();

    let package = Package::new("1.2.6")
        .file("app.py", "VERSION = '1.2.6'\n")
        .file(".env", "SECRET_KEY=of the repository\n")
        .file("uploads/.gitkeep", "")
        .file("templates/upgrade.html", "<h1>new</h1>\n");
    let tarball = package.build_tar("owner-otrs-0123abc/", gzip);
    let api = "https://api.github.com/repos/owner/otrs";
    let release = json!({
        "tag_name": "release/v1.2.6", "name": "1.2.6", "body": "* faster", "draft": false,
        "prerelease": false, "published_at": "2026-01-02T03:04:05Z", "assets": [],
        "tarball_url": format!("{api}/tarball/release/v1.2.6"),
        "zipball_url": format!("{api}/zipball/release/v1.2.6"),
    });
    let tls = Tls::of(&["api.github.com"]);
    let github = Server::start_tls(&tls);
    github.route(
        "/repos/owner/otrs/releases/latest",
        Reply::json(&release.to_string()),
    );
    let path = "/repos/owner/otrs/tarball/release/v1.2.6";
    github.route(path, Reply::file(&tarball.bytes));
    let proxy = Server::start();
    proxy.fallback(Reply::tunnel_to(github.address()));
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        command
            .env("HTTPS_PROXY", proxy.url(""))
            .env("SSL_CERT_FILE", &tls.ca_pem_path);
        Run::of(&mut command)
    };

    let check = run(&["--castoff", "check", "--json"]);
    let told: Value = serde_json::from_str(&check.stdout).unwrap();
    assert_eq!(check.code, Some(0), "{check:?}");
    assert_eq!(
        (&told["installed"], &told["offered"]),
        (&json!("1.2.5"), &json!("release/v1.2.6"))
    );
    let update = run(&["--castoff", "update"]);
    assert_eq!(update.code, Some(0), "{update:?}");
    let read = |path: &str| fs::read_to_string(home.join(path)).unwrap();
    assert_eq!(read("app.py"), "VERSION = '1.2.6'\n");
    assert_eq!(read("templates/upgrade.html"), "<h1>new</h1>\n");
    assert_eq!(read(".env"), dotenv, "what is preserved");
    assert_eq!(read("uploads/mine.xlsx"), "mine");
    let asked = github.requests();
    let token = asked[0].header("authorization");
    assert_eq!(token, Some("Bearer t0k"));
    let again = run(&["--castoff", "update"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(read("app.py"), "VERSION = '1.2.6'\n");
}
