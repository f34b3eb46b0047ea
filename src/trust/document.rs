//! The three signed documents, and what each of them says.
//!
//! | document | type | its role | says |
//! |---|---|---|---|
//! | `keys.N.json` | `keys` | root | which keys speak for which role from now on; the least version |
//! | `release-VERSION.json` | `release` | release | what a version consists of, for each kind of machine |
//! | `CHANNEL.json` | `index` | index | which release is current, with a number and an expiry |
//!
//! Promises: what is read here has the right type, format and app, or is refused; a field of the
//! wrong type is refused. What nobody knows yet is passed over, so that documents can say more
//! later. No document is read before its signatures were counted ([`Envelope`]): what reads a
//! payload takes it as bytes only, and [`super::Trust`] calls it.
//!
//! `docs/signing.md` describes the formats for people.

use std::fmt::Display;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Sha256;
use super::envelope::Envelope;
use super::key::{PublicKey, Role};
use crate::config::TrustConfig;
use crate::json::{self, Object, kind};
use crate::release::leads_outside;
use crate::version::Version;
use crate::{Error, Result};

/// The format that is written and read.
pub const SPEC: u64 = 1;

/// The largest envelopes that are read, before anything of them is parsed. Real ones have some
/// thousand bytes; notes and many targets make a release larger.
pub const KEYS_LIMIT: u64 = 64 << 10;
/// See [`KEYS_LIMIT`].
pub const INDEX_LIMIT: u64 = 512 << 10;
/// See [`KEYS_LIMIT`].
pub const RELEASE_LIMIT: u64 = 1 << 20;

/// What the names of documents with keys begin with.
pub const KEYS_PREFIX: &str = "keys.";

/// The name of the document with keys of this number.
pub fn keys_name(number: u64) -> String {
    format!("{KEYS_PREFIX}{number}.json")
}

/// The name of the document of a release.
pub fn release_name(version: &Version) -> String {
    format!("release-{}.json", version.file_name())
}

/// The name of a channel's index. A channel that is configured is one that can be a file's name.
pub fn index_name(channel: &str) -> String {
    format!("{channel}.json")
}

/// Which keys speak for which role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Counts up from 1; those that are pinned are 0, or one less than the first that they lead to.
    pub number: u64,
    /// Until when. `None` for those that are pinned.
    pub expires: Option<DateTime<Utc>>,
    /// Nothing below is installed.
    pub min_version: Option<Version>,
    /// Who may sign the next keys.
    pub root: Role,
    /// Who may sign releases.
    pub release: Role,
    /// Who may say which release is current.
    pub index: Role,
}

impl Keys {
    /// The keys that are pinned, which speak for everything until others are named.
    pub fn pinned(pinned: &TrustConfig) -> Self {
        let role = &pinned.role;
        Self {
            number: pinned.first - 1,
            expires: None,
            min_version: None,
            root: role.clone(),
            release: role.clone(),
            index: role.clone(),
        }
    }

    /// Reads the payload of a keys document.
    pub fn read(payload: &[u8], app: &str, subject: &str) -> Result<Self> {
        read(payload, "keys", app, subject, |fields| {
            let roles = fields.required("roles", fields.inner("roles"))?;
            let role = |name: &str| -> Result<Role, String> {
                let fields = roles.required(name, roles.inner(name))?;
                let threshold = fields.required("threshold", fields.number("threshold"))?;
                let keys = fields.texts("keys")?.into_iter().map(PublicKey::from_str);
                let keys = keys.collect::<Result<_, _>>();
                let keys = keys.map_err(|problem| fields.wrong("keys", problem))?;
                Role::new(keys, usize::try_from(threshold).unwrap_or(usize::MAX))
                    .map_err(|problem| roles.wrong(name, &problem))
            };
            Ok(Self {
                number: fields.required("version", fields.number("version"))?,
                expires: Some(fields.required("expires", fields.parsed("expires"))?),
                min_version: fields.parsed("min_version")?,
                root: role("root")?,
                release: role("release")?,
                index: role("index")?,
            })
        })
    }
}

