//! The links by which a system finds what a version of the snapshot layout brings.
//!
//! ```text
//! services/NAME        -> ../versions/current/services/NAME
//! /usr/local/bin/NAME  -> <client folder>/versions/current/bin/NAME
//! ```
//!
//! They lead through `current`, so that they follow every switch and are made once for a name.
//!
//! Promises: only links are made, replaced or removed; replaced only those that lead into the client
//! folder, removed only those that lead through `current`. Whatever else has the name of a wanted
//! link is told and stays.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::disk;
use crate::layout::snapshot;
use crate::layout::tree::{self, Found};
use crate::order;
use crate::state::{ClientFolder, Link};
use crate::{Error, Result};

/// One thing that was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The link, or what else was looked at.
    pub path: PathBuf,
    /// What is wrong; `None`: it is as it should be.
    pub fault: Option<Fault>,
}

/// What is wrong with a link, or with the factory version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not there.
    Missing,
    /// Something has its name that is not Castoff's, and stays.
    InTheWay,
    /// It leads to another place than it should.
    Astray(PathBuf),
    /// What it leads to is not there.
    Dead(PathBuf),
    /// It leads to what the current version does not have.
    Stale,
    /// A part of the factory version that can be written, or is shared with another version.
    Unprotected(PathBuf),
}

impl Fault {
    /// Its name, for programs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::InTheWay => "in-the-way",
            Self::Astray(_) => "astray",
            Self::Dead(_) => "dead",
            Self::Stale => "stale",
            Self::Unprotected(_) => "unprotected",
        }
    }

    /// Where the link leads, or which part it is.
    pub fn place(&self) -> Option<&Path> {
        match self {
            Self::Astray(path) | Self::Dead(path) | Self::Unprotected(path) => Some(path),
            Self::Missing | Self::InTheWay | Self::Stale => None,
        }
    }
}

impl Finding {
    fn new(path: impl Into<PathBuf>, fault: Option<Fault>) -> Self {
        Self {
            path: path.into(),
            fault,
        }
    }
}

/// A folder of a version to whose entries there are links, and where those are.
struct Kind<'a> {
    /// Below the version.
    name: &'static str,
    /// Whether folders are linked to as well: a service may be one.
    folders: bool,
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
            folders: true,
            folder: folder.root().join("services"),
            through: Path::new("../versions/current/services").to_path_buf(),
            client: folder,
        },
        Kind {
            name: "bin",
            folders: false,
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
        let links = entries
            .flatten()
            .filter(|entry| self.folders || entry.file_type().is_ok_and(|kind| !kind.is_dir()))
            .map(|entry| {
                let name = entry.file_name();
                (self.folder.join(&name), self.through.join(&name))
            });
        order::map(links)
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

    /// What keeps a link from being as it is wanted.
    fn fault(&self, path: &Path, wanted: &Path) -> Result<Option<Fault>> {
        Ok(match tree::look(path)? {
            Found::Link(target) if Path::new(&target) == wanted => match fs::metadata(path) {
                Ok(_) => None,
                Err(_) => Some(Fault::Dead(target.into())),
            },
            Found::Link(target) if self.leads_home(path, Path::new(&target)) => {
                Some(Fault::Astray(target.into()))
            }
            Found::Nothing => Some(Fault::Missing),
            Found::Link(_) | Found::File { .. } | Found::Folder | Found::Other => {
                Some(Fault::InTheWay)
            }
        })
    }

    /// Whether a link leads into the client folder: directly, or by other links.
    fn leads_home(&self, path: &Path, target: &Path) -> bool {
        let root = self.client.root();
        let beside = path.parent().unwrap_or(path);
        beside.join(target).starts_with(root)
            || match (fs::canonicalize(path), fs::canonicalize(root)) {
                (Ok(found), Ok(root)) => found.starts_with(root),
                _ => false,
            }
    }
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
            let mut fault = kind.fault(&path, &target)?;
            if let Some(Fault::Missing | Fault::Astray(_)) = fault {
                let temporary = path.with_added_extension("castoff-new");
                disk::remove_file(&temporary)?;
                disk::symlink(&target.to_string_lossy(), &temporary)?;
                disk::rename(&temporary, &path)?;
                fault = kind.fault(&path, &target)?;
            }
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
        let fault = match (tree::look(&path)?, folder.linked(link)) {
            (Found::Link(_), Some(name)) if snapshot::exists(folder, &name) => None,
            // There is none before the second version, and none that nobody has set.
            (Found::Nothing, _) if link != Link::Current => continue,
            (Found::Nothing, _) => Some(Fault::Missing),
            (Found::Link(target), _) if fs::metadata(&path).is_err() => {
                Some(Fault::Dead(target.into()))
            }
            (Found::Link(target), _) => Some(Fault::Astray(target.into())),
            _ => Some(Fault::InTheWay),
        };
        findings.push(Finding::new(path, fault));
    }
    if let Some(name) = folder.linked(Link::Factory)
        && snapshot::exists(folder, &name)
    {
        let path = folder.versions().join(name);
        let fault = snapshot::first_unprotected(&path)?.map(Fault::Unprotected);
        findings.push(Finding::new(path, fault));
    }
    for kind in kinds(folder, bin) {
        for (path, target) in kind.wanted() {
            let fault = kind.fault(&path, &target)?;
            findings.push(Finding::new(path, fault));
        }
        for path in kind.stale() {
            findings.push(Finding::new(path, Some(Fault::Stale)));
        }
    }
    Ok(findings)
}

/// Whether the links that the current version wants lead into its folder.
pub(crate) fn follow(folder: &ClientFolder, bin: &Path) -> Result<Vec<Finding>> {
    let tree = folder.tree();
    let tree = fs::canonicalize(&tree).map_err(Error::io("find", &tree))?;
    let mut findings = Vec::new();
    for kind in kinds(folder, bin) {
        for path in kind.wanted().into_keys() {
            let fault = match (fs::canonicalize(&path), tree::look(&path)?) {
                (Ok(target), _) if target.starts_with(&tree) => None,
                (Ok(target), _) => Some(Fault::Astray(target)),
                (Err(_), Found::Link(target)) => Some(Fault::Dead(target.into())),
                (Err(_), _) => Some(Fault::Missing),
            };
            findings.push(Finding::new(path, fault));
        }
    }
    Ok(findings)
}
