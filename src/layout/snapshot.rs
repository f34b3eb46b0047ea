//! The layout for servers and devices: a folder for each version, and links to them (Unix).
//!
//! ```text
//! versions/v1.0.0/  v1.1.0/  current -> v1.1.0  previous -> v1.0.0  factory -> v1.0.0
//! shared/           what the app writes; the preserve list names it, every version links to it
//! .castoff/         what Castoff keeps; versions/v1.1.0.json is the list of a version's files
//! ```
//!
//! A new version is made whole in staging: its own files unpacked, the unchanged ones taken from the
//! current version, and what else lies there carried over. It gets its name by a rename, and
//! becomes the current one by another, of a link. `previous` is always what was current before the
//! last switch. Whoever follows `current` sees one version or the other.
//!
//! Promises: the folder of an older version is not written once it is made, so that going back is a
//! switch of links; no version shares a file with the factory version; trees that other tools have
//! made in this form are taken over as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use crate::archive::SafePath;
use crate::config::{Patterns, Rules};
use crate::disk;
use crate::layout::backup::{free_path, written_in_place};
use crate::layout::journal::{Journal, Links, Switch};
use crate::layout::tree::{self, Found};
use crate::layout::{Kept, processes, remove_emptied, retire};
use crate::order;
use crate::stage::Staged;
use crate::state::{self, ClientFolder, EntryPoint, Installed, Link, WayBack};
use crate::steps::{Step, reach};
use crate::version::Version;
use crate::{Error, Result, record};

/// What the app writes, for all versions.
const SHARED: &str = "shared";

/// A new version that is whole and durable in staging.
#[must_use = "nothing is installed until it is committed"]
pub struct Built {
    pub(crate) staged: Staged,
    /// What its folder will be called.
    name: String,
    list: Installed,
}

/// Completes what is staged to a whole version, and makes it durable.
///
/// `meanwhile` is done before the sync.
pub fn build(
    folder: &ClientFolder,
    mut staged: Staged,
    rules: &Rules,
    meanwhile: &dyn Fn(),
) -> Result<Built> {
    let current = folder.linked(Link::Current);
    // The rename that gives the version its place gives it this mode too.
    disk::set_mode(&staged.folder, Some(0o755))?;
    for path in &staged.plan.folders {
        disk::create_folders(&path.below(&staged.folder))?;
    }
    let shared = shared_paths(&rules.preserved);
    for path in shared.keys() {
        staged.records.remove(path);
        staged.plan.kept.remove(path);
    }
    if let Some(name) = &current {
        let carrier = Carrier {
            from: folder.versions().join(name),
            // Nobody else may come to share its files.
            may_link: folder.linked(Link::Factory).as_ref() != Some(name),
            staged: &staged,
            shared: &shared,
            mutable: &rules.mutable,
        };
        carrier.carry(Path::new(""))?;
        remove_emptied(&staged.folder, &staged.plan);
    }
    reach(Step::BuildCarried)?;
    for (path, is_folder) in &shared {
        share(folder, &staged.folder, path, *is_folder)?;
    }
    reach(Step::BuildFilled)?;
    meanwhile();
    disk::sync_tree(&[&staged.folder], None)?;
    // The folders of the versions and of the journal may be new.
    disk::create_folders(&folder.versions())?;
    disk::sync_folder(folder.root())?;
    reach(Step::BackUpSynced)?;
    let list = staged.installed();
    Ok(Built {
        name: free_name(folder, &staged.plan.release.version),
        staged,
        list,
    })
}

/// The plain paths of the preserve list: what every version has a link to. Patterns name what is
/// carried from version to version instead.
///
/// Each comes with whether it is written as a folder, which is made when there is none.
fn shared_paths(preserve: &[String]) -> BTreeMap<SafePath, bool> {
    let paths = preserve
        .iter()
        .filter(|pattern| !pattern.contains(['*', '?', '[', '!', '\\']))
        .filter_map(|pattern| {
            let path = SafePath::try_from(pattern.trim_matches('/')).ok()?;
            Some((path, pattern.ends_with('/')))
        });
    let all = order::map(paths);
    // What lies below a shared folder is shared with it.
    let lies_below = |path: &SafePath| path.parents().any(|parent| all.contains_key(&parent));
    let own = all.iter().filter(|(path, _)| !lies_below(path));
    order::map(own.map(|(path, is_folder)| (path.clone(), *is_folder)))
}

