//! Writing `keys.N.json`: which keys speak for which role.
//!
//! Promises: a document that is there is not written over; the next one is made only of one that
//! launchers can follow, as far as the folder tells, and that a key at hand has signed.

use castoff::trust::document::{SPEC, keys_name};
use castoff::trust::{PublicKey, Role};
use castoff::version::Version;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::document::{Folder, Written, is_identity, roles, write};
use crate::signer::Signer;
use crate::{Error, Result, time};

/// What is to become of a role; what is not said stays.
#[derive(Clone, Debug, Default)]
pub struct RoleWish {
    /// The keys, all of them; none: as they were.
    pub keys: Vec<PublicKey>,
    /// How many have to sign.
    pub threshold: Option<usize>,
}

/// What is to become of the keys; what is not said stays.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Who may sign keys.
    pub root: RoleWish,
    /// Who may sign releases.
    pub release: RoleWish,
    /// Who may sign indexes.
    pub index: RoleWish,
    /// Nothing below is to be installed.
    pub min_version: Option<Version>,
    /// How long they are to hold, from now on.
    pub expires: Option<TimeDelta>,
}

/// How long the first keys hold, unless told: about as long as anybody uses a program.
pub const LIFETIME: TimeDelta = TimeDelta::days(10 * 365);

impl RoleWish {
    fn role(&self, name: &str, before: &Role) -> Result<Role> {
        let keys = if self.keys.is_empty() {
            before.keys().to_vec()
        } else {
            self.keys.clone()
        };
        let threshold = self.threshold.unwrap_or(before.threshold());
        Role::new(keys, threshold)
            .map_err(|problem| Error::request(format!("the role {name} {problem}")))
    }
}

impl Wishes {
    /// The roles as they are to be, before which they were these.
    fn roles(&self, before: [(&str, &Role); 3]) -> Result<Value> {
        let wishes = [&self.root, &self.release, &self.index];
        let mut value = json!({});
        for (wish, (name, before)) in wishes.into_iter().zip(before) {
            let role = wish.role(name, before)?;
            let keys: Vec<String> = role.keys().iter().map(ToString::to_string).collect();
            value[name] = json!({"threshold": role.threshold(), "keys": keys});
        }
        Ok(value)
    }
}

fn expiry(after: TimeDelta, now: DateTime<Utc>) -> Value {
    time::text(now + after).into()
}

/// Writes `keys.1.json`. Without keys for root, those that sign are it; without keys for the other
/// roles, root's are theirs.
pub fn init(
    folder: &Folder,
    app: &str,
    wishes: &Wishes,
    signers: &[Signer],
    now: DateTime<Utc>,
) -> Result<Written> {
    if !is_identity(app) {
        return Err(Error::request(format!(
            "{app:?} names no app: letters, digits, dots, hyphens and underscores do"
        )));
    }
    if let Some((document, _)) = folder.newest_keys()? {
        return Err(Error::Exists {
            path: document.path().to_path_buf(),
        });
    }
    let own: Vec<PublicKey> = signers
        .iter()
        .map(|signer| signer.public().clone())
        .collect();
    let keys = if wishes.root.keys.is_empty() {
        own
    } else {
        wishes.root.keys.clone()
    };
    let root = Role::new(keys, wishes.root.threshold.unwrap_or(1))
        .map_err(|problem| Error::request(format!("the role root {problem}")))?;
    // A role with keys of its own has a threshold of its own.
    let one = Role::new(root.keys().to_vec(), 1).map_err(Error::request)?;
    let before = |wish: &RoleWish| if wish.keys.is_empty() { &root } else { &one };
    let before = [
        ("root", &root),
        ("release", before(&wishes.release)),
        ("index", before(&wishes.index)),
    ];
    let mut value = json!({
        "type": "keys", "spec": SPEC, "app": app, "version": 1,
        "expires": expiry(wishes.expires.unwrap_or(LIFETIME), now),
        "roles": wishes.roles(before)?,
    });
    if let Some(least) = &wishes.min_version {
        value["min_version"] = least.as_str().into();
    }
    let path = folder.file(&keys_name(1));
    write(&path, value.to_string().as_bytes(), &[], signers)
}

/// Writes the document after the highest one in the folder.
///
/// `known` are keys that have signed that one, where none of those that sign now has. `first` is the number
/// of the document with which launchers begin (`trust.first`): what is missing of the root keys before it
/// is missed by nobody.
pub fn rotate(
    folder: &Folder,
    wishes: &Wishes,
    first: u64,
    signers: &[Signer],
    known: &[PublicKey],
    now: DateTime<Utc>,
) -> Result<Written> {
    let Some((document, keys)) = folder.newest_keys()? else {
        return Err(Error::request(format!(
            "no keys document lies in {}; `castoff keys init` makes the first",
            folder.path().display()
        )));
    };
    document.must_be_known(signers, known)?;
    for standing in folder.standings_since(&document, first)? {
        if standing.lacks() > 0 {
            return Err(Error::request(format!(
                "{} is not complete: {} of the {} have signed it, {} have to; nobody could follow it \
                 to the next",
                document.path().display(),
                standing.signed.len(),
                standing.of,
                standing.threshold
            )));
        }
    }
    let mut value = document.value().clone();
    let number = keys
        .number
        .checked_add(1)
        .ok_or_else(|| Error::request("there is no higher number"))?;
    value["version"] = number.into();
    value["roles"] = wishes.roles(roles(&keys))?;
    if let Some(least) = &wishes.min_version {
        value["min_version"] = least.as_str().into();
    }
    match wishes.expires {
        Some(after) => value["expires"] = expiry(after, now),
        None if keys.expires.is_some_and(|expires| expires <= now) => {
            return Err(Error::request(
                "these keys have expired; say with --expires how long the next ones hold",
            ));
        }
        None => {}
    }
    let path = folder.file(&keys_name(number));
    write(&path, value.to_string().as_bytes(), &[], signers)
}
