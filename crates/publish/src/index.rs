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
    let current = &draft.current;
    let Some((release, _)) = folder.release(current)? else {
        return Err(Error::request(format!(
            "no release document of {current} lies in {}; `castoff sign` makes it",
            folder.path().display()
        )));
    };
    let before = folder.index(&draft.channel)?;
    carry_on(
        folder,
        draft,
        &release,
        before.as_slice(),
        signers,
        known,
        now,
    )
}

/// The same for a release and for indexes that need not lie in the folder. What one of them has
/// revoked stays so, and the number is higher than each of theirs.
pub(crate) fn carry_on(
    folder: &Folder,
    draft: &Draft,
    release: &Document,
    before: &[(Document, Index)],
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
    let app = draft.app.as_deref().unwrap_or(release.app());
    release.must_be_of(app)?;
    // A release that launchers would refuse is not made current: all of them would stop updating.
    folder.must_be_complete(release, 1)?;
    if folder.standings(release)?.is_empty() {
        // No document says who may sign it.
        release.must_be_known(signers, known)?;
    }
    for (document, _) in before {
        document.must_be_known(signers, known)?;
        document.must_be_of(app)?;
    }
    let last = before.iter().max_by_key(|(_, index)| index.seq);
    let mut value = match last {
        Some((document, _)) => document.value().clone(),
        None => json!({"type": "index", "spec": SPEC, "app": app, "channel": channel}),
    };
    let mut revoked: Vec<&Version> = Vec::new();
    let revoked_before = before.iter().flat_map(|(_, index)| &index.revoked);
    for version in revoked_before.chain(&draft.revoked) {
        if !revoked.contains(&version) {
            revoked.push(version);
        }
    }
    if revoked.contains(&current) {
        let revoked: Vec<Version> = revoked.into_iter().cloned().collect();
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
        value["revoked"] = revoked.into_iter().map(Version::as_str).collect();
    }
    let seq = last.map(|(_, index)| index.seq);
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
    let Some((document, index)) = folder.index(channel)? else {
        return Err(Error::request(format!(
            "no index of the channel {channel} lies in {}; `castoff index new` makes it",
            folder.path().display()
        )));
    };
    document.must_be_known(signers, known)?;
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
