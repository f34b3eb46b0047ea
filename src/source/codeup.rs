//! Codeup, the repositories of Aliyun's Yunxiao (云效): the part of GitLab's API v4 that it has.
//!
//! - `GET /api/v4/projects/PATH/repository/tags`, with the whole path as one segment, or with the number
//!   of the repository.
//! - `/PATH/-/archive/TAG/TAG.tar.gz`: the archive of a tag.
//!
//! There are no releases and no files: a version is a tag, its package the tag's archive, its notes the
//! tag's message.
//!
//! Not promised: that every token may use it. Yunxiao documents another gateway for its newer personal
//! tokens (`openapi-rdc.aliyuncs.com`, header `x-yunxiao-token`); here such a token may lead to a page
//! for signing in, which is no list of tags (`ANSWER_INVALID`).

use super::forge::{Found, Place, Service, segment};
use super::gitlab::{list, with_archives};
use crate::json::Object;

/// Codeup.
pub(super) struct Codeup;

impl Service for Codeup {
    fn releases(&self, _at: &Place) -> Option<String> {
        None
    }

    fn tags(&self, at: &Place) -> String {
        list(at, "repository/tags")
    }

    fn release(&self, fields: &Object<'_>, at: &Place) -> Result<Found, String> {
        self.tag(fields, at)
    }

    fn tag(&self, fields: &Object<'_>, at: &Place) -> Result<Found, String> {
        let mut found = Found::of_tag(fields)?;
        // The site knows no repository by its number, the API does.
        if !at.repo.contains('/') {
            let tag = segment(&found.tag);
            let archive = |ending| {
                format!(
                    "{}/api/v4/projects/{}/repository/archive{ending}?sha={tag}",
                    at.url, at.repo
                )
            };
            found.tarball = Some(archive(".tar.gz"));
            found.zipball = Some(archive(".zip"));
        }
        Ok(with_archives(found, at))
    }
}
