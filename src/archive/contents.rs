//! What is in a package, whatever it is packed in: files, links and folders, to be unpacked on
//! several threads at once.
//!
//! The readers (`zip`, `tar`) say what they have found as [`Item`]s, with names as they came. Here
//! the names become paths, one folder around everything is taken away where it is to be, the file
//! list is set apart, and the tree that the names make is checked ([`guard`]).
//!
//! Modes are advice (an archive may come from a tool that writes 0600 everywhere): only whether a
//! file may be executed is kept. Links are known when the archive is open.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::guard::{self, Node, SafePath};
use super::source::Source;
use super::{tar, zip};
use crate::error::in_short;
use crate::order;
use crate::release::{FILE_LIST_LIMIT, FILE_LIST_NAME, FileList, Listed};
use crate::trust::{Hasher, Sha256};
use crate::{Error, Result};

/// What is read at once: system calls do not show, and the cache of a core is not filled.
pub(super) const INPUT_BLOCK: usize = 64 * 1024;

/// What is inflated, hashed and written at once; fits the second-level cache with the input.
pub(super) const OUTPUT_BLOCK: usize = 128 * 1024;

/// The longest link target in bytes: PATH_MAX of Linux.
pub(super) const TARGET_LIMIT: u64 = 4096;

/// How much an archive may announce. More is `TOO_LARGE`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Entries, folders included.
    pub max_entries: u64,
    /// Bytes of all entries, unpacked.
    pub max_total: u64,
    /// How many times the size of the archive its entries may have, all together, once they have
    /// more than `ratio_from` bytes. A single file may well be all zeros; a package is not.
    pub max_ratio: u64,
    /// See `max_ratio`. Less than this fits any disk, however well it was compressed.
    pub ratio_from: u64,
}

impl Default for Limits {
    /// Half a million entries (a large Python environment has fifty thousand), 64 GiB, and 200
    /// times the archive beyond 256 MiB (text compresses by ten, sparse tables by fifty).
    fn default() -> Self {
        Self {
            max_entries: 500_000,
            max_total: 64 << 30,
            max_ratio: 200,
            ratio_from: 256 << 20,
        }
    }
}

impl Limits {
    /// Fails when so many bytes are too many for an archive of the size of `source`.
    pub(super) fn check_total(&self, total: u64, source: &Source) -> Result<()> {
        if total > self.max_total {
            return Err(source.too_large(format!("{} bytes unpacked", self.max_total)));
        }
        self.check_ratio(total, source)
    }

    /// As [`Limits::check_total`], of bytes that are not all written.
    pub(super) fn check_ratio(&self, total: u64, source: &Source) -> Result<()> {
        if total > self.ratio_from && total / self.max_ratio > source.length {
            return Err(source.too_large(format!("{} times its size unpacked", self.max_ratio)));
        }
        Ok(())
    }
}

/// How an archive is opened.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// What messages call it, best its path or address.
    pub subject: &'a str,
    /// A folder for what has to be decompressed before it can be read: it is there, and this user
    /// may write to it. What is made there has no name for longer than a moment.
    pub scratch: &'a Path,
    /// Whether everything lies in one folder, which is not a part of the paths: so it is in the
    /// archives that a forge makes of a tag, and in npm's packages.
    pub wrapped: bool,
    /// How much there may be.
    pub limits: Limits,
}

impl<'a> Opening<'a> {
    /// An archive that is not wrapped, within the default [`Limits`].
    pub fn new(subject: &'a str, scratch: &'a Path) -> Self {
        Self {
            subject,
            scratch,
            wrapped: false,
            limits: Limits::default(),
        }
    }
}

/// An opened and checked package. Threads share it by reference.
#[derive(Debug)]
pub struct Archive {
    store: Store,
    entries: Vec<Entry>,
    folders: Vec<SafePath>,
    list: Option<List>,
}

/// Where the data of the entries is.
#[derive(Debug)]
enum Store {
    /// In one file: the zip itself, or what came out of a tar.
    File(Source),
    /// In files of this folder.
    Folder(PathBuf),
}

/// A file list that is not read yet, or one that came by another way.
#[derive(Debug)]
enum List {
    Packed(Entry),
    Given(FileList),
}

