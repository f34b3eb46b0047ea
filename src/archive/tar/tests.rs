#[cfg(unix)]
mod tools;

use std::collections::BTreeMap;
use std::io::Write as _;

use castoff_testkit::package::hostile::NAMES;
use castoff_testkit::package::{Built, Package};
use castoff_testkit::tar::hostile::{good, with_name};
use castoff_testkit::tar::{RawEntry, RawTar, field, gzip, pax_record, zstd as pack_zstd};
use proptest::prelude::*;

use super::*;
use crate::archive::{Archive, EntryKind, Limits, SafePath};
use crate::trust::Sha256;
use crate::{Code, Result};

fn open(bytes: &[u8]) -> Result<Archive> {
    open_within(bytes, &Limits::default())
}

fn open_within(bytes: &[u8], limits: &Limits) -> Result<Archive> {
    let folder = tempfile::tempdir().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let how = Opening {
        limits: limits.clone(),
        ..Opening::new("app.tgz", folder.path())
    };
    Archive::open(file, &how)
}

/// Opens a tar with these entries among ordinary ones.
fn with(entries: impl IntoIterator<Item = RawEntry>) -> Result<Archive> {
    open(&gzip(&good(entries).build()))
}

/// What is in an archive, by its path; of a link, the target.
fn contents(archive: &Archive) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for (index, entry) in archive.entries().iter().enumerate() {
        let mut content = Vec::new();
        let extracted = archive.extract(index, &mut content).unwrap();
        assert_eq!(extracted.size, content.len() as u64);
        assert_eq!(extracted.sha256, Sha256::of(&content));
        contents.insert(entry.path.to_string(), content);
    }
    contents
}

/// The one name that these entries add to a good tar.
fn name_of<const N: usize>(entries: [RawEntry; N]) -> Result<String> {
    let archive = with(entries)?;
    assert_eq!(archive.entries().len(), 3);
    Ok(archive.entries()[1].path.to_string())
}

fn refused(entries: impl IntoIterator<Item = RawEntry>, code: Code, says: &str) {
    refused_as(with(entries), code, says);
}

#[track_caller]
fn refused_as(result: Result<Archive>, code: Code, says: &str) {
    let Err(error) = result else {
        panic!("taken, expected: {says}");
    };
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

fn invalid(entries: impl IntoIterator<Item = RawEntry>, says: &str) {
    refused(entries, Code::ArchiveInvalid, says);
}

fn unsafe_(entries: impl IntoIterator<Item = RawEntry>, says: &str) {
    refused(entries, Code::ArchiveUnsafe, says);
}

fn file(name: &str) -> RawEntry {
    RawEntry::file(name, "content")
}

fn app() -> Built {
    Package::new("1.0.0")
        .file("app/__init__.py", "")
        .file("app/程序.py", "x = 1\n".repeat(500))
        .executable("run.sh", "#!/bin/sh\n")
        .link("current", "app")
        .folder("empty")
        .list()
        .build_tar_gz()
}

// What is in order

#[test]
fn an_ordinary_package_is_read() {
    let built = app();
    let archive = open(&built.bytes).unwrap();
    let mut found = contents(&archive);
    assert_eq!(found.remove("current").unwrap(), b"app");
    assert_eq!(found, built.files);
    assert_eq!(archive.folders(), ["empty".try_into().unwrap()]);
    let executable = archive.entries().iter().map(|entry| entry.executable);
    assert_eq!(executable.collect::<Vec<_>>(), [false, false, true, false]);
}

#[test]
fn several_threads_extract_from_one_archive() {
    let mut package = Package::new("1.0.0");
    for number in 0..40_usize {
        let content = format!("{number} ").repeat(number * 1000);
        package = package.file(&format!("file {number}"), content);
    }
    let built = package.build_tar_gz();
    let archive = open(&built.bytes).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(contents(&archive), built.files));
        }
    });
}

#[test]
fn content_of_every_length_around_a_block() {
    let lengths = [0, 1, 511, 512, 513, 1024, 65_536, 3 * OUTPUT_BLOCK + 7];
    let content = |length: usize| -> Vec<u8> {
        let bytes = (0_u32..).flat_map(|number| (number / 3).to_le_bytes());
        bytes.take(length).collect()
    };
    let entries = lengths.map(|length| RawEntry::file(format!("{length}"), content(length)));
    let found = contents(&with(entries).unwrap());
    for length in lengths {
        assert_eq!(found[&length.to_string()], content(length));
    }
}

