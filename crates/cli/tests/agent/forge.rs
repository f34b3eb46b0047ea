//! GitHub's API, as far as the updater asks it.

use castoff_testkit::http::Reply;
use serde_json::{Value, json};

use crate::world::World;

/// Where a version's source lies.
pub(crate) fn tarball(repo: &str, version: &str) -> String {
    format!("/repos/{repo}/tarball/v{version}")
}

/// What is said of a release whose package is the archive of its source.
pub(crate) fn release(world: &World, repo: &str, version: &str, package: &[u8]) -> Value {
    let tarball = tarball(repo, version);
    world.server.replace(&tarball, Reply::file(package));
    json!({
        "tag_name": format!("v{version}"), "name": format!("v{version}"), "body": "", "draft": false,
        "prerelease": false, "published_at": "2025-10-17T10:00:00Z", "assets": [],
        "html_url": format!("https://github.example/{repo}/releases/tag/v{version}"),
        "tarball_url": world.server.url(&tarball),
        "zipball_url": world.server.url(&format!("/repos/{repo}/zipball/v{version}")),
    })
}

/// Answers with releases, the newest first.
pub(crate) fn announce(world: &World, repo: &str, releases: &[Value]) {
    let list = format!("/repos/{repo}/releases");
    let latest = format!("{list}/latest");
    for (path, answer) in [(latest, releases[0].clone()), (list, json!(releases))] {
        world
            .server
            .replace(&path, Reply::json(&answer.to_string()));
    }
}
