//! Writing `CHANNEL.json`: which release is current.
//!
//! Promises: the number only goes up; versions that were revoked stay so; a release that is not
//! there, not readable, of another app or not yet signed by enough is not made current.

use castoff::trust::PublicKey;
use castoff::trust::document::{Index, SPEC, index_name};
use castoff::version::Version;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::document::{Document, Folder, Written, is_identity, list, write};
use crate::signer::Signer;
use crate::{Error, Result, time};

/// How long an index holds, unless told: who is shown an old one for longer notices.
pub const LIFETIME: TimeDelta = TimeDelta::days(30);

/// What is to become current.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The app; `None`: the one that the release is of.
    pub app: Option<String>,
    /// The channel.
    pub channel: String,
    /// The release.
    pub current: Version,
    /// Versions that are not to be installed, besides those of before.
    pub revoked: Vec<Version>,
    /// For how many per cent of installations; `None`: all.
    pub rollout: Option<u64>,
    /// How long the index is to hold, from now on.
    pub expires: TimeDelta,
}

/// Signs an index that makes a release of the folder current.
///
/// `known` are keys that have signed the index before, where none of those that sign now has.
pub fn make(
    folder: &Folder,
    draft: &Draft,
    signers: &[Signer],
    known: &[PublicKey],
    now: DateTime<Utc>,
) -> Result<Written> {
    let Draft {
        channel, current, ..
    } = draft;
    if !is_identity(channel) {
        return Err(Error::request(format!("{channel:?} names no channel")));
    }
    let Some((release, _)) = folder.release(current)? else {
        return Err(Error::request(format!(
            "no release document of {current} lies in {}; `castoff sign` makes it",
            folder.path().display()
        )));
    };
    let app = draft.app.as_deref().unwrap_or(release.app());
    release.must_be_of(app)?;
    is_complete(folder, &release)?;
    if folder.standings(&release)?.is_empty() {
        // No document says who may sign it.
        release.must_be_known(signers, known)?;
    }
    let before = before(folder, channel, signers, known)?;
    let mut value = match &before {
        Some((document, _)) => {
            document.must_be_of(app)?;
            document.value().clone()
        }
        None => json!({"type": "index", "spec": SPEC, "app": app, "channel": channel}),
    };
    let mut revoked = before
        .as_ref()
        .map(|(_, index)| index.revoked.clone())
        .unwrap_or_default();
    for version in &draft.revoked {
        if !revoked.contains(version) {
            revoked.push(version.clone());
        }
    }
    if revoked.contains(current) {
        return Err(Error::request(format!(
            "{current} is revoked ({}), and cannot be current",
            list(&revoked)
        )));
    }
    value["current"] = json!({
        "version": current.as_str(), "sha256": release.sha256().to_string(),
    });
    match (draft.rollout, value.as_object_mut()) {
        (Some(rollout), _) => value["rollout"] = rollout.into(),
        (None, Some(fields)) => {
            fields.remove("rollout");
        }
        (None, None) => {}
    }
    if !revoked.is_empty() {
        value["revoked"] = revoked.iter().map(Version::as_str).collect();
    }
    let seq = before.as_ref().map(|(_, index)| index.seq);
    finish(folder, channel, value, seq, draft.expires, signers, now)
}

/// Signs the same index again, for some more time.
///
/// `known` are keys that have signed the index before, where none of those that sign now has.
pub fn renew(
    folder: &Folder,
    channel: &str,
    expires: TimeDelta,
    signers: &[Signer],
    known: &[PublicKey],
    now: DateTime<Utc>,
) -> Result<Written> {
    let Some((document, index)) = before(folder, channel, signers, known)? else {
        return Err(Error::request(format!(
            "no index of the channel {channel} lies in {}; `castoff index new` makes it",
            folder.path().display()
        )));
    };
    let value = document.value().clone();
    finish(
        folder,
        channel,
        value,
        Some(index.seq),
        expires,
        signers,
        now,
    )
}

/// The index as it is.
fn before(
    folder: &Folder,
    channel: &str,
    signers: &[Signer],
    known: &[PublicKey],
) -> Result<Option<(Document, Index)>> {
    let before = folder.index(channel)?;
    if let Some((document, _)) = &before {
        document.must_be_known(signers, known)?;
    }
    Ok(before)
}

fn finish(
    folder: &Folder,
    channel: &str,
    mut value: Value,
    before: Option<u64>,
    expires: TimeDelta,
    signers: &[Signer],
    now: DateTime<Utc>,
) -> Result<Written> {
    let seq = before
        .unwrap_or_default()
        .checked_add(1)
        .ok_or_else(|| Error::request("the index has the highest number that there is"))?;
    value["seq"] = seq.into();
    value["issued"] = time::text(now).into();
    value["expires"] = time::text(now + expires).into();
    let path = folder.file(&index_name(channel));
    write(&path, value.to_string().as_bytes(), &[], signers)
}

/// A release that launchers would refuse is not made current: all of them would stop updating.
fn is_complete(folder: &Folder, release: &Document) -> Result<()> {
    for standing in folder.standings(release)? {
        if standing.lacks() > 0 {
            return Err(Error::Engine(castoff::Error::TrustSignature {
                subject: release.path().display().to_string(),
                role: "release",
                signed: standing.signed.len(),
                needed: standing.threshold,
            }));
        }
    }
    Ok(())
}