#[test]
fn setuid_bits_are_ignored() {
    let archive = with([
        file("a").mode(0o6755),
        file("b").mode(0o4644),
        file("c").mode(0o100_600),
        file("d").field(field::MODE, ""),
    ])
    .unwrap();
    let executable = archive.entries().iter().map(|entry| entry.executable);
    let executable: Vec<_> = executable.collect();
    assert_eq!(executable, [false, true, false, false, false, false]);
}

#[test]
fn leading_dots_are_dropped_and_the_root_is_passed_over() {
    for root in ["./", "."] {
        let archive = with([
            RawEntry::folder(root),
            RawEntry::folder("./lib/"),
            file("./lib/b"),
            RawEntry::hard_link("./c", "./lib/b"),
        ])
        .unwrap();
        let found = contents(&archive);
        assert_eq!(found["lib/b"], b"content");
        assert_eq!(found["c"], b"content");
        assert_eq!(archive.folders(), ["lib".try_into().unwrap()]);
    }
    for name in ["././a", ".//a", ".", "./"] {
        assert!(name_of([file(name)]).is_err(), "{name}");
    }
    for name in ["./.", ".//", "././", "/", "//", ""] {
        assert!(with([RawEntry::folder(name)]).is_err(), "{name}");
    }
}

#[test]
fn files_of_every_type() {
    let old = |name| {
        RawEntry::of(0, name, "")
            .field(field::MAGIC, "")
            .field(field::MODE, "  644 \0")
    };
    let archive = with([
        RawEntry::of(b'7', "contiguous", "c"),
        old("old"),
        old("folder/"),
        file("gnu").field(field::MAGIC, b"ustar  \0"),
        file("binary").binary_size(),
        file("spaces").field(field::SIZE, "      7 "),
    ])
    .unwrap();
    let found = contents(&archive);
    assert_eq!(found["contiguous"], b"c");
    assert_eq!(found["old"], b"");
    for name in ["gnu", "binary", "spaces"] {
        assert_eq!(found[name], b"content");
    }
    assert_eq!(archive.folders(), ["folder".try_into().unwrap()]);
}

#[test]
fn a_prefix_is_a_prefix_in_posixs_format_alone() {
    let with_prefix = file("b").field(field::PREFIX, "lib/a");
    assert_eq!(name_of([with_prefix.clone()]).unwrap(), "lib/a/b");
    // GNU has times there.
    let gnu = with_prefix.clone().field(field::MAGIC, b"ustar  \0");
    assert_eq!(name_of([gnu]).unwrap(), "b");
    let old = with_prefix.clone().field(field::MAGIC, "");
    assert_eq!(name_of([old]).unwrap(), "b");
    // star's own, whose prefix is shorter
    let star = with_prefix
        .clone()
        .field(field::TAIL, "\0\0\0\0\0\0\0\0tar\0");
    invalid([star], "format that is not known");
    invalid(
        [with_prefix.field(field::MAGIC, b"ustar\x0001")],
        "format that is not known",
    );
}

#[test]
fn paths_of_300_characters() {
    let long = format!("{}/{}", "目".repeat(50), "a".repeat(249));
    let pax = RawEntry::pax(&[("path", &long), ("mtime", "1.5"), ("comment", "x=y")]);
    assert_eq!(name_of([pax, file("short")]).unwrap(), long);
    let gnu = RawEntry::gnu(b'L', &long);
    assert_eq!(name_of([gnu, file("short")]).unwrap(), long);
    let target = format!("{}/{}", "x".repeat(200), "y".repeat(99));
    for entry in [
        RawEntry::gnu(b'K', &target),
        RawEntry::pax(&[("linkpath", &target)]),
    ] {
        let archive = with([RawEntry::gnu(b'L', &long), entry, RawEntry::link("a", "b")]);
        let archive = archive.unwrap();
        let link = &archive.entries()[1];
        assert_eq!(link.path.as_str(), long);
        let target = target.clone();
        assert_eq!(link.kind, EntryKind::Link { target });
    }
    unsafe_(
        [RawEntry::gnu(b'L', "a/".repeat(512) + "b"), file("a")],
        "more than 1024 bytes",
    );
}

