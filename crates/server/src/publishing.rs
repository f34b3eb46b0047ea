//! What publishers do, whichever address they come by: the native one, zghmvp's, or the admin pages.
//!
//! Promises: each of these is one change, which happens or not. What is current is never removed, never
//! disabled, and never without a package.

use std::path::Path;

use castoff::trust::document::release_name;
use castoff::version::Version;
use castoff_publish::document::{Content, Document, Folder, is_identity};
use chrono::{DateTime, Utc};

use crate::intake::{self, Claim};
use crate::registry::{App, Change, Channel, NewRelease, Registry, Release, Role};
use crate::sign::{self, Wish};
use crate::storage::disk::blocking;
use crate::{Error, Result, Server, secret};

/// How many characters the name of a token has at most: it is read in lists.
const TOKEN_NAME: usize = 64;

/// How many characters the description of an app has at most.
pub const DESCRIPTION: usize = 2000;

/// What is said of a package that is to be published.
#[derive(Clone, Debug)]
pub struct NewPackage {
    /// The version.
    pub version: Version,
    /// The kind of machine, or `any`.
    pub target: String,
    /// The name of its file.
    pub name: String,
    /// What is to be started; empty: what the launcher has configured.
    pub entry_point: String,
    /// What is new.
    pub notes: String,
    /// Versions below are not safe to go on with.
    pub critical_below: Option<Version>,
    /// When it was published, which is now, but for what comes from another server.
    pub created: DateTime<Utc>,
}

/// Publishes the package in a file below the spool, which is gone afterwards. The same package of the
/// same version again is no error, and no change: the second value is whether something was new.
pub async fn publish(
    server: &Server,
    who: &str,
    app: &App,
    path: &Path,
    new: NewPackage,
) -> Result<(Release, bool)> {
    if !is_identity(&new.target) {
        return Err(Error::request(format!(
            "{:?} is no kind of machine",
            new.target
        )));
    }
    let claim = Claim {
        version: &new.version,
        target: &new.target,
        name: &new.name,
    };
    let received = intake::package(server, path, &claim).await?;
    let place = received.package.place.clone();
    let registered = register(server, who, app, new, received).await;
    if !matches!(registered, Ok((_, true))) {
        // Nothing names it.
        server.store.remove(&place).await?;
    }
    registered
}

async fn register(
    server: &Server,
    who: &str,
    app: &App,
    new: NewPackage,
    received: intake::Received,
) -> Result<(Release, bool)> {
    let mut change = server.registry.change(who).await?;
    let releases = change.releases(&app.id).await?;
    let package = received.package;
    let named = |release: &&Release| {
        let mut packages = release.packages.iter();
        release.version != new.version && packages.any(|it| it.name == package.name)
    };
    if let Some(other) = releases.iter().find(named) {
        // Both lie under one address.
        return Err(Error::conflict(format!(
            "{} is the name of the package of {} already; give this one another",
            package.name, other.version
        )));
    }
    if let Some(release) = releases.into_iter().find(|it| it.version == new.version) {
        let mut packages = release.packages.iter();
        if let Some(there) = packages.clone().find(|it| it.target == package.target) {
            if there.sha256 == package.sha256 {
                return Ok((release, false));
            }
            return Err(Error::VersionExists(format!(
                "{} is there already for {}, with another package; a version is never changed: publish a \
                 higher one",
                release.version, there.target
            )));
        }
        if packages.any(|it| it.name == package.name) {
            return Err(Error::conflict(format!(
                "{} is the name of another package of {}",
                package.name, release.version
            )));
        }
        change.add_package(release.id, &package).await?;
    } else {
        let release = NewRelease {
            version: new.version.clone(),
            entry_point: new.entry_point,
            notes: new.notes,
            critical_below: new.critical_below.map(|version| version.to_string()),
            created: new.created,
            package: package.clone(),
            files: received.files,
        };
        change.add_release(&app.id, &release).await?;
    }
    let detail = format!("{} for {}: {}", new.version, package.target, package.sha256);
    change.note("publish", &app.key, &detail).await?;
    let release = known(&mut change, app, &new.version).await?;
    change.commit().await?;
    Ok((release, true))
}

