use std::collections::BTreeMap;
use std::io::{self, Seek as _, SeekFrom, Write as _};

use castoff_testkit::package::{
    Built, Package, RawEntry, RawZip, extra_field, hostile, unicode_path,
};
use proptest::prelude::*;

use super::*;
use crate::Code;
use crate::archive::contents::OUTPUT_BLOCK;
use crate::archive::{Archive, EntryKind, Opening, SafePath};
use crate::release::{FILE_LIST_LIMIT, FileList};
use crate::trust::Sha256;

/// 中文.txt in GBK.
const GBK: &[u8] = b"\xd6\xd0\xce\xc4.txt";

fn open(bytes: &[u8]) -> Result<Archive> {
    open_within(bytes, &Limits::default())
}

fn open_within(bytes: &[u8], limits: &Limits) -> Result<Archive> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Archive::open(
        file,
        &Opening {
            limits: limits.clone(),
            ..zip()
        },
    )
}

/// A zip is never unpacked to the disk, so that there need be no such folder.
fn zip() -> Opening<'static> {
    Opening::new("app.zip", std::path::Path::new("/nonexistent"))
}

fn open_raw(entries: impl IntoIterator<Item = RawEntry>) -> Result<Archive> {
    open(&RawZip::of(entries).build())
}

/// Opens an archive and unpacks all of it.
fn read(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let archive = open(bytes)?;
    archive.file_list(None)?;
    let mut contents = BTreeMap::new();
    for (index, entry) in archive.entries().iter().enumerate() {
        let mut content = Vec::new();
        let extracted = archive.extract(index, &mut content)?;
        assert_eq!(extracted.size, content.len() as u64);
        assert_eq!(extracted.sha256, Sha256::of(&content));
        contents.insert(entry.path.to_string(), content);
    }
    Ok(contents)
}

fn names(archive: &Archive) -> Vec<&str> {
    let entries = archive.entries().iter();
    entries.map(|entry| entry.path.as_str()).collect()
}

/// The one name of an archive with one entry.
fn name_of(entry: RawEntry) -> Result<String> {
    open_raw([entry]).map(|archive| archive.entries()[0].path.to_string())
}

fn wheel() -> Built {
    Package::new("1.0.0")
        .file("app/__init__.py", "")
        .file("app/程序.py", "x = 1\n".repeat(500))
        .file("app-1.0.dist-info/RECORD", "app/__init__.py,,\n")
        .executable("run.sh", "#!/bin/sh\n")
        .link("current", "app")
        .folder("empty")
        .list()
        .build()
}

#[test]
fn an_ordinary_package_is_read() {
    let built = wheel();
    let archive = open(&built.bytes).unwrap();
    assert_eq!(
        names(&archive),
        [
            "app/__init__.py",
            "app/程序.py",
            "app-1.0.dist-info/RECORD",
            "run.sh",
            "current"
        ]
    );
    assert_eq!(archive.folders(), ["empty".try_into().unwrap()]);
    let executable = archive.entries().iter().map(|entry| entry.executable);
    assert_eq!(
        executable.collect::<Vec<_>>(),
        [false, false, false, true, false]
    );
    let target = String::from("app");
    assert_eq!(archive.entries()[4].kind, EntryKind::Link { target });
    assert!(archive.file_list(None).unwrap().unwrap().whole);
    let mut contents = read(&built.bytes).unwrap();
    assert_eq!(contents.remove("current").unwrap(), b"app");
    assert_eq!(contents, built.files);
}

#[test]
fn several_threads_extract_from_one_archive() {
    let mut package = Package::new("1.0.0");
    for number in 0..40_usize {
        let content = format!("{number} ").repeat(number * 1000);
        package = package.file(&format!("file {number}"), content);
    }
    let built = package.build();
    let archive = open(&built.bytes).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (index, entry) in archive.entries().iter().enumerate() {
                    let extracted = archive.extract(index, &mut io::sink()).unwrap();
                    let content = &built.files[entry.path.as_str()];
                    assert_eq!(extracted.sha256, Sha256::of(content));
                }
            });
        }
    });
}

