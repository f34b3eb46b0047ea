//! Reads a tar, strictly.
//!
//! A tar can only be read from its beginning, and what it is packed in too. So it is decompressed
//! once, to a file without a name ([`disk::scratch_file`]) that gets the content of one file after the
//! other; from there on it is like a zip whose entries are stored. Memory is needed for the names, and
//! those are counted ([`NAMES_LIMIT`]).
//!
//! Read are the formats that tools write: POSIX's ustar and pax, GNU's, and the one of Unix version
//! 7. A tar that two readers would see differently is refused:
//!
//! - a header whose sum is wrong, a field that is no number, a name in more than one place;
//! - a pax record that is longer or shorter than it says, or there twice; a size in it that is another
//!   than in the header, where that had room for it; one for all entries that says what only one can
//!   have (git's comment may stand there);
//! - a link or a folder with content, a file whose name ends in a slash;
//! - an end that is not two blocks of zeros with nothing but zeros after them, or no end.
//!
//! So are devices, pipes, sparse files, parts of volumes, and whatever else is not known. Names are
//! UTF-8 or refused: other than with zips, no tool is known that writes another encoding on the
//! systems that are in use. A hard link becomes a copy of the file it names, which must have come
//! before. `./` before a name is dropped, since `tar czf x.tgz .` writes it.
//!
//! The [`Limits`] hold at every moment: what is beyond them is neither decompressed nor written.
//!
//! Not promised: that padding is zero, or that owners, times and devices' numbers make sense.

#[cfg(test)]
mod tests;
mod zstd;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};

use flate2::Crc;
use flate2::bufread::MultiGzDecoder;

use super::contents::{
    Data, INPUT_BLOCK, Item, ItemKind, OUTPUT_BLOCK, Opening, TARGET_LIMIT, least,
};
use super::guard;
use super::source::Source;
use crate::{Error, Result, disk};

/// The unit of a tar: a header, and what all content is filled up to.
const BLOCK: usize = 512;

/// The largest size that a header has room for in octal digits, as ustar has them: 8 GiB - 1.
const OCTAL_LIMIT: u64 = 0o777_7777_7777;

/// The largest extended header: a path has 1,024 bytes, but tools put attributes there too, of which
/// Linux allows 64 KiB each.
const EXTENSION_LIMIT: u64 = 1 << 20;

/// The most bytes of names and targets, which are held in memory until all is known: half a million
/// entries have 128 bytes each, and no Python environment has half of either.
const NAMES_LIMIT: u64 = 64 << 20;

/// Files of this size and more are asked for room before they are written. What a thousand smaller
/// ones need is within the margin of that question.
const SPACE_FROM: u64 = 1 << 20;

/// What a tar is packed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
    #[cfg(fuzzing)]
    Nothing,
}

impl Packing {
    /// What the first bytes say; none: no packed tar.
    pub(super) fn of(start: [u8; 4]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A frame, or one that is skipped, with which pzstd begins.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Bytes that come out of it at the least, as far as it says so itself. If that is not so, the
    /// end of the stream will be found not to be what it says.
    fn least_size(self, package: &Source) -> Result<u64> {
        match self {
            Self::Gzip => {
                // The last four bytes: the size of its last part, without the fifth byte's.
                let mut size = [0; 4];
                let at = package.length.saturating_sub(size.len() as u64);
                let known = least(package.length, size.len());
                package.read(&mut size[..known], at)?;
                Ok(u32::from_le_bytes(size).into())
            }
            Self::Zstd => zstd::least_size(package),
            #[cfg(fuzzing)]
            Self::Nothing => Ok(0),
        }
    }

    fn unpacked<'a>(self, bytes: Bytes<'a>) -> Box<dyn Read + 'a> {
        let buffered = BufReader::with_capacity(INPUT_BLOCK, bytes);
        match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(buffered)),
            Self::Zstd => Box::new(zstd::Frames::new(buffered)),
            #[cfg(fuzzing)]
            Self::Nothing => Box::new(buffered),
        }
    }
}

