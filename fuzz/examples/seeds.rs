//! Writes the seeds of the targets `zip` and `tar`, which cannot be written by hand:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.

use std::path::Path;

use castoff_testkit::package::{Package, RawEntry, hostile};
use castoff_testkit::tar;

/// Hostile packages that are not a step away from a good one.
const HOSTILE: [&str; 12] = [
    "prepended_data",
    "chained_links_out",
    "links_in_a_circle",
    "climbing_unicode_path",
    "climbing_name_with_backslashes",
    "file_in_the_backups",
    "same_name_but_form",
    "stream_without_end",
    "two_file_lists",
    "child_through_a_link",
    "folder_where_a_file_is",
    "undecodable_name",
];

fn main() {
    let app = Package::new("1.1.0")
        .file("main.py", "print(1)\n")
        .executable("run.sh", "#!/bin/sh\n")
        .folder("data/empty")
        .link("lib/a.so", "a.so.1")
        .file("lib/a.so.1", [0; 300]);
    let mut seeds = vec![
        ("app".to_owned(), app.build().bytes),
        ("app_list".to_owned(), app.clone().list().build().bytes),
        (
            "app_partial".to_owned(),
            app.kept("kept", "kept").partial(&["1.0.0"]).build().bytes,
        ),
        ("raw".to_owned(), hostile::good([]).build()),
        ("zip64".to_owned(), hostile::good([]).zip64().build()),
        (
            "comment".to_owned(),
            hostile::good([]).comment(b"a comment").build(),
        ),
        (
            "gbk".to_owned(),
            // A name of which one byte is a backslash.
            hostile::good([hostile::unflagged(RawEntry::stored(
                b"\xce\xc4\x81\x5c",
                "a",
            ))])
            .build(),
        ),
        (
            "utf8".to_owned(),
            hostile::good([RawEntry::deflated("包/é", "a")]).build(),
        ),
        (
            "described".to_owned(),
            hostile::good([RawEntry::deflated("a", "a").descriptor(true, false)]).build(),
        ),
        (
            "links".to_owned(),
            hostile::good([
                RawEntry::link("a", "lib"),
                RawEntry::link("b/c", "../a/./x"),
            ])
            .build(),
        ),
    ];
    for package in hostile::all() {
        if HOSTILE.contains(&package.name) {
            seeds.push((package.name.to_owned(), package.bytes));
        }
    }
    write(
        "zip",
        seeds
            .into_iter()
            .map(|(name, bytes)| (format!("{name}.zip"), bytes)),
    );
    write("tar", tars());
}

fn write(target: &str, seeds: impl IntoIterator<Item = (String, Vec<u8>)>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    for (name, bytes) in seeds {
        std::fs::write(folder.join(name), bytes).expect("a seed can be written");
    }
}

/// Tars as they are, and a few that are packed.
fn tars() -> Vec<(String, Vec<u8>)> {
    use tar::RawEntry as Entry;
    let file = |name: &str| Entry::file(name, "content");
    let app = Package::new("1.1.0")
        .file("main.py", "print(1)\n")
        .executable("run.sh", "#!/bin/sh\n")
        .folder("data/empty")
        .link("lib/a.so", "a.so.1")
        .file("lib/a.so.1", [0; 600])
        .list();
    let as_it_is: fn(&[u8]) -> Vec<u8> = <[u8]>::to_vec;
    let mut seeds = vec![
        ("app.tar".to_owned(), app.build_tar("", as_it_is).bytes),
        (
            "wrapped.tar".to_owned(),
            app.build_tar("owner-app-1/", as_it_is).bytes,
        ),
        ("dots.tar".to_owned(), app.build_tar("./", as_it_is).bytes),
        ("app.tar.gz".to_owned(), app.build_tar_gz().bytes),
        ("app.tar.zst".to_owned(), app.build_tar_zst().bytes),
    ];
    let long = "a/".repeat(60) + "b";
    for (name, entries) in [
        (
            "gnu",
            vec![
                Entry::gnu(b'L', &long),
                Entry::gnu(b'K', &long),
                Entry::link("a", "b"),
            ],
        ),
        (
            "pax",
            vec![
                Entry::pax(&[("path", &long), ("size", "7"), ("mtime", "1.5")]),
                file("a"),
            ],
        ),
        (
            "pax_link",
            vec![Entry::pax(&[("linkpath", &long)]), Entry::link("a", "b")],
        ),
        (
            "global",
            vec![Entry::pax_global(&[("comment", "1a2b3c")]), file("a")],
        ),
        (
            "hard",
            vec![
                Entry::hard_link("a", "main.py"),
                Entry::hard_link("./b", "./a"),
            ],
        ),
        ("prefix", vec![file("b").field(tar::field::PREFIX, "lib/a")]),
        (
            "old",
            vec![
                Entry::of(0, "a", "content").field(tar::field::MAGIC, ""),
                Entry::of(0, "b/", "").field(tar::field::MAGIC, ""),
            ],
        ),
        (
            "binary",
            vec![file("a").binary_size(), Entry::of(b'7', "b", "x")],
        ),
        ("root", vec![Entry::folder("./"), Entry::folder("./lib/")]),
        (
            "through_a_link",
            vec![Entry::link("x", "lib"), Entry::folder("x")],
        ),
        ("circle", vec![Entry::link("x", "y"), Entry::link("y", "x")]),
        ("up", vec![file("../x")]),
        (
            "sparse",
            vec![Entry::pax(&[("GNU.sparse.major", "1")]), file("a")],
        ),
        ("device", vec![Entry::of(b'3', "a", "")]),
        (
            "list",
            vec![Entry::file("castoff-files.json", app.file_list())],
        ),
    ] {
        seeds.push((format!("{name}.tar"), tar::hostile::good(entries).build()));
    }
    seeds
}