/// A file or a link of an archive.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it goes.
    pub path: SafePath,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes when unpacked.
    pub size: u64,
    /// Bytes where it is unpacked from.
    pub compressed: u64,
    /// The CRC-32 of its content, as the archive announces it, or as it was when a tar was
    /// decompressed; none of a loose file, nor of a link.
    pub crc32: Option<u32>,
    /// Whether the archive gives it any right to be executed; advice.
    pub executable: bool,
    data: Data,
}

/// How the data of a file is kept, and where.
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// As it is, from there on.
    Stored(u64),
    /// Deflated, from there on.
    Deflated(u64),
    /// As a file of this name, with this digest.
    Loose(String, Sha256),
    /// None: it is a link, or a folder.
    Nothing,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An ordinary file.
    File,
    /// A symbolic link that stays inside the tree.
    Link {
        /// Where it points, relative to its own folder, with forward slashes.
        target: String,
    },
}

/// What [`Archive::extract`] has unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// Bytes; as announced.
    pub size: u64,
    /// The digest of the content.
    pub sha256: Sha256,
    /// The CRC-32 of the content; as announced, if it was.
    pub crc32: u32,
}

/// A file that lies by itself, verified, until it is installed: one of [`Archive::of_files`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loose {
    /// Where it goes.
    pub path: SafePath,
    /// What it is called where it lies.
    pub stored: String,
    /// Bytes.
    pub size: u64,
    /// The digest of its content.
    pub sha256: Sha256,
    /// Whether it may be executed; advice.
    pub executable: bool,
}

/// What a reader has found, with the name that it came with.
#[derive(Debug)]
pub(super) struct Item {
    /// With forward slashes, and none at the end.
    pub(super) name: String,
    pub(super) kind: ItemKind,
    pub(super) size: u64,
    pub(super) compressed: u64,
    pub(super) crc32: Option<u32>,
    pub(super) executable: bool,
    pub(super) data: Data,
}

#[derive(Debug)]
pub(super) enum ItemKind {
    File,
    Folder,
    Link(String),
}

impl Item {
    pub(super) fn folder(name: String) -> Self {
        Self::without_data(name, ItemKind::Folder, 0)
    }

    pub(super) fn link(name: String, target: String) -> Self {
        let size = target.len() as u64;
        Self::without_data(name, ItemKind::Link(target), size)
    }

    fn without_data(name: String, kind: ItemKind, size: u64) -> Self {
        Self {
            name,
            kind,
            size,
            compressed: size,
            crc32: None,
            executable: false,
            data: Data::Nothing,
        }
    }
}

impl Archive {
    /// Opens an archive. Where the file is positioned does not matter.
    ///
    /// A tar is decompressed now, into a file without a name; a zip is not.
    ///
    /// Fails with `ARCHIVE_INVALID`, `ARCHIVE_UNSAFE`, `TOO_LARGE`, `DISK_FULL`, or as reading and
    /// writing files do.
    pub fn open(file: File, how: &Opening<'_>) -> Result<Self> {
        let package = Source::new(file, how.subject)?;
        let mut start = [0; 4];
        let known = least(package.length, start.len());
        package.read(&mut start[..known], 0)?;
        let (source, items) = match tar::Packing::of(start) {
            Some(packing) => tar::read(&package, packing, how)?,
            None => zip::read(package, &how.limits)?,
        };
        Self::assemble(source, items, how.wrapped)
    }

