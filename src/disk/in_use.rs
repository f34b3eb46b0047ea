//! Files that others hold: open in a program, running, or looked through by a virus scanner.
//!
//! Unix replaces and removes a file whoever has it open; here everything is done at once then, and
//! nothing is waited for. Windows refuses, in three degrees:
//!
//! - what was opened by somebody who lets it be removed, and a program or library that runs, can
//!   be renamed, but neither replaced nor removed: [`replace`] and [`remove`] move it aside, to
//!   where it is in nobody's way ([`sweep`] removes it when it can be);
//! - what is looked through by a scanner or an indexer is free in a moment: [`Patience`];
//! - the rest stays where it is: `FILE_IN_USE`. [`need_free`] finds that out before anything is
//!   changed.
//!
//! Promises: [`replace`] and [`remove`] are done or, but for a kill or two failures in a row, leave
//! the file where it was; what they move aside stays on its file system. No wait is unbounded.
//!
//! Does not promise that what was free is still free in the next instant.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::record::{Change, noted};
use crate::{Error, Result, record};

/// How often what is held is tried again.
const POLL: Duration = Duration::from_millis(50);

/// How long scanners and indexers have a small file for themselves, and other launchers the state.
const MOMENT: Duration = Duration::from_secs(2);

/// Whether the system says that somebody else holds a file: a sharing violation, a lock
/// violation, a removal that waits for the last handle, a file that is mapped into memory.
pub(crate) fn is_held(error: &io::Error) -> bool {
    cfg!(windows) && matches!(error.raw_os_error(), Some(32 | 33 | 303 | 1224))
}

/// The same, or a refusal that can mean it: what runs, and what is being removed, is refused in
/// the words for missing rights.
fn is_refused(error: &io::Error) -> bool {
    is_held(error) || cfg!(windows) && error.raw_os_error() == Some(5)
}

/// The time that may be waited, in all, for others to let go of files.
#[derive(Debug)]
pub struct Patience {
    left: Cell<Duration>,
}

impl Patience {
    /// Waits for so long, in all.
    pub fn new(total: Duration) -> Self {
        let left = Cell::new(total);
        Self { left }
    }

    /// Tries again what fails because of a file in use, as long as there is patience. Whatever is
    /// tried must leave things so that it can be tried again.
    pub fn retry<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let mut result = attempt();
        if result.as_ref().is_err_and(may_pass) {
            let begun = Instant::now();
            while result.as_ref().is_err_and(may_pass) && begun.elapsed() < self.left.get() {
                sleep(POLL);
                result = attempt();
            }
            self.left
                .set(self.left.get().saturating_sub(begun.elapsed()));
        }
        result
    }
}

fn may_pass(error: &Error) -> bool {
    match error {
        Error::FileInUse { .. } => true,
        Error::Io { source, .. } => is_refused(source),
        _ => false,
    }
}

/// Tries again for a moment what fails because of a file in use.
pub(super) fn retry<T>(attempt: impl FnMut() -> Result<T>) -> Result<T> {
    Patience::new(MOMENT).retry(attempt)
}

/// Opens a file for reading, waiting for those who have it for themselves for a moment.
pub fn open_to_read(path: &Path) -> Result<File> {
    retry(|| File::open(path).map_err(Error::io("open", path)))
}

/// Reads a whole file, waiting for those who have it for themselves for a moment.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    retry(|| fs::read(path).map_err(Error::io("read", path)))
}

/// Fails with `FILE_IN_USE`, and changes nothing, unless each of the paths may be moved, or is not
/// there. Asks nothing on Unix, where what is open can be.
pub fn need_free(paths: &[PathBuf], patience: &Patience) -> Result<()> {
    #[cfg(windows)]
    need(&may_move, paths, patience)?;
    #[cfg(not(windows))]
    let _ = (paths, patience);
    Ok(())
}

