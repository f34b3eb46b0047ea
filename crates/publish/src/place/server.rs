//! A release server (`castoff serve`).
//!
//! Promises: an upload that broke off is gone on with at the byte where it did, by the same command in
//! another process too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castoff::fetch::Answer as Reply;
use castoff::trust::document::index_name;
use castoff::version::Version;
use chrono::Utc;
use serde::Deserialize;
use serde_json::{Value, json};

use super::upload::Note;
use super::web::{ATTEMPTS, Part, Request, Web, open_at, passes, pause};
use super::{
    Answer, Channel, Current, Event, File, Listed, ListedPackage, Listing, Place, Source, Standing,
    Tell, document,
};
use crate::document::{Content, Document};
use crate::{Error, Result};

/// What a single request brings of a package: proxies hold a request back until it is whole.
const CHUNK: u64 = 16 << 20;

/// Version of the protocol for uploads.
const TUS: &str = "1.0.0";

pub(super) struct Server {
    web: Web,
    /// Without a slash at its end.
    address: String,
    app: String,
}

/// What a server says when it does not do something.
#[derive(Deserialize)]
struct Refusal {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    code: String,
    message: String,
}

/// The server's list of releases.
#[derive(Deserialize)]
struct Releases {
    releases: Vec<Release>,
    channels: std::collections::BTreeMap<String, Pointed>,
}

#[derive(Deserialize)]
struct Release {
    version: Version,
    withdrawn: bool,
    document: bool,
    packages: Vec<ListedPackage>,
}

/// A channel of the server.
#[derive(Deserialize)]
struct Pointed {
    version: Option<Version>,
    seq: Option<u64>,
    rollout: Option<u64>,
}

impl Server {
    /// Nothing is asked yet.
    pub(super) fn open(
        to: &str,
        app: &str,
        token: Option<String>,
        allow_http: bool,
    ) -> Result<Self> {
        let address = to.trim_end_matches('/');
        if address.contains("/t/") || address.contains(['?', '#', '@']) {
            return Err(Error::request(
                "the address of a release server is said without a token, and the token in a file of its \
                 own (--token-file)",
            ));
        }
        Ok(Self {
            web: Web::new(address, to, token, allow_http)?,
            address: address.to_owned(),
            app: app.to_owned(),
        })
    }

