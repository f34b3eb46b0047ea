//! What makes a release trustworthy: digests, signatures, and the rules against being led back or
//! held still.
//!
//! There are three levels. Without pinned keys, a release is what the source says over https, and
//! its digest is the source's too. With keys, it is what a release document says that enough of them
//! have signed. Where the source has an index, that index says which release is current: it has a
//! number that never goes back, and an expiry.
//!
//! Promises:
//!
//! - A [`Trusted`] release exists only when [`Trust`] has let it pass, and a [`Verified`] package only
//!   when its bytes were hashed and the digest was the release's; it hands on the very file handle
//!   that was hashed, so that nothing can be swapped between the hash and the use.
//! - With keys pinned, what is not signed is refused. No error of a verifier is a success.
//! - Keys are followed from N to N+1 only, each signed by both, and what was learnt of them stays
//!   learnt, whatever becomes of the rest.
//! - Nothing is remembered that was not verified, so that what an attacker sends is never the reason
//!   to refuse what the publisher sends.
//!
//! Not promised: protection from who can write to the client folder or replace the launcher. What is
//! remembered (`trust.json`) is verified again from the pinned keys when it is read, but its removal
//! makes a launcher forget.

mod digest;
pub mod document;
mod envelope;
mod key;
mod memory;

pub use digest::{Hasher, Sha256, hash_file, hash_reader};
pub use envelope::{Envelope, enclose, seal};
pub use key::{MOST_KEYS, PublicKey, Role};

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Deref;

use chrono::{DateTime, TimeDelta, Utc};

use self::document::{
    INDEX_LIMIT, Index, KEYS_LIMIT, Keys, Pointer, RELEASE_LIMIT, ReleaseDocument, SignedPackage,
    index_name, keys_name,
};
use self::memory::Memory;
use crate::config::{Config, TrustConfig};
use crate::fetch::Fetched;
use crate::layout::locks::StateLock;
use crate::release::{Package, Release, fits_system, target};
use crate::state::ClientFolder;
use crate::{Error, Result, record};

/// A package that is what its release announced, and the very file that was hashed.
#[must_use = "a verified package is not installed"]
#[derive(Debug)]
pub struct Verified {
    file: File,
}

impl Verified {
    /// The file, at its start.
    pub fn into_file(self) -> File {
        self.file
    }
}

/// Compares what was fetched with what was announced.
pub fn verify(fetched: Fetched, package: &Package) -> Result<Verified> {
    if let Some(expected) = package.size.filter(|expected| *expected != fetched.size) {
        let subject = package.url.clone();
        return Err(Error::SizeMismatch {
            subject,
            expected,
            got: fetched.size,
        });
    }
    if let Some(expected) = package
        .sha256
        .filter(|expected| *expected != fetched.sha256)
    {
        return Err(Error::HashMismatch {
            subject: package.url.clone(),
            expected: expected.to_string(),
            got: fetched.sha256.to_string(),
        });
    }
    if package.sha256.is_none() && package.md5.is_some() {
        return Err(Error::Internal {
            what: "a package that nobody has compared with its MD5".to_owned(),
        });
    }
    Ok(Verified { file: fetched.file })
}

/// How much speaks for a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The source's word and its digest.
    Digest,
    /// The signatures of its document.
    Release,
    /// The signatures of its document, and those of the index that says it is current.
    Index,
}

impl Level {
    /// The word for it in `--json`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Release => "release",
            Self::Index => "index",
        }
    }
}

/// A release that may be installed, as far as the keys are concerned.
#[derive(Clone, Debug)]
pub struct Trusted {
    release: Release,
    level: Level,
}

impl Trusted {
    /// How much speaks for it.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The release itself.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// Takes the announced launcher out of it.
    pub(crate) fn take_launcher(&mut self) -> Option<Package> {
        self.release.launcher.take()
    }
}

impl Deref for Trusted {
    type Target = Release;

    fn deref(&self) -> &Release {
        &self.release
    }
}

/// As many steps from one set of keys to the next are taken in one check. Nobody changes keys that
/// often; who is further behind goes on at the next check.
const MOST_STEPS: usize = 32;

/// How far ahead of the clock an index may have been signed: two clocks may differ, and zones be
/// mistaken.
const AHEAD: TimeDelta = TimeDelta::days(1);

/// An index that was verified, and the digest of its payload.
#[derive(Debug)]
struct Seen {
    index: Index,
    sha256: Sha256,
}

