//! Archives: what is in a package, and the refusal of what must not be written.
//!
//! Promises: an opened [`Archive`] has only names and links that can be written together, on every
//! system, without leaving the target folder ([`guard`]); all that can be known of its sizes
//! without unpacking it is known and within the [`Limits`]; and whatever is unpacked is what its
//! entry says, or the unpacking fails.
//!
//! Does not promise: that the archive is the publisher's. `trust` decides that, before.

pub mod guard;
mod zip;

pub use self::guard::SafePath;
pub use self::zip::{Archive, Entry, EntryKind, Extracted, Limits, Loose};

/// The CRC-32 of zip, of some bytes.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