    /// Makes a package of verified files, which lie in `folder`, and of the links that `list` has.
    ///
    /// What the list says counts: each file must be there with the size and digest that it has, and
    /// all of them, if the list is whole. Whoever gives it answers for it. The files are read again,
    /// and their digests compared, when they are unpacked.
    ///
    /// Fails with `ARCHIVE_UNSAFE` and `FILE_LIST_INVALID`.
    pub fn of_files(folder: &Path, files: Vec<Loose>, list: FileList) -> Result<Self> {
        let mut entries = Vec::with_capacity(list.files.len());
        for file in files {
            let stored = SafePath::try_from(file.stored)?;
            if stored.parent().is_some() {
                return Err(guard::refused(stored, "it is no file of that folder"));
            }
            entries.push(Entry {
                path: file.path,
                kind: EntryKind::File,
                size: file.size,
                compressed: file.size,
                crc32: None,
                executable: file.executable,
                data: Data::Loose(stored.into(), file.sha256),
            });
        }
        for (path, listed) in &list.files {
            if let Listed::Link { link } = listed {
                entries.push(Entry {
                    path: path.clone(),
                    kind: EntryKind::Link {
                        target: link.clone(),
                    },
                    size: link.len() as u64,
                    compressed: link.len() as u64,
                    crc32: None,
                    executable: false,
                    data: Data::Nothing,
                });
            }
        }
        let archive = Self {
            store: Store::Folder(folder.to_owned()),
            entries,
            folders: Vec::new(),
            list: None,
        };
        if let Some(entry) = archive.entries.iter().find(|entry| is_list(&entry.path)) {
            return Err(guard::refused(&entry.path, "it has the file list's name"));
        }
        archive.check_tree()?;
        archive.check_list(&list)?;
        Ok(Self {
            list: Some(List::Given(list)),
            ..archive
        })
    }

    fn assemble(source: Source, mut items: Vec<Item>, wrapped: bool) -> Result<Self> {
        if wrapped {
            unwrap(&mut items, &source)?;
        }
        let mut archive = Self {
            store: Store::File(source),
            entries: Vec::with_capacity(items.len()),
            folders: Vec::new(),
            list: None,
        };
        for item in items {
            archive.add(item)?;
        }
        if archive.entries.is_empty() && archive.list.is_none() {
            return Err(archive.invalid("there is no file in it"));
        }
        archive.check_tree()?;
        Ok(archive)
    }

    /// Its files and links, in the archive's order; without folders and the file list.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The folders that it names for their own sake. Those that only hold files need not be here.
    pub fn folders(&self) -> &[SafePath] {
        &self.folders
    }

    /// The file list that it carries, if it carries one.
    ///
    /// Fails with `FILE_LIST_INVALID` when that is broken or contradicts the archive: an entry
    /// that is not listed, or as something else; a whole list that names what is not there; or,
    /// where the release has `announced` a list by its digest, one that is another, or missing.
    /// Digests of files are left to whoever unpacks the entries. The list of loose files is no
    /// document that could have the announced digest.
    pub fn file_list(&self, announced: Option<Sha256>) -> Result<Option<FileList>> {
        let invalid = |problem: String| Error::FileListInvalid { problem };
        let entry = match &self.list {
            Some(List::Packed(entry)) => entry,
            Some(List::Given(list)) if announced.is_none() => return Ok(Some(list.clone())),
            _ if announced.is_none() => return Ok(None),
            _ => {
                return Err(invalid(
                    "the release announces one, the package has none".into(),
                ));
            }
        };
        let mut bytes = Vec::new();
        let found = self.unpack(entry, &mut bytes)?.sha256;
        if let Some(announced) = announced.filter(|announced| *announced != found) {
            return Err(invalid(format!(
                "its SHA-256 is {found}, announced is {announced}"
            )));
        }
        let list = FileList::parse(&bytes)?;
        self.check_list(&list)?;
        Ok(Some(list))
    }

    /// The digest of the file list that it carries, as a release announces it.
    pub fn file_list_digest(&self) -> Result<Option<Sha256>> {
        match &self.list {
            Some(List::Packed(entry)) => {
                let unpacked = self.unpack(entry, &mut io::sink())?;
                Ok(Some(unpacked.sha256))
            }
            _ => Ok(None),
        }
    }

