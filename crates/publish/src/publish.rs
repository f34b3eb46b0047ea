//! Publishing: a release goes to a place, becomes current there, and is taken back.
//!
//! Promises:
//!
//! - What launchers see is the state before or the state after, whenever it is interrupted: packages
//!   go first, then the keys documents, then the release document, and the index last.
//! - Doing the same again repeats nothing that is there, and is no error.
//! - A package that is there is never replaced by another, nor the document of a release that is current.
//! - An index is made from the one that is at the place and the one that lies here: its number is higher
//!   than both, and what either has revoked stays so. Both have to be signed by a key that is known.
//!
//! Not promised: two who publish at the same time at a folder or a bucket. The last index wins; its number
//! may be the other's too, and launchers that have seen that one refuse it until the next.

use std::cell::OnceCell;
use std::path::Path;

use castoff::trust::document::{Index, Pointer, index_name, keys_name, release_name};
use castoff::trust::{PublicKey, seal};
use castoff::version::Version;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::document::{ANY, Content, Document, Folder, channel_of, replace, version_of, write};
use crate::place::{self, Answer, Current, Event, File, Package, Place, Standing, Tell};
use crate::release::{self, Draft, hash, link};
use crate::signer::Signer;
use crate::{Error, Result, index, steps};

/// Opens the keys that sign, when it comes to that; none: nothing can be signed.
pub type Keys<'a> = dyn Fn() -> Result<Vec<Signer>> + 'a;

/// Publishes an app's releases from a folder to a place.
pub struct Publisher<'a> {
    /// The place.
    pub place: &'a dyn Place,
    /// The app.
    pub app: String,
    /// The publisher's own folder, which holds packages and documents.
    pub folder: Folder,
    /// The keys that sign.
    pub keys: &'a Keys<'a>,
    /// Those of them that were opened.
    pub signers: OnceCell<Vec<Signer>>,
    /// Keys that have signed documents of before, where none of those that sign now has.
    pub known: Vec<PublicKey>,
    /// The number of the keys document with which launchers begin (`trust.first`).
    pub first: u64,
    /// The time.
    pub now: DateTime<Utc>,
}

/// What is to be current.
#[derive(Clone, Debug)]
pub struct Activation {
    /// The channel.
    pub channel: String,
    /// The version.
    pub version: Version,
    /// The percentage of installations that are to have it already; `None`: all.
    pub rollout: Option<u64>,
    /// How long an index is to hold, where one is made.
    pub expires: TimeDelta,
}

/// An index, and the document that it is in.
type Indexed = (Document, Index);

