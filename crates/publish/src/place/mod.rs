//! The places at which releases are published: a folder, a bucket of S3, a release server.
//!
//! Promises, of every place: a file or a document is there whole, or not at all, under the name that
//! launchers ask for; a package that is there is never written over. What is published in which
//! order is decided in [`crate::publish`].

mod bucket;
mod folder;
mod server;
mod upload;
mod web;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use castoff::trust::Sha256;
use castoff::trust::document::RELEASE_LIMIT;
use castoff::version::Version;
use chrono::{DateTime, Utc};

use crate::document::{Content, Document, channel_of, version_of};
use crate::{Error, Result, is_address};

/// Whom the way of a publication is told.
pub type Tell<'a> = dyn FnMut(Event<'_>) + 'a;

/// What happens in a publication.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// So much of a file is at the place.
    Sending {
        /// Its name.
        name: &'a str,
        /// Bytes that are there.
        done: u64,
        /// All of its bytes.
        size: u64,
    },
    /// What an earlier attempt has sent of a file is gone on with.
    Resumed {
        /// Its name.
        name: &'a str,
        /// Bytes that are there.
        done: u64,
    },
    /// A file is at the place now.
    Sent {
        /// Its name.
        name: &'a str,
        /// Its bytes.
        size: u64,
    },
    /// The app is known to the place from now on.
    Prepared,
    /// A document was signed here.
    Signed(&'a Document),
    /// A document is at the place now.
    Written {
        /// Its name.
        name: &'a str,
    },
    /// A file or a document was at the place already, as it is here.
    There {
        /// Its name.
        name: &'a str,
    },
}

/// A file that is to be at a place.
#[derive(Debug)]
pub struct File<'a> {
    /// Its name at the place, as the release document links to it.
    pub name: &'a str,
    /// Where it lies here, if it does.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
    /// Their digest.
    pub sha256: Sha256,
    /// What it is a package of; `None`: a launcher.
    pub package: Option<Package<'a>>,
}

/// What a package is of.
#[derive(Clone, Debug)]
pub struct Package<'a> {
    /// The version.
    pub version: &'a Version,
    /// The kind of machine, or `any`.
    pub target: &'a str,
    /// What to start.
    pub entry_point: Option<&'a str>,
    /// The publisher's notes.
    pub notes: Option<&'a str>,
    /// Versions below are not safe to go on with.
    pub critical_below: Option<&'a str>,
}

/// Whether a file is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not.
    Missing,
    /// It is, with the same content.
    Same,
    /// Another one has its name.
    Other,
}

/// What a place says of a channel that it has changed by itself, or that it cannot.
#[derive(Clone, Debug)]
pub enum Answer<T> {
    /// It has.
    Done(T),
    /// It needs an index that was signed elsewhere.
    NeedsIndex,
}

/// What is current in a channel.
#[derive(Clone, Debug)]
pub struct Current {
    /// The version, if there is one.
    pub version: Option<Version>,
    /// The number of the index, if there is one.
    pub seq: Option<u64>,
    /// Until when the index holds, if that is known.
    pub expires: Option<DateTime<Utc>>,
    /// Whether it was so before.
    pub unchanged: bool,
}

/// How a launcher is configured for a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As `source.kind` has it.
    pub kind: &'static str,
    /// As `source.url` has it.
    pub url: String,
}

/// What is published at a place.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The versions, the highest first.
    pub releases: Vec<Listed>,
    /// The channels, by their names.
    pub channels: BTreeMap<String, Channel>,
}

impl Listing {
    /// The highest version first.
    fn sort(&mut self) {
        self.releases.sort_by(|a, b| b.version.cmp(&a.version));
    }
}

/// A version that is published.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The version.
    pub version: Version,
    /// Whether there is a signed document of it.
    pub signed: bool,
    /// Whether it is not to be installed any more.
    pub withdrawn: bool,
    /// Its packages.
    pub packages: Vec<ListedPackage>,
}

/// A package that is published.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub struct ListedPackage {
    /// The kind of machine, or `any`.
    pub target: String,
    /// Where it is, from the place.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Their digest.
    pub sha256: Sha256,
}

/// A channel of a place.
#[derive(Clone, Debug)]
pub struct Channel {
    /// The version that is current.
    pub version: Version,
    /// The number of its index, if it has one.
    pub seq: Option<u64>,
    /// Until when the index holds.
    pub expires: Option<DateTime<Utc>>,
    /// The percentage of installations that are to have it already; `None`: all.
    pub rollout: Option<u64>,
}

/// Where releases are published.
///
/// Everything that goes to a place fails with `PLACE_UNREACHABLE` when it does not answer, and with
/// `PLACE_REFUSED` when it answers that it does not.
pub trait Place {
    /// Its address, for people.
    fn address(&self) -> &str;

    /// How a launcher is configured that follows signed documents, or that does not.
    fn source(&self, signed: bool) -> Source;

