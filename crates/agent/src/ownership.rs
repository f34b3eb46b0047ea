//! Who may change what the updater works on. As root it refuses to work where others may: what they put there
//! would be done with its rights.

use std::path::Path;

use castoff::Result;
use castoff::disk::rights;

/// Fails with `TARGET_UNSAFE` where this is root and others may change one of these files or folders, or the
/// way to it. What is not there is nobody's.
pub fn check(paths: &[impl AsRef<Path>]) -> Result<()> {
    paths
        .iter()
        .try_for_each(|path| rights::need_own(path.as_ref()))
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
