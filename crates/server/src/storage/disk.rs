//! A folder of packages.

use std::io::{ErrorKind, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use axum::body::Body;
use castoff::disk;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::Stored;
use crate::{Error, Result};

/// How much is read at once: few turns between threads for each package, and at 200 downloads, which have
/// it twice, 25 MB.
const CHUNK: usize = 64 << 10;

/// A folder.
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    pub(super) fn new(root: PathBuf) -> Result<Self> {
        disk::create_folders(&root).map_err(|error| Error::Store(error.to_string()))?;
        Ok(Self { root })
    }

    fn path(&self, place: &str) -> PathBuf {
        place
            .split('/')
            .fold(self.root.clone(), |path, name| path.join(name))
    }

    pub(super) async fn put(&self, place: &str, from: &Path) -> Result<()> {
        let (to, from) = (self.path(place), from.to_path_buf());
        blocking(move || put(&from, &to, false)).await
    }

    pub(super) async fn put_once(&self, place: &str, from: &Path) -> Result<()> {
        let (to, from) = (self.path(place), from.to_path_buf());
        blocking(move || put(&from, &to, true)).await
    }

    pub(super) async fn look(&self, place: &str) -> Result<Option<Stored>> {
        let path = self.path(place);
        match tokio::fs::metadata(&path).await {
            Ok(metadata) if metadata.is_file() => Ok(Some(Stored {
                size: metadata.len(),
                modified: metadata
                    .modified()
                    .map_err(|error| Error::io("look at", &path, &error))?
                    .into(),
            })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look at", &path, &error)),
        }
    }

    pub(super) async fn read(&self, place: &str, range: Range<u64>) -> Result<Body> {
        let path = self.path(place);
        let failed = |error| Error::io("read", &path, &error);
        let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
        if range.start > 0 {
            file.seek(SeekFrom::Start(range.start))
                .await
                .map_err(failed)?;
        }
        file.set_max_buf_size(CHUNK);
        let part = file.take(range.end - range.start);
        Ok(Body::from_stream(ReaderStream::with_capacity(part, CHUNK)))
    }

    pub(super) async fn remove(&self, place: &str) -> Result<()> {
        let path = self.path(place);
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::io("remove", &path, &error))
            }
            _ => Ok(()),
        }
    }
}

/// Puts a file into its place, durably; what lies there may be as good.
fn put(from: &Path, to: &Path, once: bool) -> Result<()> {
    let failed = |error: castoff::Error| Error::Store(error.to_string());
    let folder = to.parent().unwrap_or(Path::new("."));
    if !(once && to.is_file()) {
        disk::create_folders(folder).map_err(failed)?;
        disk::sync_file(from).map_err(failed)?;
        match disk::rename(from, to) {
            // Somebody else has put it there meanwhile, and Windows replaces no file that is read.
            Err(_) if once && to.is_file() => {}
            renamed => renamed.map_err(failed)?,
        }
    }
    // Whoever has put it there may not have come to that yet.
    disk::sync_folder(folder).map_err(failed)
}

/// Does what waits for a disk where nobody else has to wait for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Internal(error.to_string()))?
}
