//! Going through a folder, or one document, as a launcher does, and saying what it trusts and why.
//!
//! Promises: every decision is the engine's ([`Trust`] and the way of its sources through the
//! documents). What is told besides, who has signed what, decides nothing.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use castoff::fetch::local;
use castoff::source::documents::{Documents, latest};
use castoff::trust::document::{
    Index, KEYS_LIMIT, Keys, Pointer, RELEASE_LIMIT, index_name, keys_name, release_name,
};
use castoff::trust::{Anchor, Envelope, PublicKey, Role, Sha256, Trust, Trusted};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::document::{Content, Document, Folder};
use crate::release::{Hashed, examine, hash};
use crate::{Result, time};

/// What a launcher is configured with.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The app.
    pub app: String,
    /// The channel.
    pub channel: String,
    /// The keys that are pinned, and from which number on they are followed.
    pub pinned: castoff::config::TrustConfig,
    /// The kind of machine.
    pub target: String,
}

/// Who has signed something, of those who may.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Which role.
    pub role: &'static str,
    /// How many have to.
    pub needed: usize,
    /// The keys that have.
    pub by: Vec<PublicKey>,
}

impl Signed {
    fn of(envelope: &Envelope, role: &Role, name: &'static str) -> Self {
        Self {
            role: name,
            needed: role.threshold(),
            by: envelope.signers(role).into_iter().cloned().collect(),
        }
    }

    fn json(&self) -> Value {
        let by: Vec<String> = self.by.iter().map(PublicKey::id).collect();
        json!({"role": self.role, "needed": self.needed, "by": by})
    }
}

/// A keys document that was followed.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it says.
    pub keys: Keys,
    /// By the root keys of before, and by its own.
    pub signed: [Signed; 2],
}

/// A package that was announced, and the file that lies there.
#[derive(Debug)]
pub struct PackageFile {
    /// Where it is announced to be.
    pub urls: Vec<String>,
    /// What is announced.
    pub announced: Hashed,
    /// The file that was compared; `None`: it is elsewhere.
    pub file: Option<PathBuf>,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// The launcher that was played.
    pub launcher: Launcher,
    /// The keys documents that were followed.
    pub steps: Vec<Step>,
    /// The index, where there is one that is trusted.
    pub index: Option<(Index, Signed)>,
    /// The release, if it is trusted, and how much speaks for it.
    pub release: Option<(Trusted, Signed)>,
    /// Its package.
    pub package: Option<PackageFile>,
    /// Why a launcher would not install it, if it would not.
    pub refused: Option<castoff::Error>,
}

/// The documents of a folder, each of which is remembered when it is read.
struct Local<'a> {
    folder: &'a Folder,
    read: RefCell<Vec<(String, Vec<u8>)>>,
}

impl Local<'_> {
    fn open(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match local::open(&self.folder.path().join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?.0,
        };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let read = self.read.borrow();
        let found = read.iter().find(|(known, _)| known == name);
        found.map(|(_, bytes)| bytes.clone())
    }

    fn link(&self, link: &str) -> castoff::Result<String> {
        // As absolute as a launcher's folder is.
        let folder = std::path::absolute(self.folder.path()).map_err(|error| self.cannot(error))?;
        local::link(&folder, link).map_err(|problem| castoff::Error::AnswerInvalid {
            url: folder.display().to_string(),
            problem: format!("{link:?} {problem}"),
        })
    }

    fn cannot(&self, source: io::Error) -> castoff::Error {
        castoff::Error::Io {
            operation: "read",
            path: self.folder.path().to_path_buf(),
            source,
        }
    }
}

impl Documents for Local<'_> {
    fn read(&self, name: &str, limit: u64) -> castoff::Result<Option<Vec<u8>>> {
        let bytes = self.open(name, limit).map_err(|error| self.cannot(error))?;
        if let Some(bytes) = &bytes {
            self.read
                .borrow_mut()
                .push((name.to_owned(), bytes.clone()));
        }
        Ok(bytes)
    }

    fn resolve(&self, link: &str) -> castoff::Result<String> {
        self.link(link)
    }

    fn place(&self, name: &str) -> String {
        self.folder.file(name).display().to_string()
    }
}