/// Takes over what the current version has and the new one does not bring.
struct Carrier<'a> {
    from: PathBuf,
    may_link: bool,
    staged: &'a Staged,
    shared: &'a BTreeMap<SafePath, bool>,
    mutable: &'a Patterns,
}

impl Carrier<'_> {
    fn carry(&self, below: &Path) -> Result<()> {
        let folder = self.from.join(below);
        for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
            let entry = entry.map_err(Error::io("read", &folder))?;
            let relative = below.join(entry.file_name());
            let from = entry.path();
            let to = self.staged.folder.join(&relative);
            // Other names than those of packages are the user's, and carried like the rest.
            let path = relative
                .to_str()
                .and_then(|text| SafePath::try_from(text).ok());
            if path.as_ref().is_some_and(|path| !self.comes_along(path)) {
                continue;
            }
            let blocked = || Error::TargetUnsafe {
                path: from.clone(),
                problem: "the new version has something else of this name",
            };
            match (tree::look(&from)?, tree::look(&to)?) {
                // What is mounted there is no version's.
                (Found::Folder, _) if !tree::same_device(&self.from, &from)? => {}
                (Found::Folder, found @ (Found::Nothing | Found::Folder)) => {
                    disk::create_folders(&to)?;
                    if found == Found::Nothing {
                        disk::like_folder(&from, &to)?;
                    }
                    self.carry(&relative)?;
                    if entry.file_name() == "__pycache__" {
                        disk::remove_empty_folder(&to);
                    }
                }
                (Found::File { mode, .. }, Found::Nothing) => {
                    self.take(path.as_ref(), &from, &to, mode)?;
                    reach(Step::BuildFile)?;
                }
                (Found::Link(target), Found::Nothing) => disk::symlink(&target, &to)?,
                // The new version brings it; sockets and pipes are made by who runs.
                (Found::File { .. } | Found::Link(_), Found::File { .. } | Found::Link(_))
                | (Found::Other | Found::Nothing, _) => {}
                (Found::Folder | Found::File { .. } | Found::Link(_), _) => return Err(blocked()),
            }
        }
        Ok(())
    }

    /// Whether a path of the current version is to be one of the new version.
    fn comes_along(&self, path: &SafePath) -> bool {
        let plan = &self.staged.plan;
        // Byte code is made again, and trusts size and time of its source.
        let byte_code = path
            .parent()
            .is_some_and(|parent| parent.file_name() == "__pycache__")
            && !plan.kept.contains_key(path);
        !plan.removes.contains(path) && !self.shared.contains_key(path) && !byte_code
    }

    fn take(
        &self,
        path: Option<&SafePath>,
        from: &Path,
        to: &Path,
        mode: Option<u32>,
    ) -> Result<()> {
        // What did not come with the version may be edited, whatever its kind.
        let written = path.is_none_or(|path| {
            !self.staged.plan.kept.contains_key(path) || written_in_place(path, mode, self.mutable)
        });
        if self.may_link && !written {
            return disk::link_or_copy(from, to);
        }
        if !disk::clone_file(from, to)? {
            disk::copy(from, to)?;
        }
        if let Err(error) = disk::give_owner_of(from, to) {
            record::debug!("{}", error.chain());
        }
        // The factory version is read-only; a version that is made from it is not.
        disk::set_mode(to, mode.map(|mode| mode | 0o200))
    }
}

/// The links into `shared/` that the current version has lost, and whether each is written as a
/// folder. What somebody has put in the place of one is none of them.
pub(crate) fn lost_links(folder: &ClientFolder, rules: &Rules) -> Result<BTreeMap<SafePath, bool>> {
    let mut lost = shared_paths(&rules.preserved);
    for path in lost.keys().cloned().collect::<Vec<_>>() {
        if tree::look(&path.below(&folder.tree()))? != Found::Nothing {
            lost.remove(&path);
        }
    }
    Ok(lost)
}