/// Whom to believe, and what is known already: the rules that decide what becomes [`Trusted`].
#[derive(Debug)]
pub struct Trust {
    app: String,
    channel: String,
    /// The kind of machine whose packages are meant.
    target: String,
    /// Whether the source has an index, without which nothing counts then.
    indexed: bool,
    /// `None`: no keys are pinned.
    keys: Option<Keys>,
    /// How many sets of keys were followed in this check.
    steps: usize,
    /// The newest index of each channel.
    seen: BTreeMap<String, Seen>,
    memory: Memory,
    /// The memory as it is on the disk.
    kept: Memory,
    /// The system's clock, or when this executable was built, whichever is later.
    now: DateTime<Utc>,
}

/// What is believed before anything is learnt.
#[derive(Clone, Copy, Debug)]
pub struct Anchor<'a> {
    /// The app whose releases are meant.
    pub app: &'a str,
    /// The channel to follow.
    pub channel: &'a str,
    /// Whether the source has an index, without which nothing counts then.
    pub indexed: bool,
    /// The keys that are pinned; `None`: nothing has to be signed.
    pub pinned: Option<&'a TrustConfig>,
}

impl<'a> Anchor<'a> {
    /// What a configuration says.
    pub fn of(config: &'a Config) -> Self {
        Self {
            app: &config.app,
            channel: &config.channel,
            indexed: config.source.kind.has_index(),
            pinned: config.trust.as_ref(),
        }
    }
}

impl Trust {
    /// Nothing is learnt yet. `now` is the system's clock.
    pub fn new(anchor: &Anchor<'_>, now: DateTime<Utc>) -> Self {
        Self {
            app: anchor.app.to_owned(),
            channel: anchor.channel.to_owned(),
            target: target(),
            indexed: anchor.indexed,
            keys: anchor.pinned.map(Keys::pinned),
            steps: 0,
            seen: BTreeMap::new(),
            memory: Memory::default(),
            kept: Memory::default(),
            now: now.max(built()),
        }
    }

    /// The same for another kind of machine than this one, whose system is not known here: to see
    /// what a launcher there would do.
    #[must_use]
    pub fn for_target(self, target: &str) -> Self {
        Self {
            target: target.to_owned(),
            ..self
        }
    }

    /// The same with what was learnt in a client folder: the keys are followed again from those that
    /// are pinned. What does not follow from them counts as never learnt.
    pub fn load(anchor: &Anchor<'_>, folder: &ClientFolder, now: DateTime<Utc>) -> Result<Self> {
        let mut trust = Self::new(anchor, now);
        if trust.keys.is_none() {
            return Ok(trust);
        }
        let Some(kept) = Memory::load(folder)? else {
            return Ok(trust);
        };
        match trust.learn_again(&kept) {
            Ok(()) => trust.kept = kept,
            Err(error) => {
                record::warn!(
                    "what was learnt does not follow from the keys: {}",
                    error.chain()
                );
                trust = Self::new(anchor, now);
            }
        }
        Ok(trust)
    }

    fn learn_again(&mut self, kept: &Memory) -> Result<()> {
        for document in &kept.keys {
            self.follow(document.as_bytes())?;
        }
        self.steps = 0;
        for (channel, document) in &kept.indexes {
            let subject = index_name(channel);
            let (index, sha256) = self.read_index(document.as_bytes(), &subject, channel)?;
            self.seen.insert(channel.clone(), Seen { index, sha256 });
        }
        self.memory = kept.clone();
        Ok(())
    }

    /// Keeps what was learnt since it was [loaded](Trust::load), if anything was.
    ///
    /// Fails with `TRUST_ROLLED_BACK`, and knows better from then on, where another launcher has learnt
    /// meanwhile what makes the answer an old one.
    pub(crate) fn keep(&mut self, anchor: &Anchor<'_>, folder: &ClientFolder) -> Result<()> {
        if self.memory == self.kept {
            return Ok(());
        }
        let _lock = StateLock::take(folder)?;
        // Another launcher may have learnt more meanwhile, which must not be lost.
        let mut latest = Self::load(anchor, folder, self.now)?;
        let overtaken = if latest.memory == self.kept {
            None
        } else {
            latest.learn_more(&self.memory);
            let overtaken = self.overtaken_by(&latest);
            *self = latest;
            overtaken
        };
        self.memory.save(folder)?;
        self.kept = self.memory.clone();
        overtaken.map_or(Ok(()), Err)
    }

