//! Every write to a disk: atomic, synced, linked.
//!
//! Nothing else in the engine changes the file system (`clippy.toml` refuses it), so that what
//! must be durable, and in which order, is decided in one place.
//!
//! Promises: [`write_atomic`] leaves the old content or the new one whatever happens, and the new
//! one is durable when it returns; [`sync_tree`] returns only when everything below a folder is
//! durable; a sync that fails is an error. No function follows a link at the last component of
//! the path that it changes. What another program holds for a moment, which Windows lets it, is
//! tried again ([`in_use`]).
//!
//! Does not promise: durable folder entries on Windows, which has no call for them, nor anything
//! on disks that lie about having written.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the one place that writes"
)]

use std::fs::{self, File, Metadata};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use crate::{Error, Result};

pub mod in_use;
pub(crate) mod record;
pub mod rights;

use in_use::{clear_read_only, clear_read_only_below, retry};
use record::{Change, noted};

/// Makes a folder and those above it that do not exist.
pub fn create_folders(path: &Path) -> Result<()> {
    noted(Change::Folders(path), || fs::create_dir_all(path))
        .map_err(Error::io("create the folder", path))
}

/// Makes one folder. Returns whether it was made; one that is there already is no error.
pub fn create_folder(path: &Path) -> Result<bool> {
    match noted(Change::Folders(path), || fs::create_dir(path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(error) => Err(Error::io("create the folder", path)(error)),
    }
}

/// Opens a file for reading and writing, from its start; makes it when it does not exist.
pub fn open_part(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    noted(Change::File(path), || options.open(path)).map_err(Error::io("open", path))
}

/// Throws away what is in an open file, and begins at its start again. `path` is for messages.
pub fn empty(mut file: &File, path: &Path) -> Result<()> {
    file.set_len(0)
        .and_then(|()| file.rewind())
        .map_err(Error::io("truncate", path))
}

/// Makes a file that must not exist yet. It is executable for those who may read it, if asked.
pub fn create_file(path: &Path, executable: bool) -> Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if executable { 0o755 } else { 0o644 });
    }
    #[cfg(not(unix))]
    let _ = executable;
    noted(Change::File(path), || options.open(path)).map_err(Error::io("create", path))
}

/// Makes a file without a name in a folder, to be written and read by this process alone: it is gone
/// when it is closed, however that comes. Nothing of it is ever synced.
///
/// It has a name for a moment, and on Windows for as long as it is open.
pub(crate) fn scratch_file(folder: &Path) -> Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        /// The system removes it when its last handle is closed, also when the process is killed.
        const DELETE_ON_CLOSE: u32 = 0x0400_0000;
        /// It is kept from the disk while there is memory for it.
        const TEMPORARY: u32 = 0x0100;
        options.custom_flags(DELETE_ON_CLOSE).attributes(TEMPORARY);
    }
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!(".castoff-{}-{number}.tmp", std::process::id());
        let path = folder.join(name);
        let file = match options.open(&path) {
            // Of a process that had this number before and was killed in that moment.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            file => file.map_err(Error::io("create", &path))?,
        };
        #[cfg(unix)]
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        return Ok(file);
    }
}

/// Fills a new file with what is left of another, and makes its content durable. `path` is the
/// new file's, for messages.
pub fn fill(mut file: File, path: &Path, mut from: &File) -> Result<()> {
    io::copy(&mut from, &mut file).map_err(Error::io("write", path))?;
    noted(Change::SyncFile(path), || file.sync_all()).map_err(Error::io("sync", path))
}

/// Writes a file that must not exist yet. It is durable when its folder has been synced by
/// [`sync_tree`].
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    create_file(path, false)?
        .write_all(bytes)
        .map_err(Error::io("write", path))
}

