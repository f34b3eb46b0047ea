//! Making a package of a folder: a zip with the file list in it.
//!
//! Promises: the same files give the same bytes, whatever their times, their owners, the order of
//! the file system, the umask and the system that packs (the executable bit is kept, and Windows has
//! none). Nothing is packed that a launcher would refuse: names and links are judged before the first
//! byte is written, and the finished package is opened and unpacked as a launcher does it, and by a
//! second reader, before it gets its name. Memory does not grow with the files.
//!
//! Against an older package, what that one has already is left out: a *partial* package, whose list
//! still names every file of the release, so that a launcher knows what has to be there and what is to
//! go.
//!
//! Does not promise: the same bytes from another version of Castoff, whose compressor may be another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use castoff::archive::SafePath;
use castoff::archive::guard::{Node, RESERVED, check_tree};
use castoff::config::Patterns;
use castoff::disk;
use castoff::fetch::local;
use castoff::release::{Commands, FILE_LIST_NAME, FileList, Listed};
use castoff::trust::{Hasher, Sha256};
use castoff::version::Version;
use walkdir::WalkDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use crate::release::{Hashed, examine, hash, target_name};
use crate::{Error, Result};

/// The file in the folder that says what not to pack, a gitignore pattern a line.
pub const IGNORE_FILE: &str = ".castoffignore";

/// What is not packed unless a later pattern takes it back with `!`: what version control, Python and
/// desktops leave lying about, and no app needs. Python makes its bytecode anew.
pub const DEFAULT_EXCLUDES: [&str; 15] = [
    ".git",
    ".hg/",
    ".svn/",
    "__pycache__/",
    "*.py[co]",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".tox/",
    ".nox/",
    ".idea/",
    ".vscode/",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
];

/// A folder with this file in it is a virtual environment (PEP 405), whatever its name. It belongs to
/// the machine on which it was made.
const ENVIRONMENT_MARK: &str = "pyvenv.cfg";

/// What the launcher itself writes into the client folder, besides [`RESERVED`], and what this module
/// reads and writes: never packed.
const OWN: [&str; 3] = ["local_version.json", FILE_LIST_NAME, IGNORE_FILE];

/// The most that deflate can do: a package is made once and fetched by everybody. On a folder of Qt
/// and Python it is 3.5 per cent smaller than by zlib's usual 6, and takes twice as long to make.
const LEVEL: i64 = 9;

/// Sizes from here on get fields of 64 bits. Those of 32 end at 4 GiB, and what cannot be compressed
/// becomes a little larger: half of it is far from that, and costs 20 bytes.
const LARGE: u64 = 1 << 31;

/// What is read at once: as the engine does it.
const BLOCK: usize = 128 * 1024;

/// What is to be packed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The folder whose content becomes the package.
    pub folder: PathBuf,
    /// The version.
    pub version: Version,
    /// The kind of machine, as in `windows-x86_64`; `None`: it is not known.
    pub target: Option<String>,
    /// The package's file; replaced when it is there.
    pub output: PathBuf,
    /// Gitignore patterns, after those of [`IGNORE_FILE`].
    pub excludes: Vec<String>,
    /// Whether [`DEFAULT_EXCLUDES`] and virtual environments are left out.
    pub default_excludes: bool,
    /// Commands that the package brings.
    pub commands: Commands,
    /// The files of an older version, which are not packed again: the package is a partial one, for
    /// whoever has that version.
    pub against: Option<FileList>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Files are read.
    Packing {
        /// Bytes so far.
        done: u64,
        /// Bytes of all files.
        total: u64,
    },
    /// The package is opened as a launcher does it.
    Checking,
}

/// A package that was made.
#[derive(Debug)]
pub struct Packed {
    /// Size and digest of the package.
    pub file: Hashed,
    /// The list in it.
    pub list: FileList,
    /// How many files and links of the list it holds.
    pub held: usize,
    /// Bytes of all files of the release.
    pub bytes: u64,
}

