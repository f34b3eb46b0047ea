//! The file list of a package, as it stands in the archive. What is no list may be a path.
//!
//! A path that is taken stays in the folder; one that leads out, or into the launcher's own
//! folders, is none.

#![no_main]

use castoff::archive::SafePath;
use castoff::archive::guard::{Node, check_link, check_tree};
use castoff::release::{FileList, Listed};
use castoff_fuzz::{assert_inside, judge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(path) = judge(SafePath::try_from(text))
    {
        assert_inside(&path);
        for folder in path.parents() {
            assert_inside(&folder);
            // A file where a folder must be.
            let both = [(&folder, Node::File), (&path, Node::File)];
            assert!(check_tree(both).is_err(), "{path:?}");
        }
    }
    let Some(list) = judge(FileList::parse(data)) else {
        return;
    };
    assert_eq!(list.castoff, 1);
    let mut folded: Vec<String> = Vec::new();
    for (path, listed) in &list.files {
        assert_inside(path);
        folded.push(path.folded());
        if let Listed::Link { link } = listed {
            check_link(path, link).expect("what is right with others is right alone");
            assert_link_inside(path, link);
        }
    }
    folded.sort_unstable();
    folded.dedup();
    assert_eq!(folded.len(), list.files.len(), "two names for one file");
    let text = serde_json::to_vec(&list).unwrap();
    assert_eq!(FileList::parse(&text).unwrap(), list);
});

/// Counts the folders that a link goes up and down; what it meets on the way is not looked at.
fn assert_link_inside(path: &SafePath, link: &str) {
    assert!(!link.starts_with('/') && !link.contains('\\'), "{link:?}");
    let mut depth = path.components().count() - 1;
    for component in link.split('/') {
        match component {
            "." => {}
            ".." => depth = depth.checked_sub(1).expect("it stays in the folder"),
            _ => depth += 1,
        }
    }
}
