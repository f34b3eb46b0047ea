//! Builders of packages, good and hostile, and a way to compare folders.
//!
//! - [`Package`] makes what a publisher would: an ordinary zip or tar, with or without a file list.
//! - [`RawZip`] writes a zip record by record, each field as told, so that any fault can be made.
//! - [`hostile`] has one package for every fault that updaters have met; [`hostile::all`] has all
//!   of them with the code that each must be refused with.
//! - [`Tree`] is a folder's content, to be compared before and after.
//!
//! What cannot be built panics: these are tests.

#![expect(
    clippy::missing_panics_doc,
    reason = "a builder that cannot build fails its test"
)]

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

use flate2::write::DeflateEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;

use crate::tar;

/// A package as a publisher makes it: a deflated zip, or a packed tar.
///
/// ```
/// use castoff_testkit::package::Package;
///
/// let built = Package::new("1.1.0")
///     .file("main.py", b"print(1)")
///     .executable("run.sh", b"#!/bin/sh\n")
///     .list()
///     .build();
/// assert_eq!(built.size, built.bytes.len() as u64);
/// ```
#[derive(Clone, Debug)]
pub struct Package {
    version: String,
    items: Vec<(String, Item)>,
    listed: bool,
    fits: Vec<String>,
    kept: Vec<(String, Vec<u8>)>,
    hooks: Value,
    python_modes: bool,
}

#[derive(Clone, Debug)]
enum Item {
    File { content: Vec<u8>, executable: bool },
    Link(String),
    Folder,
}