/// Makes a release current in a channel, for so many per cent of installations.
pub async fn activate(
    server: &Server,
    who: &str,
    app: &App,
    channel: &str,
    version: &Version,
    rollout: i64,
) -> Result<Channel> {
    if !is_identity(channel) {
        return Err(Error::request(format!("{channel:?} names no channel")));
    }
    if !(0..=100).contains(&rollout) {
        return Err(Error::request(format!(
            "a rollout is 0 to 100 per cent, not {rollout}"
        )));
    }
    let mut change = server.registry.change(who).await?;
    let release = known(&mut change, app, version).await?;
    if release.withdrawn {
        return Err(Error::conflict(format!(
            "{version} was withdrawn, and is never made current again: publish a higher version"
        )));
    }
    if !release.enabled {
        return Err(Error::conflict(format!(
            "{version} is deactivated; enable it first"
        )));
    }
    let mut target = change.channel(&app.id, channel).await?;
    target.release = Some(release.id);
    target.rollout = rollout;
    point(server, &mut change, app, &mut target, &release, &[]).await?;
    let detail = format!("{version} in {channel} for {rollout} %");
    change.note("activate", &app.key, &detail).await?;
    change.commit().await?;
    Ok(target)
}

/// Takes a release back, for ever: wherever it is current, the highest older one that was so before
/// becomes it again. Says what that is in this channel.
pub async fn withdraw(
    server: &Server,
    who: &str,
    app: &App,
    channel: &str,
    version: &Version,
) -> Result<(Option<Version>, Channel)> {
    let mut change = server.registry.change(who).await?;
    let mut withdrawn = known(&mut change, app, version).await?;
    withdrawn.withdrawn = true;
    change.change_release(&withdrawn).await?;
    let releases = change.releases(&app.id).await?;
    let mut names = withdrawn.active.clone();
    if !names.iter().any(|name| name == channel) {
        names.push(channel.to_owned());
    }
    let mut outcome = None;
    for name in names {
        let mut target = change.channel(&app.id, &name).await?;
        let current = if target.release == Some(withdrawn.id) {
            let before = change.was_active(&app.id, &name).await?;
            let older = releases.iter().filter(|it| {
                before.contains(&it.id) && it.enabled && !it.withdrawn && it.version < *version
            });
            older.max_by(|one, other| one.version.cmp(&other.version))
        } else {
            releases.iter().find(|it| Some(it.id) == target.release)
        };
        match current {
            Some(current) => {
                if target.release != Some(current.id) {
                    target.rollout = 100;
                }
                target.release = Some(current.id);
                let revoked = std::slice::from_ref(version);
                point(server, &mut change, app, &mut target, current, revoked).await?;
            }
            None if target.seq > 0 => {
                return Err(Error::conflict(format!(
                    "nothing older than {version} was current in {name} before, and an index has to name \
                     something: publish another version, and activate it, first"
                )));
            }
            None => {
                target.release = None;
                change.set_channel(&app.id, &target).await?;
            }
        }
        if name == channel {
            outcome = Some((current.map(|it| it.version.clone()), target));
        }
    }
    change.note("withdraw", &app.key, version.as_str()).await?;
    change.commit().await?;
    outcome.ok_or_else(|| Error::Internal("the channel was gone through".to_owned()))
}