/// The same for what is to be removed without leaving anything aside: no program may run from it
/// either.
///
/// Not promised: that a running program is found whose file is read-only.
pub fn need_removable(paths: &[PathBuf], patience: &Patience) -> Result<()> {
    #[cfg(windows)]
    need(&may_remove, paths, patience)?;
    #[cfg(not(windows))]
    let _ = (paths, patience);
    Ok(())
}

#[cfg(windows)]
fn need(
    may: &(dyn Fn(&Path) -> Result<()> + Sync),
    paths: &[PathBuf],
    patience: &Patience,
) -> Result<()> {
    // Thousands are asked for at once; the few that are held are waited for one by one.
    let held = super::in_parallel(super::cores(), paths, &|path: &PathBuf| {
        Ok(may(path).is_err())
    })?;
    let mut held = paths.iter().zip(held).filter(|(_, held)| *held);
    held.try_for_each(|(path, _)| patience.retry(|| may(path)))
}

/// Asks for the right to rename and remove, which is had or refused when a file is opened for it.
#[cfg(windows)]
fn may_move(path: &Path) -> Result<()> {
    match open_for(DELETE, path) {
        Err(error) if !absent(&error) => Err(Error::io("replace", path)(error)),
        _ => Ok(()),
    }
}

/// Asks for the same, and whether a program runs: its file can be moved, and neither removed nor
/// written.
#[cfg(windows)]
fn may_remove(path: &Path) -> Result<()> {
    const WRITE_DATA: u32 = 2;
    may_move(path)?;
    match open_for(DELETE | WRITE_DATA, path) {
        // Whoever may not write may remove all the same.
        Err(error) if is_held(&error) => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The right to rename and remove.
#[cfg(windows)]
const DELETE: u32 = 0x0001_0000;

/// Opens a file, a folder or a link itself for some rights, keeping them from nobody.
#[cfg(windows)]
fn open_for(rights: u32, path: &Path) -> io::Result<File> {
    use std::os::windows::fs::OpenOptionsExt;
    const SHARE_EVERYTHING: u32 = 7;
    // A link itself, and a folder too.
    const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    const BACKUP_SEMANTICS: u32 = 0x0200_0000;
    File::options()
        .access_mode(rights)
        .share_mode(SHARE_EVERYTHING)
        .custom_flags(OPEN_REPARSE_POINT | BACKUP_SEMANTICS)
        .open(path)
}

fn absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// Renames a file over what may be there. A file there that is in use, or read-only, is moved to
/// the folder `aside`. Fails with `FILE_IN_USE` where it cannot be.
pub fn replace(from: &Path, to: &Path, aside: &Path) -> Result<()> {
    let in_use = |source| {
        Err(Error::FileInUse {
            path: to.to_path_buf(),
            source,
        })
    };
    match rename(from, to) {
        Ok(()) => return Ok(()),
        Err(error) if !is_refused(&error) => return Err(Error::io("put into place", to)(error)),
        // Whatever is held, a folder is no file that could be moved aside.
        Err(error) if !fs::symlink_metadata(to).is_ok_and(|found| !found.is_dir()) => {
            return in_use(error);
        }
        Err(_) => {}
    }
    let moved = match move_aside(to, aside) {
        Ok(moved) => moved,
        Err(error) => return in_use(error),
    };
    match rename(from, to) {
        Ok(()) => {
            // At once if it was merely read-only.
            let _ = remove_once(&moved);
            Ok(())
        }
        Err(error) => {
            // The new file is what is held.
            if let Err(worse) = rename(&moved, to) {
                record::error!("{} stays aside: {worse}", to.display());
            }
            in_use(error)
        }
    }
}

/// One attempt to rename.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    noted(Change::Rename(from, to), || fs::rename(from, to))
}

/// Removes a file or a link; one that is not there is no error. One that is in use is moved to the
/// folder `aside`. Fails with `FILE_IN_USE` where it cannot be.
pub fn remove(path: &Path, aside: &Path) -> Result<()> {
    if cfg!(not(windows)) {
        return super::remove_file(path);
    }
    if fs::symlink_metadata(path).is_err_and(|error| absent(&error)) {
        return Ok(());
    }
    // First aside and then away: what is in use keeps its name until the last handle is closed,
    // and the name may be needed.
    match move_aside(path, aside) {
        Ok(moved) => {
            let _ = remove_once(&moved);
            Ok(())
        }
        Err(error) if absent(&error) => Ok(()),
        Err(source) => Err(Error::FileInUse {
            path: path.to_path_buf(),
            source,
        }),
    }
}

/// Moves a file to a name of its own in the folder `aside`.
fn move_aside(path: &Path, aside: &Path) -> io::Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    noted(Change::Folders(aside), || fs::create_dir_all(aside))?;
    let process = std::process::id();
    let moved = loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let moved = aside.join(format!("{process}-{number}"));
        // Of an earlier process with the same number.
        if fs::symlink_metadata(&moved).is_err() {
            break moved;
        }
    };
    rename(path, &moved)?;
    record::debug!("{} is moved aside, to {}", path.display(), moved.display());
    Ok(moved)
}

