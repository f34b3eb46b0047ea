//! The records of a zip (APPNOTE 6.3.10), strictly.
//!
//! Promises: every byte of the file belongs to exactly one record. The local headers with their
//! data follow each other from the first byte to the central directory, the directory is followed
//! by the end records, and the last one's comment ends with the file. That leaves no room for
//! prepended data, gaps, overlapping entries, entries that only some readers see, and a second
//! end record. What the local and the central header both say, they say alike.
//!
//! Does not promise: anything about the data of an entry, or that its name can be written.

use std::ops::Range;

use crate::Result;
use crate::archive::crc32;
use crate::archive::source::Source;
use crate::order;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;

/// Lengths of the records, without the parts whose length varies.
const LOCAL_LENGTH: usize = 30;
const CENTRAL_LENGTH: usize = 46;
const END_LENGTH: usize = 22;
const END64_LENGTH: usize = 56;
const LOCATOR64_LENGTH: usize = 20;

/// Numbers that say: see the zip64 record.
const FULL16: u64 = 0xffff;
const FULL32: u64 = 0xffff_ffff;

/// Extra fields that are read.
const EXTRA_ZIP64: u16 = 0x0001;
const EXTRA_UNICODE_PATH: u16 = 0x7075;

/// General purpose flags that mean something here.
pub(super) const FLAG_UTF8: u16 = 1 << 11;
const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// Encrypted, strongly encrypted, headers masked.
const FLAGS_ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const FLAG_PATCH: u16 = 1 << 5;
/// Those that must be the same in both headers. The others are notes on how it was compressed,
/// and reserved bits.
const FLAGS_COMPARED: u16 = FLAG_UTF8 | FLAG_DESCRIPTOR | FLAGS_ENCRYPTED | FLAG_PATCH;

/// The largest central directory that is read into memory: room for half a million entries of
/// ordinary length.
const DIRECTORY_LIMIT: u64 = 128 << 20;

/// What the end records say.
#[derive(Debug)]
pub(super) struct End {
    pub(super) count: u64,
    /// Where the central directory is; the end records begin where it ends.
    directory: Range<u64>,
}

/// An entry of the central directory.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) made_by: u8,
    pub(super) flags: u16,
    pub(super) deflated: bool,
    pub(super) crc32: u32,
    pub(super) compressed: u64,
    pub(super) size: u64,
    /// The upper half is a Unix mode, or zero.
    pub(super) external: u32,
    pub(super) name: Vec<u8>,
    /// The name in Info-ZIP's Unicode path field, when that field belongs to `name`.
    pub(super) unicode_name: Option<String>,
    /// Where the local header begins.
    header: u64,
    /// Where the data begins; known after [`locate`].
    pub(super) data: u64,
}

/// Finds the end record, and the zip64 ones before it.
///
/// The last end signature of the file must be the end record: a reader that looks from the front
/// of the comment, and one that looks from its end, find the same.
pub(super) fn find_end(source: &Source) -> Result<End> {
    let length = source
        .length
        .min((END_LENGTH + usize::from(u16::MAX)) as u64);
    let mut tail = vec![0; to_usize(length)];
    source.read(&mut tail, source.length - length)?;
    let at = tail
        .windows(4)
        .rposition(|bytes| bytes == END.to_le_bytes())
        .ok_or_else(|| source.invalid("there is no end record: no zip, or a part of one"))?;
    let position = source.length - length + at as u64;

    let cut = || source.invalid("the end record is cut short");
    let mut fields = Fields(&tail[at + 4..]);
    let disks = [fields.u16(), fields.u16()].map(|disk| disk.map(u64::from));
    let count_here = u64::from(fields.u16().ok_or_else(cut)?);
    let count = u64::from(fields.u16().ok_or_else(cut)?);
    let size = u64::from(fields.u32().ok_or_else(cut)?);
    let directory = u64::from(fields.u32().ok_or_else(cut)?);
    let comment = usize::from(fields.u16().ok_or_else(cut)?);
    if comment != fields.0.len() {
        let problem = format!(
            "the end record announces a comment of {comment} bytes, {} follow it",
            fields.0.len()
        );
        return Err(source.invalid(problem));
    }

    let mut end = [count_here, count, size, directory];
    let mut directory_end = position;
    if let Some((end64, position)) = find_end64(source, position)? {
        let full = [FULL16, FULL16, FULL32, FULL32];
        for ((value, wide), full) in end.iter_mut().zip(end64).zip(full) {
            if *value != full && *value != wide {
                return Err(source.invalid("the two end records differ"));
            }
            *value = wide;
        }
        directory_end = position;
    }
    let [count_here, count, size, directory] = end;
    let wide = directory_end != position;
    let no_disk = |disk: Option<u64>| disk == Some(0) || wide && disk == Some(FULL16);
    if !disks.into_iter().all(no_disk) || count_here != count {
        return Err(source.invalid("it is one of several parts"));
    }
    if directory.checked_add(size) != Some(directory_end) {
        let problem = "the central directory does not end where the end record begins: \
                       bytes were put before or between, or there are two end records";
        return Err(source.invalid(problem));
    }
    if size > DIRECTORY_LIMIT {
        return Err(source.too_large(format!("{DIRECTORY_LIMIT} bytes of names")));
    }
    if count
        .checked_mul(CENTRAL_LENGTH as u64)
        .is_none_or(|least| least > size)
    {
        return Err(source.invalid("it holds fewer entries than the end record says"));
    }
    Ok(End {
        count,
        directory: directory..directory_end,
    })
}

