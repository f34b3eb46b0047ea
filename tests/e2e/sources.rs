//! Sources other than the check, end to end: repositories at a forge.

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
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("entry_point = \"{ENTRY}\"\n{config}")).unwrap();
    world
}

/// A release with files, as GitHub's API describes it; the files are put on the server as well.
fn release(world: &World, version: &str, files: &[(&str, &[u8])]) -> Value {
    let assets = files.iter().enumerate().map(|(number, (name, content))| {
        let path = format!("/owner/app/releases/download/v{version}/{name}");
        world.server.unroute(&path);
        world.server.route(&path, Reply::file(content));
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
    world.server.unroute(&latest);
    world
        .server
        .route(&latest, Reply::json(&answer.to_string()));
    world.server.unroute(RELEASES);
    world
        .server
        .route(RELEASES, Reply::json(&json!([answer]).to_string()));
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
    world.server.unroute(&path);
    world.server.route(&path, Reply::file(&bytes));
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
