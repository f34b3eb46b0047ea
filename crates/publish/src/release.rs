//! Writing `release-VERSION.json`: what a version consists of.
//!
//! Promises: what is announced was hashed here, and is a package that a launcher opens; what an
//! older document of the same version says is kept only if a key at hand has signed it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use castoff::archive::{Archive, Opening};
use castoff::fetch::local;
use castoff::release::{FILE_LIST_LIMIT, FILE_LIST_NAME, FileList, Listed};
use castoff::trust::document::{SPEC, release_name};
use castoff::trust::{PublicKey, Sha256, hash_file};
use castoff::version::Version;
use serde_json::{Value, json};

use crate::document::{ANY, Folder, Written, is_identity, write};
use crate::signer::Signer;
use crate::{Error, Result};

/// What is to be announced.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The app.
    pub app: String,
    /// The version.
    pub version: Version,
    /// The kind of machine; `None`: all that are not named.
    pub target: Option<String>,
    /// The package's file.
    pub package: PathBuf,
    /// What to start.
    pub entry_point: Option<String>,
    /// The publisher's notes.
    pub notes: Option<String>,
    /// Where the package is to be had; none: beside the document, under its own name.
    pub urls: Vec<String>,
    /// Versions below are not safe to go on with.
    pub critical_below: Option<Version>,
    /// The least version of the operating system.
    pub system: Option<String>,
    /// Launchers: for which kind of machine, and their files.
    pub launchers: Vec<(String, PathBuf)>,
}

/// What is known of a file that was hashed.
#[derive(Debug)]
pub struct Hashed {
    /// Bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub sha256: Sha256,
}

/// Hashes a file.
pub fn hash(path: &Path) -> Result<Hashed> {
    let (file, _) = local::open(path).map_err(Error::io("read", path))?;
    let (sha256, size) = hash_file(&file).map_err(Error::io("read", path))?;
    Ok(Hashed { size, sha256 })
}

/// Opens a package as a launcher would.
fn open(path: &Path) -> Result<Archive> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    // A tar is decompressed beside the package: there is room for a package.
    let beside = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let subject = path.display().to_string();
    Ok(Archive::open(file, &Opening::new(&subject, beside))?)
}

/// The file list in a package, if there is one. What it says of the content is not compared.
pub fn file_list(path: &Path) -> Result<Option<FileList>> {
    Ok(open(path)?.file_list(None)?)
}

