//! The copy per user of an installation that the user may not write.
//!
//! An administrator installs the app where users only read (Program Files, `/opt`): the base. A
//! user's updates go to a copy in a folder of the user's own. The copy begins as what the base is,
//! so that an update finds the files that do not change, fits where it is a partial one, and has
//! something to go back to. It is made by the same steps as an update (stage, back up, commit),
//! so that a copy which is not whole is never started, and what the user has in it stays.
//!
//! Which of both is started has one rule, [`prefers_copy`]. It can be asked again at any moment
//! and is answered from the two folders alone.
//!
//! Promises: the base is only read, but for its lock where that can be made; what changes while it
//! is copied is not taken for whole. A base that does not say its version is not copied: the first
//! update installs the offered version as a whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::archive::guard::check_tree;
use crate::archive::{EntryKind, SafePath};
use crate::config::Rules;
use crate::disk;
use crate::layout::journal::Journal;
use crate::layout::locks::RunLock;
use crate::layout::tree::{self, Found};
use crate::order;
use crate::plan::{self, Plan, Write};
use crate::progress::Observer;
use crate::release::{Package, Release};
use crate::stage::{self, Staged};
use crate::state::{ClientFolder, Content, FileRecord, Over};
use crate::version::Version;
use crate::{Code, Error, Result, record};

/// Whether the copy is to be started, and not the base.
///
/// It is when it is whole, and either newer than the base, or another version that was installed
/// over the base as it is now: then the source has led back to it. So an administrator who
/// upgrades the base to the copy's version or beyond takes the user along, and a base that is
/// merely newer than what the source wants does not hold the user up.
///
/// `entry` is the copy's entry point. A base that does not say its version is older than any copy.
pub fn prefers_copy(copy: &ClientFolder, base: &ClientFolder, entry: Option<&str>) -> bool {
    let Some(version) = version_of(copy) else {
        return false;
    };
    let Some(based_on) = version_of(base) else {
        return is_whole_of(copy, &version, entry);
    };
    let newer = version > based_on;
    let led_back = || version != based_on && copy.load_state().over == Some(Over::of(base));
    (newer || led_back()) && is_whole_of(copy, &version, entry)
}

/// Whether a copy is of a version and has what a start needs: nothing is interrupted, the list is
/// that of the version, and the entry point is there.
///
/// The other files are not looked at. It would cost every start a look at thousands of them, and an
/// app that changes or removes one of its own files would be installed afresh at each start. A
/// version on trial counts as whole, since its trial is what finds it out and remembers it.
pub(crate) fn is_whole_of(copy: &ClientFolder, version: &Version, entry: Option<&str>) -> bool {
    if version_of(copy).as_ref() != Some(version) || Journal::lies_in(copy) {
        return false;
    }
    let on_trial = || {
        let trial = copy.load_state().trial;
        trial.is_some_and(|trial| trial.version == *version)
    };
    let can_start = || entry.is_some_and(|entry| copy.root().join(entry).is_file());
    copy.listed_version().as_ref() == Some(version) && (can_start() || on_trial())
}

fn version_of(folder: &ClientFolder) -> Option<Version> {
    folder.local_version().map(|local| local.version)
}

/// Stages what makes the copy the base's version. Files of the copy that are the same already are
/// kept, and files that did not come with a release stay as they are.
///
/// Besides the base's version, ordinary files that somebody has added to the base are copied,
/// unless the copy has one of that name, this user may not read it, or `update.backup_excludes`
/// names it.
pub(crate) fn stage(
    copy: &ClientFolder,
    base: &ClientFolder,
    version: &Version,
    rules: &Rules,
    observer: &dyn Observer,
) -> Result<Staged> {
    // An administrator's own launcher may be at work there.
    let _lock = RunLock::take(base, Duration::ZERO)?;
    let changing = || Error::UpdateRunning {
        path: base.root().to_path_buf(),
    };
    let listed = base
        .load_installed()
        .filter(|listed| listed.version.as_ref() == Some(version));
    let named = base.load_state().entry_of(Some(version)).cloned();
    let entry_point = match (named, &listed) {
        (Some(entry), _) => entry.path,
        (None, listed) => listed
            .as_ref()
            .and_then(|listed| listed.entry_point.clone()),
    };
    let files = files_of(base, listed.as_ref().map(|listed| &listed.files), rules)?;
    let nodes = files
        .iter()
        .map(|(path, record)| (path, record.content.node()));
    if let Err(error) = check_tree(nodes) {
        // Not the new package's fault.
        record::error!("{}", error.chain());
        return Err(Error::TargetUnsafe {
            path: base.root().to_path_buf(),
            problem: "it holds a link that leads out of it, or names that cannot be copied",
        });
    }
    let package = Package::at(base.root().display().to_string());
    let release = Release {
        entry_point,
        ..Release::of(version.clone(), package)
    };
    let mut plan = Plan::empty(release, plan::installed(copy, rules)?, None);
    // Without a list nothing tells what came with the version, so all of it did.
    let came_with_it = |record: &FileRecord| listed.is_none() || record.owned;
    decide(&mut plan, copy, &files, &came_with_it, rules)?;
    plan.fold(copy)?;
    let parents = plan.writes.iter().flat_map(|write| write.path.parents());
    plan.folders = order::set(parents);
    disk::need_space(copy.root(), plan.bytes())?;
    let staged = stage::fill(
        copy,
        plan,
        &|staging, write| {
            let known = &files[&write.path];
            let made = bring(base, staging, write, known)?;
            made.ok_or_else(changing)
        },
        observer,
    )?;
    if version_of(base).as_ref() != Some(version) || Journal::lies_in(base) {
        return Err(changing());
    }
    Ok(staged)
}