/// Makes a path of the version in the folder `version` a link into `shared/`, and sees to it that
/// what it leads to is there: the current version's own, as long as that has no such link; else what
/// `shared/` has; else what the new version brings.
pub(crate) fn share(
    folder: &ClientFolder,
    version: &Path,
    path: &SafePath,
    is_folder: bool,
) -> Result<()> {
    let kept = path.below(&folder.root().join(SHARED));
    let link = path.below(version);
    if let Some(parent) = kept.parent() {
        disk::create_folders(parent)?;
    }
    let mine = path.below(&folder.tree());
    // The app works on its own as long as the current version has no link: what is shared already
    // is of an update that did not come about.
    let own = matches!(tree::look(&mine)?, Found::File { .. } | Found::Folder)
        && !tree::leads_elsewhere(&folder.tree(), path)?;
    if own && tree::look(&kept)? != Found::Nothing {
        disk::rename(&kept, &free_path(&kept))?;
    }
    if tree::look(&kept)? == Found::Nothing {
        let first = match (tree::look(&mine)?, tree::look(&link)?) {
            (Found::File { .. } | Found::Folder, _) => Some(&mine),
            (_, Found::File { .. } | Found::Folder) => Some(&link),
            _ => None,
        };
        if let Some(first) = first {
            let growing = folder.staging().join(SHARED);
            disk::remove_tree(&growing)?;
            disk::copy_tree(first, &growing)?;
            disk::sync_tree(&[&growing], None)?;
            disk::rename(&growing, &kept)?;
        } else if is_folder {
            disk::create_folders(&kept)?;
        }
        // All of its folders may be new.
        for parent in kept.ancestors().skip(1).take(path.components().count()) {
            disk::sync_folder(parent)?;
        }
    }
    if tree::look(&link)? == Found::Folder {
        disk::remove_tree(&link)?;
    }
    disk::remove_file(&link)?;
    if let Some(parent) = link.parent() {
        disk::create_folders(parent)?;
    }
    let up = "../".repeat(path.components().count() - 1);
    disk::symlink(&format!("{up}../../{SHARED}/{path}"), &link)
}

/// The version's name, or that with a number: a folder that is there is never changed.
fn free_name(folder: &ClientFolder, version: &Version) -> String {
    let plain = format!("v{}", version.file_name());
    let mut name = plain.clone();
    let mut number = 2;
    while fs::symlink_metadata(folder.versions().join(&name)).is_ok() {
        name = format!("{plain}_{number}");
        number += 1;
    }
    name
}

fn links(folder: &ClientFolder) -> Links {
    Links {
        current: folder.linked(Link::Current),
        previous: folder.linked(Link::Previous),
    }
}

/// The journal of a commit that is ready to begin. Nothing is changed.
pub(super) fn journal_of_commit(folder: &ClientFolder, built: &Built) -> Result<Journal> {
    probe(folder)?;
    let plan = &built.staged.plan;
    let mut journal = Journal::new(
        plan.installed.version.clone(),
        Some(plan.release.version.clone()),
        None,
    );
    let before = links(folder);
    let after = Links {
        current: Some(built.name.clone()),
        previous: before.current.clone(),
    };
    journal.switch = Some(Switch {
        before,
        after,
        made: Some(built.name.clone()),
    });
    Ok(journal)
}

/// Checks that the links are links, or not there, and may be changed.
pub(crate) fn probe(folder: &ClientFolder) -> Result<()> {
    let versions = folder.versions();
    disk::create_folders(&versions)?;
    if !disk::may_change(&versions) {
        let denied = std::io::ErrorKind::PermissionDenied.into();
        return Err(Error::io("change", &versions)(denied));
    }
    for link in [Link::Current, Link::Previous, Link::Factory] {
        let path = folder.link(link);
        let good = match tree::look(&path)? {
            Found::Nothing => true,
            Found::Link(_) => folder.linked(link).is_some(),
            _ => false,
        };
        if !good {
            return Err(Error::TargetUnsafe {
                path,
                problem: "it is no link to a version beside it",
            });
        }
    }
    Ok(())
}

