use std::io::Write as _;

use castoff_testkit::package::Package;

use super::*;
use crate::archive::Archive;

fn open(bytes: &[u8]) -> Result<Archive> {
    let folder = tempfile::tempdir().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Archive::open(file, &Opening::new("app.tgz", folder.path()))
}

#[test]
fn an_ordinary_package_is_read() {
    let package = Package::new("1.0.0")
        .file("main.py", "print(1)")
        .executable("run.sh", "#!/bin/sh\n")
        .link("current", "lib")
        .folder("empty")
        .list();
    for built in [package.build_tar_gz(), package.build_tar_zst()] {
        let archive = open(&built.bytes).unwrap();
        assert!(archive.file_list(None).unwrap().unwrap().whole);
        assert_eq!(archive.entries().len(), 3);
    }
}
