//! Repair: installed files that are missing or damaged become what was installed again.
//!
//! The list of the installed version says what every file was. A file of a kind that apps write in
//! place, or that the preserve list names, may be another by now: it is told and left, and only
//! brought back where it is missing. Any other that differs, or cannot be read, is damaged.
//!
//! What is needed is copied from an older version that has it, or unpacked from the package that is
//! installed. All of it is staged, compared with the list and synced; then one file after the other
//! is renamed into its place.
//!
//! Promises: no file is replaced but by the content that the list names, so that a repair which is
//! interrupted anywhere, or lacks some files, leaves the version nearer to what was installed, and can
//! be repeated. It needs no journal, no backup and no trial. Files get the times that the list says,
//! so that the list stays as it is.
//!
//! Does not promise to notice files that the list does not name.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::archive::guard::check_tree;
use crate::archive::{Archive, EntryKind, SafePath};
use crate::config::{LayoutKind, Rules};
use crate::disk::in_use::{self, Patience};
use crate::layout::backup::written_in_place;
use crate::layout::locks::ChangeLock;
use crate::layout::tree::{self, Found};
use crate::layout::{self, snapshot};
use crate::order;
use crate::plan::Write;
use crate::progress::{Event, Observer, Phase};
use crate::stage;
use crate::state::{ClientFolder, Content, FileRecord, Installed, Link};
use crate::steps::{Step, reach};
use crate::trust::Sha256;
use crate::{Code, Error, Result, disk, record};

/// How long, in all, files are waited for that are in use.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many files an error names.
const NAMED: usize = 10;

/// What a look at the installed files has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// How many files came with the installed version.
    pub listed: usize,
    /// Those that are not there.
    pub missing: Vec<SafePath>,
    /// Those that are not what was installed, and of no kind that an app writes; and programs
    /// that nobody may execute any more.
    pub damaged: Vec<SafePath>,
    /// Those that the app or the user has changed, as they may.
    pub changed: Vec<SafePath>,
}

impl Findings {
    /// How many files a repair brings back.
    pub fn faults(&self) -> usize {
        self.missing.len() + self.damaged.len()
    }
}

/// What a repair has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// What was found, and is mended but for what was merely changed.
    pub found: Findings,
    /// How many files of older versions were damaged alike, and are mended too.
    pub older: usize,
}

/// The list of what is installed.
///
/// A folder whose version file is gone, or is none, is still what its list says.
pub(crate) fn list(folder: &ClientFolder) -> Result<Installed> {
    let version = folder.local_version().map(|local| local.version);
    let unusable = |problem| Error::StateInvalid {
        path: folder.installed(),
        problem,
    };
    match (folder.load_installed(), &version) {
        (Some(list), _)
            if list.version.is_some() && (version.is_none() || version == list.version) =>
        {
            let nodes = list.files.iter();
            check_tree(nodes.map(|(path, record)| (path, record.content.node())))
                .map_err(|error| unusable(error.chain()))?;
            Ok(list)
        }
        (_, Some(_)) => Err(unusable("it is no list of the installed version".into())),
        (_, None) => Err(Error::NotInstalled {
            folder: folder.root().to_path_buf(),
            source: None,
        }),
    }
}

/// Compares the installed files with their list; `thoroughly`: reads also those whose size and time
/// are as recorded. Changes nothing.
pub(crate) fn look(
    folder: &ClientFolder,
    list: &Installed,
    rules: &Rules,
    thoroughly: bool,
) -> Result<Findings> {
    let root = folder.tree();
    let listed = list.files.iter().filter(|(_, record)| record.owned);
    let listed: Vec<_> = listed.collect();
    let states = disk::in_parallel(disk::cores(), &listed, &|(path, record)| {
        state_of(&root, path, record, rules, thoroughly)
    })?;
    let mut found = Findings {
        listed: listed.len(),
        ..Findings::default()
    };
    if folder.layout() == LayoutKind::Snapshot {
        found.missing = snapshot::lost_links(folder, rules)?.into_keys().collect();
    }
    for ((path, _), state) in listed.into_iter().zip(states) {
        let paths = match state {
            State::Whole => continue,
            State::Missing => &mut found.missing,
            State::Damaged => &mut found.damaged,
            State::Changed => &mut found.changed,
        };
        paths.push(path.clone());
    }
    Ok(found)
}