    /// What speaks against an answer that was judged by this, where somebody knows more.
    fn overtaken_by(&self, latest: &Self) -> Option<Error> {
        let number = |trust: &Self| trust.keys.as_ref().map_or(0, |keys| keys.number);
        let seq = |trust: &Self| trust.last_index().map_or(0, |index| index.seq);
        let (subject, seq, known) = if number(self) < number(latest) {
            (keys_name(number(self)), number(self), number(latest))
        } else if seq(self) < seq(latest) {
            (index_name(&self.channel), seq(self), seq(latest))
        } else {
            return None;
        };
        Some(Error::TrustRolledBack {
            subject,
            seq,
            known,
        })
    }

    /// Learns whatever is news of what was learnt elsewhere.
    pub(crate) fn learn_from(&mut self, other: &Self) {
        if self.is_pinned() {
            self.learn_more(&other.memory);
            self.steps = 0;
        }
    }

    /// Learns from what somebody else has learnt whatever is news. That an index has expired since
    /// makes its number no smaller.
    fn learn_more(&mut self, other: &Memory) {
        for document in other.keys.iter().skip(self.memory.keys.len()) {
            if self.follow(document.as_bytes()).is_err() {
                return;
            }
        }
        let channel = self.channel.clone();
        let Some(document) = other.indexes.get(&channel) else {
            return;
        };
        let subject = index_name(&channel);
        let Ok((index, sha256)) = self.read_index(document.as_bytes(), &subject, &channel) else {
            return;
        };
        if self
            .last_index()
            .is_some_and(|known| known.seq >= index.seq)
        {
            return;
        }
        let indexes = &mut self.memory.indexes;
        indexes.insert(channel.clone(), document.clone());
        let releases = &mut self.memory.releases;
        match other.releases.get(&channel) {
            Some(release) => releases.insert(channel.clone(), release.clone()),
            None => releases.remove(&channel),
        };
        self.seen.insert(channel, Seen { index, sha256 });
    }

    /// Whether anything has to be signed.
    pub fn is_pinned(&self) -> bool {
        self.keys.is_some()
    }

    /// The keys that count now, where any are pinned.
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// The channel whose index is asked for.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The newest index of the channel that was ever let pass. It may have expired since.
    pub fn last_index(&self) -> Option<&Index> {
        self.seen.get(&self.channel).map(|seen| &seen.index)
    }

    /// The latest of the system's clock, the time of this build, and what was signed last.
    fn clock(&self) -> DateTime<Utc> {
        let issued = self.seen.values().map(|seen| seen.index.issued).max();
        issued.map_or(self.now, |issued| issued.max(self.now))
    }

    /// Lets a release pass that nobody has signed, where nothing has to be.
    pub fn unsigned(&self, release: Release) -> Result<Trusted> {
        if self.is_pinned() {
            return Err(Error::TrustUnsigned {
                subject: format!("version {}", release.version),
                problem: "it comes without a signed document",
            });
        }
        Ok(Trusted {
            release,
            level: Level::Digest,
        })
    }

    fn pinned_keys(&self) -> Result<&Keys> {
        self.keys.as_ref().ok_or_else(|| Error::Internal {
            what: "a signed document is read where no keys are pinned".to_owned(),
        })
    }

    /// The keys that count now, if they do still.
    fn valid_keys(&self) -> Result<&Keys> {
        let keys = self.pinned_keys()?;
        self.not_expired(&keys_name(keys.number), keys.expires)?;
        Ok(keys)
    }

    fn not_expired(&self, subject: &str, expires: Option<DateTime<Utc>>) -> Result<()> {
        match expires {
            Some(expires) if expires <= self.clock() => Err(Error::TrustExpired {
                subject: subject.to_owned(),
                expired: expires.to_rfc3339(),
            }),
            _ => Ok(()),
        }
    }

    /// The number of the keys document that comes next; `None` where none is wanted.
    pub fn next_keys(&self) -> Option<u64> {
        let keys = self.keys.as_ref()?;
        (self.steps < MOST_STEPS).then(|| keys.number.saturating_add(1))
    }

    /// Follows a keys document to the keys that it names. One that is known already, as
    /// [`Trust::is_known`] tells, must not come here.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<()> {
        let known = self.pinned_keys()?;
        let next = known.number.saturating_add(1);
        let subject = keys_name(next);
        let envelope = Envelope::parse(bytes, KEYS_LIMIT, &subject)?;
        // By those who could speak until now, before a word of it is read; and by those whom it
        // names, so that nobody is named who cannot sign.
        let payload = envelope.signed_by(&known.root, "root")?;
        let keys = Keys::read(payload, &self.app, &subject)?;
        envelope.signed_by(&keys.root, "root")?;
        if keys.number != next {
            return Err(Error::TrustMismatch {
                subject,
                what: "number",
                expected: next.to_string(),
                got: keys.number.to_string(),
            });
        }
        // A new epoch: what a thief has signed with the keys of before is forgotten, or a number as
        // large as he likes would stand in the way of every later one.
        if !keys.index.is_same(&known.index) {
            self.seen.clear();
            self.memory.indexes.clear();
            self.memory.releases.clear();
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.memory.keys.push(text);
        self.keys = Some(keys);
        self.steps += 1;
        Ok(())
    }