/// Which release is current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The channel that it is of.
    pub channel: String,
    /// Never goes back.
    pub seq: u64,
    /// When it was signed.
    pub issued: DateTime<Utc>,
    /// Until when it holds.
    pub expires: DateTime<Utc>,
    /// The release.
    pub current: Pointer,
    /// The percentage of installations that are to have it already; `None`: all.
    pub rollout: Option<u64>,
    /// Versions that are not to be installed.
    pub revoked: Vec<Version>,
}

/// A release, by its version and by the digest of its document.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pointer {
    /// Its version.
    pub version: Version,
    /// The digest of the document's payload.
    pub sha256: Sha256,
}

impl Index {
    /// Fails where it has revoked what it names.
    pub(super) fn not_revoked(&self) -> Result<()> {
        let version = &self.current.version;
        if self.revoked.contains(version) {
            return Err(Error::TrustWithdrawn {
                version: version.to_string(),
                problem: "revoked by the index that names it".to_owned(),
            });
        }
        Ok(())
    }

    /// Reads the payload of an index.
    pub fn read(payload: &[u8], app: &str, subject: &str) -> Result<Self> {
        read(payload, "index", app, subject, |fields| {
            let current = fields.required("current", fields.inner("current"))?;
            let revoked = fields.texts("revoked")?.into_iter().map(Version::from_str);
            let revoked = revoked.collect::<Result<_, _>>();
            Ok(Self {
                channel: fields
                    .required("channel", fields.text("channel"))?
                    .to_owned(),
                seq: fields.required("seq", fields.number("seq"))?,
                issued: fields.required("issued", fields.parsed("issued"))?,
                expires: fields.required("expires", fields.parsed("expires"))?,
                current: Pointer {
                    version: current.required("version", current.parsed("version"))?,
                    sha256: current.required("sha256", current.parsed("sha256"))?,
                },
                rollout: percentage(fields, "rollout")?,
                revoked: revoked.map_err(|error| fields.wrong("revoked", &error.to_string()))?,
            })
        })
    }
}

/// What a version consists of, for one kind of machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseDocument {
    /// The version.
    pub version: Version,
    /// The publisher's notes.
    pub notes: String,
    /// Versions below are not safe to go on with.
    pub critical_below: Option<Version>,
    /// What is to be installed, if there is anything for this kind of machine.
    pub package: Option<SignedPackage>,
    /// The launcher for it.
    pub launcher: Option<SignedPackage>,
}

/// A file of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPackage {
    /// Bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub sha256: Sha256,
    /// Where it is, the first one first; relative to the document, or absolute.
    pub urls: Vec<String>,
    /// What to start.
    pub entry_point: Option<String>,
    /// The digest of the file list in it.
    pub files: Option<Sha256>,
    /// The least version of the operating system.
    pub system: Option<String>,
}

/// What a release calls a package for machines that it does not name.
const ANY: &str = "any";

impl ReleaseDocument {
    /// Reads the payload of a release document, as seen from a kind of machine.
    pub fn read(payload: &[u8], app: &str, target: &str, subject: &str) -> Result<Self> {
        read(payload, "release", app, subject, |fields| {
            let packages = fields.required("packages", fields.inner("packages"))?;
            // All of them are looked at: what is wrong with one is found by whoever reads it first.
            let mut package = None;
            for name in packages.names() {
                let found = SignedPackage::read(&packages.required(name, packages.inner(name))?)?;
                if name == target || (name == ANY && package.is_none()) {
                    package = Some(found);
                }
            }
            let launchers = fields.inner("launchers")?;
            let launcher = launchers
                .map(|launchers| launchers.inner(target))
                .transpose()?;
            Ok(Self {
                version: fields.required("version", fields.parsed("version"))?,
                notes: fields.text("notes")?.unwrap_or_default().to_owned(),
                critical_below: fields.parsed("critical_below")?,
                package,
                launcher: launcher
                    .flatten()
                    .map(|fields| SignedPackage::read(&fields))
                    .transpose()?,
            })
        })
    }
}