/// Opens a file to which whole lines are added, by several processes at once; makes it when it
/// does not exist.
///
/// On Unix neither a link is followed nor a file written that has another name elsewhere: whoever may write
/// in the folder cannot have another's file written.
pub fn open_to_append(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        follow_nothing(&mut options);
        let opened = options.open(path).and_then(|file| {
            let found = file.metadata()?;
            if found.is_file() && found.nlink() == 1 {
                Ok(file)
            } else {
                Err(io::ErrorKind::Unsupported.into())
            }
        });
        opened.map_err(Error::io("open", path))
    }
    #[cfg(not(unix))]
    options.open(path).map_err(Error::io("open", path))
}

/// Removes a file or a link; one that is not there is no error.
pub fn remove_file(path: &Path) -> Result<()> {
    retry(|| match in_use::remove_once(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    })
}

/// Removes this process's own executable; Windows keeps it, elsewhere, until the process has
/// ended. Nothing of it stays in `folder`, which can be removed then.
pub fn remove_own_executable(folder: &Path) -> Result<()> {
    self_replace::self_delete_outside_path(folder)
        .map_err(Error::io("remove the launcher in", folder))
}

/// Removes a folder if nothing is in it. Returns whether it is gone.
pub fn remove_empty_folder(path: &Path) -> bool {
    let remove = || noted(Change::RemoveFolder(path), || fs::remove_dir(path));
    match remove() {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(_) => clear_read_only(path) && remove().is_ok(),
    }
}

/// Removes a folder and all below it, following no link; one that is not there is no error.
pub fn remove_tree(path: &Path) -> Result<()> {
    let remove = || match noted(Change::RemoveTree(path), || fs::remove_dir_all(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    };
    match remove() {
        Err(_) if cfg!(windows) => {
            clear_read_only_below(path);
            retry(remove)
        }
        result => result,
    }
}

/// Replaces a file's content at once: a temporary file, synced, renamed, its folder synced.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    put_in_place(path, bytes, None)
}

/// The same for what is its owner's alone, from the first byte.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    put_in_place(path, bytes, Some(0o600))
}

fn put_in_place(path: &Path, bytes: &[u8], mode: Option<u32>) -> Result<()> {
    let temporary = temporary_of(path);
    // One that was left by a crash, or planted as a link: neither is written through.
    remove_file(&temporary)?;
    let written = create_file(&temporary, false).and_then(|mut file| {
        if mode.is_some() {
            set_mode(&temporary, mode)?;
        }
        file.write_all(bytes)
            .map_err(Error::io("write", &temporary))?;
        noted(Change::SyncFile(&temporary), || file.sync_all())
            .map_err(Error::io("sync", &temporary))
    });
    if let Err(error) = written.and_then(|()| rename(&temporary, path)) {
        // A full disk gets its room back.
        let _ = remove_file(&temporary);
        return Err(error);
    }
    sync_folder(path.parent().unwrap_or(path))
}

fn temporary_of(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

/// Removes a file durably: when this returns, it does not come back after a power cut. What an
/// interrupted [`write_atomic`] has left of it goes too.
pub fn remove_durably(path: &Path) -> Result<()> {
    remove_file(&temporary_of(path))?;
    remove_file(path)?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Renames within one file system, over what may be there.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    retry(|| in_use::rename(from, to).map_err(Error::io("put into place", to)))
}

/// Gives a file a second name, or, where the file system has no such thing, copies it.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    match noted(Change::Link(from, to), || fs::hard_link(from, to)) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::io("link", to)(error))
        }
        Err(_) => copy(from, to),
    }
}

/// Makes a copy that shares the blocks until one side is written, where the file system can.
/// Returns false where it cannot.
pub fn clone_file(from: &Path, to: &Path) -> Result<bool> {
    // One refusal stands for the whole file system, and a client folder is on one.
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if REFUSED.load(Ordering::Relaxed) {
        return Ok(false);
    }
    if noted(Change::File(to), || reflink_copy::reflink(from, to)).is_err() {
        remove_file(to)?;
        REFUSED.store(true, Ordering::Relaxed);
        return Ok(false);
    }
    make_writable(to)?;
    let metadata = fs::metadata(from).map_err(Error::io("look at", from))?;
    let copy = File::options().write(true).open(to);
    keep_mode_and_time(&metadata, &copy.map_err(Error::io("open", to))?, to)?;
    Ok(true)
}