#[test]
fn content_larger_than_every_buffer_is_read_whole() {
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(3 * OUTPUT_BLOCK + 7)
    .collect();
    let entries = [
        RawEntry::stored("stored", &noise),
        RawEntry::deflated("deflated", &noise),
        RawEntry::deflated("zeros", vec![0; 2 * OUTPUT_BLOCK]),
        RawEntry::deflated("nothing", ""),
    ];
    let contents = read(&RawZip::of(entries).build()).unwrap();
    assert_eq!(contents["stored"], noise);
    assert_eq!(contents["deflated"], noise);
    assert_eq!(contents["zeros"], vec![0; 2 * OUTPUT_BLOCK]);
    assert_eq!(contents["nothing"], b"");
}

#[test]
fn where_the_file_is_positioned_does_not_matter() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&wheel().bytes).unwrap();
    file.seek(SeekFrom::Start(7)).unwrap();
    assert_eq!(Archive::open(file, &zip()).unwrap().entries().len(), 5);
}

#[test]
fn a_sink_that_fails_is_an_error_of_its_entry() {
    let archive = open(&wheel().bytes).unwrap();
    let error = archive.extract(3, &mut &mut [0; 3][..]).unwrap_err();
    assert_eq!(error.code(), Code::Io);
    assert!(error.to_string().contains("run.sh"));
    let error = archive.extract(9, &mut io::sink()).unwrap_err();
    assert_eq!(error.code(), Code::Internal);
}

// Hostile archives

/// A test for each of testkit's hostile packages, named after it: its code, and what the message
/// says, so that it is refused for its own fault and not for one of the builder's.
macro_rules! refused {
    ($($name:ident: $says:literal;)*) => {
        $(#[test]
        fn $name() {
            let case = case(stringify!($name));
            let error = read(&case.bytes).unwrap_err();
            assert_eq!(error.code().as_str(), case.code, "{error}");
            assert!(error.to_string().contains($says), "{error}");
        })*

        #[test]
        fn every_hostile_package_has_its_test() {
            let tested = [$(stringify!($name)),*];
            let cases = hostile::all();
            let names: Vec<_> = cases.iter().map(|case| case.name).collect();
            assert_eq!(names, tested);
        }
    };
}

fn case(name: &str) -> hostile::Hostile {
    let mut cases = hostile::all().into_iter();
    cases.find(|case| case.name == name).unwrap()
}

