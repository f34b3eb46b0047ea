//! GitLab: the REST API v4 (<https://docs.gitlab.com/api/releases/>), as GitLab 13 and later have it.
//!
//! - `GET /api/v4/projects/PATH/releases`, with the whole path as one segment;
//!   `GET /api/v4/projects/PATH/repository/tags`.
//!
//! There are no pre-releases but by their versions, and neither sizes nor digests. A release whose date
//! is still to come counts as a draft. The files of a release are links: what one is called may be a
//! title, and then the address has the name of the file.

use super::forge::{
    Asset, Found, PAGE, Place, Service, is_package, last_segment, owned, segment, segments,
};
use crate::json::Object;

/// GitLab.
pub(super) struct Gitlab;

impl Service for Gitlab {
    fn releases(&self, at: &Place) -> Option<String> {
        Some(list(at, "releases"))
    }

    fn tags(&self, at: &Place) -> String {
        list(at, "repository/tags")
    }

    fn release(&self, fields: &Object<'_>, at: &Place) -> Result<Found, String> {
        let mut found = Found {
            tag: fields
                .required("tag_name", fields.text("tag_name"))?
                .to_owned(),
            name: owned(fields, "name")?.unwrap_or_default(),
            notes: owned(fields, "description")?.unwrap_or_default(),
            draft: fields.flag("upcoming_release")?,
            published: owned(fields, "released_at")?,
            page: match fields.inner("_links")? {
                Some(links) => owned(&links, "self")?,
                None => None,
            },
            ..Found::default()
        };
        if let Some(assets) = fields.inner("assets")? {
            for link in assets.objects("links")? {
                found.assets.push(asset(&link)?);
            }
            for source in assets.objects("sources")? {
                let url = owned(&source, "url")?;
                match source.text("format")? {
                    Some("zip") => found.zipball = url,
                    Some("tar.gz") => found.tarball = url,
                    _ => {}
                }
            }
        }
        Ok(with_archives(found, at))
    }

    fn tagged(&self, at: &Place, tag: &str) -> Option<String> {
        let (project, tag) = (segment(&at.repo), segment(tag));
        Some(format!(
            "{}/api/v4/projects/{project}/releases/{tag}",
            at.url
        ))
    }

    fn tag(&self, fields: &Object<'_>, at: &Place) -> Result<Found, String> {
        Found::of_tag(fields).map(|found| with_archives(found, at))
    }
}

fn asset(link: &Object<'_>) -> Result<Asset, String> {
    let url = match owned(link, "direct_asset_url")? {
        Some(url) => url,
        None => link.required("url", owned(link, "url"))?,
    };
    let title = owned(link, "name")?.unwrap_or_default();
    let file = last_segment(&url);
    // A title may have a version in it, and a file that is no package may have any ending.
    let is_name = title.contains('.') && !title.contains(' ') && !is_package(file);
    let name = if is_package(&title) || is_name {
        title
    } else {
        file.to_owned()
    };
    Ok(Asset {
        name,
        url,
        size: None,
        sha256: None,
    })
}

/// The address of a list of a project.
pub(super) fn list(at: &Place, what: &str) -> String {
    let project = segment(&at.repo);
    format!(
        "{}/api/v4/projects/{project}/{what}?per_page={PAGE}",
        at.url
    )
}

/// With the addresses of the tag's archives, where the answer does not name them. A tag's slashes divide
/// the path, and are dashes in the file's name, as in the addresses that GitLab itself gives.
pub(super) fn with_archives(mut found: Found, at: &Place) -> Found {
    let tag = segments(&found.tag);
    let file = segment(&found.tag.replace('/', "-"));
    let archive = |ending| format!("{}/{}/-/archive/{tag}/{file}{ending}", at.url, at.repo);
    found.tarball.get_or_insert_with(|| archive(".tar.gz"));
    found.zipball.get_or_insert_with(|| archive(".zip"));
    found
}
