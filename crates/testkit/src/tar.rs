//! Builders of tars, good and hostile.
//!
//! [`RawTar`] writes a tar entry by entry, each field as told, so that any fault can be made; what is
//! not told is as GNU tar and pax write it. [`gzip`] and [`zstd`] pack it.

#![expect(
    clippy::missing_panics_doc,
    reason = "a builder that cannot build fails its test"
)]

use std::io::Write as _;
use std::ops::Range;

/// The unit of a tar.
pub const BLOCK: usize = 512;

/// Where the fields of a header are.
#[expect(missing_docs, reason = "the names are those of the format")]
pub mod field {
    use std::ops::Range;

    pub const NAME: Range<usize> = 0..100;
    pub const MODE: Range<usize> = 100..108;
    pub const SIZE: Range<usize> = 124..136;
    pub const SUM: Range<usize> = 148..156;
    pub const KIND: Range<usize> = 156..157;
    pub const TARGET: Range<usize> = 157..257;
    pub const MAGIC: Range<usize> = 257..265;
    pub const PREFIX: Range<usize> = 345..500;
    pub const TAIL: Range<usize> = 500..512;
}

/// An entry of a [`RawTar`]: its header, and the content after it.
#[derive(Clone, Debug)]
pub struct RawEntry {
    header: [u8; BLOCK],
    content: Vec<u8>,
    /// Changes that the sum knows nothing of.
    after: Vec<(usize, Vec<u8>)>,
}

impl RawEntry {
    /// An entry of any type, mode 0644, in POSIX's format.
    pub fn of(kind: u8, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref().to_vec();
        let size = content.len() as u64;
        let entry = Self {
            header: [0; BLOCK],
            content,
            after: Vec::new(),
        };
        entry
            .field(field::NAME, name)
            .mode(0o644)
            .size(size)
            .field(field::KIND, [kind])
            .field(field::MAGIC, b"ustar\x0000")
    }

    /// An ordinary file.
    pub fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self::of(b'0', name, content)
    }

    /// A folder.
    pub fn folder(name: impl AsRef<[u8]>) -> Self {
        Self::of(b'5', name, "").mode(0o755)
    }

    /// A symbolic link.
    pub fn link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::of(b'2', name, "")
            .field(field::TARGET, target)
            .mode(0o777)
    }

    /// A hard link.
    pub fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::of(b'1', name, "").field(field::TARGET, target)
    }

    /// An extended header of pax, for the entry that follows.
    pub fn pax(records: &[(&str, &str)]) -> Self {
        let records = records.iter().map(|(key, value)| pax_record(key, value));
        Self::of(b'x', "PaxHeaders/a", records.collect::<String>())
    }

    /// An extended header of pax, for all entries.
    pub fn pax_global(records: &[(&str, &str)]) -> Self {
        Self::pax(records).field(field::KIND, "g")
    }

    /// GNU's long name (`L`) or target (`K`) for the entry that follows.
    pub fn gnu(kind: u8, name: impl AsRef<[u8]>) -> Self {
        let content = [name.as_ref(), b"\0"].concat();
        Self::of(kind, "././@LongLink", content).field(field::MAGIC, b"ustar  \0")
    }

    /// Writes a field and fills it up with zeros; what does not fit is left out.
    #[must_use]
    pub fn field(mut self, at: Range<usize>, value: impl AsRef<[u8]>) -> Self {
        let field = &mut self.header[at];
        field.fill(0);
        let value = value.as_ref();
        let length = value.len().min(field.len());
        field[..length].copy_from_slice(&value[..length]);
        self
    }

    /// Writes bytes to a place of the header, and leaves the sum as it would be without them.
    #[must_use]
    pub fn after_the_sum(mut self, at: usize, bytes: impl AsRef<[u8]>) -> Self {
        self.after.push((at, bytes.as_ref().to_vec()));
        self
    }

    /// Sets the mode.
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        self.field(field::MODE, format!("{mode:07o}"))
    }

    /// Announces a size, whatever the content has.
    #[must_use]
    pub fn size(self, size: u64) -> Self {
        self.field(field::SIZE, format!("{size:011o}"))
    }

    /// Announces the content's size in the bytes themselves, as GNU does with large ones.
    #[must_use]
    pub fn binary_size(self) -> Self {
        let size = (self.content.len() as u64).to_be_bytes();
        self.field(field::SIZE, [&[0x80, 0, 0, 0][..], &size].concat())
    }

    fn write(&self, to: &mut Vec<u8>) {
        let mut header = self.header;
        if header[field::SUM].iter().all(|byte| *byte == 0) {
            header[field::SUM].fill(b' ');
            let sum: u32 = header.iter().copied().map(u32::from).sum();
            header[field::SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        for (at, bytes) in &self.after {
            header[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        to.extend(header);
        to.extend(&self.content);
        to.resize(to.len().next_multiple_of(BLOCK), 0);
    }
}

/// A record of an extended header, with the length that it has.
pub fn pax_record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while format!("{length}{rest}").len() != length {
        length = format!("{length}{rest}").len();
    }
    format!("{length}{rest}")
}

/// A tar that is written entry by entry. Without faults it is a correct one.
#[derive(Clone, Debug)]
pub struct RawTar {
    entries: Vec<RawEntry>,
    end: Vec<u8>,
}

impl RawTar {
    /// A tar of these entries, with an end.
    pub fn of(entries: impl IntoIterator<Item = RawEntry>) -> Self {
        Self {
            entries: entries.into_iter().collect(),
            end: vec![0; 2 * BLOCK],
        }
    }

    /// Puts these bytes where the end is.
    #[must_use]
    pub fn end(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.end = bytes.as_ref().to_vec();
        self
    }

    /// Writes the tar.
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            entry.write(&mut bytes);
        }
        bytes.extend(&self.end);
        bytes
    }
}

/// Bytes as gzip packs them.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes as zstd packs them.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// Tars that must be refused, and pieces of such.
pub mod hostile {
    use super::{RawEntry, RawTar};

    /// A tar with an ordinary file and one of this name.
    pub fn with_name(name: &[u8]) -> Vec<u8> {
        good([RawEntry::file(name, "content")]).build()
    }

    /// `main.py`, `lib/a.py`, and these entries between them.
    pub fn good(entries: impl IntoIterator<Item = RawEntry>) -> RawTar {
        let first = RawEntry::file("main.py", "print(1)");
        let last = RawEntry::file("lib/a.py", "a = 1\n".repeat(200));
        RawTar::of([first].into_iter().chain(entries).chain([last]))
    }
}