/// The zip64 end record of an archive whose end record is at `position`, if there is one: what it
/// says, and where it begins.
fn find_end64(source: &Source, position: u64) -> Result<Option<([u64; 4], u64)>> {
    let Some(locator_at) = position.checked_sub(LOCATOR64_LENGTH as u64) else {
        return Ok(None);
    };
    let mut locator = [0; LOCATOR64_LENGTH];
    source.read(&mut locator, locator_at)?;
    let mut fields = Fields(&locator);
    if fields.u32() != Some(LOCATOR64) {
        return Ok(None);
    }
    let invalid = || source.invalid("the zip64 end record is not what its locator says");
    let (disk, at, disks) = (fields.u32(), fields.u64(), fields.u32());
    let at = at.ok_or_else(invalid)?;
    // without an extensible data sector, which only encrypted directories have
    if disk != Some(0)
        || !matches!(disks, Some(0 | 1))
        || at.checked_add(END64_LENGTH as u64) != Some(locator_at)
    {
        return Err(invalid());
    }
    let mut record = [0; END64_LENGTH];
    source.read(&mut record, at)?;
    let mut fields = Fields(&record);
    let head = (fields.u32(), fields.u64());
    let _versions = fields.u32();
    let disks = (fields.u32(), fields.u32());
    if head != (Some(END64), Some(END64_LENGTH as u64 - 12)) || disks != (Some(0), Some(0)) {
        return Err(invalid());
    }
    let mut values = [0; 4];
    for value in &mut values {
        *value = fields.u64().ok_or_else(invalid)?;
    }
    Ok(Some((values, at)))
}

/// Reads the central directory.
pub(super) fn directory(source: &Source, end: &End) -> Result<Vec<Record>> {
    let mut bytes = vec![0; to_usize(end.directory.end - end.directory.start)];
    source.read(&mut bytes, end.directory.start)?;
    let mut fields = Fields(&bytes);
    let mut records = Vec::with_capacity(to_usize(end.count));
    for _ in 0..end.count {
        records.push(central(source, &mut fields)?);
    }
    if !fields.0.is_empty() {
        return Err(source.invalid("it holds more entries than the end record says"));
    }
    Ok(records)
}