/// A package that was built, and what a release says of it.
#[derive(Clone, Debug)]
pub struct Built {
    /// The version it was built for.
    pub version: String,
    /// The archive.
    pub bytes: Vec<u8>,
    /// The digest of `bytes`, in hex.
    pub sha256: String,
    /// How many `bytes` there are.
    pub size: u64,
    /// The content of every file in the archive, links, folders and the file list left out.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Package {
    /// A package of nothing yet.
    pub fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            items: Vec::new(),
            listed: false,
            fits: Vec::new(),
            kept: Vec::new(),
            hooks: json!({}),
            python_modes: false,
        }
    }

    /// Adds an ordinary file, in the place of what has the same path.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref().to_vec();
        self.item(
            path,
            Item::File {
                content,
                executable: false,
            },
        )
    }

    /// Adds a file that may be executed.
    #[must_use]
    pub fn executable(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref().to_vec();
        self.item(
            path,
            Item::File {
                content,
                executable: true,
            },
        )
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        self.item(path, Item::Link(target.to_owned()))
    }

    /// Adds an entry for a folder. Those that hold files need none.
    #[must_use]
    pub fn folder(self, path: &str) -> Self {
        self.item(path, Item::Folder)
    }

    fn item(mut self, path: &str, item: Item) -> Self {
        self.items.retain(|(known, _)| known != path);
        self.items.push((path.to_owned(), item));
        self
    }

    /// Carries a whole file list.
    #[must_use]
    pub fn list(mut self) -> Self {
        self.listed = true;
        self
    }

    /// Carries a partial file list, for an update of one of these versions. What the release has
    /// besides the package's own files is told with [`Package::kept`].
    #[must_use]
    pub fn partial(mut self, fits: &[&str]) -> Self {
        self.fits = fits.iter().map(|&version| version.to_owned()).collect();
        self.list()
    }

    /// A file of the release that is listed, and not in the package.
    #[must_use]
    pub fn kept(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.kept.push((path.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// Brings a command to be run at a hook.
    #[must_use]
    pub fn command(mut self, hook: &str, line: &str) -> Self {
        self.hooks[hook] = json!([line]);
        self.list()
    }

    /// Gives every entry mode 0600 and no file type, as Python's `writestr` does.
    #[must_use]
    pub fn python_modes(mut self) -> Self {
        self.python_modes = true;
        self
    }

    /// Writes the archive as a tar.gz.
    pub fn build_tar_gz(&self) -> Built {
        self.build_tar("", tar::gzip)
    }

    /// Writes the archive as a tar.zst.
    pub fn build_tar_zst(&self) -> Built {
        self.build_tar("", tar::zstd)
    }

    /// Writes the archive as a tar, with this before every name, and packs that.
    pub fn build_tar(&self, prefix: &str, pack: fn(&[u8]) -> Vec<u8>) -> Built {
        let mut entries = Vec::new();
        let mut files = BTreeMap::new();
        for (path, item) in &self.items {
            let name = format!("{prefix}{path}");
            if name.len() > 100 {
                entries.push(tar::RawEntry::pax(&[("path", &name)]));
            }
            entries.push(match item {
                Item::File {
                    content,
                    executable,
                } => {
                    files.insert(path.clone(), content.clone());
                    let mode = if *executable { 0o755 } else { 0o644 };
                    tar::RawEntry::file(&name, content).mode(mode)
                }
                Item::Link(target) => tar::RawEntry::link(&name, target),
                Item::Folder => tar::RawEntry::folder(&name),
            });
        }
        if self.listed {
            let name = format!("{prefix}castoff-files.json");
            entries.push(tar::RawEntry::file(name, self.file_list()));
        }
        let bytes = pack(&tar::RawTar::of(entries).build());
        Built::new(&self.version, bytes, files)
    }

    /// Writes the archive.
    pub fn build(&self) -> Built {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = |mode| {
            SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Deflated)
                .unix_permissions(if self.python_modes { 0o600 } else { mode })
        };
        let mut files = BTreeMap::new();
        for (path, item) in &self.items {
            match item {
                Item::File {
                    content,
                    executable,
                } => {
                    let mode = if *executable { 0o755 } else { 0o644 };
                    zip.start_file(path, options(mode)).unwrap();
                    zip.write_all(content).unwrap();
                    files.insert(path.clone(), content.clone());
                }
                Item::Link(target) => zip.add_symlink(path, target, options(0o777)).unwrap(),
                Item::Folder => zip.add_directory(path, options(0o755)).unwrap(),
            }
        }
        if self.listed {
            zip.start_file("castoff-files.json", options(0o644))
                .unwrap();
            zip.write_all(&self.file_list()).unwrap();
        }
        Built::new(&self.version, zip.finish().unwrap().into_inner(), files)
    }

    /// The `castoff-files.json` of this package, as [`Package::list`] puts it in.
    pub fn file_list(&self) -> Vec<u8> {
        let file = |content: &[u8], executable: bool| json!({"size": content.len(), "sha256": sha256(content), "executable": executable});
        let mut files = BTreeMap::new();
        for (path, content) in &self.kept {
            files.insert(path, file(content, false));
        }
        for (path, item) in &self.items {
            match item {
                Item::File {
                    content,
                    executable,
                } => files.insert(path, file(content, *executable)),
                Item::Link(target) => files.insert(path, json!({ "link": target })),
                Item::Folder => continue,
            };
        }
        json!({
            "castoff": 1, "version": self.version, "whole": self.fits.is_empty(),
            "fits": self.fits, "files": files, "hooks": self.hooks,
        })
        .to_string()
        .into_bytes()
    }
}

impl Built {
    fn new(version: &str, bytes: Vec<u8>, files: BTreeMap<String, Vec<u8>>) -> Self {
        Self {
            version: version.to_owned(),
            sha256: sha256(&bytes),
            size: bytes.len() as u64,
            bytes,
            files,
        }
    }

    /// Announces bytes as a release would, whatever they are: for hostile packages.
    pub fn of_bytes(version: &str, bytes: Vec<u8>) -> Self {
        Self::new(version, bytes, BTreeMap::new())
    }
}

/// A SHA-256 digest in hex.
pub fn sha256(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}

/// Bytes as deflate packs them, without a header.
pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A folder's content: path with forward slashes, and what is there. Links are not followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<String, Node>);

/// What is at a path of a [`Tree`].
#[derive(Clone, PartialEq, Eq)]
pub enum Node {
    /// A folder and its mode.
    Folder(u32),
    /// A file: mode and content.
    File(u32, Vec<u8>),
    /// A link and its target.
    Link(String),
}

impl Tree {
    /// Reads a folder, without the entries directly in it that are named in `without`. A folder
    /// that does not exist is empty. Modes are the nine lower bits on Unix, and 0 elsewhere.
    pub fn read(folder: &Path, without: &[&str]) -> Self {
        let mut tree = Self::default();
        tree.add(folder, "", without);
        tree
    }

    /// The paths in it.
    pub fn paths(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// What differs in `other`, a line each: easier to read than both trees.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, here) in &self.0 {
            match other.0.get(path) {
                None => lines.push(format!("{path}: {here:?}, then nothing")),
                Some(there) if there != here => {
                    lines.push(format!("{path}: {here:?}, then {there:?}"));
                }
                Some(_) => {}
            }
        }
        for (path, there) in &other.0 {
            if !self.0.contains_key(path) {
                lines.push(format!("{path}: nothing, then {there:?}"));
            }
        }
        lines
    }

    fn add(&mut self, folder: &Path, prefix: &str, without: &[&str]) {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            entries => entries.unwrap(),
        };
        for entry in entries {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if without.contains(&name.as_str()) {
                continue;
            }
            let path = format!("{prefix}{name}");
            let metadata = entry.path().symlink_metadata().unwrap();
            let node = if metadata.is_symlink() {
                let target = fs::read_link(entry.path()).unwrap();
                Node::Link(target.to_string_lossy().replace('\\', "/"))
            } else if metadata.is_dir() {
                self.add(&entry.path(), &format!("{path}/"), &[]);
                Node::Folder(mode(&metadata))
            } else {
                Node::File(mode(&metadata), fs::read(entry.path()).unwrap())
            };
            self.0.insert(path, node);
        }
    }
}

#[cfg(unix)]
fn mode(metadata: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777
}

#[cfg(not(unix))]
fn mode(_: &fs::Metadata) -> u32 {
    0
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(mode) => write!(f, "folder {mode:o}"),
            Self::File(mode, content) => {
                let start = String::from_utf8_lossy(&content[..content.len().min(60)]);
                write!(f, "file {mode:o}, {} bytes, {start:?}", content.len())
            }
            Self::Link(target) => write!(f, "link to {target}"),
        }
    }
}

