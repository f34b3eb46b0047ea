//! The journal of an interrupted commit, as it lies on the disk.
//!
//! What is read names only paths in the folder and folders of versions, and is written and read
//! again as what it is.

#![no_main]

use std::fs;

use castoff::archive::SafePath;
use castoff::layout::journal::Journal;
use castoff_fuzz::{assert_inside, client_folder, trust};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let folder = client_folder();
    fs::write(folder.journal(), data).unwrap();
    assert!(Journal::lies_in(folder));
    let Some(journal) = trust(Journal::load(folder)) else {
        return;
    };
    let journal = journal.expect("a file that is there is no missing one");
    assert_eq!(journal.castoff, 1);
    for path in journal.paths.keys().chain(&journal.made) {
        assert_inside(path);
    }
    if let Some(switch) = &journal.switch {
        for links in [&switch.before, &switch.after] {
            for name in [&links.current, &links.previous].into_iter().flatten() {
                assert_name(name);
            }
        }
        switch.made.iter().for_each(|name| assert_name(name));
    }
    let text = serde_json::to_vec(&journal).unwrap();
    fs::write(folder.journal(), text).unwrap();
    assert_eq!(Journal::load(folder).unwrap(), Some(journal));
});

/// Checks that a name is one of something in a folder.
fn assert_name(name: &str) {
    let path = SafePath::try_from(name).expect("a version's folder can be written");
    assert_inside(&path);
    assert_eq!(path.components().count(), 1, "{name:?}");
}