/// Packs a folder.
///
/// Fails with `ARCHIVE_UNSAFE` for what a launcher would refuse, with `CONFIG_INVALID` for a pattern
/// that can match nothing, with `REQUEST_INVALID` for what cannot be packed, or as reading and
/// writing files do. What was at `output` is untouched then.
pub fn pack(draft: &Draft, progress: &mut dyn FnMut(Progress)) -> Result<Packed> {
    if let Some(target) = &draft.target {
        target_name(target)?;
    }
    if let Some(old) = &draft.against
        && old.version.parse::<Version>()? == draft.version
    {
        return Err(Error::request(format!(
            "what it is to be packed against is {} too: an older version is needed there",
            draft.version
        )));
    }
    let tree = Tree::read(draft)?;
    let output = std::path::absolute(&draft.output).map_err(Error::io("find", &draft.output))?;
    let around = output.parent().unwrap_or(&output);
    if lies_in(around, &draft.folder)? {
        return Err(Error::request(format!(
            "{} would lie in the folder that it is made of, and become a part of the next package: \
             say with --output where else it is to be",
            draft.output.display()
        )));
    }
    let temporary = output.with_added_extension("part");
    // One that was left by a crash.
    disk::remove_file(&temporary)?;
    let made = write(draft, &tree, &temporary, progress).and_then(|(list, held)| {
        progress(Progress::Checking);
        examine(&temporary, &draft.version)?;
        let file = hash(&temporary)?;
        disk::rename(&temporary, &output)?;
        disk::sync_folder(around)?;
        Ok(Packed {
            file,
            list,
            held,
            bytes: tree.bytes(),
        })
    });
    if made.is_err() {
        // A full disk gets its room back.
        drop(disk::remove_file(&temporary));
    }
    made
}

fn lies_in(inner: &Path, outer: &Path) -> Result<bool> {
    let real = |path: &Path| path.canonicalize().map_err(Error::io("find", path));
    Ok(real(inner)?.starts_with(real(outer)?))
}

/// What lies at a path of the folder.
enum Item {
    File { size: u64, executable: bool },
    Link(String),
    Folder,
}

/// What is to be packed, by path: the order in the package.
struct Tree(BTreeMap<SafePath, Item>);

impl Tree {
    fn read(draft: &Draft) -> Result<Self> {
        let folder = &draft.folder;
        if !folder.is_dir() {
            return Err(Error::request(format!("{} is no folder", folder.display())));
        }
        let excludes = excludes(draft)?;
        let mut items = BTreeMap::new();
        let walk = WalkDir::new(folder).min_depth(1).sort_by_file_name();
        let mut walk = walk.into_iter();
        while let Some(entry) = walk.next() {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(folder).to_path_buf();
                Error::io("read", path)(error.into())
            })?;
            let (path, kind) = (entry.path(), entry.file_type());
            let name = name_in(folder, path)?;
            let is_environment = || kind.is_dir() && path.join(ENVIRONMENT_MARK).exists();
            if excludes.matches(&name, kind.is_dir()) || draft.default_excludes && is_environment()
            {
                if kind.is_dir() {
                    walk.skip_current_dir();
                }
                continue;
            }
            let item = if kind.is_dir() {
                Item::Folder
            } else if kind.is_symlink() {
                Item::Link(target_of(path)?)
            } else if kind.is_file() {
                let metadata = entry.metadata().map_err(|error| {
                    let path = path.to_path_buf();
                    Error::io("read", path)(error.into())
                })?;
                Item::File {
                    size: metadata.len(),
                    executable: disk::mode_of(&metadata).is_some_and(|mode| mode & 0o111 != 0),
                }
            } else {
                return Err(Error::request(format!(
                    "{} is neither a file nor a folder nor a link, and cannot be packed: remove or \
                     exclude it",
                    path.display()
                )));
            };
            items.insert(SafePath::try_from(name)?, item);
        }
        let mut tree = Self(items);
        tree.drop_full_folders();
        tree.check(draft)?;
        Ok(tree)
    }

    /// Folders that hold something need no entry of their own.
    fn drop_full_folders(&mut self) {
        let full: BTreeSet<SafePath> = self.0.keys().filter_map(SafePath::parent).collect();
        self.0
            .retain(|path, item| !(matches!(item, Item::Folder) && full.contains(path)));
    }

    /// What a launcher would find at the end, found before the work.
    fn check(&self, draft: &Draft) -> Result<()> {
        let list = SafePath::try_from(FILE_LIST_NAME)?;
        let nodes = self.0.iter().map(|(path, item)| match item {
            Item::File { .. } => (path, Node::File),
            Item::Link(target) => (path, Node::Link(target)),
            Item::Folder => (path, Node::Folder),
        });
        check_tree(nodes.chain([(&list, Node::File)]))?;
        if self.0.is_empty() {
            return Err(Error::request(format!(
                "there is nothing to pack in {}",
                draft.folder.display()
            )));
        }
        let target = draft.target.as_deref().unwrap_or_default();
        let mut items = self.0.iter();
        match items.find(|(_, item)| matches!(item, Item::Link(_))) {
            Some((path, _)) if target.starts_with("windows") => Err(Error::request(format!(
                "{path} is a symbolic link, which launchers on Windows do not install: put the file \
                 itself in its place, or exclude it"
            ))),
            _ => Ok(()),
        }
    }

    fn bytes(&self) -> u64 {
        let size = |item: &Item| match item {
            Item::File { size, .. } => *size,
            _ => 0,
        };
        self.0.values().map(size).sum()
    }
}

