//! The layout in-place: one folder, in which staged files are renamed over the old ones.
//!
//! Its part of a [transaction](super::transaction): the journal that names every path, the renames,
//! and the way back, by link or copy out of a backup.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::archive::SafePath;
use crate::config::Rules;
use crate::disk;
use crate::disk::in_use::{self, Patience};
use crate::layout::backup::{self, BackedUp, Backup};
use crate::layout::journal::{Change, Journal};
use crate::layout::remove_emptied;
use crate::layout::tree::{self, Found};
use crate::order;
use crate::plan::Plan;
use crate::state::{ClientFolder, Content, EntryPoint, FileRecord, Installed};
use crate::steps::{Step, reach};
use crate::{Error, Result, record};

/// How long, in all, a commit waits for files that are in use: once before anything is changed, and
/// once more for those that are taken in between. Scanners need less; what a person has open is
/// not worth keeping them from the app for longer.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);

/// How long, in all, an undo waits for files that are in use. Nothing is started before it is done.
const UNDO_PATIENCE: Duration = Duration::from_secs(15);

/// The journal of a commit that is ready to begin. Every target is probed; nothing is changed.
pub(super) fn journal_of_commit(folder: &ClientFolder, backed_up: &BackedUp) -> Result<Journal> {
    let staged = &backed_up.staged;
    let plan = &staged.plan;
    let mut journal = Journal::new(
        plan.installed.version.clone(),
        Some(plan.release.version.clone()),
        backed_up.backup.clone(),
    );
    for path in staged.changing() {
        let after = staged
            .records
            .get(path)
            .map(|record| record.content.clone());
        let before = backed_up.before.get(path).cloned();
        journal.paths.insert(path.clone(), Change { before, after });
    }
    journal.made = missing_folders(folder, plan);
    probe(folder.root(), staged.records.keys(), &plan.removes)?;
    need_free(folder, journal.paths.keys())?;
    Ok(journal)
}

/// Removes and renames, and says what is installed then.
pub(super) fn replace(
    folder: &ClientFolder,
    backed_up: &BackedUp,
    journal: &Journal,
) -> Result<()> {
    let staged = &backed_up.staged;
    let plan = &staged.plan;
    let patience = Patience::new(COMMIT_PATIENCE);
    let aside = folder.aside();
    for path in &plan.removes {
        let on_disk = path.below(folder.root());
        patience.retry(|| in_use::remove(&on_disk, &aside))?;
        reach(Step::CommitRemove)?;
    }
    patience.retry(|| drop_byte_code(folder.root(), &aside, journal.paths.keys(), &plan.kept))?;
    remove_emptied(folder.root(), plan);
    for path in &plan.folders {
        let on_disk = path.below(folder.root());
        patience.retry(|| disk::create_folders(&on_disk))?;
    }
    for path in staged.records.keys() {
        let to = path.below(folder.root());
        if tree::look(&to)? == Found::Folder {
            // The probe found nothing in it that stays.
            disk::remove_empty_folder(&to);
        }
        let from = path.below(&staged.folder);
        patience.retry(|| in_use::replace(&from, &to, &aside))?;
        reach(Step::CommitRename)?;
    }
    // The staged files themselves were synced with the backup.
    sync_changed(folder, journal, Vec::new())?;
    reach(Step::CommitRenamed)?;
    folder.save_installed(Some(&staged.installed()))?;
    reach(Step::CommitListed)?;
    folder.set_local_version(&plan.release.version)?;
    reach(Step::CommitVersioned)
}

/// Checks every path below `root` that is to be changed: the way to it, and what is there.
pub(crate) fn probe<'p>(
    root: &Path,
    writes: impl Iterator<Item = &'p SafePath>,
    removes: &BTreeSet<SafePath>,
) -> Result<()> {
    if !disk::may_change(root) {
        let denied = std::io::ErrorKind::PermissionDenied.into();
        return Err(Error::io("change", root)(denied));
    }
    let goes = |path: &SafePath| removes.contains(path);
    let mut seen = HashSet::new();
    for path in removes {
        tree::check_way(root, path, &goes, &mut seen)?;
    }
    for path in writes {
        tree::check_way(root, path, &goes, &mut seen)?;
        let on_disk = path.below(root);
        let refuse = |problem| {
            Err(Error::TargetUnsafe {
                path: on_disk.clone(),
                problem,
            })
        };
        match tree::look(&on_disk)? {
            Found::Folder if !only_removed(&on_disk, path, &goes)? => {
                return refuse("it is a folder with files in it, where the new version has a file");
            }
            Found::Other => return refuse("it is neither a file nor a folder"),
            _ => {}
        }
    }
    Ok(())
}

