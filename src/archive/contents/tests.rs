use std::io::Write as _;
use std::path::Path;

use castoff_testkit::package::{Built, Package};
use castoff_testkit::tar::{self, RawEntry, RawTar};

use super::*;
use crate::Code;

fn open(bytes: &[u8], wrapped: bool) -> Result<Archive> {
    let scratch = tempfile::tempdir().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let how = Opening {
        wrapped,
        ..Opening::new("app", scratch.path())
    };
    let archive = Archive::open(file, &how);
    if cfg!(unix) {
        // What was made there has no name.
        assert_eq!(scratch.path().read_dir().unwrap().count(), 0);
    }
    archive
}

fn names(archive: &Archive) -> Vec<&str> {
    let entries = archive.entries().iter();
    entries.map(|entry| entry.path.as_str()).collect()
}

fn contents(archive: &Archive) -> Vec<Vec<u8>> {
    let unpack = |index| {
        let mut content = Vec::new();
        let extracted = archive.extract(index, &mut content).unwrap();
        assert_eq!(extracted.sha256, Sha256::of(&content));
        assert_eq!(extracted.crc32, super::super::crc32(&content));
        content
    };
    (0..archive.entries().len()).map(unpack).collect()
}

fn package() -> Package {
    Package::new("1.0.0")
        .file("main.py", "print(1)\n".repeat(99))
        .executable("run.sh", "#!/bin/sh\n")
        .link("lib/current", "../data")
        .folder("data")
        .list()
}

fn path(text: &str) -> SafePath {
    text.try_into().unwrap()
}

