//! Backups: older versions that can be put back whole.
//!
//! `.backup/NAME/` holds every file of the version's list and whatever the update overwrote, and
//! `backup.json`, which describes them. It is made under another name and renamed when it is
//! whole and durable, so that what stands there is complete.
//!
//! Files that the update replaces or removes are linked: the commit renames new files over them,
//! so nothing stays shared. Unchanged ones share their blocks where the file system can, else they
//! are linked too, unless they are of a kind that apps write in place, which are copied: an app
//! that writes into a linked file would change its own backup. A restore checks every file by its
//! digest before it uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};

use crate::archive::SafePath;
use crate::archive::guard::check_tree;
use crate::config::Patterns;
use crate::disk::{self, in_use};
use crate::layout::locks::ChangeLock;
use crate::layout::retire;
use crate::layout::tree::{self, Found};
use crate::order;
use crate::plan::Plan;
use crate::stage::Staged;
use crate::state::{self, ClientFolder, Content, FileRecord, Installed};
use crate::steps::{Step, reach};
use crate::version::Version;
use crate::{Code, Error, Result, record};

/// `backup.json`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Backup {
    /// The format's number: 1.
    pub castoff: u32,
    /// The version that is kept here; `None` for a folder that was found without one.
    pub version: Option<Version>,
    /// When the backup was made.
    pub created: DateTime<Utc>,
    /// Why: `update to 1.1.0`.
    pub reason: String,
    /// Bytes of all its files together.
    pub size: u64,
    /// The text of `local_version.json`.
    pub local_version: Option<String>,
    /// The list of the version's files, as they were.
    pub installed: Installed,
    /// Which of them the update replaced or removed.
    pub overwritten: BTreeSet<SafePath>,
    /// Files outside the list that the update overwrote: the user's.
    pub displaced: BTreeMap<SafePath, FileRecord>,
}

impl Backup {
    /// Reads a backup's description.
    pub fn load(folder: &ClientFolder, name: &str) -> Result<Self> {
        let path = path_of(folder, name)?;
        let found: Option<Self> =
            state::read_json(&path.join("backup.json")).map_err(|error| Error::BackupDamaged {
                path: path.clone(),
                problem: error.chain(),
            })?;
        let backup = found.ok_or_else(|| Error::BackupNotFound {
            version: name.to_owned(),
            folder: folder.backups(),
        })?;
        check_tree(
            backup
                .records()
                .map(|(path, record)| (path, record.content.node())),
        )
        .map_err(|error| Error::BackupDamaged {
            path,
            problem: error.chain(),
        })?;
        Ok(backup)
    }

    /// Everything that is kept, by path.
    pub(crate) fn records(&self) -> impl Iterator<Item = (&SafePath, &FileRecord)> {
        self.installed.files.iter().chain(&self.displaced)
    }
}

/// The backups of a folder and their names, the newest first. What is no backup of Castoff's is
/// passed over: the Python client keeps its own single copy in the same place.
pub(crate) fn all(folder: &ClientFolder) -> Vec<(String, Backup)> {
    let mut kept: Vec<_> = names(folder)
        .into_iter()
        .filter_map(|name| {
            let backup = Backup::load(folder, &name).ok()?;
            Some((name, backup))
        })
        .collect();
    order::sort_by(&mut kept, |(a, one), (b, other)| {
        (other.created, b).cmp(&(one.created, a))
    });
    kept
}

