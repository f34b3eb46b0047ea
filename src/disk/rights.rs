//! Who else may change what lies somewhere. It matters to root alone: what others put where root works would be
//! done with root's rights.

use std::path::Path;

#[cfg(unix)]
use crate::Error;
use crate::Result;

/// Fails with `TARGET_UNSAFE` where this is root and others may change what a path leads to, or its way there,
/// links included. What is not there is nobody's.
#[cfg(unix)]
pub fn need_own(path: &Path) -> Result<()> {
    use std::collections::VecDeque;
    use std::ffi::OsString;
    use std::path::{Component, PathBuf};

    use rustix::process::geteuid;

    /// So many links one path may lead through on Linux.
    const MOST_LINKS: usize = 40;

    if !geteuid().is_root() {
        return Ok(());
    }
    let refused = |path: PathBuf, problem| Err(Error::TargetUnsafe { path, problem });
    let parts = |path: &Path| -> VecDeque<OsString> {
        let parts = path.components().map(Component::as_os_str);
        parts.map(ToOwned::to_owned).collect()
    };
    let path = std::path::absolute(path).map_err(Error::io("find", path))?;
    let (mut at, mut left, mut links) = (PathBuf::new(), parts(&path), 0);
    while let Some(part) = left.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        // The root of the system replaces all before it.
        let place = at.join(&part);
        let Ok(found) = std::fs::symlink_metadata(&place) else {
            return Ok(());
        };
        if is_others(&found, !left.is_empty()) {
            let problem = "others than root may change it, and this program runs as root";
            return refused(place, problem);
        }
        if !found.is_symlink() {
            at = place;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return refused(place, "it leads through too many links");
        }
        let target = std::fs::read_link(&place).map_err(Error::io("read the link", &place))?;
        for part in parts(&target).into_iter().rev() {
            left.push_front(part);
        }
    }
    Ok(())
}

/// Windows has no root.
#[cfg(not(unix))]
pub fn need_own(_path: &Path) -> Result<()> {
    Ok(())
}

/// Whether others than root may change a file, a link or a folder. On the way to something, folders such as
/// `/tmp` may be everybody's: nobody can take the place of another's there.
#[cfg(unix)]
fn is_others(found: &std::fs::Metadata, on_the_way: bool) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    const STICKY: u32 = 0o1000;
    const WRITE: u32 = 0o022;
    let open = found.mode() & WRITE != 0 && !(on_the_way && found.mode() & STICKY != 0);
    // The mode of a link says nothing.
    found.uid() != 0 || (open && !found.is_symlink())
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};

    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that is left out says so")]
    fn whoever_may_change_a_link_may_change_where_it_leads() {
        const USER: u32 = 65534;
        if !rustix::process::geteuid().is_root() {
            eprintln!("left out: only root can be somebody else");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("app/inner")).unwrap();
        fs::create_dir_all(at("theirs")).unwrap();
        symlink("app", at("link")).unwrap();
        symlink("../app", at("theirs/link")).unwrap();
        symlink("theirs/link/inner", at("through")).unwrap();
        symlink("round", at("round")).unwrap();
        let good = |name: &str| need_own(&at(name)).is_ok();
        for name in [
            "app/inner",
            "link/inner",
            "theirs/link",
            "through",
            "not/there",
        ] {
            assert!(good(name), "{name}");
        }
        assert!(!good("round"));
        chown(at("theirs"), Some(USER), None).unwrap();
        for (name, expected) in [
            ("app", true),
            ("theirs/link", false),
            ("through", false),
            ("theirs/../app", false),
        ] {
            assert_eq!(good(name), expected, "{name}");
        }
        lchown(at("link"), Some(USER), None).unwrap();
        assert!(!good("link/inner"));
        // A folder like /tmp is no way to worry about, and no place to work in.
        fs::set_permissions(at("app"), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(good("app/inner"));
        assert!(!good("app"));
    }
}