    /// Whether it takes releases that nobody has signed.
    fn takes_unsigned(&self) -> bool {
        false
    }

    /// Makes it ready for the app, if it has to be. Says whether it was not.
    fn prepare(&self) -> Result<bool> {
        Ok(false)
    }

    /// The names of its documents.
    fn documents(&self) -> Result<Vec<String>>;

    /// A document, if it is there, whoever has written it.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// Writes a document, in place of what is there.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// Whether a file is there.
    fn standing(&self, file: &File<'_>) -> Result<Standing>;

    /// Sends a file that is not there, or goes on with that.
    fn send(&self, file: &File<'_>, tell: &mut Tell<'_>) -> Result<()>;

    /// Makes a version current.
    fn activate(
        &self,
        _channel: &str,
        _version: &Version,
        _rollout: Option<u64>,
    ) -> Result<Answer<Current>> {
        Ok(Answer::NeedsIndex)
    }

    /// Takes a version back, and makes another one current where it was.
    fn withdraw(&self, _channel: &str, _version: &Version) -> Result<Answer<Current>> {
        Ok(Answer::NeedsIndex)
    }

    /// Whether no release is published.
    fn is_empty(&self) -> Result<bool> {
        let names = self.documents()?;
        Ok(names.iter().all(|name| version_of(name).is_none()))
    }

    /// What is published, as its documents have it.
    fn listing(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        let mut revoked = Vec::new();
        for name in self.documents()? {
            if version_of(&name).is_none() && channel_of(&name).is_none() {
                continue;
            }
            let document = match document(self, &name) {
                // Whatever else lies there.
                Err(Error::Engine(_)) if version_of(&name).is_none() => None,
                document => document?,
            };
            let Some(document) = document else {
                continue;
            };
            match document.content() {
                Content::Release(release) => listing.releases.push(Listed {
                    version: release.version.clone(),
                    signed: true,
                    withdrawn: false,
                    packages: packages(&document),
                }),
                Content::Index(index) => {
                    revoked.extend(index.revoked.clone());
                    let channel = Channel {
                        version: index.current.version.clone(),
                        seq: Some(index.seq),
                        expires: Some(index.expires),
                        rollout: index.rollout,
                    };
                    listing.channels.insert(index.channel.clone(), channel);
                }
                Content::Keys(_) => {}
            }
        }
        for release in &mut listing.releases {
            release.withdrawn = revoked.contains(&release.version);
        }
        listing.sort();
        Ok(listing)
    }
}

/// A document of a place that a launcher can read, whoever has signed it.
pub(crate) fn document<P: Place + ?Sized>(place: &P, name: &str) -> Result<Option<Document>> {
    let path = format!("{}/{name}", place.address().trim_end_matches('/'));
    let bytes = place.read(name)?;
    bytes
        .map(|bytes| Document::parse(Path::new(&path), &bytes))
        .transpose()
}

/// The packages of a release document.
fn packages(document: &Document) -> Vec<ListedPackage> {
    let packages = document.value()["packages"].as_object();
    let listed = |(target, package): (&String, &serde_json::Value)| {
        Some(ListedPackage {
            target: target.clone(),
            name: package["urls"].get(0)?.as_str()?.to_owned(),
            size: package["size"].as_u64()?,
            sha256: package["sha256"].as_str()?.parse().ok()?,
        })
    };
    packages.into_iter().flatten().filter_map(listed).collect()
}

/// Whether what has this name may be a document.
fn is_document(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "json")
}

/// Bytes of a document, or an error when there are too many for one.
fn limited(name: &str, reader: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    // One byte more, by which it is seen to be too large.
    reader.take(RELEASE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > RELEASE_LIMIT {
        return Err(std::io::Error::other(format!("{name} is too large")));
    }
    Ok(bytes)
}

/// A place, as somebody names it.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// Its address: a release server's (http, https), a bucket's (s3), or else a folder's path.
    pub to: String,
    /// The app whose releases are published.
    pub app: String,
    /// The token of a release server.
    pub token: Option<String>,
    /// Whether plain http is allowed to hosts other than this one.
    pub allow_http: bool,
}

impl Named {
    /// Opens it. A server is not asked yet.
    ///
    /// Fails with `REQUEST_INVALID` for what is no place.
    pub fn open(self) -> Result<Box<dyn Place>> {
        let Self {
            to,
            app,
            token,
            allow_http,
        } = self;
        if is_address(&to) {
            return Ok(Box::new(server::Server::open(
                &to, &app, token, allow_http,
            )?));
        }
        if to.starts_with("s3://") {
            return Ok(Box::new(bucket::Bucket::open(&to, allow_http)?));
        }
        if to.contains("://") {
            return Err(Error::request(format!(
                "{to} is no place to publish at: a folder, s3://BUCKET, and https://HOST of a release server \
                 are"
            )));
        }
        Ok(Box::new(folder::Folder::open(Path::new(&to))?))
    }
}
