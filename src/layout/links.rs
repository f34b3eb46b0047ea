//! The links by which a system finds what a version of the snapshot layout brings.
//!
//! ```text
//! services/NAME        -> ../versions/current/services/NAME
//! /usr/local/bin/NAME  -> <client folder>/versions/current/bin/NAME
//! ```
//!
//! They lead through `current`, so that they follow every switch and are made once for a name.
//!
//! Promises: only links are made, replaced or removed, and only those that lead through `current`
//! or are wanted there; whatever else has the name of a wanted link is told and stays.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::disk;
use crate::layout::snapshot;
use crate::layout::tree::{self, Found};
use crate::state::{ClientFolder, Link};
use crate::{Error, Result};

/// One thing that was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The link, or what else was looked at.
    pub path: PathBuf,
    /// What is wrong; `None`: it is as it should be.
    pub fault: Option<String>,
}

impl Finding {
    fn new(path: impl Into<PathBuf>, fault: Option<String>) -> Self {
        Self {
            path: path.into(),
            fault,
        }
    }
}

/// The folders of a version whose files are linked to, and where the links are.
struct Kind<'a> {
    /// Below the version.
    name: &'static str,
    /// Where the links are.
    folder: PathBuf,
    /// What stands before a file's name in a link.
    through: PathBuf,
    client: &'a ClientFolder,
}

fn kinds<'a>(folder: &'a ClientFolder, bin: &Path) -> [Kind<'a>; 2] {
    let current = folder.link(Link::Current);
    [
        Kind {
            name: "services",
            folder: folder.root().join("services"),
            through: Path::new("../versions/current/services").to_path_buf(),
            client: folder,
        },
        Kind {
            name: "bin",
            folder: bin.to_path_buf(),
            through: current.join("bin"),
            client: folder,
        },
    ]
}

impl Kind<'_> {
    /// The links that are wanted, and where they are to lead.
    fn wanted(&self) -> BTreeMap<PathBuf, PathBuf> {
        let entries = fs::read_dir(self.client.tree().join(self.name))
            .into_iter()
            .flatten();
        entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()))
            .map(|entry| {
                let name = entry.file_name();
                (self.folder.join(&name), self.through.join(&name))
            })
            .collect()
    }

    /// Links of ours to what the current version does not have.
    fn stale(&self) -> Vec<PathBuf> {
        let wanted = self.wanted();
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths
            .filter(|path| !wanted.contains_key(path))
            .filter(|path| {
                fs::read_link(path).is_ok_and(|target| target.parent() == Some(&self.through))
            })
            .collect()
    }
}

/// What keeps a link from being as it is wanted.
fn fault(path: &Path, wanted: &Path) -> Result<Option<String>> {
    Ok(match tree::look(path)? {
        Found::Link(target) if Path::new(&target) == wanted => match fs::metadata(path) {
            Ok(_) => None,
            Err(_) => Some(format!("leads to {target}, which is not there")),
        },
        Found::Link(target) => Some(format!("leads to {target}, not to {}", wanted.display())),
        Found::Nothing => Some("is missing".into()),
        Found::File { .. } | Found::Folder | Found::Other => {
            Some("is no link, and stays as it is".into())
        }
    })
}

/// Makes the links that are wanted, and removes those to what is no longer there. Returns every
/// link that is wanted, with what could not be set right.
pub fn set_up(folder: &ClientFolder, bin: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for kind in kinds(folder, bin) {
        let wanted = kind.wanted();
        if !wanted.is_empty() {
            disk::create_folders(&kind.folder)?;
        }
        for path in kind.stale() {
            disk::remove_file(&path)?;
        }
        for (path, target) in wanted {
            if matches!(tree::look(&path)?, Found::Link(_) | Found::Nothing)
                && fault(&path, &target)?.is_some()
            {
                let temporary = path.with_added_extension("castoff-new");
                disk::remove_file(&temporary)?;
                disk::symlink(&target.to_string_lossy(), &temporary)?;
                disk::rename(&temporary, &path)?;
            }
            let fault = fault(&path, &target)?;
            findings.push(Finding::new(path, fault));
        }
        if kind.folder.is_dir() {
            disk::sync_folder(&kind.folder)?;
        }
    }
    Ok(findings)
}

/// Looks at the whole structure: the links between versions, the factory version, and the links
/// to services and programs. Changes nothing.
pub fn check(folder: &ClientFolder, bin: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for link in [Link::Current, Link::Previous, Link::Factory] {
        let path = folder.link(link);
        let found = match (tree::look(&path)?, folder.linked(link)) {
            (Found::Link(_), Some(name)) if snapshot::exists(folder, &name) => None,
            // There is none before the second version, and none that nobody has set.
            (Found::Nothing, _) if link != Link::Current => continue,
            (Found::Nothing, _) => Some("is missing".to_owned()),
            (Found::Link(target), _) => Some(format!("leads to {target}, which is no version")),
            _ => Some("is no link".into()),
        };
        findings.push(Finding::new(path, found));
    }
    if let Some(name) = folder.linked(Link::Factory) {
        let path = folder.versions().join(name);
        let fault = snapshot::first_unprotected(&path)?
            .map(|path| format!("{} can be written, or has another name", path.display()));
        findings.push(Finding::new(path, fault));
    }
    for kind in kinds(folder, bin) {
        for (path, target) in kind.wanted() {
            let fault = fault(&path, &target)?;
            findings.push(Finding::new(path, fault));
        }
        for path in kind.stale() {
            let fault = Some("leads to what the current version does not have".into());
            findings.push(Finding::new(path, fault));
        }
    }
    Ok(findings)
}

/// Whether the links that are wanted lead into the current version's folder.
pub(crate) fn follow(folder: &ClientFolder, bin: &Path) -> Result<Vec<Finding>> {
    let tree = folder.tree();
    let tree = fs::canonicalize(&tree).map_err(Error::io("find", &tree))?;
    let mut findings = Vec::new();
    for kind in kinds(folder, bin) {
        for path in kind.wanted().into_keys() {
            let fault = match fs::canonicalize(&path) {
                Ok(target) if target.starts_with(&tree) => None,
                Ok(target) => Some(format!("leads to {}", target.display())),
                Err(error) => Some(error.to_string()),
            };
            findings.push(Finding::new(path, fault));
        }
    }
    Ok(findings)
}