/// Points a channel to a release, by a newly signed index where there is to be one.
async fn point(
    server: &Server,
    change: &mut Change,
    app: &App,
    channel: &mut Channel,
    release: &Release,
    revoked: &[Version],
) -> Result<()> {
    let document = change
        .document(&app.id, &release_name(&release.version))
        .await?;
    match (server.keys.of(&app.key), document) {
        (Some(signer), Some(_)) => {
            let wish = Wish {
                channel: channel.name.clone(),
                current: release.version.clone(),
                rollout: channel.rollout,
                revoked: revoked.to_vec(),
            };
            channel.seq = sign::index(server, change, app, signer, wish).await?;
        }
        (Some(_), None) => {
            return Err(Error::conflict(format!(
                "{} has no signed release document here, and the index of {} has to name one: `castoff sign` \
                 makes it, and `castoff publish` brings it",
                release.version, app.key
            )));
        }
        (None, Some(_)) => {
            return Err(Error::IndexNeeded(format!(
                "{} is signed, and this server holds no index key of {}: its publisher has to sign the index \
                 that names it",
                release.version, app.key
            )));
        }
        (None, None) if channel.seq > 0 => {
            return Err(Error::IndexNeeded(format!(
                "{} is signed, and this server holds no index key of {}",
                channel.name, app.key
            )));
        }
        (None, None) => {}
    }
    change.set_channel(&app.id, channel).await
}

/// Changes what a release says of itself.
pub async fn edit(
    server: &Server,
    who: &str,
    app: &App,
    version: &Version,
    edit: impl FnOnce(&mut Release) + Send,
) -> Result<Release> {
    let mut change = server.registry.change(who).await?;
    let mut release = known(&mut change, app, version).await?;
    edit(&mut release);
    if !release.enabled && !release.active.is_empty() {
        return Err(Error::conflict(format!(
            "{version} is current in {}: activate another version there first",
            release.active.join(", ")
        )));
    }
    change.change_release(&release).await?;
    change.note("edit", &app.key, version.as_str()).await?;
    change.commit().await?;
    Ok(release)
}

/// Deletes a release that is current nowhere, with its packages.
pub async fn delete(server: &Server, who: &str, app: &App, version: &Version) -> Result<()> {
    let mut change = server.registry.change(who).await?;
    let release = known(&mut change, app, version).await?;
    if !release.active.is_empty() {
        return Err(Error::conflict(format!(
            "{version} is current in {}: activate another version there first",
            release.active.join(", ")
        )));
    }
    change.remove_release(release.id).await?;
    change
        .remove_document(&app.id, &release_name(&release.version))
        .await?;
    change.note("delete", &app.key, version.as_str()).await?;
    change.commit().await?;
    for package in &release.packages {
        server.store.remove(&package.place).await?;
    }
    Ok(())
}

/// Registers an app.
pub async fn add_app(server: &Server, who: &str, app: &App) -> Result<()> {
    if !is_identity(&app.key) {
        return Err(Error::request(format!(
            "{:?} names no app: letters, digits, . - _",
            app.key
        )));
    }
    must_be_short(app)?;
    let mut change = server.registry.change(who).await?;
    if server.registry.app(&app.key).await?.is_some() {
        return Err(Error::conflict(format!(
            "there is an app {} already",
            app.key
        )));
    }
    change.add_app(app).await?;
    change.note("add app", &app.key, &app.name).await?;
    change.commit().await
}

/// Changes name, description and times of an app.
pub async fn change_app(server: &Server, who: &str, app: &App) -> Result<()> {
    must_be_short(app)?;
    let mut change = server.registry.change(who).await?;
    change.change_app(app).await?;
    change.note("change app", &app.key, &app.name).await?;
    change.commit().await
}

/// Makes a token. It is nowhere but in the answer.
pub async fn add_token(registry: &Registry, who: &str, name: &str, role: Role) -> Result<String> {
    let fits = 1..=TOKEN_NAME;
    if !fits.contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(Error::request(format!(
            "a token has a name of 1 to {TOKEN_NAME} characters"
        )));
    }
    let token = secret::token();
    let mut change = registry.change(who).await?;
    change
        .add_token(name, &secret::digest(&token), role)
        .await?;
    let detail = format!("{name}: {}", role.as_str());
    change.note("add token", "", &detail).await?;
    change.commit().await?;
    Ok(token)
}

/// Makes a token void, and with it the sessions that were begun by it.
pub async fn revoke_token(registry: &Registry, who: &str, name: &str) -> Result<()> {
    let mut change = registry.change(who).await?;
    if !change.revoke_token(name).await? {
        return Err(Error::not_found(format!("there is no valid token {name}")));
    }
    change.note("revoke token", "", name).await?;
    change.commit().await
}