/// What a tar holds, and the file in which its content lies now.
pub(super) fn read(
    package: &Source,
    packing: Packing,
    how: &Opening<'_>,
) -> Result<(Source, Vec<Item>)> {
    let failure = RefCell::new(None);
    let stream = packing.unpacked(Bytes {
        source: package,
        at: 0,
        failure: &failure,
    });
    let size = packing.least_size(package)?;
    // What is beyond the limits is not true, or refused when they are reached.
    if how.limits.check_ratio(size, package).is_ok() {
        disk::need_space(how.scratch, size)?;
    }
    let scratch = disk::scratch_file(how.scratch)?;
    let mut reader = Reader {
        stream,
        failure: &failure,
        package,
        how,
        scratch: BufWriter::with_capacity(OUTPUT_BLOCK, scratch),
        written: 0,
        taken: 0,
        total: 0,
        count: 0,
        names: 0,
        items: Vec::new(),
        known: HashMap::new(),
        known_to: 0,
    };
    reader.all()?;
    let Reader { scratch, items, .. } = reader;
    let scratch = scratch
        .into_inner()
        .map_err(|error| Error::io("write to", how.scratch)(error.into_error()))?;
    Ok((Source::new(scratch, how.subject)?, items))
}

/// The package's own bytes, in order. An error of the file is put aside, so that it can be told from
/// bytes that cannot be decompressed.
struct Bytes<'a> {
    source: &'a Source,
    at: u64,
    failure: &'a RefCell<Option<Error>>,
}

impl Read for Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = least(self.source.length - self.at, into.len());
        self.source
            .read(&mut into[..count], self.at)
            .map_err(|error| {
                self.failure.replace(Some(error));
                io::Error::other("the package cannot be read")
            })?;
        self.at += count as u64;
        Ok(count)
    }
}

struct Reader<'a> {
    stream: Box<dyn Read + 'a>,
    failure: &'a RefCell<Option<Error>>,
    package: &'a Source,
    how: &'a Opening<'a>,
    scratch: BufWriter<File>,
    /// Bytes in the scratch file.
    written: u64,
    /// Bytes of the tar that have been read.
    taken: u64,
    /// Bytes of all entries.
    total: u64,
    /// Entries, and headers that stand for themselves.
    count: u64,
    /// Bytes of the names and targets of `items`.
    names: u64,
    items: Vec<Item>,
    /// Where the files are among the first `known_to` of `items`; filled when a hard link comes.
    known: HashMap<String, usize>,
    known_to: usize,
}

/// What the header of an entry says, with what was said before it.
struct Described {
    name: String,
    kind: u8,
    size: u64,
    executable: bool,
    target: Vec<u8>,
}

/// What extended headers say of the entry that follows.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    /// Whether there was one of pax.
    pax: bool,
}

impl Extension {
    fn is_there(&self) -> bool {
        self.pax || self.path.is_some() || self.target.is_some()
    }
}

