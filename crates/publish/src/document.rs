//! Documents in a folder: what they are, who has signed them and who still has to.
//!
//! Promises: a [`Document`] is one that a launcher can read, whoever has signed it. What is written
//! replaces the old file at once, and was read back before.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use castoff::disk;
use castoff::fetch::local;
use castoff::launcher::messages::{sanitise, size};
use castoff::trust::document::{
    INDEX_LIMIT, Index, KEYS_LIMIT, KEYS_PREFIX, Keys, RELEASE_LIMIT, ReleaseDocument, app_of,
    index_name, keys_name, release_name, type_of,
};
use castoff::trust::{Envelope, MOST_KEYS, PublicKey, Role, Sha256, seal};
use castoff::version::Version;
use serde_json::Value;

use crate::signer::{Signer, join};
use crate::{Error, Result, time};

/// The target that stands for all those that are not named. Whoever reads a release as seen from it
/// has all its packages looked at.
pub const ANY: &str = "any";

/// What a document says, as the engine reads it.
#[derive(Clone, Debug)]
pub enum Content {
    /// Which keys speak for which role.
    Keys(Keys),
    /// What a version consists of.
    Release(Box<ReleaseDocument>),
    /// Which release is current.
    Index(Index),
}

/// A document that a launcher can read, whoever has signed it.
#[derive(Clone)]
pub struct Document {
    path: PathBuf,
    envelope: Envelope,
    app: String,
    content: Content,
    value: Value,
}

impl Document {
    /// Reads the document in a file.
    ///
    /// Fails with `IO`, `TOO_LARGE`, `TRUST_INVALID` and `TRUST_UNSIGNED`.
    pub fn read(path: &Path) -> Result<Self> {
        let (file, _) = local::open(path).map_err(Error::io("read", path))?;
        let mut bytes = Vec::new();
        // One byte more, by which it is seen to be too large.
        file.take(RELEASE_LIMIT + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", path))?;
        Self::parse(path, &bytes)
    }

    /// The same for a file that need not be there.
    pub fn find(path: &Path) -> Result<Option<Self>> {
        match path.try_exists() {
            Ok(false) => Ok(None),
            _ => Self::read(path).map(Some),
        }
    }

    /// Reads a document that is said to lie in this file.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let subject = path.display().to_string();
        let invalid = |problem: String| {
            Error::Engine(castoff::Error::TrustInvalid {
                subject: subject.clone(),
                problem,
            })
        };
        let envelope = Envelope::parse(bytes, RELEASE_LIMIT, &subject)?;
        let (kind, app) = (type_of(&envelope)?, app_of(&envelope)?);
        if !is_identity(&app) {
            return Err(invalid(format!("field app: {app:?} names no app")));
        }
        let payload = envelope.payload();
        let (limit, content) = match kind.as_str() {
            "keys" => (
                KEYS_LIMIT,
                Content::Keys(Keys::read(payload, &app, &subject)?),
            ),
            "release" => (
                RELEASE_LIMIT,
                Content::Release(ReleaseDocument::read(payload, &app, ANY, &subject)?.into()),
            ),
            "index" => (
                INDEX_LIMIT,
                Content::Index(Index::read(payload, &app, &subject)?),
            ),
            other => {
                return Err(invalid(format!(
                    "the type {other:?} is none of keys, release and index"
                )));
            }
        };
        if bytes.len() as u64 > limit {
            return Err(Error::Engine(castoff::Error::TooLarge {
                subject,
                limit: format!("{limit} bytes"),
            }));
        }
        let value = serde_json::from_slice(payload).map_err(|error| invalid(error.to_string()))?;
        Ok(Self {
            path: path.to_path_buf(),
            envelope,
            app,
            content,
            value,
        })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The app that it is of.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// What it says.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The document in its envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The whole document, also what this library does not know.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The text of its file.
    pub(crate) fn text(&self) -> String {
        text_of(self.envelope.payload(), self.envelope.signatures())
    }

    /// The digest by which an index names it.
    pub fn sha256(&self) -> Sha256 {
        Sha256::of(self.envelope.payload())
    }

    /// The name that launchers ask for it by.
    pub fn proper_name(&self) -> String {
        match &self.content {
            Content::Keys(keys) => keys_name(keys.number),
            Content::Release(release) => release_name(&release.version),
            Content::Index(index) => index_name(&index.channel),
        }
    }

    /// Whether this key has signed it.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        Role::new(vec![key.clone()], 1).is_ok_and(|role| !self.envelope.signers(&role).is_empty())
    }

