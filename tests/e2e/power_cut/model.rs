//! What a disk may hold after a power cut, worked out from the record of what was done to it.
//!
//! The record (`src/disk/record.rs`) is taken apart into single changes: of an entry of a folder,
//! of a file's content, of its mode and time. A cut keeps all that was synced, and of the rest:
//!
//! - [`Metadata::InOrder`]: everything up to some moment. So do ext4 (`data=ordered`), XFS and NTFS,
//!   whose journals hold changes of folders in their order; any sync writes all that came before.
//! - [`Metadata::Any`]: any part, as long as nothing is kept without what came before it: an
//!   entry's earlier changes, the emptying of a folder that is removed. A sync of a folder keeps the
//!   changes of its own entries alone, a sync of a file none. That is all that POSIX promises, and
//!   more than any file system takes: btrfs and F2FS write with a sync what belongs to one file or
//!   folder. A file that is renamed may even be found under both names, or under none; a folder that
//!   is renamed is not.
//!
//! The content of a file that was not synced is another matter than the folders that name it: it
//! may be there, or missing ([`Loss`]), whatever the model.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use castoff_testkit::package::sha256;
use serde::Deserialize;

/// A file, a folder or a link, whatever it is called.
type Id = usize;

/// The folder that is looked at.
const ROOT: Id = 0;

/// A file's content and what else belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Held {
    content: String,
    mode: u32,
    modified: SystemTime,
}

#[derive(Clone, Debug)]
enum Node {
    Folder,
    File,
    Link(String),
}

/// A name in a folder.
type Entry = (Id, String);

/// One change that is kept as a whole or not at all; or a sync, or a mark.
#[derive(Clone, Debug)]
enum Change {
    Add(Entry, Id),
    Remove(Entry, Id),
    Rename(Entry, Entry, Id),
    Content(Id, Held),
    Attributes(Id, Held),
    SyncFile(Id),
    SyncFolder(Id),
    SyncAll,
    Step(String),
}

/// A line of the record.
#[derive(Deserialize)]
struct Line {
    change: String,
    path: String,
    from: Option<String>,
    files: Vec<Written>,
}

#[derive(Deserialize)]
struct Written {
    path: String,
    content: String,
    mode: u32,
    modified: SystemTime,
}

/// What becomes of contents that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Loss {
    /// They were written in time.
    Nothing,
    /// The files are empty: ext4 and btrfs, which give a file its length when they write it.
    Everything,
    /// The files are of the right length, and hold zeros: NTFS and XFS.
    Zeros,
    /// The files end in the middle.
    Half,
}

/// Which changes of entries, modes and times a cut keeps.
#[derive(Clone, Copy, Debug)]
enum Metadata {
    InOrder,
    Any,
}

/// A record, taken apart, and what was there before it.
pub(super) struct Record {
    nodes: Vec<Node>,
    before: Volatile,
    changes: Vec<Change>,
    /// Paths of syncs, for people.
    names: Vec<String>,
    /// For each change, earlier ones without which it cannot be kept.
    needs: Vec<Vec<usize>>,
    contents: HashMap<String, Arc<Vec<u8>>>,
    /// For each of [`NOTES`], and each moment, what it may hold.
    promised: Vec<Vec<HashSet<Option<String>>>>,
}

/// Files that are replaced as a whole and durably: what such a write has reported as done must not
/// be undone by a cut.
const NOTES: [&str; 4] = [
    "local_version.json",
    ".castoff/installed.json",
    ".castoff/state.json",
    ".castoff/journal.json",
];

/// What is in folders and files at some moment.
#[derive(Clone, Default)]
struct Volatile {
    entries: BTreeMap<Id, BTreeMap<String, Id>>,
    held: BTreeMap<Id, Held>,
}

impl Volatile {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Add((folder, name), id) => {
                self.entries
                    .entry(*folder)
                    .or_default()
                    .insert(name.clone(), *id);
            }
            Change::Remove((folder, name), _) => {
                self.entries.entry(*folder).or_default().remove(name);
            }
            Change::Rename(from, (folder, name), id) => {
                self.entries.entry(from.0).or_default().remove(&from.1);
                self.entries
                    .entry(*folder)
                    .or_default()
                    .insert(name.clone(), *id);
            }
            Change::Content(id, held) => {
                let mut held = held.clone();
                if let Some(before) = self.held.get(id) {
                    held.mode = before.mode;
                }
                self.held.insert(*id, held);
            }
            Change::Attributes(id, held) => {
                if let Some(file) = self.held.get_mut(id) {
                    (file.mode, file.modified) = (held.mode, held.modified);
                }
            }
            Change::SyncFile(_) | Change::SyncFolder(_) | Change::SyncAll | Change::Step(_) => {}
        }
    }

    fn find(&self, path: &str) -> Option<Id> {
        path.split('/')
            .filter(|name| !name.is_empty())
            .try_fold(ROOT, |folder, name| {
                self.entries.get(&folder)?.get(name).copied()
            })
    }
}