    /// An address of the app.
    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/apps/{}/{path}", self.address, self.app)
    }

    /// Asks, and hands on whatever is answered.
    fn ask(&self, method: &str, path: &str, body: Option<&[u8]>) -> Result<Reply> {
        let headers = [("Content-Type", "application/json".to_owned())];
        self.web.ask(Request {
            method,
            url: &self.url(path),
            headers: &headers,
            body,
        })
    }

    fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.ask("POST", path, Some(body.to_string().as_bytes()))
    }

    /// The error that an answer amounts to.
    fn refused(&self, what: &str, reply: &Reply) -> Error {
        let problem = match reason(reply) {
            Some(Reason { code, message }) => format!("{message} ({code})"),
            None => format!(
                "it answered with status {}, and not as a release server does",
                reply.status
            ),
        };
        Error::Refused {
            place: self.address.clone(),
            what: what.to_owned(),
            problem,
        }
    }

    fn good(&self, what: &str, reply: Reply) -> Result<Reply> {
        if matches!(reply.status, 200..=299) {
            return Ok(reply);
        }
        Err(self.refused(what, &reply))
    }

    fn parsed<T: for<'a> Deserialize<'a>>(&self, what: &str, reply: Reply) -> Result<T> {
        let reply = self.good(what, reply)?;
        serde_json::from_slice(&reply.body).map_err(|error| Error::Refused {
            place: self.address.clone(),
            what: what.to_owned(),
            problem: format!("its answer is not that of a release server: {error}"),
        })
    }

    fn releases(&self) -> Result<Releases> {
        self.parsed("the list of releases", self.ask("GET", "releases", None)?)
    }

    /// What a channel was changed to, unless that takes an index which the server cannot sign.
    fn changed(&self, what: &str, reply: Reply) -> Result<Answer<Current>> {
        if reason(&reply).is_some_and(|reason| reason.code == "INDEX_NEEDED") {
            return Ok(Answer::NeedsIndex);
        }
        let Pointed { version, seq, .. } = self.parsed(what, reply)?;
        Ok(Answer::Done(Current {
            version,
            seq,
            expires: None,
            unchanged: false,
        }))
    }

    /// Whether a channel is as it is to be, with an index that holds for some time.
    fn is_current(
        &self,
        channel: &str,
        version: &Version,
        rollout: Option<u64>,
    ) -> Result<Option<Current>> {
        let Some(pointed) = self.releases()?.channels.remove(channel) else {
            return Ok(None);
        };
        let same = pointed.version.as_ref() == Some(version)
            && pointed.rollout.unwrap_or(100) == rollout.unwrap_or(100);
        if !same {
            return Ok(None);
        }
        let mut expires = None;
        if pointed.seq.is_some() {
            let index = document(self, &index_name(channel))?;
            let Some(Content::Index(index)) = index.as_ref().map(Document::content) else {
                return Ok(None);
            };
            if index.expires - Utc::now() <= (index.expires - index.issued) / 2 {
                return Ok(None);
            }
            expires = Some(index.expires);
        }
        Ok(Some(Current {
            version: pointed.version,
            seq: pointed.seq,
            expires,
            unchanged: true,
        }))
    }

    /// The upload of a file, the one that was begun or a new one, and how much of it is there.
    fn upload(&self, file: &File<'_>, note: &Note, tell: &mut Tell<'_>) -> Result<(String, u64)> {
        if let Some((id, _)) = note.read()
            && let Some(done) = self.offset(&id)?
        {
            tell(Event::Resumed {
                name: file.name,
                done,
            });
            return Ok((id, done));
        }
        let name = file.name.rsplit('/').next().unwrap_or(file.name);
        let metadata = format!(
            "filename {},sha256 {}",
            STANDARD.encode(name),
            STANDARD.encode(file.sha256.to_string())
        );
        let headers = [
            ("Tus-Resumable", TUS.to_owned()),
            ("Upload-Length", file.size.to_string()),
            ("Upload-Metadata", metadata),
        ];
        let reply = self.web.ask(Request {
            method: "POST",
            url: &self.url("uploads"),
            headers: &headers,
            body: Some(&[]),
        })?;
        let what = format!("an upload of {}", file.name);
        let reply = self.good(&what, reply)?;
        let location = header(&reply, "location").unwrap_or_default();
        let id = location.rsplit('/').next().unwrap_or_default();
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(self.refused(&what, &reply));
        }
        note.write(id, &[])?;
        Ok((id.to_owned(), 0))
    }

    /// How much of an upload is there; `None`: it is no more.
    fn offset(&self, id: &str) -> Result<Option<u64>> {
        let headers = [("Tus-Resumable", TUS.to_owned())];
        let reply = self.web.ask(Request {
            method: "HEAD",
            url: &self.url(&format!("uploads/{id}")),
            headers: &headers,
            body: None,
        })?;
        if matches!(reply.status, 404 | 410) {
            return Ok(None);
        }
        let reply = self.good("how much of an upload is there", reply)?;
        let offset = header(&reply, "upload-offset").and_then(|text| text.parse().ok());
        offset
            .map(Some)
            .ok_or_else(|| self.refused("how much of an upload is there", &reply))
    }

    /// Sends what is not there of an upload.
    fn fill(&self, file: &File<'_>, id: &str, mut done: u64, tell: &mut Tell<'_>) -> Result<()> {
        let url = self.url(&format!("uploads/{id}"));
        let what = format!("a part of {}", file.name);
        let mut failures = 0;
        while done < file.size {
            let headers = [
                ("Tus-Resumable", TUS.to_owned()),
                ("Upload-Offset", done.to_string()),
                ("Content-Type", "application/offset+octet-stream".to_owned()),
            ];
            let length = CHUNK.min(file.size - done);
            let from = open_at(&file.path, done)?;
            let mut part = Part::of(file, from, done, length, tell);
            let sent = self.web.send("PATCH", &url, &headers, &mut part);
            let failure = match sent {
                Ok(reply) if matches!(reply.status, 200..=299) => {
                    done += length;
                    failures = 0;
                    continue;
                }
                Ok(reply) if reply.status == 409 || passes(&reply) => self.refused(&what, &reply),
                Ok(reply) => return Err(self.refused(&what, &reply)),
                Err(error @ Error::Unreachable { .. }) => error,
                Err(error) => return Err(error),
            };
            failures += 1;
            if failures == ATTEMPTS {
                return Err(failure);
            }
            pause(failures, None);
            let there = self.offset(id)?;
            let there = there.filter(|there| *there <= file.size).ok_or(failure)?;
            if there > done {
                failures = 0;
            }
            done = there;
        }
        Ok(())
    }

    /// Makes a release of an upload.
    fn register(&self, file: &File<'_>, id: &str) -> Result<()> {
        let Some(package) = &file.package else {
            return Err(Error::request(format!(
                "{} is a launcher, and a release server keeps packages alone: let the release document name \
                 an address of its own for it",
                file.name
            )));
        };
        let mut body = json!({
            "version": package.version.as_str(), "upload": id, "target": package.target,
        });
        let optional = [
            ("entry_point", package.entry_point),
            ("notes", package.notes),
            ("critical_below", package.critical_below),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        let headers = [("Content-Type", "application/json".to_owned())];
        let reply = self.web.wait_for(Request {
            method: "POST",
            url: &self.url("releases"),
            headers: &headers,
            body: Some(body.to_string().as_bytes()),
        })?;
        if reason(&reply).is_some_and(|reason| reason.code == "VERSION_EXISTS") {
            return Err(Error::PackageDiffers {
                name: file.name.to_owned(),
                place: self.address.clone(),
            });
        }
        self.good(&format!("{} as {}", file.name, package.version), reply)
            .map(drop)
    }
}

