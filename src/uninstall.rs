//! Takes an app away: what came with it, and nothing else unless that is wanted too.
//!
//! What came with it are the files that a release brought and that are as it brought them, the
//! backups, and Castoff's own folder. Everything else in the client folder counts as the user's:
//! files that no release brought, files of a release that were changed since, and whatever the
//! preserve list names.
//!
//! Promises: nothing is removed that was not found before [`Uninstall::carry_out`], and of the
//! user's nothing without being told to. The app does not run meanwhile, and no update is at work.
//! First goes what the app is started by, last the list of what a release brought: so an uninstall
//! that is interrupted leaves nothing that would be started, and another one finishes it. A file in use,
//! which Windows does not let go, is found before anything is removed.
//!
//! Does not promise to empty the folder of what is mounted in it: that is never entered.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::archive::SafePath;
use crate::config::Rules;
use crate::disk::{self, in_use, in_use::Patience};
use crate::layout::backup::{self, Backup};
use crate::layout::journal::Journal;
use crate::layout::locks::{ChangeLock, UpdateLock};
use crate::layout::tree;
use crate::order;
use crate::state::{ClientFolder, Installed};
use crate::steps::{Step, reach};
use crate::{Error, Result, record};

/// How long scanners and indexers may hold files, all in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an uninstall has found, with the right to remove it.
#[must_use = "nothing is removed yet"]
pub struct Uninstall<'a> {
    folder: &'a ClientFolder,
    change: ChangeLock,
    update: UpdateLock,
    /// Files that came with a release, what the app is started by first.
    brought: Vec<PathBuf>,
    /// The user's files.
    users: Vec<PathBuf>,
    /// Where something else is mounted.
    mounts: Vec<PathBuf>,
    /// Folders, those below before those above, and whether they are on the preserve list.
    folders: Vec<(PathBuf, bool)>,
}

/// What was removed, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many files of the app, and of the user's.
    pub files: usize,
    /// What was left, relative to the client folder.
    pub left: Vec<PathBuf>,
}

impl<'a> Uninstall<'a> {
    /// Looks through the folder. `starts` are the entry points, relative to it; nothing `apart`
    /// is touched, such as a log or a launcher that lies in the folder.
    pub(crate) fn prepare(
        folder: &'a ClientFolder,
        rules: &Rules,
        starts: &[String],
        apart: &[PathBuf],
        update: UpdateLock,
        change: ChangeLock,
    ) -> Result<Self> {
        let mut found = Self {
            folder,
            change,
            update,
            brought: Vec::new(),
            users: Vec::new(),
            mounts: Vec::new(),
            folders: Vec::new(),
        };
        let search = Search {
            root: folder.root(),
            rules,
            apart,
            installed: folder.load_installed().unwrap_or_default(),
        };
        found.look_through(&search, Path::new(""))?;
        let is_start = |path: &Path| starts.iter().any(|start| path == Path::new(start));
        order::sort_by(&mut found.brought, |a, b| is_start(b).cmp(&is_start(a)));
        order::sort(&mut found.users);
        Ok(found)
    }

    /// How many files came with a release.
    pub fn brought(&self) -> usize {
        self.brought.len()
    }

    /// The user's files, relative to the client folder.
    pub fn users(&self) -> &[PathBuf] {
        &self.users
    }

    /// Removes what was found; the user's files only with `everything`. Fails with `FILE_IN_USE`, and
    /// has removed nothing, where a program runs or has a file open.
    pub fn carry_out(self, everything: bool) -> Result<Removed> {
        let folder = self.folder;
        let root = folder.root();
        self.need_removable(everything)?;
        disk::remove_durably(&folder.version_file())?;
        reach(Step::UninstallUnnamed)?;
        let mut files = 0;
        for path in self.files(everything) {
            disk::remove_file(&root.join(path))?;
            reach(Step::UninstallFile)?;
            files += 1;
        }
        for (path, preserved) in &self.folders {
            if everything || !preserved {
                // What is not empty stays.
                disk::remove_empty_folder(&root.join(path));
            }
        }
        // A journal without its backup could not be undone.
        Journal::remove(folder)?;
        let mut left = Vec::new();
        for (name, backup) in backup::all(folder) {
            if everything || !holds_the_users(&backup, root) {
                backup::discard(folder, &name)?;
            } else {
                let path = folder.backups().join(&name);
                left.push(path.strip_prefix(root).unwrap_or(&path).to_path_buf());
            }
        }
        if left.is_empty() {
            disk::remove_tree(&folder.backups())?;
        }
        self.clear_own()?;
        left.extend(self.mounts);
        if !everything {
            left.extend(self.users);
        }
        drop((self.change, self.update));
        // On Windows these may be gone only now that nobody has them open.
        disk::remove_empty_folder(&folder.own());
        disk::remove_empty_folder(root);
        Ok(Removed { files, left })
    }

    /// The files of the app that go, relative to the folder.
    fn files(&self, everything: bool) -> impl Iterator<Item = &PathBuf> {
        let users = if everything { &self.users[..] } else { &[] };
        self.brought.iter().chain(users)
    }

