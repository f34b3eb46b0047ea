//! A folder of files: the root of a web server, a share, a stick.
//!
//! Promises: what has a name that launchers ask for is whole and on the disk. What an attempt that
//! broke off has left lies under another name, and the next attempt begins it anew.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use castoff::disk;
use castoff::fetch::local;
use castoff::trust::{Hasher, hash_file};

use super::{Event, File, Place, Source, Standing, Tell};
use crate::document::Folder as Documents;
use crate::{Error, Result, steps};

/// How the name of a file ends while it comes.
const PART: &str = "part";

/// What is read and written at once: few calls, and a bar that moves.
const BLOCK: usize = 1 << 20;

pub(super) struct Folder {
    path: PathBuf,
    address: String,
}

impl Folder {
    /// The folder has to be there: a share that is not mounted is no place to write to.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).map_err(Error::io("find the path of", path))?;
        Documents::open(&path)?;
        Ok(Self {
            address: path.display().to_string(),
            path,
        })
    }

    /// Where a file of a release is to lie: in the folder or below it.
    fn path_of(&self, name: &str) -> Result<PathBuf> {
        let link = local::link(&self.path, name);
        let path = link
            .ok()
            .as_deref()
            .and_then(local::path_of)
            .map(Path::to_path_buf);
        path.ok_or_else(|| {
            Error::request(format!(
                "{name:?} does not lead to a file in {}",
                self.address
            ))
        })
    }
}

impl Place for Folder {
    fn address(&self) -> &str {
        &self.address
    }

    fn source(&self, _signed: bool) -> Source {
        Source {
            kind: "folder",
            url: self.address.clone(),
        }
    }

    fn documents(&self) -> Result<Vec<String>> {
        let mut names = Documents::open(&self.path)?.names()?;
        names.retain(|name| super::is_document(name));
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path.join(name);
        match local::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
            Ok((file, _)) => super::limited(name, file)
                .map(Some)
                .map_err(Error::io("read", &path)),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(disk::write_atomic(&self.path.join(name), bytes)?)
    }

    fn standing(&self, file: &File<'_>) -> Result<Standing> {
        let path = self.path_of(file.name)?;
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Missing),
            Err(error) => return Err(Error::io("look at", &path)(error)),
            Ok(_) => {}
        }
        let (there, size) = local::open(&path).map_err(Error::io("read", &path))?;
        // Without reading what cannot be it.
        let same = size == file.size
            && hash_file(&there).map_err(Error::io("read", &path))?.0 == file.sha256;
        Ok(if same {
            Standing::Same
        } else {
            Standing::Other
        })
    }

    fn send(&self, file: &File<'_>, tell: &mut Tell<'_>) -> Result<()> {
        let path = self.path_of(file.name)?;
        let part = path.with_added_extension(PART);
        let folder = path.parent().unwrap_or(&self.path);
        disk::create_folders(folder)?;
        disk::remove_file(&part)?;
        if let Err(error) = copy(file, &part, tell) {
            // A full disk gets its room back.
            drop(disk::remove_file(&part));
            return Err(error);
        }
        disk::rename(&part, &path)?;
        Ok(disk::sync_folder(folder)?)
    }
}

/// Copies a file to a name that nobody asks for, and syncs it.
fn copy(file: &File<'_>, part: &Path, tell: &mut Tell<'_>) -> Result<()> {
    let (mut from, _) = local::open(&file.path).map_err(Error::io("read", &file.path))?;
    let mut to = disk::create_file(part, false)?;
    let (mut hasher, mut done) = (Hasher::default(), 0);
    let mut block = vec![0; BLOCK];
    loop {
        let count = from
            .read(&mut block)
            .map_err(Error::io("read", &file.path))?;
        if count == 0 {
            break;
        }
        hasher.update(&block[..count]);
        to.write_all(&block[..count])
            .map_err(Error::io("write", part))?;
        done += count as u64;
        tell(Event::Sending {
            name: file.name,
            done,
            size: file.size,
        });
        steps::reach(steps::SENDING)?;
    }
    if hasher.finish() != file.sha256 {
        return Err(file.has_changed());
    }
    to.sync_all().map_err(Error::io("sync", part))
}
