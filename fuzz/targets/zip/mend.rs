//! Puts right what a mutation did to a zip's sizes, checksums and offsets, in place and as far as
//! its records can still be found. Whatever else is wrong with it stays wrong.

use std::io::Read as _;

use flate2::read::DeflateDecoder;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";

/// More than this is not inflated: it would take the time of many other attempts.
const LONGEST: u64 = 1 << 16;

pub(crate) fn mend(data: &mut [u8]) {
    let Some(end) = places(data, END).pop().filter(|end| end + 22 <= data.len()) else {
        return;
    };
    let locals = places(&data[..end], LOCAL);
    let Some((directory, centrals)) = directory(&data[..end]) else {
        return;
    };
    let locals: Vec<usize> = locals.into_iter().filter(|at| *at < directory).collect();
    let count = centrals.len().min(locals.len());
    for index in 0..count {
        let next = locals.get(index + 1).copied().unwrap_or(directory);
        mend_entry(data, locals[index], centrals[index], next);
    }
    let count = u16::try_from(centrals.len()).unwrap_or(u16::MAX);
    put(data, end + 8, &count.to_le_bytes());
    put(data, end + 10, &count.to_le_bytes());
    // Where there are zip64 records, they are in the way; such an archive stays as it is.
    put(data, end + 12, &u32_of(end - directory));
    put(data, end + 16, &u32_of(directory));
    let comment = u16::try_from(data.len() - end - 22).unwrap_or(u16::MAX);
    put(data, end + 20, &comment.to_le_bytes());
}

/// The first place from which on there is nothing but records of a directory, and these.
fn directory(data: &[u8]) -> Option<(usize, Vec<usize>)> {
    places(data, CENTRAL).into_iter().find_map(|start| {
        let (mut at, mut records) = (start, Vec::new());
        while data.get(at..at + 4) == Some(CENTRAL) && at + 46 <= data.len() {
            records.push(at);
            at += 46 + length(data, at + 28) + length(data, at + 30) + length(data, at + 32);
        }
        (at == data.len()).then_some((start, records))
    })
}

fn mend_entry(data: &mut [u8], local: usize, central: usize, next: usize) {
    let begin = local + 30 + length(data, local + 26) + length(data, local + 28);
    let described = data[central + 8] & 8 != 0;
    let Some(room) = next.checked_sub(begin + if described { 16 } else { 0 }) else {
        return;
    };
    let packed = &data[begin..begin + room];
    let (crc32, size) = if data[central + 10] == 8 {
        let mut content = Vec::new();
        let read = DeflateDecoder::new(packed)
            .take(LONGEST)
            .read_to_end(&mut content);
        if read.is_err() {
            return;
        }
        (crc32fast::hash(&content), content.len())
    } else {
        (crc32fast::hash(packed), room)
    };
    let mut fields = crc32.to_le_bytes().to_vec();
    fields.extend(u32_of(room));
    fields.extend(u32_of(size));
    put(data, central + 16, &fields);
    put(data, central + 42, &u32_of(local));
    put(data, local + 14, &fields);
    if described {
        put(data, next - 16, b"PK\x07\x08");
        put(data, next - 12, &fields);
    }
    // The name, the flags and the method are in both.
    let name = length(data, central + 28);
    if name == length(data, local + 26) {
        data.copy_within(central + 46..central + 46 + name, local + 30);
    }
    data.copy_within(central + 8..central + 12, local + 6);
}

fn places(data: &[u8], signature: &[u8]) -> Vec<usize> {
    let windows = data.windows(4).enumerate();
    windows
        .filter_map(|(at, bytes)| (bytes == signature).then_some(at))
        .collect()
}

fn length(data: &[u8], at: usize) -> usize {
    let bytes = data.get(at..at + 2);
    bytes.map_or(0, |bytes| {
        usize::from(u16::from_le_bytes([bytes[0], bytes[1]]))
    })
}

fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = data.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn u32_of(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}
