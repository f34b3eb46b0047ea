//! Reads what a zip holds, from one open file.
//!
//! Everything but the data is read and checked: the records ([`records`]), the names ([`names`]) and
//! the announced sizes ([`Limits`]). The data is inflated where it lies, when it is wanted.
//!
//! The records are read here and not by a library: the libraries take what they can make sense
//! of, and a package that two readers see differently must not be taken at all.
//!
//! Links are read when the archive is opened. Times, owners, comments and other extra fields are
//! passed over.

mod gbk;
mod names;
mod records;
#[cfg(test)]
mod tests;

use self::names::Unmarked;
use self::records::Record;
use super::contents::{Data, Item, ItemKind, Limits, TARGET_LIMIT, Wanted};
use super::guard;
use super::source::Source;
use crate::Result;

/// What deflate can yield for one byte at the most: 258 bytes for every two bits.
const DEFLATE_RATIO: u64 = 1032;

/// The file types of a Unix mode.
const TYPE_MASK: u32 = 0o170_000;
const TYPE_FOLDER: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;

/// The folder bit of an MS-DOS attribute, which tools of all systems set.
const DOS_FOLDER: u32 = 0x10;

/// What a zip holds. Its data stays in the file.
pub(super) fn read(source: Source, limits: &Limits) -> Result<(Source, Vec<Item>)> {
    let end = records::find_end(&source)?;
    if end.count > limits.max_entries {
        return Err(source.too_large(format!("{} entries", limits.max_entries)));
    }
    let mut records = records::directory(&source, &end)?;
    records::locate(&source, &end, &mut records)?;
    check_sizes(&source, &records, limits)?;

    let unmarked = Unmarked::of(&records);
    let mut items = Vec::with_capacity(records.len());
    for record in &records {
        items.push(item(record, unmarked, &source)?);
    }
    Ok((source, items))
}

fn item(record: &Record, unmarked: Unmarked, source: &Source) -> Result<Item> {
    let name = names::name(record, unmarked).ok_or_else(|| {
        let raw = String::from_utf8_lossy(&record.name);
        guard::refused(raw, "the name is neither UTF-8 nor GBK")
    })?;
    let refuse = |problem: &str| guard::refused(&name, problem);
    let mode = record.external >> 16;
    let kind = mode & TYPE_MASK;
    if ![0, TYPE_FOLDER, TYPE_FILE, TYPE_LINK].contains(&kind) {
        return Err(refuse("it is a device, socket or pipe"));
    }
    if let Some(folder) = name.strip_suffix('/') {
        if kind == TYPE_LINK || record.size != 0 {
            return Err(refuse("it has a folder's name and is none"));
        }
        return Ok(Item::folder(folder.to_owned()));
    }
    if kind == TYPE_FOLDER || (kind != TYPE_LINK && record.external & DOS_FOLDER != 0) {
        return Err(refuse("it is a folder without a folder's name"));
    }
    if kind == TYPE_LINK {
        if record.size > TARGET_LIMIT {
            return Err(refuse("the target has more than 4096 bytes"));
        }
        let wanted = Wanted {
            name: &name,
            size: record.size,
            compressed: record.compressed,
            crc32: Some(record.crc32),
        };
        let mut target = Vec::new();
        if record.deflated {
            wanted.inflate(source, record.data, &mut target)?;
        } else {
            wanted.copy(source, record.data, &mut target)?;
        }
        let target = String::from_utf8(target).map_err(|_| refuse("the target is no UTF-8"))?;
        return Ok(Item::link(name, target));
    }
    Ok(Item {
        name,
        kind: ItemKind::File,
        size: record.size,
        compressed: record.compressed,
        crc32: Some(record.crc32),
        executable: mode & 0o111 != 0,
        data: if record.deflated {
            Data::Deflated(record.data)
        } else {
            Data::Stored(record.data)
        },
    })
}

/// Checks what the entries announce, without trust in any of it.
fn check_sizes(source: &Source, records: &[Record], limits: &Limits) -> Result<()> {
    let mut total: u64 = 0;
    for record in records {
        let most = if record.deflated {
            record.compressed.saturating_mul(DEFLATE_RATIO)
        } else {
            record.compressed
        };
        if record.size > most || (!record.deflated && record.size < most) {
            let problem = format!(
                "{} bytes cannot be packed into {}",
                record.size, record.compressed
            );
            return Err(source.invalid_entry(&record.name, problem));
        }
        total = total.saturating_add(record.size);
    }
    limits.check_total(total, source)
}