/// Reads what is in a folder, all of it durable.
struct Reader {
    nodes: Vec<Node>,
    volatile: Volatile,
    contents: HashMap<String, Arc<Vec<u8>>>,
    /// Files by their numbers: those with several names are one.
    numbers: HashMap<u64, Id>,
}

impl Reader {
    fn read(&mut self, path: &Path, folder: Id) {
        self.volatile.entries.entry(folder).or_default();
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let next = self.nodes.len();
            let known = self.numbers.get(&metadata.ino()).copied();
            let id = known.unwrap_or(next);
            let name = entry.file_name().into_string().unwrap();
            self.volatile
                .entries
                .entry(folder)
                .or_default()
                .insert(name, id);
            if known.is_some() {
                continue;
            }
            self.numbers.insert(metadata.ino(), id);
            if metadata.is_dir() {
                self.nodes.push(Node::Folder);
                self.read(&entry.path(), id);
            } else if metadata.is_symlink() {
                let target = fs::read_link(entry.path()).unwrap();
                self.nodes
                    .push(Node::Link(target.to_str().unwrap().to_owned()));
            } else {
                self.nodes.push(Node::File);
                let bytes = fs::read(entry.path()).unwrap();
                let held = Held {
                    content: sha256(&bytes),
                    mode: metadata.mode() & 0o777,
                    modified: metadata.modified().unwrap(),
                };
                self.contents.insert(held.content.clone(), Arc::new(bytes));
                self.volatile.held.insert(id, held);
            }
        }
    }
}

/// What is in `root` before a record is made of its changes.
pub(super) struct Before(Reader);

impl Before {
    pub(super) fn of(root: &Path) -> Self {
        let mut reader = Reader {
            nodes: vec![Node::Folder],
            volatile: Volatile::default(),
            contents: HashMap::new(),
            numbers: HashMap::new(),
        };
        reader.volatile.entries.insert(ROOT, BTreeMap::new());
        if root.exists() {
            reader.read(root, ROOT);
        }
        Self(reader)
    }

    /// Takes the record in the folder `record` apart, of changes below `root`.
    pub(super) fn then(self, root: &Path, record: &Path) -> Record {
        let Reader {
            nodes,
            volatile,
            contents,
            ..
        } = self.0;
        let mut parser = Parser {
            root: format!("{}/", root.to_str().unwrap()),
            now: volatile.clone(),
            record: Record {
                nodes,
                before: volatile,
                changes: Vec::new(),
                names: Vec::new(),
                needs: Vec::new(),
                contents,
                promised: Vec::new(),
            },
        };
        let text = fs::read_to_string(record.join("record.jsonl")).unwrap();
        for line in text.lines() {
            let line: Line = serde_json::from_str(line).unwrap();
            for file in &line.files {
                if !parser.record.contents.contains_key(&file.content) {
                    let bytes = fs::read(record.join(&file.content)).unwrap();
                    parser
                        .record
                        .contents
                        .insert(file.content.clone(), Arc::new(bytes));
                }
            }
            parser.line(&line);
        }
        let mut record = parser.record;
        record.needs = needs(&record.changes, &record.nodes);
        record.promised = NOTES.iter().map(|note| record.promised(note)).collect();
        record
    }
}

struct Parser {
    root: String,
    now: Volatile,
    record: Record,
}

impl Parser {
    fn push(&mut self, change: Change, name: &str) {
        self.now.apply(&change);
        self.record.changes.push(change);
        self.record.names.push(name.to_owned());
    }

    /// The path below the root, if it is there. The root itself is `""`.
    fn relative(&self, path: &str) -> Option<String> {
        format!("{path}/")
            .strip_prefix(&self.root)
            .map(|path| path.trim_end_matches('/').to_owned())
    }