    /// Whether a keys document is one that was followed already, by the number that it claims.
    pub fn is_known(&self, bytes: &[u8]) -> Result<bool> {
        let known = self.pinned_keys()?.number;
        let envelope = Envelope::parse(bytes, KEYS_LIMIT, "keys")?;
        Ok(document::number_of(&envelope)? <= known)
    }

    /// Reads an index, remembers it, and says which release is current.
    pub fn index(&mut self, bytes: &[u8], subject: &str) -> Result<Pointer> {
        self.valid_keys()?;
        let (index, sha256) = self.read_index(bytes, subject, &self.channel)?;
        if index.issued > self.now + AHEAD {
            return Err(Error::TrustFromFuture {
                subject: subject.to_owned(),
                issued: index.issued.to_rfc3339(),
            });
        }
        self.not_expired(subject, Some(index.expires))?;
        let known = self.seen.get(&self.channel);
        if let Some(known) = known {
            let seq = known.index.seq;
            if index.seq < seq || (index.seq == seq && sha256 != known.sha256) {
                return Err(Error::TrustRolledBack {
                    subject: subject.to_owned(),
                    seq: index.seq,
                    known: seq,
                });
            }
        }
        let current = index.current.clone();
        let revoked = index.not_revoked();
        let channel = self.channel.clone();
        if known.is_none_or(|known| known.index.current != current) {
            self.memory.releases.remove(&channel);
        }
        if known.is_none_or(|known| known.sha256 != sha256) {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.memory.indexes.insert(channel.clone(), text);
        }
        self.seen.insert(channel, Seen { index, sha256 });
        // It is remembered all the same: what an earlier one has named may wait to be installed.
        revoked.map(|()| current)
    }

    /// An index that is signed and of this channel, whatever its number and age.
    fn read_index(&self, bytes: &[u8], subject: &str, channel: &str) -> Result<(Index, Sha256)> {
        let keys = self.pinned_keys()?;
        let envelope = Envelope::parse(bytes, INDEX_LIMIT, subject)?;
        let payload = envelope.signed_by(&keys.index, "index")?;
        let index = Index::read(payload, &self.app, subject)?;
        if index.channel != channel {
            return Err(Error::TrustMismatch {
                subject: subject.to_owned(),
                what: "channel",
                expected: channel.to_owned(),
                got: index.channel,
            });
        }
        Ok((index, Sha256::of(payload)))
    }

    /// The document of the release that the index names, if it is known already: then it need not be
    /// fetched again.
    pub fn known_release(&self) -> Option<Vec<u8>> {
        let document = self.memory.releases.get(&self.channel)?;
        Some(document.clone().into_bytes())
    }

    /// Lets a release pass that is signed: where the source has an index, the one that the index
    /// names.
    ///
    /// `resolve` makes the addresses in it absolute; `first` is an address that the source gives for
    /// the package, apart from those that the document has.
    pub fn release(
        &mut self,
        bytes: &[u8],
        named: Option<&Pointer>,
        first: Option<&str>,
        resolve: &dyn Fn(&str) -> Result<String>,
    ) -> Result<Trusted> {
        let subject = "release document";
        if self.indexed && named.is_none() {
            return Err(Error::TrustUnsigned {
                subject: "index".to_owned(),
                problem: "the source has none",
            });
        }
        let envelope = Envelope::parse(bytes, RELEASE_LIMIT, subject)?;
        let release = self.read_release(&envelope, named, first, resolve)?;
        if let (Some(_), Some(document)) = (named, &release.document) {
            let channel = self.channel.clone();
            self.memory.releases.insert(channel, document.clone());
        }
        Ok(Trusted {
            release,
            level: if named.is_some() {
                Level::Index
            } else {
                Level::Release
            },
        })
    }