/// Gives the new version its place and makes it the current one.
pub(super) fn switch(folder: &ClientFolder, built: &Built, journal: &Journal) -> Result<()> {
    let Some(switch) = &journal.switch else {
        return Err(Error::Internal {
            what: "a journal without a switch".into(),
        });
    };
    let list = folder.list_of(&built.name);
    disk::create_folders(&folder.own().join("versions"))?;
    disk::write_atomic(&list, &state::compact(&built.list)?)?;
    reach(Step::CommitListed)?;
    disk::rename(&built.staged.folder, &folder.versions().join(&built.name))?;
    disk::sync_folder(&folder.versions())?;
    reach(Step::CommitPlaced)?;
    set_links(folder, &switch.after)
}

/// Makes `previous` and `current` lead where they are to, durably.
fn set_links(folder: &ClientFolder, wanted: &Links) -> Result<()> {
    let previous = wanted.previous.as_deref();
    set_link(
        folder,
        Link::Previous,
        previous.filter(|name| exists(folder, name)),
    )?;
    reach(Step::SwitchPrevious)?;
    set_link(folder, Link::Current, wanted.current.as_deref())?;
    disk::sync_folder(&folder.versions())?;
    reach(Step::SwitchCurrent)
}

/// Makes a link lead to a version, by another link and a rename. The rename is not durable yet.
pub(super) fn set_link(folder: &ClientFolder, link: Link, name: Option<&str>) -> Result<()> {
    let path = folder.link(link);
    let temporary = folder.versions().join(format!(".{}.new", link.as_str()));
    // One that a crash has left, also where nothing else is to be done.
    disk::remove_file(&temporary)?;
    let Some(name) = name else {
        return disk::remove_file(&path);
    };
    if folder.linked(link).as_deref() == Some(name) {
        return Ok(());
    }
    disk::symlink(name, &temporary)?;
    disk::rename(&temporary, &path)
}

/// The journal whose undo goes back to a version. Everything that can be checked is checked.
pub(super) fn journal_of_return(folder: &ClientFolder, back: &WayBack) -> Result<Journal> {
    probe(folder)?;
    need(folder, &back.name)?;
    let now = links(folder);
    let version = |name: &Option<String>| folder.version_in(name.as_ref()?);
    let before = Links {
        current: Some(back.name.clone()),
        previous: back.previous.clone(),
    };
    let mut journal = Journal::new(version(&before.current), version(&now.current), None);
    journal.switch = Some(Switch {
        before,
        after: now,
        made: None,
    });
    Ok(journal)
}

/// Fails unless there is a version's folder of that name.
fn need(folder: &ClientFolder, name: &str) -> Result<()> {
    if exists(folder, name) {
        return Ok(());
    }
    Err(Error::BackupNotFound {
        version: name.to_owned(),
        folder: folder.versions(),
    })
}