impl Publisher<'_> {
    fn signers(&self) -> Result<&[Signer]> {
        if let Some(signers) = self.signers.get() {
            return Ok(signers);
        }
        let opened = (self.keys)()?;
        Ok(self.signers.get_or_init(|| opened))
    }

    /// Makes the place ready, and says whether nothing is published there yet.
    pub fn begin(&self, tell: &mut Tell<'_>) -> Result<bool> {
        if self.place.prepare()? {
            tell(Event::Prepared);
        }
        self.place.is_empty()
    }

    /// Publishes a package: with its document where there is one or a key that signs it, and without one
    /// where the place takes that. Returns whether it is signed.
    ///
    /// Fails with `PACKAGE_DIFFERS`, `DOCUMENT_DIFFERS`, `KEY_NEEDED`, and as [`release::sign`] does.
    pub fn package(&self, draft: Draft, tell: &mut Tell<'_>) -> Result<bool> {
        let hashed = hash(&draft.package)?;
        let name = link(&draft.package, &self.folder)?;
        let target = draft.target.clone().unwrap_or_else(|| ANY.to_owned());
        let here = self.folder.release(&draft.version)?;
        if let Some((document, _)) = &here
            && says(document, &draft, &target, &name, &hashed)
        {
            document.must_be_of(&self.app)?;
            self.release(document, tell)?;
            return Ok(true);
        }
        if self.signers()?.is_empty() {
            if !self.place.takes_unsigned() {
                return Err(Error::KeyNeeded {
                    problem: format!(
                        "what lies at {} is believed for its signatures alone: say with --key which key \
                         signs, or make one with `castoff keygen`; a release server takes releases \
                         without signatures too",
                        self.place.address()
                    ),
                });
            }
            release::examine(&draft.package, &draft.version)?;
            let critical = draft.critical_below.as_ref().map(Version::as_str);
            let file = File {
                name: &name,
                path: draft.package.clone(),
                size: hashed.size,
                sha256: hashed.sha256,
                package: Some(Package {
                    version: &draft.version,
                    target: &target,
                    entry_point: draft.entry_point.as_deref(),
                    notes: draft.notes.as_deref(),
                    critical_below: critical,
                }),
            };
            self.file(&file, tell)?;
            return Ok(false);
        }
        self.take_over(&draft, &target, &hashed)?;
        let draft = self.complete(draft, &target, &hashed)?;
        let written = release::sign(&draft, self.signers()?, &self.known)?;
        if !written.added.is_empty() {
            tell(Event::Signed(&written.document));
        }
        steps::reach(steps::SIGNED)?;
        self.release(&written.document, tell)?;
        Ok(true)
    }

    /// What the place's document of the version says of further kinds of machine becomes part of the one
    /// that lies here: each of them may be published from another machine.
    fn take_over(&self, draft: &Draft, target: &str, hashed: &release::Hashed) -> Result<()> {
        let name = release_name(&draft.version);
        let Some(there) = place::document(self.place, &name)? else {
            return Ok(());
        };
        there.must_be_of(&self.app)?;
        let packages = there.value()["packages"].as_object();
        let published = packages.and_then(|packages| packages.get(target));
        if published.is_some_and(|published| published["sha256"] != hashed.sha256.to_string()) {
            return Err(self.differs(&draft.package.display().to_string()));
        }
        let here = self.folder.release(&draft.version)?;
        let mut value = here
            .as_ref()
            .map_or_else(|| there.value().clone(), |(here, _)| here.value().clone());
        for (target, package) in packages.into_iter().flatten() {
            if value["packages"][target].is_null() {
                value["packages"][target] = package.clone();
            }
        }
        match here {
            Some((here, _)) if *here.value() == value => return Ok(()),
            Some((here, _)) => here.must_be_known(self.signers()?, &self.known)?,
            None => {}
        }
        there.must_be_known(self.signers()?, &self.known)?;
        let path = self.folder.file(&name);
        if value == *there.value() {
            return replace(&Document::parse(&path, there.text().as_bytes())?);
        }
        let payload = value.to_string();
        write(&path, payload.as_bytes(), &[], self.signers()?).map(drop)
    }

    /// What is not said stays as the document here has it of this package.
    fn complete(&self, draft: Draft, target: &str, hashed: &release::Hashed) -> Result<Draft> {
        let Some((document, _)) = self.folder.release(&draft.version)? else {
            return Ok(draft);
        };
        let package = &document.value()["packages"][target];
        if package["sha256"] != hashed.sha256.to_string() {
            return Ok(draft);
        }
        let text = |field: &str| package[field].as_str().map(str::to_owned);
        Ok(Draft {
            entry_point: draft.entry_point.or_else(|| text("entry_point")),
            system: draft.system.or_else(|| text("system")),
            ..draft
        })
    }

    /// Publishes all that lies in the folder: the releases that are not at the place yet, and the keys;
    /// and, if asked, the indexes that are newer than those at the place.
    pub fn everything(&self, indexes: bool, tell: &mut Tell<'_>) -> Result<()> {
        let mut versions = self.folder.releases()?;
        versions.sort();
        for version in &versions {
            let Some((document, _)) = self.folder.release(version)? else {
                continue;
            };
            document.must_be_of(&self.app)?;
            let there = place::document(self.place, &release_name(version))?;
            // Its packages went before it.
            match there.filter(|there| there.sha256() == document.sha256()) {
                Some(there) => self.document(&document, Some(&there), tell)?,
                None => self.release(&document, tell)?,
            }
        }
        self.all_keys(tell)?;
        if !indexes {
            return Ok(());
        }
        for name in self.folder.names()? {
            if let Some(channel) = channel_of(&name)
                && let Ok(Some(here)) = self.folder.index(channel)
            {
                self.index(&here, tell)?;
            }
        }
        Ok(())
    }

    /// Publishes a release as its document here has it.
    fn release(&self, document: &Document, tell: &mut Tell<'_>) -> Result<()> {
        let Content::Release(release) = document.content() else {
            return Ok(());
        };
        let there = place::document(self.place, &document.proper_name())?;
        if let Some(there) = &there {
            self.must_be_replaceable(document, there, &release.version)?;
        }
        let value = document.value();
        let critical = value["critical_below"].as_str();
        for (target, package) in value["packages"].as_object().into_iter().flatten() {
            let about = Package {
                version: &release.version,
                target,
                entry_point: package["entry_point"].as_str(),
                notes: value["notes"].as_str(),
                critical_below: critical,
            };
            self.linked(package, Some(about), tell)?;
        }
        for (_, launcher) in value["launchers"].as_object().into_iter().flatten() {
            self.linked(launcher, None, tell)?;
        }
        self.all_keys(tell)?;
        self.document(document, there.as_ref(), tell)?;
        steps::reach(steps::RELEASED)
    }

    /// Publishes a file that a document links to, unless it is to be elsewhere.
    fn linked(
        &self,
        value: &Value,
        package: Option<Package<'_>>,
        tell: &mut Tell<'_>,
    ) -> Result<()> {
        let urls = value["urls"].as_array().into_iter().flatten();
        let mut links = urls.filter_map(Value::as_str);
        let digest = value["sha256"].as_str().map(str::parse);
        let (Some(name), Some(size), Some(Ok(sha256))) = (
            links.find(|link| !link.contains("://")),
            value["size"].as_u64(),
            digest,
        ) else {
            return Ok(());
        };
        let file = File {
            name,
            path: self.folder.file(name),
            size,
            sha256,
            package,
        };
        self.file(&file, tell)
    }

    /// Sends a file, unless it is there.
    fn file(&self, file: &File<'_>, tell: &mut Tell<'_>) -> Result<()> {
        match self.place.standing(file)? {
            Standing::Same => {
                tell(Event::There { name: file.name });
                return Ok(());
            }
            Standing::Other => return Err(self.differs(file.name)),
            Standing::Missing => {}
        }
        if !file.path.exists() {
            return Err(Error::request(format!(
                "{} is neither here nor at {}",
                file.path.display(),
                self.place.address()
            )));
        }
        let found = hash(&file.path)?;
        if (found.size, found.sha256) != (file.size, file.sha256) {
            return Err(file.has_changed());
        }
        self.place.send(file, tell)?;
        tell(Event::Sent {
            name: file.name,
            size: file.size,
        });
        steps::reach(steps::SENT)
    }

    /// A document of a release says which packages people may have: those stay. And while an index names
    /// it, another one with its name would be refused.
    fn must_be_replaceable(
        &self,
        here: &Document,
        there: &Document,
        version: &Version,
    ) -> Result<()> {
        if here.sha256() == there.sha256() {
            return Ok(());
        }
        there.must_be_of(&self.app)?;
        for (target, package) in there.value()["packages"].as_object().into_iter().flatten() {
            let own = &here.value()["packages"][target];
            if own.is_null() {
                let problem = format!(
                    "it has a package for {target}, which the one here has not; publish the package itself \
                     with the key, so that both become one document"
                );
                return Err(self.document_differs(here, problem));
            }
            if own["sha256"] != package["sha256"] {
                return Err(self.differs(own["urls"][0].as_str().unwrap_or(target)));
            }
        }
        for name in self.place.documents()? {
            if let Some(channel) = channel_of(&name)
                && let Some((_, index)) = self.index_there(channel)?
                && index.current.version == *version
            {
                let problem = format!(
                    "{version} is current in {channel}, so launchers would refuse it until there is an \
                     index that names it as it is now; publish what has changed as a new version"
                );
                return Err(self.document_differs(here, problem));
            }
        }
        Ok(())
    }

    /// Publishes the keys documents, in their order.
    fn all_keys(&self, tell: &mut Tell<'_>) -> Result<()> {
        for number in self.folder.key_numbers()? {
            let Some((document, _)) = self.folder.keys(number)? else {
                continue;
            };
            document.must_be_of(&self.app)?;
            // One that lacks a signature would stop all launchers.
            self.folder.must_be_complete(&document, self.first)?;
            let there = place::document(self.place, &keys_name(number))?;
            if let Some(there) = &there
                && there.sha256() != document.sha256()
            {
                let problem =
                    "launchers may follow it already; make the next one with `castoff keys rotate`";
                return Err(self.document_differs(&document, problem.to_owned()));
            }
            self.document(&document, there.as_ref(), tell)?;
        }
        steps::reach(steps::KEYS)
    }

    /// Writes a document, with the signatures that it has here and those that the same one has there.
    fn document(
        &self,
        here: &Document,
        there: Option<&Document>,
        tell: &mut Tell<'_>,
    ) -> Result<()> {
        let name = here.proper_name();
        let mut signatures = here.envelope().signatures().to_vec();
        if let Some(there) = there.filter(|there| there.sha256() == here.sha256()) {
            let known = there.envelope().signatures();
            if signatures.iter().all(|signature| known.contains(signature)) {
                tell(Event::There { name: &name });
                return Ok(());
            }
            let others = known.iter().filter(|known| !signatures.contains(known));
            let others: Vec<String> = others.cloned().collect();
            signatures.extend(others);
        }
        let text = format!("{}\n", seal(here.envelope().payload(), &signatures));
        // As a launcher reads it.
        Document::parse(here.path(), text.as_bytes())?;
        self.place.write(&name, text.as_bytes())?;
        tell(Event::Written { name: &name });
        Ok(())
    }

    /// Publishes an index that lies here, if it is newer than the one at the place.
    fn index(&self, (document, index): &Indexed, tell: &mut Tell<'_>) -> Result<()> {
        document.must_be_of(&self.app)?;
        self.folder.must_be_complete(document, self.first)?;
        let there = self.index_there(&index.channel)?;
        if let Some((document_there, there)) = &there {
            if document_there.sha256() == document.sha256() {
                return self.document(document, Some(document_there), tell);
            }
            let lost = there.revoked.iter().any(|it| !index.revoked.contains(it));
            if there.seq >= index.seq || lost {
                return Err(Error::IndexOld {
                    name: document.proper_name(),
                    place: self.place.address().to_owned(),
                    there: there.seq,
                    here: index.seq,
                });
            }
        }
        let release = self.published(&index.current.version)?;
        if release.sha256() != index.current.sha256 {
            let problem = format!(
                "{} names it as it was before; make the index anew with `castoff activate`",
                document.path().display()
            );
            return Err(self.document_differs(&release, problem));
        }
        self.document(document, None, tell)?;
        steps::reach(steps::CURRENT)
    }

    /// Makes a version that is published current.
    ///
    /// Fails with `NOT_PUBLISHED`, `KEY_NEEDED`, `DOCUMENT_FOREIGN`, and as [`index::make`] does.
    pub fn activate(&self, wish: &Activation, tell: &mut Tell<'_>) -> Result<Current> {
        match self
            .place
            .activate(&wish.channel, &wish.version, wish.rollout)?
        {
            Answer::Done(current) => Ok(current),
            Answer::NeedsIndex => self.point(wish, &[], tell),
        }
    }

    /// Takes a version back: it is not to be installed any more, and where it is current, the highest
    /// older one becomes so, one that is no prerelease if there is one.
    ///
    /// Fails as [`Publisher::activate`] does, and with `REQUEST_INVALID` where there is no older one.
    pub fn withdraw(
        &self,
        channel: &str,
        version: &Version,
        expires: TimeDelta,
        tell: &mut Tell<'_>,
    ) -> Result<Current> {
        if let Answer::Done(current) = self.place.withdraw(channel, version)? {
            return Ok(current);
        }
        let Some((_, there)) = self.index_there(channel)? else {
            return Err(Error::request(format!(
                "nothing is current in the channel {channel} at {}",
                self.place.address()
            )));
        };
        let here = self.folder.index(channel)?;
        let revoked_here = here.iter().flat_map(|(_, index)| &index.revoked);
        let revoked: Vec<&Version> = revoked_here.chain(&there.revoked).collect();
        let current = &there.current.version;
        let (version_then, rollout) = if current == version || revoked.contains(&current) {
            let names = self.place.documents()?;
            let older = names.iter().filter_map(|name| version_of(name));
            let older = older.filter(|older| older < version && !revoked.contains(&older));
            let next = older.max_by_key(|older| (!older.is_prerelease(), older.clone()));
            let next = next.ok_or_else(|| {
                Error::request(format!(
                    "no version before {version} is published at {}, so there is none to go back to; \
                     publish a better one first",
                    self.place.address()
                ))
            })?;
            (next, None)
        } else {
            (current.clone(), there.rollout)
        };
        let wish = Activation {
            channel: channel.to_owned(),
            version: version_then,
            rollout,
            expires,
        };
        self.point(&wish, std::slice::from_ref(version), tell)
    }

    /// Publishes an index that names a version and revokes others: the one that is there already, the
    /// one that lies here, or a new one.
    fn point(&self, wish: &Activation, revoke: &[Version], tell: &mut Tell<'_>) -> Result<Current> {
        let release = self.published(&wish.version)?;
        let there = self.index_there(&wish.channel)?;
        let here = self.folder.index(&wish.channel)?;
        let pointer = Pointer {
            version: wish.version.clone(),
            sha256: release.sha256(),
        };
        let before = [here.as_ref(), there.as_ref()].into_iter().flatten();
        let revoked: Vec<&Version> = before
            .flat_map(|(_, index)| &index.revoked)
            .chain(revoke)
            .collect();
        let is_good = |index: &Index| {
            index.current == pointer
                && index.rollout == wish.rollout
                && revoked.iter().all(|version| index.revoked.contains(version))
                // With less, it is renewed.
                && index.expires - self.now > wish.expires / 2
        };
        if let Some((document, index)) = there.as_ref().filter(|(_, index)| is_good(index)) {
            document.must_be_known(self.signers()?, &self.known)?;
            return Ok(current(index, true));
        }
        let seq = there.as_ref().map_or(0, |(_, there)| there.seq);
        // Signed in an attempt that broke off then, or by several people one after the other.
        let ready = here
            .as_ref()
            .filter(|(_, index)| is_good(index) && index.seq > seq);
        let document = match ready {
            Some((document, _)) => document.clone(),
            None => self.sign_index(wish, revoke, &release, here.into_iter().chain(there), tell)?,
        };
        self.folder.must_be_complete(&document, self.first)?;
        steps::reach(steps::INDEXED)?;
        self.document(&document, None, tell)?;
        steps::reach(steps::CURRENT)?;
        match document.content() {
            Content::Index(index) => Ok(current(index, false)),
            _ => Err(Error::request("what was signed is no index")),
        }
    }

    fn sign_index(
        &self,
        wish: &Activation,
        revoke: &[Version],
        release: &Document,
        before: impl Iterator<Item = Indexed>,
        tell: &mut Tell<'_>,
    ) -> Result<Document> {
        let signers = self.signers()?;
        if signers.is_empty() {
            return Err(Error::KeyNeeded {
                problem: format!(
                    "what is current at {} has to be signed: say with --key which key does, or make one \
                     with `castoff keygen`",
                    self.place.address()
                ),
            });
        }
        let draft = index::Draft {
            app: Some(self.app.clone()),
            channel: wish.channel.clone(),
            current: wish.version.clone(),
            revoked: revoke.to_vec(),
            rollout: wish.rollout,
            expires: wish.expires,
        };
        let before: Vec<Indexed> = before.collect();
        let written = index::carry_on(
            &self.folder,
            &draft,
            release,
            &before,
            signers,
            &self.known,
            self.now,
        )?;
        tell(Event::Signed(&written.document));
        Ok(written.document)
    }

    /// The document of a version at the place, which is the one here if there is one here.
    fn published(&self, version: &Version) -> Result<Document> {
        let there = place::document(self.place, &release_name(version))?;
        let there = there.ok_or_else(|| Error::NotPublished {
            version: version.to_string(),
            place: self.place.address().to_owned(),
        })?;
        there.must_be_of(&self.app)?;
        if let Some((here, _)) = self.folder.release(version)?
            && here.sha256() != there.sha256()
        {
            let problem = format!(
                "publish {version} first, or remove {}",
                here.path().display()
            );
            return Err(self.document_differs(&here, problem));
        }
        Ok(there)
    }

    fn index_there(&self, channel: &str) -> Result<Option<Indexed>> {
        let Some(document) = place::document(self.place, &index_name(channel))? else {
            return Ok(None);
        };
        Ok(match document.content().clone() {
            Content::Index(index) if index.channel == channel => Some((document, index)),
            _ => None,
        })
    }

    fn differs(&self, name: &str) -> Error {
        Error::PackageDiffers {
            name: name.to_owned(),
            place: self.place.address().to_owned(),
        }
    }

    fn document_differs(&self, document: &Document, problem: String) -> Error {
        Error::DocumentDiffers {
            name: document.proper_name(),
            place: self.place.address().to_owned(),
            problem,
        }
    }
}