    /// The entry of a path whose folder exists.
    fn entry(&self, path: &str) -> Entry {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.now.find(parent);
        (
            folder.unwrap_or_else(|| panic!("no folder for {path}")),
            name.to_owned(),
        )
    }

    fn add(&mut self, path: &str, node: Node) {
        let id = self.record.nodes.len();
        if matches!(node, Node::Folder) {
            self.now.entries.insert(id, BTreeMap::new());
        }
        self.record.nodes.push(node);
        let entry = self.entry(path);
        self.push(Change::Add(entry, id), path);
    }

    /// A new file, in which nothing is written yet.
    fn add_file(&mut self, path: &str, made: &Written) {
        let id = self.record.nodes.len();
        self.record.nodes.push(Node::File);
        self.record.contents.entry(sha256(b"")).or_default();
        let held = Held {
            content: sha256(b""),
            mode: made.mode,
            modified: made.modified,
        };
        // The file is there before it has a name.
        self.push(Change::Content(id, held), path);
        let entry = self.entry(path);
        self.push(Change::Add(entry, id), path);
    }

    fn remove_below(&mut self, folder: Id, path: &str) {
        for (name, id) in self.now.entries.get(&folder).cloned().unwrap_or_default() {
            let path = format!("{path}/{name}");
            if matches!(self.record.nodes[id], Node::Folder) {
                self.remove_below(id, &path);
            }
            self.push(Change::Remove((folder, name), id), &path);
        }
    }

    /// What files hold since somebody wrote to them.
    fn contents(&mut self, files: &[Written]) {
        for file in files {
            let Some(path) = self.relative(&file.path) else {
                continue;
            };
            let Some(id) = self.now.find(&path) else {
                continue;
            };
            let held = Held {
                content: file.content.clone(),
                mode: file.mode,
                modified: file.modified,
            };
            if self
                .now
                .held
                .get(&id)
                .is_none_or(|now| now.content != held.content)
            {
                self.push(Change::Content(id, held.clone()), &path);
            }
            if self.now.held.get(&id) != Some(&held) {
                self.push(Change::Attributes(id, held), &path);
            }
        }
    }

    fn line(&mut self, line: &Line) {
        if line.change == "step" {
            self.push(Change::Step(line.path.clone()), &line.path);
            return;
        }
        let makes = matches!(line.change.as_str(), "file");
        if !makes {
            self.contents(&line.files);
        }
        if line.change == "sync all" {
            self.push(Change::SyncAll, "");
            return;
        }
        let Some(path) = self.relative(&line.path) else {
            return;
        };
        let found = self.now.find(&path);
        let there =
            || found.unwrap_or_else(|| panic!("{} of {path}, which is not there", line.change));
        match line.change.as_str() {
            "folders" => {
                let ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
                for end in ends.into_iter().chain([path.len()]) {
                    if end > 0 && self.now.find(&path[..end]).is_none() {
                        self.add(&path[..end], Node::Folder);
                    }
                }
            }
            "file" => {
                if found.is_none() {
                    let file = line.files.iter().find(|file| file.path == line.path);
                    self.add_file(&path, file.expect("what was made is described"));
                }
                self.contents(&line.files);
            }
            "link" => {
                let from = self.relative(line.from.as_ref().unwrap()).unwrap();
                let id = self.now.find(&from).unwrap();
                let entry = self.entry(&path);
                self.push(Change::Add(entry, id), &path);
            }
            "symlink" => {
                self.add(&path, Node::Link(line.from.clone().unwrap()));
            }
            "rename" => {
                let from = self.relative(line.from.as_ref().unwrap()).unwrap();
                let id = self.now.find(&from).unwrap();
                // Two names of one file: nothing happens.
                if found != Some(id) {
                    let (from, to) = (self.entry(&from), self.entry(&path));
                    if matches!(self.record.nodes[id], Node::Folder) {
                        self.push(Change::Rename(from, to, id), &path);
                    } else {
                        self.push(Change::Add(to, id), &path);
                        self.push(Change::Remove(from, id), &path);
                    }
                }
            }
            "remove" | "remove folder" => {
                let entry = self.entry(&path);
                self.push(Change::Remove(entry, there()), &path);
            }
            "remove tree" => {
                self.remove_below(there(), &path);
                let entry = self.entry(&path);
                self.push(Change::Remove(entry, there()), &path);
            }
            "attributes" => {}
            "sync file" => self.push(Change::SyncFile(there()), &path),
            "sync folder" => self.push(Change::SyncFolder(there()), &path),
            other => panic!("unknown change: {other}"),
        }
    }
}