/// A clone has the mode of what it was made from, and a read-only file keeps no other time.
fn make_writable(path: &Path) -> Result<()> {
    set_mode(path, Some(0o600))
}

/// Copies a file of another owner, perhaps of another disk, for this user: content, modification
/// time and permission bits, but no bits that would lend somebody's rights, and no write protection
/// of Windows. Shares the blocks where that can be.
pub fn copy_foreign(from: &Path, to: &Path, mode: Option<u32>) -> Result<()> {
    if noted(Change::File(to), || reflink_copy::reflink(from, to)).is_err() {
        remove_file(to)?;
        fill_new(&mut in_use::open_to_read(from)?, from, to)?;
    }
    make_writable(to)?;
    let metadata = fs::metadata(from).map_err(Error::io("look at", from))?;
    #[cfg(windows)]
    {
        let mut permissions = fs::metadata(to)
            .map_err(Error::io("look at", to))?
            .permissions();
        #[expect(
            clippy::permissions_set_readonly_false,
            reason = "on Windows it is an attribute, no mode for the world"
        )]
        permissions.set_readonly(false);
        noted(Change::Attributes(to), || {
            fs::set_permissions(to, permissions)
        })
        .map_err(Error::io("set the mode of", to))?;
    }
    let modified = metadata.modified().map_err(Error::io("look at", from))?;
    set_modified(to, modified)?;
    set_mode(to, mode)
}

/// Copies content, mode and modification time.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    copy_open(in_use::open_to_read(from)?, from, to, None)
}

/// The same of what is open. The copy belongs to whom `like` does, where that is said. Whatever may come to
/// lie at `to` meanwhile is not touched.
pub fn copy_open(mut source: File, from: &Path, to: &Path, like: Option<&Path>) -> Result<()> {
    // Not `fs::copy`: it gives the copy its mode first, and a read-only one keeps no time.
    let copy = fill_new(&mut source, from, to)?;
    #[cfg(unix)]
    if let Some(like) = like {
        use std::os::unix::fs::{MetadataExt as _, fchown};
        let wanted = fs::metadata(like).map_err(Error::io("look at", like))?;
        let found = copy.metadata().map_err(Error::io("look at", to))?;
        let (uid, gid) = (wanted.uid(), wanted.gid());
        if (found.uid(), found.gid()) != (uid, gid) {
            fchown(&copy, Some(uid), Some(gid)).map_err(Error::io("set the owner of", to))?;
        }
    }
    #[cfg(not(unix))]
    let _ = like;
    let metadata = source.metadata().map_err(Error::io("look at", from))?;
    keep_mode_and_time(&metadata, &copy, to)
}

/// A new file with the content of what is open.
fn fill_new(source: &mut File, from: &Path, to: &Path) -> Result<File> {
    let mut copy = create_file(to, false)?;
    io::copy(source, &mut copy).map_err(Error::io("copy", from))?;
    Ok(copy)
}

fn keep_mode_and_time(metadata: &Metadata, copy: &File, to: &Path) -> Result<()> {
    let keep = || {
        copy.set_modified(metadata.modified()?)?;
        if cfg!(windows) && metadata.permissions().readonly() {
            // Such a file cannot be opened for a sync any more.
            copy.sync_all()?;
        }
        copy.set_permissions(metadata.permissions())
    };
    noted(Change::Attributes(to), keep).map_err(Error::io("set mode and time of", to))
}

/// What is opened is no link, and no pipe that would keep whoever opens it waiting.
#[cfg(unix)]
fn follow_nothing(options: &mut fs::OpenOptions) {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
}

/// Opens a file to read it, and no other to which a link leads. Windows lets few make links.
pub fn open_itself(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    follow_nothing(&mut options);
    retry(|| options.open(path).map_err(Error::io("open", path)))
}

