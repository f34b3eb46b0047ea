//! Packages: opened, every entry unpacked, the file list read; within the limits that are in use,
//! and within narrow ones.
//!
//! What is taken can be written: names and links that stay in the folder, sizes as announced and
//! within the limits, at most that much given to the sink. And what another reader takes as well is
//! the same to both.

#![no_main]

mod zip {
    pub(super) mod mend;
}

use std::fs::File;
use std::io::{self, Cursor, Read as _, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::OnceLock;

use castoff::archive::guard::check_link;
use castoff::archive::{Archive, EntryKind, Limits, Opening};
use castoff::release::FILE_LIST_NAME;
use castoff::trust::Sha256;
use castoff_fuzz::{assert_inside, judge};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

/// Limits that small archives can reach.
const NARROW: Limits = Limits {
    max_entries: 4,
    max_total: 2048,
    max_ratio: 3,
    ratio_from: 512,
};

fuzz_target!(|data: &[u8]| {
    if let Some(archive) = judge(open(data, Limits::default())) {
        unpack(&archive, data);
    }
    if let Ok(archive) = open(data, NARROW) {
        let total: u64 = archive.entries().iter().map(|entry| entry.size).sum();
        let count = archive.entries().len() + archive.folders().len();
        assert!(count as u64 <= NARROW.max_entries);
        assert!(total <= NARROW.max_total);
        let ratio = (data.len() as u64 + 1) * NARROW.max_ratio;
        assert!(total <= NARROW.ratio_from || total <= ratio);
    }
});

// Three times of four, what a mutation did to sizes, checksums and offsets is put right again:
// otherwise hardly anything gets past the records.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if !seed.is_multiple_of(4) {
        zip::mend::mend(&mut data[..size]);
    }
    size
});

/// What begins as a packed tar is the target `tar`'s.
fn open(data: &[u8], limits: Limits) -> castoff::Result<Archive> {
    let how = Opening {
        limits,
        ..Opening::new("a.zip", Path::new("/nonexistent"))
    };
    Archive::open(file(data), &how)
}

/// The bytes as a file, always the same one: nothing is left behind.
fn file(data: &[u8]) -> File {
    static FILE: OnceLock<File> = OnceLock::new();
    let file = FILE.get_or_init(|| tempfile::tempfile().expect("a file can be made"));
    file.set_len(data.len() as u64).unwrap();
    file.write_all_at(data, 0).unwrap();
    file.try_clone().unwrap()
}

fn unpack(archive: &Archive, data: &[u8]) {
    let limits = Limits::default();
    let total: u64 = archive.entries().iter().map(|entry| entry.size).sum();
    assert!(total <= limits.max_total);
    assert!(total <= limits.ratio_from || total / limits.max_ratio <= data.len() as u64);
    archive.folders().iter().for_each(assert_inside);
    let mut contents = Vec::new();
    for (index, entry) in archive.entries().iter().enumerate() {
        assert_inside(&entry.path);
        assert_ne!(entry.path.folded(), FILE_LIST_NAME);
        let mut sink = Sink {
            hash: crc32fast::Hasher::new(),
            // Enough of it to be compared.
            start: Vec::new(),
            room: entry.size,
        };
        let extracted = judge(archive.extract(index, &mut sink));
        if let EntryKind::Link { target } = &entry.kind {
            check_link(&entry.path, target).expect("what is right with others is right alone");
            assert!(extracted.is_some(), "it was read once");
            assert_eq!(sink.start, target.as_bytes());
        }
        let taken = extracted.map(|extracted| {
            assert_eq!(extracted.size, entry.size);
            assert_eq!(sink.room, 0);
            assert!(entry.crc32.is_none_or(|crc32| crc32 == extracted.crc32));
            assert_eq!(sink.hash.finalize(), extracted.crc32);
            if entry.size <= Sink::START as u64 {
                assert_eq!(extracted.sha256, Sha256::of(&sink.start));
            }
            sink.start
        });
        contents.push(taken);
    }
    if let Some(Some(list)) = judge(archive.file_list(None)) {
        for entry in archive.entries() {
            assert!(list.files.contains_key(&entry.path));
        }
        if list.whole {
            assert_eq!(list.files.len(), archive.entries().len());
        }
    }
    compare(archive, &contents, data);
}

/// Compares with what the crate `zip` reads, if it reads the archive at all.
fn compare(archive: &Archive, contents: &[Option<Vec<u8>>], data: &[u8]) {
    let Ok(mut other) = ::zip::ZipArchive::new(Cursor::new(data)) else {
        return;
    };
    let mut there = Vec::new();
    for index in 0..other.len() {
        let Ok(file) = other.by_index(index) else {
            return;
        };
        let Ok(name) = file.name() else {
            return;
        };
        // A name in GBK is another one to a reader who knows none of that, and may end in a byte
        // that looks like a backslash.
        let name = name.is_ascii().then(|| name.replace('\\', "/"));
        let folder = match &name {
            Some(name) => name.ends_with('/'),
            None => file.name_raw().ends_with(b"/"),
        };
        if folder || name.as_deref() == Some(FILE_LIST_NAME) {
            continue;
        }
        let size = file.size();
        let mut start = Vec::new();
        let read = file.take(Sink::START as u64).read_to_end(&mut start);
        there.push((name, size, read.is_ok().then_some(start)));
    }
    assert_eq!(
        there.len(),
        archive.entries().len(),
        "another number of files"
    );
    for ((entry, here), (name, size, there)) in archive.entries().iter().zip(contents).zip(there) {
        assert_eq!(entry.size, size, "{:?}", entry.path);
        if let Some(name) = name.filter(|_| entry.path.as_str().is_ascii()) {
            assert_eq!(entry.path.as_str(), name);
        }
        if let (Some(here), Some(there)) = (here, there) {
            assert_eq!(here, &there, "{:?}", entry.path);
        }
    }
}

/// Takes no more than was announced.
struct Sink {
    hash: crc32fast::Hasher,
    start: Vec<u8>,
    room: u64,
}

impl Sink {
    const START: usize = 64 * 1024;
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.room = self
            .room
            .checked_sub(bytes.len() as u64)
            .expect("no more than was announced");
        self.hash.update(bytes);
        let more = (Self::START - self.start.len()).min(bytes.len());
        self.start.extend(&bytes[..more]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
