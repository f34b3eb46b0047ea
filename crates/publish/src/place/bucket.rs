//! A bucket of S3, or of another store that speaks its protocol: static files, which need no server.
//!
//! Promises: as of every place, and an upload of several parts that broke off is gone on with at the part
//! where it did, by the same command in another process too. What is sent is what was hashed. Documents are
//! stored so that caches ask whether they still hold; packages, which never change, so that they need not.
//!
//! Not promised: documents that two publishers write at the same time are in some order, and one of them is
//! last. So are packages of one name, in stores that do not know `If-None-Match`.

use std::cell::Cell;
use std::io::Read as _;
use std::time::Duration;

use castoff::fetch::Answer as Reply;
use castoff::trust::{Hasher, Sha256, hash_file, hash_reader};
use rusty_s3::actions::{
    CompleteMultipartUpload, CompleteMultipartUploadResponse, CreateMultipartUpload, ListObjectsV2,
    ListParts, UploadPart,
};
use rusty_s3::{Bucket as Store, Credentials, S3Action, UrlStyle};
use url::Url;

use super::upload::{Note, Sent};
use super::web::{ATTEMPTS, Part, Request, Web, open_at, passes, pause};
use super::{Event, File, Place, Source, Standing, Tell};
use crate::{Error, Result};

/// What a part has at least, and what is sent at once: at 16 MiB, a break costs little, and 10,000 parts
/// are 160 GB.
const PART: u64 = 16 << 20;

/// More parts no upload has.
const PARTS: u64 = 10_000;

/// How long a signed request holds: clocks differ, and the last byte of a part takes long to go.
const VALID: Duration = Duration::from_hours(1);

/// The region of stores that have none.
const REGION: &str = "us-east-1";

/// The digest of a file, as it is kept beside it.
const DIGEST: &str = "x-amz-meta-sha256";

pub(super) struct Bucket {
    web: Web,
    /// As it was named, without parameters.
    address: String,
    store: Store,
    credentials: Credentials,
    /// What all names begin with: nothing, or a path with a slash at its end.
    prefix: String,
    /// Whether the store is asked to write no package over another: not every one can.
    keeps: Cell<bool>,
}

/// Where a bucket is, as it was named.
#[derive(Debug)]
struct Named {
    name: String,
    prefix: String,
    endpoint: Option<String>,
    region: Option<String>,
}