refused! {
    no_bytes: "no zip, or a part of one";
    html_page: "no zip, or a part of one";
    empty_archive: "there is no file in it";
    only_a_folder: "there is no file in it";
    first_half: "no zip, or a part of one";
    second_half: "does not end where the end record begins";
    two_archives: "does not end where the end record begins";
    two_archives_with_offsets: "bytes before the first entry";
    second_end_record: "does not end where the end record begins";
    second_end_record_in_comment: "does not end where the end record begins";
    archive_in_comment: "does not end where the end record begins";
    end_record_in_entry_comment: "its comment holds an end record";
    more_entries_than_declared: "more entries than the end record says";
    fewer_entries_than_declared: "fewer entries than the end record says";
    many_fewer_entries_than_declared: "fewer entries than the end record says";
    directory_beyond_the_file: "does not end where the end record begins";
    comment_too_long: "announces a comment of 9 bytes, 0 follow";
    appended_data: "announces a comment of 0 bytes, 4 follow";
    several_disks: "one of several parts";
    prepended_data: "does not end where the end record begins";
    prepended_data_with_offsets: "bytes before the first entry";
    bytes_between_entries: "bytes after it that belong to nothing";
    bytes_before_the_directory: "bytes after it that belong to nothing";
    bytes_before_the_end: "does not end where the end record begins";
    entry_not_in_the_directory: "bytes after it that belong to nothing";
    overlapping_entries: "overlaps";
    entry_within_an_entry: "overlaps";
    entry_beyond_the_directory: "belong to nothing";
    headers_differ_in_name: "differ in the name";
    headers_differ_in_method: "differ in the method";
    headers_differ_in_flags: "differ in the flags";
    headers_differ_in_size: "differ in the size";
    headers_differ_in_crc: "differ in the CRC-32";
    descriptor_differs: "not its data descriptor";
    descriptor_missing: "not its data descriptor";
    encrypted: "it is encrypted";
    strongly_encrypted: "it is encrypted";
    unknown_method: "compression method 77 is not supported";
    zip64_field_too_short: "zip64 field is too short";
    two_zip64_fields: "extra fields are damaged";
    zip64_end_differs: "the two end records differ";
    damaged_extra_field: "extra fields are damaged";
    more_bytes_than_declared: "more than the announced 4999 bytes";
    fewer_bytes_than_declared: "has 5000 bytes, expected 5001";
    stored_sizes_differ: "2 bytes cannot be packed into 1";
    wrong_crc: "it has CRC-32";
    not_deflate: "entry \"a\"";
    bytes_after_the_stream: "bytes after its data";
    stream_without_end: "its data is cut short";
    impossible_ratio: "1073741824 bytes cannot be packed into";
    bomb: "200 times its size";
    duplicate_name: "main.py is there too";
    same_name_but_case: "is there too";
    same_name_but_form: "is there too";
    file_where_a_folder_is: "lies below main.py, which is no folder";
    folder_where_a_file_is: "main.py is there too";
    folder_with_content: "has a folder's name and is none";
    folder_without_a_slash: "folder without a folder's name";
    child_through_a_link: "lies below lib, which is no folder";
    folder_over_a_link: "lib is there too";
    link_out: "leads out of the folder";
    absolute_link: "no relative path";
    link_to_a_drive: "one of <>:";
    link_with_backslashes: "no relative path";
    link_without_target: "no relative path";
    link_too_long: "more than 4096 bytes";
    chained_links_out: "leads out of the folder";
    links_in_a_circle: "in a circle";
    link_to_the_state: "the launcher's own folder";
    device_node: "device, socket or pipe";
    fifo: "device, socket or pipe";
    socket: "device, socket or pipe";
    climbing_name: ". or ..";
    climbing_name_with_backslashes: ". or ..";
    climbing_unicode_path: ". or ..";
    undecodable_name: "neither UTF-8 nor GBK";
    file_in_the_state: "the launcher's own";
    file_in_the_backups: "the launcher's own";
    two_file_lists: "the file list's name";
}

#[test]
fn hostile_names_in_an_archive() {
    for name in hostile::NAMES {
        // a slash at the end makes a folder of it, and one more than that is empty
        let name = if name.ends_with('/') && name.len() > 1 {
            format!("{name}/")
        } else {
            (*name).to_owned()
        };
        let error = open(&hostile::with_name(name.as_bytes())).expect_err(&name);
        assert_eq!(error.code(), Code::ArchiveUnsafe, "{error}");
    }
}

#[test]
fn truncated_at_every_byte() {
    let bytes = wheel().bytes;
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).unwrap_err();
        assert_eq!(error.code(), Code::ArchiveInvalid, "{length}: {error}");
    }
}

#[test]
fn truncated_at_every_1000th_byte() {
    let mut raw = Vec::new();
    for number in 0..60_u8 {
        // an archive in the archive, whose end records are found by whoever looks for the last
        let inner = RawZip::of([RawEntry::stored("inner", vec![number; 3000])]).build();
        raw.push(RawEntry::stored(format!("{number}.zip"), inner));
    }
    let bytes = RawZip::of(raw).build();
    assert_eq!(open(&bytes).unwrap().entries().len(), 60);
    for length in (0..bytes.len()).step_by(1000) {
        let error = read(&bytes[..length]).unwrap_err();
        assert_eq!(error.code(), Code::ArchiveInvalid, "{length}: {error}");
    }
}

