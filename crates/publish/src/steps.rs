//! The steps at which tests kill a publication, each between two changes ([`castoff::steps`] has the
//! means).

use crate::Result;

/// A release document is written beside its package.
pub const SIGNED: &str = "publish.signed";
/// Some of a package is at the place, under no name that a launcher asks for.
pub const SENDING: &str = "publish.sending";
/// A package is at the place.
pub const SENT: &str = "publish.sent";
/// The keys documents are at the place.
pub const KEYS: &str = "publish.keys";
/// The release document is at the place.
pub const RELEASED: &str = "publish.released";
/// The index is signed here, and not yet at the place.
pub const INDEXED: &str = "publish.indexed";
/// The index is at the place.
pub const CURRENT: &str = "publish.current";

/// Every step, in the order in which a publication meets them.
pub const ALL: [&str; 7] = [SIGNED, SENDING, SENT, KEYS, RELEASED, INDEXED, CURRENT];

/// Marks that a step has been reached.
pub(crate) fn reach(step: &'static str) -> Result<()> {
    Ok(castoff::steps::reach_named(step)?)
}