impl File<'_> {
    /// It is not what its document announces.
    pub(crate) fn has_changed(&self) -> Error {
        let subject = self.path.display();
        Error::request(format!(
            "{subject} is not the file any more that its release document announces; sign it again, or \
             bring that file back"
        ))
    }
}

/// What an index makes current.
fn current(index: &Index, unchanged: bool) -> Current {
    Current {
        version: Some(index.current.version.clone()),
        seq: Some(index.seq),
        expires: Some(index.expires),
        unchanged,
    }
}

/// Whether a document says of a package already what a draft says.
fn says(
    document: &Document,
    draft: &Draft,
    target: &str,
    name: &str,
    hashed: &release::Hashed,
) -> bool {
    let value = document.value();
    let package = &value["packages"][target];
    let same = |value: &Value, said: Option<&str>| said.is_none_or(|said| *value == said);
    let links = package["urls"].as_array().map(Vec::as_slice);
    let links = links.unwrap_or_default();
    let linked = if draft.urls.is_empty() {
        links.iter().any(|link| link == name)
    } else {
        links == draft.urls
    };
    package["sha256"] == hashed.sha256.to_string()
        && linked
        && draft.launchers.is_empty()
        && same(&package["entry_point"], draft.entry_point.as_deref())
        && same(&package["system"], draft.system.as_deref())
        && same(&value["notes"], draft.notes.as_deref())
        && same(
            &value["critical_below"],
            draft.critical_below.as_ref().map(Version::as_str),
        )
}

/// The publisher's own folder: that of a package, or the folder itself.
pub fn own_folder(path: &Path) -> Result<Folder> {
    if path.is_dir() {
        return Folder::open(path);
    }
    Ok(Folder::around(path))
}