/// The patterns in the order in which they count: the last that matches decides.
fn excludes(draft: &Draft) -> Result<Patterns> {
    let mut patterns: Vec<String> = Vec::new();
    if draft.default_excludes {
        patterns.extend(DEFAULT_EXCLUDES.map(str::to_owned));
    }
    let path = draft.folder.join(IGNORE_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => patterns.extend(
            text.lines()
                .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
                .map(str::to_owned),
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("read", &path)(error)),
    }
    patterns.extend(draft.excludes.iter().cloned());
    patterns.extend(RESERVED.iter().chain(&OWN).map(|name| format!("/{name}")));
    Ok(Patterns::parse(&patterns)?)
}

/// A path below `folder`, as a package names it.
fn name_in(folder: &Path, path: &Path) -> Result<String> {
    let inside = path.strip_prefix(folder).unwrap_or(path);
    let parts: Option<Vec<&str>> = inside.iter().map(|part| part.to_str()).collect();
    match parts {
        Some(parts) => Ok(parts.join("/")),
        None => Err(Error::request(format!(
            "the name of {} is no Unicode text, and not every system could write it: rename it",
            path.display()
        ))),
    }
}

fn target_of(link: &Path) -> Result<String> {
    let target = fs::read_link(link).map_err(Error::io("read", link))?;
    match target.into_os_string().into_string() {
        Ok(target) if cfg!(windows) => Ok(target.replace('\\', "/")),
        Ok(target) => Ok(target),
        Err(_) => Err(Error::request(format!(
            "the target of the link {} is no Unicode text",
            link.display()
        ))),
    }
}