#[test]
fn an_extended_header_is_for_the_next_entry_alone() {
    let archive = with([RawEntry::pax(&[("path", "one")]), file("a"), file("two")]).unwrap();
    let found = contents(&archive);
    assert!(found.contains_key("one") && found.contains_key("two"));
}

#[test]
fn gits_comment_for_all_entries() {
    let comment = RawEntry::pax_global(&[("comment", "1a2b3c")]);
    assert_eq!(name_of([comment, file("a")]).unwrap(), "a");
}

#[test]
fn a_size_that_the_header_has_no_room_for() {
    let small = RawEntry::pax(&[("size", "7")]);
    assert_eq!(name_of([small.clone(), file("a")]).unwrap(), "a");
    invalid([small, file("a").size(3)], "different sizes");
    // It is taken, and there is not that much.
    let large = RawEntry::pax(&[("size", "8589934592")]);
    refused([large, file("a").size(0)], Code::TooLarge, "times its size");
}

#[test]
fn hard_links_are_copies() {
    let archive = with([
        RawEntry::file("run.sh", "#!").mode(0o755),
        RawEntry::hard_link("again", "run.sh").mode(0o600),
        RawEntry::hard_link("and/again", "again"),
        RawEntry::pax(&[("linkpath", "main.py"), ("path", "renamed")]),
        RawEntry::hard_link("x", "y"),
    ])
    .unwrap();
    let found = contents(&archive);
    assert_eq!(found["again"], b"#!");
    assert_eq!(found["and/again"], b"#!");
    assert_eq!(found["renamed"], b"print(1)");
    let entries = archive.entries().iter();
    let executable = entries.filter(|entry| entry.executable);
    assert_eq!(executable.count(), 3);
    assert!(archive.entries().iter().all(|entry| entry.crc32.is_some()));
}

#[test]
fn zeros_after_the_end() {
    let padded = good([]).end([0; 10_240]).build();
    assert!(open(&gzip(&padded)).is_ok());
    let odd = good([]).end([0; 2 * BLOCK + 7]).build();
    assert!(open(&gzip(&odd)).is_ok());
}

#[test]
fn several_parts_of_gzip_and_of_zstd() {
    let bytes = good([]).build();
    let (one, other) = bytes.split_at(700);
    for pack in [gzip, pack_zstd] {
        let archive = open(&[pack(one), pack(other)].concat()).unwrap();
        assert_eq!(archive.entries().len(), 2);
    }
    // A frame to be skipped, as pzstd writes them.
    let skipped = b"\x53\x2a\x4d\x18\x03\0\0\0abc";
    let archive = open(&[&pack_zstd(one), &skipped[..], &pack_zstd(other)].concat());
    assert_eq!(archive.unwrap().entries().len(), 2);
    let archive = open(&[&skipped[..], &pack_zstd(one), &pack_zstd(other)].concat());
    assert_eq!(archive.unwrap().entries().len(), 2);
}

// Names

#[test]
fn more_names_than_fit_the_memory() {
    // Half a million is allowed, but not of the longest.
    let name = |number: usize| format!("{}/{number}", vec!["x".repeat(250); 4].join("/"));
    let names = (0..70_000).map(name);
    let entries =
        names.flat_map(|name| [RawEntry::pax(&[("path", &name)]), RawEntry::file("a", "")]);
    let error = open(&gzip(&good(entries).build())).unwrap_err();
    assert_eq!(error.code(), Code::TooLarge, "{error}");
    assert!(error.to_string().contains("bytes of names"), "{error}");
    // And none that is longer, whatever becomes of it.
    let long = "x".repeat(900_000);
    let entries = [RawEntry::pax(&[("path", &long)]), RawEntry::file("a", "")];
    let error = open(&gzip(&good(entries).build())).unwrap_err();
    assert_eq!(error.code(), Code::ArchiveUnsafe, "{error}");
}

