//! Looking at the installed tree: what a path holds, and whether an update may touch it.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::archive::SafePath;
use crate::config::Patterns;
use crate::disk;
use crate::disk::in_use::open_to_read;
use crate::order;
use crate::state::{ClientFolder, Content, FileRecord, Installed};
use crate::trust::{Sha256, hash_file};
use crate::{Code, Error, Result, record};

/// What a path is, as far as a look without reading tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// An ordinary file.
    File {
        /// Bytes.
        size: u64,
        /// Modification time, in nanoseconds since 1970.
        modified: i64,
        /// Permission bits, where the system has them.
        mode: Option<u32>,
    },
    /// A symbolic link and where it points.
    Link(String),
    /// A folder.
    Folder,
    /// A device, a socket, a pipe.
    Other,
}

/// Looks at a path, following no link.
pub fn look(path: &Path) -> Result<Found> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if absent(&error) => return Ok(Found::Nothing),
        Err(error) => return Err(Error::io("look at", path)(error)),
    };
    let kind = metadata.file_type();
    Ok(if kind.is_symlink() {
        let target = fs::read_link(path).map_err(Error::io("read the link", path))?;
        Found::Link(target.to_string_lossy().into_owned())
    } else if kind.is_dir() {
        Found::Folder
    } else if kind.is_file() {
        let mode = disk::mode_of(&metadata);
        Found::File {
            size: metadata.len(),
            modified: modified(&metadata),
            mode,
        }
    } else {
        Found::Other
    })
}

/// `a/b` is absent too when `a` is a file.
fn absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// A file's modification time in nanoseconds since 1970.
pub(crate) fn modified(metadata: &Metadata) -> i64 {
    let Ok(time) = metadata.modified() else {
        return 0;
    };
    let (sign, distance) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (1, after),
        Err(before) => (-1, before.duration()),
    };
    sign * i64::try_from(distance.as_nanos()).unwrap_or(i64::MAX)
}

/// The same as the system has it.
pub(crate) fn time_of(modified: i64) -> SystemTime {
    let distance = Duration::from_nanos(modified.unsigned_abs());
    if modified < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

impl FileRecord {
    /// Whether what was found is, by size, time and kind, what was recorded.
    pub(crate) fn looks_like(&self, found: &Found) -> bool {
        match (&self.content, found) {
            (
                Content::File { size, .. },
                Found::File {
                    size: now,
                    modified,
                    ..
                },
            ) => size == now && self.modified == *modified,
            (Content::Link(target), Found::Link(now)) => target == now,
            _ => false,
        }
    }
}

/// What a path holds, its content hashed; `None` for nothing, a folder or something special.
pub(crate) fn content_of(path: &Path) -> Result<Option<Content>> {
    Ok(match look(path)? {
        Found::File { mode, .. } => {
            let file = match open_to_read(path) {
                // Some file systems that fold names still show one for a moment that is gone.
                Err(Error::Io { source, .. }) if absent(&source) => return Ok(None),
                file => file?,
            };
            let (sha256, size) = hash_file(&file).map_err(Error::io("read", path))?;
            Some(Content::File { size, sha256, mode })
        }
        Found::Link(target) => Some(Content::Link(target)),
        Found::Nothing | Found::Folder | Found::Other => None,
    })
}

/// Whether two contents are the same but for their modes.
pub(crate) fn same(one: &Content, other: &Content) -> bool {
    match (one, other) {
        (
            Content::File {
                size: a, sha256: b, ..
            },
            Content::File {
                size: c, sha256: d, ..
            },
        ) => (a, b) == (c, d),
        (Content::Link(a), Content::Link(b)) => a == b,
        _ => false,
    }
}

/// Records a path as it is now. What looks as `known` says is not read again.
pub(crate) fn record(path: &Path, known: Option<&FileRecord>) -> Result<Option<FileRecord>> {
    let found = look(path)?;
    if let Some(known) = known.filter(|known| known.looks_like(&found)) {
        let mut record = known.clone();
        if let (Content::File { mode, .. }, Found::File { mode: now, .. }) =
            (&mut record.content, &found)
        {
            *mode = *now;
        }
        return Ok(Some(record));
    }
    let modified = match found {
        Found::File { modified, .. } => modified,
        _ => 0,
    };
    let owned = known.is_some_and(|known| known.owned);
    Ok(content_of(path)?.map(|content| FileRecord {
        content,
        modified,
        crc32: None,
        owned,
    }))
}

/// Makes the list of a folder that has none, or whose list is of another version than
/// `local_version.json` says, because the Python client has worked on it.
///
/// Every file is recorded, but for Castoff's own, what the preserve list names, and what the
/// backup's excludes name. Only what `stale`, an older list, already knew to be a release's is
/// taken for a release's; the rest may be the user's.
pub fn adopt(
    folder: &ClientFolder,
    leave_out: &[&Patterns],
    stale: Option<&Installed>,
) -> Result<BTreeMap<SafePath, FileRecord>> {
    let mut paths = Vec::new();
    let root = folder.tree();
    if look(&root)? == Found::Nothing {
        return Ok(BTreeMap::new());
    }
    walk(folder, &root, "", leave_out, &|_| false, &mut paths)?;
    let records = disk::in_parallel(disk::cores(), &paths, &|path: &SafePath| {
        let known = stale.and_then(|stale| stale.files.get(path));
        record(&path.below(&root), known)
    })?;
    let pairs = paths.into_iter().zip(records);
    Ok(order::map(
        pairs.filter_map(|(path, record)| Some((path, record?))),
    ))
}

/// Lists the files below `at`, which is `prefix` in the client folder. A folder that this user may
/// not read is passed over, and that is said in the log, where `may_skip` says so of its path; else
/// it is an error.
pub(crate) fn walk(
    folder: &ClientFolder,
    at: &Path,
    prefix: &str,
    leave_out: &[&Patterns],
    may_skip: &dyn Fn(&str) -> bool,
    paths: &mut Vec<SafePath>,
) -> Result<()> {
    for entry in fs::read_dir(at).map_err(Error::io("read", at))? {
        let entry = entry.map_err(Error::io("read", at))?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        if prefix.is_empty() && folder.is_own(&name) {
            continue;
        }
        let path = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        };
        let kind = entry
            .file_type()
            .map_err(Error::io("look at", entry.path()))?;
        if leave_out
            .iter()
            .any(|patterns| patterns.matches(&path, kind.is_dir()))
        {
            continue;
        }
        if kind.is_dir() {
            let below = entry.path();
            let walked = same_device(at, &below).and_then(|same| {
                if same {
                    walk(folder, &below, &path, leave_out, may_skip, paths)?;
                }
                Ok(())
            });
            match walked {
                Err(error) if error.code() == Code::PermissionDenied && may_skip(&path) => {
                    record::info!("{path} is passed over: {}", error.chain());
                }
                walked => walked?,
            }
        } else if let Ok(path) = SafePath::try_from(path) {
            // A name that no package could have written is the user's, and stays out of the list.
            paths.push(path);
        }
    }
    Ok(())
}