/// Whatever lies where backups are.
fn names(folder: &ClientFolder) -> Vec<String> {
    let entries = fs::read_dir(folder.backups()).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

/// Removes a backup: first out of its place, so that half of one is never taken for whole.
pub(crate) fn discard(folder: &ClientFolder, name: &str) -> Result<()> {
    let path = path_of(folder, name)?;
    let Err(error) = retire(folder, &path, name) else {
        return Ok(());
    };
    record::debug!("{}; it is removed where it lies", error.chain());
    disk::remove_durably(&path.join("backup.json"))?;
    let removed = disk::remove_tree(&path);
    if removed.is_err() {
        // What is in use somewhere keeps a linked file here, on Windows.
        let _ = disk::write_new(&path.join(DISCARDED), b"");
    }
    removed
}

/// Marks what is left of a backup that was discarded.
const DISCARDED: &str = "discarded";

/// Removes what is left of backups that were discarded, as far as it can be by now.
pub(crate) fn sweep(folder: &ClientFolder) {
    for name in names(folder) {
        let path = folder.backups().join(name);
        // An app may have a file of that name; a backup with its description is a whole one.
        if path.join(DISCARDED).exists()
            && !path.join("backup.json").exists()
            && let Err(error) = disk::remove_tree(&path)
        {
            record::debug!("{}", error.chain());
            let _ = disk::write_new(&path.join(DISCARDED), b"");
        }
    }
}

/// A staged version whose predecessor has a backup.
#[must_use = "a backup alone changes nothing"]
pub struct BackedUp {
    pub(crate) staged: Staged,
    /// The backup's name; `None` when nothing was installed.
    pub(crate) backup: Option<String>,
    /// What the paths that change hold now.
    pub(crate) before: BTreeMap<SafePath, Content>,
}

/// Makes a whole backup of what is installed, and makes it and what is staged durable.
///
/// `meanwhile` is done on a thread of its own, and has ended before the sync. The lock keeps the
/// app from writing all the while.
pub fn back_up(
    folder: &ClientFolder,
    staged: Staged,
    mutable: &Patterns,
    meanwhile: &(dyn Fn() + Sync),
    _lock: &ChangeLock,
) -> Result<BackedUp> {
    let (backup, before) = thread::scope(|scope| {
        scope.spawn(meanwhile);
        let plan = &staged.plan;
        let changing = Changing {
            reason: format!("update to {}", plan.release.version),
            paths: order::set(staged.changing()),
            renamed: Some(&plan.renamed),
        };
        let (mut backup, before) = describe(folder, &plan.installed, &changing)?;
        if let Some(backup) = &mut backup {
            fill(folder, backup, mutable)?;
        }
        Ok((backup, before))
    })?;
    let name = if let Some(backup) = backup {
        Some(seal(folder, Some(&staged.folder), &backup)?)
    } else {
        disk::sync_tree(&[&staged.folder], None)?;
        None
    };
    // The folders of the backups and of the journal may be new.
    disk::sync_folder(folder.root())?;
    reach(Step::BackUpSynced)?;
    Ok(BackedUp {
        staged,
        backup: name,
        before,
    })
}

/// Makes a whole backup of what is installed, and makes it durable, before an older version takes its
/// place. `false`: nothing is installed.
pub(crate) fn keep(
    folder: &ClientFolder,
    to: &str,
    mutable: &Patterns,
    _lock: &ChangeLock,
) -> Result<bool> {
    let installed = folder.load_installed().unwrap_or_default();
    let changing = Changing {
        reason: format!("return to {to}"),
        paths: BTreeSet::new(),
        renamed: None,
    };
    let (Some(mut backup), _) = describe(folder, &installed, &changing)? else {
        return Ok(false);
    };
    // One that is the same is as good.
    let same = |known: &Backup| {
        (&known.installed, known.displaced.is_empty()) == (&backup.installed, true)
    };
    if all(folder).iter().any(|(_, known)| same(known)) {
        return Ok(true);
    }
    let sizes = backup.records().map(|(path, record)| match record.content {
        Content::File { size, mode, .. } if written_in_place(path, mode, mutable) => size,
        _ => 0,
    });
    disk::need_space(folder.root(), sizes.sum())?;
    fill(folder, &mut backup, mutable)?;
    seal(folder, None, &backup)?;
    disk::sync_folder(folder.root())?;
    Ok(true)
}

/// What a backup is made for.
struct Changing<'a> {
    reason: String,
    /// What will be changed.
    paths: BTreeSet<&'a SafePath>,
    /// Those of them that are another name of what is listed.
    renamed: Option<&'a BTreeSet<SafePath>>,
}

/// What the paths that a commit changes hold.
type Before = BTreeMap<SafePath, Content>;

/// What is to be kept, if anything is, and what the paths that change hold now.
fn describe(
    folder: &ClientFolder,
    installed: &Installed,
    changing: &Changing<'_>,
) -> Result<(Option<Backup>, Before)> {
    let mut backup = Backup {
        castoff: 1,
        version: installed.version.clone(),
        created: Utc::now().trunc_subsecs(0),
        reason: changing.reason.clone(),
        size: 0,
        local_version: folder.local_version_text(),
        installed: Installed {
            files: BTreeMap::new(),
            ..installed.clone()
        },
        overwritten: BTreeSet::new(),
        displaced: BTreeMap::new(),
    };
    let listed: Vec<_> = installed.files.iter().collect();
    let found = disk::in_parallel(disk::cores(), &listed, &|(path, known)| {
        tree::record(&path.below(folder.root()), Some(known))
    })?;
    for ((path, _), record) in listed.into_iter().zip(found) {
        // A file that the user has deleted is not there to be kept.
        if let Some(record) = record {
            if changing.paths.contains(path) {
                backup.overwritten.insert(path.clone());
            }
            backup.installed.files.insert(path.clone(), record);
        }
    }
    for &path in &changing.paths {
        let is_renamed = changing.renamed.is_some_and(|it| it.contains(path));
        if installed.files.contains_key(path) || is_renamed {
            continue;
        }
        if let Some(record) = tree::record(&path.below(folder.root()), None)? {
            backup.overwritten.insert(path.clone());
            backup.displaced.insert(path.clone(), record);
        }
    }
    let before = backup
        .records()
        .filter(|(path, _)| changing.paths.contains(path))
        .map(|(path, record)| (path.clone(), record.content.clone()));
    let before = order::map(before);
    let anything = backup.records().next().is_some() || backup.local_version.is_some();
    Ok((anything.then_some(backup), before))
}

