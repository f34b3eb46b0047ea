//! What arrives: a package is opened and unpacked as a launcher would do it, before anything of it is
//! believed, and its files are put into the store under their digests.
//!
//! Promises: a package that a launcher would refuse is refused here, with the launcher's reason. What is
//! registered lies in the store, whole and durable.

use std::collections::HashSet;
use std::fs::File as Handle;
use std::path::{Path, PathBuf};

use castoff::archive::{Archive, EntryKind, Limits, Opening};
use castoff::trust::hash_file;
use castoff::version::Version;
use chrono::{Datelike as _, Utc};
use futures_util::StreamExt as _;
use tempfile::TempPath;
use tokio::io::AsyncWriteExt as _;
use zip::ZipWriter;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;

use crate::registry::{File, Package};
use crate::storage::disk::blocking;
use crate::{Error, Result, Server, secret};

/// A package that has arrived and is in order.
pub struct Received {
    /// What is known of it.
    pub package: Package,
    /// Its files.
    pub files: Vec<File>,
}

/// What somebody says of a package that they send.
pub struct Claim<'a> {
    /// The version.
    pub version: &'a Version,
    /// The kind of machine, or `any`.
    pub target: &'a str,
    /// The name of its file.
    pub name: &'a str,
}

/// Takes in the package in a file below the spool, and leaves nothing there.
pub async fn package(server: &Server, path: &Path, claim: &Claim<'_>) -> Result<Received> {
    let unpacked = folder(server)?;
    let (from, into, version) = (
        path.to_path_buf(),
        unpacked.path().to_path_buf(),
        claim.version.clone(),
    );
    let arrived = blocking(move || unpack(&from, &into, &version)).await;
    let (sha256, size, files) = arrived.map_err(|error| match error {
        // Who sent it knows it by its name, and is not to know where it lies here.
        Error::PackageInvalid(problem) => {
            Error::PackageInvalid(problem.replace(&path.display().to_string(), claim.name))
        }
        other => other,
    })?;
    for (index, file) in files.iter().enumerate() {
        server
            .store
            .put_once(
                &place_of(&file.sha256),
                &unpacked.path().join(index.to_string()),
            )
            .await?;
    }
    let now = Utc::now();
    let place = format!(
        "nuitkal_packs/{}/{:02}/{}",
        now.year(),
        now.month(),
        name_in_store(claim.name)
    );
    server.store.put(&place, path).await?;
    Ok(Received {
        package: Package {
            target: claim.target.to_owned(),
            name: claim.name.to_owned(),
            size: size.cast_signed(),
            sha256,
            place,
            downloads: 0,
        },
        files,
    })
}

/// Takes in a single file below the spool. Says its digest.
pub async fn file(server: &Server, path: &Path) -> Result<(String, u64)> {
    let from = path.to_path_buf();
    let (sha256, size) = blocking(move || digest(&from)).await?;
    server.store.put_once(&place_of(&sha256), path).await?;
    Ok((sha256, size))
}

/// Makes a zip in the spool of files in the store: the same of the same files.
///
/// Fails with `PACKAGE_INVALID` for paths that no zip can have.
pub async fn zip_of(server: &Server, files: &[File]) -> Result<TempPath> {
    let spool = server.config.spool();
    let failed = |error: std::io::Error| Error::io("make a zip in", &spool, &error);
    let new = || tempfile::NamedTempFile::new_in(&spool).map_err(failed);
    let (zip, path) = new()?.into_parts();
    // It is large, and moves between threads.
    let mut zip = Box::new(ZipWriter::new(zip));
    for File { path, sha256, size } in files {
        let content = new()?;
        let mut file = tokio::fs::File::from_std(content.reopen().map_err(failed)?);
        let body = server
            .store
            .read(&place_of(sha256), 0..size.cast_unsigned())
            .await?;
        let mut body = body.into_data_stream();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| Error::Store(error.to_string()))?;
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        let (name, size) = (path.clone(), *size);
        zip = blocking(move || append(zip, &name, content.as_file(), size)).await?;
    }
    blocking(move || zip.finish().map_err(|error| refuse(&error))).await?;
    Ok(path)
}

/// Files without those that are folders of others.
pub fn without_folders(mut files: Vec<File>) -> Vec<File> {
    let mut folders = HashSet::new();
    for file in &files {
        let mut path = file.path.as_str();
        while let Some((folder, _)) = path.rsplit_once('/') {
            folders.insert(folder.to_owned());
            path = folder;
        }
    }
    files.retain(|file| !folders.contains(&file.path));
    files
}

/// Adds a file to a zip, without anything that another time or machine would say otherwise.
fn append(
    mut zip: Box<ZipWriter<Handle>>,
    name: &str,
    mut content: &Handle,
    size: i64,
) -> Result<Box<ZipWriter<Handle>>> {
    let options = SimpleFileOptions::default()
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644)
        .large_file(size >= i64::from(u32::MAX));
    zip.start_file(name, options)
        .map_err(|error| refuse(&error))?;
    std::io::copy(&mut content, &mut *zip)
        .map_err(|error| Error::io("pack", Path::new(name), &error))?;
    Ok(zip)
}

fn refuse(error: &ZipError) -> Error {
    Error::PackageInvalid(error.to_string())
}

/// Where the file with this digest lies in the store.
pub fn place_of(sha256: &str) -> String {
    format!("nuitkal-pack/{sha256}")
}

/// A folder below the spool that goes with what is in it.
pub fn folder(server: &Server) -> Result<tempfile::TempDir> {
    let spool = server.config.spool();
    tempfile::tempdir_in(&spool).map_err(|error| Error::io("make a folder in", &spool, &error))
}

fn digest(path: &Path) -> Result<(String, u64)> {
    let failed = |error: std::io::Error| Error::io("read", path, &error);
    let file = Handle::open(path).map_err(failed)?;
    let (sha256, size) = hash_file(&file).map_err(failed)?;
    Ok((sha256.to_string(), size))
}

/// Unpacks into a folder: the file with the index N among those returned as `N`.
fn unpack(path: &Path, into: &Path, version: &Version) -> Result<(String, u64, Vec<File>)> {
    let (sha256, size) = digest(path)?;
    let wrong = |error: castoff_publish::Error| Error::PackageInvalid(error.to_string());
    castoff_publish::release::examine(path, version).map_err(wrong)?;
    let refused = |error: castoff::Error| Error::PackageInvalid(error.to_string());
    let file = Handle::open(path).map_err(|error| Error::io("read", path, &error))?;
    let opening = Opening {
        limits: Limits::default(),
        ..Opening::new("the package", into)
    };
    let archive = Archive::open(file, &opening).map_err(refused)?;
    let mut files = Vec::new();
    for (index, entry) in archive.entries().iter().enumerate() {
        // Links have no bytes of their own, and clients that update file by file know none.
        if entry.kind != EntryKind::File {
            continue;
        }
        let to: PathBuf = into.join(files.len().to_string());
        let mut sink = Handle::create(&to).map_err(|error| Error::io("write", &to, &error))?;
        let extracted = archive.extract(index, &mut sink).map_err(refused)?;
        files.push(File {
            path: entry.path.to_string(),
            sha256: extracted.sha256.to_string(),
            size: extracted.size.cast_signed(),
        });
    }
    Ok((sha256, size, files))
}

/// A name that no other upload has, in plain characters.
fn name_in_store(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.+".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let plain = plain.trim_matches('.');
    let tail = &plain[plain.len().saturating_sub(100)..];
    let (stem, end) = tail.rsplit_once('.').unwrap_or((tail, "zip"));
    format!("p{}_{stem}.{end}", secret::hex(4))
}