/// Opens and unpacks a package as a launcher would, to nowhere, and says the digest of the file list
/// in it, if there is one.
pub fn examine(path: &Path, version: &Version) -> Result<Option<Sha256>> {
    let archive = open(path)?;
    let list = archive.file_list(None)?;
    let contradiction =
        |problem: String| Error::Engine(castoff::Error::FileListInvalid { problem });
    for (index, entry) in archive.entries().iter().enumerate() {
        let found = archive.extract(index, &mut io::sink())?;
        let listed = list.as_ref().and_then(|list| list.files.get(&entry.path));
        if let Some(Listed::File { sha256, .. }) = listed
            && *sha256 != found.sha256
        {
            return Err(contradiction(format!(
                "{} has another digest than it says",
                entry.path
            )));
        }
    }
    let Some(list) = list else {
        return Ok(None);
    };
    if list.version.parse().ok().as_ref() != Some(version) {
        return Err(contradiction(format!(
            "it is of version {}, not {version}",
            list.version
        )));
    }
    let digest = archive.file_list_digest()?;
    let file = || File::open(path).map_err(Error::io("read", path));
    let mut start = [0; 2];
    if file()?.read_exact(&mut start).is_err() || start != *b"PK" {
        return Ok(digest);
    }
    // Another reader than the launcher's unpacks a zip's: both must have found the same.
    let broken = |error: zip::result::ZipError| {
        Error::Engine(castoff::Error::ArchiveInvalid {
            subject: path.display().to_string(),
            problem: error.to_string(),
        })
    };
    let mut zip = zip::ZipArchive::new(file()?).map_err(broken)?;
    let mut bytes = Vec::new();
    zip.by_name(FILE_LIST_NAME)
        .map_err(broken)?
        .take(FILE_LIST_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", path))?;
    archive.file_list(Some(Sha256::of(&bytes)))?;
    Ok(digest)
}

/// Makes and signs the document of a release, beside its package. Where there is one already, what
/// the draft says is added to it; the signatures that it had are void then.
///
/// `known` are keys that have signed that one, where none of those that sign now has.
pub fn sign(draft: &Draft, signers: &[Signer], known: &[PublicKey]) -> Result<Written> {
    if !is_identity(&draft.app) {
        return Err(Error::request(format!(
            "{:?} names no app: letters, digits, dots, hyphens and underscores do",
            draft.app
        )));
    }
    let folder = Folder::around(&draft.package);
    let before = folder.release(&draft.version)?;
    if let Some((document, _)) = &before {
        document.must_be_of(&draft.app)?;
        document.must_be_known(signers, known)?;
    }
    let mut value = match &before {
        Some((document, _)) => document.value().clone(),
        None => json!({
            "type": "release", "spec": SPEC, "app": draft.app,
            "version": draft.version.as_str(), "packages": {},
        }),
    };
    let target = draft.target.as_deref().unwrap_or(ANY);
    value["packages"][target_name(target)?] = package(draft, &folder)?;
    for (target, path) in &draft.launchers {
        let hashed = hash(path)?;
        value["launchers"][target_name(target)?] = json!({
            "size": hashed.size, "sha256": hashed.sha256.to_string(),
            "urls": [link(path, &folder)?],
        });
    }
    if let Some(notes) = &draft.notes {
        value["notes"] = notes.as_str().into();
    }
    if let Some(least) = &draft.critical_below {
        value["critical_below"] = least.as_str().into();
    }
    let path = folder.file(&release_name(&draft.version));
    match before {
        // The same again: nothing is void.
        Some((document, _)) if *document.value() == value => document.sign(signers),
        before => {
            let dropped = before.map_or(0, |(before, _)| before.envelope().signatures().len());
            let written = write(&path, value.to_string().as_bytes(), &[], signers)?;
            Ok(Written { dropped, ..written })
        }
    }
}

fn package(draft: &Draft, folder: &Folder) -> Result<Value> {
    let hashed = hash(&draft.package)?;
    let urls = if draft.urls.is_empty() {
        vec![link(&draft.package, folder)?]
    } else {
        draft.urls.clone()
    };
    for url in &urls {
        local::link(folder.path(), url)
            .map_err(|problem| Error::request(format!("the address {url:?} {problem}")))?;
    }
    let mut package = json!({
        "size": hashed.size, "sha256": hashed.sha256.to_string(), "urls": urls,
    });
    if let Some(path) = &draft.entry_point {
        package["entry_point"] = path.as_str().into();
    }
    if let Some(files) = examine(&draft.package, &draft.version)? {
        package["files"] = files.to_string().into();
    }
    if let Some(system) = &draft.system {
        if !system.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Error::request(format!(
                "{system:?} is no version of a system, such as 10.0.17763"
            )));
        }
        package["system"] = system.as_str().into();
    }
    Ok(package)
}

pub(crate) fn target_name(target: &str) -> Result<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !target.is_empty() && target.chars().all(plain) {
        return Ok(target);
    }
    Err(Error::request(format!(
        "{target:?} is no kind of machine, such as linux-x86_64 or any"
    )))
}

/// How a document in `folder` links to a file in it or below.
pub(crate) fn link(file: &Path, folder: &Folder) -> Result<String> {
    let absolute =
        |path: &Path| std::path::absolute(path).map_err(Error::io("find the path of", path));
    let (whole, base) = (absolute(file)?, absolute(folder.path())?);
    let inside = whole.strip_prefix(&base).map_err(|_| {
        let folder = base.display();
        Error::request(format!("{} does not lie in {folder}", file.display()))
    })?;
    let parts: Option<Vec<&str>> = inside
        .components()
        .map(|part| part.as_os_str().to_str())
        .collect();
    let link = parts.unwrap_or_default().join("/");
    // What an address and a path mean alike.
    if link.is_empty() || link.contains(['%', '?', '#', ':', '\\', ' ']) {
        return Err(Error::request(format!(
            "the name of {} cannot be an address; rename it",
            file.display()
        )));
    }
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_links_to_what_lies_in_its_folder() {
        let folder = Folder::around(Path::new("out/app.zip"));
        let link = |path: &str| link(Path::new(path), &folder);
        assert_eq!(link("out/app.zip").unwrap(), "app.zip");
        assert_eq!(link("out/linux/MyApp").unwrap(), "linux/MyApp");
        assert_eq!(link("out/更新.zip").unwrap(), "更新.zip");
        for wrong in [
            "app.zip",
            "other/app.zip",
            "out/a b.zip",
            "out/a%20.zip",
            "out/a?.zip",
        ] {
            assert!(link(wrong).is_err(), "{wrong}");
        }
    }
}
