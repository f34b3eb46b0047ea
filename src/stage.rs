//! Makes the new version whole, and proves it, before the app is touched.
//!
//! Promises: only what the plan writes is unpacked, on all cores, into `.castoff/staging`; every
//! file's size and CRC-32 are the archive's and its SHA-256 is the file list's where there is one;
//! what turns out to be installed already is dropped again. Memory does not grow with the package.
//!
//! Does not promise that anything is durable yet: the backup's sync covers both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::archive::{Archive, EntryKind, SafePath};
use crate::disk;
use crate::layout::tree::{self, Found};
use crate::order;
use crate::plan::{Plan, Write};
use crate::progress::{Event, Observer};
use crate::state::{ClientFolder, Content, FileRecord, Installed};
use crate::steps::{Step, reach};
use crate::{Error, Result};

/// A new version, complete and proven: what is staged and what is in place already.
#[must_use = "what is staged is not installed"]
#[derive(Debug)]
pub struct Staged {
    /// What is to be done.
    pub plan: Plan,
    /// Where the staged files are.
    pub(crate) folder: PathBuf,
    /// The staged files.
    pub(crate) records: BTreeMap<SafePath, FileRecord>,
}

impl Staged {
    /// What is installed when this is: what is staged, and what is kept.
    pub(crate) fn installed(&self) -> Installed {
        let mut files = self.plan.kept.clone();
        files.extend(self.records.clone());
        Installed {
            version: Some(self.plan.release.version.clone()),
            digest: self.plan.digest,
            entry_point: self.plan.release.entry_point.clone(),
            files,
        }
    }

    /// Every path that the commit changes.
    pub(crate) fn changing(&self) -> impl Iterator<Item = &SafePath> {
        self.records.keys().chain(&self.plan.removes)
    }
}

/// Unpacks what the plan writes.
pub fn stage(
    folder: &ClientFolder,
    plan: Plan,
    archive: &Archive,
    observer: &dyn Observer,
) -> Result<Staged> {
    let tree = folder.tree();
    let unpack = |staging: &Path, write: &Write| unpack(&tree, staging, write, archive);
    fill(folder, plan, &unpack, observer)
}

/// Stages what the plan writes: `make` puts a file into the staging folder.
pub(crate) fn fill(
    folder: &ClientFolder,
    mut plan: Plan,
    make: &(dyn Fn(&Path, &Write) -> Result<FileRecord> + Sync),
    observer: &dyn Observer,
) -> Result<Staged> {
    let staging = folder.staging().join(plan.release.version.file_name());
    let Plan {
        writes, folders, ..
    } = &mut plan;
    let records = make_all(folder, &staging, folders, writes, make, observer)?;
    let mut staged = BTreeMap::new();
    for (write, record) in plan.writes.iter().zip(records) {
        match &write.perhaps {
            Some(installed) if tree::same(&installed.content, &record.content) => {
                disk::remove_file(&write.path.below(&staging))?;
                let crc32 = record.crc32;
                let kept = FileRecord {
                    owned: true,
                    crc32,
                    ..installed.clone()
                };
                plan.kept.insert(write.path.clone(), kept);
            }
            _ => {
                staged.insert(write.path.clone(), record);
            }
        }
    }
    reach(Step::StageFilled)?;
    Ok(Staged {
        plan,
        folder: staging,
        records: staged,
    })
}

/// Makes `staging` anew, with these folders and files, and gives what `make` says of the files, in
/// the order that `writes` has then.
pub(crate) fn make_all<T: Send>(
    folder: &ClientFolder,
    staging: &Path,
    folders: &BTreeSet<SafePath>,
    writes: &mut [Write],
    make: &(dyn Fn(&Path, &Write) -> Result<T> + Sync),
    observer: &dyn Observer,
) -> Result<Vec<T>> {
    disk::remove_tree(&folder.staging())?;
    disk::create_folders(staging)?;
    reach(Step::StageBegun)?;
    observer.event(&Event::Total {
        bytes: Some(writes.iter().map(|write| write.size).sum()),
        done: 0,
    });
    for parent in folders {
        disk::create_folders(&parent.below(staging))?;
    }
    // The largest first, so that no thread is left with a large one when the others are done.
    order::sort_by(writes, |a, b| b.size.cmp(&a.size));
    let done = AtomicU64::new(0);
    disk::in_parallel(disk::cores(), writes, &|write: &Write| {
        let result = make(staging, write)?;
        let position = done.fetch_add(write.size, Ordering::Relaxed) + write.size;
        observer.event(&Event::Position(position));
        reach(Step::StageFile)?;
        Ok(result)
    })
}

/// Unpacks one file into the staging folder, for its place in `tree`.
pub(crate) fn unpack(
    tree: &Path,
    staging: &Path,
    write: &Write,
    archive: &Archive,
) -> Result<FileRecord> {
    let path = write.path.below(staging);
    if let EntryKind::Link { target } = &write.kind {
        disk::symlink(target, &path)?;
        let content = Content::Link(target.clone());
        return Ok(FileRecord {
            content,
            modified: 0,
            crc32: None,
            owned: true,
        });
    }
    let mut file = disk::create_file(&path, write.executable)?;
    let extracted = archive.extract(write.index, &mut file)?;
    if let Some(expected) = write
        .sha256
        .filter(|expected| *expected != extracted.sha256)
    {
        return Err(Error::HashMismatch {
            subject: write.path.to_string(),
            expected: expected.to_string(),
            got: extracted.sha256.to_string(),
        });
    }
    drop(file);
    disk::stand_in_for(&write.path.below(tree), &path);
    disk::set_mode(&path, write.mode)?;
    let Found::File {
        size,
        modified,
        mode,
    } = tree::look(&path)?
    else {
        return Err(Error::Internal {
            what: format!("{} is no file", path.display()),
        });
    };
    let content = Content::File {
        size,
        sha256: extracted.sha256,
        mode,
    };
    Ok(FileRecord {
        content,
        modified,
        crc32: Some(extracted.crc32),
        owned: true,
    })
}