/// Removes what was moved aside and is no longer in use. The rest stays for another time.
pub fn sweep(aside: &Path) {
    if cfg!(not(windows)) {
        return;
    }
    for entry in fs::read_dir(aside).into_iter().flatten().flatten() {
        if let Err(error) = remove_once(&entry.path()) {
            record::debug!("{} is still in use: {error}", entry.path().display());
        }
    }
    super::remove_empty_folder(aside);
}

/// One attempt to remove a file, even a read-only one, or a link, whatever it leads to.
pub(super) fn remove_once(path: &Path) -> io::Result<()> {
    let remove = || noted(Change::Remove(path), || fs::remove_file(path));
    let result = remove();
    #[cfg(windows)]
    if result.as_ref().is_err_and(is_refused) && is_folder_link(path) {
        // Takes the link, and nothing of the folder that it leads to.
        return noted(Change::Remove(path), || fs::remove_dir(path));
    }
    if result.as_ref().is_err_and(is_refused) && clear_read_only(path) {
        return remove();
    }
    result
}

/// Whether a path is a symbolic link to a folder, or a junction.
#[cfg(windows)]
fn is_folder_link(path: &Path) -> bool {
    use std::os::windows::fs::FileTypeExt;
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_symlink_dir())
}

/// Takes the read-only attribute of a file or a folder, which on Windows forbids its removal.
/// Returns whether there was one to take.
///
/// Windows since 10 (1809) removes such files itself, by a call that leaves the attribute to the
/// other names of a file; before, a file that is linked in a backup loses it there too.
#[cfg(windows)]
pub(super) fn clear_read_only(path: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return false;
    };
    let mut permissions = metadata.permissions();
    if !permissions.readonly() || metadata.file_type().is_symlink() {
        return false;
    }
    #[expect(
        clippy::permissions_set_readonly_false,
        reason = "on Windows it is an attribute, no mode for the world"
    )]
    permissions.set_readonly(false);
    noted(Change::Attributes(path), || {
        fs::set_permissions(path, permissions)
    })
    .is_ok()
}

/// Unix asks for the rights of the folder, not of the file.
#[cfg(not(windows))]
pub(super) fn clear_read_only(_path: &Path) -> bool {
    false
}

/// The same for all below a folder, following no link.
pub(super) fn clear_read_only_below(folder: &Path) -> bool {
    let mut cleared = false;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        cleared |= clear_read_only(&entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            cleared |= clear_read_only_below(&entry.path());
        }
    }
    cleared
}

#[cfg(all(test, windows))]
mod tests {
    use std::os::windows::fs::OpenOptionsExt;

    use super::*;
    use crate::Code;

    fn hold(path: &Path) -> File {
        File::options().read(true).share_mode(0).open(path).unwrap()
    }

