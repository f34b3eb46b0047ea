//! Packages that are no zips: installed and updated through the launcher, and refused by it.

use castoff_testkit::http::Reply;
use castoff_testkit::package::{Built, Package};
use castoff_testkit::tar::hostile::good;
use castoff_testkit::tar::{RawEntry, RawTar, field, gzip, zstd};

use crate::world::{ENTRY, World, app, script};

/// How a package is built.
type Build = fn(&Package) -> Built;

const TARS: [Build; 2] = [Package::build_tar_gz, Package::build_tar_zst];

/// An app that carries no file list.
fn unlisted(version: &str) -> Package {
    Package::new(version)
        .executable(ENTRY, script(version))
        .file("data/changes.txt", format!("changes {version}\n"))
        .file("stays.py", "print('always the same')\n")
        .file(&format!("only/{version}.bin"), version.repeat(500))
}

fn publish(world: &World, built: &Built) {
    world.announce(&World::answer(built, &built.version));
    world.media(&built.version, Reply::file(&built.bytes));
}

/// Installs and updates, with packages that are built so.
fn installed_and_updated(app: fn(&str) -> Package, build: Build) -> World {
    let world = World::new();
    for version in ["1.0.0", "1.1.0"] {
        let package = app(version);
        publish(&world, &build(&package));
        for _ in 0..2 {
            world.run(&[]).assert_app(version);
        }
        world.assert_tidy();
    }
    assert_eq!(world.backups(), ["1.0.0"]);
    world
}

#[test]
fn tars_install_and_update_as_zips_do() {
    for app in [app, unlisted] {
        let with_zips = installed_and_updated(app, Package::build);
        for build in TARS {
            let world = installed_and_updated(app, build);
            assert_eq!(world.tree(), with_zips.tree());
            let restored = world.run(&["--castoff", "backups", "restore", "1.0.0"]);
            assert_eq!(restored.code, Some(0), "{restored:?}");
            assert_eq!(world.version(), "1.0.0");
        }
    }
}

#[test]
fn from_one_kind_of_package_to_another() {
    let world = World::new();
    let builds: [Build; 4] = [
        Package::build_tar_zst,
        Package::build,
        Package::build_tar_gz,
        Package::build,
    ];
    for (number, build) in builds.into_iter().enumerate() {
        let version = format!("1.{number}.0");
        publish(&world, &build(&unlisted(&version)));
        world.run(&[]).assert_app(&version);
    }
    // Without a list, what came before stays.
    assert!(world.path("only/1.0.0.bin").exists());
}

#[cfg(unix)]
#[test]
fn links_and_folders_of_a_tar() {
    let package = |version: &str| {
        app(version)
            .link("lib/current", "../data/changes.txt")
            .folder("empty")
    };
    for build in TARS {
        let world = World::new();
        publish(&world, &build(&package("1.0.0")));
        world.run(&[]).assert_app("1.0.0");
        assert_eq!(world.read("lib/current"), "changes 1.0.0\n");
        assert!(world.path("empty").is_dir());
        let target = std::fs::read_link(world.path("lib/current")).unwrap();
        assert_eq!(target.to_str(), Some("../data/changes.txt"));
    }
}

#[test]
fn a_partial_tar_is_laid_over_what_it_fits() {
    for build in TARS {
        let world = World::new();
        world.update_to("1.0.0");
        publish(&world, &build(&crate::world::partial_app("1.1.0", "1.0.0")));
        world.run(&[]).assert_app("1.1.0");
        assert!(world.read("stays.py").contains("always the same"));
        assert!(!world.path("only/1.0.0.bin").exists());
    }
}

#[test]
fn tars_that_are_refused_change_nothing() {
    let world = World::new();
    world.update_to("1.0.0");
    world.run(&[]).assert_app("1.0.0");
    let before = world.tree();
    let whole = app("1.1.0").build_tar_gz().bytes;
    let link = RawEntry::link("lib", "data");
    let device = RawEntry::of(b'3', "device", "");
    let listed = |list: Vec<u8>| {
        let entry = RawEntry::file(ENTRY, script("1.1.0")).mode(0o755);
        RawTar::of([entry, RawEntry::file("castoff-files.json", list)]).build()
    };
    for (number, (bytes, code)) in [
        (whole[..whole.len() / 2].to_vec(), "ARCHIVE_INVALID"),
        (whole[..whole.len() - 1].to_vec(), "ARCHIVE_INVALID"),
        ([&whole[..], b"more"].concat(), "ARCHIVE_INVALID"),
        (gzip(b"no tar"), "ARCHIVE_INVALID"),
        (zstd(&good([]).end("").build()), "ARCHIVE_INVALID"),
        (
            gzip(&good([RawEntry::file("../out", "x")]).build()),
            "ARCHIVE_UNSAFE",
        ),
        (gzip(&good([link]).build()), "ARCHIVE_UNSAFE"),
        (zstd(&good([device]).build()), "ARCHIVE_UNSAFE"),
        (
            gzip(&good([RawEntry::file("a", "").size(1 << 32)]).build()),
            "TOO_LARGE",
        ),
        (
            gzip(&good([RawEntry::file("a", "x").field(field::SUM, "0")]).build()),
            "ARCHIVE_INVALID",
        ),
        (gzip(&listed(b"{}".to_vec())), "FILE_LIST_INVALID"),
        (gzip(&listed(app("1.1.0").file_list())), "FILE_LIST_INVALID"),
    ]
    .into_iter()
    .enumerate()
    {
        let version = format!("1.1.{number}");
        world.publish_bytes(&version, bytes);
        world.run(&[]).assert_app("1.0.0").assert_told(code);
        assert_eq!(world.tree(), before, "{number}: {code}");
        world.assert_tidy();
    }
    publish(&world, &app("1.2.0").build_tar_gz());
    world.run(&[]).assert_app("1.2.0");
}