#[test]
fn hostile_names() {
    for name in NAMES {
        let (zero, rest) = (name.contains('\0'), name.strip_prefix("./"));
        let taken = if zero || rest.is_some_and(|rest| SafePath::try_from(rest).is_ok()) {
            // Cut off at the zero, and without what `tar c .` writes; what is left is checked.
            continue;
        } else {
            open(&gzip(&with_name(name.as_bytes())))
        };
        let error = taken.expect_err(name);
        assert_eq!(error.code(), Code::ArchiveUnsafe, "{name:?} {error}");
        if !name.is_empty() {
            let pax = RawEntry::pax(&[("path", name)]);
            unsafe_([pax, file("a")], "");
            let folder = with([RawEntry::folder(format!("{name}/"))]);
            assert!(folder.is_err() || *name == ".", "{name:?}");
        }
    }
    unsafe_(
        [RawEntry::pax(&[("path", "a\0b")]), file("a")],
        "control character",
    );
}

#[test]
fn names_that_are_not_utf8() {
    // 中文 in GBK
    unsafe_([RawEntry::file(b"\xd6\xd0\xce\xc4", "x")], "not UTF-8");
    unsafe_(
        [RawEntry::gnu(b'L', b"\xd6\xd0\xce\xc4"), file("a")],
        "not UTF-8",
    );
    unsafe_([RawEntry::link("a", b"\xd6\xd0\xce\xc4")], "no UTF-8");
    unsafe_([RawEntry::hard_link("a", b"\xd6\xd0\xce\xc4")], "no UTF-8");
    let binary = RawEntry::pax(&[("hdrcharset", "BINARY")]);
    invalid([binary, file("a")], "an encoding that is not said");
    let named = RawEntry::pax(&[("hdrcharset", "ISO-IR 10646 2000 UTF-8")]);
    assert!(with([named, file("a")]).is_ok());
}

#[test]
fn names_that_cannot_lie_side_by_side() {
    unsafe_([file("main.py")], "is there too");
    unsafe_([file("MAIN.py")], "is there too");
    unsafe_([file("./main.py")], "is there too");
    unsafe_([file("\u{e9}"), file("e\u{301}")], "is there too");
    unsafe_([file("main.py/a")], "which is no folder");
    unsafe_([RawEntry::folder("main.py")], "is there too");
    unsafe_([file("lib")], "which is no folder");
    unsafe_([RawEntry::hard_link("main.py", "main.py")], "is there too");
    unsafe_(
        [RawEntry::folder("lib/"), RawEntry::folder("./lib")],
        "is there too",
    );
    unsafe_(
        [file("castoff-files.json"), file("Castoff-Files.json")],
        "the file list's name",
    );
    unsafe_(
        [RawEntry::link("castoff-files.json", "a")],
        "the file list's name",
    );
}

#[test]
fn a_file_whose_name_ends_in_a_slash() {
    unsafe_([file("a/")], "a component is empty");
    unsafe_([RawEntry::link("a/", "b")], "a component is empty");
    unsafe_(
        [RawEntry::hard_link("a/", "main.py")],
        "a component is empty",
    );
    invalid(
        [RawEntry::of(0, "a/", "content")],
        "has content and is no file",
    );
    invalid(
        [RawEntry::of(b'5', "a", "content")],
        "has content and is no file",
    );
}

// Links

#[test]
fn what_lies_below_a_link() {
    // The folder would be the link's target, and its mode that of the target.
    unsafe_(
        [RawEntry::link("x", "lib"), RawEntry::folder("x")],
        "is there too",
    );
    unsafe_(
        [RawEntry::link("x", "lib"), RawEntry::folder("x/")],
        "is there too",
    );
    unsafe_(
        [RawEntry::folder("x"), RawEntry::link("x", "lib")],
        "is there too",
    );
    unsafe_(
        [RawEntry::link("x", "lib"), file("x/a")],
        "which is no folder",
    );
    unsafe_(
        [file("x/a"), RawEntry::link("x", "lib")],
        "which is no folder",
    );
    unsafe_(
        [RawEntry::link("x", "lib"), file("X/a")],
        "which is no folder",
    );
    unsafe_(
        [RawEntry::link("x", "lib"), RawEntry::link("x", "..")],
        "is there too",
    );
}