/// What a server has said that it does not do, and why.
fn reason(reply: &Reply) -> Option<Reason> {
    if matches!(reply.status, 200..=299) {
        return None;
    }
    let refusal: Refusal = serde_json::from_slice(&reply.body).ok()?;
    Some(refusal.error)
}

/// A version as a part of a path; those of tags have slashes.
fn in_path(version: &Version) -> String {
    version.as_str().replace('/', "%2F")
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.get(name)?.to_str().ok()
}

impl Place for Server {
    fn address(&self) -> &str {
        &self.address
    }

    fn source(&self, signed: bool) -> Source {
        let app = format!("{}/apps/{}/", self.address, self.app);
        if signed {
            return Source {
                kind: "index",
                url: app,
            };
        }
        Source {
            kind: "check",
            url: format!("{app}check"),
        }
    }

    fn takes_unsigned(&self) -> bool {
        true
    }

    fn prepare(&self) -> Result<bool> {
        let reply = self.ask("GET", "releases", None)?;
        // The server's own answer, and not that of something else that lives there.
        if reply.status != 404 || reason(&reply).is_none() {
            return self.good("the list of releases", reply).map(|_| false);
        }
        let body = json!({"key": self.app, "name": self.app}).to_string();
        let headers = [("Content-Type", "application/json".to_owned())];
        let reply = self.web.ask(Request {
            method: "POST",
            url: &format!("{}/api/v1/apps", self.address),
            headers: &headers,
            body: Some(body.as_bytes()),
        })?;
        let what = format!("the app {}, which is not known there", self.app);
        self.good(&what, reply).map(|_| true)
    }

