//! Tokens and other things that nobody is to guess.

use sha2::{Digest as _, Sha256};

/// Random bytes, as hexadecimal digits.
///
/// # Panics
///
/// If the system has no randomness, without which there is nothing safe to go on with.
pub fn hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).expect("the system has randomness");
    text(&random)
}

/// A new token: 256 bits that nobody guesses, so that a plain digest of it is safe at rest.
pub fn token() -> String {
    format!("ct_{}", hex(32))
}

/// The digest under which a token is kept.
pub fn digest(token: &str) -> String {
    digest_of(token.as_bytes())
}

/// SHA-256, as hexadecimal digits.
pub fn digest_of(bytes: &[u8]) -> String {
    text(&Sha256::digest(bytes))
}

fn text(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