    /// The content of a small file; `None` where there is none of that name. More than `limit` bytes are
    /// `TOO_LARGE`.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let file = |entry: &&Entry| entry.path.as_str() == name && entry.kind == EntryKind::File;
        let Some(entry) = self.entries.iter().find(file) else {
            return Ok(None);
        };
        if entry.size > limit {
            return Err(Error::TooLarge {
                subject: name.to_owned(),
                limit: format!("{limit} bytes"),
            });
        }
        let mut bytes = Vec::new();
        self.unpack(entry, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// The same data under other names: each pair is an entry's path and where it goes instead. What is
    /// not named is left out, and so is a file list, which spoke of other names.
    ///
    /// Fails with `ARCHIVE_INVALID` when there is no such file, and with `ARCHIVE_UNSAFE` when the new
    /// names cannot be written together.
    pub fn rearranged(self, moves: &[(SafePath, SafePath)]) -> Result<Self> {
        let mut entries = Vec::with_capacity(moves.len());
        let files = self
            .entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::File);
        let files = order::map(files.map(|entry| (&entry.path, entry)));
        for (from, to) in moves {
            let entry = *files.get(from).ok_or_else(|| {
                self.invalid(&format!(
                    "there is no file {:?} in it",
                    in_short(from.as_str())
                ))
            })?;
            entries.push(Entry {
                path: to.clone(),
                ..entry.clone()
            });
        }
        let archive = Self {
            store: self.store,
            entries,
            folders: Vec::new(),
            list: None,
        };
        archive.check_tree()?;
        Ok(archive)
    }

    /// Unpacks the content of the entry at `index` of [`Archive::entries`] into `sink`; of a link,
    /// its target. Several threads may do so at once.
    ///
    /// Fails with `ARCHIVE_INVALID` when the content has another size or CRC-32 than announced, and
    /// with `HASH_MISMATCH` when a loose file has another digest. What the sink was given by then is
    /// worthless. It is never given more than announced.
    pub fn extract(&self, index: usize, sink: &mut dyn io::Write) -> Result<Extracted> {
        let entry = self.entries.get(index).ok_or_else(|| Error::Internal {
            what: format!("entry {index} of {}", self.entries.len()),
        })?;
        self.unpack(entry, sink)
    }

    fn add(&mut self, item: Item) -> Result<()> {
        let refuse = |name: &str, problem: &str| Err(guard::refused(name, problem));
        let path = SafePath::try_from(item.name)?;
        let kind = match item.kind {
            ItemKind::Folder => {
                self.folders.push(path);
                return Ok(());
            }
            ItemKind::File => EntryKind::File,
            ItemKind::Link(target) => EntryKind::Link { target },
        };
        let entry = Entry {
            path,
            kind,
            size: item.size,
            compressed: item.compressed,
            crc32: item.crc32,
            executable: item.executable,
            data: item.data,
        };
        if !is_list(&entry.path) {
            self.entries.push(entry);
            return Ok(());
        }
        let name = entry.path.as_str();
        if name != FILE_LIST_NAME || entry.kind != EntryKind::File || self.list.is_some() {
            return refuse(name, "only one ordinary file may have the file list's name");
        }
        if entry.size > FILE_LIST_LIMIT {
            return Err(Error::TooLarge {
                subject: name.to_owned(),
                limit: format!("{FILE_LIST_LIMIT} bytes"),
            });
        }
        self.list = Some(List::Packed(entry));
        Ok(())
    }

    fn check_tree(&self) -> Result<()> {
        let list = match &self.list {
            Some(List::Packed(entry)) => Some(entry),
            _ => None,
        };
        let entries = self.entries.iter().chain(list);
        let entries = entries.map(|entry| match &entry.kind {
            EntryKind::File => (&entry.path, Node::File),
            EntryKind::Link { target } => (&entry.path, Node::Link(target)),
        });
        let folders = self.folders.iter().map(|path| (path, Node::Folder));
        guard::check_tree(entries.chain(folders))
    }

    fn check_list(&self, list: &FileList) -> Result<()> {
        let contradicts = |path: &SafePath, problem: &str| {
            Err(Error::FileListInvalid {
                problem: format!("{path} {problem}"),
            })
        };
        for entry in &self.entries {
            match (list.files.get(&entry.path), &entry.kind) {
                (None, _) => return contradicts(&entry.path, "is in the package and not listed"),
                (Some(Listed::File { size, sha256, .. }), EntryKind::File)
                    if *size == entry.size
                        && !matches!(&entry.data, Data::Loose(_, own) if own != sha256) => {}
                (Some(Listed::Link { link }), EntryKind::Link { target }) if link == target => {}
                _ => return contradicts(&entry.path, "is listed as something else"),
            }
        }
        // Every entry is listed, and no two are the same: so if fewer are here, one is missing.
        if list.whole && self.entries.len() < list.files.len() {
            let here: HashSet<_> = self.entries.iter().map(|entry| &entry.path).collect();
            if let Some(path) = list.files.keys().find(|path| !here.contains(path)) {
                return contradicts(path, "is listed and not in the package, which is whole");
            }
        }
        Ok(())
    }