    /// Fails with `DOCUMENT_FOREIGN` unless one of these keys has signed it: what somebody else has
    /// put there is not to be signed along with what is new.
    pub(crate) fn must_be_known(&self, signers: &[Signer], others: &[PublicKey]) -> Result<()> {
        let own = signers.iter().map(Signer::public);
        if own.chain(others).any(|key| self.is_signed_by(key)) {
            return Ok(());
        }
        Err(Error::Foreign {
            subject: self.path.display().to_string(),
        })
    }

    /// Fails with `TRUST_MISMATCH` unless it is of this app.
    pub(crate) fn must_be_of(&self, app: &str) -> Result<()> {
        if self.app == app {
            return Ok(());
        }
        Err(Error::Engine(castoff::Error::TrustMismatch {
            subject: self.path.display().to_string(),
            what: "app",
            expected: app.to_owned(),
            got: self.app.clone(),
        }))
    }

    /// Adds the signatures of these keys, and writes it.
    pub fn sign(&self, signers: &[Signer]) -> Result<Written> {
        write(
            &self.path,
            self.envelope.payload(),
            self.envelope.signatures(),
            signers,
        )
    }

    /// What it says, in lines for people: what somebody should read before signing it.
    pub fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let app = &self.app;
        match &self.content {
            Content::Keys(keys) => {
                lines.push(format!("keys number {} of {app}", keys.number));
                lines.extend(
                    keys.expires
                        .map(|at| format!("  expires {}", time::text(at))),
                );
                let least = keys.min_version.as_ref();
                lines.extend(least.map(|least| format!("  nothing below {least} is installed")));
                for (name, role) in roles(keys) {
                    let keys = role.keys();
                    lines.push(format!("  {name}: {} of {}", role.threshold(), keys.len()));
                    // Whole: the name of a key is for its owner to choose, and may be another's.
                    lines.extend(keys.iter().map(|key| format!("    {key} ({})", key.id())));
                }
            }
            Content::Release(release) => {
                lines.push(format!("release {} of {app}", release.version));
                let least = release.critical_below.as_ref();
                lines.extend(least.map(|least| format!("  critical below {least}")));
                lines.extend(self.packages("packages", "package"));
                lines.extend(self.packages("launchers", "launcher"));
            }
            Content::Index(index) => {
                lines.push(format!(
                    "index of {app}, channel {}, number {}",
                    sanitise(&index.channel),
                    index.seq
                ));
                lines.push(format!("  issued  {}", time::text(index.issued)));
                lines.push(format!("  expires {}", time::text(index.expires)));
                let current = &index.current;
                lines.push(format!(
                    "  current {} ({})",
                    current.version, current.sha256
                ));
                if !index.revoked.is_empty() {
                    lines.push(format!("  revoked {}", list(&index.revoked)));
                }
            }
        }
        lines
    }

    fn packages(&self, field: &str, what: &str) -> Vec<String> {
        let packages = self.value[field].as_object();
        let line = |(target, package): (&String, &Value)| {
            let text = |value: &Value| sanitise(value.as_str().unwrap_or("?"));
            let urls = package["urls"].as_array().map(Vec::as_slice);
            let urls: Vec<String> = urls.unwrap_or_default().iter().map(text).collect();
            format!(
                "  {what} for {}: {}, {}, {}",
                sanitise(target),
                urls.join(" or "),
                size(package["size"].as_u64().unwrap_or_default()),
                text(&package["sha256"]),
            )
        };
        packages.into_iter().flatten().map(line).collect()
    }
}

