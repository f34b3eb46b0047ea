//! Writes the seeds of the target `zip`, which cannot be written by hand:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.

use std::path::Path;

use castoff_testkit::package::{Package, RawEntry, hostile};

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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/zip");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    for (name, bytes) in seeds {
        std::fs::write(folder.join(format!("{name}.zip")), bytes).expect("a seed can be written");
    }
}