    /// Fails with `FILE_IN_USE` where a file that is to go is in use, of the app or of Castoff's own.
    fn need_removable(&self, everything: bool) -> Result<()> {
        if cfg!(not(windows)) {
            return Ok(());
        }
        let root = self.folder.root();
        let mut paths: Vec<_> = self.files(everything).map(|path| root.join(path)).collect();
        paths.push(self.folder.version_file());
        files_below(&self.folder.own(), &mut paths);
        files_below(&self.folder.backups(), &mut paths);
        // This process's own.
        paths.retain(|path| !is_lock(path) || path.parent() != Some(&self.folder.own()));
        in_use::need_removable(&paths, &Patience::new(PATIENCE))
    }

    /// Removes Castoff's own things, the list last but for the locks.
    fn clear_own(&self) -> Result<()> {
        let own = self.folder.own();
        let list = self.folder.installed();
        let entries = || fs::read_dir(&own).into_iter().flatten().flatten();
        for path in entries().map(|entry| entry.path()) {
            if path.is_dir() {
                disk::remove_tree(&path)?;
            } else if path != list && !is_lock(&path) {
                disk::remove_file(&path)?;
            }
        }
        // Should the power fail, no file comes back of which there is no list any more. That it
        // cannot be synced is no reason to stop.
        if let Err(error) = disk::sync_tree(&[self.folder.root()], None) {
            record::warn!("{}", error.chain());
        }
        reach(Step::UninstallCleared)?;
        disk::remove_durably(&list)?;
        reach(Step::UninstallUnlisted)?;
        // Still held: whoever waits for them gets locks that nobody else has.
        for path in entries()
            .map(|entry| entry.path())
            .filter(|path| is_lock(path))
        {
            disk::remove_file(&path)?;
        }
        Ok(())
    }

    fn look_through(&mut self, search: &Search<'_>, below: &Path) -> Result<()> {
        let at = search.root.join(below);
        for entry in fs::read_dir(&at).map_err(Error::io("read", &at))? {
            let entry = entry.map_err(Error::io("read", &at))?;
            let name = entry.file_name();
            let top = below.as_os_str().is_empty();
            if top && name.to_str().is_some_and(|name| self.folder.is_own(name)) {
                continue;
            }
            let path = below.join(name);
            let on_disk = entry.path();
            if search.apart.contains(&on_disk) {
                continue;
            }
            let kind = entry.file_type().map_err(Error::io("look at", &on_disk))?;
            if !kind.is_dir() {
                if search.is_brought(&path)? {
                    self.brought.push(path);
                } else {
                    self.users.push(path);
                }
            } else if tree::same_device(&at, &on_disk)? {
                self.look_through(search, &path)?;
                let preserved = search.is_preserved(&path, true);
                self.folders.push((path, preserved));
            } else {
                self.mounts.push(path);
            }
        }
        Ok(())
    }
}

/// What is below a folder and is no folder, as far as it can be read.
fn files_below(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files_below(&entry.path(), paths);
        } else {
            paths.push(entry.path());
        }
    }
}

/// Whether a file of Castoff's own folder is a lock.
fn is_lock(path: &Path) -> bool {
    path.extension().is_some_and(|suffix| suffix == "lock")
}

/// Whether a backup is the only place of a file of the user's, which an update has overwritten.
fn holds_the_users(backup: &Backup, root: &Path) -> bool {
    backup.displaced.iter().any(|(path, record)| {
        let now = tree::record(&path.below(root), Some(record));
        !now.is_ok_and(|now| now.is_some_and(|now| tree::same(&now.content, &record.content)))
    })
}

/// How a folder is looked through.
struct Search<'a> {
    root: &'a Path,
    rules: &'a Rules,
    apart: &'a [PathBuf],
    installed: Installed,
}

impl Search<'_> {
    fn is_preserved(&self, path: &Path, is_folder: bool) -> bool {
        self.rules.preserve.matches(&slashed(path), is_folder)
    }

    /// Whether a file came with a release, and is as it came.
    fn is_brought(&self, path: &Path) -> Result<bool> {
        if self.is_preserved(path, false) {
            return Ok(false);
        }
        if is_compiled_python(path) {
            return Ok(true);
        }
        let Some(known) = SafePath::try_from(slashed(path))
            .ok()
            .and_then(|path| self.installed.files.get(&path))
            .filter(|known| known.owned)
        else {
            return Ok(false);
        };
        let now = tree::record(&self.root.join(path), Some(known))?;
        Ok(now.is_some_and(|now| tree::same(&now.content, &known.content)))
    }
}

/// Whether a file is what Python makes of a program for itself, and would make again.
fn is_compiled_python(path: &Path) -> bool {
    let cache = path.parent().and_then(Path::file_name);
    cache.is_some_and(|name| name == "__pycache__")
        && path.extension().is_some_and(|suffix| suffix == "pyc")
}

/// A path as lists and patterns have it. A name that is no Unicode is in no list.
fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}