/// Whether there is a version's folder of that name.
pub(super) fn exists(folder: &ClientFolder, name: &str) -> bool {
    let plain = SafePath::try_from(name).is_ok_and(|path| path.parent().is_none());
    let path = folder.versions().join(name);
    plain && fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Makes the links what they were, and removes the version that came with the switch. Can be
/// repeated after a kill at any point. Returns what to start then.
pub(super) fn put_back(folder: &ClientFolder, switch: &Switch) -> Result<Option<EntryPoint>> {
    let before = &switch.before;
    if let Some(name) = &before.current {
        need(folder, name)?;
    }
    set_links(folder, before)?;
    reach(Step::UndoPaths)?;
    if let Some(made) = &switch.made
        && let Err(error) = discard(folder, made)
    {
        // No link leads there, and its name is not taken again.
        record::warn!("left for later: {}", error.chain());
    }
    let Some(name) = &before.current else {
        return Ok(None);
    };
    let list: Option<Installed> = state::read_json(&folder.list_of(name)).unwrap_or_default();
    Ok(Some(EntryPoint {
        version: folder.version_in(name),
        path: list.and_then(|list| list.entry_point),
    }))
}

/// The versions but for the current one, the newest first. Whatever lies in `versions/` and is a
/// folder is one.
///
/// Their sizes are those of all files below them, which takes time: 0 unless they are `measured`.
pub(super) fn list(folder: &ClientFolder, measured: bool) -> Vec<Kept> {
    let current = folder.linked(Link::Current);
    let marks = [Link::Previous, Link::Factory].map(|link| (link, folder.linked(link)));
    let mut kept: Vec<Kept> = names(folder)
        .into_iter()
        .filter(|name| Some(name) != current.as_ref())
        .map(|name| {
            let marks = marks.iter().filter(|(_, to)| to.as_ref() == Some(&name));
            let marks: Vec<_> = marks.map(|(link, _)| link.as_str()).collect();
            Kept {
                version: folder.version_in(&name),
                created: installed_at(folder, &name),
                size: if measured {
                    disk::size_below(&folder.versions().join(&name))
                } else {
                    0
                },
                reason: marks.join(", "),
                name,
            }
        })
        .collect();
    order::sort_by(&mut kept, |a, b| {
        (b.created, &b.name).cmp(&(a.created, &a.name))
    });
    kept
}

/// The folders of all versions but the current one, and their lists. One without a usable list is
/// passed over.
pub(super) fn older_files(folder: &ClientFolder) -> Vec<(PathBuf, Installed)> {
    let current = folder.linked(Link::Current);
    let older = names(folder)
        .into_iter()
        .filter(|name| Some(name) != current.as_ref());
    older
        .filter_map(|name| {
            let list = state::read_json(&folder.list_of(&name)).ok()??;
            Some((folder.versions().join(name), list))
        })
        .collect()
}

fn names(folder: &ClientFolder) -> Vec<String> {
    let entries = fs::read_dir(folder.versions()).into_iter().flatten();
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            // Somebody else's folder is no version.
            (is_folder && folder.version_in(&name).is_some()).then_some(name)
        })
        .collect()
}

/// When a version was installed: its list is written then and not again. Of a version without one,
/// its folder's time.
fn installed_at(folder: &ClientFolder, name: &str) -> DateTime<Utc> {
    let time = |path: &Path| fs::metadata(path)?.modified();
    time(&folder.list_of(name))
        .or_else(|_| time(&folder.versions().join(name)))
        .unwrap_or(SystemTime::UNIX_EPOCH)
        .into()
}

/// Why a version must stay, if it must: `current`, `previous`, `factory`, `running`.
pub(super) fn pinned(folder: &ClientFolder, name: &str) -> Option<&'static str> {
    let links = [Link::Current, Link::Factory, Link::Previous];
    let linked = links
        .into_iter()
        .find(|link| folder.linked(*link).as_deref() == Some(name));
    linked
        .map(Link::as_str)
        .or_else(|| processes::run_in(&folder.versions().join(name)).then_some("running"))
}

/// Removes a version and its list.
pub(super) fn discard(folder: &ClientFolder, name: &str) -> Result<()> {
    if exists(folder, name) {
        let path = folder.versions().join(name);
        // One that was the factory version is read-only.
        disk::make_tree_writable(&path)?;
        retire(folder, &path, name)?;
    }
    disk::remove_file(&folder.list_of(name))
}