/// Copies a folder and all below it, or a single file or link, to where nothing is. What is neither
/// file, link nor folder is left out.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(from).map_err(Error::io("look at", from))?;
    if metadata.is_dir() {
        create_folder(to)?;
        for entry in fs::read_dir(from).map_err(Error::io("read", from))? {
            let entry = entry.map_err(Error::io("read", from))?;
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
        return set_mode(to, mode_of(&metadata));
    }
    if metadata.is_symlink() {
        let target = fs::read_link(from).map_err(Error::io("read the link", from))?;
        return symlink(&target.to_string_lossy(), to);
    }
    if metadata.is_file() {
        copy(from, to)?;
    }
    Ok(())
}

/// Bytes of all files below a folder, as far as they can be seen.
pub fn size_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size_below(&entry.path()),
            Ok(found) if found.is_file() => found.len(),
            _ => 0,
        })
        .sum()
}

/// Gives the owner the right to write to everything below a folder, where the system has modes.
pub fn make_tree_writable(folder: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(folder).map_err(Error::io("look at", folder))?;
    if metadata.is_symlink() {
        return Ok(());
    }
    if let Some(mode) = mode_of(&metadata).filter(|mode| mode & 0o200 == 0) {
        set_mode(folder, Some(mode | 0o200))?;
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
            let entry = entry.map_err(Error::io("read", folder))?;
            make_tree_writable(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether a file has other names, where the system tells.
pub fn is_shared(path: &Path) -> Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::symlink_metadata(path).map_err(Error::io("look at", path))?;
        Ok(metadata.nlink() > 1)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Ok(false)
    }
}

/// Sets a file's modification time.
pub fn set_modified(path: &Path, time: std::time::SystemTime) -> Result<()> {
    let set = || {
        let file = File::options().write(true).open(path)?;
        file.set_modified(time)
    };
    noted(Change::Attributes(path), set).map_err(Error::io("set the time of", path))
}

/// Makes a symbolic link that must not exist yet.
#[cfg(unix)]
pub fn symlink(target: &str, path: &Path) -> Result<()> {
    noted(Change::Symlink(target, path), || {
        std::os::unix::fs::symlink(target, path)
    })
    .map_err(Error::io("link", path))
}

/// Symbolic links in packages are for Unix: Windows lets only administrators make them.
#[cfg(not(unix))]
pub fn symlink(_target: &str, path: &Path) -> Result<()> {
    Err(Error::io("link", path)(io::ErrorKind::Unsupported.into()))
}

/// The permission bits, where the system has them.
pub fn mode_of(metadata: &Metadata) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        Some(metadata.permissions().mode() & 0o777)
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        None
    }
}

/// Sets the permission bits, where the system has them.
pub fn set_mode(path: &Path, mode: Option<u32>) -> Result<()> {
    #[cfg(unix)]
    if let Some(mode) = mode {
        use std::os::unix::fs::PermissionsExt;
        let permissions = fs::Permissions::from_mode(mode & 0o777);
        return noted(Change::Attributes(path), || {
            fs::set_permissions(path, permissions)
        })
        .map_err(Error::io("set the mode of", path));
    }
    #[cfg(not(unix))]
    let _ = (path, mode);
    Ok(())
}

/// Gives a file to the owner and the group of another, where that is not so already. Nothing on
/// Windows, where a new file has what its folder hands down.
pub fn give_owner_of(like: &Path, path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let owner = |path: &Path| {
            let metadata = fs::metadata(path).map_err(Error::io("look at", path))?;
            Ok::<_, Error>((metadata.uid(), metadata.gid()))
        };
        let wanted = owner(like)?;
        if owner(path)? != wanted {
            std::os::unix::fs::chown(path, Some(wanted.0), Some(wanted.1))
                .map_err(Error::io("set the owner of", path))?;
        }
    }
    #[cfg(not(unix))]
    let _ = (like, path);
    Ok(())
}