fn central(source: &Source, fields: &mut Fields) -> Result<Record> {
    let cut = || source.invalid("the central directory is cut short");
    if fields.0.is_empty() {
        return Err(source.invalid("it holds fewer entries than the end record says"));
    }
    if fields.u32() != Some(CENTRAL) {
        return Err(source.invalid("the central directory is damaged"));
    }
    let made_by = fields.u16().ok_or_else(cut)?.to_le_bytes()[1];
    let _needed = fields.u16();
    let flags = fields.u16().ok_or_else(cut)?;
    let method = fields.u16().ok_or_else(cut)?;
    let _modified = fields.u32();
    let crc32 = fields.u32().ok_or_else(cut)?;
    let compressed = fields.u32().ok_or_else(cut)?;
    let size = fields.u32().ok_or_else(cut)?;
    let name_length = fields.u16().ok_or_else(cut)?;
    let extra_length = fields.u16().ok_or_else(cut)?;
    let comment_length = fields.u16().ok_or_else(cut)?;
    let disk = fields.u16().ok_or_else(cut)?;
    let _internal = fields.u16();
    let external = fields.u32().ok_or_else(cut)?;
    let header = fields.u32().ok_or_else(cut)?;
    let name = fields.take(name_length.into()).ok_or_else(cut)?;
    let extra = fields.take(extra_length.into()).ok_or_else(cut)?;
    let comment = fields.take(comment_length.into()).ok_or_else(cut)?;

    let invalid = |problem: &str| source.invalid_entry(name, problem);
    if flags & FLAGS_ENCRYPTED != 0 {
        return Err(invalid("it is encrypted"));
    }
    if flags & FLAG_PATCH != 0 {
        return Err(invalid("it is a patch"));
    }
    let deflated = match method {
        0 => false,
        8 => true,
        _ => {
            return Err(invalid(&format!(
                "compression method {method} is not supported"
            )));
        }
    };
    let hides_end = |bytes: &[u8]| bytes.windows(4).any(|four| four == END.to_le_bytes());
    if hides_end(extra) || hides_end(comment) {
        return Err(invalid("its comment holds an end record"));
    }
    let extras = extras(extra).ok_or_else(|| invalid("its extra fields are damaged"))?;
    if disk != 0 && !(disk == u16::MAX && extras.zip64.is_some()) {
        return Err(invalid("it is in another part"));
    }
    let mut wide = Fields(extras.zip64.unwrap_or_default());
    let mut widen = |value: u32| match (extras.zip64, u64::from(value)) {
        (Some(_), FULL32) => wide.u64(),
        (_, value) => Some(value),
    };
    // in this order: the field holds only those that did not fit
    let (size, compressed, header) = (widen(size), widen(compressed), widen(header));
    let cut = || invalid("its zip64 field is too short");
    let unicode_name = match extras.unicode_path {
        Some(field) => {
            unicode_name(field, name).map_err(|problem| source.invalid_entry(name, problem))?
        }
        None => None,
    };
    if let (Some(other), Ok(own)) = (&unicode_name, std::str::from_utf8(name))
        && flags & FLAG_UTF8 != 0
        && other != own
    {
        return Err(source.invalid_entry(name, "it has two names that are different"));
    }
    Ok(Record {
        made_by,
        flags,
        deflated,
        crc32,
        compressed: compressed.ok_or_else(cut)?,
        size: size.ok_or_else(cut)?,
        external,
        unicode_name,
        name: name.to_vec(),
        header: header.ok_or_else(cut)?,
        data: 0,
    })
}

/// The name in a Unicode path field: none when the field was made for another name, which is what
/// a tool that renames entries and does not know the field leaves behind.
fn unicode_name(field: &[u8], name: &[u8]) -> Result<Option<String>, &'static str> {
    let mut fields = Fields(field);
    // Whoever does not look at the version reads another name.
    if fields.take(1) != Some(&[1]) {
        return Err("its Unicode name is in a version of the field that is not known");
    }
    if fields.u32() != Some(crc32(name)) {
        return Ok(None);
    }
    match std::str::from_utf8(fields.0) {
        Ok(name) => Ok(Some(name.to_owned())),
        Err(_) => Err("its Unicode name is not UTF-8"),
    }
}

#[derive(Default)]
struct Extras<'a> {
    zip64: Option<&'a [u8]>,
    unicode_path: Option<&'a [u8]>,
}

/// The extra fields that are read; none when they are damaged, or there twice.
fn extras(bytes: &[u8]) -> Option<Extras<'_>> {
    let mut fields = Fields(bytes);
    let mut extras = Extras::default();
    while !fields.0.is_empty() {
        let id = fields.u16()?;
        let length = fields.u16()?;
        let field = fields.take(length.into())?;
        let place = match id {
            EXTRA_ZIP64 => &mut extras.zip64,
            EXTRA_UNICODE_PATH => &mut extras.unicode_path,
            _ => continue,
        };
        if place.replace(field).is_some() {
            return None;
        }
    }
    Some(extras)
}

/// Checks the local headers against the directory, and that they and the data lie side by side
/// from the start of the file to the directory; finds where each entry's data begins.
pub(super) fn locate(source: &Source, end: &End, records: &mut [Record]) -> Result<()> {
    let mut by_place: Vec<&mut Record> = records.iter_mut().collect();
    order::sort_by(&mut by_place, |a, b| a.header.cmp(&b.header));
    let starts: Vec<u64> = by_place.iter().map(|record| record.header).collect();
    if starts.first().copied().unwrap_or(end.directory.start) != 0 {
        return Err(source.invalid("there are bytes before the first entry"));
    }
    let nexts = starts.into_iter().skip(1).chain([end.directory.start]);
    let mut block = Vec::new();
    for (record, next) in by_place.into_iter().zip(nexts) {
        let invalid = |problem: &str| source.invalid_entry(&record.name, problem);
        let overlaps = || invalid("it overlaps what follows it");
        let local = local(source, record, next, &mut block)?;
        let room = next
            .checked_sub(record.header)
            .and_then(|room| room.checked_sub(local))
            .and_then(|room| room.checked_sub(record.compressed))
            .ok_or_else(overlaps)?;
        record.data = record.header + local;
        if record.flags & FLAG_DESCRIPTOR == 0 {
            if room != 0 {
                return Err(invalid("there are bytes after it that belong to nothing"));
            }
        } else if !descriptor(source, record, room)? {
            return Err(invalid("what follows its data is not its data descriptor"));
        }
    }
    Ok(())
}