impl SignedPackage {
    fn read(fields: &Object<'_>) -> Result<Self, String> {
        let entry_point = fields.text("entry_point")?.filter(|path| !path.is_empty());
        if let Some(path) = entry_point.filter(|path| leads_outside(path)) {
            let problem = format!("{path:?} is no path inside the client folder");
            return Err(fields.wrong("entry_point", &problem));
        }
        Ok(Self {
            size: fields.required("size", fields.number("size"))?,
            sha256: fields.required("sha256", fields.parsed("sha256"))?,
            urls: fields
                .texts("urls")?
                .into_iter()
                .map(str::to_owned)
                .collect(),
            entry_point: entry_point.map(str::to_owned),
            files: fields.parsed("files")?,
            system: fields.text("system")?.map(str::to_owned),
        })
    }
}

/// A percentage.
pub(crate) fn percentage(fields: &Object<'_>, name: &str) -> Result<Option<u64>, String> {
    let number = fields.number(name)?;
    match number {
        Some(101..) => Err(fields.wrong(name, "is no percentage")),
        number => Ok(number),
    }
}

/// What every document has: a type, a format, an app.
fn read<T>(
    payload: &[u8],
    wanted: &str,
    app: &str,
    subject: &str,
    rest: impl FnOnce(&Object<'_>) -> Result<T, String>,
) -> Result<T> {
    let document = parse(payload, subject)?;
    let invalid = |problem| Error::TrustInvalid {
        subject: subject.to_owned(),
        problem,
    };
    let fields = Object::of(&document).map_err(invalid)?;
    let is = |name: &str, wanted: &dyn Display| {
        let found = fields.get(name).map_or_else(|| "missing".to_owned(), kind);
        invalid(fields.wrong(name, &format!("is {found}, not {wanted}")))
    };
    let text = |name: &str| fields.text(name).map_err(invalid);
    if text("type")? != Some(wanted) {
        return Err(is("type", &wanted));
    }
    if fields.number("spec").map_err(invalid)? != Some(SPEC) {
        return Err(is("spec", &SPEC));
    }
    let of = text("app")?.unwrap_or_default();
    if of != app {
        return Err(Error::TrustMismatch {
            subject: subject.to_owned(),
            what: "app",
            expected: app.to_owned(),
            got: json::excerpt(of.as_bytes()),
        });
    }
    rest(&fields).map_err(invalid)
}

fn parse(payload: &[u8], subject: &str) -> Result<Value> {
    json::parse(payload).map_err(|error| Error::TrustInvalid {
        subject: subject.to_owned(),
        problem: error.to_string(),
    })
}

/// The type of a document, whoever has written it: to say what a file is.
pub fn type_of(envelope: &Envelope) -> Result<String> {
    claim(envelope, "type", |value| value.as_str().map(str::to_owned))
}

/// The number of a keys document, whoever has written it: to pass over those that are known.
pub fn number_of(envelope: &Envelope) -> Result<u64> {
    claim(envelope, "version", Value::as_u64)
}

/// The app of a document, whoever has written it: to say what a file is of.
pub fn app_of(envelope: &Envelope) -> Result<String> {
    claim(envelope, "app", |value| value.as_str().map(str::to_owned))
}

fn claim<T>(envelope: &Envelope, field: &str, read: impl FnOnce(&Value) -> Option<T>) -> Result<T> {
    let document = parse(envelope.payload(), envelope.subject())?;
    document
        .get(field)
        .and_then(read)
        .ok_or_else(|| Error::TrustInvalid {
            subject: envelope.subject().to_owned(),
            problem: format!("field {field}: is missing, or of the wrong type"),
        })
}
