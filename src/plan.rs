//! Installed files against released files: what an update will write, keep and remove.
//!
//! A release says what it consists of by its file list, or, without one, by its package alone.
//! With a list, what the installed version had and the new one has not is removed. Without, the
//! package is laid over what is there: the packages of the Python client's packager hold only what
//! has changed, so that absence is no order to delete.
//!
//! Promises: what is on the preserve list is neither overwritten nor removed; what did not come
//! with a release is never removed; a file is kept only if it is, by size and time, still the one
//! that was recorded at its installation, and its content is the new version's: by SHA-256 where
//! there is a list, else by size and CRC-32, or, where none is recorded, by comparing content.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::{Archive, Entry, EntryKind, SafePath};
use crate::config::{LayoutKind, Patterns, Rules};
use crate::disk;
use crate::error::in_short;
use crate::layout::tree::{self, Found};
use crate::order;
use crate::release::{Commands, FileList, Listed, Release};
use crate::state::{ClientFolder, Content, FileRecord, Installed};
use crate::trust::Sha256;
use crate::{Error, Result, record};

/// What an update will do.
#[derive(Debug)]
pub struct Plan {
    /// The release that is to be installed.
    pub release: Release,
    /// What is installed now, as listed or as found.
    pub installed: Installed,
    /// Files to unpack.
    pub(crate) writes: Vec<Write>,
    /// Files to remove.
    pub(crate) removes: BTreeSet<SafePath>,
    /// Files of the new version that are in place already.
    pub(crate) kept: BTreeMap<SafePath, FileRecord>,
    /// Folders that the new version has, with or without files in them.
    pub(crate) folders: BTreeSet<SafePath>,
    /// Paths that are another name, but for case, of a file that is removed.
    pub(crate) renamed: BTreeSet<SafePath>,
    /// Commands of the package, to be run with it.
    pub(crate) commands: Commands,
    /// The package it comes from; `None` for a copy of an installation that is in use already,
    /// which needs no trial.
    pub(crate) digest: Option<Sha256>,
}

/// A file to unpack.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) path: SafePath,
    /// Its place in the archive.
    pub(crate) index: usize,
    pub(crate) size: u64,
    pub(crate) kind: EntryKind,
    /// The digest that the file list announces.
    pub(crate) sha256: Option<Sha256>,
    /// The mode to give it; `None`: that of a new file.
    pub(crate) mode: Option<u32>,
    pub(crate) executable: bool,
    /// What is installed under this name, where it may turn out to be the same.
    pub(crate) perhaps: Option<FileRecord>,
}

impl Plan {
    /// Compares a verified package with what is installed.
    pub fn make(
        folder: &ClientFolder,
        release: Release,
        archive: &Archive,
        rules: &Rules,
    ) -> Result<Self> {
        let installed = installed(folder, rules)?;
        let list = archive.file_list(release.package.files)?;
        if let Some(list) = &list {
            check_list(list, &release, archive, &installed, folder)?;
        }
        let digest = Some(release.package.id());
        let mut plan = Self::empty(release, installed, digest);
        if let Some(list) = &list {
            plan.commands = list.hooks.clone();
        }
        for (index, entry) in archive.entries().iter().enumerate() {
            plan.take(folder, index, entry, list.as_ref(), &rules.preserve)?;
        }
        match &list {
            Some(list) => plan.apply_list(folder, list, &rules.preserve)?,
            None => plan.keep_the_rest(folder)?,
        }
        plan.fold(folder)?;
        let folders = archive.folders().iter();
        plan.folders.extend(
            folders
                .filter(|path| !rules.preserve.matches(path.as_str(), true))
                .cloned(),
        );
        plan.folders
            .extend(plan.writes.iter().flat_map(|write| write.path.parents()));
        Ok(plan)
    }

    /// A plan that does nothing yet.
    pub(crate) fn empty(release: Release, installed: Installed, digest: Option<Sha256>) -> Self {
        Self {
            release,
            installed,
            writes: Vec::new(),
            removes: BTreeSet::new(),
            kept: BTreeMap::new(),
            folders: BTreeSet::new(),
            renamed: BTreeSet::new(),
            commands: Commands::default(),
            digest,
        }
    }

    /// Bytes to unpack.
    pub fn bytes(&self) -> u64 {
        self.writes.iter().map(|write| write.size).sum()
    }