#[test]
fn a_file_that_shrinks_after_it_was_opened() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&hostile::good([]).build()).unwrap();
    let archive = Archive::open(file.try_clone().unwrap(), &zip()).unwrap();
    file.set_len(50).unwrap();
    let error = archive.extract(1, &mut io::sink()).unwrap_err();
    assert_eq!(error.code(), Code::ArchiveInvalid);
}

#[test]
fn more_than_the_limits_allow() {
    let bytes = hostile::good([]).build();
    let limits = Limits {
        max_entries: 2,
        max_total: 128,
        ..Limits::default()
    };
    open_within(&bytes, &limits).unwrap();
    for limits in [
        Limits {
            max_entries: 1,
            ..Limits::default()
        },
        Limits {
            max_total: 127,
            ..Limits::default()
        },
    ] {
        let error = open_within(&bytes, &limits).unwrap_err();
        assert_eq!(error.code(), Code::TooLarge);
    }
}

#[test]
fn a_bomb_within_the_default_limits_is_refused_within_narrower_ones() {
    let bytes = RawZip::of([RawEntry::deflated("zeros", vec![0; 1 << 20])]).build();
    open(&bytes).unwrap();
    let limits = Limits {
        ratio_from: 1 << 19,
        ..Limits::default()
    };
    let error = open_within(&bytes, &limits).unwrap_err();
    assert_eq!(error.code(), Code::TooLarge);
}

#[test]
fn a_sink_is_never_given_more_than_announced() {
    let archive = open(&case("more_bytes_than_declared").bytes).unwrap();
    let mut content = Vec::new();
    archive.extract(1, &mut content).unwrap_err();
    assert!(content.len() <= 4999);
}

// What looks odd, and is in order

#[test]
fn an_entry_with_the_archives_own_name() {
    let contents = read(&hostile::good([RawEntry::stored("app.zip", "own")]).build()).unwrap();
    assert_eq!(contents["app.zip"], b"own");
}

#[test]
fn setuid_bits_are_ignored() {
    let archive = open_raw([
        RawEntry::stored("a", "a").mode(0o106_755),
        RawEntry::stored("b", "b").mode(0o104_644),
        RawEntry::stored("c", "c").mode(0o000_600),
        RawEntry::stored("d", "d").mode(0),
    ])
    .unwrap();
    let executable = archive.entries().iter().map(|entry| entry.executable);
    assert_eq!(executable.collect::<Vec<_>>(), [true, false, false, false]);
}

#[test]
fn zip64_with_all_its_records() {
    let bytes = hostile::good([
        RawEntry::stored("stored", "content").zip64(),
        RawEntry::deflated("deflated", "content").zip64(),
    ])
    .zip64()
    .build();
    let contents = read(&bytes).unwrap();
    assert_eq!(contents["stored"], b"content");
    assert_eq!(contents["deflated"], b"content");
}

#[test]
fn data_descriptors_of_every_form() {
    for (signed, wide) in [(false, false), (true, false), (false, true), (true, true)] {
        let entry = RawEntry::deflated("a", "content").descriptor(signed, wide);
        let contents = read(&hostile::good([entry]).build()).unwrap();
        assert_eq!(contents["a"], b"content");
    }
}

#[test]
fn an_archive_with_a_comment() {
    assert!(read(&hostile::good([]).comment("说明".as_bytes()).build()).is_ok());
}

#[test]
fn entries_in_another_order_than_their_data() {
    let mut first = RawEntry::stored("first", "1");
    first.listed = false;
    let mut again = RawEntry::stored("first", "1").central(|header| header.offset = Some(0));
    again.present = false;
    let archive = open_raw([first, RawEntry::stored("second", "2"), again]).unwrap();
    assert_eq!(names(&archive), ["second", "first"]);
}

#[test]
fn modes_of_pythons_writestr() {
    let built = Package::new("1.0.0")
        .executable("run.sh", "x")
        .python_modes()
        .build();
    assert!(!open(&built.bytes).unwrap().entries()[0].executable);
}

