//! A launcher's folder, the endpoint that it asks, and the `castoff` command in it.

use std::path::Path;
use std::process::{Command, Output};

use castoff_testkit::http::{Reply, Server};
use castoff_testkit::package::Package;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const CHECK: &str = "/api/nuitkal_pack/apps/demo/active/";

pub(crate) fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_castoff"));
    command
        .args(args)
        .current_dir(home)
        .env("HOME", home)
        .env("LC_ALL", "C");
    command
}

pub(crate) fn castoff(home: &Path, args: &[&str]) -> Output {
    command(home, args).output().unwrap()
}

/// A launcher's folder that asks a server, with more configuration.
pub(crate) fn folder_asking(server: &Server, more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let url = server.url(CHECK);
    let config = format!("log_dir = \"logs\"\nsource.url = \"{url}\"\n{more}\n");
    std::fs::write(folder.path().join("launcher.toml"), config).unwrap();
    folder
}

#[track_caller]
pub(crate) fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A script of the system's own shell.
pub(crate) const ENTRY: &str = if cfg!(windows) { "run.bat" } else { "run.sh" };

fn script(version: &str) -> String {
    if cfg!(windows) {
        format!("@echo app {version} %*\r\n")
    } else {
        format!("#!/bin/sh\necho \"app {version} $*\"\n")
    }
}

/// An app that says its version, with a file that no other version has.
pub(crate) fn app(version: &str) -> Package {
    Package::new(version)
        .executable(ENTRY, script(version))
        .file(&format!("only-{version}"), "x")
        .list()
}

pub(crate) fn publish(server: &Server, version: &str, package: &Package) {
    let built = package.build();
    let answer = json!({
        "version": version, "file": format!("/{version}.zip"), "file_hash": built.sha256,
        "entry_point": ENTRY, "changelog": "notes",
    });
    server.replace(CHECK, Reply::json(&answer.to_string()));
    server.route(&format!("/{version}.zip"), Reply::file(&built.bytes));
}
