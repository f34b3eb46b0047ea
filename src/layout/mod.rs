//! How versions lie on a disk: the two layouts, what is kept of older versions, the journal, the
//! locks, commit and undo.
//!
//! | layout | the app is in | an older version is | a commit is |
//! |---|---|---|---|
//! | in-place | the client folder | a [`backup`] in `.backup` | a rename for each file |
//! | [snapshot] | `versions/vX` | its own folder | the rename of a link |
//!
//! A [`Transaction`] is the frame of both: the journal, the trial, the way back.
//!
//! Promises: at every instant the disk holds the old version, or the new one, or a journal that
//! leads to one of them; an undo can be repeated; what an undo reads is never moved.
//! What the user put into the folder stays through update, undo and restore; a file of theirs that a
//! release overwrites is in the backup.
//!
//! Knows nothing of the network.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::archive::SafePath;
use crate::config::LayoutKind;
use crate::disk;
use crate::order;
use crate::plan::Plan;
use crate::state::{ClientFolder, Installed, Link, WayBack};
use crate::steps::{Step, reach};
use crate::version::Version;
use crate::{Error, Result};

pub mod backup;
mod in_place;
pub mod journal;
pub mod links;
pub mod locks;
mod processes;
pub mod seed;
pub mod snapshot;
mod transaction;
pub mod tree;

pub(crate) use backup::keep;
pub(crate) use in_place::{drop_byte_code, need_free, probe};
pub(crate) use transaction::roll_back;
pub use transaction::{Committed, Ready, Site, Transaction, Undone, go_back, recover};

/// An older version that is kept whole: a backup, or the folder of a version.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its folder's name.
    pub name: String,
    /// Its version; `None` for a folder that was found without one.
    pub version: Option<Version>,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// Bytes of all its files together, whether they are shared with other versions or not.
    pub size: u64,
    /// Why it is kept: `update to 1.1.0`, or the links that lead to it.
    pub reason: String,
}

/// The older versions that are kept, the newest first.
pub fn list(folder: &ClientFolder) -> Vec<Kept> {
    survey(folder, true)
}

/// The same; sizes that would have to be found out are 0 unless they are `measured`.
fn survey(folder: &ClientFolder, measured: bool) -> Vec<Kept> {
    match folder.layout() {
        LayoutKind::Snapshot => snapshot::list(folder, measured),
        LayoutKind::InPlace => {
            let backups = backup::all(folder).into_iter();
            let kept = backups.map(|(name, backup)| Kept {
                name,
                version: backup.version,
                created: backup.created,
                size: backup.size,
                reason: backup.reason,
            });
            kept.collect()
        }
    }
}

/// Where the files of the older versions are, and their lists, where there are any.
pub(crate) fn older_files(folder: &ClientFolder) -> Vec<(PathBuf, Installed)> {
    match folder.layout() {
        LayoutKind::Snapshot => snapshot::older_files(folder),
        LayoutKind::InPlace => backup::all(folder)
            .into_iter()
            .map(|(name, backup)| (folder.backups().join(name), backup.installed))
            .collect(),
    }
}

/// The older version that is called `wanted`: by its folder's name or by its version, the newest
/// first; `previous` is the one before the installed one, `factory` the factory version.
pub fn find(folder: &ClientFolder, wanted: &str) -> Result<Kept> {
    let kept = survey(folder, false);
    let link = [Link::Previous, Link::Factory]
        .into_iter()
        .find(|link| link.as_str() == wanted);
    let linked = link.and_then(|link| folder.linked(link));
    let version: Option<Version> = wanted.parse().ok();
    let installed = folder.local_version().map(|local| local.version);
    let is_wanted = |kept: &Kept| match (link, folder.layout()) {
        (Some(_), LayoutKind::Snapshot) => Some(&kept.name) == linked.as_ref(),
        // The newest backup is of the version before, but for one that was put back.
        (Some(link), LayoutKind::InPlace) => link == Link::Previous && kept.version != installed,
        (None, _) => kept.name == wanted || (version.is_some() && kept.version == version),
    };
    let found = kept.into_iter().find(is_wanted);
    found.ok_or_else(|| match link {
        Some(_) => Error::NoWayBack {
            to: wanted.to_owned(),
        },
        None => Error::BackupNotFound {
            version: wanted.to_owned(),
            folder: place(folder),
        },
    })
}

/// Where older versions are kept.
pub fn place(folder: &ClientFolder) -> PathBuf {
    match folder.layout() {
        LayoutKind::InPlace => folder.backups(),
        LayoutKind::Snapshot => folder.versions(),
    }
}

