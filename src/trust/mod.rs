//! What makes a package trustworthy: digests.
//!
//! Promises: a `Verified` package exists only when its bytes were hashed
//! and the digest was what the release announced, and it hands on the very file handle that was
//! hashed, so that nothing can be swapped between the hash and the use.

mod digest;

pub use digest::{Hasher, Sha256, hash_file, hash_reader};

use std::fs::File;

use crate::fetch::Fetched;
use crate::release::Package;
use crate::{Error, Result};

/// A package that is what its release announced, and the very file that was hashed.
#[must_use = "a verified package is not installed"]
#[derive(Debug)]
pub struct Verified {
    file: File,
}

impl Verified {
    /// The file, at its start.
    pub fn into_file(self) -> File {
        self.file
    }
}

/// Compares what was fetched with what was announced.
pub fn verify(fetched: Fetched, package: &Package) -> Result<Verified> {
    if let Some(expected) = package.size.filter(|expected| *expected != fetched.size) {
        let subject = package.url.clone();
        return Err(Error::SizeMismatch {
            subject,
            expected,
            got: fetched.size,
        });
    }
    if fetched.sha256 != package.sha256 {
        return Err(Error::HashMismatch {
            subject: package.url.clone(),
            expected: package.sha256.to_string(),
            got: fetched.sha256.to_string(),
        });
    }
    Ok(Verified { file: fetched.file })
}
