//! The executable for Windows: what lies beside it must not get into its process.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::world::World;

/// The DLLs that the manifest binds to System32.
fn guarded() -> Vec<&'static str> {
    include_str!("../../assets/windows/castoff.manifest")
        .split("<v3:file name=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

/// Puts a file that is no DLL in the place of every guarded one: who loads one of them does not
/// even start.
fn plant(folder: &Path) {
    for name in guarded() {
        fs::write(folder.join(name), "planted").unwrap();
    }
}

#[test]
fn planted_dlls_are_not_loaded() {
    let world = World::new();
    world.publish_app("1.0.0");
    plant(world.home());
    let run = world.run(&["--castoff", "check"]);
    assert_eq!(run.code, Some(0), "{run:?}");
}

/// The trap works: this test's own executable, which has no manifest, does not start beside it.
#[test]
fn planted_dlls_stop_an_executable_without_the_manifest() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copy = folder.path().join("unguarded.exe");
    let this = std::env::current_exe().unwrap();
    fs::hard_link(&this, &copy)
        .or_else(|_| fs::copy(&this, &copy).map(|_| ()))
        .unwrap();
    let starts = || {
        let mut command = Command::new(&copy);
        command.arg("--list").stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    assert!(starts());
    plant(folder.path());
    assert!(!starts());
}