/// Makes a version the factory version: its files become its own, shared with no other version,
/// and read-only. With `replace`, another one may be that already.
///
/// The content of every version is the same at every instant, so that this needs no journal: it can
/// be interrupted anywhere and done again. In the end, whatever else was made read-only, the
/// former factory version or what an interrupted call has left, is writable again.
pub fn set_factory(folder: &ClientFolder, name: &str, replace: bool) -> Result<()> {
    need(folder, name)?;
    let before = folder.linked(Link::Factory);
    if let Some(before) = &before
        && before != name
        && !replace
    {
        return Err(Error::FactorySet {
            version: before.clone(),
        });
    }
    let root = folder.versions().join(name);
    check_whole(folder, name)?;
    own_and_protect(&root, &folder.restoring())?;
    disk::sync_tree(&[&root], None)?;
    reach(Step::FactoryMade)?;
    set_link(folder, Link::Factory, Some(name))?;
    disk::sync_folder(&folder.versions())?;
    reach(Step::FactorySet)?;
    for other in names(folder).iter().filter(|other| *other != name) {
        disk::make_tree_writable(&folder.versions().join(other))?;
    }
    Ok(())
}

/// Fails unless every file that the version's list names is as it says. What is in `shared/` is no
/// part of it, and a version without a list is taken as it is.
fn check_whole(folder: &ClientFolder, name: &str) -> Result<()> {
    let list: Option<Installed> = state::read_json(&folder.list_of(name))?;
    let root = folder.versions().join(name);
    let files: Vec<_> = list.iter().flat_map(|list| &list.files).collect();
    disk::in_parallel(disk::cores(), &files, &|(path, record)| {
        if tree::leads_elsewhere(&root, path)? {
            return Ok(());
        }
        let now = tree::content_of(&path.below(&root))?;
        if now.is_some_and(|now| tree::same(&now, &record.content)) {
            return Ok(());
        }
        Err(Error::BackupDamaged {
            path: root.clone(),
            problem: format!("{path} is not what was installed"),
        })
    })?;
    Ok(())
}

/// Gives every file below a folder an inode of its own, and takes the right to write from all.
pub(crate) fn own_and_protect(folder: &Path, temporary: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        let path = entry.path();
        match tree::look(&path)? {
            Found::Folder => own_and_protect(&path, temporary)?,
            Found::File { mode, .. } => {
                let executable = mode.is_some_and(|mode| mode & 0o111 != 0);
                if disk::is_shared(&path)? {
                    disk::set_mode(folder, Some(0o755))?;
                    disk::remove_file(temporary)?;
                    disk::copy(&path, temporary)?;
                    disk::sync_file(temporary)?;
                    disk::rename(temporary, &path)?;
                }
                disk::set_mode(&path, Some(if executable { 0o555 } else { 0o444 }))?;
                reach(Step::FactoryFile)?;
            }
            Found::Link(_) | Found::Nothing | Found::Other => {}
        }
    }
    disk::set_mode(folder, Some(0o555))
}

/// The first file or folder of a version that can be written, or that has another name somewhere:
/// a factory version has none.
pub(super) fn first_unprotected(folder: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let found = match tree::look(&path)? {
            Found::Folder => first_unprotected(&path)?,
            Found::File { mode, .. } => {
                let writable = mode.is_some_and(|mode| mode & 0o222 != 0);
                (writable || disk::is_shared(&path)?).then_some(path)
            }
            Found::Link(_) | Found::Nothing | Found::Other => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    let metadata = fs::metadata(folder).map_err(Error::io("look at", folder))?;
    let writable = disk::mode_of(&metadata).is_some_and(|mode| mode & 0o222 != 0);
    Ok(writable.then(|| folder.to_path_buf()))
}

/// Makes another version the current one, asks what is to be known then, and goes back: the journal
/// says so, should this be interrupted.
pub(crate) fn try_switch<T>(
    folder: &ClientFolder,
    name: &str,
    ask: impl FnOnce() -> Result<T>,
) -> Result<T> {
    need(folder, name)?;
    probe(folder)?;
    let before = links(folder);
    let after = Links {
        current: Some(name.to_owned()),
        previous: before.current.clone(),
    };
    let version = |links: &Links| folder.version_in(links.current.as_deref()?);
    let mut journal = Journal::new(version(&before), version(&after), None);
    journal.switch = Some(Switch {
        before: before.clone(),
        after: after.clone(),
        made: None,
    });
    journal.write(folder)?;
    let answer = set_links(folder, &after).and_then(|()| ask());
    set_links(folder, &before)?;
    Journal::remove(folder)?;
    answer
}
