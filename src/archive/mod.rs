//! Archives: what is in a package, and the refusal of what must not be written.
//!
//! A package is a zip (`zip`), a tar that gzip or zstd has packed (`tar`), or a set of loose files
//! that were verified one by one ([`Archive::of_files`]). What it is, its first bytes say, and not its
//! name. Whatever it is, it becomes an [`Archive`] (`contents`), and nobody else sees a difference.
//!
//! Promises: an opened [`Archive`] has only names and links that can be written together, on every
//! system, without leaving the target folder ([`guard`]); all that can be known of its sizes
//! without unpacking it is known and within the [`Limits`]; and whatever is unpacked is what its
//! entry says, or the unpacking fails.
//!
//! Does not promise: that the archive is the publisher's. `trust` decides that, before.

mod contents;
pub mod guard;
mod source;
mod tar;
mod zip;

#[cfg(fuzzing)]
pub(crate) use self::contents::open_plain_tar;
pub use self::contents::{Archive, Entry, EntryKind, Extracted, Limits, Loose, Opening};
pub use self::guard::SafePath;

/// The CRC-32 of zip, of some bytes.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
