//! Brings a package to disk, and proves that it is the one that was announced.
//!
//! The bytes go to `<digest>.part`, which a break leaves behind: the next attempt, in this process
//! or in a later one, asks for the rest (`Range`, RFC 9110, section 14). They are hashed on their
//! way; what an earlier process left is hashed once. Beside it, `<digest>.part.json` holds the
//! validator for `If-Range`, so that a file that was replaced on the server comes whole.
//!
//! Promises: a [`Fetched`] holds the handle whose bytes were hashed, and their digest is the
//! package's, where one is announced (one without is fetched in one go, and never resumed); never more bytes on disk than announced or allowed; memory does not grow with the
//! package; no file's name comes from a server; servers that get ranges wrong cost bytes, never a
//! wrong file, because the digest has the last word.
//!
//! Not promised: that a finished package survives a power cut. It is hashed again before it is
//! used again, so nothing is synced here. Free space is the caller's to check, but where only the
//! server's answer says how much is needed; a part that fills the disk all the same is removed.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::http::header::{self, HeaderMap, HeaderValue};

use super::aside::LeftBehind;
use super::client::Reply;
use super::stall::STALLED;
use super::{Client, local};
use crate::progress::{Event, Observer};
use crate::release::Package;
use crate::steps::{self, Step};
use crate::trust::{Hasher, Sha256, hash_file};
use crate::{Code, Error, Result, disk, record};

/// Waits double up to this: beyond it, the next start is as good a time as any.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// A server that asks for more patience than this is not asked again now: nobody sits that long
/// before an app that could be started, and asking earlier would be what the server forbade.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(1);

/// A smaller `chunk_size` would make system calls the larger part of the work.
const SMALLEST_CHUNK: usize = 4 * 1024;

/// A part's description is a few hundred bytes; whatever is larger is not ours.
const ORIGIN_LIMIT: u64 = 64 * 1024;