/// What each change cannot be kept without.
fn needs(changes: &[Change], nodes: &[Node]) -> Vec<Vec<usize>> {
    let mut last: BTreeMap<Entry, usize> = BTreeMap::new();
    let mut attributes: BTreeMap<Id, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let mut needs = Vec::new();
        match change {
            Change::Add(entry, _) => needs.extend(last.insert(entry.clone(), index)),
            Change::Remove(entry, id) => {
                needs.extend(last.insert(entry.clone(), index));
                if matches!(nodes[*id], Node::Folder) {
                    needs.extend(
                        last.iter()
                            .filter(|((folder, _), _)| folder == id)
                            .map(|(_, at)| at),
                    );
                }
            }
            Change::Rename(from, to, _) => {
                needs.extend(last.insert(from.clone(), index));
                needs.extend(last.insert(to.clone(), index));
            }
            Change::Attributes(id, _) => needs.extend(attributes.insert(*id, index)),
            _ => {}
        }
        all.push(needs);
    }
    all
}

/// A moment, and the sync that is left out to see whether that is found.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// So many changes were made.
    pub(super) after: usize,
    pub(super) without: Option<usize>,
}

/// What lies on the disk after a cut.
#[derive(Clone)]
pub(super) struct State {
    /// Names the state: equal states, equal names.
    pub(super) digest: String,
    /// How it came about, for people.
    pub(super) how: String,
    /// Whether metadata is as it was at some moment.
    pub(super) in_order: bool,
    /// Those of [`NOTES`] that the cut has taken back.
    pub(super) lost_notes: Vec<&'static str>,
    volatile: Volatile,
    lost: HashMap<Id, Loss>,
}

impl Record {
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// The syncs in the record: their places, and what they are called: the step that is reached
    /// next, and what is synced.
    pub(super) fn syncs(&self) -> Vec<(usize, String)> {
        let mut syncs = Vec::new();
        let mut next = "end";
        for (index, change) in self.changes.iter().enumerate().rev() {
            let kind = match change {
                Change::SyncFile(_) => "file",
                Change::SyncFolder(_) => "folder",
                Change::SyncAll => "all in",
                Change::Step(name) => {
                    next = name;
                    continue;
                }
                _ => continue,
            };
            let name = match self.names[index].as_str() {
                "" => ".",
                name => name,
            };
            syncs.push((index, format!("{next}: {kind} {name}")));
        }
        syncs.reverse();
        syncs
    }

    /// Whether a step was reached before a moment.
    pub(super) fn reached(&self, step: &str, after: usize) -> bool {
        self.changes[..after]
            .iter()
            .any(|change| matches!(change, Change::Step(name) if name == step))
    }

    /// What a note may hold at each moment: what it held when its folder was last synced, or what
    /// came after.
    fn promised(&self, note: &str) -> Vec<HashSet<Option<String>>> {
        let folder = note.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut now = self.before.clone();
        let held = |now: &Volatile| Some(now.held[&now.find(note)?].content.clone());
        let mut promised = HashSet::from([held(&now)]);
        let mut all = vec![promised.clone()];
        for change in &self.changes {
            now.apply(change);
            match change {
                Change::SyncAll => promised.clear(),
                Change::SyncFolder(id) if now.find(folder) == Some(*id) => promised.clear(),
                _ => {}
            }
            promised.insert(held(&now));
            all.push(promised.clone());
        }
        all
    }

