//! The later server of zghmvp: an endpoint that answers file by file (`check-update/`), with what the
//! new version has (`add` and `keep`) and what only the installed one had (`delete`).
//!
//! There is no archive. The files of the new version are a [`Manifest`]: what is not installed already
//! is fetched, each file by its own address and proven by its own SHA-256.
//!
//! `keep` means that a path is in both versions, and not that its content is the same, so that nothing
//! follows from it here: the digest of the installed file decides.
//!
//! With pinned keys, the signed release in `source.documents` is what counts, with the package that its
//! document names; this answer only says which version is the active one.

use std::fmt::Write as _;

use super::check::{self, Fields};
use super::documents;
use super::index::Remote as Folder;
use super::{Announced, Ask, Source};
use crate::archive::guard::{Node, check_tree};
use crate::archive::{Limits, SafePath};
use crate::config::{FieldNames, SourceConfig};
use crate::fetch::Answer;
use crate::release::{FILE_LIST_LIMIT, Manifest, Package, Release, Remote};
use crate::trust::{Trust, Trusted};
use crate::version::Version;
use crate::{Error, Result};

/// The field that holds the version.
const VERSION: &str = "active_version";

/// The endpoint of one app.
pub(super) struct CheckFiles {
    url: String,
    history: Option<String>,
    documents: Option<String>,
    fields: FieldNames,
}

impl CheckFiles {
    pub(super) fn new(config: &SourceConfig) -> Self {
        Self {
            url: config.url.clone(),
            history: config.history.clone(),
            documents: config.documents.clone(),
            fields: config.fields.clone(),
        }
    }

    /// The question, which says what is installed.
    fn address(&self, installed: Option<&Version>) -> String {
        let Some(installed) = installed else {
            return self.url.clone();
        };
        let mark = if self.url.contains('?') { '&' } else { '?' };
        let mut address = format!("{}{mark}version=", self.url);
        for c in installed.as_str().chars() {
            match c {
                // All that could end the value or mean something else in it.
                '%' | '+' | '&' | '#' => {
                    let _ = write!(address, "%{:02X}", u32::from(c));
                }
                c => address.push(c),
            }
        }
        address
    }
}

impl Source for CheckFiles {
    fn latest(&self, ask: &Ask<'_>, trust: &mut Trust) -> Result<Trusted> {
        let answer = ask.get(&self.address(ask.installed), "", FILE_LIST_LIMIT)?;
        let release = read(&answer, &self.fields)?;
        match &self.documents {
            Some(template) if trust.is_pinned() => {
                let version = &release.version;
                let url = documents::folder(template, version, &version.file_name());
                documents::release_of(&Folder { url: &url, ask }, trust, version, None)
            }
            _ => trust.unsigned(release),
        }
    }

    fn history(&self, ask: &Ask<'_>, _trust: &mut Trust, count: usize) -> Result<Vec<Announced>> {
        check::history(ask, &self.url, self.history.as_deref(), &self.fields, count)
    }
}

/// The release that an answer announces.
fn read(answer: &Answer, names: &FieldNames) -> Result<Release> {
    if !(200..300).contains(&answer.status) {
        return Err(check::refusal(answer));
    }
    let document = check::parse(answer)?;
    let fields = Fields::of(answer, &document)?;
    let version: Version = fields.required(VERSION)?.parse()?;
    let mut manifest = Manifest::default();
    for name in ["add", "keep"] {
        for (number, entry) in fields.list(name)?.iter().enumerate() {
            let (path, file) = remote(&fields.entry(name, number, entry)?)?;
            if let Some(other) = manifest.files.insert(path.clone(), file.clone())
                && other != file
            {
                let problem = format!("{path} is there twice");
                return Err(fields.wrong(name, &problem));
            }
        }
    }
    for (number, entry) in fields.list("delete")?.iter().enumerate() {
        let path = if let Some(path) = entry.as_str() {
            path.to_owned()
        } else {
            let fields = fields.entry("delete", number, entry)?;
            fields.required("path")?.to_owned()
        };
        // What cannot be a file of the app was never installed.
        manifest.gone.extend(SafePath::try_from(path));
    }
    let nodes = manifest.files.keys().map(|path| (path, Node::File));
    check_tree(nodes).map_err(|error| fields.wrong("add", &error.to_string()))?;
    if manifest.files.is_empty() {
        return Err(fields.wrong("add", "names no file"));
    }
    let most = Limits::default().max_entries;
    if manifest.files.len() as u64 > most {
        return Err(Error::TooLarge {
            subject: answer.url.clone(),
            limit: format!("{most} entries"),
        });
    }
    let mut sizes = manifest.files.values().map(|file| file.size);
    let size = sizes.try_fold(0_u64, u64::checked_add);
    let size = size.ok_or_else(|| fields.wrong("size", "is larger than any disk"))?;
    let package = Package {
        sha256: Some(manifest.id(&version)),
        size: Some(size),
        by_file: true,
        ..Package::at(answer.url.clone())
    };
    Ok(Release {
        notes: fields.text(&names.notes)?.unwrap_or_default().to_owned(),
        entry_point: fields.entry_point(&names.entry_point)?,
        critical_below: fields.version(&names.critical_below)?,
        rollout: fields.rollout(&names.rollout)?,
        manifest: Some(Box::new(manifest)),
        ..Release::of(version, package)
    })
}

/// One file of the new version.
fn remote(fields: &Fields<'_>) -> Result<(SafePath, Remote)> {
    let path = fields.required("path")?;
    let path = path
        .parse()
        .map_err(|error: Error| fields.wrong("path", &error.to_string()))?;
    let size = fields.number("size")?;
    let sha256 = fields.required("hash")?;
    let file = Remote {
        size: size.ok_or_else(|| fields.wrong("size", "is missing"))?,
        sha256: sha256
            .parse()
            .map_err(|problem| fields.wrong("hash", problem))?,
        url: fields.address(&["url".to_owned()])?,
    };
    Ok((path, file))
}

#[cfg(test)]
mod tests;
