//! The signed documents that lie beside each other on a server or in a folder, and the way through
//! them: keys, one after the other; the index of the channel; the release that it names.

use crate::Result;
use crate::trust::document::{
    INDEX_LIMIT, KEYS_LIMIT, RELEASE_LIMIT, index_name, keys_name, release_name,
};
use crate::trust::{Trust, Trusted};
use crate::{Code, Error};

/// Where the documents lie.
pub trait Documents {
    /// Reads one, of at most `limit` bytes; `None` where there is none of that name.
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>>;

    /// What an address in a document means here.
    fn resolve(&self, link: &str) -> Result<String>;

    /// What errors call one.
    fn place(&self, name: &str) -> String;
}

/// Goes through the documents to the release that is current. What is learnt of keys and indexes on
/// the way stays in `trust`, whatever comes of it.
pub fn latest(documents: &dyn Documents, trust: &mut Trust) -> Result<Trusted> {
    while let Some(number) = trust.next_keys() {
        match documents.read(&keys_name(number), KEYS_LIMIT)? {
            Some(bytes) => trust.follow(&bytes)?,
            None => break,
        }
    }
    let name = index_name(trust.channel());
    let missing = |name: &str| Error::TrustUnsigned {
        subject: documents.place(name),
    };
    let index = documents
        .read(&name, INDEX_LIMIT)?
        .ok_or_else(|| missing(&name))?;
    let named = trust.index(&index, &documents.place(&name))?;
    let resolve = |link: &str| documents.resolve(link);
    if let Some(known) = trust.known_release() {
        match trust.release(&known, Some(&named), None, &resolve) {
            // What is kept here may have been changed here.
            Err(error) if error.code() != Code::TargetUnavailable => {
                log::warn!(
                    "the release that is kept is fetched again: {}",
                    error.chain()
                );
            }
            known => return known,
        }
    }
    let name = release_name(&named.version);
    let release = documents
        .read(&name, RELEASE_LIMIT)?
        .ok_or_else(|| missing(&name))?;
    trust.release(&release, Some(&named), None, &resolve)
}