/// Fails with `FILE_IN_USE` when a path is in use and stays so.
pub(crate) fn need_free<'p>(
    folder: &ClientFolder,
    paths: impl Iterator<Item = &'p SafePath>,
) -> Result<()> {
    if cfg!(not(windows)) {
        return Ok(());
    }
    let paths: Vec<PathBuf> = paths.map(|path| path.below(folder.root())).collect();
    in_use::need_free(&paths, &Patience::new(COMMIT_PATIENCE))
}

/// Whether everything below a folder is removed by the same commit.
fn only_removed(
    folder: &Path,
    path: &SafePath,
    removed: &dyn Fn(&SafePath) -> bool,
) -> Result<bool> {
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            return Ok(false);
        };
        let Ok(below) = SafePath::try_from(format!("{path}/{name}")) else {
            return Ok(false);
        };
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let goes = if is_folder {
            name == "__pycache__" || only_removed(&entry.path(), &below, removed)?
        } else {
            removed(&below)
        };
        if !goes {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The folders that do not exist yet, those above before those below. One that changes its case
/// does not exist yet, wherever the file system finds it under its old name.
fn missing_folders(folder: &ClientFolder, plan: &Plan) -> Vec<SafePath> {
    let (mut old, mut names) = (BTreeSet::new(), BTreeSet::new());
    if !plan.renamed.is_empty() {
        old.extend(plan.installed.files.keys().flat_map(SafePath::parents));
        names.extend(old.iter().map(SafePath::folded));
    }
    let changes_case = |path: &SafePath| !old.contains(path) && names.contains(&path.folded());
    // A link to a folder is none: the new version's folder takes its place.
    let exists = |path: &SafePath| {
        fs::symlink_metadata(path.below(folder.root())).is_ok_and(|found| found.is_dir())
    };
    // In the order of a set: those above come first.
    plan.folders
        .iter()
        .filter(|path| changes_case(path) || !exists(path))
        .cloned()
        .collect()
}

/// The journal whose undo puts a backup back: the tree becomes the backup's version, but for what
/// the user added and for what is on the preserve list.
///
/// Everything that can be checked is checked: what this journal says can be done.
pub(super) fn journal_of_restore(
    folder: &ClientFolder,
    name: &str,
    rules: &Rules,
) -> Result<Journal> {
    let backup = Backup::load(folder, name)?;
    let installed = folder.load_installed().unwrap_or_default();
    let after = folder.local_version().map(|local| local.version);
    let mut journal = Journal::new(backup.version.clone(), after, Some(name.to_owned()));
    for (path, record) in backup.records() {
        let now = installed.files.get(path);
        // Merely found in the folder, and touched by no release since: the user's own.
        let users = !record.owned
            && !backup.overwritten.contains(path)
            && !now.is_some_and(|now| now.owned);
        let stays = users || rules.preserve.matches(path.as_str(), false);
        if stays && tree::look(&path.below(folder.root()))? != Found::Nothing {
            continue;
        }
        let after = now.map(|now| now.content.clone());
        journal.paths.insert(
            path.clone(),
            Change {
                before: Some(record.content.clone()),
                after,
            },
        );
    }
    let came_with_it = installed
        .files
        .iter()
        .filter(|(path, record)| record.owned && !rules.preserve.matches(path.as_str(), false));
    for (path, record) in came_with_it {
        journal.paths.entry(path.clone()).or_insert_with(|| Change {
            before: None,
            after: Some(record.content.clone()),
        });
    }
    let stays: HashSet<SafePath> = backup
        .records()
        .flat_map(|(path, _)| path.parents())
        .collect();
    let emptied = journal
        .paths
        .iter()
        .filter(|(_, change)| change.before.is_none())
        .flat_map(|(path, _)| path.parents())
        .filter(|parent| !stays.contains(parent));
    journal.made = order::set(emptied).into_iter().collect();
    check_restore(folder, name, &journal)?;
    need_free(folder, journal.paths.keys())?;
    Ok(journal)
}

/// Checks that a journal can be undone: the ways, the room, and every file of the backup that will
/// be needed.
fn check_restore(folder: &ClientFolder, name: &str, journal: &Journal) -> Result<()> {
    let root = folder.root();
    check_ways(root, journal)?;
    let mut needed = 0;
    for (path, change) in &journal.paths {
        let Some(before) = &change.before else {
            continue;
        };
        let now = tree::content_of(&path.below(root))?;
        if !now.is_some_and(|now| tree::same(before, &now)) {
            backup::check(folder, name, path, before)?;
            if let Content::File { size, .. } = before {
                needed += size;
            }
        }
    }
    disk::need_space(root, needed)
}

fn check_ways(root: &Path, journal: &Journal) -> Result<()> {
    // What was not there goes before anything is put back; a link that was there may be back
    // already, from an undo that was interrupted.
    let no_obstacle = |path: &SafePath| {
        let change = journal.paths.get(path);
        change.is_some_and(|change| matches!(change.before, None | Some(Content::Link(_))))
    };
    let mut seen = HashSet::new();
    journal
        .paths
        .keys()
        .try_for_each(|path| tree::check_way(root, path, &no_obstacle, &mut seen))
}

/// Makes every path of a journal what it was before, and the list and the version file too. Compares
/// before it acts, so that it can be repeated after a kill at any point. Returns what to start then.
pub(super) fn put_back(
    folder: &ClientFolder,
    journal: &Journal,
    rules: &Rules,
) -> Result<Option<EntryPoint>> {
    let root = folder.root();
    let backup = journal
        .backup
        .as_deref()
        .map(|name| Backup::load(folder, name))
        .transpose()?;
    check_ways(root, journal)?;
    let patience = Patience::new(UNDO_PATIENCE);
    // What came with the new version goes first: a file of it may lie where a folder was.
    for (path, change) in journal
        .paths
        .iter()
        .filter(|(_, change)| change.before.is_none())
    {
        if tree::leads_elsewhere(root, path)? {
            // The link that was there before is back: this path is gone with its folder.
            continue;
        }
        patience.retry(|| take_away(folder, path, change.after.as_ref()))?;
        reach(Step::UndoPath)?;
    }
    let listed = backup.as_ref().map(|backup| &backup.installed.files);
    let nothing = BTreeMap::new();
    let listed = listed.unwrap_or(&nothing);
    patience.retry(|| drop_byte_code(root, &folder.aside(), journal.paths.keys(), listed))?;
    for path in journal.made.iter().rev() {
        disk::remove_empty_folder(&path.below(root));
    }
    for (path, change) in &journal.paths {
        let Some(before) = &change.before else {
            continue;
        };
        patience.retry(|| bring_back(folder, journal, path, before, rules))?;
        reach(Step::UndoPath)?;
    }
    // After a cut, a file may have its place and still this name.
    patience.retry(|| in_use::remove(&folder.restoring(), &folder.aside()))?;
    // Those too that were as before already: an undo that was killed may have copied them.
    let is_file = |change: &Change| matches!(change.before, Some(Content::File { .. }));
    let files = journal.paths.iter().filter(|(_, change)| is_file(change));
    let files = files.map(|(path, _)| path.below(root)).collect();
    sync_changed(folder, journal, files)?;
    reach(Step::UndoPaths)?;

    let mut entry = None;
    if let Some(backup) = backup {
        folder.save_installed(Some(&refreshed(folder, journal, &backup)?))?;
        folder.put_local_version(backup.local_version.as_deref())?;
        let version = backup.version;
        let path = backup.installed.entry_point;
        entry = Some(EntryPoint { version, path });
    } else {
        folder.save_installed(None)?;
        folder.put_local_version(None)?;
    }
    Ok(entry)
}

/// Removes what came with the new version, unless it was changed since.
fn take_away(folder: &ClientFolder, path: &SafePath, after: Option<&Content>) -> Result<()> {
    let on_disk = path.below(folder.root());
    if let (Some(after), Some(now)) = (after, tree::content_of(&on_disk)?) {
        if tree::same(after, &now) {
            in_use::remove(&on_disk, &folder.aside())?;
        } else {
            record::warn!("{path} was changed since the update and stays");
        }
    }
    Ok(())
}

/// Makes a path what it was before, unless it is that already.
fn bring_back(
    folder: &ClientFolder,
    journal: &Journal,
    path: &SafePath,
    before: &Content,
    rules: &Rules,
) -> Result<()> {
    let on_disk = path.below(folder.root());
    match tree::content_of(&on_disk)? {
        Some(now) if tree::same(before, &now) => {
            if let (Content::File { mode, .. }, true) = (before, *before != now) {
                disk::set_mode(&on_disk, *mode)?;
            }
            Ok(())
        }
        _ => {
            let name = journal
                .backup
                .as_deref()
                .ok_or_else(|| Error::StateInvalid {
                    path: folder.journal(),
                    problem: format!("{path} was replaced, and no backup is named"),
                })?;
            if let Some(parent) = on_disk.parent() {
                disk::create_folders(parent)?;
            }
            backup::put_back(folder, name, path, before, &rules.mutable)
        }
    }
}

/// The backup's list with the times that the files have now: copies and links keep theirs. What
/// was not put back is recorded as it is.
fn refreshed(folder: &ClientFolder, journal: &Journal, backup: &Backup) -> Result<Installed> {
    let mut installed = backup.installed.clone();
    for (path, record) in &mut installed.files {
        let on_disk = path.below(folder.root());
        if !journal.paths.contains_key(path) {
            if let Some(now) = tree::record(&on_disk, Some(record))? {
                *record = now;
            }
        } else if let Found::File { modified, .. } = tree::look(&on_disk)? {
            record.modified = modified;
        }
    }
    Ok(installed)
}

/// Makes `files` durable, and renames and removals in every folder on the way to what changed,
/// since folders may have been made and removed too.
fn sync_changed(folder: &ClientFolder, journal: &Journal, files: Vec<PathBuf>) -> Result<()> {
    let root = folder.root();
    let parents = journal.paths.keys().flat_map(SafePath::parents);
    let folders = order::set(parents.chain(journal.made.iter().cloned()));
    let folders = folders.iter().map(|path| path.below(root));
    let mut paths = files;
    paths.extend(folders.filter(|path| path.is_dir()));
    paths.push(root.to_path_buf());
    disk::sync_paths(root, &paths)
}

/// Removes the byte code that Python made of sources below `root` which change: it trusts size and
/// time of the source, and both can be the same by chance. What is itself in `listed` stays.
pub(crate) fn drop_byte_code<'p>(
    root: &Path,
    aside: &Path,
    paths: impl Iterator<Item = &'p SafePath>,
    listed: &BTreeMap<SafePath, FileRecord>,
) -> Result<()> {
    let mut stems: BTreeMap<String, HashSet<&str>> = BTreeMap::new();
    for path in paths {
        let text = path.as_str();
        let (parent, name) = text
            .rsplit_once('/')
            .map_or(("", text), |(parent, name)| (parent, name));
        if let Some(stem) = name.strip_suffix(".py") {
            let cache = if parent.is_empty() {
                "__pycache__".into()
            } else {
                format!("{parent}/__pycache__")
            };
            stems.entry(cache).or_default().insert(stem);
        }
    }
    for (cache, stems) in stems {
        let Ok(cache) = SafePath::try_from(cache) else {
            continue;
        };
        let on_disk = cache.below(root);
        // A cache that is itself a link is not followed.
        if tree::look(&on_disk)? != Found::Folder {
            continue;
        }
        for entry in fs::read_dir(&on_disk)
            .map_err(Error::io("read", &on_disk))?
            .flatten()
        {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let stale = Path::new(name)
                .extension()
                .is_some_and(|suffix| suffix == "pyc")
                && name
                    .split('.')
                    .next()
                    .is_some_and(|stem| stems.contains(stem));
            let is_listed = SafePath::try_from(format!("{cache}/{name}"))
                .is_ok_and(|path| listed.contains_key(&path));
            if stale && !is_listed {
                in_use::remove(&entry.path(), aside)?;
            }
        }
        disk::remove_empty_folder(&on_disk);
    }
    Ok(())
}