// Names

#[test]
fn gbk_names_without_the_flag() {
    let entry = hostile::unflagged(RawEntry::stored(GBK, "a"));
    assert_eq!(name_of(entry).unwrap(), "中文.txt");
    // the second byte of this character is a backslash's
    let entry = hostile::unflagged(RawEntry::stored(b"\x81\x5c.txt", "a"));
    let entry = entry.both(|header| header.made_by = 20);
    assert_eq!(name_of(entry).unwrap(), "\u{4e57}.txt");
}

#[test]
fn gbk_names_with_the_utf8_flag() {
    assert_eq!(name_of(RawEntry::stored(GBK, "a")).unwrap(), "中文.txt");
}

#[test]
fn utf8_names_with_and_without_the_flag() {
    for entry in [
        RawEntry::stored("中文.txt", "a"),
        hostile::unflagged(RawEntry::stored("中文.txt", "a")),
    ] {
        assert_eq!(name_of(entry).unwrap(), "中文.txt");
    }
}

#[test]
fn a_short_gbk_name_that_could_be_utf8_is_read_as_its_neighbours_are() {
    // 娄 in GBK is a letter of two bytes in UTF-8
    let short = hostile::unflagged(RawEntry::stored(b"\xc2\xa6", "a"));
    let long = hostile::unflagged(RawEntry::stored(GBK, "b"));
    let archive = open_raw([short, long]).unwrap();
    assert_eq!(names(&archive), ["娄", "中文.txt"]);
}

#[test]
fn the_unicode_path_field_is_taken_when_it_is_the_names() {
    let with = |name: &'static [u8]| {
        hostile::unflagged(RawEntry::stored(GBK, "a")).both(|header| {
            header.extra = unicode_path(name, "别名.txt".as_bytes());
        })
    };
    assert_eq!(name_of(with(GBK)).unwrap(), "别名.txt");
    assert_eq!(name_of(with(b"old name")).unwrap(), "中文.txt");
}

#[test]
fn a_name_in_utf8_and_another_one_in_the_unicode_path_field() {
    let named = |other: &str| {
        RawEntry::stored("中文.txt", "a").both(|header| {
            header.flags |= 0x800;
            header.extra = unicode_path("中文.txt".as_bytes(), other.as_bytes());
        })
    };
    assert_eq!(name_of(named("中文.txt")).unwrap(), "中文.txt");
    let error = name_of(named("别名.txt")).unwrap_err();
    assert_eq!(error.code(), Code::ArchiveInvalid, "{error}");
    let version = RawEntry::stored("a", "a").both(|header| {
        header.extra = unicode_path(b"a", b"b");
        header.extra[4] = 2;
    });
    let error = name_of(version).unwrap_err();
    assert_eq!(error.code(), Code::ArchiveInvalid, "{error}");
}

#[test]
fn backslashes_of_old_windows_tools_are_slashes() {
    let windows = |name: &str| RawEntry::stored(name, "").both(|header| header.made_by = 20);
    let name = name_of(windows("lib\\a\\b.py")).unwrap();
    assert_eq!(name, "lib/a/b.py");
    let folder = windows("lib\\").both(|header| header.external = 0x10);
    let archive = open(&hostile::good([folder]).build()).unwrap();
    assert_eq!(archive.folders(), ["lib".try_into().unwrap()]);
    assert_eq!(archive.entries().len(), 2);
    // a name with both is no tool's habit, and Unix has other names with backslashes
    assert!(name_of(windows("lib/a\\b.py")).is_err());
    assert!(name_of(RawEntry::stored("lib\\a.py", "")).is_err());
}

#[test]
fn paths_of_300_characters() {
    let long = format!("{}/{}", "目".repeat(50), "a".repeat(249));
    assert_eq!(name_of(RawEntry::stored(&long, "")).unwrap(), long);
}

#[test]
fn extra_fields_that_are_not_read() {
    let entry = RawEntry::stored("a", "").both(|header| {
        header.extra = extra_field(0x5455, b"\x01abcd");
    });
    assert_eq!(name_of(entry).unwrap(), "a");
}