/// A package on disk whose digest is what was announced.
#[derive(Debug)]
pub struct Fetched {
    /// The handle that was hashed, at its start.
    pub file: File,
    /// Where it lies.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

/// Half of the digest: enough to be unique, short enough for every file system's paths.
pub(super) fn file_stem(package: &Package) -> String {
    let mut digest = package.id().to_string();
    digest.truncate(32);
    digest
}

/// What a package is called when it is whole.
pub(super) fn finished_name(package: &Package) -> String {
    format!("{}.package", file_stem(package))
}

/// Removes from `folder` what was fetched of other packages: releases that were replaced before
/// they were whole.
pub fn clear_others(folder: &Path, package: &Package) -> Result<()> {
    let stem = file_stem(package);
    clear_all_but(folder, &|name| name.starts_with(&stem))
}

/// Removes from `folder` what has none of these names.
pub(super) fn clear_all_but(folder: &Path, keep: &dyn Fn(&str) -> bool) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        if !keep(&entry.file_name().to_string_lossy()) {
            disk::remove_file(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether a package lies in `folder` whole, as its size says.
pub fn lies_in(folder: &Path, package: &Package) -> bool {
    fs::symlink_metadata(finished_path(folder, package))
        .is_ok_and(|found| found.is_file() && package.size.is_none_or(|size| size == found.len()))
}

/// How many bytes of a package that lies in `folder` are still to be fetched, if its size is known.
pub fn missing(folder: &Path, package: &Package) -> u64 {
    if lies_in(folder, package) {
        return 0;
    }
    let there = fs::metadata(part_path(folder, package)).map_or(0, |part| part.len());
    package.size.unwrap_or(0).saturating_sub(there)
}

fn part_path(folder: &Path, package: &Package) -> PathBuf {
    folder.join(format!("{}.part", file_stem(package)))
}

/// A package that was fetched into `folder` before, hashed again. One that is not what it should be
/// is removed.
pub fn at_hand(folder: &Path, package: &Package) -> Result<Option<Fetched>> {
    reuse(&finished_path(folder, package), package)
}

pub(crate) fn finished_path(folder: &Path, package: &Package) -> PathBuf {
    folder.join(finished_name(package))
}

/// Fetches a package into `folder`, unless it is there already; from its next mirror, where it cannot
/// be had from the one before, or is something else there. The error is then that of the first.
///
/// Repeats what may pass (connections, stalls, 408, 425, 429, 5xx) as often as `network.retries`
/// says. On a break the part stays for the next start; bytes with a wrong digest or size do not.
///
/// Fails with `SOURCE_UNREACHABLE`, `HTTP_STATUS`, `DOWNLOAD_FAILED`, `DOWNLOAD_STALLED`,
/// `SIZE_MISMATCH`, `TOO_LARGE`, `HASH_MISMATCH`, `INSECURE_URL`, `REDIRECT_REFUSED`, and with what
/// the disk says.
pub fn download(
    client: &Client,
    package: &Package,
    folder: &Path,
    observer: &dyn Observer,
) -> Result<Fetched> {
    if let Some(size) = package.size {
        check_limit(client, &package.url, size)?;
    }
    disk::create_folders(folder)?;
    let finished = finished_path(folder, package);
    if let Some(fetched) = reuse(&finished, package)? {
        record::debug!("{} is there already", finished.display());
        return Ok(fetched);
    }
    let mut first = None;
    for url in std::iter::once(&package.url).chain(&package.mirrors) {
        let there = Package {
            url: url.clone(),
            ..package.clone()
        };
        let mut part = Part::open(part_path(folder, package))?;
        match fill(client, &there, &mut part, observer) {
            Ok(()) => return part.finish(finished, package),
            Err(error) if first.is_none() && is_the_disks(&error) => return Err(error),
            Err(error) => {
                record::warn!("{}", error.chain());
                first.get_or_insert(error);
            }
        }
    }
    // There is one address at least.
    Err(first.unwrap_or_else(|| Error::Internal {
        what: "a package without an address".to_owned(),
    }))
}

/// Whether an error is none of the server's, so that no other server would help.
fn is_the_disks(error: &Error) -> bool {
    matches!(
        error.code(),
        Code::DiskFull | Code::PermissionDenied | Code::Io | Code::FileInUse | Code::Internal
    )
}

/// Fetches a package from its first address until the part is whole.
fn fill(
    client: &Client,
    package: &Package,
    part: &mut Part,
    observer: &dyn Observer,
) -> Result<()> {
    steps::reach(Step::FetchOpened)?;
    if part.length > package.size.unwrap_or(client.network.max_package_size) {
        part.clear()?;
    }
    let attempts = client.network.retries.saturating_add(1);
    let mut attempt = 1;
    let mut started_over = false;
    loop {
        let error = match fetch(client, package, part, observer) {
            Ok(sent_as) => {
                let got = part.digest();
                let Some(expected) = package.sha256.filter(|announced| *announced != got) else {
                    return steps::reach(Step::FetchVerified);
                };
                if part.resumed && !started_over {
                    // Two files may have been joined, or the disk may have lost something.
                    record::warn!("{}: wrong digest after a resume, once more", package.url);
                    started_over = true;
                    part.clear()?;
                    continue;
                }
                part.remove()?;
                return Err(Error::HashMismatch {
                    subject: sent_as,
                    expected: expected.to_string(),
                    got: got.to_string(),
                });
            }
            Err(error) => error,
        };
        let wait = wait_before(client.first_wait, attempt, &error);
        let Some(wait) = wait.filter(|_| attempt < attempts) else {
            return Err(error);
        };
        attempt += 1;
        record::info!(
            "attempt {attempt} of {attempts} in {wait:?}: {}",
            error.chain()
        );
        observer.event(&Event::Retry {
            attempt,
            of: attempts,
            wait,
            error: &error,
        });
        thread::sleep(wait);
    }
}

/// A package that an earlier run has finished.
fn reuse(path: &Path, package: &Package) -> Result<Option<Fetched>> {
    let Some(length) = plain_length(path)? else {
        return Ok(None);
    };
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let (sha256, size) = match package.size {
        Some(size) if size != length => (None, length),
        _ => {
            let (sha256, size) = hash_file(&file).map_err(Error::io("read", path))?;
            (Some(sha256), size)
        }
    };
    let expected = package.sha256.or_else(|| found_digest(path));
    let Some(sha256) = sha256.filter(|_| sha256 == expected) else {
        drop(file);
        disk::remove_file(path)?;
        return Ok(None);
    };
    file.rewind().map_err(Error::io("read", path))?;
    Ok(Some(Fetched {
        file,
        path: path.to_path_buf(),
        sha256,
        size,
    }))
}

/// Where the digest of a finished package is noted of which none was announced.
fn digest_path(finished: &Path) -> PathBuf {
    finished.with_added_extension("sha256")
}

fn found_digest(finished: &Path) -> Option<Sha256> {
    let text = fs::read_to_string(digest_path(finished)).ok()?;
    text.parse().ok()
}

/// The length of an ordinary file. Whatever else has its name is removed: a link could lead the
/// bytes to where they do not belong.
fn plain_length(path: &Path) -> Result<Option<u64>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
        Ok(_) => disk::remove_file(path).map(|()| None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// One attempt: asks, and appends what comes. Returns when the answer ended as announced, with
/// the words that name it in an error.
fn fetch(
    client: &Client,
    package: &Package,
    part: &mut Part,
    observer: &dyn Observer,
) -> Result<String> {
    if package.sha256 == Some(part.digest()) {
        return Ok(package.url.clone());
    }
    let by_md5 = package.sha256.is_none() && package.md5.is_some();
    if by_md5 && part.length > 0 && package.size == Some(part.length) {
        return Ok(package.url.clone());
    }
    if package.sha256.is_none() && !by_md5 {
        // Nothing would tell whether its beginning and the rest are of one file.
        part.clear()?;
    }
    if package.size == Some(part.length) {
        part.clear()?;
    }
    if let Some(path) = local::path_of(&package.url) {
        return copy(client, package, path, part, observer);
    }
    let origin = part.origin(&package.url);
    let mut reply = ask(client, package, part, origin.as_ref())?;
    let mut range = None;
    if part.length > 0 {
        range = continued(&reply, part.length, package.size, origin.as_ref());
        // Neither the rest nor the whole file; 416, too, comes from another file than ours.
        if range.is_none() && matches!(reply.status(), 206 | 416) {
            record::info!("{} cannot be resumed, starting over", package.url);
            part.clear()?;
            reply = ask(client, package, part, None)?;
        }
    }
    if range.is_none() && reply.status() != 200 {
        return Err(Error::HttpStatus {
            url: reply.url.to_string(),
            status: reply.status(),
            retry_after: reply.retry_after(),
        });
    }
    let subject = describe(&reply);
    let announced = match range {
        Some(range) => Some(range.total),
        None => reply.response.body().content_length(),
    };
    // Before anything is overwritten: a login page must not cost what was fetched yesterday.
    if let Some(total) = announced {
        check_limit(client, &subject, total)?;
        check_size(&subject, package, total)?;
        // What is there already is either kept or makes room. The caller could not ask for room
        // when the release does not say how large its package is.
        disk::need_space(&part.path, total.saturating_sub(part.length))?;
    }
    if range.is_some() {
        part.resumed = true;
    } else {
        part.restart(&Origin::of(&package.url, &reply))?;
    }

    let total = package.size.or(announced);
    observer.event(&Event::Total {
        bytes: total,
        done: part.length,
    });
    let url = reply.url.to_string();
    let body = &mut reply.response.body_mut().as_reader();
    receive(client, &url, body, part, observer, total, &subject)?;
    match total {
        Some(total) if part.length < total => {
            let chunked = reply.header(header::TRANSFER_ENCODING).is_some();
            if chunked && range.is_none() {
                // The server ended the body in due form, so this is all there is.
                part.remove()?;
                check_size(&subject, package, part.length)?;
            }
            // A body that ends with its connection cannot be told from one that broke.
            let length = part.length;
            Err(Error::DownloadFailed {
                url: package.url.clone(),
                received: length,
                source: format!("{subject} ended after {length} of {total} bytes").into(),
            })
        }
        _ => Ok(subject),
    }
}

/// The same from a folder. A part that is there is gone on with: the digest decides.
fn copy(
    client: &Client,
    package: &Package,
    path: &Path,
    part: &mut Part,
    observer: &dyn Observer,
) -> Result<String> {
    let url = &package.url;
    let unreachable = |error: io::Error| Error::Unreachable {
        url: url.clone(),
        source: error.into(),
    };
    let patience = client.network.stall_timeout;
    let (mut file, total) =
        local::Reader::open(path, part.length, patience).map_err(unreachable)?;
    check_limit(client, url, total)?;
    check_size(url, package, total)?;
    disk::need_space(&part.path, total.saturating_sub(part.length))?;
    part.resumed = part.length > 0;
    observer.event(&Event::Total {
        bytes: Some(total),
        done: part.length,
    });
    receive(client, url, &mut file, part, observer, Some(total), url)?;
    Ok(url.clone())
}

/// Sends the request, for the rest when there is a part.
fn ask(client: &Client, package: &Package, part: &Part, origin: Option<&Origin>) -> Result<Reply> {
    let mut headers = HeaderMap::new();
    let mut set = |name, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    if let Some(accept) = client.accept(&package.url) {
        set(header::ACCEPT, accept);
    }
    if part.length > 0 {
        set(header::RANGE, &format!("bytes={}-", part.length));
        if let Some(validator) = origin.and_then(Origin::validator) {
            set(header::IF_RANGE, validator);
        }
    }
    client
        .send(&package.url, &headers, None)
        .map_err(|error| match error {
            Error::DownloadStalled { url, seconds, .. } => Error::DownloadStalled {
                url,
                received: part.length,
                seconds,
            },
            error => error,
        })
}

/// What a 206 brings.
#[derive(Clone, Copy)]
struct Range {
    total: u64,
}

/// The range of an answer that continues the part, if it does so exactly.
fn continued(
    reply: &Reply,
    length: u64,
    size: Option<u64>,
    origin: Option<&Origin>,
) -> Option<Range> {
    if reply.status() != 206 {
        return None;
    }
    // In bytes: what is no text of ASCII is there all the same.
    let bytes = |name| {
        reply
            .response
            .headers()
            .get(name)
            .map(HeaderValue::as_bytes)
    };
    // A compressed range is a range of another file.
    let encoding = bytes(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return None;
    }
    let known = origin.and_then(|origin| origin.etag.as_deref());
    let etag = bytes(header::ETAG);
    if known.is_some() && etag.is_some() && known.map(str::as_bytes) != etag {
        return None;
    }
    let range = reply
        .header(header::CONTENT_RANGE)?
        .strip_prefix("bytes ")?;
    let (range, total) = range.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    // Digits alone: Rust takes a sign as well.
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_: &u64| digits)
    };
    let (first, last, total) = (number(first)?, number(last)?, number(total)?);
    let fits = first == length && first <= last && last < total;
    (fits && size.is_none_or(|size| size == total)).then_some(Range { total })
}

/// [`continued`] for a fuzzer (`crate::fuzzing`), which has no server.
#[cfg(fuzzing)]
pub(crate) fn resumed(
    reply: &Reply,
    length: u64,
    size: Option<u64>,
    etag: Option<String>,
) -> Option<u64> {
    let origin = Origin {
        url: reply.url.to_string(),
        etag,
        last_modified: None,
    };
    continued(reply, length, size, Some(&origin)).map(|range| range.total)
}

/// Appends the body to the part.
fn receive(
    client: &Client,
    url: &str,
    body: &mut dyn Read,
    part: &mut Part,
    observer: &dyn Observer,
    total: Option<u64>,
    subject: &str,
) -> Result<()> {
    let received = append_all(client, url, body, part, observer, total, subject);
    // A part that fills the disk would leave the app that starts now no room to work.
    if received.as_ref().is_err_and(|error| {
        matches!(
            error.code(),
            Code::SizeMismatch | Code::TooLarge | Code::DiskFull
        )
    }) {
        part.remove()?;
    }
    received
}

fn append_all(
    client: &Client,
    url: &str,
    body: &mut dyn Read,
    part: &mut Part,
    observer: &dyn Observer,
    total: Option<u64>,
    subject: &str,
) -> Result<()> {
    let mut block = vec![0; client.network.chunk_size.max(SMALLEST_CHUNK)];
    loop {
        let mut filled = 0;
        let ended = loop {
            match body.read(&mut block[filled..]) {
                Ok(0) => break Some(Ok(())),
                Ok(count) => {
                    filled += count;
                    observer.event(&Event::Position(part.length + filled as u64));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(Err(error)),
            }
            if filled == block.len() {
                break None;
            }
        };
        let length = part.length + filled as u64;
        match total {
            Some(total) if length > total => {
                return Err(Error::SizeMismatch {
                    subject: subject.to_owned(),
                    expected: total,
                    got: length,
                });
            }
            _ => check_limit(client, subject, length)?,
        }
        // What came before a break counts, too.
        if filled > 0 {
            part.append(&block[..filled])?;
            steps::reach(Step::FetchBlock)?;
        }
        match ended {
            None => {}
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => {
                let received = part.length;
                let from_folder = local::path_of(url).is_some();
                let url = url.to_owned();
                return Err(match ureq::Error::from(error) {
                    ureq::Error::Timeout(STALLED) => Error::DownloadStalled {
                        url,
                        received,
                        seconds: client.network.stall_timeout.as_secs(),
                    },
                    ureq::Error::Io(error)
                        if from_folder && error.kind() == io::ErrorKind::TimedOut =>
                    {
                        Error::DownloadStalled {
                            url,
                            received,
                            seconds: client.network.stall_timeout.as_secs(),
                        }
                    }
                    ureq::Error::Io(error) => Error::DownloadFailed {
                        url,
                        received,
                        source: error.into(),
                    },
                    error => Error::DownloadFailed {
                        url,
                        received,
                        source: error.into(),
                    },
                });
            }
        }
    }
}

/// Refuses what is larger than the configuration allows.
pub(super) fn check_limit(client: &Client, subject: &str, size: u64) -> Result<()> {
    let limit = client.network.max_package_size;
    if size <= limit {
        return Ok(());
    }
    Err(Error::TooLarge {
        subject: subject.to_owned(),
        limit: format!("{limit} bytes"),
    })
}

fn check_size(subject: &str, package: &Package, got: u64) -> Result<()> {
    match package.size {
        Some(expected) if expected != got => Err(Error::SizeMismatch {
            subject: subject.to_owned(),
            expected,
            got,
        }),
        _ => Ok(()),
    }
}

/// An answer in words: a web page in a package's place is the commonest reason for a wrong digest.
fn describe(reply: &Reply) -> String {
    match reply.header(header::CONTENT_TYPE) {
        Some(kind) => format!("{} (sent as {kind})", reply.url),
        None => reply.url.to_string(),
    }
}

/// How long to wait before the next attempt; `None`: there is no point in one.
fn wait_before(first: Duration, attempt: u32, error: &Error) -> Option<Duration> {
    let asked = match error {
        // Each attempt would leave a thread behind.
        Error::DownloadStalled { url, .. } if local::path_of(url).is_some() => return None,
        Error::DownloadFailed { .. } | Error::DownloadStalled { .. } => None,
        Error::Unreachable { url, source }
            if local::path_of(url).is_none()
                && !is_certificate(source.as_ref())
                && !is_left_behind(source.as_ref()) =>
        {
            None
        }
        Error::HttpStatus {
            status: 408 | 425 | 429 | 500..=599,
            retry_after,
            ..
        } => *retry_after,
        _ => return None,
    };
    if asked.is_some_and(|wait| wait > LONGEST_RETRY_AFTER) {
        return None;
    }
    let doubled = first
        .saturating_mul(1 << (attempt - 1).min(16))
        .min(LONGEST_WAIT);
    // Between half and all of it, at random: clients that a server lost together do not come
    // back together. A fresh `RandomState` is the standard library's only source of chance.
    let chance = RandomState::new().build_hasher().finish() % 1000;
    let wait = doubled / 2 + doubled / 2 * u32::try_from(chance).unwrap_or(0) / 1000;
    Some(wait.max(asked.unwrap_or_default()))
}

/// Whether the system held the request up for longer than any server may: it would do so again.
fn is_left_behind(source: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let inner = source
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<LeftBehind>)
}

/// Whether a certificate was refused: asking again will not mend it.
fn is_certificate(source: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let inner = source
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    let rustls = match source.downcast_ref::<ureq::Error>() {
        Some(ureq::Error::Rustls(error)) => Some(error),
        _ => inner,
    };
    matches!(
        rustls,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::General(_))
    )
}

/// Where a part came from.
#[derive(Debug, Serialize, Deserialize)]
struct Origin {
    url: String,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Origin {
    fn of(url: &str, reply: &Reply) -> Self {
        Self {
            url: url.to_owned(),
            etag: reply.header(header::ETAG).map(str::to_owned),
            last_modified: reply.header(header::LAST_MODIFIED).map(str::to_owned),
        }
    }

    /// What `If-Range` may hold: weak ETags are forbidden there (RFC 9110, section 13.1.5).
    fn validator(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }
}

/// The part of a package that is on disk.
struct Part {
    file: File,
    path: PathBuf,
    /// Of all its bytes.
    hasher: Hasher,
    length: u64,
    /// Whether it was joined from more than one answer.
    resumed: bool,
}

impl Part {
    /// Opens what an earlier attempt left, or an empty part.
    fn open(path: PathBuf) -> Result<Self> {
        plain_length(&path)?;
        let file = disk::open_part(&path)?;
        let mut part = Self {
            file,
            path,
            hasher: Hasher::default(),
            length: 0,
            resumed: false,
        };
        let mut block = vec![0; 128 * 1024];
        loop {
            match part.file.read(&mut block) {
                Ok(0) => return Ok(part),
                Ok(count) => {
                    part.hasher.update(&block[..count]);
                    part.length += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &part.path)(error)),
            }
        }
    }