    /// Decides what becomes of one entry of the archive.
    fn take(
        &mut self,
        folder: &ClientFolder,
        index: usize,
        entry: &Entry,
        list: Option<&FileList>,
        preserve: &Patterns,
    ) -> Result<()> {
        let path = &entry.path;
        if folder.is_own(path.as_str()) {
            // The Python packager packs local_version.json too, with the version before in it.
            return Ok(());
        }
        let root = folder.tree();
        let on_disk = path.below(&root);
        let found = tree::look(&on_disk)?;
        if preserve.matches(path.as_str(), false)
            && (found != Found::Nothing || tree::leads_elsewhere(&root, path)?)
        {
            return Ok(());
        }
        let listed = list.and_then(|list| list.files.get(path));
        let (sha256, listed_executable) = match listed {
            Some(Listed::File {
                sha256, executable, ..
            }) => (Some(*sha256), *executable),
            _ => (None, false),
        };
        let executable = entry.executable
            || listed_executable
            || self.release.entry_point.as_deref() == Some(path.as_str());
        let mode_now = match (&found, folder.layout()) {
            (Found::File { mode, .. }, LayoutKind::InPlace) => *mode,
            // The factory version is read-only; one that follows it is not.
            (Found::File { mode, .. }, LayoutKind::Snapshot) => mode.map(|mode| mode | 0o200),
            _ => None,
        };
        let lacks_x = executable && mode_now.is_some_and(|mode| mode & 0o111 == 0);
        let known = self
            .installed
            .files
            .get(path)
            .filter(|known| known.looks_like(&found));
        let mut perhaps = None;
        if let Some(known) = known.filter(|_| !lacks_x) {
            match is_same(entry, sha256, known) {
                Some(true) => {
                    let record = FileRecord {
                        owned: true,
                        ..known.clone()
                    };
                    self.kept.insert(path.clone(), record);
                    return Ok(());
                }
                Some(false) => {}
                None => perhaps = Some(known.clone()),
            }
        }
        if cfg!(not(unix)) && matches!(entry.kind, EntryKind::Link { .. }) {
            return Err(Error::ArchiveUnsafe {
                entry: path.to_string(),
                problem: "symbolic links are installed on Unix only".into(),
            });
        }
        self.writes.push(Write {
            path: path.clone(),
            index,
            size: entry.size,
            kind: entry.kind.clone(),
            sha256,
            mode: mode_now.map(|mode| {
                if lacks_x {
                    mode | ((mode & 0o444) >> 2)
                } else {
                    mode
                }
            }),
            executable,
            perhaps,
        });
        Ok(())
    }

    /// With a file list: what it names and the package lacks must be there already; what it does
    /// not name and came with a release goes.
    fn apply_list(
        &mut self,
        folder: &ClientFolder,
        list: &FileList,
        preserve: &Patterns,
    ) -> Result<()> {
        let written = self.writes.iter().map(|write| write.path.clone());
        let in_package = order::set(written.chain(self.kept.keys().cloned()));
        for (path, listed) in &list.files {
            if in_package.contains(path) || folder.is_own(path.as_str()) {
                continue;
            }
            if let Some(record) = self.installed.files.get(path)
                && has(record, listed)
            {
                self.kept.insert(
                    path.clone(),
                    FileRecord {
                        owned: true,
                        ..record.clone()
                    },
                );
            }
            // The rest was found to be preserved, or else refused by `check_list`.
        }
        for (path, record) in &self.installed.files {
            let goes = (record.owned || list.gone.contains(path))
                && !list.files.contains_key(path)
                && !preserve.matches(path.as_str(), false)
                && tree::look(&path.below(&folder.tree()))? != Found::Nothing;
            if goes {
                self.removes.insert(path.clone());
            }
        }
        Ok(())
    }

    /// Without a list: everything that is there stays, and what came with a release is the new
    /// version's too.
    fn keep_the_rest(&mut self, folder: &ClientFolder) -> Result<()> {
        let written = order::set(self.writes.iter().map(|write| &write.path));
        for (path, record) in &self.installed.files {
            if !written.contains(path)
                && !self.kept.contains_key(path)
                // What was merely found and is not overwritten is the user's from now on.
                && record.owned
                && tree::look(&path.below(&folder.tree()))? != Found::Nothing
            {
                self.kept.insert(path.clone(), record.clone());
            }
        }
        Ok(())
    }