/// Where a backup grows.
fn growing(folder: &ClientFolder) -> PathBuf {
    folder.own().join("backup")
}

/// Fills the backup's folder.
fn fill(folder: &ClientFolder, backup: &mut Backup, mutable: &Patterns) -> Result<()> {
    let temporary = growing(folder);
    disk::remove_tree(&temporary)?;
    disk::create_folders(&temporary)?;
    reach(Step::BackUpBegun)?;
    let parents = order::set(backup.records().flat_map(|(path, _)| path.parents()));
    // Those above come before those below.
    for parent in &parents {
        disk::create_folder(&parent.below(&temporary))?;
    }
    let records: Vec<_> = backup.records().collect();
    let sizes = disk::in_parallel(disk::cores(), &records, &|(path, record)| {
        let (from, to) = (path.below(folder.root()), path.below(&temporary));
        let size = match &record.content {
            Content::Link(target) => {
                disk::symlink(target, &to)?;
                0
            }
            Content::File { size, mode, .. } => {
                let replaced = backup.overwritten.contains(path);
                if replaced || !written_in_place(path, *mode, mutable) {
                    disk::link_or_copy(&from, &to)?;
                } else if !disk::clone_file(&from, &to)? {
                    disk::copy(&from, &to)?;
                }
                *size
            }
        };
        reach(Step::BackUpFile)?;
        Ok(size)
    })?;
    backup.size = sizes.iter().sum();
    reach(Step::BackUpFilled)
}

/// Makes the filled folder and what is staged durable, and makes it a backup by describing it and
/// giving it its name.
fn seal(folder: &ClientFolder, staged: Option<&Path>, backup: &Backup) -> Result<String> {
    let temporary = growing(folder);
    disk::create_folders(&folder.backups())?;
    // It describes a backup only where the rename leads it, and that comes after the sync.
    disk::write_new(&temporary.join("backup.json"), &state::compact(backup)?)?;
    let trees: Vec<_> = [&*temporary].into_iter().chain(staged).collect();
    disk::sync_tree(&trees, Some(&temporary))?;
    let name = free_name(folder, backup.version.as_ref());
    disk::rename(&temporary, &folder.backups().join(&name))?;
    disk::sync_folder(&folder.backups())?;
    Ok(name)
}

/// The version's name, or that with a number when it is taken.
fn free_name(folder: &ClientFolder, version: Option<&Version>) -> String {
    let plain = version.map_or_else(|| "unknown".to_owned(), Version::file_name);
    let mut name = plain.clone();
    let mut number = 2;
    while fs::symlink_metadata(folder.backups().join(&name)).is_ok() {
        name = format!("{plain}_{number}");
        number += 1;
    }
    name
}

/// A name beside a folder that is in the way.
pub(super) fn free_path(path: &Path) -> PathBuf {
    let free = |number: u32| path.with_added_extension(format!("kept-{number}"));
    let taken = |number: &u32| fs::symlink_metadata(free(*number)).is_ok();
    free(
        (1..u32::MAX)
            .find(|number| !taken(number))
            .unwrap_or(u32::MAX),
    )
}

/// Kinds of files that no app writes in place: programs, libraries, code, media, fonts. Every
/// other kind is taken for one that is, which costs a copy and never a backup.
const NEVER_WRITTEN: &[&str] = &[
    "a", "bat", "bmp", "c", "cmd", "cpp", "css", "dll", "dylib", "egg", "eot", "exe", "gif", "gz",
    "h", "htm", "html", "icns", "ico", "jar", "jpeg", "jpg", "js", "lib", "map", "md", "mjs", "mo",
    "mp3", "mp4", "node", "o", "ogg", "otf", "pak", "pdf", "png", "po", "ps1", "pxd", "py", "pyc",
    "pyd", "pyi", "pyw", "pyx", "qm", "qml", "qmltypes", "rst", "sh", "so", "svg", "ts", "tsx",
    "ttc", "ttf", "wasm", "wav", "webp", "whl", "woff", "woff2",
];

