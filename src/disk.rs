//! Every write to a disk: atomic, synced, linked.
//!
//! Nothing else in the engine changes the file system (`clippy.toml` refuses it), so that what
//! must be durable, and in which order, is decided in one place.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::{Error, Result};

/// Makes a folder and those above it that do not exist.
pub fn create_folders(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io("create the folder", path))
}

/// Opens a file for reading and writing, from its start; makes it when it does not exist.
pub fn open_part(path: &Path) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(Error::io("open", path))
}

/// Removes a file or a link; one that is not there is no error.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Replaces a file's content at once: a temporary file, synced, renamed, its folder synced.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_added_extension("new");
    let mut file = File::create(&temporary).map_err(Error::io("create", &temporary))?;
    file.write_all(bytes)
        .map_err(Error::io("write", &temporary))?;
    file.sync_all().map_err(Error::io("sync", &temporary))?;
    drop(file);
    rename(&temporary, path)?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Renames within one file system, over what may be there.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(Error::io("rename", from))
}

/// Makes a folder's entries durable. Nothing on Windows, which cannot.
pub fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io("sync", path))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Lets those who may read a file execute it too. Nothing on Windows, which knows no such right.
pub fn make_executable(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let metadata = fs::metadata(path).map_err(Error::io("read the mode of", path))?;
        let mode = metadata.permissions().mode();
        let wanted = mode | (mode & 0o444) >> 2;
        if wanted != mode {
            fs::set_permissions(path, fs::Permissions::from_mode(wanted))
                .map_err(Error::io("make executable", path))?;
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