/// What is told of an app is for lists and headings.
fn must_be_short(app: &App) -> Result<()> {
    for (what, text, limit) in [
        ("key", &app.key, 100),
        ("name", &app.name, 200),
        ("description", &app.description, DESCRIPTION),
    ] {
        if text.chars().count() > limit {
            return Err(Error::request(format!(
                "the {what} of an app has {limit} characters at most"
            )));
        }
    }
    Ok(())
}

/// Takes a signed document. An index makes current what it names.
pub async fn document(
    server: &Server,
    who: &str,
    app: &App,
    name: &str,
    bytes: Vec<u8>,
) -> Result<()> {
    let content = String::from_utf8(bytes)
        .map_err(|_| Error::DocumentInvalid(format!("{name} is no text")))?;
    let mut change = server.registry.change(who).await?;
    let before = change.document(&app.id, name).await?;
    if before.as_ref() == Some(&content) {
        return Ok(());
    }
    let folder = intake::folder(server)?;
    for other in change.documents(&app.id).await? {
        if let Some(content) = change
            .document(&app.id, &other)
            .await?
            .filter(|_| other != name)
        {
            let path = folder.path().join(&other);
            std::fs::write(&path, content).map_err(|error| Error::io("write", &path, &error))?;
        }
    }
    let (name, text) = (name.to_owned(), content.clone());
    let key = app.key.clone();
    let document = blocking(move || read_document(&folder, &name, &text, &key)).await?;
    match document.content() {
        Content::Keys(_) => {
            if before.is_some_and(|before| !is_same(&document, &before)) {
                return Err(Error::conflict(format!(
                    "{} is there already and says something else",
                    document.proper_name()
                )));
            }
        }
        Content::Release(signed) => {
            let release = known(&mut change, app, &signed.version).await?;
            lies_here(&document, &release)?;
            if !release.active.is_empty()
                && before.is_some_and(|before| !is_same(&document, &before))
            {
                return Err(Error::conflict(format!(
                    "{} is current in {}, and what launchers are told of it does not change",
                    release.version,
                    release.active.join(", ")
                )));
            }
        }
        Content::Index(index) => {
            let mut channel = change.channel(&app.id, &index.channel).await?;
            let further = before.is_some_and(|before| is_same(&document, &before));
            if !further && index.seq <= channel.seq.cast_unsigned() {
                return Err(Error::IndexOld(format!(
                    "the index of {} has the number {} here, and this one {}: its number has to be higher",
                    index.channel, channel.seq, index.seq
                )));
            }
            let seq = i64::try_from(index.seq).map_err(|_| {
                Error::DocumentInvalid("the number of the index is too high".to_owned())
            })?;
            let release = known(&mut change, app, &index.current.version).await?;
            let signed = release_name(&release.version);
            let named = change.document(&app.id, &signed).await?;
            let named =
                named.and_then(|text| Document::parse(Path::new(&signed), text.as_bytes()).ok());
            if named.is_none_or(|named| named.sha256() != index.current.sha256) {
                return Err(Error::conflict(format!(
                    "the index names another {signed} than the one that is here; bring that one first"
                )));
            }
            if release.withdrawn && !further {
                return Err(Error::conflict(format!(
                    "{} was withdrawn",
                    release.version
                )));
            }
            for mut other in change.releases(&app.id).await? {
                if index.revoked.contains(&other.version) && !other.withdrawn {
                    other.withdrawn = true;
                    change.change_release(&other).await?;
                }
            }
            channel.release = Some(release.id);
            channel.seq = seq;
            channel.rollout = index
                .rollout
                .map_or(100, |rollout| rollout.min(100).cast_signed());
            change.set_channel(&app.id, &channel).await?;
        }
    }
    change
        .put_document(&app.id, &document.proper_name(), &content)
        .await?;
    change
        .note("document", &app.key, &document.proper_name())
        .await?;
    change.commit().await
}