#[test]
fn every_kind_of_package_has_the_same_in_it() {
    let package = package();
    let zip = open(&package.build().bytes, false).unwrap();
    for other in [package.build_tar_gz(), package.build_tar_zst()] {
        let other = open(&other.bytes, false).unwrap();
        assert_eq!(names(&zip), names(&other));
        assert_eq!(contents(&zip), contents(&other));
        assert_eq!(zip.folders(), other.folders());
        for (one, other) in zip.entries().iter().zip(other.entries()) {
            assert_eq!(one.kind, other.kind);
            assert_eq!(one.crc32, other.crc32);
            assert_eq!(one.executable, other.executable);
        }
        let lists = [&zip, &other].map(|archive| archive.file_list(None).unwrap().unwrap());
        assert_eq!(lists[0], lists[1]);
        let digest = zip.file_list_digest().unwrap();
        assert_eq!(digest, other.file_list_digest().unwrap());
        assert!(other.file_list(digest).is_ok());
        let wrong = other.file_list(Some(Sha256::of(b"")));
        assert_eq!(wrong.unwrap_err().code(), Code::FileListInvalid);
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    for bytes in ["", "P", "PK", "\u{1f}", "<!doctype html>", "ustar"] {
        let error = open(bytes.as_bytes(), false).unwrap_err();
        assert_eq!(error.code(), Code::ArchiveInvalid, "{error}");
    }
}

#[test]
fn one_folder_around_everything_is_taken_away() {
    let package = package();
    let bare = open(&package.build().bytes, false).unwrap();
    let zip = wrapped_zip(&package);
    for bytes in [
        zip,
        package.build_tar("owner-app-1a2b3c/", tar::gzip).bytes,
        package.build_tar("./package/", tar::zstd).bytes,
    ] {
        let archive = open(&bytes, true).unwrap();
        assert_eq!(names(&bare), names(&archive));
        assert_eq!(contents(&bare), contents(&archive));
        assert_eq!(bare.folders(), archive.folders());
        assert!(archive.file_list(None).unwrap().is_some());
        let as_it_is = open(&bytes, false).unwrap();
        assert_eq!(as_it_is.entries().len(), archive.entries().len() + 1);
        assert!(as_it_is.file_list(None).unwrap().is_none());
    }
}

/// The package's zip as a forge would make it, with an entry for the folder.
fn wrapped_zip(package: &Package) -> Vec<u8> {
    let archive = open(&package.build().bytes, false).unwrap();
    let list = package.file_list();
    let mut wrapped = Package::new("1.0.0").folder("top");
    for (entry, content) in archive.entries().iter().zip(contents(&archive)) {
        let name = format!("top/{}", entry.path);
        wrapped = match &entry.kind {
            EntryKind::Link { target } => wrapped.link(&name, target),
            EntryKind::File if entry.executable => wrapped.executable(&name, content),
            EntryKind::File => wrapped.file(&name, content),
        };
    }
    let wrapped = wrapped.file("top/castoff-files.json", list);
    wrapped.folder("top/data").build().bytes
}

#[test]
fn what_is_not_wrapped_in_one_folder_is_refused() {
    let file = |name: &str| RawEntry::file(name, "x");
    let refused = |entries: Vec<RawEntry>| {
        let bytes = tar::gzip(&RawTar::of(entries).build());
        open(&bytes, true).unwrap_err()
    };
    for entries in [
        vec![file("a"), file("b")],
        vec![file("a/b"), file("b/a")],
        vec![file("a/b"), file("ab/c")],
        vec![file("a/b"), file("A/c")],
        vec![file("a/b"), file("c")],
        vec![RawEntry::folder("a"), file("b/c")],
        vec![file("a")],
        vec![RawEntry::link("a", "b"), file("b")],
    ] {
        let error = refused(entries);
        assert_eq!(error.code(), Code::ArchiveInvalid);
        assert!(error.to_string().contains("not wrapped in one"), "{error}");
    }
    let error = refused(vec![RawEntry::folder("a"), RawEntry::folder("a/b")]);
    assert!(error.to_string().contains("no file in it"), "{error}");
    for entries in [
        vec![file("/a/b")],
        vec![file("../a")],
        vec![file("a//b")],
        vec![file("a/../b")],
        vec![file("a/.castoff/state.json")],
        vec![file("a/b"), file("a/B")],
        // Within the tree as it is, above the root as it will be.
        vec![file("a/b"), RawEntry::link("a/c", "../a/b")],
    ] {
        let error = refused(entries);
        assert_eq!(error.code(), Code::ArchiveUnsafe, "{error}");
    }
}

// Loose files

struct Lying {
    folder: tempfile::TempDir,
    files: Vec<Loose>,
    list: FileList,
}

/// The package's files as they lie when each was fetched.
fn loose() -> Lying {
    let package = package();
    let Built { files, .. } = package.build();
    let folder = tempfile::tempdir().unwrap();
    let store = |(name, content): (String, Vec<u8>)| {
        let sha256 = Sha256::of(&content);
        std::fs::write(folder.path().join(sha256.to_string()), &content).unwrap();
        Loose {
            path: path(&name),
            stored: sha256.to_string(),
            size: content.len() as u64,
            sha256,
            executable: name == "run.sh",
        }
    };
    let files = files.into_iter().map(store).collect();
    let list = FileList::parse(&package.file_list()).unwrap();
    Lying {
        folder,
        files,
        list,
    }
}

impl Lying {
    fn open(&self) -> Result<Archive> {
        Archive::of_files(self.folder.path(), self.files.clone(), self.list.clone())
    }

    fn at(&self, index: usize) -> std::path::PathBuf {
        self.folder.path().join(&self.files[index].stored)
    }
}

#[test]
fn loose_files_are_a_package() {
    let files = loose();
    let archive = files.open().unwrap();
    assert_eq!(names(&archive), ["main.py", "run.sh", "lib/current"]);
    let built = package().build();
    let expected = [&built.files["main.py"][..], b"#!/bin/sh\n", b"../data"];
    assert_eq!(contents(&archive), expected);
    assert_eq!(archive.file_list(None).unwrap(), Some(files.list.clone()));
    assert!(archive.file_list(Some(Sha256::of(b""))).is_err());
    assert!(archive.entries().iter().all(|entry| entry.crc32.is_none()));
}

#[test]
fn a_loose_file_that_is_another_is_not_unpacked() {
    let files = loose();
    let archive = files.open().unwrap();
    let fails = |code: Code| {
        let error = archive.extract(1, &mut io::sink()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    };
    std::fs::write(files.at(1), "#!/bin/hs\n").unwrap();
    fails(Code::HashMismatch);
    std::fs::write(files.at(1), "longer than it was").unwrap();
    fails(Code::SizeMismatch);
    std::fs::remove_file(files.at(1)).unwrap();
    fails(Code::Io);
}

#[test]
fn loose_files_that_are_not_the_lists_are_refused() {
    let refused = |change: fn(&mut Lying), code: Code| {
        let mut files = loose();
        change(&mut files);
        let error = files.open().unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    };
    refused(|files| files.files.truncate(1), Code::FileListInvalid);
    refused(|files| files.files[0].size += 1, Code::FileListInvalid);
    refused(
        |files| files.files[0].sha256 = Sha256::of(b"another"),
        Code::FileListInvalid,
    );
    refused(
        |files| files.files[0].path = path("other.py"),
        Code::FileListInvalid,
    );
    refused(
        |files| files.files[0].path = path("castoff-files.json"),
        Code::ArchiveUnsafe,
    );
    refused(
        |files| files.files.push(files.files[0].clone()),
        Code::ArchiveUnsafe,
    );
    for stored in ["../outside", "/etc/passwd", "below/it", ""] {
        let mut files = loose();
        files.files[0].stored = stored.to_owned();
        assert_eq!(files.open().unwrap_err().code(), Code::ArchiveUnsafe);
    }
}

#[test]
fn a_partial_set_of_loose_files_holds_what_has_changed() {
    let mut files = loose();
    files.list.whole = false;
    files.files.truncate(1);
    let archive = files.open().unwrap();
    assert_eq!(names(&archive), ["main.py", "lib/current"]);
    assert!(!archive.file_list(None).unwrap().unwrap().whole);
}

#[test]
fn a_scratch_folder_that_is_not_there_is_an_error_of_the_disk() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&package().build_tar_gz().bytes).unwrap();
    let missing = Path::new("/nonexistent/folder");
    let error = Archive::open(file, &Opening::new("app", missing)).unwrap_err();
    assert_eq!(error.code(), Code::Io, "{error}");
}