/// Checks a local header, which must end before `next`; returns its length.
fn local(source: &Source, record: &Record, next: u64, block: &mut Vec<u8>) -> Result<u64> {
    let invalid = |problem: &str| source.invalid_entry(&record.name, problem);
    let differs = |what: &str| {
        let problem = format!("its local header and the directory differ in {what}");
        source.invalid_entry(&record.name, problem)
    };
    let length = LOCAL_LENGTH + record.name.len();
    if next.saturating_sub(record.header) < length as u64 {
        return Err(invalid("it overlaps what follows it"));
    }
    block.resize(length, 0);
    source.read(block, record.header)?;

    let cut = || invalid("its local header is damaged");
    let mut fields = Fields(block);
    if fields.u32() != Some(LOCAL) {
        return Err(cut());
    }
    let _needed = fields.u16();
    let flags = fields.u16().ok_or_else(cut)?;
    let method = fields.u16().ok_or_else(cut)?;
    let _modified = fields.u32();
    let crc32 = fields.u32().ok_or_else(cut)?;
    let compressed = fields.u32().ok_or_else(cut)?;
    let size = fields.u32().ok_or_else(cut)?;
    let name_length = fields.u16().ok_or_else(cut)?;
    let extra_length = fields.u16().ok_or_else(cut)?;
    if flags & FLAGS_COMPARED != record.flags & FLAGS_COMPARED {
        return Err(differs("the flags"));
    }
    if method != if record.deflated { 8 } else { 0 } {
        return Err(differs("the method"));
    }
    if usize::from(name_length) != record.name.len() || fields.0 != record.name {
        return Err(differs("the name"));
    }

    let (mut compressed, mut size) = (u64::from(compressed), u64::from(size));
    if compressed == FULL32 || size == FULL32 {
        if next - record.header - (length as u64) < u64::from(extra_length) {
            return Err(invalid("it overlaps what follows it"));
        }
        let mut extra = vec![0; extra_length.into()];
        source.read(&mut extra, record.header + length as u64)?;
        let extras = extras(&extra).ok_or_else(|| invalid("its extra fields are damaged"))?;
        if let Some(zip64) = extras.zip64 {
            let mut wide = Fields(zip64);
            for value in [&mut size, &mut compressed] {
                if *value == FULL32 {
                    *value = wide.u64().ok_or_else(cut)?;
                }
            }
        }
    }
    // With a data descriptor, whoever wrote the header may not have known them yet.
    let open = record.flags & FLAG_DESCRIPTOR != 0;
    let same = |here: u64, there: u64| here == there || open && here == 0;
    if !same(crc32.into(), record.crc32.into()) {
        return Err(differs("the CRC-32"));
    }
    if !same(size, record.size) || !same(compressed, record.compressed) {
        return Err(differs("the size"));
    }
    Ok(length as u64 + u64::from(extra_length))
}

/// Whether the `room` bytes after the data are its descriptor: with or without a signature, with
/// sizes of four or eight bytes.
fn descriptor(source: &Source, record: &Record, room: u64) -> Result<bool> {
    let (signed, wide) = match room {
        12 => (false, false),
        16 => (true, false),
        20 => (false, true),
        24 => (true, true),
        _ => return Ok(false),
    };
    let mut bytes = [0; 24];
    let bytes = &mut bytes[..to_usize(room)];
    source.read(bytes, record.data + record.compressed)?;
    let mut fields = Fields(bytes);
    let signature = !signed || fields.u32() == Some(DESCRIPTOR);
    let crc32 = fields.u32();
    let mut size = || {
        if wide {
            fields.u64()
        } else {
            fields.u32().map(u64::from)
        }
    };
    let sizes = (size(), size());
    Ok(signature
        && crc32 == Some(record.crc32)
        && sizes == (Some(record.compressed), Some(record.size)))
}

/// Takes little-endian numbers off the front; nothing when too few bytes are left.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// A length that was checked to fit in memory.
fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