    fn digest(&self) -> Sha256 {
        self.hasher.clone().finish()
    }

    fn origin_path(&self) -> PathBuf {
        self.path.with_added_extension("json")
    }

    /// What is known of the present bytes, if they came from `url`: a validator of another address
    /// says nothing about this one. Whatever cannot be read is as good as nothing: the part is then
    /// resumed without a condition, and the digest decides.
    fn origin(&self, url: &str) -> Option<Origin> {
        let file = File::open(self.origin_path()).ok()?;
        let mut json = Vec::new();
        file.take(ORIGIN_LIMIT).read_to_end(&mut json).ok()?;
        let origin: Origin = serde_json::from_slice(&json).ok()?;
        (origin.url == url).then_some(origin)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(Error::io("write", &self.path))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Throws all bytes away.
    fn clear(&mut self) -> Result<()> {
        disk::empty(&self.file, &self.path)?;
        self.hasher = Hasher::default();
        self.length = 0;
        self.resumed = false;
        Ok(())
    }

    /// Begins anew with bytes from `origin`. In this order: a description may outlive its bytes,
    /// not the other way about.
    fn restart(&mut self, origin: &Origin) -> Result<()> {
        self.clear()?;
        if origin.validator().is_none() {
            return disk::remove_file(&self.origin_path());
        }
        let json = serde_json::to_vec(origin).map_err(|error| Error::Internal {
            what: format!("a part's description: {error}"),
        })?;
        disk::write_atomic(&self.origin_path(), &json)
    }

    /// Removes the part from the disk.
    fn remove(&self) -> Result<()> {
        disk::remove_file(&self.path)?;
        disk::remove_file(&self.origin_path())
    }

    /// Gives the whole package its name.
    fn finish(mut self, path: PathBuf, package: &Package) -> Result<Fetched> {
        let sha256 = self.digest();
        if package.sha256.is_none() {
            disk::write_atomic(&digest_path(&path), sha256.to_string().as_bytes())?;
        }
        disk::rename(&self.path, &path)?;
        steps::reach(Step::FetchNamed)?;
        disk::remove_file(&self.origin_path())?;
        self.file.rewind().map_err(Error::io("read", &path))?;
        Ok(Fetched {
            file: self.file,
            path,
            sha256,
            size: self.length,
        })
    }
}