/// Gives a new file what the one has that it will take the place of: owner and group and, on Linux, extended
/// attributes, which hold labels, access lists and capabilities. One that takes no other's place belongs to
/// whom the folder does in which it will be. As far as this user may: the rest is in the log. The mode is
/// set afterwards, for a new owner may cost bits of it.
pub fn stand_in_for(old: &Path, path: &Path) {
    let there = fs::symlink_metadata(old).is_ok_and(|it| it.is_file());
    let done = if there {
        give_owner_of(old, path).and_then(|()| copy_attributes(old, path))
    } else {
        let folder = old.ancestors().skip(1).find(|folder| folder.is_dir());
        folder.map_or(Ok(()), |folder| give_owner_of(folder, path))
    };
    if let Err(error) = done {
        crate::record::debug!("{}", error.chain());
    }
}

#[cfg(target_os = "linux")]
fn copy_attributes(old: &Path, path: &Path) -> Result<()> {
    use rustix::fs::{XattrFlags, getxattr, listxattr, listxattr_query, setxattr};
    /// Those of all attributes of a file fit there, as the kernel has it.
    const ROOM: usize = 64 << 10;
    let said = |error: rustix::io::Errno| Error::io("give the attributes of", path)(error.into());
    // Most files have none, and then no room is made.
    if listxattr_query(old).map_err(said)? == 0 {
        return Ok(());
    }
    let (mut names, mut value) = (vec![0_u8; ROOM], vec![0_u8; ROOM]);
    let length = listxattr(old, &mut names[..]).map_err(said)?;
    let mut refused = None;
    for name in names[..length].split(|byte| *byte == 0) {
        // Digests of the old content are none of the new one.
        if name.is_empty() || matches!(name, b"security.ima" | b"security.evm") {
            continue;
        }
        let length = getxattr(old, name, &mut value[..]).map_err(said)?;
        let set = noted(Change::Attributes(path), || {
            setxattr(path, name, &value[..length], XattrFlags::empty()).map_err(io::Error::from)
        });
        if let Err(error) = set {
            refused.get_or_insert(error);
        }
    }
    if let Some(error) = refused {
        return Err(Error::io("give the attributes of", path)(error));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "it has the form that it has on Linux"
)]
fn copy_attributes(_old: &Path, _path: &Path) -> Result<()> {
    Ok(())
}

/// Gives a folder the mode of another, and its owner as far as this user may.
pub fn like_folder(like: &Path, path: &Path) -> Result<()> {
    let metadata = fs::metadata(like).map_err(Error::io("look at", like))?;
    // A read-only one is made again to be filled.
    set_mode(path, mode_of(&metadata).map(|mode| mode | 0o700))?;
    if let Err(error) = give_owner_of(like, path) {
        crate::record::debug!("{}", error.chain());
    }
    Ok(())
}

/// Lets those who may read a file execute it. Nothing on Windows.
pub fn make_executable(path: &Path) -> Result<()> {
    let metadata = fs::metadata(path).map_err(Error::io("look at", path))?;
    set_mode(
        path,
        mode_of(&metadata).map(|mode| mode | ((mode & 0o444) >> 2)),
    )
}

/// The bytes that this user may still write to the file system of `path`.
pub fn free_space(path: &Path) -> Result<u64> {
    fs4::available_space(path).map_err(Error::io("ask for the free space of", path))
}

/// Fails with `DISK_FULL` unless `needed` bytes and a little more fit below `path`.
pub fn need_space(path: &Path, needed: u64) -> Result<()> {
    /// Room for folders, state files and the file system's own book-keeping.
    const MARGIN: u64 = 4 << 20;
    let available = free_space(path)?;
    if available < needed.saturating_add(MARGIN) {
        return Err(Error::DiskFull {
            path: path.to_path_buf(),
            needed,
            available,
        });
    }
    Ok(())
}

/// Whether this user may make and remove entries in a folder.
pub fn may_change(folder: &Path) -> bool {
    #[cfg(unix)]
    {
        use rustix::fs::{Access, access};
        access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    }
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        const ADD_FILE: u32 = 2;
        const ADD_FOLDER: u32 = 4;
        const BACKUP_SEMANTICS: u32 = 0x0200_0000;
        // Rights are asked for by opening, which changes nothing.
        let opened = File::options()
            .access_mode(ADD_FILE | ADD_FOLDER)
            .share_mode(7)
            .custom_flags(BACKUP_SEMANTICS)
            .open(folder);
        // Whoever holds the folder itself does not keep others from changing what is in it.
        opened.map_or_else(|error| in_use::is_held(&error), |_| true) && folder.is_dir()
    }
}