/// A zip that is written record by record. Without faults it is a correct one.
#[derive(Clone, Debug, Default)]
pub struct RawZip {
    prepended: Vec<u8>,
    entries: Vec<RawEntry>,
    before_directory: Vec<u8>,
    before_end: Vec<u8>,
    zip64: bool,
    comment: Vec<u8>,
    end: Option<fn(&mut End)>,
    appended: Vec<u8>,
}

/// An entry of a [`RawZip`]: both of its headers, and the bytes between.
#[derive(Clone, Debug)]
pub struct RawEntry {
    /// What stands before the data.
    pub local: Header,
    /// What stands in the central directory.
    pub central: Header,
    /// The data as it is packed.
    pub data: Vec<u8>,
    /// What follows the data: a data descriptor, or anything.
    pub trailer: Vec<u8>,
    /// Whether the central directory names it.
    pub listed: bool,
    /// Whether the local header and the data are written; an entry without them points to where
    /// they would be, or to `central.offset`.
    pub present: bool,
}

/// The fields of a header; the local one has not all of them.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct Header {
    pub made_by: u16,
    pub needed: u16,
    pub flags: u16,
    pub method: u16,
    pub crc32: u32,
    pub compressed: u32,
    pub size: u32,
    pub name: Vec<u8>,
    pub extra: Vec<u8>,
    pub comment: Vec<u8>,
    pub disk: u16,
    pub external: u32,
    /// Where the directory says that the local header is; where it really is when none.
    pub offset: Option<u32>,
}

/// The fields of the end record.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct End {
    pub disk: u16,
    pub directory_disk: u16,
    pub count_here: u16,
    pub count: u16,
    pub size: u32,
    pub offset: u32,
    pub comment_length: u16,
}

impl RawEntry {
    /// A regular file, stored as it is; made on Unix, mode 0644, UTF-8 flag unless ASCII.
    pub fn stored(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let (name, content) = (name.as_ref(), content.as_ref());
        let size = u32::try_from(content.len()).unwrap();
        let header = Header {
            made_by: 0x0314,
            needed: 20,
            flags: if name.is_ascii() { 0 } else { 1 << 11 },
            method: 0,
            crc32: crc32fast::hash(content),
            compressed: size,
            size,
            name: name.to_vec(),
            extra: Vec::new(),
            comment: Vec::new(),
            disk: 0,
            external: 0o100_644 << 16,
            offset: None,
        };
        Self {
            local: header.clone(),
            central: header,
            data: content.to_vec(),
            trailer: Vec::new(),
            listed: true,
            present: true,
        }
    }

    /// The same, deflated.
    pub fn deflated(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        let data = deflate(content);
        let compressed = u32::try_from(data.len()).unwrap();
        let mut entry = Self::stored(name, content).both(|header| {
            header.method = 8;
            header.compressed = compressed;
        });
        entry.data = data;
        entry
    }

    /// A symbolic link.
    pub fn link(name: &str, target: &str) -> Self {
        Self::stored(name, target).mode(0o120_777)
    }

    /// Changes both headers alike.
    #[must_use]
    pub fn both(self, change: impl Fn(&mut Header)) -> Self {
        self.local(&change).central(&change)
    }

    /// Changes the local header.
    #[must_use]
    pub fn local(mut self, change: impl Fn(&mut Header)) -> Self {
        change(&mut self.local);
        self
    }

    /// Changes the central header.
    #[must_use]
    pub fn central(mut self, change: impl Fn(&mut Header)) -> Self {
        change(&mut self.central);
        self
    }

    /// Sets the Unix mode, file type included.
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        self.both(|header| header.external = mode << 16)
    }

    /// Moves sizes and CRC behind the data; with `wide`, sizes of eight bytes.
    #[must_use]
    pub fn descriptor(mut self, signed: bool, wide: bool) -> Self {
        let Header {
            crc32,
            compressed,
            size,
            ..
        } = self.central;
        let mut trailer = Vec::new();
        if signed {
            trailer.extend(b"PK\x07\x08");
        }
        trailer.extend(crc32.to_le_bytes());
        for size in [compressed, size] {
            trailer.extend(size.to_le_bytes());
            trailer.extend(if wide { &[0; 4][..] } else { &[] });
        }
        self.trailer = trailer;
        self.both(|header| header.flags |= 1 << 3).local(|header| {
            (header.crc32, header.compressed, header.size) = (0, 0, 0);
        })
    }

    /// Moves the sizes into zip64 extra fields.
    #[must_use]
    pub fn zip64(self) -> Self {
        self.both(|header| {
            let mut field = Vec::new();
            field.extend(u64::from(header.size).to_le_bytes());
            field.extend(u64::from(header.compressed).to_le_bytes());
            header.extra.extend(extra_field(0x0001, &field));
            (header.size, header.compressed) = (u32::MAX, u32::MAX);
        })
    }
}

/// An extra field as it stands in a header.
pub fn extra_field(id: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    [&id.to_le_bytes()[..], &length.to_le_bytes(), content].concat()
}

/// Info-ZIP's Unicode path field: `name` is UTF-8, and belongs to the header's name `raw`.
pub fn unicode_path(raw: &[u8], name: &[u8]) -> Vec<u8> {
    let crc32 = crc32fast::hash(raw).to_le_bytes();
    extra_field(0x7075, &[&[1][..], &crc32, name].concat())
}