impl Reader<'_> {
    /// Reads to the end.
    fn all(&mut self) -> Result<()> {
        let mut extension = Extension::default();
        loop {
            let block = self.block()?;
            if is_zero(&block) {
                if extension.is_there() {
                    return Err(self.invalid("an extended header is followed by no entry"));
                }
                return self.end();
            }
            let header = Header(&block);
            header.check().map_err(|problem| self.invalid(problem))?;
            let name = header.name();
            let size = header.number(SIZE);
            let size =
                size.map_err(|problem| self.invalid_entry(&name, &format!("its size {problem}")))?;
            let twice = || self.invalid_entry(&name, "two headers say what only one can");
            match header.kind() {
                b'x' if extension.pax => return Err(twice()),
                b'x' => {
                    let bytes = self.extension(&name, size)?;
                    self.pax(&name, &bytes, Some(&mut extension))?;
                    extension.pax = true;
                }
                b'g' if extension.is_there() => {
                    return Err(self.invalid("an extended header is followed by no entry"));
                }
                b'g' => {
                    self.count_one()?;
                    let bytes = self.extension(&name, size)?;
                    self.pax(&name, &bytes, None)?;
                }
                // What says so without being GNU's is an entry to other readers.
                kind @ (b'L' | b'K') if header.is_gnu() => {
                    let bytes = self.extension(&name, size)?;
                    let long = until_zero(&bytes);
                    // Other readers take the zeros for a part of the name.
                    if bytes.len() > long.len() + 1 {
                        let problem = "there is more than a name in its extended header";
                        return Err(self.invalid_entry(&name, problem));
                    }
                    let place = if kind == b'L' {
                        &mut extension.path
                    } else {
                        &mut extension.target
                    };
                    if place.is_some() {
                        return Err(self.invalid_entry(&name, "two headers say what only one can"));
                    }
                    *place = Some(long.to_vec());
                }
                _ => {
                    let described =
                        self.described(&header, size, std::mem::take(&mut extension))?;
                    self.entry(described)?;
                }
            }
        }
    }

    /// Puts together what is said of an entry.
    fn described(&self, header: &Header, size: u64, extension: Extension) -> Result<Described> {
        let own = header.name();
        let raw = extension.path.unwrap_or(own);
        if raw.len() > guard::PATH_LIMIT + "./".len() {
            let name = String::from_utf8_lossy(&raw);
            return Err(guard::refused(name, "the path has more than 1024 bytes"));
        }
        let name = String::from_utf8(raw).map_err(|error| {
            let name = String::from_utf8_lossy(error.as_bytes()).into_owned();
            guard::refused(name, "the name is not UTF-8")
        })?;
        let invalid = |problem: &str| self.invalid_entry(name.as_bytes(), problem);
        let size = match extension.size {
            None => size,
            // What the header has no room for.
            Some(wide) if wide == size || wide > OCTAL_LIMIT => wide,
            Some(_) => return Err(invalid("two headers announce different sizes")),
        };
        let executable = header
            .is_executable()
            .map_err(|problem| invalid(&format!("its mode {problem}")))?;
        Ok(Described {
            kind: header.kind(),
            size,
            executable,
            target: extension.target.unwrap_or_else(|| header.target()),
            name,
        })
    }

    fn entry(&mut self, entry: Described) -> Result<()> {
        self.count_one()?;
        let Described { kind, size, .. } = entry;
        // Version 7 had no type for folders.
        let is_folder = kind == b'5' || (kind == 0 && entry.name.ends_with('/'));
        let name = entry.name.strip_prefix("./").unwrap_or(&entry.name);
        let refuse = |problem: &str| Err(guard::refused(&entry.name, problem));
        if size != 0 && (is_folder || matches!(kind, b'1' | b'2')) {
            return Err(self.invalid_entry(name.as_bytes(), "it has content and is no file"));
        }
        let item = match kind {
            _ if is_folder => {
                if matches!(entry.name.as_str(), "." | "./") {
                    return Ok(());
                }
                Item::folder(name.strip_suffix('/').unwrap_or(name).to_owned())
            }
            0 | b'0' | b'7' => self.file(name, size, entry.executable)?,
            b'1' => {
                let Some(target) = std::str::from_utf8(&entry.target).ok() else {
                    return refuse("the target is no UTF-8");
                };
                let target = target.strip_prefix("./").unwrap_or(target);
                self.copy_of(name, target)?
            }
            b'2' => {
                if entry.target.len() as u64 > TARGET_LIMIT {
                    return refuse("the target has more than 4096 bytes");
                }
                let Ok(target) = String::from_utf8(entry.target) else {
                    return Err(guard::refused(name, "the target is no UTF-8"));
                };
                Item::link(name.to_owned(), target)
            }
            b'3' | b'4' | b'6' => return refuse("it is a device, socket or pipe"),
            b'S' => return Err(self.invalid_entry(name.as_bytes(), "it is a sparse file")),
            other => {
                let problem = format!("type {:?} is not supported", char::from(other));
                return Err(self.invalid_entry(name.as_bytes(), &problem));
            }
        };
        let target = match &item.kind {
            ItemKind::Link(target) => target.len(),
            _ => 0,
        };
        self.names += (item.name.len() + target) as u64;
        if self.names > NAMES_LIMIT {
            let limit = format!("{NAMES_LIMIT} bytes of names");
            return Err(self.package.too_large(limit));
        }
        self.items.push(item);
        Ok(())
    }

    /// Takes a file's content into the scratch file.
    fn file(&mut self, name: &str, size: u64, executable: bool) -> Result<Item> {
        self.add_to_total(size)?;
        if size >= SPACE_FROM {
            disk::need_space(self.how.scratch, size)?;
        }
        let at = self.written;
        let mut crc = Crc::new();
        let mut left = size;
        let mut block = vec![0; least(size, OUTPUT_BLOCK)];
        while left > 0 {
            let part = &mut block[..least(left, OUTPUT_BLOCK)];
            self.fill(part)?;
            crc.update(part);
            self.scratch
                .write_all(part)
                .map_err(Error::io("write to", self.how.scratch))?;
            left -= part.len() as u64;
        }
        self.written += size;
        self.skip_padding(size)?;
        Ok(Item {
            name: name.to_owned(),
            kind: ItemKind::File,
            size,
            compressed: size,
            crc32: Some(crc.sum()),
            executable,
            data: Data::Stored(at),
        })
    }

    /// A hard link: the same content as that of a file before.
    fn copy_of(&mut self, name: &str, target: &str) -> Result<Item> {
        for (index, item) in self.items.iter().enumerate().skip(self.known_to) {
            if matches!(item.kind, ItemKind::File) {
                self.known.insert(item.name.clone(), index);
            }
        }
        self.known_to = self.items.len();
        let Some(index) = self.known.get(target) else {
            return Err(guard::refused(
                format!("{name} -> {target}"),
                "a hard link must be to a file that comes before it",
            ));
        };
        let file = &self.items[*index];
        let item = Item {
            name: name.to_owned(),
            kind: ItemKind::File,
            data: file.data.clone(),
            ..*file
        };
        self.add_to_total(item.size)?;
        Ok(item)
    }

    /// The content of an extended header.
    fn extension(&mut self, name: &[u8], size: u64) -> Result<Vec<u8>> {
        if size > EXTENSION_LIMIT {
            return Err(self.invalid_entry(name, "an extended header has more than 1 MiB"));
        }
        let mut bytes = vec![0; least(size, usize::MAX)];
        self.fill(&mut bytes)?;
        self.skip_padding(size)?;
        Ok(bytes)
    }

    /// Reads the records of an extended header of pax: of one entry, or (no `extension`) of all.
    fn pax(&self, name: &[u8], bytes: &[u8], extension: Option<&mut Extension>) -> Result<()> {
        let invalid = |problem: &str| self.invalid_entry(name, problem);
        let mut own = Extension::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (key, value, after) = pax_record(rest)
                .ok_or_else(|| invalid("a record of its extended header is damaged"))?;
            rest = after;
            let once = match key {
                b"path" => own.path.replace(value.to_vec()).is_none(),
                b"linkpath" => own.target.replace(value.to_vec()).is_none(),
                b"size" => {
                    let size = decimal(value).ok_or_else(|| invalid("its size is no number"))?;
                    own.size.replace(size).is_none()
                }
                b"hdrcharset" if value != b"ISO-IR 10646 2000 UTF-8" => {
                    return Err(invalid("its names are in an encoding that is not said"));
                }
                _ if key.starts_with(b"GNU.sparse.") || key == b"SCHILY.realsize" => {
                    return Err(invalid("it is a sparse file"));
                }
                _ => true,
            };
            if !once {
                return Err(invalid("a record of its extended header is there twice"));
            }
        }
        // An empty value takes an earlier one back, for those readers that know of it.
        let is_empty = |value: &Option<Vec<u8>>| value.as_ref().is_some_and(Vec::is_empty);
        if is_empty(&own.path) || is_empty(&own.target) {
            return Err(invalid("a record of its extended header is empty"));
        }
        let Some(extension) = extension else {
            if own.path.is_some() || own.target.is_some() || own.size.is_some() {
                return Err(invalid("it names one path or size for all entries"));
            }
            return Ok(());
        };
        for (place, value) in [
            (&mut extension.path, own.path),
            (&mut extension.target, own.target),
        ] {
            if value.is_some() && place.is_some() {
                return Err(invalid("two headers say what only one can"));
            }
            *place = value.or(place.take());
        }
        extension.size = own.size;
        Ok(())
    }

    /// After the first block of zeros: another one, and then nothing but zeros.
    fn end(&mut self) -> Result<()> {
        let block = self.block()?;
        if !is_zero(&block) {
            return Err(self.invalid("there is one block of zeros in it, and more after that"));
        }
        let mut block = vec![0; INPUT_BLOCK];
        loop {
            let count = self.some(&mut block)?;
            if count == 0 {
                return Ok(());
            }
            if !is_zero(&block[..count]) {
                return Err(self.invalid("there are bytes after its end"));
            }
        }
    }

    fn count_one(&mut self) -> Result<()> {
        self.count += 1;
        let most = self.how.limits.max_entries;
        if self.count > most {
            return Err(self.package.too_large(format!("{most} entries")));
        }
        Ok(())
    }

    fn add_to_total(&mut self, size: u64) -> Result<()> {
        self.total = self.total.saturating_add(size);
        self.how.limits.check_total(self.total, self.package)
    }

    fn block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        Ok(block)
    }

    fn skip_padding(&mut self, size: u64) -> Result<()> {
        let over = least(size % BLOCK as u64, BLOCK);
        if over != 0 {
            let mut padding = [0; BLOCK];
            self.fill(&mut padding[over..])?;
        }
        Ok(())
    }

    fn fill(&mut self, mut into: &mut [u8]) -> Result<()> {
        while !into.is_empty() {
            let count = self.some(into)?;
            if count == 0 {
                return Err(self.invalid("it is cut short: there is no end in it"));
            }
            into = &mut into[count..];
        }
        Ok(())
    }

    /// The next bytes of the tar, as many as come; none at the end.
    fn some(&mut self, into: &mut [u8]) -> Result<usize> {
        let count = loop {
            match self.stream.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.undecodable(&error)),
                Ok(count) => break count,
            }
        };
        self.taken += count as u64;
        self.how.limits.check_ratio(self.taken, self.package)?;
        Ok(count)
    }

    fn undecodable(&self, error: &io::Error) -> Error {
        self.failure.take().unwrap_or_else(|| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.invalid("its packed data is cut short"),
            _ => self.invalid(format!("it cannot be decompressed: {error}")),
        })
    }

    fn invalid(&self, problem: impl Into<String>) -> Error {
        self.package.invalid(problem)
    }

    fn invalid_entry(&self, name: &[u8], problem: &str) -> Error {
        self.package.invalid_entry(name, problem)
    }
}

