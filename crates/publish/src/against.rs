//! What an older version consists of, for a package that holds only what has changed since.
//!
//! It is told by a package with a file list, or by a server's active version with its `files`: each a
//! file here, or an address. What is no older version's list is an error, never an empty one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use castoff::archive::SafePath;
use castoff::config::Config;
use castoff::fetch::{Client, download, local};
use castoff::progress::Silent;
use castoff::release::{Commands, FILE_LIST_LIMIT, FileList, Listed, Package};
use castoff::trust::Sha256;
use serde::Deserialize;

use crate::release::file_list;
use crate::{Error, Result, is_address};

/// A server's active version, as far as it matters here.
#[derive(Deserialize)]
struct Active {
    version: String,
    files: Vec<ActiveFile>,
}

#[derive(Deserialize)]
struct ActiveFile {
    path: SafePath,
    hash: Sha256,
    size: u64,
}

/// Reads the file list of an older version: `named` is the path or the address (http, https) of a
/// package, or of the JSON of a server's active version.
///
/// Such a server keeps no modes: nothing of that version counts as executable. The token is for a server
/// that wants one of whoever reads; it goes to that address alone.
///
/// Fails with `REQUEST_INVALID` when there is no list, or as opening packages and downloads do.
pub fn read(named: &str, token: Option<String>) -> Result<FileList> {
    if !is_address(named) {
        return read_file(Path::new(named), named);
    }
    let folder = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
    // A download that goes by a launcher's own defaults, with this address for a source.
    let baked = format!("[source]\nurl = {named:?}\n");
    let mut config = Config::load(folder.path(), Some(&baked), &|_| None)?;
    let has_token = token.is_some();
    config.source.token = token;
    let client = Client::new(&config.network, &config.source)?;
    let package = Package::at(named.to_owned());
    match download(&client, &package, folder.path(), &Silent) {
        Ok(fetched) => read_file(&fetched.path, named),
        Err(castoff::Error::HttpStatus { status: 401, .. }) if !has_token => Err(Error::request(
            format!("{named} is for whoever has a token: say with --token-file where it is"),
        )),
        Err(error) => Err(error.into()),
    }
}

fn read_file(path: &Path, named: &str) -> Result<FileList> {
    let (mut file, _) = local::open(path).map_err(Error::io("read", path))?;
    let mut bytes = Vec::new();
    let mut read = |limit: u64| -> Result<bool> {
        let part = file.by_ref().take(limit).read_to_end(&mut bytes);
        part.map_err(Error::io("read", path))?;
        Ok(bytes.starts_with(b"{"))
    };
    // No package begins so.
    if read(1)? {
        read(FILE_LIST_LIMIT)?;
        return of_server(&bytes, named);
    }
    file_list(path)?.ok_or_else(|| {
        Error::request(format!(
            "{named} has no file list, so nobody knows what that version consists of: pack without \
             --against"
        ))
    })
}

/// The list that a server's answer amounts to.
fn of_server(bytes: &[u8], named: &str) -> Result<FileList> {
    let invalid = |problem: &dyn std::fmt::Display| {
        Error::request(format!(
            "{named} is neither a package nor a server's active version with its files: {problem}"
        ))
    };
    let active: Active = serde_json::from_slice(bytes).map_err(|error| invalid(&error))?;
    let mut files = BTreeMap::new();
    for ActiveFile { path, hash, size } in active.files {
        let listed = Listed::File {
            size,
            sha256: hash,
            executable: false,
        };
        if files.insert(path.clone(), listed).is_some() {
            return Err(invalid(&format!("{path} is there twice")));
        }
    }
    Ok(FileList {
        castoff: 1,
        version: active.version,
        whole: true,
        fits: Vec::new(),
        files,
        hooks: Commands::default(),
        gone: BTreeSet::new(),
    })
}