/// Whether a folder belongs to the user that this process is; always so where that is not asked.
pub fn is_mine(folder: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(folder).is_ok_and(|found| found.uid() == rustix::process::geteuid().as_raw())
    }
    #[cfg(not(unix))]
    {
        folder.is_dir()
    }
}

/// Whether the file system of a folder takes `A` and `a` for one name.
pub fn folds_case(folder: &Path) -> Result<bool> {
    create_folders(folder)?;
    let probe = folder.join("Case-Probe");
    write_atomic(&probe, b"")?;
    let folds = folder.join("cASE-pROBE").exists();
    remove_file(&probe)?;
    Ok(folds)
}

/// Makes a folder's entries durable. Nothing on Windows, which cannot.
pub fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(path)
        .and_then(|folder| noted(Change::SyncFolder(path), || folder.sync_all()))
        .map_err(Error::io("sync", path))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Up to so many paths are synced one by one; a sync of the whole file system waits for what
/// others write too.
#[cfg(target_os = "linux")]
const MANY: usize = 16;

/// Makes paths below `root`, which is a client folder, durable: what files hold, and what was
/// renamed and removed in folders.
///
/// On Windows a file that is read-only or held is passed over: one that was linked was durable
/// before, and a read-only copy was synced when it was made.
pub fn sync_paths(root: &Path, paths: &[PathBuf]) -> Result<()> {
    #[cfg(target_os = "linux")]
    if paths.len() > MANY && syncfs_reports_errors() {
        return sync_tree(&[root], None);
    }
    sync_each(paths, Some(root))
}

/// Makes everything below the folders durable: files, then the folders that name them. A single
/// file may stand in the place of a folder.
///
/// One call for the whole file system where that reports errors (Linux since 5.8), because
/// thousands of single syncs are slow; else file by file on several threads.
///
/// Windows syncs only what may be written. What is linked from elsewhere, in a folder `linked`,
/// and is running or read-only was durable before it was linked, and is passed over.
pub fn sync_tree(folders: &[&Path], linked: Option<&Path>) -> Result<()> {
    #[cfg(target_os = "linux")]
    if syncfs_reports_errors() {
        // They are all in one client folder, hence on one file system.
        let Some(first) = folders.first() else {
            return Ok(());
        };
        let folder = File::open(first).map_err(Error::io("open", first))?;
        return noted(Change::SyncAll(first), || Ok(rustix::fs::syncfs(&folder)?))
            .map_err(Error::io("sync", first));
    }
    let mut paths = Vec::new();
    for folder in folders {
        list(folder, &mut paths)?;
    }
    sync_each(&paths, linked)
}

#[cfg(target_os = "linux")]
fn syncfs_reports_errors() -> bool {
    #[cfg(feature = "failpoints")]
    if record::without_syncfs() {
        return false;
    }
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 8)
}

/// Files first, so that a folder is synced after what it names.
fn list(path: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let kind = fs::symlink_metadata(path)
        .map_err(Error::io("look at", path))?
        .file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(path).map_err(Error::io("read", path))? {
            list(&entry.map_err(Error::io("read", path))?.path(), paths)?;
        }
    }
    if kind.is_dir() || kind.is_file() {
        paths.push(path.to_path_buf());
    }
    Ok(())
}

/// Waiting for a disk is not computing: more threads than cores.
const SYNC_THREADS: usize = 8;

fn sync_each(paths: &[PathBuf], linked: Option<&Path>) -> Result<()> {
    let sync_one = |path: &PathBuf| -> Result<()> {
        if path.is_dir() {
            return sync_folder(path);
        }
        if linked.is_some_and(|linked| path.starts_with(linked)) {
            return match open_to_sync(path) {
                Err(_) if cfg!(windows) => Ok(()),
                file => file.and_then(|file| noted(Change::SyncFile(path), || file.sync_all())),
            }
            .map_err(Error::io("sync", path));
        }
        sync_file(path)
    };
    crate::disk::in_parallel(SYNC_THREADS, paths, &sync_one).map(|_: Vec<()>| ())
}