impl RawZip {
    /// An archive of these entries.
    pub fn of(entries: impl IntoIterator<Item = RawEntry>) -> Self {
        Self {
            entries: entries.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Puts bytes before the first entry; every offset counts them.
    #[must_use]
    pub fn prepended(mut self, bytes: &[u8]) -> Self {
        self.prepended = bytes.to_vec();
        self
    }

    /// Puts bytes between the last entry and the central directory.
    #[must_use]
    pub fn before_directory(mut self, bytes: &[u8]) -> Self {
        self.before_directory = bytes.to_vec();
        self
    }

    /// Puts bytes between the central directory and the end records.
    #[must_use]
    pub fn before_end(mut self, bytes: &[u8]) -> Self {
        self.before_end = bytes.to_vec();
        self
    }

    /// Puts bytes after everything.
    #[must_use]
    pub fn appended(mut self, bytes: &[u8]) -> Self {
        self.appended = bytes.to_vec();
        self
    }

    /// Gives the archive a comment.
    #[must_use]
    pub fn comment(mut self, bytes: &[u8]) -> Self {
        self.comment = bytes.to_vec();
        self
    }

    /// Writes the zip64 end records, and refers to them.
    #[must_use]
    pub fn zip64(mut self) -> Self {
        self.zip64 = true;
        self
    }

    /// Changes the end record, after all else is known.
    #[must_use]
    pub fn end(mut self, change: fn(&mut End)) -> Self {
        self.end = Some(change);
        self
    }

    /// Writes the archive.
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = self.prepended.clone();
        let mut directory = Vec::new();
        let mut count = 0;
        for entry in &self.entries {
            let offset = u32::try_from(bytes.len()).unwrap();
            if entry.present {
                entry.local.write_local(&mut bytes);
                bytes.extend(&entry.data);
                bytes.extend(&entry.trailer);
            }
            if entry.listed {
                entry.central.write_central(&mut directory, offset);
                count += 1;
            }
        }
        bytes.extend(&self.before_directory);
        let mut end = End {
            disk: 0,
            directory_disk: 0,
            count_here: count,
            count,
            size: u32::try_from(directory.len()).unwrap(),
            offset: u32::try_from(bytes.len()).unwrap(),
            comment_length: u16::try_from(self.comment.len()).unwrap(),
        };
        bytes.extend(directory);
        bytes.extend(&self.before_end);
        if self.zip64 {
            end.write_zip64(&mut bytes);
            end = End {
                count_here: u16::MAX,
                count: u16::MAX,
                size: u32::MAX,
                offset: u32::MAX,
                ..end
            };
        }
        if let Some(change) = self.end {
            change(&mut end);
        }
        end.write(&mut bytes);
        bytes.extend(&self.comment);
        bytes.extend(&self.appended);
        bytes
    }
}

impl Header {
    fn write_local(&self, to: &mut Vec<u8>) {
        to.extend(b"PK\x03\x04");
        self.write_common(to);
        to.extend(&self.name);
        to.extend(&self.extra);
    }

    fn write_central(&self, to: &mut Vec<u8>, offset: u32) {
        to.extend(b"PK\x01\x02");
        to.extend(self.made_by.to_le_bytes());
        self.write_common(to);
        to.extend(u16::try_from(self.comment.len()).unwrap().to_le_bytes());
        to.extend(self.disk.to_le_bytes());
        to.extend([0; 2]);
        to.extend(self.external.to_le_bytes());
        to.extend(self.offset.unwrap_or(offset).to_le_bytes());
        to.extend(&self.name);
        to.extend(&self.extra);
        to.extend(&self.comment);
    }

    fn write_common(&self, to: &mut Vec<u8>) {
        for field in [self.needed, self.flags, self.method] {
            to.extend(field.to_le_bytes());
        }
        // 1980-01-01, the first day of the format's calendar
        to.extend([0, 0, 0x21, 0]);
        for field in [self.crc32, self.compressed, self.size] {
            to.extend(field.to_le_bytes());
        }
        for part in [&self.name, &self.extra] {
            to.extend(u16::try_from(part.len()).unwrap().to_le_bytes());
        }
    }
}

impl End {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend(b"PK\x05\x06");
        for field in [self.disk, self.directory_disk, self.count_here, self.count] {
            to.extend(field.to_le_bytes());
        }
        to.extend(self.size.to_le_bytes());
        to.extend(self.offset.to_le_bytes());
        to.extend(self.comment_length.to_le_bytes());
    }

    fn write_zip64(&self, to: &mut Vec<u8>) {
        let at = to.len() as u64;
        to.extend(b"PK\x06\x06");
        to.extend(44_u64.to_le_bytes());
        to.extend([45, 3, 45, 0]);
        to.extend([0; 8]);
        for field in [self.count_here, self.count].map(u64::from) {
            to.extend(field.to_le_bytes());
        }
        for field in [self.size, self.offset].map(u64::from) {
            to.extend(field.to_le_bytes());
        }
        to.extend(b"PK\x06\x07");
        to.extend([0; 4]);
        to.extend(at.to_le_bytes());
        to.extend(1_u32.to_le_bytes());
    }
}

/// Packages that must be refused, a function each.
///
/// All of them hold an ordinary `main.py` too, where the fault leaves room for one, so that a
/// reader which passes over what it does not like is found out.
pub mod hostile {
    use super::{Package, RawEntry, RawZip, extra_field, unicode_path};