/// Reads a document as it would lie in this folder: one that launchers can read, of this app, under the
/// name that they ask for, and signed by as many as the keys documents beside it ask for.
fn read_document(
    folder: &tempfile::TempDir,
    name: &str,
    text: &str,
    app: &str,
) -> Result<Document> {
    let wrong = |error: castoff_publish::Error| Error::DocumentInvalid(error.to_string());
    let document = Document::parse(Path::new(name), text.as_bytes()).map_err(wrong)?;
    if document.app() != app || document.proper_name() != name {
        return Err(Error::DocumentInvalid(format!(
            "this is {} of {}, not {name} of {app}",
            document.proper_name(),
            document.app()
        )));
    }
    let beside = Folder::open(folder.path()).map_err(wrong)?;
    if let Some(standing) = beside
        .standings(&document)
        .map_err(wrong)?
        .iter()
        .find(|standing| standing.lacks() > 0)
    {
        return Err(Error::DocumentInvalid(format!(
            "{name}: of the {}, {} of {} needed have signed",
            standing.of,
            standing.signed.len(),
            standing.threshold
        )));
    }
    Ok(document)
}

/// Whether a text is the same document, with whichever signatures.
fn is_same(document: &Document, text: &str) -> bool {
    Document::parse(document.path(), text.as_bytes())
        .is_ok_and(|it| it.sha256() == document.sha256())
}

/// Fails unless the packages that a document says lie beside it are those that are here.
fn lies_here(document: &Document, release: &Release) -> Result<()> {
    let packages = document.value()["packages"].as_object();
    for (target, signed) in packages.into_iter().flatten() {
        let urls = signed["urls"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let Some(name) = urls
            .iter()
            .filter_map(|url| url.as_str())
            .find(|url| !url.contains('/'))
        else {
            continue;
        };
        let lies = release.packages.iter().any(|package| {
            package.name == name
                && Some(package.size) == signed["size"].as_i64()
                && signed["sha256"].as_str() == Some(package.sha256.as_str())
        });
        if !lies {
            return Err(Error::conflict(format!(
                "the document names {name} for {target}, which is not here with that size and digest; upload the \
                 package first"
            )));
        }
    }
    Ok(())
}

async fn known(change: &mut Change, app: &App, version: &Version) -> Result<Release> {
    change
        .release(&app.id, version)
        .await?
        .ok_or_else(|| Error::not_found(format!("{} has no version {version}", app.key)))
}

/// Signs those indexes again that have less than half of their time left.
pub async fn renew(server: &Server) -> Result<()> {
    for app in server.registry.apps().await? {
        let Some(signer) = server.keys.of(&app.key) else {
            continue;
        };
        for channel in server.registry.channels(&app.id).await? {
            if is_fresh(server, &app, &channel.name).await? {
                continue;
            }
            let mut change = server.registry.change("the server").await?;
            let mut channel = change.channel(&app.id, &channel.name).await?;
            let releases = change.releases(&app.id).await?;
            let Some(current) = releases
                .into_iter()
                .find(|it| Some(it.id) == channel.release)
            else {
                continue;
            };
            let wish = Wish {
                channel: channel.name.clone(),
                current: current.version.clone(),
                rollout: channel.rollout,
                revoked: Vec::new(),
            };
            channel.seq = sign::index(server, &mut change, &app, signer, wish).await?;
            change.set_channel(&app.id, &channel).await?;
            change.note("renew", &app.key, &channel.name).await?;
            change.commit().await?;
        }
    }
    Ok(())
}

/// Whether there is nothing to renew.
async fn is_fresh(server: &Server, app: &App, channel: &str) -> Result<bool> {
    let name = castoff::trust::document::index_name(channel);
    let Some(text) = server.registry.document(&app.id, &name).await? else {
        return Ok(true);
    };
    let document = Document::parse(Path::new(&name), text.as_bytes())
        .map_err(|error| Error::Internal(error.to_string()))?;
    let Content::Index(index) = document.content() else {
        return Ok(true);
    };
    let half = (index.expires - index.issued) / 2;
    Ok(index.expires - Utc::now() > half)
}