    #[test]
    fn what_cannot_be_put_into_place_leaves_the_old_file_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("new"), b"new").unwrap();
        fs::write(path("old"), b"old").unwrap();
        let scanner = hold(&path("new"));
        let error = replace(&path("new"), &path("old"), &path("aside")).unwrap_err();
        assert_eq!(error.code(), Code::FileInUse);
        assert_eq!(fs::read(path("old")).unwrap(), b"old");
        drop(scanner);
        replace(&path("new"), &path("old"), &path("aside")).unwrap();
        assert_eq!(fs::read(path("old")).unwrap(), b"new");
        sweep(&path("aside"));
        assert!(!path("aside").exists());
    }

    #[test]
    fn a_program_that_runs_is_moved_aside_and_swept_away_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let windows = std::env::var_os("SystemRoot").unwrap();
        let program = Path::new(&windows).join("system32/ping.exe");
        let start = |name: &str| {
            fs::copy(&program, path(name)).unwrap();
            std::process::Command::new(path(name))
                .args(["-n", "600", "127.0.0.1"])
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut running = [start("replaced.exe"), start("removed.exe")];
        fs::write(path("new"), b"new").unwrap();
        assert!(fs::remove_file(path("removed.exe")).is_err(), "it runs");
        replace(&path("new"), &path("replaced.exe"), &path("aside")).unwrap();
        remove(&path("removed.exe"), &path("aside")).unwrap();
        assert_eq!(fs::read(path("replaced.exe")).unwrap(), b"new");
        assert!(!path("removed.exe").exists());
        sweep(&path("aside"));
        assert_eq!(fs::read_dir(path("aside")).unwrap().count(), 2);
        for program in &mut running {
            assert!(program.try_wait().unwrap().is_none(), "it goes on");
            program.kill().unwrap();
            program.wait().unwrap();
        }
        sweep(&path("aside"));
        assert!(!path("aside").exists());
    }

    #[test]
    fn a_program_that_runs_may_be_moved_and_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program.exe");
        let windows = std::env::var_os("SystemRoot").unwrap();
        fs::copy(Path::new(&windows).join("system32/ping.exe"), &program).unwrap();
        let paths = [program.clone(), folder.path().to_path_buf()];
        let ask = |asked: fn(&[PathBuf], &Patience) -> Result<()>| {
            asked(&paths, &Patience::new(POLL * 2))
        };
        ask(need_removable).unwrap();
        let mut running = std::process::Command::new(&program)
            .args(["-n", "600", "127.0.0.1"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        ask(need_free).unwrap();
        let error = ask(need_removable).unwrap_err();
        running.kill().unwrap();
        running.wait().unwrap();
        assert_eq!(error.code(), Code::FileInUse);
        assert!(error.to_string().contains("program.exe"), "{error}");
        need_removable(&paths, &Patience::new(MOMENT)).unwrap();
    }

    #[cfg_attr(emulated, ignore = "Wine makes no junctions")]
    #[test]
    fn a_link_to_a_folder_is_removed_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("kept")).unwrap();
        fs::write(path("kept/file"), "x").unwrap();
        let made = std::process::Command::new("cmd")
            .args(["/c", "mklink", "/J", "link", "kept"])
            .current_dir(folder.path())
            .status();
        assert!(made.unwrap().success());
        remove_once(&path("link")).unwrap();
        assert!(fs::symlink_metadata(path("link")).is_err());
        assert!(path("kept/file").exists());
    }

    #[test]
    fn patience_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let held = folder.path().join("held");
        fs::write(&held, b"x").unwrap();
        let _holder = hold(&held);
        let patience = Patience::new(POLL * 2);
        let paths = [held.clone(), folder.path().join("not there")];
        let error = need_free(&paths, &patience).unwrap_err();
        assert_eq!(error.code(), Code::FileInUse);
        assert_eq!(patience.left.get(), Duration::ZERO);
        assert!(super::super::remove_tree(folder.path()).is_err());
        assert!(held.exists());
    }
}