/// The three roles, by their names.
pub fn roles(keys: &Keys) -> [(&'static str, &Role); 3] {
    [
        ("root", &keys.root),
        ("release", &keys.release),
        ("index", &keys.index),
    ]
}

/// Versions in one line.
pub fn list(versions: &[Version]) -> String {
    let texts: Vec<&str> = versions.iter().map(Version::as_str).collect();
    texts.join(", ")
}

/// Whether a text can be an app's or a channel's name, as the configuration asks for it.
pub fn is_identity(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !text.is_empty() && text.chars().all(plain) && !text.starts_with('.') && !text.ends_with('.')
}

/// A document that was written.
pub struct Written {
    /// As it is now.
    pub document: Document,
    /// The keys that have signed it just now.
    pub added: Vec<PublicKey>,
    /// Those that had signed it already, and have not done so again.
    pub already: Vec<PublicKey>,
    /// How many signatures of before are void, because what they were of has changed.
    pub dropped: usize,
}

/// Signs a payload, and writes it: with the signatures that it has already, which must be of these
/// very bytes.
pub(crate) fn write(
    path: &Path,
    payload: &[u8],
    signatures: &[String],
    signers: &[Signer],
) -> Result<Written> {
    let mut signatures = signatures.to_vec();
    let (mut added, mut already) = (Vec::new(), Vec::new());
    for signer in signers {
        let text = seal(payload, &signatures);
        let known = !signatures.is_empty()
            && Document::parse(path, text.as_bytes())?.is_signed_by(signer.public());
        if known {
            already.push(signer.public().clone());
            continue;
        }
        if signatures.len() >= MOST_KEYS {
            let problem = format!("{} has {MOST_KEYS} signatures already", path.display());
            return Err(Error::Request { problem });
        }
        signatures.push(signer.sign(payload)?);
        added.push(signer.public().clone());
    }
    let document = Document::parse(path, text_of(payload, &signatures).as_bytes())?;
    if !added.is_empty() {
        replace(&document)?;
    }
    Ok(Written {
        document,
        added,
        already,
        dropped: 0,
    })
}

/// Writes the file of a document as it is, in place of what is there.
pub(crate) fn replace(document: &Document) -> Result<()> {
    let path = &document.path;
    // Its folder is synced, which a bare name has none of.
    let whole = std::path::absolute(path).map_err(Error::io("find the path of", path))?;
    Ok(disk::write_atomic(&whole, document.text().as_bytes())?)
}

fn text_of(payload: &[u8], signatures: &[String]) -> String {
    format!("{}\n", seal(payload, signatures))
}

/// How far the signatures of a document go towards what a role asks for.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Whose keys, such as `root keys of keys.1.json`.
    pub of: String,
    /// How many have to sign.
    pub threshold: usize,
    /// Those that have.
    pub signed: Vec<PublicKey>,
    /// Those that could.
    pub missing: Vec<PublicKey>,
}

impl Standing {
    fn of(document: &Document, role: &Role, of: String) -> Self {
        let signed: Vec<PublicKey> = document
            .envelope
            .signers(role)
            .into_iter()
            .cloned()
            .collect();
        let missing = role.keys().iter().filter(|key| !signed.contains(key));
        Self {
            of,
            threshold: role.threshold(),
            missing: missing.cloned().collect(),
            signed,
        }
    }

    /// How many signatures are missing.
    pub fn lacks(&self) -> usize {
        self.threshold.saturating_sub(self.signed.len())
    }
}