#[test]
fn symbolic_links_that_lead_elsewhere() {
    for (target, says) in [
        ("../a", "leads out of the folder"),
        ("/etc/passwd", "no relative path"),
        ("C:\\a", "no relative path"),
        ("C:/a", "one of <>:"),
        ("..\\a", "no relative path"),
        ("", "no relative path"),
        ("a", "in a circle"),
        (".castoff/state.json", "the launcher's own folder"),
        ("lib/", "a component is empty"),
    ] {
        unsafe_([RawEntry::link("a", target)], says);
    }
    let chain = [
        RawEntry::link("d/up", ".."),
        RawEntry::link("d/a", "up/../b"),
    ];
    unsafe_(chain, "leads out of the folder");
    let long = RawEntry::gnu(b'K', "a".repeat(4097));
    unsafe_([long, RawEntry::link("a", "b")], "more than 4096 bytes");
    invalid(
        [RawEntry::of(b'2', "a", "x").field(field::TARGET, "b")],
        "has content",
    );
}

#[test]
fn hard_links_to_what_is_no_file_before() {
    let says = "a file that comes before it";
    for target in [
        "/etc/passwd",
        "../a",
        "later",
        "lib",
        "LIB/A.PY",
        "Main.py",
        "link",
        "",
        "x",
    ] {
        let entries = [
            RawEntry::folder("lib"),
            RawEntry::link("link", "main.py"),
            RawEntry::hard_link("x", target),
            file("later"),
        ];
        unsafe_(entries, says);
    }
    invalid(
        [RawEntry::of(b'1', "a", "x").field(field::TARGET, "main.py")],
        "has content",
    );
}

// Types

#[test]
fn what_is_neither_file_nor_folder_nor_link() {
    for kind in *b"346" {
        unsafe_([RawEntry::of(kind, "a", "")], "device, socket or pipe");
    }
    for kind in *b"DMNVXAZ89\xff" {
        invalid([RawEntry::of(kind, "a", "")], "is not supported");
    }
}

#[test]
fn sparse_files() {
    invalid([RawEntry::of(b'S', "a", "x")], "a sparse file");
    for key in [
        "GNU.sparse.major",
        "GNU.sparse.name",
        "GNU.sparse.map",
        "SCHILY.realsize",
    ] {
        invalid([RawEntry::pax(&[(key, "1")]), file("a")], "a sparse file");
        invalid(
            [RawEntry::pax_global(&[(key, "1")]), file("a")],
            "a sparse file",
        );
    }
}

// Extended headers

#[test]
fn damaged_records_of_an_extended_header() {
    let pax = |content: &str| RawEntry::of(b'x', "x", content);
    for record in [
        "7 a=bc",
        "8 a=bcd",
        "9 a=b\n",
        "5 a=b\n",
        "6 a=b\nx",
        "6 a=b ",
        "+6 a=b\n",
        "-6 a=b\n",
        " 6 a=b\n",
        "06a=b\n",
        "0 a=b\n",
        "2 ",
        "3 \n",
        "5 ab\n",
        "4 =\n",
        "99999999999999999999 a=b\n",
        "6 a=b\n\0\0",
        "a=b\n",
        "6\ta=b\n",
        "8 a\0b=c\n",
    ] {
        invalid([pax(record), file("a")], "is damaged");
    }
    invalid([pax("").size(2 << 20), file("a")], "more than 1 MiB");
}

#[test]
fn an_extended_header_says_nothing_twice() {
    let pax = |records: &[(&str, &str)]| RawEntry::pax(records);
    for key in ["path", "linkpath", "size"] {
        invalid([pax(&[(key, "7"), (key, "7")]), file("a")], "there twice");
    }
    let twice = "two headers say";
    invalid([pax(&[("a", "b")]), pax(&[("c", "d")]), file("a")], twice);
    let long = RawEntry::gnu(b'L', "b");
    invalid([long.clone(), long.clone(), file("a")], twice);
    invalid([long.clone(), pax(&[("path", "b")]), file("a")], twice);
    invalid([pax(&[("path", "b")]), long.clone(), file("a")], twice);
    let target = RawEntry::gnu(b'K', "b");
    let link = RawEntry::link("a", "b");
    invalid([target.clone(), pax(&[("linkpath", "b")]), link], twice);
    for key in ["path", "linkpath"] {
        invalid([pax(&[(key, "")]), file("a")], "is empty");
    }
    for magic in [&b"ustar\x0000"[..], &[0; 8]] {
        let strange = RawEntry::gnu(b'K', "b").field(field::MAGIC, magic);
        invalid([strange, RawEntry::link("a", "b")], "is not supported");
    }
    for long in ["b\0", "b\0c"] {
        invalid([RawEntry::gnu(b'L', long), file("a")], "more than a name");
    }
    invalid([pax(&[("size", "")]), file("a")], "no number");
    invalid([pax(&[("size", "-7")]), file("a")], "no number");
    invalid([pax(&[("size", "0x7")]), file("a")], "no number");
}