enum State {
    Whole,
    Missing,
    Damaged,
    Changed,
}

fn state_of(
    root: &Path,
    path: &SafePath,
    record: &FileRecord,
    rules: &Rules,
    thoroughly: bool,
) -> Result<State> {
    let preserved = rules.preserve.matches(path.as_str(), false);
    if preserved && tree::leads_elsewhere(root, path)? {
        // What lies there is not the version's.
        return Ok(State::Whole);
    }
    let known = (!thoroughly).then_some(record);
    let now = match tree::record(&path.below(root), known) {
        Ok(Some(now)) => Some(now.content),
        Ok(None) => return Ok(State::Missing),
        // As a bad block has it.
        Err(error) if error.code() == Code::Io => None,
        Err(error) => return Err(error),
    };
    if let Some(now) = now.filter(|now| tree::same(&record.content, now)) {
        let locked = executable(&record.content) && !executable(&now);
        return Ok(if locked { State::Damaged } else { State::Whole });
    }
    Ok(if may_change(path, &record.content, rules) {
        State::Changed
    } else {
        State::Damaged
    })
}

/// Whether a file may be another than was installed, and no fault.
fn may_change(path: &SafePath, content: &Content, rules: &Rules) -> bool {
    let written = match content {
        Content::File { mode, .. } => written_in_place(path, *mode, &rules.mutable),
        Content::Link(_) => false,
    };
    written || rules.preserve.matches(path.as_str(), false)
}

fn executable(content: &Content) -> bool {
    matches!(content, Content::File { mode: Some(mode), .. } if mode & 0o111 != 0)
}

/// Brings back what is missing or damaged.
///
/// `package` is asked once, and only for what no older version has: it gives the installed package,
/// verified, or `None` where the source offers another one. What cannot be had is
/// `REPAIR_INCOMPLETE`; the rest is mended all the same.
pub(crate) fn repair(
    folder: &ClientFolder,
    rules: &Rules,
    observer: &dyn Observer,
    package: &dyn Fn(Sha256) -> Result<Option<Archive>>,
    _change: &ChangeLock,
) -> Result<Repaired> {
    let list = list(folder)?;
    let root = folder.tree();
    disk::create_folders(&root)?;
    let current = folder.linked(Link::Current);
    let is_factory = current.is_some() && current == folder.linked(Link::Factory);
    if is_factory {
        disk::make_tree_writable(&root)?;
    }
    let job = Job {
        folder,
        root: &root,
        list: &list,
        rules,
        observer,
    };
    let repaired = job.mend(package);
    if is_factory {
        // It may also have been left writable by a repair that was interrupted.
        snapshot::own_and_protect(&root, &folder.restoring())?;
    }
    let repaired = repaired?;
    if folder.layout() == LayoutKind::InPlace
        && folder.local_version().is_none()
        && let Some(version) = &list.version
    {
        folder.set_local_version(version)?;
    }
    Ok(repaired)
}

struct Job<'a> {
    folder: &'a ClientFolder,
    /// The folder of the app's files.
    root: &'a Path,
    list: &'a Installed,
    rules: &'a Rules,
    observer: &'a dyn Observer,
}

/// What older versions have of what is needed.
#[derive(Default)]
struct Older<'a> {
    /// A whole file of each content.
    whole: HashMap<Sha256, PathBuf>,
    /// Their files that ought to have such a content and have not.
    damaged: Vec<(PathBuf, &'a FileRecord)>,
}