/// Makes a file's content durable.
pub fn sync_file(path: &Path) -> Result<()> {
    let file = retry(|| open_to_sync(path).map_err(Error::io("sync", path)))?;
    noted(Change::SyncFile(path), || file.sync_all()).map_err(Error::io("sync", path))
}

/// Windows flushes only through a handle that may write.
fn open_to_sync(path: &Path) -> io::Result<File> {
    if cfg!(windows) {
        File::options().write(true).open(path)
    } else {
        File::open(path)
    }
}

/// How many threads compute at once. Unpacking and linking thousands of files is computing: the
/// system's share of it.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Does `work` for every item on up to `threads` threads, and gives the results in the items'
/// order, or one of the errors. After an error nothing more is begun. Where the system starts fewer
/// threads, fewer do it.
pub fn in_parallel<I: Sync, R: Send>(
    threads: usize,
    items: &[I],
    work: &(dyn Fn(&I) -> Result<R> + Sync),
) -> Result<Vec<R>> {
    let results = Mutex::new(items.iter().map(|_| None).collect::<Vec<_>>());
    each(threads, items.len(), &|index| {
        let result = work(&items[index])?;
        results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
        Ok(())
    })?;
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(results.into_iter().flatten().collect())
}

/// Does `work` for every number below `count`, as [`in_parallel`] says.
fn each(threads: usize, count: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    use std::sync::atomic::AtomicUsize;
    let threads = threads.min(count);
    if threads <= 1 {
        return (0..count).try_for_each(work);
    }
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let worker = || {
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            if let Err(error) = work(index) {
                failed.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let started = (0..threads).map_while(|_| Builder::new().spawn_scoped(scope, worker).ok());
        let handles: Vec<_> = started.collect();
        if handles.is_empty() {
            worker()?;
        }
        let mut done = Ok(());
        for handle in handles {
            match handle.join() {
                Ok(result) => done = done.and(result),
                // Where panics do not end the process at once, as in tests.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_write_replaces_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn an_atomic_write_does_not_write_through_a_planted_link() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, b"mine").unwrap();
        let path = folder.path().join("state.json");
        std::os::unix::fs::symlink(&victim, path.with_added_extension("new")).unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
    }

    #[test]
    fn too_little_space_is_disk_full() {
        let folder = tempfile::tempdir().unwrap();
        need_space(folder.path(), 1).unwrap();
        let error = need_space(folder.path(), u64::MAX / 2).unwrap_err();
        assert_eq!(error.code(), crate::Code::DiskFull);
    }

    #[test]
    fn a_tree_is_synced_file_by_file_where_there_is_no_single_call() {
        let folder = tempfile::tempdir().unwrap();
        create_folders(&folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/c"), b"x").unwrap();
        let mut paths = Vec::new();
        list(folder.path(), &mut paths).unwrap();
        assert_eq!(paths.len(), 4);
        assert!(
            paths[0].ends_with("a/b/c"),
            "files come before their folders: {paths:?}"
        );
        sync_each(&paths, None).unwrap();
        sync_tree(&[folder.path()], None).unwrap();
    }

    #[test]
    fn parallel_work_keeps_the_order_and_reports_an_error() {
        let items: Vec<usize> = (0..100).collect();
        let doubled = in_parallel(4, &items, &|item| Ok(item * 2)).unwrap();
        assert_eq!(doubled[99], 198);
        assert!(doubled.is_sorted());
        let failing = |item: &usize| match item {
            50 => Err(Error::Internal {
                what: "fifty".into(),
            }),
            _ => Ok(()),
        };
        assert_eq!(
            in_parallel(4, &items, &failing).unwrap_err().code(),
            crate::Code::Internal
        );
    }
}
