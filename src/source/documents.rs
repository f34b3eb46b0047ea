//! The signed documents that lie beside each other on a server, in a folder or with a release, and the
//! way through them: keys, one after the other; then the index of the channel and the release that it
//! names, or, where there is no index, the release of a version that the source names.

use crate::Result;
use crate::trust::document::{
    INDEX_LIMIT, KEYS_LIMIT, RELEASE_LIMIT, index_name, keys_name, release_name,
};
use crate::trust::{Trust, Trusted};
use crate::version::Version;
use crate::{Code, Error, record};

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
    follow_keys(documents, trust)?;
    let name = index_name(trust.channel());
    let index = required(documents, &name, INDEX_LIMIT)?;
    let named = trust.index(&index, &documents.place(&name))?;
    let resolve = |link: &str| documents.resolve(link);
    if let Some(known) = trust.known_release() {
        match trust.release(&known, Some(&named), None, &resolve) {
            // What is kept here may have been changed here.
            Err(error) if error.code() != Code::TargetUnavailable => {
                record::warn!(
                    "the release that is kept is fetched again: {}",
                    error.chain()
                );
            }
            known => return known,
        }
    }
    let release = required(documents, &release_name(&named.version), RELEASE_LIMIT)?;
    trust.release(&release, Some(&named), None, &resolve)
}

/// Goes through the documents to the release of a version, where the source says which one is current
/// and nobody signs that. `first` is an address that the source gives for its package.
///
/// Fails with `TRUST_UNSIGNED` where there is no such document, and with `TRUST_MISMATCH` where it is
/// one of another version.
pub fn release_of(
    documents: &dyn Documents,
    trust: &mut Trust,
    version: &Version,
    first: Option<&str>,
) -> Result<Trusted> {
    follow_keys(documents, trust)?;
    let name = release_name(version);
    let release = required(documents, &name, RELEASE_LIMIT)?;
    let trusted = trust.release(&release, None, first, &|link| documents.resolve(link))?;
    if trusted.version == *version {
        return Ok(trusted);
    }
    // What was signed for an older version is no newer one because it lies there.
    Err(Error::TrustMismatch {
        subject: documents.place(&name),
        what: "version",
        expected: version.to_string(),
        got: trusted.version.to_string(),
    })
}

/// The address of the folder that `template` (`source.documents`) means for a version. `tag` is what the
/// source calls it, fit for a path.
pub fn folder(template: &str, version: &Version, tag: &str) -> String {
    let url = template
        .replace("{version}", &version.file_name())
        .replace("{tag}", tag);
    format!("{}/", url.trim_end_matches('/'))
}

/// Goes through the keys documents that are not known yet.
pub fn follow_keys(documents: &dyn Documents, trust: &mut Trust) -> Result<()> {
    while let Some(number) = trust.next_keys() {
        match documents.read(&keys_name(number), KEYS_LIMIT)? {
            Some(bytes) => trust.follow(&bytes)?,
            None => break,
        }
    }
    Ok(())
}

fn required(documents: &dyn Documents, name: &str, limit: u64) -> Result<Vec<u8>> {
    let missing = || Error::TrustUnsigned {
        subject: documents.place(name),
        problem: "there is no such document",
    };
    documents.read(name, limit)?.ok_or_else(missing)
}
