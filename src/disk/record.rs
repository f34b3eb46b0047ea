//! A record of every change that is made to the disk, for the power-cut replay of the tests.
//!
//! In ordinary builds [`noted`] is the call that it is given, and nothing else. Built with the
//! feature `failpoints`, the variable `CASTOFF_RECORD=FOLDER` makes it append each change that
//! succeeded to `FOLDER/record.jsonl`, in the order in which they were made: with a record, one
//! thread at a time changes the disk.
//!
//! A file is written through a handle, which is not seen here. So each change takes along what the
//! files hold that were opened for writing before and have not been looked at since, and what the
//! file holds that it names. Contents are kept in the folder, by their digest.

#[cfg(not(feature = "failpoints"))]
use std::io;
use std::path::Path;

/// A change of the disk.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(all(feature = "failpoints", target_os = "linux")),
    expect(
        dead_code,
        reason = "read by the record alone; some are for Linux alone"
    )
)]
pub(super) enum Change<'a> {
    /// A folder is made, and those above it that do not exist.
    Folders(&'a Path),
    /// A file is made unless it exists, and is written through its handle from then on.
    File(&'a Path),
    /// A file gets a second name.
    Link(&'a Path, &'a Path),
    /// A symbolic link is made: its target, its path.
    Symlink(&'a str, &'a Path),
    /// A file or a link gets another name, over what may be there.
    Rename(&'a Path, &'a Path),
    /// A file or a link is removed.
    Remove(&'a Path),
    /// An empty folder is removed.
    RemoveFolder(&'a Path),
    /// A folder and all below it is removed.
    RemoveTree(&'a Path),
    /// A file gets another mode or time.
    Attributes(&'a Path),
    /// A file's content is made durable.
    SyncFile(&'a Path),
    /// A folder's entries are made durable.
    SyncFolder(&'a Path),
    /// All of a file system is made durable.
    SyncAll(&'a Path),
}

/// Makes a change of the disk.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(super) fn noted<T>(_: Change<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    work()
}

#[cfg(feature = "failpoints")]
pub(super) use recorder::noted;
#[cfg(feature = "failpoints")]
pub(crate) use recorder::step;
#[cfg(all(feature = "failpoints", target_os = "linux"))]
pub(super) use recorder::without_syncfs;

#[cfg(feature = "failpoints")]
mod recorder {
    use std::collections::BTreeSet;
    use std::fs::{self, File};
    use std::io::{self, Write};
    use std::path::{Path, PathBuf};
    use std::sync::{LazyLock, Mutex, PoisonError};

    use serde_json::{Value, json};

    use super::Change;
    use crate::trust::Sha256;

    struct Recorder {
        folder: PathBuf,
        lines: File,
        /// Files that were opened for writing, and may have been written to since.
        open: BTreeSet<PathBuf>,
    }

    static RECORDER: LazyLock<Option<Mutex<Recorder>>> = LazyLock::new(|| {
        let folder = PathBuf::from(std::env::var_os("CASTOFF_RECORD")?);
        let lines = File::options()
            .append(true)
            .create(true)
            .open(folder.join("record.jsonl"))
            .expect("the record's folder is there");
        let open = BTreeSet::new();
        Some(Mutex::new(Recorder {
            folder,
            lines,
            open,
        }))
    });

    /// Whether everything is to be synced one by one, as on systems without a call for many files.
    #[cfg(target_os = "linux")]
    pub(in crate::disk) fn without_syncfs() -> bool {
        std::env::var_os("CASTOFF_NO_SYNCFS").is_some()
    }

    /// Makes a change of the disk, and notes it if it succeeds.
    pub(in crate::disk) fn noted<T>(
        change: Change<'_>,
        work: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(recorder) = &*RECORDER else {
            return work();
        };
        let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        // Before what they hold is renamed, synced or gone.
        let mut files = recorder.written();
        let result = work()?;
        if let Change::File(path) | Change::Attributes(path) = change {
            files.extend(recorder.keep(path));
        }
        if let Change::File(path) = change {
            recorder.open.insert(path.to_path_buf());
        }
        let (name, path, from) = parts(change);
        recorder.line(&json!({"change": name, "path": path, "from": from, "files": files}));
        Ok(result)
    }

    /// Notes that a step has been reached.
    pub(crate) fn step(name: &str) {
        if let Some(recorder) = &*RECORDER {
            let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            recorder.line(&json!({"change": "step", "path": name, "from": null, "files": []}));
        }
    }

    /// A change's name, its path, and the path or text that it is made from.
    fn parts(change: Change<'_>) -> (&'static str, String, Option<String>) {
        let text = |path: &Path| path.to_str().expect("a test's path is text").to_owned();
        let (name, path, from) = match change {
            Change::Folders(path) => ("folders", path, None),
            Change::File(path) => ("file", path, None),
            Change::Link(from, path) => ("link", path, Some(text(from))),
            Change::Symlink(target, path) => ("symlink", path, Some(target.to_owned())),
            Change::Rename(from, path) => ("rename", path, Some(text(from))),
            Change::Remove(path) => ("remove", path, None),
            Change::RemoveFolder(path) => ("remove folder", path, None),
            Change::RemoveTree(path) => ("remove tree", path, None),
            Change::Attributes(path) => ("attributes", path, None),
            Change::SyncFile(path) => ("sync file", path, None),
            Change::SyncFolder(path) => ("sync folder", path, None),
            Change::SyncAll(path) => ("sync all", path, None),
        };
        (name, text(path), from)
    }

    impl Recorder {
        /// What the files hold that may have been written to. Those that are closed cannot be told
        /// from those that are not; they are few.
        fn written(&mut self) -> Vec<Value> {
            self.open.retain(|path| path.exists());
            self.open
                .iter()
                .filter_map(|path| self.keep(path))
                .collect()
        }

        /// Keeps what a file holds, and describes it.
        fn keep(&self, path: &Path) -> Option<Value> {
            let metadata = fs::symlink_metadata(path).ok()?;
            let bytes = fs::read(path).ok()?;
            let digest = Sha256::of(&bytes).to_string();
            let kept = self.folder.join(&digest);
            if !kept.exists() {
                fs::write(kept, bytes).expect("the record can be written");
            }
            Some(json!({
                "path": path,
                "content": digest,
                "mode": crate::disk::mode_of(&metadata),
                "modified": metadata.modified().ok(),
            }))
        }

        fn line(&mut self, line: &Value) {
            writeln!(self.lines, "{line}").expect("the record can be written");
        }
    }
}