    /// One of [`all`].
    #[derive(Clone, Debug)]
    pub struct Hostile {
        /// The name of its function.
        pub name: &'static str,
        /// The package.
        pub bytes: Vec<u8>,
        /// The code of the error that must come of it.
        pub code: &'static str,
    }

    macro_rules! hostile {
        ($($(#[doc = $doc:literal])+ $name:ident = $code:literal $body:block)*) => {
            $($(#[doc = $doc])+ pub fn $name() -> Vec<u8> $body)*

            /// Every package of this module that has a function of its own.
            pub fn all() -> Vec<Hostile> {
                vec![$(Hostile { name: stringify!($name), bytes: $name(), code: $code },)*]
            }
        };
    }

    hostile! {
        /// Nothing at all.
        no_bytes = "ARCHIVE_INVALID" { Vec::new() }

        /// An error page with status 200.
        html_page = "ARCHIVE_INVALID" { b"<!doctype html><title>502 Bad Gateway</title>".to_vec() }

        /// An archive without entries.
        empty_archive = "ARCHIVE_INVALID" { RawZip::default().build() }

        /// An archive that holds a folder, and no file.
        only_a_folder = "ARCHIVE_INVALID" {
            RawZip::of([RawEntry::stored("lib/", "").mode(0o040_755)]).build()
        }

        /// The first half.
        first_half = "ARCHIVE_INVALID" {
            let mut bytes = good([]).build();
            bytes.truncate(bytes.len() / 2);
            bytes
        }

        /// The second half, which has the end record.
        second_half = "ARCHIVE_INVALID" {
            let mut bytes = good([]).build();
            bytes.drain(..bytes.len() / 2);
            bytes
        }

        /// Two whole archives, one after the other.
        two_archives = "ARCHIVE_INVALID" {
            [other().build(), good([]).build()].concat()
        }

        /// Two whole archives, and the second one's offsets count the first.
        two_archives_with_offsets = "ARCHIVE_INVALID" {
            good([]).prepended(&other().build()).build()
        }

        /// A second end record after the first, for the same directory.
        second_end_record = "ARCHIVE_INVALID" {
            let bytes = good([]).build();
            let end = bytes[bytes.len() - 22..].to_vec();
            good([]).appended(&end).build()
        }

        /// A second end record as the comment of the first, which is as long as it says.
        second_end_record_in_comment = "ARCHIVE_INVALID" {
            let bytes = good([]).build();
            good([]).comment(&bytes[bytes.len() - 22..]).build()
        }

        /// A whole archive as the comment of another.
        archive_in_comment = "ARCHIVE_INVALID" { good([]).comment(&other().build()).build() }

        /// An end record in an entry's comment: the directory ends twice.
        end_record_in_entry_comment = "ARCHIVE_INVALID" {
            let bytes = good([]).build();
            let end = &bytes[bytes.len() - 22..];
            good([RawEntry::stored("a", "a").central(|header| header.comment = end.to_vec())])
                .build()
        }

        /// The end record counts an entry less than there are.
        more_entries_than_declared = "ARCHIVE_INVALID" {
            good([]).end(|end| (end.count, end.count_here) = (1, 1)).build()
        }

        /// The end record counts an entry more than there are.
        fewer_entries_than_declared = "ARCHIVE_INVALID" {
            good([RawEntry::stored("a".repeat(99), "")])
                .end(|end| (end.count, end.count_here) = (4, 4))
                .build()
        }

        /// The end record counts more entries than the directory has room for.
        many_fewer_entries_than_declared = "ARCHIVE_INVALID" {
            good([]).end(|end| (end.count, end.count_here) = (60_000, 60_000)).build()
        }

        /// The end record's directory is longer than the file.
        directory_beyond_the_file = "ARCHIVE_INVALID" {
            good([]).end(|end| end.size = u32::MAX - 1).build()
        }

        /// The end record's comment is longer than what follows.
        comment_too_long = "ARCHIVE_INVALID" { good([]).end(|end| end.comment_length = 9).build() }

        /// Bytes after the end.
        appended_data = "ARCHIVE_INVALID" { good([]).appended(b"more").build() }

        /// A part of an archive on several disks.
        several_disks = "ARCHIVE_INVALID" { good([]).end(|end| end.disk = 1).build() }

        /// Bytes before the first entry, which the offsets do not count.
        prepended_data = "ARCHIVE_INVALID" {
            [b"#!/bin/sh\nexit\n".to_vec(), good([]).build()].concat()
        }

        /// Bytes before the first entry, which the offsets count: a self-extracting archive.
        prepended_data_with_offsets = "ARCHIVE_INVALID" {
            good([]).prepended(b"#!/bin/sh\nexit\n").build()
        }

        /// Bytes between two entries.
        bytes_between_entries = "ARCHIVE_INVALID" {
            let mut entry = RawEntry::stored("a", "a");
            entry.trailer = b"hidden".to_vec();
            good([entry]).build()
        }

        /// Bytes before the central directory.
        bytes_before_the_directory = "ARCHIVE_INVALID" { good([]).before_directory(b"more").build() }

        /// Bytes between the central directory and the end record.
        bytes_before_the_end = "ARCHIVE_INVALID" { good([]).before_end(b"more").build() }

        /// An entry that only those find who read from the front.
        entry_not_in_the_directory = "ARCHIVE_INVALID" {
            let mut entry = RawEntry::stored("hidden", "hidden");
            entry.listed = false;
            good([entry]).build()
        }

        /// Two entries with one and the same data.
        overlapping_entries = "ARCHIVE_INVALID" {
            let mut entry = RawEntry::stored("main.py", "print(1)");
            entry.present = false;
            good([entry.central(|header| header.offset = Some(0))]).build()
        }

        /// An entry whose data holds the next one whole: the bomb that needs no ratio.
        entry_within_an_entry = "ARCHIVE_INVALID" {
            let inner = RawZip::of([RawEntry::stored("inner", "inner")]).build();
            let inner = &inner[..30 + "inner".len() * 2];
            let outer = RawEntry::stored("outer", inner);
            let mut entry = RawEntry::stored("inner", "inner");
            entry.present = false;
            let offset = u32::try_from(30 + "outer".len()).unwrap();
            RawZip::of([outer, entry.central(|header| header.offset = Some(offset))]).build()
        }

        /// An entry that begins beyond the directory.
        entry_beyond_the_directory = "ARCHIVE_INVALID" {
            let mut entry = RawEntry::stored("a", "a");
            entry.present = false;
            good([entry.central(|header| header.offset = Some(u32::MAX - 7))]).build()
        }

        /// Another name before the data than in the directory.
        headers_differ_in_name = "ARCHIVE_INVALID" {
            good([RawEntry::stored("a", "a").local(|header| header.name = b"b".to_vec())]).build()
        }

        /// Another method before the data than in the directory.
        headers_differ_in_method = "ARCHIVE_INVALID" {
            good([RawEntry::stored("a", "a").local(|header| header.method = 8)]).build()
        }

        /// Another flag before the data than in the directory.
        headers_differ_in_flags = "ARCHIVE_INVALID" {
            good([RawEntry::stored("a", "a").local(|header| header.flags |= 1 << 11)]).build()
        }

        /// Another size before the data than in the directory.
        headers_differ_in_size = "ARCHIVE_INVALID" {
            good([RawEntry::stored("a", "a").local(|header| header.size = 2)]).build()
        }

        /// Another CRC-32 before the data than in the directory.
        headers_differ_in_crc = "ARCHIVE_INVALID" {
            good([RawEntry::stored("a", "a").local(|header| header.crc32 ^= 1)]).build()
        }

        /// A data descriptor that says something else.
        descriptor_differs = "ARCHIVE_INVALID" {
            let mut entry = RawEntry::deflated("a", "a").descriptor(true, false);
            entry.trailer[4] ^= 1;
            good([entry]).build()
        }

        /// The flag of a data descriptor, and none there.
        descriptor_missing = "ARCHIVE_INVALID" {
            let mut entry = RawEntry::deflated("a", "a").descriptor(true, false);
            entry.trailer.clear();
            good([entry]).build()
        }

        /// An encrypted entry.
        encrypted = "ARCHIVE_INVALID" {
            good([RawEntry::stored("a", "a").both(|header| header.flags |= 1)]).build()
        }

        /// A strongly encrypted entry.
        strongly_encrypted = "ARCHIVE_INVALID" {
            good([RawEntry::stored("a", "a").both(|header| header.flags |= 1 | 1 << 6)]).build()
        }

        /// A compression method that nobody has.
        unknown_method = "ARCHIVE_INVALID" {
            good([RawEntry::stored("a", "a").both(|header| header.method = 77)]).build()
        }

        /// A zip64 field that is too short for what it must hold.
        zip64_field_too_short = "ARCHIVE_INVALID" {
            good([RawEntry::stored("a", "a").zip64().central(|header| {
                header.extra = extra_field(0x0001, &[1; 7]);
            })])
            .build()
        }

        /// Two zip64 fields in one header.
        two_zip64_fields = "ARCHIVE_INVALID" {
            good([RawEntry::stored("a", "a").zip64().central(|header| {
                header.extra = header.extra.repeat(2);
            })])
            .build()
        }

        /// A zip64 end record that another count contradicts.
        zip64_end_differs = "ARCHIVE_INVALID" {
            good([]).zip64().end(|end| (end.count, end.count_here) = (1, 1)).build()
        }

        /// An extra field that is longer than the header has room for.
        damaged_extra_field = "ARCHIVE_INVALID" {
            good([RawEntry::stored("a", "a").central(|header| header.extra = vec![9, 9, 9, 0])])
                .build()
        }

        /// A file that inflates to more than its headers say.
        more_bytes_than_declared = "ARCHIVE_INVALID" {
            good([RawEntry::deflated("a", [7; 5000]).both(|header| header.size = 4999)]).build()
        }

        /// A file that inflates to less than its headers say.
        fewer_bytes_than_declared = "ARCHIVE_INVALID" {
            good([RawEntry::deflated("a", [7; 5000]).both(|header| header.size = 5001)]).build()
        }

        /// A stored file whose two sizes differ.
        stored_sizes_differ = "ARCHIVE_INVALID" {
            good([RawEntry::stored("a", "a").both(|header| header.size = 2)]).build()
        }

        /// A file whose content has another CRC-32.
        wrong_crc = "ARCHIVE_INVALID" {
            good([RawEntry::deflated("a", "a").both(|header| header.crc32 ^= 1)]).build()
        }

        /// A file whose packed data is no deflate stream.
        not_deflate = "ARCHIVE_INVALID" {
            let mut entry = RawEntry::deflated("a", [7; 5000]);
            entry.data.fill(0xff);
            good([entry]).build()
        }

        /// A deflate stream that ends before its data does.
        bytes_after_the_stream = "ARCHIVE_INVALID" {
            let mut entry = RawEntry::deflated("a", "a");
            entry.data.extend(b"more");
            let packed = u32::try_from(entry.data.len()).unwrap();
            good([entry.both(|header| header.compressed = packed)]).build()
        }

        /// A deflate stream that does not end.
        stream_without_end = "ARCHIVE_INVALID" {
            let mut entry = RawEntry::deflated("a", [7; 5000]);
            entry.data.pop();
            let packed = u32::try_from(entry.data.len()).unwrap();
            good([entry.both(|header| header.compressed = packed)]).build()
        }

        /// A ratio that deflate cannot reach.
        impossible_ratio = "ARCHIVE_INVALID" {
            good([RawEntry::deflated("a", "a").both(|header| header.size = 1 << 30)]).build()
        }

        /// A real bomb: 512 MiB of zeros in half a megabyte.
        bomb = "TOO_LARGE" {
            let zeros = vec![0; 1 << 20];
            let entry = RawEntry::deflated("zeros", &zeros);
            RawZip::of((0..512).map(|number| {
                entry.clone().both(|header| header.name = format!("zeros {number}").into_bytes())
            }))
            .build()
        }

        /// The same name twice.
        duplicate_name = "ARCHIVE_UNSAFE" { good([RawEntry::stored("main.py", "other")]).build() }

        /// Two names that differ in case.
        same_name_but_case = "ARCHIVE_UNSAFE" {
            good([RawEntry::stored("MAIN.py", "other")]).build()
        }

        /// Two names that differ in Unicode form.
        same_name_but_form = "ARCHIVE_UNSAFE" {
            good([RawEntry::stored("\u{e9}", "a"), RawEntry::stored("e\u{301}", "b")]).build()
        }

        /// A file, and another below it.
        file_where_a_folder_is = "ARCHIVE_UNSAFE" {
            good([RawEntry::stored("Main.py/child", "a")]).build()
        }

        /// A file, and a folder of its name.
        folder_where_a_file_is = "ARCHIVE_UNSAFE" {
            good([RawEntry::stored("main.py/", "").mode(0o040_755)]).build()
        }

        /// A folder's entry with content.
        folder_with_content = "ARCHIVE_UNSAFE" {
            good([RawEntry::stored("lib/", "content").mode(0o040_755)]).build()
        }

        /// An entry with a folder's mode and a file's name.
        folder_without_a_slash = "ARCHIVE_UNSAFE" {
            good([RawEntry::stored("lib", "").mode(0o040_755)]).build()
        }

        /// A link, then a file through it.
        child_through_a_link = "ARCHIVE_UNSAFE" {
            good([RawEntry::link("lib", "other"), RawEntry::stored("LIB/a", "a")]).build()
        }

        /// A link, then a folder of the same name.
        folder_over_a_link = "ARCHIVE_UNSAFE" {
            good([RawEntry::link("lib", "other"), RawEntry::stored("lib/", "").mode(0o040_777)])
                .build()
        }

        /// A link that leads out.
        link_out = "ARCHIVE_UNSAFE" { good([RawEntry::link("lib/a", "../../a")]).build() }

        /// A link to an absolute path.
        absolute_link = "ARCHIVE_UNSAFE" { good([RawEntry::link("a", "/etc/passwd")]).build() }

        /// A link to a drive.
        link_to_a_drive = "ARCHIVE_UNSAFE" { good([RawEntry::link("a", "C:/Windows")]).build() }

        /// A link with backslashes.
        link_with_backslashes = "ARCHIVE_UNSAFE" { good([RawEntry::link("a", "..\\..\\b")]).build() }

        /// A link to nothing.
        link_without_target = "ARCHIVE_UNSAFE" { good([RawEntry::link("a", "")]).build() }

        /// A link of five thousand bytes.
        link_too_long = "ARCHIVE_UNSAFE" { good([RawEntry::link("a", &"b/".repeat(2500))]).build() }

        /// Links that each stay inside, and together lead out.
        chained_links_out = "ARCHIVE_UNSAFE" {
            good([RawEntry::link("a/b/up", "../.."), RawEntry::link("c", "a/b/up/../secret")])
                .build()
        }

        /// Two links to each other.
        links_in_a_circle = "ARCHIVE_UNSAFE" {
            good([RawEntry::link("a", "b"), RawEntry::link("b", "a")]).build()
        }

        /// A link into the launcher's own folder.
        link_to_the_state = "ARCHIVE_UNSAFE" {
            good([RawEntry::link("lib/a", "../.Castoff/state.json")]).build()
        }

        /// A character device.
        device_node = "ARCHIVE_UNSAFE" { good([RawEntry::stored("a", "").mode(0o020_666)]).build() }

        /// A named pipe.
        fifo = "ARCHIVE_UNSAFE" { good([RawEntry::stored("a", "").mode(0o010_666)]).build() }

        /// A socket.
        socket = "ARCHIVE_UNSAFE" { good([RawEntry::stored("a", "").mode(0o140_666)]).build() }

        /// A name that climbs out.
        climbing_name = "ARCHIVE_UNSAFE" { with_name(b"../evil.py") }

        /// A name that climbs out as Windows writes it.
        climbing_name_with_backslashes = "ARCHIVE_UNSAFE" {
            good([RawEntry::stored("..\\evil.py", "a").both(|header| header.made_by = 20)]).build()
        }

        /// A name that climbs out only in its Unicode path field.
        climbing_unicode_path = "ARCHIVE_UNSAFE" {
            good([RawEntry::stored("a", "a").both(|header| {
                header.extra = unicode_path(b"a", b"../evil.py");
            })])
            .build()
        }

        /// A name that is neither UTF-8 nor GBK.
        undecodable_name = "ARCHIVE_UNSAFE" { with_name(b"a\xff\xff") }

        /// A file in the launcher's own folder.
        file_in_the_state = "ARCHIVE_UNSAFE" { with_name(b".castoff/state.json") }

        /// A file in the backups, in another case and form.
        file_in_the_backups = "ARCHIVE_UNSAFE" {
            with_name(".bac\u{212a}up/1.0.0/main.py".as_bytes())
        }

        /// A second file list, in another case.
        two_file_lists = "ARCHIVE_UNSAFE" {
            let list = Package::new("1.0.0").file_list();
            good([
                RawEntry::stored("castoff-files.json", &list),
                RawEntry::stored("Castoff-Files.json", &list),
            ])
            .build()
        }
    }

    /// Names that must be refused wherever they come from: archives, file lists, manifests.
    pub const NAMES: &[&str] = &[
        "",
        "/",
        "/etc/passwd",
        "//server/share",
        "\\\\server\\share",
        "\\\\?\\C:\\a",
        "C:x",
        "C:/x",
        "C:\\x",
        "..",
        "../x",
        "a/../b",
        "a/..",
        "..\\x",
        "a\\b",
        ".",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "a\0b",
        "a\nb",
        "a\rb",
        "a\tb",
        "a\u{7f}b",
        "a\u{85}b",
        "\u{1b}[31m",
        "a:stream",
        "a::$DATA",
        "lib/a:stream",
        "CON",
        "con.txt",
        "lib/Nul",
        "AUX.tar.gz",
        "PRN",
        "nul .txt",
        "COM1",
        "com9.log",
        "LPT1/a",
        "COM¹",
        "lpt².txt",
        "LPT³",
        "CONIN$",
        "conout$",
        "a.",
        "a ",
        "a./b",
        "lib /b",
        "...",
        "a<b",
        "a>b",
        "a\"b",
        "a|b",
        "a?b",
        "a*b",
        ".castoff",
        ".castoff/state.json",
        ".CASTOFF/x",
        ".ca\u{17f}toff/x",
        ".cast\u{200c}off/x",
        "CASTOF~1/x",
        ".backup",
        ".Backup/1.0.0/main.py",
        ".bac\u{212a}up/x",
        "BACKUP~2",
    ];

    /// A package with an ordinary file and one of this name.
    pub fn with_name(name: &[u8]) -> Vec<u8> {
        good([RawEntry::stored(name, "content")]).build()
    }

    /// `main.py`, `lib/a.py`, and these entries between them.
    pub fn good(entries: impl IntoIterator<Item = RawEntry>) -> RawZip {
        let first = RawEntry::stored("main.py", "print(1)");
        let last = RawEntry::deflated("lib/a.py", "a = 1\n".repeat(20));
        RawZip::of([first].into_iter().chain(entries).chain([last]))
    }

    /// Another correct archive.
    fn other() -> RawZip {
        RawZip::of([RawEntry::stored("evil.py", "evil")])
    }

    /// Takes the flag that says that a name is UTF-8 from both headers.
    pub fn unflagged(entry: RawEntry) -> RawEntry {
        entry.both(|header| header.flags &= !(1 << 11))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_differs_where_the_folders_do() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lib")).unwrap();
        fs::write(folder.path().join("lib/a"), "1").unwrap();
        fs::write(folder.path().join("skipped"), "1").unwrap();
        let before = Tree::read(folder.path(), &["skipped"]);
        assert_eq!(before.paths(), ["lib", "lib/a"]);
        fs::write(folder.path().join("lib/a"), "2").unwrap();
        fs::write(folder.path().join("lib/b"), "3").unwrap();
        let after = Tree::read(folder.path(), &["skipped"]);
        let differences = before.differences(&after);
        assert_eq!(differences.len(), 2, "{differences:?}");
        assert!(before.differences(&before).is_empty());
    }

    #[test]
    fn raw_archives_without_faults_are_correct() {
        for raw in [hostile::good([]), hostile::good([]).zip64()] {
            let mut archive = zip::ZipArchive::new(Cursor::new(raw.build())).unwrap();
            assert_eq!(archive.len(), 2);
            for index in 0..2 {
                let mut file = archive.by_index(index).unwrap();
                std::io::copy(&mut file, &mut std::io::sink()).unwrap();
            }
        }
    }
}
