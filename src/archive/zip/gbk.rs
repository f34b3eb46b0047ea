//! Text in GBK, as Windows in China writes it, and in GB18030, which extends it to all of Unicode.
//!
//! Promised: what comes out is what the crate encoding_rs makes of it, the web's reading of GBK.
//! The build takes the tables from that crate. The crate itself is left to the build and the
//! tests: it links the tables of every encoding there is, a twentieth of the launcher. The tables
//! taken are still its own, under its licences (BSD-3-Clause for the data).

use std::sync::OnceLock;

use crate::packed::unpack;

// RUNS: the characters of four bytes below U+10000, as the number of each run's first character and
// that character, in order.
include!(concat!(env!("OUT_DIR"), "/gbk.rs"));

/// The number of U+10000 among the characters of four bytes; the others follow in order.
const NUMBER_OF_10000: u32 = 189_000;

/// The text, unless a byte of it is none of GBK.
pub(super) fn decode(mut bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let (c, length) = match *bytes {
            [byte @ ..0x80, ..] => (char::from(byte), 1),
            [0x80, ..] => ('€', 1),
            [a @ 0x81..=0xFE, b @ 0x40..=0xFE, ..] => (of_two(a, b)?, 2),
            [
                a @ 0x81..=0xFE,
                b @ b'0'..=b'9',
                c @ 0x81..=0xFE,
                d @ b'0'..=b'9',
                ..,
            ] => (of_four(a, b, c, d)?, 4),
            _ => return None,
        };
        text.push(c);
        bytes = &bytes[length..];
    }
    Some(text)
}

fn of_two(a: u8, b: u8) -> Option<char> {
    let code = pairs()[usize::from(a - 0x81) * COLUMNS + usize::from(b - 0x40)];
    char::from_u32(code.into()).filter(|&c| c != '\0')
}

/// How many second bytes there are.
const COLUMNS: usize = 191;

/// The characters of two bytes, 0 where there is none.
fn pairs() -> &'static [u16] {
    static PAIRS: OnceLock<Vec<u16>> = OnceLock::new();
    PAIRS.get_or_init(|| {
        const COUNT: usize = 126 * COLUMNS;
        let steps = unpack(
            include_bytes!(concat!(env!("OUT_DIR"), "/gbk.bin")),
            2 * COUNT,
        );
        let (low, high) = steps.split_at(COUNT);
        let steps = low.iter().zip(high);
        let mut code = 0_u16;
        let codes = steps.map(|(low, high)| {
            code = code.wrapping_add(u16::from_le_bytes([*low, *high]));
            code
        });
        codes.collect()
    })
}

fn of_four(a: u8, b: u8, c: u8, d: u8) -> Option<char> {
    let digit = |byte, first| u32::from(byte - first);
    let number =
        ((digit(a, 0x81) * 10 + digit(b, b'0')) * 126 + digit(c, 0x81)) * 10 + digit(d, b'0');
    if number >= NUMBER_OF_10000 {
        return char::from_u32(0x10000 + (number - NUMBER_OF_10000));
    }
    if number >= BELOW_10000 {
        return None;
    }
    let run = RUNS.partition_point(|&(start, _)| start <= number) - 1;
    let (start, code) = RUNS[run];
    char::from_u32(code + (number - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) {
        let expected = encoding_rs::GBK.decode_without_bom_handling_and_without_replacement(bytes);
        assert_eq!(decode(bytes).as_deref(), expected.as_deref(), "{bytes:x?}");
    }

    #[test]
    fn one_and_two_bytes_are_what_encoding_rs_says() {
        for a in 0..=0xFF {
            check(&[a]);
            for b in 0..=0xFF {
                check(&[a, b]);
                check(&[b'a', a, b, b'0']);
            }
        }
    }

    #[test]
    fn four_bytes_are_what_encoding_rs_says() {
        let bytes = |number: u32| {
            let [a, b, c, d] = [
                number / 12_600,
                number / 1_260 % 10,
                number / 10 % 126,
                number % 10,
            ]
            .map(|digit| u8::try_from(digit).unwrap());
            [0x81 + a, b'0' + b, 0x81 + c, b'0' + d]
        };
        // Every one below U+10000, and what is beyond both ends of the rest.
        let last = NUMBER_OF_10000 + 0xF_FFFF;
        let rest = [
            BELOW_10000,
            NUMBER_OF_10000 - 1,
            NUMBER_OF_10000,
            last,
            last + 1,
        ];
        for number in (0..BELOW_10000 + 1_000)
            .chain(rest)
            .chain((40_000..1_587_600).step_by(97))
        {
            check(&bytes(number));
        }
        for cut in 1..4 {
            check(&bytes(0)[..cut]);
        }
        check(b"\x81\x30\x81a");
        check(b"\x81\x30\xff\x30");
    }
}