impl Report {
    /// Whether a launcher would install what is current, or, of a single document, believe it.
    pub fn is_trusted(&self) -> bool {
        self.refused.is_none()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            json!({
                "number": step.keys.number,
                "expires": step.keys.expires.map(time::text),
                "min_version": step.keys.min_version,
                "signed": step.signed.iter().map(Signed::json).collect::<Vec<_>>(),
            })
        });
        let index = self.index.as_ref().map(|(index, signed)| {
            json!({
                "channel": index.channel, "seq": index.seq, "issued": time::text(index.issued),
                "expires": time::text(index.expires), "current": index.current,
                "revoked": index.revoked, "signed": signed.json(),
            })
        });
        let release = self.release.as_ref().map(|(release, signed)| {
            json!({
                "version": release.version, "level": release.level().as_str(),
                "entry_point": release.entry_point, "critical_below": release.critical_below,
                "signed": signed.json(),
            })
        });
        let package = self.package.as_ref().map(|package| {
            json!({
                "urls": package.urls, "size": package.announced.size,
                "sha256": package.announced.sha256, "file": package.file,
            })
        });
        json!({
            "trusted": self.is_trusted(), "app": self.launcher.app, "target": self.launcher.target,
            "keys": steps.collect::<Vec<_>>(), "index": index, "release": release,
            "package": package,
            "error": self.refused.as_ref().map(|error| error.code().as_str()),
            "message": self.refused.as_ref().map(castoff::Error::chain),
        })
    }
}

/// Goes through a folder, or looks at one document and the keys documents beside it.
///
/// Fails where there is nothing to look at; that a launcher would refuse it is in the report.
pub fn verify(path: &Path, launcher: Launcher, now: DateTime<Utc>) -> Result<Report> {
    let single = path.is_file();
    let folder = if single {
        Folder::around(path)
    } else {
        Folder::open(path)?
    };
    let documents = Local {
        folder: &folder,
        read: RefCell::default(),
    };
    let kind = single.then(|| Document::read(path)).transpose()?;
    let indexed = !matches!(
        kind.as_ref().map(Document::content),
        Some(Content::Release(_))
    );
    let anchor = Anchor {
        app: &launcher.app,
        channel: &launcher.channel,
        indexed,
        pinned: Some(&launcher.pinned),
    };
    let mut trust = Trust::new(&anchor, now).for_target(&launcher.target);
    let outcome = match &kind {
        None => latest(&documents, &mut trust).map(Some),
        Some(document) => alone(document, &documents, &mut trust),
    };
    let mut report = Report {
        steps: steps(&documents, &trust, &launcher),
        index: None,
        release: None,
        package: None,
        refused: None,
        launcher,
    };
    let keys = trust.keys();
    if let (Some(index), Some(keys)) = (trust.last_index(), keys) {
        let name = match &kind {
            Some(document) => document.path().display().to_string(),
            None => index_name(&index.channel),
        };
        let envelope = envelope(&documents, kind.as_ref(), &name);
        report.index = envelope.map(|it| (index.clone(), Signed::of(&it, &keys.index, "index")));
    }
    match outcome {
        Ok(Some(trusted)) => {
            let name = release_name(&trusted.version);
            if let (Some(envelope), Some(keys)) = (envelope(&documents, kind.as_ref(), &name), keys)
            {
                let signed = Signed::of(&envelope, &keys.release, "release");
                report.release = Some((trusted.clone(), signed));
            }
            let (package, refused) = compare(&trusted, &folder);
            report.package = Some(package);
            report.refused = refused;
        }
        Ok(None) => {}
        Err(error) => report.refused = Some(error),
    }
    Ok(report)
}

/// The document that was looked at alone, or one that was read from the folder.
fn envelope(documents: &Local<'_>, alone: Option<&Document>, name: &str) -> Option<Envelope> {
    if let Some(document) = alone {
        return Some(document.envelope().clone());
    }
    let bytes = documents.bytes(name)?;
    Envelope::parse(&bytes, RELEASE_LIMIT, name).ok()
}