/// Whether a folder and one below it are on one device, and nothing is mounted on the second;
/// always so where the system has no such number.
#[cfg_attr(
    not(unix),
    expect(
        clippy::unnecessary_wraps,
        reason = "the signature that it has on Unix"
    )
)]
pub(crate) fn same_device(one: &Path, other: &Path) -> Result<bool> {
    // A part of the same device that is mounted again has its number, and no rename leads there.
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
        // Systems before 5.8 do not tell.
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let mounted = statx(CWD, other, flags, StatxFlags::empty())
            .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
        if mounted {
            return Ok(false);
        }
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let device = |path: &Path| {
            fs::symlink_metadata(path)
                .map(|metadata| metadata.dev())
                .map_err(Error::io("look at", path))
        };
        Ok(device(one)? == device(other)?)
    }
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        Ok(true)
    }
}

/// Checks that nothing on the way to `path` leads out of the client folder: every folder above
/// it is a folder (or not there yet), on the same device, and may be changed.
///
/// `gone` says of a path that the same commit removes it first. `seen` remembers folders that
/// were found good.
pub(crate) fn check_way(
    root: &Path,
    path: &SafePath,
    gone: &dyn Fn(&SafePath) -> bool,
    seen: &mut std::collections::HashSet<SafePath>,
) -> Result<()> {
    for parent in path.parents() {
        if !seen.insert(parent.clone()) {
            // The folders above a folder that was seen were seen with it.
            continue;
        }
        let on_disk = parent.below(root);
        let refuse = |problem| {
            Err(Error::TargetUnsafe {
                path: on_disk.clone(),
                problem,
            })
        };
        match look(&on_disk)? {
            Found::Folder if !same_device(root, &on_disk)? => {
                return refuse("it is a mount point, and not on the preserve list");
            }
            Found::Folder if !disk::may_change(&on_disk) => {
                let denied = io::ErrorKind::PermissionDenied.into();
                return Err(Error::io("change", &on_disk)(denied));
            }
            Found::Link(_) if !gone(&parent) => {
                return refuse("it is a link, and not on the preserve list");
            }
            Found::File { .. } if !gone(&parent) => {
                return refuse("it is a file where the new version has a folder");
            }
            Found::Other => return refuse("it is neither a file nor a folder"),
            // Nothing wrong, nothing there yet, or removed first.
            Found::Folder | Found::Nothing | Found::Link(_) | Found::File { .. } => {}
        }
    }
    Ok(())
}

/// Whether a folder on the way to `path` is a link or a mount point: what lies beyond is not the
/// client folder's.
pub(crate) fn leads_elsewhere(root: &Path, path: &SafePath) -> Result<bool> {
    for parent in path.parents() {
        let on_disk = parent.below(root);
        match look(&on_disk)? {
            Found::Link(_) => return Ok(true),
            Found::Folder if !same_device(root, &on_disk)? => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

/// The digest of a file's content, wherever it is.
pub(crate) fn digest_of(path: &Path) -> Result<(Sha256, u64)> {
    let file = open_to_read(path)?;
    hash_file(&file).map_err(Error::io("read", path))
}
