//! Bakes the configuration that `CASTOFF_CONFIG` names into the executable.

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=CASTOFF_CONFIG");
    println!("cargo::rerun-if-changed=build.rs");
    let baked = env::var("CASTOFF_CONFIG").ok().map(|path| {
        println!("cargo::rerun-if-changed={path}");
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("CASTOFF_CONFIG {path}: {error}"))
    });
    let folder = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let code = format!("pub const BAKED: Option<&str> = {baked:?};\n");
    fs::write(Path::new(&folder).join("baked.rs"), code).expect("OUT_DIR can be written");
}
