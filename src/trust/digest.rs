//! SHA-256 (FIPS 180-4) as a value, as text and over a stream.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// Large enough that system calls do not show, small enough for the second-level cache.
const BLOCK: usize = 128 * 1024;

/// A SHA-256 digest; as text 64 hex digits, read in either case and written in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(pub [u8; 32]);

/// Hashes what it is fed.
#[derive(Default, Clone)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

/// The digest of a reader's bytes, and how many there were.
pub fn hash_reader(reader: &mut impl Read) -> io::Result<(Sha256, u64)> {
    let mut hasher = Hasher::default();
    let mut block = vec![0; BLOCK];
    let mut total = 0;
    loop {
        match reader.read(&mut block) {
            Ok(0) => return Ok((hasher.finish(), total)),
            Ok(count) => {
                hasher.update(&block[..count]);
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The digest of a file, from its present position to its end.
pub fn hash_file(mut file: &File) -> io::Result<(Sha256, u64)> {
    hash_reader(&mut file)
}

impl Sha256 {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err("a SHA-256 digest has 64 hex digits");
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16).ok_or("not a hex digit")?;
            let low = char::from(pair[1]).to_digit(16).ok_or("not a hex digit")?;
            *byte = u8::try_from(high * 16 + low).map_err(|_| "not a hex digit")?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of FIPS 180-4, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_the_same_by_value_and_by_stream() {
        assert_eq!(Sha256::of(b"abc").to_string(), ABC);
        assert_eq!(
            hash_reader(&mut &b"abc"[..]).unwrap(),
            (ABC.parse().unwrap(), 3)
        );
    }

    #[test]
    fn a_digest_is_read_in_either_case_and_nothing_else_is() {
        assert_eq!(
            ABC.to_uppercase().parse::<Sha256>().unwrap().to_string(),
            ABC
        );
        for wrong in [
            "",
            "abc",
            &ABC[1..],
            &format!("{ABC}0"),
            &ABC.replace('b', "g"),
        ] {
            assert!(wrong.parse::<Sha256>().is_err(), "{wrong:?}");
        }
    }
}