/// The files of the base: those of its version, and what else lies there and can be read. Somebody's
/// folder that this user may not enter (`lost+found`) is none of the app's.
fn files_of(
    base: &ClientFolder,
    listed: Option<&BTreeMap<SafePath, FileRecord>>,
    rules: &Rules,
) -> Result<BTreeMap<SafePath, FileRecord>> {
    let mut paths = Vec::new();
    // The excludes are for what did not come with the version.
    let leave_out: &[_] = match listed {
        Some(_) => &[&rules.backup_excludes],
        None => &[],
    };
    let holds_none_listed = |path: &str| {
        let in_it = |file: &SafePath| file.parents().any(|parent| parent.as_str() == path);
        !listed.is_some_and(|listed| listed.keys().any(in_it))
    };
    let root = base.root();
    tree::walk(base, root, "", leave_out, &holds_none_listed, &mut paths)?;
    if let Some(listed) = listed {
        paths.extend(listed.keys().cloned());
        order::sort(&mut paths);
        paths.dedup();
    }
    let records = disk::in_parallel(disk::cores(), &paths, &|path: &SafePath| {
        let known = listed.and_then(|listed| listed.get(path));
        let added = listed.is_some() && known.is_none();
        match tree::record(&path.below(base.root()), known) {
            Err(error) if added && error.code() == Code::PermissionDenied => {
                record::info!("{path} is not copied: {}", error.chain());
                Ok(None)
            }
            // Somebody's link may lead anywhere.
            Ok(Some(record)) if added && matches!(record.content, Content::Link(_)) => Ok(None),
            record => record,
        }
    })?;
    let pairs = paths.into_iter().zip(records);
    Ok(order::map(
        pairs.filter_map(|(path, record)| Some((path, record?))),
    ))
}

/// Decides for every file of the base and of the copy what becomes of it.
fn decide(
    plan: &mut Plan,
    copy: &ClientFolder,
    files: &BTreeMap<SafePath, FileRecord>,
    came_with_it: &dyn Fn(&FileRecord) -> bool,
    rules: &Rules,
) -> Result<()> {
    for (path, record) in files {
        let found = tree::look(&path.below(copy.root()))?;
        let preserved = rules.preserve.matches(path.as_str(), false);
        let there =
            found != Found::Nothing || (preserved && tree::leads_elsewhere(copy.root(), path)?);
        if there && (preserved || !came_with_it(record)) {
            continue;
        }
        let known = plan.installed.files.get(path);
        if let Some(known) = known
            .filter(|known| known.looks_like(&found) && tree::same(&known.content, &record.content))
        {
            let kept = FileRecord {
                owned: record.owned,
                ..known.clone()
            };
            plan.kept.insert(path.clone(), kept);
            continue;
        }
        let (size, mode, kind) = match &record.content {
            Content::File { size, mode, .. } => (*size, *mode, EntryKind::File),
            Content::Link(target) => {
                let target = target.clone();
                (0, None, EntryKind::Link { target })
            }
        };
        plan.writes.push(Write {
            path: path.clone(),
            index: 0,
            size,
            kind,
            sha256: None,
            mode,
            executable: false,
            perhaps: None,
        });
    }
    for (path, record) in &plan.installed.files {
        let goes = record.owned
            && !files.contains_key(path)
            && !rules.preserve.matches(path.as_str(), false)
            && tree::look(&path.below(copy.root()))? != Found::Nothing;
        if goes {
            plan.removes.insert(path.clone());
        }
    }
    Ok(())
}

/// Copies one file into the staging folder. `None` when it is not what it was a moment ago.
fn bring(
    base: &ClientFolder,
    staging: &Path,
    write: &Write,
    known: &FileRecord,
) -> Result<Option<FileRecord>> {
    let from = write.path.below(base.root());
    let to = write.path.below(staging);
    match &write.kind {
        EntryKind::Link { target } => disk::symlink(target, &to)?,
        EntryKind::File => disk::copy_foreign(&from, &to, write.mode)?,
    }
    if !known.looks_like(&tree::look(&from)?) {
        return Ok(None);
    }
    let mut record = known.clone();
    if let Found::File { modified, mode, .. } = tree::look(&to)? {
        record.modified = modified;
        if let Content::File { mode: now, .. } = &mut record.content {
            *now = mode;
        }
    }
    Ok(Some(record))
}