#[test]
fn an_extended_header_without_its_entry() {
    for header in [
        RawEntry::pax(&[("a", "b")]),
        RawEntry::gnu(b'L', "b"),
        RawEntry::gnu(b'K', "b"),
    ] {
        let says = "followed by no entry";
        let tar = RawTar::of([file("a"), header.clone()]).build();
        refused_as(open(&gzip(&tar)), Code::ArchiveInvalid, says);
        invalid(
            [header, RawEntry::pax_global(&[("a", "b")]), file("a")],
            says,
        );
    }
}

#[test]
fn one_path_or_size_for_all_entries() {
    for key in ["path", "linkpath", "size"] {
        invalid(
            [RawEntry::pax_global(&[(key, "7")]), file("a")],
            "for all entries",
        );
    }
}

#[test]
fn a_record_has_the_length_that_it_says() {
    for length in [1, 5, 90, 95, 996, 5000] {
        let record = pax_record("path", &"a".repeat(length));
        let (key, value, rest) = pax_record_of(record.as_bytes());
        assert_eq!((key, value.len(), rest.len()), (&b"path"[..], length, 0));
    }
}

fn pax_record_of(bytes: &[u8]) -> (&[u8], &[u8], &[u8]) {
    super::pax_record(bytes).unwrap()
}

// Headers

#[test]
fn a_sum_that_is_wrong() {
    let says = "sum of a header is wrong";
    invalid([file("a").after_the_sum(0, "b")], says);
    invalid([file("a").field(field::SUM, "0000000")], says);
    invalid([file("a").after_the_sum(field::SUM.start, [0; 8])], says);
    let page = b"<!doctype html>".repeat(100);
    refused_as(open(&gzip(&page)), Code::ArchiveInvalid, says);
    refused_as(
        open(&gzip(&Package::new("1").file("a", [1; 999]).build().bytes)),
        Code::ArchiveInvalid,
        "cut short",
    );
}

#[test]
fn numbers_that_are_none() {
    for size in [
        &b""[..],
        b"           ",
        b"-0000000007",
        b"00000000008",
        b"0000007 0007",
        b"0x7",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf9",
        b"\x80\0\0\x01\0\0\0\0\0\0\0\x07",
        b"\x81\0\0\0\0\0\0\0\0\0\0\x07",
    ] {
        invalid([file("a").field(field::SIZE, size)], "no number");
    }
    invalid([file("a").field(field::MODE, "rwxr-xr-")], "no number");
    let beyond = file("a").field(field::SIZE, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
    refused([beyond], Code::TooLarge, "bytes unpacked");
}

// Ends

#[test]
fn an_empty_tar() {
    let empty = |entries: Vec<RawEntry>| open(&gzip(&RawTar::of(entries).build()));
    let says = "no file in it";
    refused_as(empty(vec![]), Code::ArchiveInvalid, says);
    let folders = vec![RawEntry::folder("./"), RawEntry::folder("a")];
    refused_as(empty(folders), Code::ArchiveInvalid, says);
    for pack in [gzip, pack_zstd] {
        refused_as(open(&pack(b"")), Code::ArchiveInvalid, "cut short");
        refused_as(open(&pack(&[0; 512])), Code::ArchiveInvalid, "cut short");
    }
}

#[test]
fn truncated_at_every_512th_byte() {
    let bytes = good([RawEntry::pax(&[("path", "long")]), file("a")]).build();
    for length in (0..bytes.len())
        .step_by(512)
        .chain((0..bytes.len()).step_by(331))
    {
        for pack in [gzip, pack_zstd] {
            let cut = open(&pack(&bytes[..length]));
            refused_as(cut, Code::ArchiveInvalid, "cut short");
        }
    }
}

#[test]
fn a_truncated_package() {
    let noise = (0_u32..10_000).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes());
    let noise: Vec<u8> = noise.collect();
    let bytes = good([RawEntry::file("noise", noise)]).build();
    for pack in [gzip, pack_zstd] {
        let packed = pack(&bytes);
        let last = packed.len() - 20..packed.len();
        for length in (0..packed.len()).step_by(1000).chain(last) {
            let error = open(&packed[..length]).unwrap_err();
            assert_eq!(error.code(), Code::ArchiveInvalid, "{length}: {error}");
        }
    }
}