    /// Where the file system takes `Readme` and `README` for one, a file that only changes its
    /// case is removed under its old name first.
    pub(crate) fn fold(&mut self, folder: &ClientFolder) -> Result<()> {
        let paths = self.installed.files.keys();
        let names = order::map(paths.map(|path| (path.folded(), path)));
        let pairs: Vec<(SafePath, SafePath)> = self
            .writes
            .iter()
            .filter_map(|write| {
                let old = *names.get(&write.path.folded())?;
                (*old != write.path && !self.installed.files.contains_key(&write.path))
                    .then(|| (old.clone(), write.path.clone()))
            })
            .collect();
        if pairs.is_empty() || !disk::folds_case(&folder.own())? {
            return Ok(());
        }
        for (old, new) in pairs {
            self.kept.remove(&old);
            self.removes.insert(old);
            self.renamed.insert(new);
        }
        Ok(())
    }
}

/// Whether an installed file is the archive's; `None` where only its content can tell.
fn is_same(entry: &Entry, sha256: Option<Sha256>, known: &FileRecord) -> Option<bool> {
    match (&entry.kind, &known.content) {
        (EntryKind::Link { target }, Content::Link(now)) => Some(target == now),
        (
            EntryKind::File,
            Content::File {
                size, sha256: now, ..
            },
        ) => {
            if *size != entry.size {
                return Some(false);
            }
            match (sha256, known.crc32) {
                (Some(announced), _) => Some(announced == *now),
                (None, Some(known)) => entry.crc32.map(|crc32| crc32 == known),
                (None, None) => None,
            }
        }
        _ => Some(false),
    }
}

/// Whether an installed file is what a list announces.
fn has(record: &FileRecord, listed: &Listed) -> bool {
    match (&record.content, listed) {
        (
            Content::File { size, sha256, .. },
            Listed::File {
                size: s, sha256: d, ..
            },
        ) => (size, sha256) == (s, d),
        (Content::Link(target), Listed::Link { link }) => target == link,
        _ => false,
    }
}

/// What is installed: the list, if it is of the version that `local_version.json` names; else the
/// folder is looked through.
pub(crate) fn installed(folder: &ClientFolder, rules: &Rules) -> Result<Installed> {
    let version = folder.local_version().map(|local| local.version);
    let listed = folder.load_installed();
    if let Some(listed) = &listed
        && listed.version == version
    {
        return Ok(listed.clone());
    }
    let leave_out = [&rules.preserve, &rules.backup_excludes];
    let files = tree::adopt(folder, &leave_out, listed.as_ref())?;
    record::info!(
        "the folder has no list of its version; {} files were found",
        files.len()
    );
    let state = folder.load_state();
    let entry_point = state
        .entry_of(version.as_ref())
        .and_then(|entry| entry.path.clone());
    Ok(Installed {
        version,
        entry_point,
        files,
        ..Installed::default()
    })
}

/// Checks a list against the release, its package and what is installed.
fn check_list(
    list: &FileList,
    release: &Release,
    archive: &Archive,
    installed: &Installed,
    folder: &ClientFolder,
) -> Result<()> {
    let contradiction = |problem: String| Err(Error::FileListInvalid { problem });
    if list.version.parse().ok().as_ref() != Some(&release.version) {
        return contradiction(format!(
            "it is of version {}, not {}",
            in_short(&list.version),
            release.version
        ));
    }
    let misfit = || Error::PartialMisfit {
        installed: installed
            .version
            .as_ref()
            .map_or_else(|| "nothing".into(), ToString::to_string),
        fits: if list.fits.is_empty() {
            "other files".into()
        } else {
            in_short(&list.fits.join(", ")).into_owned()
        },
    };
    let fits = |text: &String| text.parse().ok().as_ref() == installed.version.as_ref();
    if !list.whole && !list.fits.is_empty() && !list.fits.iter().any(fits) {
        return Err(misfit());
    }
    let mut packed = BTreeSet::new();
    for entry in archive.entries() {
        packed.insert(&entry.path);
        match (list.files.get(&entry.path), &entry.kind) {
            _ if folder.is_own(entry.path.as_str()) => {}
            (Some(Listed::File { size, .. }), EntryKind::File) if *size == entry.size => {}
            (Some(Listed::Link { link }), EntryKind::Link { target }) if link == target => {}
            (Some(_), _) => {
                return contradiction(format!("{} is another file in the package", entry.path));
            }
            (None, _) => {
                return contradiction(format!("{} is in the package and not listed", entry.path));
            }
        }
    }
    for (path, listed) in list.files.iter().filter(|(path, _)| !packed.contains(path)) {
        if list.whole {
            return contradiction(format!("{path} is listed and not in the package"));
        }
        let there = installed
            .files
            .get(path)
            .filter(|record| has(record, listed));
        let Some(record) = there else {
            return Err(misfit());
        };
        if !record.looks_like(&tree::look(&path.below(&folder.tree()))?) {
            return Err(misfit());
        }
    }
    Ok(())
}
