//! What a publisher does: key pairs, signatures, the three signed documents, and a look at a folder
//! of them as a launcher would take it.
//!
//! | module | does |
//! |---|---|
//! | [`init`] | writes the files with which a publisher begins |
//! | [`signer`] | makes key pairs and signs, in minisign's own formats |
//! | [`document`] | reads what lies in a folder, adds signatures, says which are missing |
//! | [`keys`] | writes `keys.N.json` |
//! | [`release`] | writes `release-VERSION.json` |
//! | [`index`] | writes `CHANNEL.json` |
//! | [`pack`] | makes a package of a folder |
//! | [`against`] | reads what an older version consists of, for a package of what has changed |
//! | [`place`] | knows the places at which releases are published |
//! | [`publish`] | brings releases to a place, makes them current, takes them back |
//! | [`verify`] | goes through a folder as a launcher does, and says what it trusts and why |
//!
//! Promises: nothing is written that the engine does not read ([`castoff::trust`] reads it back
//! first). Nothing is signed for the reason alone that it lies in the folder: what is carried over
//! from an older document was signed by a key that is at hand. No key file is ever overwritten, and
//! a document is the old one or the new one, whatever happens.
//!
//! The library asks nobody and prints nothing: clock and passphrases are passed in.

pub mod against;
pub mod document;
mod error;
pub mod index;
pub mod init;
pub mod keys;
pub mod pack;
pub mod place;
pub mod publish;
pub mod release;
pub mod signer;
pub mod steps;
pub mod time;
pub mod verify;

pub use error::{Error, Result};

/// Whether a text is the address of something on a server, and not a path.
pub(crate) fn is_address(text: &str) -> bool {
    ["https://", "http://"].iter().any(|scheme| {
        let start = text.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })
}