#[test]
fn bytes_after_the_end() {
    let says = "bytes after its end";
    let zeros = [0; 2 * BLOCK];
    let second = good([]).build();
    for after in [&b"x"[..], &second, &[&zeros[..], b"x"].concat()] {
        let bytes = good([]).end([&zeros, after].concat()).build();
        refused_as(open(&gzip(&bytes)), Code::ArchiveInvalid, says);
    }
    let lone = good([]).end([&[0; BLOCK][..], &second].concat()).build();
    refused_as(
        open(&gzip(&lone)),
        Code::ArchiveInvalid,
        "one block of zeros",
    );
    // In a part of its own.
    let two = [gzip(&good([]).build()), gzip(b"more")].concat();
    refused_as(open(&two), Code::ArchiveInvalid, says);
    // After what is packed.
    for pack in [gzip, pack_zstd] {
        for after in [
            &b"x"[..],
            b"\0",
            b"\x1f\x8b",
            b"more than a header is",
            &[0; 512],
        ] {
            let error = open(&[&pack(&good([]).build()), after].concat()).unwrap_err();
            assert_eq!(error.code(), Code::ArchiveInvalid, "{error}");
        }
    }
}

#[test]
fn what_gzip_says_of_itself_must_be_so() {
    let packed = gzip(&good([]).build());
    for at in packed.len() - 8..packed.len() {
        let mut bytes = packed.clone();
        bytes[at] ^= 1;
        refused_as(open(&bytes), Code::ArchiveInvalid, "cannot be decompressed");
    }
}

#[test]
fn what_zstd_says_of_itself_must_be_so() {
    let bytes = good([]).build();
    let packed = pack_zstd(&bytes);
    assert!(open(&packed).is_ok());
    // The announced size, the reserved bit, the dictionary, the checksum.
    let descriptor = packed[4];
    let change = |at: usize, bits: u8| {
        let mut bytes = packed.clone();
        bytes[at] ^= bits;
        open(&bytes).unwrap_err()
    };
    let error = change(4, 1 << 3);
    assert!(error.to_string().contains("reserved"), "{error}");
    let error = change(4, 1);
    assert_eq!(error.code(), Code::ArchiveInvalid, "{error}");
    assert_eq!(descriptor & 1 << 2, 1 << 2, "the encoder adds a checksum");
    let error = change(packed.len() - 1, 1);
    assert!(error.to_string().contains("checksum is wrong"), "{error}");
}

#[test]
fn a_zstd_frame_with_a_size_that_is_not_so() {
    // One block, as it is, in a frame that announces a size in four bytes, and has no checksum.
    let bytes = good([]).build();
    let frame = |announced: u32| {
        let block = u32::try_from(bytes.len()).unwrap() << 3 | 1;
        let mut frame = b"\x28\xb5\x2f\xfd\xa0".to_vec();
        frame.extend(announced.to_le_bytes());
        frame.extend(&block.to_le_bytes()[..3]);
        frame.extend(&bytes);
        frame
    };
    let size = u32::try_from(bytes.len()).unwrap();
    assert!(open(&frame(size)).is_ok());
    refused_as(open(&frame(size + 1)), Code::ArchiveInvalid, "another size");
    // Its only window is smaller than its only block.
    refused_as(
        open(&frame(size - 1)),
        Code::ArchiveInvalid,
        "a block is wrong",
    );
}

#[test]
fn a_zstd_window_that_is_too_large() {
    // A frame with a window of 2^(10 + n) bytes and one empty block.
    let frame = |exponent: u8| {
        let header = [0x28, 0xb5, 0x2f, 0xfd, 0, (exponent - 10) << 3];
        [&header[..], &[1, 0, 0]].concat()
    };
    refused_as(open(&frame(27)), Code::ArchiveInvalid, "cut short");
    let error = open(&frame(28)).unwrap_err();
    assert_eq!(error.code(), Code::ArchiveInvalid);
    assert!(
        error.to_string().contains("window of more than 128 MiB"),
        "{error}"
    );
}

