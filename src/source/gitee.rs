//! Gitee: its API v5 (<https://gitee.com/api/v5/swagger>).
//!
//! - `GET /api/v5/repos/OWNER/NAME/releases`, `GET /api/v5/repos/OWNER/NAME/tags`.
//!
//! Its fields are GitHub's as far as they go: there are no drafts, no sizes and no digests, and the
//! archives of the tag are among the files, some of them without a name.

use super::forge::{Found, PAGE, Place, Service, segments};
use crate::json::Object;

/// Gitee.
pub(super) struct Gitee;

impl Service for Gitee {
    fn releases(&self, at: &Place) -> Option<String> {
        Some(list(at, "releases"))
    }

    fn tags(&self, at: &Place) -> String {
        list(at, "tags")
    }

    fn release(&self, fields: &Object<'_>, at: &Place) -> Result<Found, String> {
        let mut found = Found::usual(fields)?;
        // It answers with its own spelling of the repository.
        let repo = at.repo.to_ascii_lowercase();
        let archives = ["archive", "repository/archive"].map(|way| format!("/{repo}/{way}/"));
        let (made, own) = found.assets.into_iter().partition(|asset| {
            let url = asset.url.to_ascii_lowercase();
            archives.iter().any(|archives| url.contains(archives))
        });
        found.assets = own;
        let made: Vec<_> = made;
        let archive = |ending: &str| {
            let asset = made.iter().find(|asset| asset.url.ends_with(ending))?;
            Some(asset.url.clone())
        };
        found.zipball = archive(".zip");
        found.tarball = archive(".tar.gz");
        let tag = segments(&found.tag);
        found.page = Some(format!("{}/{}/releases/tag/{tag}", at.url, at.repo));
        Ok(with_archives(found, at))
    }

    fn tagged(&self, at: &Place, tag: &str) -> Option<String> {
        let tag = segments(tag);
        Some(format!(
            "{}/api/v5/repos/{}/releases/tags/{tag}",
            at.url, at.repo
        ))
    }

    fn tag(&self, fields: &Object<'_>, at: &Place) -> Result<Found, String> {
        Found::of_tag(fields).map(|found| with_archives(found, at))
    }
}

fn list(at: &Place, what: &str) -> String {
    // Releases are listed from the oldest one on, unless it is asked for otherwise.
    format!(
        "{}/api/v5/repos/{}/{what}?per_page={PAGE}&direction=desc",
        at.url, at.repo
    )
}

/// With the addresses of the tag's archives, where the answer does not name them.
fn with_archives(mut found: Found, at: &Place) -> Found {
    let tag = segments(&found.tag);
    let archive = |ending| format!("{}/{}/archive/refs/tags/{tag}{ending}", at.url, at.repo);
    found.tarball.get_or_insert_with(|| archive(".tar.gz"));
    found.zipball.get_or_insert_with(|| archive(".zip"));
    found
}