impl Job<'_> {
    fn mend(&self, package: &dyn Fn(Sha256) -> Result<Option<Archive>>) -> Result<Repaired> {
        self.observer.event(&Event::Phase(Phase::Plan));
        // First: what is below them does not belong into the version.
        let lost = self.bring_links_back()?;
        let mut found = look(self.folder, self.list, self.rules, true)?;
        let mut needed = Vec::new();
        for path in found.missing.iter().chain(&found.damaged) {
            if let Some(record) = self.list.files.get(path)
                && !self.unlocked(path, record)?
            {
                needed.push((path, record));
            }
        }
        let paths = || needed.iter().map(|(path, _)| *path);
        layout::probe(self.root, paths(), &BTreeSet::new())?;
        layout::need_free(self.folder, paths())?;

        let lists = layout::older_files(self.folder);
        let older = self.search(&lists, &needed)?;
        let is_there = |(_, record): &&(&SafePath, &FileRecord)| match &record.content {
            Content::Link(_) => true,
            Content::File { sha256, .. } => older.whole.contains_key(sha256),
        };
        let archive = match self.list.digest {
            Some(digest) if !needed.iter().all(|one| is_there(&one)) => package(digest),
            _ => Ok(None),
        };
        let (archive, cause) = match archive {
            Ok(archive) => (archive, None),
            Err(error) => (None, Some(Box::new(error))),
        };
        let (writes, mut lacking) = writes(&needed, archive.as_ref(), &older);
        let (mended, others) = self.place(writes, archive.as_ref(), &older)?;
        lacking.extend(others);
        if !lacking.is_empty() {
            let named = lacking.iter().take(NAMED).map(SafePath::as_str);
            let mut files = named.collect::<Vec<_>>().join(", ");
            if lacking.len() > NAMED {
                files.push_str(", ...");
            }
            return Err(Error::RepairIncomplete {
                count: lacking.len(),
                files,
                source: cause,
            });
        }
        found.missing.extend(lost);
        Ok(Repaired {
            found,
            older: mended,
        })
    }

    /// Makes the links to what all versions share that are not there, and says which.
    fn bring_links_back(&self) -> Result<Vec<SafePath>> {
        if self.folder.layout() != LayoutKind::Snapshot {
            return Ok(Vec::new());
        }
        let mut made = Vec::new();
        for (path, is_folder) in snapshot::lost_links(self.folder, self.rules)? {
            if !tree::leads_elsewhere(self.root, &path)? {
                snapshot::share(self.folder, self.root, &path, is_folder)?;
                let link = path.below(self.root);
                disk::sync_folder(link.parent().unwrap_or(self.root))?;
                made.push(path);
            }
        }
        Ok(made)
    }

    /// Gives a program back the right to be executed. Returns whether that was all it lacked.
    fn unlocked(&self, path: &SafePath, record: &FileRecord) -> Result<bool> {
        let on_disk = path.below(self.root);
        let whole = tree::content_of(&on_disk)
            .is_ok_and(|now| now.is_some_and(|now| tree::same(&now, &record.content)));
        if let (true, Content::File { mode, .. }) = (whole, &record.content) {
            disk::set_mode(&on_disk, *mode)?;
        }
        Ok(whole)
    }

    /// Looks for the needed contents in older versions.
    fn search<'l>(
        &self,
        lists: &'l [(PathBuf, Installed)],
        needed: &[(&SafePath, &FileRecord)],
    ) -> Result<Older<'l>> {
        let content = |record: &FileRecord| match &record.content {
            Content::File { size, sha256, .. } => Some((*sha256, *size)),
            Content::Link(_) => None,
        };
        let needed: HashSet<_> = needed.iter().filter_map(|(_, it)| content(it)).collect();
        // The factory version is for its own repair alone.
        let factory = self.folder.linked(Link::Factory);
        let factory = factory.map(|name| self.folder.versions().join(name));
        let mut older = Older::default();
        for (root, list) in lists {
            for (path, record) in &list.files {
                let Some(content) = content(record).filter(|content| needed.contains(content))
                else {
                    continue;
                };
                let on_disk = path.below(root);
                if !matches!(tree::look(&on_disk)?, Found::File { .. }) {
                    continue;
                }
                if tree::digest_of(&on_disk).is_ok_and(|now| now == content) {
                    older.whole.entry(content.0).or_insert(on_disk);
                } else if Some(root) != factory.as_ref()
                    && !may_change(path, &record.content, self.rules)
                    && !tree::leads_elsewhere(root, path)?
                {
                    older.damaged.push((on_disk, record));
                }
            }
        }
        Ok(older)
    }

    /// Stages files, makes them durable, and puts them into their places. Returns how many files of
    /// older versions were mended along, and which files could not be made as the list has them.
    fn place(
        &self,
        mut writes: Vec<Write>,
        archive: Option<&Archive>,
        older: &Older<'_>,
    ) -> Result<(usize, Vec<SafePath>)> {
        if writes.is_empty() {
            return Ok((0, Vec::new()));
        }
        let bytes = writes.iter().map(|write| write.size).sum();
        disk::need_space(self.folder.root(), bytes)?;
        self.observer.event(&Event::Phase(Phase::Stage));
        let staging = self.folder.staging().join("repair");
        let folders = writes.iter().flat_map(|write| write.path.parents());
        let folders = order::set(folders);
        let make = |staging: &Path, write: &Write| self.make(staging, write, archive, older);
        let outcomes = stage::make_all(
            self.folder,
            &staging,
            &folders,
            &mut writes,
            &make,
            self.observer,
        )?;
        let (good, others): (Vec<_>, Vec<_>) =
            writes.into_iter().zip(outcomes).partition(|it| it.1);
        let writes: Vec<Write> = good.into_iter().map(|(write, _)| write).collect();
        let others = others.into_iter().map(|(write, _)| write.path).collect();
        disk::sync_tree(&[&staging], None)?;
        reach(Step::StageFilled)?;

        self.observer.event(&Event::Phase(Phase::Commit));
        // Before the version's own: as long as those are damaged, a repeated repair comes here too.
        let mended = self.mend_older(&staging, &writes, older);
        let patience = Patience::new(PATIENCE);
        let aside = self.folder.aside();
        let paths = || writes.iter().map(|write| &write.path);
        patience.retry(|| layout::drop_byte_code(self.root, &aside, paths(), &self.list.files))?;
        for path in &folders {
            disk::create_folders(&path.below(self.root))?;
        }
        for path in paths() {
            let (from, to) = (path.below(&staging), path.below(self.root));
            if tree::look(&to)? == Found::Folder {
                // Nothing is in it: that was looked at.
                disk::remove_empty_folder(&to);
            }
            patience.retry(|| in_use::replace(&from, &to, &aside))?;
            reach(Step::RepairFile)?;
        }
        let mut changed: Vec<_> = folders.iter().map(|path| path.below(self.root)).collect();
        changed.push(self.root.to_path_buf());
        if self.folder.layout() == LayoutKind::Snapshot {
            changed.push(self.folder.versions());
        }
        disk::sync_paths(self.folder.root(), &changed)?;
        Ok((mended, others))
    }

    /// Stages one file as the list has it. Returns whether it came out so: the list may name what the
    /// user had made of a file, and the package has it as it was shipped.
    fn make(
        &self,
        staging: &Path,
        write: &Write,
        archive: Option<&Archive>,
        older: &Older<'_>,
    ) -> Result<bool> {
        let to = write.path.below(staging);
        let absent = || Error::Internal {
            what: format!("{} has no origin", write.path),
        };
        let record = self.list.files.get(&write.path).ok_or_else(absent)?;
        let made = match &record.content {
            Content::Link(target) => disk::symlink(target, &to),
            Content::File { sha256, .. } => match (older.whole.get(sha256), archive) {
                (Some(from), _) => copy(from, &to, record),
                (None, Some(archive)) => stage::unpack(self.root, staging, write, archive)
                    .and_then(|_| dress(&to, record)),
                (None, None) => Err(absent()),
            },
        };
        match made {
            Err(Error::HashMismatch { .. }) => Ok(false),
            made => made.map(|()| true),
        }
    }

    /// Puts what is staged also into the place of files of older versions that are damaged alike, as
    /// far as it can be. Returns how many.
    fn mend_older(&self, staging: &Path, writes: &[Write], older: &Older<'_>) -> usize {
        let digests = writes.iter().map(|write| (write.sha256, &write.path));
        let staged = order::map(digests.filter_map(|(sha256, path)| Some((sha256?, path))));
        let (temporary, aside) = (self.folder.restoring(), self.folder.aside());
        let put = |from: &Path, to: &Path, record| {
            in_use::remove(&temporary, &aside)?;
            copy(from, &temporary, record)?;
            disk::sync_file(&temporary)?;
            in_use::replace(&temporary, to, &aside)?;
            disk::sync_folder(to.parent().unwrap_or(to))
        };
        let mut mended = 0;
        for (to, record) in &older.damaged {
            let Content::File { sha256, .. } = &record.content else {
                continue;
            };
            let Some(path) = staged.get(sha256) else {
                continue;
            };
            match put(&path.below(staging), to, record) {
                Ok(()) => mended += 1,
                Err(error) => record::warn!("{} stays damaged: {}", to.display(), error.chain()),
            }
        }
        mended
    }
}

