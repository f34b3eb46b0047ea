//! In which encoding the names of a zip are.
//!
//! The rule, in this order:
//!
//! 1. a name with the UTF-8 flag that is UTF-8 is that;
//! 2. a name with Info-ZIP's Unicode path field is what the field says (the field is taken only
//!    when its CRC is that of the name);
//! 3. a name with the flag that is no UTF-8 is GBK: some Chinese tools set the flag on everything;
//! 4. names without either are all UTF-8 when every one of them is valid as that, and all GBK when
//!    one is not. One tool wrote them all, and a short GBK name can be valid UTF-8 by chance,
//!    while all names of an archive hardly are.
//!
//! The standard's code page 437 is not tried: what is met in practice without the flag are Linux
//! tools, which write UTF-8, and Chinese Windows, which writes GBK. Names of ASCII alone are the
//! same in all of them. A name that is neither is refused.

use super::gbk;
use super::records::{FLAG_UTF8, Record};

/// Systems of the "made by" field whose tools have been seen to write backslashes: FAT, NTFS, VFAT.
const WINDOWS: [u8; 3] = [0, 10, 14];

/// What the names that say nothing of their encoding are in.
#[derive(Clone, Copy)]
pub(super) enum Unmarked {
    Utf8,
    Gbk,
}

impl Unmarked {
    pub(super) fn of(records: &[Record]) -> Self {
        let valid = records
            .iter()
            .filter(|record| record.flags & FLAG_UTF8 == 0 && record.unicode_name.is_none())
            .all(|record| std::str::from_utf8(&record.name).is_ok());
        if valid { Self::Utf8 } else { Self::Gbk }
    }
}

/// The name of an entry, with forward slashes; none when it is in no known encoding.
///
/// Old tools on Windows write backslashes. They are taken for slashes only when the entry says
/// that it comes from Windows and there is no slash in the name; otherwise they stay, and
/// [`SafePath`](crate::archive::SafePath) refuses them. Either way the name is checked afterwards,
/// so that `..\` gets nowhere. That comes after decoding: a GBK character may hold the byte 0x5C.
pub(super) fn name(record: &Record, unmarked: Unmarked) -> Option<String> {
    let utf8 = || std::str::from_utf8(&record.name).ok().map(str::to_owned);
    let gbk = || gbk::decode(&record.name);
    let name = if record.flags & FLAG_UTF8 != 0 {
        utf8().or_else(|| record.unicode_name.clone()).or_else(gbk)
    } else {
        match (&record.unicode_name, unmarked) {
            (Some(name), _) => Some(name.clone()),
            (None, Unmarked::Utf8) => utf8(),
            (None, Unmarked::Gbk) => gbk(),
        }
    }?;
    if WINDOWS.contains(&record.made_by) && !name.contains('/') {
        return Some(name.replace('\\', "/"));
    }
    Some(name)
}
