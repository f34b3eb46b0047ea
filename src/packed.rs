//! What the build has packed, since it is large in the executable and seldom needed: texts that are
//! shown when something has to be said, a table for names of old archives.

use flate2::{Decompress, FlushDecompress};

/// Unpacks what has `length` bytes. What the build packed can be unpacked: the tests look at all of it.
pub(crate) fn unpack(packed: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    let mut inflate = Decompress::new(false);
    let done = inflate.decompress_vec(packed, &mut bytes, FlushDecompress::Finish);
    debug_assert!(done.is_ok());
    // Zeros are characters too few, and no reason to end.
    bytes.resize(length, 0);
    bytes
}
