//! Which processes run out of a folder, whoever has started them.

use std::path::Path;

/// Whether a process of this system, as far as this user may know, has its executable or its
/// working folder below `folder`. Linux tells; elsewhere the answer is no.
pub(super) fn run_in(folder: &Path) -> bool {
    if cfg!(not(target_os = "linux")) {
        return false;
    }
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.map(|process| process.path()).any(|process| {
        ["exe", "cwd"].iter().any(|link| {
            std::fs::read_link(process.join(link)).is_ok_and(|target| target.starts_with(&folder))
        })
    })
}