impl Named {
    /// `s3://BUCKET/PREFIX?endpoint=URL&region=REGION`
    fn parse(to: &str) -> Result<Self> {
        let wrong = |problem: &str| Error::request(format!("{to}: {problem}"));
        let rest = to.strip_prefix("s3://").unwrap_or(to);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.trim_matches('/');
        let plain = |name: &str| {
            !matches!(name, "" | "." | "..")
                && !name.contains(|c: char| c.is_control() || c == '\\')
        };
        if name.is_empty() || !prefix.is_empty() && !prefix.split('/').all(plain) {
            return Err(wrong("this names no bucket, or no folder in one"));
        }
        let mut named = Self {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: None,
            region: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("endpoint", url)) => named.endpoint = Some(url.to_owned()),
                Some(("region", region)) => named.region = Some(region.to_owned()),
                _ => {
                    return Err(wrong(
                        "it has a parameter that is none of endpoint and region",
                    ));
                }
            }
        }
        Ok(named)
    }

    /// The store that it is in.
    fn store(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Store> {
        let first = |names: [&str; 2]| names.into_iter().find_map(variable);
        let region = self
            .region
            .clone()
            .or_else(|| first(["AWS_REGION", "AWS_DEFAULT_REGION"]))
            .unwrap_or_else(|| REGION.to_owned());
        let endpoint = self
            .endpoint
            .clone()
            .or_else(|| first(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
        let (endpoint, style) = match endpoint {
            Some(endpoint) => match endpoint.split_once(&format!("://{}.", self.name)) {
                // The bucket is in the name of the host already.
                Some((scheme, rest)) => (format!("{scheme}://{rest}"), UrlStyle::VirtualHost),
                None => (endpoint, UrlStyle::Path),
            },
            None => (
                format!(
                    "https://s3.{region}.amazonaws.com{}",
                    if region.starts_with("cn-") { ".cn" } else { "" }
                ),
                // Certificates name one label before the service, and hosts have no capitals.
                if self.name.contains('.') || self.name.chars().any(char::is_uppercase) {
                    UrlStyle::Path
                } else {
                    UrlStyle::VirtualHost
                },
            ),
        };
        let wrong = |error: &dyn std::fmt::Display| {
            Error::request(format!("{endpoint} is no address of a store: {error}"))
        };
        let url: Url = endpoint.parse().map_err(|error| wrong(&error))?;
        Store::new(url, style, self.name.clone(), region).map_err(|error| wrong(&error))
    }
}

impl Bucket {
    /// Nothing is asked yet. Credentials are those of the environment.
    pub(super) fn open(to: &str, allow_http: bool) -> Result<Self> {
        let named = Named::parse(to)?;
        // An empty variable is as good as none.
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let store = named.store(&variable)?;
        let (Some(key), Some(secret)) = (
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
        ) else {
            return Err(Error::request(format!(
                "what is written to {to} needs the credentials of the bucket: let AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY hold them, and AWS_SESSION_TOKEN, if there is one"
            )));
        };
        let credentials = match variable("AWS_SESSION_TOKEN") {
            Some(token) => Credentials::new_with_token(key, secret, token),
            None => Credentials::new(key, secret),
        };
        let address = to.split_once('?').map_or(to, |(address, _)| address);
        let address = address.trim_end_matches('/').to_owned();
        let prefix = match named.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self {
            web: Web::new(&address, store.base_url().as_str(), None, allow_http)?,
            address,
            store,
            credentials,
            prefix,
            keeps: Cell::new(true),
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The key of a file that a document links to.
    fn key_of(&self, file: &File<'_>) -> Result<String> {
        let inside = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\\');
        if !file.name.split('/').all(inside) {
            return Err(Error::request(format!(
                "{:?} does not lead to a file in {}",
                file.name, self.address
            )));
        }
        Ok(self.key(file.name))
    }

    /// Asks, and hands on whatever is answered.
    fn ask<'a>(
        &self,
        mut action: impl S3Action<'a>,
        headers: &[(&str, String)],
        body: Option<&[u8]>,
    ) -> Result<Reply> {
        self.web.ask(Request {
            method: method(&action),
            url: &signed(&mut action, headers),
            headers,
            body,
        })
    }

    /// The error that an answer amounts to.
    fn refused(&self, what: &str, reply: &Reply) -> Error {
        let body = String::from_utf8_lossy(&reply.body);
        let region = reply.headers.get("x-amz-bucket-region");
        let region = region.and_then(|region| region.to_str().ok());
        let problem = match (element(&body, "Code"), region) {
            (_, Some(region)) if region != self.store.region() => format!(
                "the bucket is in another region: {}?region={region}",
                self.address
            ),
            (Some(code), _) => {
                format!("{} ({code})", element(&body, "Message").unwrap_or_default())
            }
            // What is asked for a head alone has no body to say so.
            (None, _) if matches!(reply.status, 401 | 403) => {
                format!("the credentials do not allow it (status {})", reply.status)
            }
            (None, _) => format!(
                "it answered with status {}, and not as a store does",
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

    /// What an answer says, in its own terms.
    fn parsed<T, E: std::fmt::Display>(
        &self,
        what: &str,
        reply: Reply,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T> {
        let reply = self.good(what, reply)?;
        let text = String::from_utf8_lossy(&reply.body);
        parse(&text).map_err(|error| Error::Refused {
            place: self.address.clone(),
            what: what.to_owned(),
            problem: format!("its answer is not that of a store: {error}"),
        })
    }

    /// The digest of what lies there, of so many bytes.
    fn digest(&self, key: &str, size: u64) -> Result<Sha256> {
        let mut hasher = Hasher::default();
        let mut done = 0;
        while done < size {
            let last = size.min(done + PART / 2) - 1;
            let range = [("Range", format!("bytes={done}-{last}"))];
            let action = self.store.get_object(Some(&self.credentials), key);
            let reply = self.good(key, self.ask(action, &range, None)?)?;
            if reply.body.len() as u64 != last + 1 - done {
                return Err(self.refused("a part of a file", &reply));
            }
            hasher.update(&reply.body);
            done = last + 1;
        }
        Ok(hasher.finish())
    }

    /// Sends what has to be sent until it is there, or is refused for good. Says which answer that is.
    fn insist(&self, what: &str, mut send: impl FnMut() -> Result<Reply>) -> Result<Reply> {
        let mut attempt = 1;
        loop {
            let failure = match send() {
                Ok(reply) if passes(&reply) => self.refused(what, &reply),
                Ok(reply) => return Ok(reply),
                Err(error @ Error::Unreachable { .. }) => error,
                Err(error) => return Err(error),
            };
            if attempt == ATTEMPTS {
                return Err(failure);
            }
            pause(attempt, None);
            attempt += 1;
        }
    }

    /// Has a package written, unless there is one of its name; `None`: it is there already.
    ///
    /// Fails with `PACKAGE_DIFFERS` when that is another one.
    fn create(
        &self,
        file: &File<'_>,
        mut send: impl FnMut(&[(&'static str, String)]) -> Result<Reply>,
    ) -> Result<Option<Reply>> {
        let condition = [("If-None-Match", "*".to_owned())];
        let mut ask = || {
            let condition = if self.keeps.get() {
                &condition[..]
            } else {
                &[]
            };
            self.insist(file.name, || send(condition))
        };
        let mut reply = ask()?;
        // Not implemented.
        if reply.status == 501 && self.keeps.replace(false) {
            reply = ask()?;
        }
        if !matches!(reply.status, 409 | 412) {
            return Ok(Some(reply));
        }
        match self.standing(file)? {
            Standing::Same => Ok(None),
            Standing::Missing => Ok(Some(reply)),
            Standing::Other => Err(Error::PackageDiffers {
                name: file.name.to_owned(),
                place: self.address.clone(),
            }),
        }
    }

    /// Sends a file in one request.
    fn send_whole(&self, file: &File<'_>, key: &str, tell: &mut Tell<'_>) -> Result<()> {
        let content = content(file, 0, file.size)?;
        if Sha256::of(&content) != file.sha256 {
            return Err(file.has_changed());
        }
        let reply = self.create(file, |condition| {
            let mut action = self.store.put_object(Some(&self.credentials), key);
            let headers = [&headers_of(file)[..], condition].concat();
            let url = signed(&mut action, &headers);
            let mut part = Part::of(file, content.as_slice(), 0, file.size, tell);
            self.web.send(method(&action), &url, &headers, &mut part)
        })?;
        reply.map_or(Ok(()), |reply| self.good(file.name, reply).map(drop))
    }

    /// The upload of a file, the one that was begun or a new one, and its parts that are there.
    fn upload(
        &self,
        file: &File<'_>,
        key: &str,
        note: &Note,
        tell: &mut Tell<'_>,
    ) -> Result<(String, Vec<Sent>)> {
        if let Some((id, mut parts)) = note.read()
            && self.is_under_way(key, &id)?
        {
            parts.truncate(agreeing(file, &parts)?);
            tell(Event::Resumed {
                name: file.name,
                done: bytes_of(&parts),
            });
            return Ok((id, parts));
        }
        let action = CreateMultipartUpload::new(&self.store, Some(&self.credentials), key);
        let reply = self.ask(action, &headers_of(file), Some(&[]))?;
        let what = format!("an upload of {}", file.name);
        let begun = self.parsed(&what, reply, CreateMultipartUpload::parse_response)?;
        note.write(begun.upload_id(), &[])?;
        Ok((begun.upload_id().to_owned(), Vec::new()))
    }

    /// Whether an upload has neither ended nor been cleared away.
    fn is_under_way(&self, key: &str, id: &str) -> Result<bool> {
        let mut action = ListParts::new(&self.store, Some(&self.credentials), key, id);
        // The note has their tags; not every store lists them.
        action.set_max_parts(1);
        let reply = self.ask(action, &[], None)?;
        if reply.status == 404 {
            return Ok(false);
        }
        self.good("whether an upload is under way", reply)
            .map(|_| true)
    }

    /// Sends the parts that are not there.
    fn fill(
        &self,
        file: &File<'_>,
        key: &str,
        (note, id): (&Note, &str),
        parts: &mut Vec<Sent>,
        tell: &mut Tell<'_>,
    ) -> Result<()> {
        let what = format!("a part of {}", file.name);
        loop {
            let done = bytes_of(parts);
            let size = part_size(file.size).min(file.size.saturating_sub(done));
            if size == 0 {
                return Ok(());
            }
            let number = u16::try_from(parts.len() + 1)
                .map_err(|_| Error::request(format!("{} is too large", file.name)))?;
            let content = content(file, done, size)?;
            let reply = self.insist(&what, || {
                let mut action =
                    UploadPart::new(&self.store, Some(&self.credentials), key, number, id);
                let url = signed(&mut action, &[]);
                let mut part = Part::of(file, content.as_slice(), done, size, tell);
                self.web.send(method(&action), &url, &[], &mut part)
            })?;
            let reply = self.good(&what, reply)?;
            let tag = reply.headers.get("etag").and_then(|tag| tag.to_str().ok());
            parts.push(Sent {
                size,
                sha256: Sha256::of(&content),
                tag: tag.ok_or_else(|| self.refused(&what, &reply))?.to_owned(),
            });
            note.write(id, parts)?;
        }
    }

    /// Makes an object of an upload.
    fn complete(
        &self,
        file: &File<'_>,
        key: &str,
        (note, id): (&Note, &str),
        parts: &[Sent],
    ) -> Result<()> {
        let tags = parts.iter().map(|part| part.tag.as_str());
        let new = || {
            let tags = tags.clone();
            CompleteMultipartUpload::new(&self.store, Some(&self.credentials), key, id, tags)
        };
        let body = new().body();
        let completed = self.create(file, |condition| {
            let mut action = new();
            let url = signed(&mut action, condition);
            let reply = self.web.wait_for(Request {
                method: method(&action),
                url: &url,
                headers: condition,
                body: Some(body.as_bytes()),
            });
            reply.map(with_true_status)
        });
        let (completed, is_final) = match completed {
            Ok(Some(reply)) => {
                let is_final = will_not_be(&reply);
                let parse = CompleteMultipartUploadResponse::parse;
                (self.parsed(file.name, reply, parse).map(drop), is_final)
            }
            Ok(None) => (Ok(()), false),
            Err(error) => {
                let is_final = matches!(error, Error::PackageDiffers { .. });
                (Err(error), is_final)
            }
        };
        let Err(error) = completed else {
            return note.remove();
        };
        // It may have been done, and the answer be lost.
        if matches!(self.standing(file), Ok(Standing::Same)) {
            return note.remove();
        }
        if is_final {
            self.abort(key, note, id)?;
        }
        Err(error)
    }

    /// Gives an upload up, whose parts would take room, and forgets it.
    fn abort(&self, key: &str, note: &Note, id: &str) -> Result<()> {
        note.remove()?;
        let credentials = Some(&self.credentials);
        let action = self.store.abort_multipart_upload(credentials, key, id);
        // What is left of it is the store's to clear away, and not why this has failed.
        drop(self.ask(action, &[], None));
        Ok(())
    }

    /// Sends a file in parts.
    fn send_in_parts(&self, file: &File<'_>, key: &str, tell: &mut Tell<'_>) -> Result<()> {
        let note = Note::of(file, self.store.object_url(key).into())?;
        let (id, mut parts) = self.upload(file, key, &note, tell)?;
        self.fill(file, key, (&note, &id), &mut parts, tell)?;
        let now = open_at(&file.path, 0)?;
        let now = hash_file(&now).map_err(Error::io("read", &file.path))?;
        if agreeing(file, &parts)? < parts.len() || now != (file.sha256, file.size) {
            self.abort(key, &note, &id)?;
            return Err(file.has_changed());
        }
        self.complete(file, key, (&note, &id), &parts)
    }
}

/// So many bytes of a file from `start` on.
fn content(file: &File<'_>, start: u64, size: u64) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let from = open_at(&file.path, start)?;
    from.take(size)
        .read_to_end(&mut content)
        .map_err(Error::io("read", &file.path))?;
    if content.len() as u64 != size {
        return Err(file.has_changed());
    }
    Ok(content)
}

/// How many parts, from the first on, have the bytes that the file has now.
fn agreeing(file: &File<'_>, parts: &[Sent]) -> Result<usize> {
    let mut from = open_at(&file.path, 0)?;
    for (index, part) in parts.iter().enumerate() {
        let mut content = (&mut from).take(part.size);
        let (sha256, _) = hash_reader(&mut content).map_err(Error::io("read", &file.path))?;
        if sha256 != part.sha256 {
            return Ok(index);
        }
    }
    Ok(parts.len())
}

/// Whether a store has said that no object will be made of an upload.
fn will_not_be(reply: &Reply) -> bool {
    let body = String::from_utf8_lossy(&reply.body);
    let codes = [
        "NoSuchUpload",
        "InvalidPart",
        "InvalidPartOrder",
        "EntityTooSmall",
    ];
    element(&body, "Code").is_some_and(|code| codes.contains(&code))
}

/// Whether an upload could be completed is known after its status has gone out.
fn with_true_status(reply: Reply) -> Reply {
    let body = String::from_utf8_lossy(&reply.body);
    let code = element(&body, "Code").filter(|_| reply.status == 200);
    let status = match code {
        None => reply.status,
        Some("InternalError" | "ServiceUnavailable" | "SlowDown") => 503,
        Some(_) => 400,
    };
    Reply { status, ..reply }
}

fn bytes_of(parts: &[Sent]) -> u64 {
    parts.iter().map(|part| part.size).sum()
}

/// How large the parts of a file are, which is all that has to be known to go on.
fn part_size(size: u64) -> u64 {
    PART.max(size.div_ceil(PARTS))
}

/// The address of an action, signed with those of its headers that have to be.
fn signed<'a>(action: &mut impl S3Action<'a>, headers: &[(&str, String)]) -> String {
    for (name, value) in headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-amz-"))
    {
        action
            .headers_mut()
            .insert((*name).to_owned(), value.clone());
    }
    action.sign(VALID).into()
}

fn method<'a, T: S3Action<'a>>(_: &T) -> &'static str {
    T::METHOD.to_str()
}

/// What is said of a file: it never changes, and its digest.
fn headers_of(file: &File<'_>) -> [(&'static str, String); 3] {
    [
        ("Content-Type", "application/octet-stream".to_owned()),
        (
            "Cache-Control",
            "public, max-age=31536000, immutable".to_owned(),
        ),
        (DIGEST, file.sha256.to_string()),
    ]
}

/// The text of an element of an error, as stores answer it.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0)
}

impl Place for Bucket {
    fn address(&self) -> &str {
        &self.address
    }

    fn source(&self, _signed: bool) -> Source {
        Source {
            kind: "index",
            url: self.store.object_url(&self.prefix).into(),
        }
    }

    fn documents(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut action = ListObjectsV2::new(&self.store, Some(&self.credentials));
            action.with_prefix(self.prefix.as_str());
            action.with_delimiter("/");
            if let Some(token) = token {
                action.with_continuation_token(token);
            }
            let reply = self.ask(action, &[], None)?;
            let what = "the list of documents";
            let page = self.parsed(what, reply, ListObjectsV2::parse_response)?;
            let keys = page.contents.into_iter().map(|object| object.key);
            names.extend(keys.filter_map(|key| {
                let name = key.strip_prefix(&self.prefix)?;
                super::is_document(name).then(|| name.to_owned())
            }));
            token = page.next_continuation_token;
            if token.is_none() {
                return Ok(names);
            }
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let key = self.key(name);
        let action = self.store.get_object(Some(&self.credentials), &key);
        let reply = self.ask(action, &[], None)?;
        if reply.status == 404
            && element(&String::from_utf8_lossy(&reply.body), "Code") == Some("NoSuchKey")
        {
            return Ok(None);
        }
        let reply = self.good(name, reply)?;
        super::limited(name, reply.body.as_slice())
            .map(Some)
            .map_err(Error::io("read", name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let key = self.key(name);
        let headers = [
            ("Content-Type", "application/json".to_owned()),
            ("Cache-Control", "no-cache".to_owned()),
        ];
        let action = self.store.put_object(Some(&self.credentials), &key);
        self.good(name, self.ask(action, &headers, Some(bytes))?)
            .map(drop)
    }

    fn standing(&self, file: &File<'_>) -> Result<Standing> {
        let key = self.key_of(file)?;
        let action = self.store.head_object(Some(&self.credentials), &key);
        let reply = self.ask(action, &[], None)?;
        if reply.status == 404 {
            return Ok(Standing::Missing);
        }
        let reply = self.good(file.name, reply)?;
        let header = |name: &str| reply.headers.get(name)?.to_str().ok();
        let size = header("content-length").and_then(|size| size.parse().ok());
        if size != Some(file.size) {
            return Ok(Standing::Other);
        }
        // Something else may have put it there, which has noted no digest.
        let there = match header(DIGEST).and_then(|digest| digest.parse().ok()) {
            Some(digest) => digest,
            None => self.digest(&key, file.size)?,
        };
        Ok(if there == file.sha256 {
            Standing::Same
        } else {
            Standing::Other
        })
    }

    fn send(&self, file: &File<'_>, tell: &mut Tell<'_>) -> Result<()> {
        let key = self.key_of(file)?;
        if file.size <= PART {
            return self.send_whole(file, &key, tell);
        }
        self.send_in_parts(file, &key, tell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(to: &str, variables: &[(&str, &str)]) -> String {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let store = Named::parse(to).unwrap().store(&variable).unwrap();
        format!("{} {}", store.base_url(), store.region())
    }

    #[test]
    fn buckets_are_where_they_are_said_to_be() {
        for (to, variables, expected) in [
            (
                "s3://releases",
                &[][..],
                "https://releases.s3.us-east-1.amazonaws.com/ us-east-1",
            ),
            (
                "s3://releases/app?region=eu-west-1",
                &[("AWS_REGION", "eu-north-1")],
                "https://releases.s3.eu-west-1.amazonaws.com/ eu-west-1",
            ),
            (
                "s3://releases?region=cn-north-1",
                &[],
                "https://releases.s3.cn-north-1.amazonaws.com.cn/ cn-north-1",
            ),
            (
                "s3://releases.example.com/app",
                &[("AWS_DEFAULT_REGION", "eu-north-1")],
                "https://s3.eu-north-1.amazonaws.com/releases.example.com/ eu-north-1",
            ),
            (
                "s3://releases?endpoint=http://127.0.0.1:9000",
                &[("AWS_ENDPOINT_URL", "http://elsewhere")],
                "http://127.0.0.1:9000/releases/ us-east-1",
            ),
            (
                "s3://releases",
                &[("AWS_ENDPOINT_URL_S3", "https://store.example.com")],
                "https://store.example.com/releases/ us-east-1",
            ),
            (
                "s3://releases?endpoint=https://releases.oss-cn-hangzhou.aliyuncs.com&region=cn-hangzhou",
                &[],
                "https://releases.oss-cn-hangzhou.aliyuncs.com/ cn-hangzhou",
            ),
        ] {
            assert_eq!(base(to, variables), expected, "{to}");
        }
    }

    #[test]
    fn what_names_no_bucket_is_refused() {
        for to in [
            "s3://",
            "s3:///app",
            "s3://releases/../app",
            "s3://releases/a//b",
            "s3://releases?acl=public",
            "s3://releases?endpoint",
        ] {
            let error = Named::parse(to).unwrap_err();
            assert_eq!(error.code(), "REQUEST_INVALID", "{to}");
        }
        let endpoint = Named::parse("s3://releases?endpoint=ftp://store").unwrap();
        endpoint.store(&|_| None).unwrap_err();
    }

    #[test]
    fn parts_are_few_enough() {
        assert_eq!(part_size(PART + 1), PART);
        for size in [PARTS * PART + 1, 5 << 40] {
            assert!(size.div_ceil(part_size(size)) <= PARTS);
        }
    }
}