    fn unpack(&self, entry: &Entry, sink: &mut dyn io::Write) -> Result<Extracted> {
        let wanted = Wanted {
            name: entry.path.as_str(),
            size: entry.size,
            compressed: entry.compressed,
            crc32: entry.crc32,
        };
        match (&entry.kind, &entry.data, &self.store) {
            (EntryKind::Link { target }, _, _) => {
                let mut output = Output::new(&wanted, self.subject(), sink);
                output.take(target.as_bytes())?;
                output.finish()
            }
            (_, Data::Stored(at), Store::File(source)) => wanted.copy(source, *at, sink),
            (_, Data::Deflated(at), Store::File(source)) => wanted.inflate(source, *at, sink),
            (_, Data::Loose(stored, sha256), Store::Folder(folder)) => {
                let path = folder.join(stored);
                let file = File::open(&path).map_err(Error::io("open", &path))?;
                let source = Source::new(file, &path.to_string_lossy())?;
                if source.length != entry.size {
                    return Err(Error::SizeMismatch {
                        subject: source.subject,
                        expected: entry.size,
                        got: source.length,
                    });
                }
                let extracted = wanted.copy(&source, 0, sink)?;
                if extracted.sha256 != *sha256 {
                    return Err(Error::HashMismatch {
                        subject: source.subject,
                        expected: sha256.to_string(),
                        got: extracted.sha256.to_string(),
                    });
                }
                Ok(extracted)
            }
            _ => Err(Error::Internal {
                what: format!("{} has no data", entry.path),
            }),
        }
    }

    fn subject(&self) -> &str {
        match &self.store {
            Store::File(source) => &source.subject,
            Store::Folder(_) => "the set of files",
        }
    }

    fn invalid(&self, problem: &str) -> Error {
        Error::ArchiveInvalid {
            subject: self.subject().to_owned(),
            problem: problem.to_owned(),
        }
    }
}

/// Whether some file system takes a path for the file list's.
fn is_list(path: &SafePath) -> bool {
    path.folded() == FILE_LIST_NAME
}

/// Takes the one folder away in which everything lies. Links are relative, so they lead to the same
/// files as before; those that lead above the new root are found when the tree is checked.
fn unwrap(items: &mut Vec<Item>, source: &Source) -> Result<()> {
    let bare = || source.invalid("it is not wrapped in one folder");
    let first = items.first().ok_or_else(bare)?;
    let top = first.name.split('/').next().unwrap_or(&first.name);
    // Not the root, nor upwards.
    let top = SafePath::try_from(top)?;
    let mut inside = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        let rest = item.name.strip_prefix(top.as_str()).ok_or_else(bare)?;
        if rest.is_empty() && matches!(item.kind, ItemKind::Folder) {
            continue;
        }
        let name = rest.strip_prefix('/').ok_or_else(bare)?.to_owned();
        inside.push(Item { name, ..item });
    }
    *items = inside;
    Ok(())
}

/// A file that is to be unpacked.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) size: u64,
    pub(super) compressed: u64,
    pub(super) crc32: Option<u32>,
}