    fn read_release(
        &self,
        envelope: &Envelope,
        named: Option<&Pointer>,
        first: Option<&str>,
        resolve: &dyn Fn(&str) -> Result<String>,
    ) -> Result<Release> {
        let subject = envelope.subject();
        let keys = self.valid_keys()?;
        let payload = envelope.signed_by(&keys.release, "release")?;
        let mismatch = |what, expected: String, got: String| Error::TrustMismatch {
            subject: subject.to_owned(),
            what,
            expected,
            got,
        };
        let digest = Sha256::of(payload);
        if let Some(named) = named.filter(|named| named.sha256 != digest) {
            return Err(mismatch(
                "SHA-256",
                named.sha256.to_string(),
                digest.to_string(),
            ));
        }
        let own = self.target == target();
        let document = ReleaseDocument::read(payload, &self.app, &self.target, subject)?;
        let version = document.version;
        if let Some(named) = named.filter(|named| named.version != version) {
            return Err(mismatch(
                "version",
                named.version.to_string(),
                version.to_string(),
            ));
        }
        if let Some(least) = keys.min_version.as_ref().filter(|least| version < **least) {
            return Err(Error::TrustWithdrawn {
                version: version.to_string(),
                problem: format!("below {least}, the least that may be installed"),
            });
        }
        let unavailable = |problem: String| Error::TargetUnavailable {
            version: version.to_string(),
            target: self.target.clone(),
            problem,
        };
        let Some(package) = document.package else {
            return Err(unavailable(
                "it has no package for this kind of machine".to_owned(),
            ));
        };
        let system = package.system.as_ref().filter(|_| own);
        if let Some(least) = system.filter(|least| !fits_system(least)) {
            return Err(unavailable(format!(
                "it needs version {least} of the system"
            )));
        }
        let entry_point = package.entry_point.clone();
        let launcher = document
            .launcher
            .map(|it| it.resolve(None, resolve))
            .transpose()?;
        // In full: whatever a release comes to say has to be signed.
        Ok(Release {
            version,
            notes: document.notes,
            entry_point,
            package: package.resolve(first, resolve)?,
            launcher,
            critical_below: document.critical_below,
            rollout: named.and(self.last_index()).and_then(|index| index.rollout),
            handed: false,
            document: Some(seal(envelope.payload(), envelope.signatures())),
            manifest: None,
        })
    }

    /// Lets a release pass that was fetched earlier and has waited since: by its own document, and by
    /// what is known now. What else is said of it where it was kept does not count.
    pub fn recall(&self, kept: Release) -> Result<Trusted> {
        if !self.is_pinned() {
            return self.unsigned(kept);
        }
        let unsigned = || Error::TrustUnsigned {
            subject: format!("version {}", kept.version),
            problem: "it was kept without a document that is signed for it",
        };
        let document = kept.document.as_ref().ok_or_else(unsigned)?;
        let subject = "kept release document";
        let envelope = Envelope::parse(document.as_bytes(), RELEASE_LIMIT, subject)?;
        let (named, level) = match self.last_index().filter(|_| self.indexed) {
            Some(index) => {
                self.not_expired(&index_name(&self.channel), Some(index.expires))?;
                index.not_revoked()?;
                (Some(&index.current), Level::Index)
            }
            None if self.indexed => return Err(unsigned()),
            None => (None, Level::Release),
        };
        // All its addresses are the one that it was kept with.
        let urls = |_: &str| Ok(kept.package.url.clone());
        let mut release = self.read_release(&envelope, named, Some(&kept.package.url), &urls)?;
        release.launcher = None;
        if release.package.sha256 != kept.package.sha256 {
            return Err(unsigned());
        }
        Ok(Trusted { release, level })
    }
}

impl SignedPackage {
    /// With its addresses made absolute, `first` before them.
    fn resolve(
        self,
        first: Option<&str>,
        resolve: &dyn Fn(&str) -> Result<String>,
    ) -> Result<Package> {
        let own = self.urls.iter().map(|url| resolve(url));
        let mut urls: Vec<String> = first
            .map(|url| Ok(url.to_owned()))
            .into_iter()
            .chain(own)
            .collect::<Result<_>>()?;
        let mut known = BTreeSet::new();
        urls.retain(|url| known.insert(url.clone()));
        if urls.is_empty() {
            return Err(Error::TrustInvalid {
                subject: "release document".to_owned(),
                problem: "neither it nor the source says where its package is".to_owned(),
            });
        }
        Ok(Package {
            url: urls.remove(0),
            mirrors: urls,
            sha256: Some(self.sha256),
            size: Some(self.size),
            files: self.files,
            md5: None,
            wrapped: false,
            by_file: false,
        })
    }
}

/// When this executable was built: no clock of a machine that runs it can be earlier.
fn built() -> DateTime<Utc> {
    let seconds = include_str!(concat!(env!("OUT_DIR"), "/built.txt"));
    let seconds = seconds.parse().unwrap_or_default();
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

#[cfg(test)]
mod tests;