/// Copies a file that has been found whole, and makes sure that this is what was copied.
fn copy(from: &Path, to: &Path, record: &FileRecord) -> Result<()> {
    disk::copy_foreign(from, to, Some(0o600))?;
    let (got, _) = tree::digest_of(to)?;
    match &record.content {
        Content::File { sha256, .. } if got == *sha256 => dress(to, record),
        Content::File { sha256, .. } => Err(Error::HashMismatch {
            subject: from.display().to_string(),
            expected: sha256.to_string(),
            got: got.to_string(),
        }),
        Content::Link(_) => Ok(()),
    }
}

/// Gives a file the time and the mode that its list says.
fn dress(path: &Path, record: &FileRecord) -> Result<()> {
    disk::set_modified(path, tree::time_of(record.modified))?;
    match record.content {
        Content::File { mode, .. } => disk::set_mode(path, mode),
        Content::Link(_) => Ok(()),
    }
}

/// What is to be staged of what is needed; and what neither an older version nor the package has.
fn writes(
    needed: &[(&SafePath, &FileRecord)],
    archive: Option<&Archive>,
    older: &Older<'_>,
) -> (Vec<Write>, Vec<SafePath>) {
    let entries = archive.map_or(&[][..], Archive::entries);
    let packed: HashMap<_, _> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| ((&entry.path, entry.size), index))
        .collect();
    let (mut writes, mut lacking) = (Vec::new(), Vec::new());
    for &(path, record) in needed {
        let (size, sha256, kind) = match &record.content {
            Content::File { size, sha256, .. } => (*size, Some(*sha256), EntryKind::File),
            Content::Link(target) => {
                let target = target.clone();
                (0, None, EntryKind::Link { target })
            }
        };
        let index = packed.get(&(path, size)).copied();
        let kept = sha256.is_none_or(|sha256| older.whole.contains_key(&sha256));
        if index.is_none() && !kept {
            lacking.push(path.clone());
            continue;
        }
        writes.push(Write {
            path: path.clone(),
            index: index.unwrap_or_default(),
            size,
            kind,
            sha256,
            mode: None,
            executable: false,
            perhaps: None,
        });
    }
    (writes, lacking)
}
