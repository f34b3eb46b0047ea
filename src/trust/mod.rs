//! What makes a package trustworthy: digests.
//!
//! Promises: a `Verified` package exists only when its bytes were hashed
//! and the digest was what the release announced, and it hands on the very file handle that was
//! hashed, so that nothing can be swapped between the hash and the use.

mod digest;

pub use digest::{Hasher, Sha256, hash_file, hash_reader};