impl Wanted<'_> {
    /// Copies what is stored as it is.
    pub(super) fn copy(
        &self,
        source: &Source,
        at: u64,
        sink: &mut dyn io::Write,
    ) -> Result<Extracted> {
        let mut output = Output::new(self, &source.subject, sink);
        let mut input = Input::new(source, at, self);
        let mut block = vec![0; least(self.compressed, INPUT_BLOCK)];
        loop {
            let bytes = input.read(&mut block)?;
            if bytes.is_empty() {
                return output.finish();
            }
            output.take(bytes)?;
        }
    }

    pub(super) fn inflate(
        &self,
        source: &Source,
        at: u64,
        sink: &mut dyn io::Write,
    ) -> Result<Extracted> {
        let mut output = Output::new(self, &source.subject, sink);
        let mut input = Input::new(source, at, self);
        let mut packed = vec![0; least(self.compressed, INPUT_BLOCK)];
        // one byte more than announced, so that too much is seen
        let mut unpacked = vec![0; least(self.size.saturating_add(1), OUTPUT_BLOCK)];
        let mut inflater = Decompress::new(false);
        let mut rest: &[u8] = &[];
        loop {
            if rest.is_empty() {
                rest = input.read(&mut packed)?;
            }
            let (before, given) = (inflater.total_in(), inflater.total_out());
            let status = inflater
                .decompress(rest, &mut unpacked, FlushDecompress::None)
                .map_err(|error| output.broken(error))?;
            let taken = least(inflater.total_in() - before, rest.len());
            let given = least(inflater.total_out() - given, unpacked.len());
            rest = &rest[taken..];
            output.take(&unpacked[..given])?;
            match status {
                Status::StreamEnd if rest.is_empty() && input.left == 0 => return output.finish(),
                Status::StreamEnd => {
                    return Err(output.broken("there are bytes after its data"));
                }
                Status::Ok | Status::BufError if taken == 0 && given == 0 => {
                    return Err(output.broken("its data is cut short"));
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }
}

/// The packed bytes of an entry, block by block.
struct Input<'a> {
    source: &'a Source,
    at: u64,
    left: u64,
}

impl<'a> Input<'a> {
    fn new(source: &'a Source, at: u64, wanted: &Wanted) -> Self {
        let left = wanted.compressed;
        Self { source, at, left }
    }

    /// The next bytes, as many as fit; none at the end.
    fn read<'b>(&mut self, block: &'b mut [u8]) -> Result<&'b [u8]> {
        let block = &mut block[..least(self.left, INPUT_BLOCK)];
        self.source.read(block, self.at)?;
        self.at += block.len() as u64;
        self.left -= block.len() as u64;
        Ok(block)
    }
}

/// Checks and hashes what comes out of an entry, and hands it on.
struct Output<'a> {
    wanted: &'a Wanted<'a>,
    subject: &'a str,
    sink: &'a mut dyn io::Write,
    size: u64,
    hasher: Hasher,
    crc32: Crc,
}

impl<'a> Output<'a> {
    fn new(wanted: &'a Wanted<'a>, subject: &'a str, sink: &'a mut dyn io::Write) -> Self {
        Self {
            wanted,
            subject,
            sink,
            size: 0,
            hasher: Hasher::default(),
            crc32: Crc::new(),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.size += bytes.len() as u64;
        if self.size > self.wanted.size {
            let problem = format!("it has more than the announced {} bytes", self.wanted.size);
            return Err(self.broken(problem));
        }
        self.hasher.update(bytes);
        self.crc32.update(bytes);
        self.sink
            .write_all(bytes)
            .map_err(Error::io("write", self.wanted.name))
    }

    fn finish(self) -> Result<Extracted> {
        let expected = self.wanted.size;
        if self.size != expected {
            let problem = format!("it has {} bytes, expected {expected}", self.size);
            return Err(self.broken(problem));
        }
        let crc32 = self.crc32.sum();
        if let Some(expected) = self.wanted.crc32.filter(|expected| *expected != crc32) {
            let problem = format!("it has CRC-32 {crc32:08x}, expected {expected:08x}");
            return Err(self.broken(problem));
        }
        Ok(Extracted {
            size: self.size,
            sha256: self.hasher.finish(),
            crc32,
        })
    }

    fn broken(&self, problem: impl std::fmt::Display) -> Error {
        Error::ArchiveInvalid {
            subject: self.subject.to_owned(),
            problem: format!("entry {:?}: {problem}", in_short(self.wanted.name)),
        }
    }
}

/// A length that is no more than `most`.
pub(super) fn least(length: u64, most: usize) -> usize {
    usize::try_from(length).map_or(most, |length| length.min(most))
}

/// Opens a tar that nothing has packed, which no package is: for the fuzzers, who would not get
/// through a checksum.
#[cfg(fuzzing)]
pub(crate) fn open_plain_tar(file: File, how: &Opening<'_>) -> Result<Archive> {
    let package = Source::new(file, how.subject)?;
    let (source, items) = tar::read(&package, tar::Packing::Nothing, how)?;
    Archive::assemble(source, items, how.wrapped)
}

#[cfg(test)]
mod tests;