/// A header, which has its fields at fixed places.
struct Header<'a>(&'a [u8; BLOCK]);

type Field = std::ops::Range<usize>;
const NAME: Field = 0..100;
const MODE: Field = 100..108;
const SIZE: Field = 124..136;
const SUM: Field = 148..156;
const KIND: usize = 156;
const TARGET: Field = 157..257;
/// The format and its version.
const MAGIC: Field = 257..265;
/// The folders before the name, in POSIX's format.
const PREFIX: Field = 345..500;
/// Unused in POSIX's format. Where something stands, the prefix is another tool's, and shorter.
const TAIL: Field = 500..512;

const POSIX: &[u8] = b"ustar\x0000";
const GNU: &[u8] = b"ustar  \0";

impl Header<'_> {
    fn check(&self) -> Result<(), &'static str> {
        let sum = self.number(SUM);
        let spaces = [b' '; SUM.end - SUM.start];
        let counted = self.0[..SUM.start].iter().chain(&spaces);
        let found: u64 = counted
            .chain(&self.0[SUM.end..])
            .copied()
            .map(u64::from)
            .sum();
        if sum != Ok(found) {
            return Err("it is no tar, or a damaged one: the sum of a header is wrong");
        }
        match &self.0[MAGIC] {
            POSIX if !is_zero(&self.0[TAIL]) => Err("a header is in a format that is not known"),
            POSIX | GNU => Ok(()),
            magic if is_zero(magic) => Ok(()),
            _ => Err("a header is in a format that is not known"),
        }
    }

    fn is_gnu(&self) -> bool {
        self.0[MAGIC] == *GNU
    }

    fn kind(&self) -> u8 {
        self.0[KIND]
    }

    fn name(&self) -> Vec<u8> {
        let name = until_zero(&self.0[NAME]);
        let prefix = until_zero(&self.0[PREFIX]);
        if self.0[MAGIC] != *POSIX || prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    fn target(&self) -> Vec<u8> {
        until_zero(&self.0[TARGET]).to_vec()
    }

    fn is_executable(&self) -> Result<bool, &'static str> {
        // Some tools write none for what has no modes.
        if until_zero(&self.0[MODE]).trim_ascii().is_empty() {
            return Ok(false);
        }
        Ok(self.number(MODE)? & 0o111 != 0)
    }

    /// A number in octal digits, or, with the highest bit set, in the bytes themselves.
    fn number(&self, field: Field) -> Result<u64, &'static str> {
        const NONE: &str = "is no number";
        let field = &self.0[field];
        if let [0x80, high @ .., a, b, c, d, e, f, g, h] = field {
            if !is_zero(high) {
                return Err(NONE);
            }
            return Ok(u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]));
        }
        let field = field.trim_ascii_start();
        let length = field
            .iter()
            .take_while(|digit| (b'0'..=b'7').contains(*digit));
        let (digits, rest) = field.split_at(length.count());
        if digits.is_empty() || !rest.iter().all(|byte| matches!(byte, 0 | b' ')) {
            return Err(NONE);
        }
        // Twelve digits are 36 bits.
        Ok(digits
            .iter()
            .fold(0, |number, digit| number << 3 | u64::from(digit - b'0')))
    }
}

/// A record, `LENGTH KEY=VALUE` and a newline, in which the length is that of all this; and what is
/// after it.
fn pax_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    (!key.is_empty() && !key.contains(&0)).then_some((key, value, rest))
}

/// A number of decimal digits alone.
fn decimal(digits: &[u8]) -> Option<u64> {
    let all = digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| all)?;
    text.parse().ok()
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