/// Where the files of an older version are that is kept as `name`.
pub(crate) fn files_of(folder: &ClientFolder, name: &str) -> PathBuf {
    place(folder).join(name)
}

/// The version that is kept as `name`.
pub(crate) fn version_of(folder: &ClientFolder, name: &str) -> Option<Version> {
    match folder.layout() {
        LayoutKind::InPlace => backup::Backup::load(folder, name).ok()?.version,
        LayoutKind::Snapshot => folder.version_in(name),
    }
}

/// Whether what a way back leads to is there.
pub(crate) fn is_open(folder: &ClientFolder, back: &WayBack) -> bool {
    match folder.layout() {
        LayoutKind::InPlace => backup::Backup::load(folder, &back.name).is_ok(),
        LayoutKind::Snapshot => snapshot::exists(folder, &back.name),
    }
}

/// How much is kept of older versions.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Versions.
    pub count: usize,
    /// Bytes of all of them together; 0: any number.
    pub space: u64,
}

/// Removes the oldest of what is kept beyond `keep`, but never `needed`, nor, in the snapshot
/// layout, a version to which a link leads or which runs. The newest stays, however large it is.
pub(crate) fn prune(folder: &ClientFolder, keep: Keep, needed: Option<&WayBack>) -> Result<()> {
    // To read descriptions and sizes takes time, and this is on the way to a running app.
    let entries = fs::read_dir(place(folder)).into_iter().flatten().count();
    if keep.space == 0 && entries <= keep.count {
        return Ok(());
    }
    let (mut count, mut space) = (0, 0);
    for kept in survey(folder, keep.space > 0) {
        if stays(folder, &kept.name).is_some() {
            continue;
        }
        count += 1;
        space += kept.size;
        let too_large = keep.space > 0 && space > keep.space && count > 1;
        let is_needed = needed.is_some_and(|needed| needed.name == kept.name);
        if (count > keep.count || too_large) && !is_needed {
            remove(folder, &kept.name)?;
        }
    }
    Ok(())
}

/// Why a version cannot be removed, if it cannot: `current`, `previous`, `factory`, `running`.
fn stays(folder: &ClientFolder, name: &str) -> Option<&'static str> {
    match folder.layout() {
        LayoutKind::InPlace => None,
        LayoutKind::Snapshot => snapshot::pinned(folder, name),
    }
}

fn remove(folder: &ClientFolder, name: &str) -> Result<()> {
    match folder.layout() {
        LayoutKind::InPlace => backup::discard(folder, name),
        LayoutKind::Snapshot => snapshot::discard(folder, name),
    }
}

/// Removes an older version that nothing needs.
pub(crate) fn delete(folder: &ClientFolder, kept: &Kept, needed: Option<&WayBack>) -> Result<()> {
    let why = match needed {
        Some(needed) if needed.leads_to(&kept.name) => Some("trial"),
        _ => stays(folder, &kept.name),
    };
    match why {
        Some(why) => Err(Error::VersionNeeded {
            name: kept.name.clone(),
            why,
        }),
        None => remove(folder, &kept.name),
    }
}

/// Removes the folders below `root` that are empty without the files that `plan` removes, but not
/// those that it has.
fn remove_emptied(root: &Path, plan: &Plan) {
    let folders = order::set(plan.removes.iter().flat_map(SafePath::parents));
    for path in folders
        .iter()
        .rev()
        .filter(|path| !plan.folders.contains(path))
    {
        disk::remove_empty_folder(&path.below(root));
    }
}

/// Removes the folder of an older version: first out of its place, by a rename, so that half of one
/// is never taken for whole. An error means that it is where it was, or that [`sweep`] will find it.
fn retire(folder: &ClientFolder, path: &Path, name: &str) -> Result<()> {
    let gone = folder.gone();
    disk::create_folders(&gone)?;
    let going = gone.join(name);
    disk::remove_tree(&going)?;
    disk::rename(path, &going)?;
    disk::sync_folder(path.parent().unwrap_or(path))?;
    reach(Step::PruneGone)?;
    disk::remove_tree(&going)?;
    disk::remove_empty_folder(&gone);
    reach(Step::PruneDone)
}

/// Clears away what an interrupted removal has left, as far as it can be by now.
pub(crate) fn sweep(folder: &ClientFolder) -> Result<()> {
    if folder.layout() == LayoutKind::InPlace {
        backup::sweep(folder);
    }
    disk::remove_tree(&folder.gone())
}