/// Writes the package, and syncs it. Returns its list, and how much of that it holds.
fn write(
    draft: &Draft,
    tree: &Tree,
    to: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(FileList, usize)> {
    let mut writer = Writer {
        zip: ZipWriter::new(BufWriter::new(disk::create_file(to, false)?)),
        path: to,
        held: 0,
        done: 0,
        total: tree.bytes(),
        progress,
    };
    let mut files = BTreeMap::new();
    let old = draft.against.as_ref();
    for (path, item) in &tree.0 {
        let before = old.and_then(|old| old.files.get(path));
        let listed = match item {
            Item::Folder => {
                writer.folder(path)?;
                continue;
            }
            Item::Link(target) => {
                let link = target.clone();
                let listed = Listed::Link { link };
                if before != Some(&listed) {
                    writer.link(path, target)?;
                }
                listed
            }
            Item::File { size, executable } => {
                let (size, executable) = (*size, *executable);
                let from = path.below(&draft.folder);
                match before {
                    Some(before) if is_same(before, &from, size, executable)? => {
                        writer.advance(size);
                        before.clone()
                    }
                    _ => Listed::File {
                        size,
                        sha256: writer.file(path, &from, size, executable)?,
                        executable,
                    },
                }
            }
        };
        files.insert(path.clone(), listed);
    }
    let list = FileList {
        castoff: 1,
        version: draft.version.as_str().to_owned(),
        whole: old.is_none(),
        fits: old.iter().map(|old| old.version.clone()).collect(),
        files,
        hooks: draft.commands.clone(),
        gone: BTreeSet::new(),
    };
    let held = writer.held;
    writer.finish(&list)?;
    Ok((list, held))
}

/// Whether a file is what an older version has under its name. Another mode is a change too.
fn is_same(before: &Listed, file: &Path, size: u64, executable: bool) -> Result<bool> {
    match before {
        Listed::File {
            size: known,
            sha256,
            executable: mode,
        } if (*known, *mode) == (size, executable) => Ok(hash(file)?.sha256 == *sha256),
        _ => Ok(false),
    }
}

/// A zip that grows.
struct Writer<'a> {
    zip: ZipWriter<BufWriter<File>>,
    path: &'a Path,
    /// Files and links so far.
    held: usize,
    /// Bytes of files so far.
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(Progress),
}

impl Writer<'_> {
    fn folder(&mut self, path: &SafePath) -> Result<()> {
        let added = self.zip.add_directory(path.as_str(), options(0o755));
        added.map_err(|error| self.failed(error))
    }

    fn link(&mut self, path: &SafePath, target: &str) -> Result<()> {
        self.held += 1;
        let added = self.zip.add_symlink(path.as_str(), target, options(0o777));
        added.map_err(|error| self.failed(error))
    }

    fn file(
        &mut self,
        path: &SafePath,
        from: &Path,
        size: u64,
        executable: bool,
    ) -> Result<Sha256> {
        self.held += 1;
        let mode = if executable { 0o755 } else { 0o644 };
        let options = options(mode).large_file(size >= LARGE);
        let started = self.zip.start_file(path.as_str(), options);
        started.map_err(|error| self.failed(error))?;
        let (mut file, _) = local::open(from).map_err(Error::io("read", from))?;
        let mut hasher = Hasher::default();
        let mut block = vec![0; BLOCK];
        let mut read = 0;
        loop {
            let count = match file.read(&mut block) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io("read", from)(error)),
            };
            read += count as u64;
            if read > size {
                break;
            }
            hasher.update(&block[..count]);
            let written = self.zip.write_all(&block[..count]);
            written.map_err(Error::io("write", self.path))?;
            self.advance(count as u64);
        }
        if read != size {
            return Err(Error::request(format!(
                "{} has changed while it was packed: pack a folder that nobody writes to",
                from.display()
            )));
        }
        Ok(hasher.finish())
    }

    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(Progress::Packing {
            done: self.done,
            total: self.total,
        });
    }

    fn finish(mut self, list: &FileList) -> Result<()> {
        let started = self.zip.start_file(FILE_LIST_NAME, options(0o644));
        started.map_err(|error| self.failed(error))?;
        let io = |error: io::Error| Error::io("write", self.path)(error);
        serde_json::to_writer(&mut self.zip, list).map_err(|error| io(error.into()))?;
        let finished = self.zip.finish().map_err(|error| io(error.into()))?;
        let file = finished
            .into_inner()
            .map_err(|error| io(error.into_error()))?;
        file.sync_all().map_err(io)
    }

    fn failed(&self, error: zip::result::ZipError) -> Error {
        Error::io("write", self.path)(error.into())
    }
}

/// All that a zip says of an entry besides its name and content; the system, too, by which the mode is
/// understood.
fn options(mode: u32) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(LEVEL))
        .last_modified_time(DateTime::DEFAULT)
        .system(System::Unix)
        .unix_permissions(mode)
}
