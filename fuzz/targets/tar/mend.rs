//! Puts right what a mutation did to a tar's sums, sizes and end, in place and as far as one header
//! can be found after the other. Whatever else is wrong with it stays wrong.

const BLOCK: usize = 512;

pub(crate) fn mend(data: &mut [u8]) {
    let Some(end) = (data.len() / BLOCK).checked_sub(2).map(|end| end * BLOCK) else {
        return;
    };
    data[end..].fill(0);
    let mut at = 0;
    while at < end && data[at..at + BLOCK].iter().any(|byte| *byte != 0) {
        let room = end - at - BLOCK;
        let header = &mut data[at..at + BLOCK];
        let size = match octal(&header[124..136]) {
            Some(size) if size <= room => size,
            // Large ones in the bytes themselves stay: they are refused later.
            _ if header[124] & 0x80 != 0 => 0,
            _ => {
                header[124..136].copy_from_slice(format!("{room:011o}\0").as_bytes());
                room
            }
        };
        let kind = header[156];
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let content = at + BLOCK..at + BLOCK + size;
        if matches!(kind, b'x' | b'g') {
            mend_records(&mut data[content]);
        }
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
}

/// Gives every line of an extended header the length that it has, if there is room for it.
fn mend_records(content: &mut [u8]) {
    let mut rest = content;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at_mut(end + 1);
        let length = line.len().to_string();
        let space = line.iter().position(|byte| *byte == b' ');
        if space == Some(length.len()) {
            line[..length.len()].copy_from_slice(length.as_bytes());
        }
        rest = after;
    }
}

fn octal(field: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(field).ok()?;
    usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}