/// A folder of documents.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at a path, which has to be there.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(Error::io("read the folder", path))?;
        if !metadata.is_dir() {
            let problem = format!("{} is no folder", path.display());
            return Err(Error::Request { problem });
        }
        Ok(Self {
            path: path.to_path_buf(),
        })
    }

    /// The folder in which a file lies.
    pub fn around(file: &Path) -> Self {
        let parent = file
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        Self {
            path: parent.unwrap_or(Path::new(".")).to_path_buf(),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        join(&self.path, name)
    }

    /// The names of what lies in it, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let read = Error::io("read the folder", &self.path);
        let entries = fs::read_dir(&self.path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut names: Vec<String> = entries
            .map_err(read)?
            .iter()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    /// The keys document with this number, if it is there.
    pub fn keys(&self, number: u64) -> Result<Option<(Document, Keys)>> {
        let Some(document) = Document::find(&self.file(&keys_name(number)))? else {
            return Ok(None);
        };
        match document.content.clone() {
            Content::Keys(keys) if keys.number == number => Ok(Some((document, keys))),
            _ => Err(misnamed(&document)),
        }
    }

    /// The numbers of the keys documents, in their order.
    pub(crate) fn key_numbers(&self) -> Result<Vec<u64>> {
        let number = |name: &String| -> Option<u64> {
            let number = name.strip_prefix(KEYS_PREFIX)?.strip_suffix(".json")?;
            let number: u64 = number.parse().ok()?;
            (keys_name(number) == *name).then_some(number)
        };
        let mut numbers: Vec<u64> = self.names()?.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The keys document with the highest number.
    pub fn newest_keys(&self) -> Result<Option<(Document, Keys)>> {
        let newest = self.key_numbers()?.pop();
        newest.map_or(Ok(None), |newest| self.keys(newest))
    }

    /// The document of a release, if it is there.
    pub fn release(&self, version: &Version) -> Result<Option<(Document, Box<ReleaseDocument>)>> {
        let Some(document) = Document::find(&self.file(&release_name(version)))? else {
            return Ok(None);
        };
        match document.content.clone() {
            Content::Release(release) if release.version == *version => {
                Ok(Some((document, release)))
            }
            _ => Err(misnamed(&document)),
        }
    }

    /// The versions of which there is a release document, by the files' names.
    pub(crate) fn releases(&self) -> Result<Vec<Version>> {
        let names = self.names()?;
        let versions = names.iter().filter_map(|name| version_of(name));
        Ok(versions.collect())
    }

    /// The highest version of which there is a release document, by the files' names.
    pub fn highest_release(&self) -> Result<Option<Version>> {
        Ok(self.releases()?.into_iter().max())
    }

    /// The index of a channel, if it is there.
    pub fn index(&self, channel: &str) -> Result<Option<(Document, Index)>> {
        let Some(document) = Document::find(&self.file(&index_name(channel)))? else {
            return Ok(None);
        };
        match document.content.clone() {
            Content::Index(index) if index.channel == channel => Ok(Some((document, index))),
            _ => Err(misnamed(&document)),
        }
    }

    /// The channels whose index names this version by another digest than this: they have to be
    /// made anew.
    pub fn outdated_by(&self, version: &Version, sha256: Sha256) -> Result<Vec<String>> {
        let channel = |name: &String| -> Option<String> {
            let channel = name.strip_suffix(".json")?;
            let (_, index) = self.index(channel).ok()??;
            let current = index.current;
            (current.version == *version && current.sha256 != sha256).then_some(index.channel)
        };
        Ok(self.names()?.iter().filter_map(channel).collect())
    }

    /// How far a document in it is signed, as far as the keys documents beside it tell. Without them,
    /// the keys that are pinned in launchers decide, which are not known here.
    pub fn standings(&self, document: &Document) -> Result<Vec<Standing>> {
        if let Content::Keys(keys) = &document.content {
            let before = keys.number.checked_sub(1).filter(|number| *number > 0);
            let before = before.map_or(Ok(None), |number| self.keys(number))?;
            let before = before.map(|(_, before)| {
                let of = format!("root keys of {}", keys_name(before.number));
                Standing::of(document, &before.root, of)
            });
            let of = format!("root keys of {}", keys_name(keys.number));
            let own = Standing::of(document, &keys.root, of);
            return Ok(before.into_iter().chain([own]).collect());
        }
        let Some((_, keys)) = self.newest_keys()? else {
            return Ok(Vec::new());
        };
        let (name, role) = match document.content {
            Content::Release(_) => ("release", &keys.release),
            _ => ("index", &keys.index),
        };
        let of = format!("{name} keys of {}", keys_name(keys.number));
        Ok(vec![Standing::of(document, role, of)])
    }

    /// The same for launchers that begin with the keys document of the number `first` (`trust.first`):
    /// what is missing of the root keys before it is missed by nobody.
    pub(crate) fn standings_since(&self, document: &Document, first: u64) -> Result<Vec<Standing>> {
        let mut standings = self.standings(document)?;
        if let Content::Keys(keys) = &document.content
            && keys.number == first
            && standings.len() > 1
        {
            standings.remove(0);
        }
        Ok(standings)
    }

    /// Fails with `TRUST_SIGNATURE` when a document lacks signatures, as far as
    /// [`Folder::standings_since`] tells.
    pub(crate) fn must_be_complete(&self, document: &Document, first: u64) -> Result<()> {
        let role = match &document.content {
            Content::Keys(_) => "root",
            Content::Release(_) => "release",
            Content::Index(_) => "index",
        };
        let standings = self.standings_since(document, first)?;
        match standings.iter().find(|standing| standing.lacks() > 0) {
            None => Ok(()),
            Some(standing) => Err(Error::Engine(castoff::Error::TrustSignature {
                subject: document.path.display().to_string(),
                role,
                signed: standing.signed.len(),
                needed: standing.threshold,
            })),
        }
    }
}

/// The version whose release document has this name.
pub(crate) fn version_of(name: &str) -> Option<Version> {
    let text = name.strip_prefix("release-")?.strip_suffix(".json")?;
    // As the name of a file has an epoch.
    text.replacen('_', "!", 1).parse().ok()
}

/// The channel whose index has this name, unless the name is that of another document.
pub(crate) fn channel_of(name: &str) -> Option<&str> {
    let channel = name.strip_suffix(".json")?;
    let other = name.starts_with(KEYS_PREFIX) || version_of(name).is_some();
    (is_identity(channel) && !other).then_some(channel)
}

fn misnamed(document: &Document) -> Error {
    Error::Engine(castoff::Error::TrustMismatch {
        subject: document.path.display().to_string(),
        what: "name",
        expected: document.proper_name(),
        got: document
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    })
}