// File lists

fn file_list(package: &Package, list: &Package) -> Result<Option<FileList>> {
    let built = package
        .clone()
        .file("castoff-files.json", list.file_list())
        .build();
    open(&built.bytes)?.file_list(None)
}

#[test]
fn a_package_without_a_file_list() {
    let built = Package::new("1.0.0").file("a", "a").build();
    assert!(
        open(&built.bytes)
            .unwrap()
            .file_list(None)
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_partial_package_lacks_what_it_lists() {
    let package = Package::new("1.1.0").file("a", "new").kept("b", "old");
    let built = package.clone().partial(&["1.0.0"]).build();
    let list = open(&built.bytes)
        .unwrap()
        .file_list(None)
        .unwrap()
        .unwrap();
    assert_eq!(list.fits, ["1.0.0"]);
    assert_eq!(list.files.len(), 2);
    // the same, said to be whole
    let error = file_list(&package, &package).unwrap_err();
    assert!(
        error.to_string().contains("b is listed and not in"),
        "{error}"
    );
}

#[test]
fn a_partial_package_that_only_removes_has_no_files() {
    let built = Package::new("1.1.0")
        .kept("a", "a")
        .partial(&["1.0.0"])
        .build();
    let archive = open(&built.bytes).unwrap();
    assert!(archive.entries().is_empty());
    assert!(archive.file_list(None).unwrap().is_some());
}

#[test]
fn a_file_list_that_contradicts_its_package() {
    let package = Package::new("1.0.0").file("a", "a").link("b", "a");
    assert!(file_list(&package, &package).unwrap().is_some());
    let new = || Package::new("1.0.0");
    for list in [
        new().file("a", "a"),
        new().file("a", "longer").link("b", "a"),
        new().link("a", "b").link("b", "c"),
        new().file("a", "a").link("b", "c"),
        new().file("a", "a").file("b", "a"),
        new().file("a", "a").link("b", "a").file("c", "c"),
    ] {
        let error = file_list(&package, &list).unwrap_err();
        assert_eq!(error.code(), Code::FileListInvalid, "{error}");
    }
}

#[test]
fn a_file_list_that_is_too_large() {
    let zeros = vec![b' '; (FILE_LIST_LIMIT + 1).try_into().unwrap()];
    let list = RawEntry::deflated("castoff-files.json", zeros);
    let error = open(&hostile::good([list]).build()).unwrap_err();
    assert_eq!(error.code(), Code::TooLarge);
}

proptest! {
    /// Whatever is done to an archive, it is read or refused, and what is read is safe.
    #[test]
    fn mutated_archives(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        doubled in any::<bool>(),
    ) {
        let mut bytes = hostile::good([
            RawEntry::link("link", "lib/a.py"),
            RawEntry::deflated("中文", "content").descriptor(true, false),
            RawEntry::stored("wide", "content").zip64(),
        ])
        .zip64()
        .build();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if doubled {
            let part = bytes[cut.index(bytes.len())..].to_vec();
            bytes.extend(part);
        }
        if let Ok(archive) = open(&bytes) {
            for (index, entry) in archive.entries().iter().enumerate() {
                prop_assert!(SafePath::try_from(entry.path.as_str()).is_ok());
                if let EntryKind::Link { target } = &entry.kind {
                    prop_assert!(guard::check_link(&entry.path, target).is_ok());
                }
                let _ = archive.extract(index, &mut io::sink());
            }
        }
    }

    #[test]
    fn names_of_any_bytes(name in prop::collection::vec(any::<u8>(), 0..12), flagged: bool) {
        let entry = RawEntry::stored(name, "");
        let entry = if flagged { entry } else { hostile::unflagged(entry) };
        if let Ok(archive) = open(&hostile::good([entry]).build()) {
            for name in names(&archive) {
                prop_assert!(SafePath::try_from(name).is_ok());
            }
        }
    }
}