    fn is_empty(&self) -> Result<bool> {
        Ok(self.releases()?.releases.is_empty())
    }

    fn documents(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Names {
            documents: Vec<String>,
        }
        let names: Names =
            self.parsed("the list of documents", self.ask("GET", "documents", None)?)?;
        Ok(names.documents)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let reply = self.ask("GET", &format!("documents/{name}"), None)?;
        if reply.status == 404 {
            return Ok(None);
        }
        let reply = self.good(name, reply)?;
        super::limited(name, reply.body.as_slice())
            .map(Some)
            .map_err(Error::io("read", name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let reply = self.ask("PUT", &format!("documents/{name}"), Some(bytes))?;
        self.good(name, reply).map(drop)
    }

    fn standing(&self, file: &File<'_>) -> Result<Standing> {
        let Some(package) = &file.package else {
            return Ok(Standing::Missing);
        };
        let reply = self.ask(
            "GET",
            &format!("releases/{}", in_path(package.version)),
            None,
        )?;
        if reply.status == 404 {
            return Ok(Standing::Missing);
        }
        let release: Release = self.parsed("what is known of a release", reply)?;
        let mut packages = release.packages.iter();
        Ok(match packages.find(|it| it.target == package.target) {
            None => Standing::Missing,
            Some(there) if there.sha256 == file.sha256 => Standing::Same,
            Some(_) => Standing::Other,
        })
    }

    fn send(&self, file: &File<'_>, tell: &mut Tell<'_>) -> Result<()> {
        let note = Note::of(file, self.url("uploads"))?;
        let (id, done) = self.upload(file, &note, tell)?;
        self.fill(file, &id, done, tell)?;
        let registered = match self.register(file, &id) {
            // It may have been done, and the answer be lost.
            Err(error @ Error::Unreachable { .. }) => match self.standing(file)? {
                Standing::Same => Ok(()),
                _ => return Err(error),
            },
            registered => registered,
        };
        // The server has taken it, or refused it for good.
        note.remove()?;
        registered
    }

    fn activate(
        &self,
        channel: &str,
        version: &Version,
        rollout: Option<u64>,
    ) -> Result<Answer<Current>> {
        if let Some(current) = self.is_current(channel, version, rollout)? {
            return Ok(Answer::Done(current));
        }
        let mut body = json!({"version": version.as_str()});
        if let Some(rollout) = rollout {
            body["rollout"] = rollout.into();
        }
        let reply = self.post(&format!("channels/{channel}/activate"), &body)?;
        if reply.status == 404 {
            return Err(Error::NotPublished {
                version: version.to_string(),
                place: self.address.clone(),
            });
        }
        self.changed(&format!("{version} as current"), reply)
    }

    fn withdraw(&self, channel: &str, version: &Version) -> Result<Answer<Current>> {
        let body = json!({"version": version.as_str()});
        let reply = self.post(&format!("channels/{channel}/withdraw"), &body)?;
        self.changed(&format!("the end of {version}"), reply)
    }

    fn listing(&self) -> Result<Listing> {
        let Releases { releases, channels } = self.releases()?;
        let mut listing = Listing::default();
        for release in releases {
            listing.releases.push(Listed {
                version: release.version,
                signed: release.document,
                withdrawn: release.withdrawn,
                packages: release.packages,
            });
        }
        for (name, pointed) in channels {
            let Some(version) = pointed.version else {
                continue;
            };
            let index = pointed.seq.map(|_| document(self, &index_name(&name)));
            let index = index.transpose()?.flatten();
            let expires = match index.as_ref().map(Document::content) {
                Some(Content::Index(index)) => Some(index.expires),
                _ => None,
            };
            let channel = Channel {
                version,
                seq: pointed.seq,
                expires,
                rollout: pointed.rollout.filter(|rollout| *rollout < 100),
            };
            listing.channels.insert(name, channel);
        }
        listing.sort();
        Ok(listing)
    }
}