// Limits

#[test]
fn more_than_the_limits_allow() {
    let hard = RawEntry::hard_link("again", "main.py");
    let bytes = gzip(&good([hard, RawEntry::folder("x")]).build());
    let limits = Limits {
        max_entries: 4,
        max_total: 1216,
        ..Limits::default()
    };
    open_within(&bytes, &limits).unwrap();
    for limits in [
        Limits {
            max_entries: 3,
            ..limits.clone()
        },
        Limits {
            max_total: 1215,
            ..limits.clone()
        },
    ] {
        refused_as(open_within(&bytes, &limits), Code::TooLarge, "");
    }
}

#[test]
fn bombs() {
    let limits = Limits {
        ratio_from: 1 << 18,
        ..Limits::default()
    };
    let zeros = vec![0; 1 << 20];
    let tars = [
        // in a file
        good([RawEntry::file("zeros", &zeros)]).build(),
        // in the names
        good((0..999).map(|number| RawEntry::link(format!("{number}"), "main.py"))).build(),
        // in the extended headers
        good((0..9).flat_map(|number| {
            let long = pax_record("comment", &"a".repeat(1 << 19));
            [RawEntry::of(b'x', "x", long), file(&number.to_string())]
        }))
        .build(),
        // after the end
        good([]).end(&zeros).build(),
    ];
    for tar in tars {
        for pack in [gzip, pack_zstd] {
            let bytes = pack(&tar);
            let ratio = tar.len() / bytes.len();
            let limits = Limits {
                max_ratio: u64::try_from(ratio / 2).unwrap(),
                ..limits.clone()
            };
            open(&bytes).unwrap();
            refused_as(
                open_within(&bytes, &limits),
                Code::TooLarge,
                "times its size",
            );
        }
    }
    // A thousand names for one file that cannot be packed.
    let noise: Vec<u8> = (0_u32..99_999)
        .map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let first = RawEntry::file("noise", &noise);
    let links = (0..999).map(|number| RawEntry::hard_link(format!("{number}"), "noise"));
    let bytes = gzip(&good([first].into_iter().chain(links)).build());
    refused_as(
        open_within(&bytes, &limits),
        Code::TooLarge,
        "times its size",
    );
}

#[test]
fn a_bomb_is_refused_before_it_is_unpacked() {
    // 8 GiB of zeros, announced: there need not be one of them.
    let announced = file("zeros").size(OCTAL_LIMIT);
    refused([announced], Code::TooLarge, "times its size");
}

#[test]
fn a_file_that_shrinks_after_it_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&app().bytes).unwrap();
    let package = Source::new(file.try_clone().unwrap(), "app.tgz").unwrap();
    file.set_len(50).unwrap();
    let how = Opening::new("app.tgz", folder.path());
    let error = super::read(&package, Packing::Gzip, &how).unwrap_err();
    assert!(error.to_string().contains("ends before"), "{error}");
}

proptest! {
    /// Whatever is done to a tar, it is read or refused, and what is read is safe.
    #[test]
    fn mutated_tars(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        sums in any::<bool>(),
        cut in any::<prop::sample::Index>(),
        doubled in any::<bool>(),
    ) {
        let mut bytes = good([
            RawEntry::link("link", "lib/a.py"),
            RawEntry::hard_link("hard", "main.py"),
            RawEntry::pax(&[("path", "中文"), ("size", "7")]),
            file("a"),
            RawEntry::gnu(b'L', "long"),
            file("b"),
        ])
        .build();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
            if sums {
                let block = at / BLOCK * BLOCK;
                let header = &mut bytes[block..block + BLOCK];
                header[field::SUM].fill(b' ');
                let sum: u32 = header.iter().copied().map(u32::from).sum();
                header[field::SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        if doubled {
            let part = bytes[cut.index(bytes.len())..].to_vec();
            bytes.extend(part);
        }
        if let Ok(archive) = open(&gzip(&bytes)) {
            for (index, entry) in archive.entries().iter().enumerate() {
                prop_assert!(SafePath::try_from(entry.path.as_str()).is_ok());
                if let EntryKind::Link { target } = &entry.kind {
                    prop_assert!(guard::check_link(&entry.path, target).is_ok());
                }
                archive.extract(index, &mut io::sink()).unwrap();
            }
        }
    }
}
