//! Gitea, and Forgejo: the API v1, as Gitea 1.20 and later and Forgejo 7 and later have it
//! (`/api/swagger` of every instance). Its fields are GitHub's; sizes are named, digests are not.
//!
//! - `GET /api/v1/repos/OWNER/NAME/releases`, `GET /api/v1/repos/OWNER/NAME/tags`.
//!
//! A page holds 50 at most, unless the instance is set up otherwise (`MAX_RESPONSE_ITEMS`). There is a
//! `releases/latest` too, which is the last that was published and not one that somebody has chosen, so
//! that the list is asked for instead.

use super::forge::{Found, PAGE, Place, Service, segments};
use crate::json::Object;

/// Gitea.
pub(super) struct Gitea;

impl Service for Gitea {
    fn releases(&self, at: &Place) -> Option<String> {
        Some(list(at, "releases"))
    }

    fn tags(&self, at: &Place) -> String {
        list(at, "tags")
    }

    fn release(&self, fields: &Object<'_>, _at: &Place) -> Result<Found, String> {
        Found::usual(fields)
    }

    fn tagged(&self, at: &Place, tag: &str) -> Option<String> {
        let tag = segments(tag);
        Some(format!(
            "{}/api/v1/repos/{}/releases/tags/{tag}",
            at.url, at.repo
        ))
    }

    fn tag(&self, fields: &Object<'_>, _at: &Place) -> Result<Found, String> {
        Found::of_tag(fields)
    }
}

fn list(at: &Place, what: &str) -> String {
    format!("{}/api/v1/repos/{}/{what}?limit={PAGE}", at.url, at.repo)
}
