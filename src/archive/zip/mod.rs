//! Reads a zip from one open file, on several threads at once.
//!
//! [`Archive::open`] reads and checks everything but the data: the records ([`records`]), the
//! names ([`names`]), the tree that they make ([`guard`]) and the announced sizes
//! ([`Limits`]). [`Archive::extract`] inflates one entry and proves that it is what was announced.
//!
//! The records are read here and not by a library: the libraries take what they can make sense
//! of, and a package that two readers see differently must not be taken at all.
//!
//! Modes are advice (an archive may come from a tool that writes 0600 everywhere): only whether a
//! file may be executed is kept. Links are read when the archive is opened. Times, owners,
//! comments and other extra fields are passed over.

mod gbk;
mod names;
mod records;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use self::names::Unmarked;
use self::records::{Record, Source};
use super::guard::{self, Node, SafePath};
use crate::release::{FILE_LIST_LIMIT, FILE_LIST_NAME, FileList, Listed};
use crate::trust::{Hasher, Sha256};
use crate::{Error, Result};

/// What is read at once: system calls do not show, and the cache of a core is not filled.
const INPUT_BLOCK: usize = 64 * 1024;

/// What is inflated, hashed and written at once; fits the second-level cache with the input.
const OUTPUT_BLOCK: usize = 128 * 1024;

/// The longest link target in bytes: PATH_MAX of Linux.
const TARGET_LIMIT: u64 = 4096;

/// What deflate can yield for one byte at the most: 258 bytes for every two bits.
const DEFLATE_RATIO: u64 = 1032;

/// The file types of a Unix mode.
const TYPE_MASK: u32 = 0o170_000;
const TYPE_FOLDER: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;

/// The folder bit of an MS-DOS attribute, which tools of all systems set.
const DOS_FOLDER: u32 = 0x10;

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

/// An opened and checked zip. Threads share it by reference.
#[derive(Debug)]
pub struct Archive {
    source: Source,
    /// Where files lie that are in no archive, and their list.
    loose: Option<(PathBuf, FileList)>,
    entries: Vec<Entry>,
    folders: Vec<SafePath>,
    list: Option<Entry>,
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
    /// Bytes in the archive.
    pub compressed: u64,
    /// The announced CRC-32 of its content, where there is one.
    pub crc32: Option<u32>,
    /// Whether the archive gives it any right to be executed; advice.
    pub executable: bool,
    deflated: bool,
    /// Where its data begins.
    data: u64,
    /// The name of the file that it is, in the folder of files that are in no archive.
    stored: Option<String>,
}

/// A file that is in no archive.
#[derive(Clone, Debug)]
pub struct Loose {
    /// Where it goes.
    pub path: SafePath,
    /// Its name in the folder where it lies.
    pub stored: String,
    /// Bytes.
    pub size: u64,
    /// Whether it may be executed; advice.
    pub executable: bool,
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
    /// The CRC-32 of the content; as announced.
    pub crc32: u32,
}

impl Archive {
    /// Opens a zip within the default [`Limits`]. `subject` is what messages call it, best its
    /// path. Where the file is positioned does not matter.
    ///
    /// Fails with `ARCHIVE_INVALID`, `ARCHIVE_UNSAFE`, `TOO_LARGE`, or as reading a file does.
    pub fn open(file: File, subject: &str) -> Result<Self> {
        Self::open_within(file, subject, &Limits::default())
    }

    /// Opens a zip within other limits.
    pub fn open_within(file: File, subject: &str, limits: &Limits) -> Result<Self> {
        let source = Source::new(file, subject)?;
        let end = records::find_end(&source)?;
        if end.count > limits.max_entries {
            return Err(source.too_large(format!("{} entries", limits.max_entries)));
        }
        let mut records = records::directory(&source, &end)?;
        records::locate(&source, &end, &mut records)?;
        check_sizes(&source, &records, limits)?;

        let unmarked = Unmarked::of(&records);
        let mut archive = Self {
            source,
            loose: None,
            entries: Vec::with_capacity(records.len()),
            folders: Vec::new(),
            list: None,
        };
        for record in &records {
            archive.add(record, unmarked)?;
        }
        if archive.entries.is_empty() && archive.list.is_none() {
            return Err(archive.source.invalid("there is no file in it"));
        }
        archive.check_tree()?;
        Ok(archive)
    }

