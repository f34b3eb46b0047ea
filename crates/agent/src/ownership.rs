//! Who may change what the updater works on. As root it refuses to work where others may: what they put there
//! would be done with its rights.

use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;

#[cfg(unix)]
use castoff::Error;
use castoff::Result;

/// Fails with `TARGET_UNSAFE` where this is root and others may change one of these files or folders, or the
/// way to it. What is not there is nobody's.
#[cfg(unix)]
pub fn check(paths: &[impl AsRef<Path>]) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        paths.iter().try_for_each(|path| check_one(path.as_ref()))
    } else {
        Ok(())
    }
}

#[cfg(unix)]
fn check_one(path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(real) = path.canonicalize() else {
        return Ok(());
    };
    let places: Vec<PathBuf> = real.ancestors().map(Path::to_path_buf).collect();
    for place in places {
        let found = std::fs::symlink_metadata(&place).map_err(Error::io("look at", &place))?;
        // In a folder such as /tmp nobody can take the place of another's.
        let sticky = found.mode() & 0o1000 != 0 && place != real;
        if found.uid() != 0 || (found.mode() & 0o022 != 0 && !sticky) {
            return Err(Error::TargetUnsafe {
                path: place,
                problem: "others than root may change it, and this updater runs as root",
            });
        }
    }
    Ok(())
}

/// The user whose a file and its folder are, where that is not root, with that user's own group: with nobody
/// else's rights it can be written there.
#[cfg(unix)]
pub fn one_owner(file: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::symlink_metadata(file).ok()?;
    let folder = std::fs::metadata(file.parent()?).ok()?;
    if !found.is_file() || found.uid() != folder.uid() || found.uid() == 0 {
        return None;
    }
    // The file's group may be one in which the user is not.
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut users = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let of = |line: &[&str], at: usize| line.get(at)?.parse::<u32>().ok();
    let user = users.find(|line| of(line, 2) == Some(found.uid()))?;
    Some((found.uid(), of(&user, 3).filter(|group| *group != 0)?))
}

/// Windows has no root.
#[cfg(not(unix))]
pub fn check(_paths: &[impl AsRef<Path>]) -> Result<()> {
    Ok(())
}