/// Whether an app may write a file in place, so that a backup must not share it.
pub(crate) fn written_in_place(path: &SafePath, mode: Option<u32>, mutable: &Patterns) -> bool {
    if mutable.matches(path.as_str(), false) {
        return true;
    }
    let name = path.file_name().to_ascii_lowercase();
    // libssl.so.3: the suffix of a shared library is followed by its version.
    if name.contains(".so.") {
        return false;
    }
    match name.rsplit_once('.') {
        Some((_, suffix)) => !NEVER_WRITTEN.contains(&suffix),
        // No suffix, and it can be executed: a program.
        None => mode.is_none_or(|mode| mode & 0o111 == 0),
    }
}

/// About how many bytes the backup will write: what it copies, where files cannot share blocks.
pub(crate) fn bytes_to_copy(plan: &Plan, mutable: &Patterns) -> u64 {
    let written = order::set(plan.writes.iter().map(|write| &write.path));
    let copied = plan
        .installed
        .files
        .iter()
        .filter_map(|(path, record)| match &record.content {
            Content::File { size, mode, .. }
                if !written.contains(path)
                    && !plan.removes.contains(path)
                    && written_in_place(path, *mode, mutable) =>
            {
                Some(*size)
            }
            _ => None,
        });
    copied.sum()
}

/// A backup's folder. The name may come from a file that others can write: it must not lead
/// anywhere else.
pub(crate) fn path_of(folder: &ClientFolder, name: &str) -> Result<PathBuf> {
    match SafePath::try_from(name) {
        Ok(safe) if safe.parent().is_none() => Ok(safe.below(&folder.backups())),
        _ => Err(Error::BackupNotFound {
            version: name.to_owned(),
            folder: folder.backups(),
        }),
    }
}

/// Checks that a backup has a file as a journal wants it back.
pub(crate) fn check(
    folder: &ClientFolder,
    name: &str,
    path: &SafePath,
    content: &Content,
) -> Result<()> {
    let Content::File { size, sha256, .. } = content else {
        return Ok(());
    };
    let kept = path_of(folder, name)?;
    let damaged = |problem| Error::BackupDamaged {
        path: kept.clone(),
        problem,
    };
    let (got, bytes) = tree::digest_of(&path.below(&kept)).map_err(|error| match error.code() {
        // What cannot be read for a moment is whole all the same.
        Code::FileInUse => error,
        _ => damaged(error.chain()),
    })?;
    if (got, bytes) != (*sha256, *size) {
        return Err(damaged(format!(
            "{path} has SHA-256 {got}, expected {sha256}"
        )));
    }
    Ok(())
}

/// Puts one path back as the backup has it, by a temporary name beside the journal and a rename.
/// Can be repeated after an error.
pub(crate) fn put_back(
    folder: &ClientFolder,
    name: &str,
    path: &SafePath,
    content: &Content,
    mutable: &Patterns,
) -> Result<()> {
    let from = path.below(&path_of(folder, name)?);
    let temporary = folder.restoring();
    // A second name of what runs, if an attempt has left one.
    in_use::remove(&temporary, &folder.aside())?;
    match content {
        Content::Link(target) => disk::symlink(target, &temporary)?,
        Content::File { mode, .. } => {
            check(folder, name, path, content)?;
            if written_in_place(path, *mode, mutable) {
                disk::copy(&from, &temporary)?;
            } else {
                disk::link_or_copy(&from, &temporary)?;
            }
            disk::set_mode(&temporary, *mode)?;
        }
    }
    let to = path.below(folder.root());
    if tree::look(&to)? == Found::Folder {
        // The new version had a folder here. What came with it is gone by now; what the app has
        // put there since is kept beside it.
        if !disk::remove_empty_folder(&to) {
            let aside = free_path(&to);
            record::warn!("{} is kept as {}", to.display(), aside.display());
            disk::rename(&to, &aside)?;
        }
    }
    // Two names of one file: a rename would do nothing, and leave the temporary name.
    in_use::replace(&temporary, &to, &folder.aside())?;
    disk::remove_file(&temporary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apps_write_in_place_is_copied_and_the_rest_is_linked() {
        let mutable = Patterns::parse(&["plugins/*.py".into()]).unwrap();
        let written = |path: &str, mode| {
            written_in_place(
                &SafePath::try_from(path.to_owned()).unwrap(),
                mode,
                &mutable,
            )
        };
        for path in [
            "data.db",
            "settings.INI",
            "a/log.txt",
            "unknown.kind",
            "plain",
            "plugins/a.py",
        ] {
            assert!(written(path, Some(0o644)), "{path}");
        }
        for path in ["main.py", "lib/libssl.so.3", "Qt6Core.dll", "a/icon.PNG"] {
            assert!(!written(path, Some(0o644)), "{path}");
        }
        assert!(!written("fieldbook", Some(0o755)));
    }
}