    /// Makes files of a folder one, as if they were packed. What they hold is compared with `list` by
    /// whoever unpacks them.
    ///
    /// Fails with `ARCHIVE_UNSAFE` when they cannot be written together, and with
    /// `FILE_LIST_INVALID` when the list contradicts them.
    pub fn of_files(folder: &Path, files: Vec<Loose>, list: FileList) -> Result<Self> {
        let entries = files.into_iter().map(|file| Entry {
            path: file.path,
            kind: EntryKind::File,
            size: file.size,
            compressed: file.size,
            crc32: None,
            executable: file.executable,
            deflated: false,
            data: 0,
            stored: Some(file.stored),
        });
        let archive = Self {
            source: Source::none(&folder.display().to_string()),
            entries: entries.collect(),
            folders: Vec::new(),
            list: None,
            loose: Some((folder.to_path_buf(), list)),
        };
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
    /// Digests of files are left to whoever unpacks the entries.
    pub fn file_list(&self, announced: Option<Sha256>) -> Result<Option<FileList>> {
        if let Some((_, list)) = &self.loose {
            self.check_list(list)?;
            return Ok(Some(list.clone()));
        }
        let invalid = |problem: String| Error::FileListInvalid { problem };
        let Some(entry) = &self.list else {
            return match announced {
                Some(_) => Err(invalid(
                    "the release announces one, the package has none".into(),
                )),
                None => Ok(None),
            };
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

    /// Unpacks the content of the entry at `index` of [`Archive::entries`] into `sink`; of a link,
    /// its target. Several threads may do so at once.
    ///
    /// Fails with `ARCHIVE_INVALID` when the content has another size or CRC-32 than announced.
    /// What the sink was given by then is worthless. It is never given more than announced.
    pub fn extract(&self, index: usize, sink: &mut dyn io::Write) -> Result<Extracted> {
        let entry = self.entries.get(index).ok_or_else(|| Error::Internal {
            what: format!("entry {index} of {}", self.entries.len()),
        })?;
        self.unpack(entry, sink)
    }

    fn add(&mut self, record: &Record, unmarked: Unmarked) -> Result<()> {
        let name = names::name(record, unmarked).ok_or_else(|| {
            let raw = String::from_utf8_lossy(&record.name);
            guard::refused(raw, "the name is neither UTF-8 nor GBK")
        })?;
        let refuse = |problem: &str| guard::refused(&name, problem);
        let mode = record.external >> 16;
        let kind = mode & TYPE_MASK;
        if ![0, TYPE_FOLDER, TYPE_FILE, TYPE_LINK].contains(&kind) {
            return Err(refuse("it is a device, socket or pipe"));
        }
        if let Some(folder) = name.strip_suffix('/') {
            if kind == TYPE_LINK || record.size != 0 {
                return Err(refuse("it has a folder's name and is none"));
            }
            self.folders.push(folder.try_into()?);
            return Ok(());
        }
        if kind == TYPE_FOLDER || (kind != TYPE_LINK && record.external & DOS_FOLDER != 0) {
            return Err(refuse("it is a folder without a folder's name"));
        }
        let mut entry = Entry {
            path: name.as_str().try_into()?,
            kind: EntryKind::File,
            size: record.size,
            compressed: record.compressed,
            crc32: Some(record.crc32),
            executable: kind != TYPE_LINK && mode & 0o111 != 0,
            deflated: record.deflated,
            data: record.data,
            stored: None,
        };
        if kind == TYPE_LINK {
            if entry.size > TARGET_LIMIT {
                return Err(refuse("the target has more than 4096 bytes"));
            }
            let mut target = Vec::new();
            self.unpack(&entry, &mut target)?;
            let target = String::from_utf8(target).map_err(|_| refuse("the target is no UTF-8"))?;
            entry.kind = EntryKind::Link { target };
        }
        if entry.path.folded() != FILE_LIST_NAME {
            self.entries.push(entry);
            return Ok(());
        }
        if name != FILE_LIST_NAME || kind == TYPE_LINK || self.list.is_some() {
            return Err(refuse(
                "only one ordinary file may have the file list's name",
            ));
        }
        if entry.size > FILE_LIST_LIMIT {
            return Err(Error::TooLarge {
                subject: name.clone(),
                limit: format!("{FILE_LIST_LIMIT} bytes"),
            });
        }
        self.list = Some(entry);
        Ok(())
    }

    fn check_tree(&self) -> Result<()> {
        let entries = self.entries.iter().chain(&self.list);
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
                (Some(Listed::File { size, .. }), EntryKind::File) if *size == entry.size => {}
                (Some(Listed::Link { link }), EntryKind::Link { target }) if link == target => {}
                _ => return contradicts(&entry.path, "is listed as something else"),
            }
        }
        // Every entry is listed, and no two are the same: so if fewer are here, one is missing.
        if list.whole && self.entries.len() < list.files.len() {
            let here: std::collections::HashSet<_> =
                self.entries.iter().map(|entry| &entry.path).collect();
            if let Some(path) = list.files.keys().find(|path| !here.contains(path)) {
                return contradicts(path, "is listed and not in the package, which is whole");
            }
        }
        Ok(())
    }

    fn unpack(&self, entry: &Entry, sink: &mut dyn io::Write) -> Result<Extracted> {
        let mut output = Output {
            archive: self,
            entry,
            sink,
            size: 0,
            hasher: Hasher::default(),
            crc32: Crc::new(),
        };
        let file;
        let source = match (&self.loose, &entry.stored) {
            (Some((folder, _)), Some(stored)) => {
                let path = folder.join(stored);
                let opened = File::open(&path).map_err(Error::io("open", &path))?;
                file = Source::new(opened, &path.display().to_string())?;
                &file
            }
            _ => &self.source,
        };
        let mut input = Input {
            source,
            at: entry.data,
            left: entry.compressed,
        };
        let mut block = vec![0; least(entry.compressed, INPUT_BLOCK)];
        if entry.deflated {
            inflate(&mut input, &mut block, &mut output)?;
        } else {
            loop {
                let bytes = input.read(&mut block)?;
                if bytes.is_empty() {
                    break;
                }
                output.take(bytes)?;
            }
        }
        output.finish()
    }

    fn broken(&self, entry: &Entry, problem: impl std::fmt::Display) -> Error {
        self.source
            .invalid(format!("entry {:?}: {problem}", entry.path.as_str()))
    }
}

/// Checks what the entries announce, without trust in any of it.
fn check_sizes(source: &Source, records: &[Record], limits: &Limits) -> Result<()> {
    let mut total: u64 = 0;
    for record in records {
        let most = if record.deflated {
            record.compressed.saturating_mul(DEFLATE_RATIO)
        } else {
            record.compressed
        };
        if record.size > most || (!record.deflated && record.size < most) {
            let problem = format!(
                "{} bytes cannot be packed into {}",
                record.size, record.compressed
            );
            return Err(source.invalid_entry(&record.name, problem));
        }
        total = total.saturating_add(record.size);
    }
    if total > limits.max_total {
        return Err(source.too_large(format!("{} bytes unpacked", limits.max_total)));
    }
    if total > limits.ratio_from && total / limits.max_ratio > source.length {
        return Err(source.too_large(format!("{} times its size unpacked", limits.max_ratio)));
    }
    Ok(())
}

fn inflate(input: &mut Input, packed: &mut [u8], output: &mut Output) -> Result<()> {
    let (archive, entry) = (output.archive, output.entry);
    // one byte more than announced, so that too much is seen
    let mut unpacked = vec![0; least(entry.size.saturating_add(1), OUTPUT_BLOCK)];
    let mut inflater = Decompress::new(false);
    let mut rest: &[u8] = &[];
    loop {
        if rest.is_empty() {
            rest = input.read(packed)?;
        }
        let (before, given) = (inflater.total_in(), inflater.total_out());
        let status = inflater
            .decompress(rest, &mut unpacked, FlushDecompress::None)
            .map_err(|error| archive.broken(entry, error))?;
        let taken = least(inflater.total_in() - before, rest.len());
        let given = least(inflater.total_out() - given, unpacked.len());
        rest = &rest[taken..];
        output.take(&unpacked[..given])?;
        match status {
            Status::StreamEnd if rest.is_empty() && input.left == 0 => return Ok(()),
            Status::StreamEnd => {
                return Err(archive.broken(entry, "there are bytes after its data"));
            }
            Status::Ok | Status::BufError if taken == 0 && given == 0 => {
                return Err(archive.broken(entry, "its data is cut short"));
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

/// The packed bytes of an entry, block by block.
struct Input<'a> {
    source: &'a Source,
    at: u64,
    left: u64,
}

impl Input<'_> {
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
    archive: &'a Archive,
    entry: &'a Entry,
    sink: &'a mut dyn io::Write,
    size: u64,
    hasher: Hasher,
    crc32: Crc,
}

impl Output<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.size += bytes.len() as u64;
        if self.size > self.entry.size {
            let problem = format!("it has more than the announced {} bytes", self.entry.size);
            return Err(self.archive.broken(self.entry, problem));
        }
        self.hasher.update(bytes);
        self.crc32.update(bytes);
        self.sink
            .write_all(bytes)
            .map_err(Error::io("write", self.entry.path.as_str()))
    }

    fn finish(self) -> Result<Extracted> {
        let broken = |problem: String| self.archive.broken(self.entry, problem);
        if self.size != self.entry.size {
            let problem = format!("it has {} bytes, expected {}", self.size, self.entry.size);
            return Err(broken(problem));
        }
        let crc32 = self.crc32.sum();
        if let Some(expected) = self.entry.crc32.filter(|expected| *expected != crc32) {
            let problem = format!("it has CRC-32 {crc32:08x}, expected {expected:08x}");
            return Err(broken(problem));
        }
        Ok(Extracted {
            size: self.size,
            sha256: self.hasher.finish(),
            crc32,
        })
    }
}

/// A length that is no more than `most`.
fn least(length: u64, most: usize) -> usize {
    usize::try_from(length).map_or(most, |length| length.min(most))
}
