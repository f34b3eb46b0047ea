//! Tars: as they are, so that a mutation is not lost in a checksum of what packs them; and packed by
//! gzip or zstd, where the input begins so. Within wide limits and within narrow ones, as they are and
//! without the folder around everything.
//!
//! What is taken can be written, and is what was counted when it was decompressed. And what another
//! reader, the crate `tar`, takes as well is the same to both.

#![no_main]

mod tar {
    pub(super) mod mend;
}

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;

use castoff::Result;
use castoff::archive::guard::check_link;
use castoff::archive::{Archive, EntryKind, Limits, Opening};
use castoff::release::FILE_LIST_NAME;
use castoff::trust::Sha256;
use castoff_fuzz::{assert_inside, judge, scratch};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

/// The usual ones, but for what is decompressed before the ratio counts: otherwise an input of zstd
/// writes a quarter of a gigabyte.
fn wide() -> Limits {
    Limits {
        ratio_from: 1 << 20,
        ..Limits::default()
    }
}

/// Limits that small archives can reach.
const NARROW: Limits = Limits {
    max_entries: 4,
    max_total: 2048,
    max_ratio: 3,
    ratio_from: 4096,
};

fuzz_target!(|data: &[u8]| {
    let taken = judge(open(data, false, wide()));
    if let Some(archive) = &taken {
        let contents = unpack(archive);
        if !is_packed(data) {
            compare(archive, &contents, data);
        }
    }
    if let Some(archive) = judge(open(data, true, wide())) {
        unpack(&archive);
        assert!(
            taken.is_none()
                || !archive.entries().is_empty()
                || archive.file_list_digest().unwrap().is_some()
        );
    }
    if let Ok(archive) = open(data, false, NARROW) {
        let total: u64 = archive
            .entries()
            .iter()
            .map(|entry| match entry.kind {
                EntryKind::File => entry.size,
                EntryKind::Link { .. } => 0,
            })
            .sum();
        let count = archive.entries().len() + archive.folders().len();
        assert!(count as u64 <= NARROW.max_entries);
        assert!(total <= NARROW.max_total);
    }
});

// Three times of four, what a mutation did to sizes and sums is put right again: otherwise hardly
// anything gets past the first header.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if !seed.is_multiple_of(4) && !is_packed(&data[..size]) {
        tar::mend::mend(&mut data[..size]);
    }
    size
});

fn is_packed(data: &[u8]) -> bool {
    data.starts_with(b"\x1f\x8b") || data.starts_with(b"\x28\xb5\x2f\xfd")
}

fn open(data: &[u8], wrapped: bool, limits: Limits) -> Result<Archive> {
    let how = Opening {
        wrapped,
        limits,
        ..Opening::new("a.tar", scratch())
    };
    if is_packed(data) {
        Archive::open(file(data), &how)
    } else {
        castoff::fuzzing::plain_tar(file(data), &how)
    }
}

/// The bytes as a file, always the same one: nothing is left behind.
fn file(data: &[u8]) -> File {
    static FILE: OnceLock<File> = OnceLock::new();
    let file = FILE.get_or_init(|| tempfile::tempfile().expect("a file can be made"));
    file.set_len(data.len() as u64).unwrap();
    file.write_all_at(data, 0).unwrap();
    file.try_clone().unwrap()
}

/// Unpacks everything: of a tar that was taken, nothing is wrong any more.
fn unpack(archive: &Archive) -> Vec<Vec<u8>> {
    archive.folders().iter().for_each(assert_inside);
    let mut contents = Vec::new();
    for (index, entry) in archive.entries().iter().enumerate() {
        assert_inside(&entry.path);
        assert_ne!(entry.path.folded(), FILE_LIST_NAME);
        let mut content = Vec::new();
        let extracted = archive.extract(index, &mut content).unwrap();
        assert_eq!(extracted.size, entry.size);
        assert_eq!(content.len() as u64, entry.size);
        assert_eq!(extracted.crc32, crc32fast::hash(&content));
        assert_eq!(extracted.sha256, Sha256::of(&content));
        if let EntryKind::Link { target } = &entry.kind {
            check_link(&entry.path, target).expect("what is right with others is right alone");
            assert_eq!(content, target.as_bytes());
        }
        contents.push(content);
    }
    if let Some(Some(list)) = judge(archive.file_list(None)) {
        for entry in archive.entries() {
            assert!(list.files.contains_key(&entry.path));
        }
    }
    contents
}

/// Compares with what the crate `tar` reads, if it reads all of it.
fn compare(archive: &Archive, contents: &[Vec<u8>], data: &[u8]) {
    let mut other = ::tar::Archive::new(data);
    let mut there: Vec<(String, Vec<u8>)> = Vec::new();
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for entry in other.entries().unwrap() {
        let Ok(mut entry) = entry else { return };
        let kind = entry.header().entry_type();
        // No entry to anybody else, and its name means nothing.
        if kind.is_pax_global_extensions() {
            continue;
        }
        let name = String::from_utf8(entry.path_bytes().into_owned()).expect("it was taken");
        // Version 7 had no type for folders.
        let is_folder = name.ends_with('/');
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        let target = entry.link_name_bytes().map(|target| target.into_owned());
        let content = if kind.is_symlink() {
            target.expect("a link has a target")
        } else if kind.is_hard_link() {
            let target = String::from_utf8(target.expect("a link has a target")).unwrap();
            let target = target.strip_prefix("./").unwrap_or(&target);
            files.get(target).expect("it names a file").clone()
        } else if kind.is_file() || kind.is_contiguous() {
            if is_folder {
                continue;
            }
            let mut content = Vec::new();
            if entry.read_to_end(&mut content).is_err() {
                return;
            }
            content
        } else if kind.is_dir() {
            continue;
        } else {
            panic!("{name:?} is a {kind:?}");
        };
        if !kind.is_symlink() {
            files.insert(name.clone(), content.clone());
        }
        if name != FILE_LIST_NAME {
            there.push((name, content));
        }
    }
    assert_eq!(there.len(), contents.len(), "another number of files");
    for ((entry, here), (name, there)) in archive.entries().iter().zip(contents).zip(there) {
        assert_eq!(entry.path.as_str(), name);
        assert_eq!(here, &there, "{name:?}");
    }
}