    /// The notes that a state at a moment has lost.
    fn lost_notes(&self, state: &State, moment: Moment) -> Vec<&'static str> {
        let lost = |(note, promised): &(&&str, &Vec<HashSet<Option<String>>>)| {
            let id = state.volatile.find(note);
            let held = id.map(|id| sha256(&self.bytes(state, id)));
            !promised[moment.after].contains(&held)
        };
        let notes = NOTES.iter().zip(&self.promised);
        notes.filter(lost).map(|(note, _)| *note).collect()
    }

    fn is_sync(&self, index: usize) -> bool {
        matches!(
            self.changes[index],
            Change::SyncFile(_) | Change::SyncFolder(_) | Change::SyncAll
        )
    }

    fn is_metadata(&self, index: usize) -> bool {
        matches!(
            self.changes[index],
            Change::Add(..) | Change::Remove(..) | Change::Rename(..) | Change::Attributes(..)
        )
    }

    /// `wanted` and all that it cannot be kept without.
    fn with_needs(&self, wanted: impl IntoIterator<Item = usize>, kept: &mut BTreeSet<usize>) {
        let mut left: Vec<usize> = wanted.into_iter().collect();
        while let Some(index) = left.pop() {
            if kept.insert(index) {
                left.extend(&self.needs[index]);
            }
        }
    }

    /// The changes of metadata that are durable at a moment, and what of each file's content is.
    fn durable(&self, moment: Moment) -> (BTreeSet<usize>, HashMap<Id, Held>) {
        let mut kept = BTreeSet::new();
        let mut now = self.before.clone();
        let mut held: HashMap<Id, Held> = now.held.clone().into_iter().collect();
        for (index, change) in self.changes[..moment.after].iter().enumerate() {
            now.apply(change);
            if moment.without == Some(index) {
                continue;
            }
            match change {
                Change::SyncAll => {
                    kept.extend((0..index).filter(|index| self.is_metadata(*index)));
                    held.extend(now.held.clone());
                }
                Change::SyncFile(id) => {
                    held.extend(now.held.get(id).map(|held| (*id, held.clone())));
                    let own = |at: &usize| matches!(&self.changes[*at], Change::Attributes(of, _) if of == id);
                    kept.extend((0..index).filter(own));
                }
                Change::SyncFolder(id) => {
                    let own = |at: &usize| match &self.changes[*at] {
                        Change::Add(entry, _) | Change::Remove(entry, _) => entry.0 == *id,
                        Change::Rename(from, to, _) => from.0 == *id || to.0 == *id,
                        _ => false,
                    };
                    self.with_needs((0..index).filter(own), &mut kept);
                }
                // An empty file is what is left of a new one.
                Change::Content(id, new) => {
                    held.entry(*id).or_insert_with(|| new.clone());
                }
                _ => {}
            }
        }
        (kept, held)
    }

    /// The states in which a cut at a moment may leave the disk.
    ///
    /// All that are in order; and, where a sync is about to be made or the record ends, of those in
    /// any order: nothing but what is synced, each change that is not synced lost alone, each kept
    /// alone, and some parts by chance (the same ones each time).
    pub(super) fn states(&self, moment: Moment) -> Vec<State> {
        const LOSSES: [Loss; 4] = [Loss::Nothing, Loss::Everything, Loss::Zeros, Loss::Half];
        const BY_CHANCE: usize = 8;
        let (durable, held) = self.durable(moment);
        let all: BTreeSet<usize> = (0..moment.after)
            .filter(|index| self.is_metadata(*index))
            .collect();
        let mut states = Vec::new();
        for loss in LOSSES {
            states.push(self.state(moment, &all, &held, loss, Metadata::InOrder));
        }
        let syncs = |index: usize| self.is_sync(index) && moment.without != Some(index);
        // What a sync leaves open was open before the one before it.
        let follows_a_sync = moment.after.checked_sub(1).is_some_and(syncs);
        if moment.after < self.len() && (!syncs(moment.after) || follows_a_sync) {
            return states;
        }
        let open: Vec<usize> = all.difference(&durable).copied().collect();
        let mut parts = vec![durable.clone()];
        for &one in &open {
            let mut lost = HashSet::from([one]);
            for &later in open.iter().filter(|later| **later > one) {
                if self.needs[later].iter().any(|need| lost.contains(need)) {
                    lost.insert(later);
                }
            }
            parts.push(
                all.iter()
                    .copied()
                    .filter(|index| !lost.contains(index))
                    .collect(),
            );
            let mut kept = durable.clone();
            self.with_needs([one], &mut kept);
            parts.push(kept);
        }
        let mut chance = moment.after as u64;
        for _ in 0..BY_CHANCE {
            let mut kept = durable.clone();
            let chosen = open.iter().copied().filter(|_| {
                // Knuth's numbers: the upper bits are well mixed.
                chance = chance
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                chance >> 63 == 0
            });
            let chosen: Vec<usize> = chosen.collect();
            self.with_needs(chosen, &mut kept);
            parts.push(kept);
        }
        for part in &parts {
            for loss in [Loss::Nothing, Loss::Everything] {
                states.push(self.state(moment, part, &held, loss, Metadata::Any));
            }
        }
        states
    }

    fn state(
        &self,
        moment: Moment,
        kept: &BTreeSet<usize>,
        durable: &HashMap<Id, Held>,
        loss: Loss,
        metadata: Metadata,
    ) -> State {
        let mut volatile = self.before.clone();
        for (index, change) in self.changes[..moment.after].iter().enumerate() {
            if kept.contains(&index) || matches!(change, Change::Content(..)) {
                volatile.apply(change);
            }
        }
        let mut gone = HashMap::new();
        if loss != Loss::Nothing {
            let is_open = |(id, file): &(&Id, &Held)| {
                durable
                    .get(*id)
                    .is_none_or(|durable| durable.content != file.content)
            };
            gone.extend(
                volatile
                    .held
                    .iter()
                    .filter(is_open)
                    .map(|(id, _)| (*id, loss)),
            );
        }
        let missing: Vec<&str> = (0..moment.after)
            .filter(|index| self.is_metadata(*index) && !kept.contains(index))
            .map(|index| self.names[index].as_str())
            .collect();
        let how = format!(
            "after {} of {} changes ({:?}), metadata {metadata:?} without {missing:?}, contents not synced lose {loss:?}",
            moment.after,
            self.len(),
            moment
                .after
                .checked_sub(1)
                .map(|last| (&self.changes[last], &self.names[last])),
        );
        let mut state = State {
            digest: String::new(),
            how,
            in_order: matches!(metadata, Metadata::InOrder),
            lost_notes: Vec::new(),
            volatile,
            lost: gone,
        };
        let mut text = String::new();
        self.describe(&state, ROOT, &mut HashMap::new(), &mut text);
        state.digest = sha256(text.as_bytes());
        state.lost_notes = self.lost_notes(&state, moment);
        state
    }

    fn describe(
        &self,
        state: &State,
        folder: Id,
        seen: &mut HashMap<Id, usize>,
        text: &mut String,
    ) {
        for (name, id) in state.volatile.entries.get(&folder).into_iter().flatten() {
            let count = seen.len();
            let number = *seen.entry(*id).or_insert(count);
            write!(text, "{name}\0{number}\0").unwrap();
            match &self.nodes[*id] {
                Node::Folder => {
                    text.push('(');
                    self.describe(state, *id, seen, text);
                    text.push(')');
                }
                Node::Link(target) => write!(text, "{target}\0").unwrap(),
                Node::File => {
                    let held = &state.volatile.held[id];
                    // Times differ from one run to the next, and are no matter of equality.
                    let bytes = self.bytes(state, *id);
                    write!(text, "{:o}\0{}\0", held.mode, sha256(&bytes)).unwrap();
                }
            }
        }
    }

    /// What a file holds after the cut.
    fn bytes(&self, state: &State, id: Id) -> Vec<u8> {
        let bytes = &self.contents[&state.volatile.held[&id].content];
        match state.lost.get(&id).unwrap_or(&Loss::Nothing) {
            Loss::Nothing => bytes.to_vec(),
            Loss::Everything => Vec::new(),
            Loss::Zeros => vec![0; bytes.len()],
            Loss::Half => bytes[..bytes.len() / 2].to_vec(),
        }
    }

    /// Lays a state out in a folder, which is emptied first.
    pub(super) fn lay_out(&self, state: &State, root: &Path) {
        if root.exists() {
            fs::remove_dir_all(root).unwrap();
        }
        fs::create_dir(root).unwrap();
        self.lay_out_below(state, ROOT, root, &mut HashMap::new());
    }

    fn lay_out_below(
        &self,
        state: &State,
        folder: Id,
        at: &Path,
        files: &mut HashMap<Id, std::path::PathBuf>,
    ) {
        for (name, id) in state.volatile.entries.get(&folder).into_iter().flatten() {
            let path = at.join(name);
            if let Some(first) = files.get(id) {
                fs::hard_link(first, &path).unwrap();
                continue;
            }
            match &self.nodes[*id] {
                Node::Folder => {
                    fs::create_dir(&path).unwrap();
                    self.lay_out_below(state, *id, &path, files);
                }
                Node::Link(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
                Node::File => {
                    let held = &state.volatile.held[id];
                    fs::write(&path, self.bytes(state, *id)).unwrap();
                    let file = fs::File::options().write(true).open(&path).unwrap();
                    file.set_modified(held.modified).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(held.mode)).unwrap();
                    files.insert(*id, path);
                }
            }
        }
    }
}
