//! GitHub, and GitHub Enterprise Server: the REST API, version 2022-11-28
//! (<https://docs.github.com/rest/releases>), which is what is answered where no version is asked for.
//!
//! - `GET /repos/OWNER/NAME/releases/latest`: the one that the publisher calls the latest.
//! - `GET /repos/OWNER/NAME/releases/tags/TAG`: the one of a tag, where one version is asked for.
//! - `GET /repos/OWNER/NAME/releases`, `GET /repos/OWNER/NAME/tags`.
//!
//! With a token, the files of a release are fetched from the API, which leads to another host; those of
//! a private repository can be had nowhere else. Without one they come from the site, which counts no
//! questions.

use super::forge::{Found, PAGE, Place, Service, owned, segments};
use crate::json::Object;

/// GitHub.
pub(super) struct Github;

impl Service for Github {
    fn accept(&self) -> &'static str {
        "application/vnd.github+json"
    }

    fn newest(&self, at: &Place) -> Option<String> {
        Some(format!("{}/repos/{}/releases/latest", at.url, at.repo))
    }

    fn releases(&self, at: &Place) -> Option<String> {
        Some(list(at, "releases"))
    }

    fn tags(&self, at: &Place) -> String {
        list(at, "tags")
    }

    fn release(&self, fields: &Object<'_>, at: &Place) -> Result<Found, String> {
        let mut found = Found::usual(fields)?;
        if at.has_token {
            let assets = fields.objects("assets")?;
            for (asset, fields) in found.assets.iter_mut().zip(&assets) {
                if let Some(url) = owned(fields, "url")? {
                    asset.url = url;
                }
            }
        }
        Ok(found)
    }

    fn tagged(&self, at: &Place, tag: &str) -> Option<String> {
        let tag = segments(tag);
        Some(format!("{}/repos/{}/releases/tags/{tag}", at.url, at.repo))
    }

    fn tag(&self, fields: &Object<'_>, _at: &Place) -> Result<Found, String> {
        Found::of_tag(fields)
    }
}

fn list(at: &Place, what: &str) -> String {
    format!("{}/repos/{}/{what}?per_page={PAGE}", at.url, at.repo)
}