/// One document by itself, as it comes with a check answer, after the keys documents beside it.
fn alone(
    document: &Document,
    documents: &Local<'_>,
    trust: &mut Trust,
) -> castoff::Result<Option<Trusted>> {
    let last = match document.content() {
        Content::Keys(keys) => keys.number.saturating_sub(1),
        _ => u64::MAX,
    };
    while let Some(number) = trust.next_keys().filter(|number| *number <= last) {
        match documents.read(&keys_name(number), KEYS_LIMIT)? {
            Some(bytes) => trust.follow(&bytes)?,
            None => break,
        }
    }
    let envelope = document.envelope();
    let text = castoff::trust::seal(envelope.payload(), envelope.signatures());
    let name = document.path().display().to_string();
    match document.content() {
        Content::Keys(keys) => {
            documents
                .read
                .borrow_mut()
                .push((keys_name(keys.number), text.clone().into_bytes()));
            trust.follow(text.as_bytes()).map(|()| None)
        }
        Content::Index(_) => trust.index(text.as_bytes(), &name).map(|_: Pointer| None),
        Content::Release(_) => {
            let resolve = |link: &str| documents.link(link);
            trust
                .release(text.as_bytes(), None, None, &resolve)
                .map(Some)
        }
    }
}

/// The keys documents that were followed, and who has signed them.
fn steps(documents: &Local<'_>, trust: &Trust, launcher: &Launcher) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut before = Keys::pinned(&launcher.pinned);
    let last = trust.keys().map_or(0, |keys| keys.number);
    while before.number < last {
        let name = keys_name(before.number + 1);
        let envelope = documents
            .bytes(&name)
            .and_then(|bytes| Envelope::parse(&bytes, KEYS_LIMIT, &name).ok());
        let Some(envelope) = envelope else { break };
        let Ok(keys) = Keys::read(envelope.payload(), &launcher.app, &name) else {
            break;
        };
        let signed = [
            Signed::of(&envelope, &before.root, "root before"),
            Signed::of(&envelope, &keys.root, "root"),
        ];
        before = keys.clone();
        steps.push(Step { keys, signed });
    }
    steps
}

/// Compares the package with what lies in the folder: the first of its addresses that is a file.
fn compare(trusted: &Trusted, folder: &Folder) -> (PackageFile, Option<castoff::Error>) {
    let package = &trusted.package;
    let urls: Vec<String> = [&package.url]
        .into_iter()
        .chain(&package.mirrors)
        .cloned()
        .collect();
    let mut result = PackageFile {
        announced: Hashed {
            size: package.size.unwrap_or_default(),
            // What is signed has one.
            sha256: package.id(),
        },
        file: None,
        urls,
    };
    let mut refused = None;
    for url in &result.urls {
        let path = match local::path_of(url) {
            Some(path) => path.to_path_buf(),
            // What is to lie on another server may lie here too, under the same name.
            None => match here(url, folder) {
                Some(path) => path,
                // It is elsewhere, which is no fault of its own.
                None => return (result, refused),
            },
        };
        match fits(&path, trusted) {
            Ok(()) => {
                result.file = Some(path);
                return (result, None);
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    (result, refused)
}

fn here(url: &str, folder: &Folder) -> Option<PathBuf> {
    let path = url.split(['?', '#']).next()?;
    let name = path.rsplit('/').next().filter(|name| !name.is_empty())?;
    let path = folder.path().join(name);
    path.is_file().then_some(path)
}

fn fits(path: &Path, trusted: &Trusted) -> castoff::Result<()> {
    let io = |source| castoff::Error::Io {
        operation: "read",
        path: path.to_path_buf(),
        source,
    };
    File::open(path).map_err(io)?;
    let engine = |error| match error {
        crate::Error::Engine(error) => error,
        other => castoff::Error::Internal {
            what: other.to_string(),
        },
    };
    let found = hash(path).map_err(engine)?;
    let package = &trusted.package;
    let subject = path.display().to_string();
    if let Some(expected) = package.size.filter(|size| *size != found.size) {
        return Err(castoff::Error::SizeMismatch {
            subject,
            expected,
            got: found.size,
        });
    }
    if let Some(expected) = package.sha256.filter(|expected| *expected != found.sha256) {
        return Err(castoff::Error::HashMismatch {
            subject,
            expected: expected.to_string(),
            got: found.sha256.to_string(),
        });
    }
    let files: Option<Sha256> = examine(path, &trusted.version).map_err(engine)?;
    match package.files {
        Some(announced) if files != Some(announced) => Err(castoff::Error::FileListInvalid {
            problem: format!("{subject} has not the file list that its release announces"),
        }),
        _ => Ok(()),
    }
}
