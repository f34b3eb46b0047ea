//! What can go wrong, with a stable code each.

use std::io;
use std::path::{Path, PathBuf};

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. What the engine finds wrong keeps the engine's code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that is never overwritten.
    #[error("{} is there already, and is not overwritten", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// A text or a file that is no key.
    #[error("{subject}: {problem}")]
    KeyInvalid {
        /// The text, or the file's path.
        subject: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A passphrase that does not open its key.
    #[error("the passphrase of {} is wrong", path.display())]
    PassphraseWrong {
        /// The key's file.
        path: PathBuf,
    },
    /// A passphrase that nobody gave.
    #[error("{problem}")]
    PassphraseNeeded {
        /// What for, and how to give it.
        problem: String,
    },
    /// What was asked for contradicts itself, or what is there.
    #[error("{problem}")]
    Request {
        /// What, and what to do.
        problem: String,
    },
    /// A document that was to be carried over, and that no key at hand has signed.
    #[error(
        "{subject} is not signed by any of the keys at hand, so what it says is not carried over; if \
         it is right, name a key that has signed it with --signed-by"
    )]
    Foreign {
        /// The document.
        subject: String,
    },
    /// A place that does not answer, or breaks off.
    #[error(
        "{place} cannot be reached, or broke off: {problem}; call the command again: what has arrived is not sent twice"
    )]
    Unreachable {
        /// The place.
        place: String,
        /// What went wrong.
        problem: String,
    },
    /// A place that answers, and does not do what it was asked for.
    #[error("{place} refused {what}: {problem}")]
    Refused {
        /// The place.
        place: String,
        /// What it was asked for.
        what: String,
        /// Its reason.
        problem: String,
    },
    /// A package that has changed: what was published is not replaced.
    #[error(
        "{name} is at {place} with other content, and what people may have installed is not replaced: \
         publish the new content as a new version"
    )]
    PackageDiffers {
        /// The package.
        name: String,
        /// The place.
        place: String,
    },
    /// A document that has changed, where launchers may be following it.
    #[error("{name} is at {place} and says something else: {problem}")]
    DocumentDiffers {
        /// The document.
        name: String,
        /// The place.
        place: String,
        /// Why it is not replaced, and what to do.
        problem: String,
    },
    /// An index that is older than what is there.
    #[error(
        "{place} has number {there} of the index {name}, which is not followed by number {here}: make it \
         anew with `castoff activate`"
    )]
    IndexOld {
        /// The index.
        name: String,
        /// The place.
        place: String,
        /// The number there.
        there: u64,
        /// The number that was to be published.
        here: u64,
    },
    /// A version that is not at the place.
    #[error("{version} is not published at {place}; `castoff published` lists what is")]
    NotPublished {
        /// The version.
        version: String,
        /// The place.
        place: String,
    },
    /// Something to be signed, and nobody who signs.
    #[error("{problem}")]
    KeyNeeded {
        /// What for, and what to do.
        problem: String,
    },
    /// What the engine finds wrong.
    #[error(transparent)]
    Engine(#[from] castoff::Error),
}

impl Error {
    /// The stable name of the kind of error. Programs may rely on it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "FILE_EXISTS",
            Self::KeyInvalid { .. } => "KEY_INVALID",
            Self::PassphraseWrong { .. } => "PASSPHRASE_WRONG",
            Self::PassphraseNeeded { .. } => "PASSPHRASE_NEEDED",
            Self::Request { .. } => "REQUEST_INVALID",
            Self::Foreign { .. } => "DOCUMENT_FOREIGN",
            Self::Unreachable { .. } => "PLACE_UNREACHABLE",
            Self::Refused { .. } => "PLACE_REFUSED",
            Self::PackageDiffers { .. } => "PACKAGE_DIFFERS",
            Self::DocumentDiffers { .. } => "DOCUMENT_DIFFERS",
            Self::IndexOld { .. } => "INDEX_OLD",
            Self::NotPublished { .. } => "NOT_PUBLISHED",
            Self::KeyNeeded { .. } => "KEY_NEEDED",
            Self::Engine(error) => error.code().as_str(),
        }
    }

    pub(crate) fn request(problem: impl Into<String>) -> Self {
        Self::Request {
            problem: problem.into(),
        }
    }

    /// An adapter for `map_err`: what was being done, and to which path.
    pub(crate) fn io(
        operation: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| {
            Self::Engine(castoff::Error::Io {
                operation,
                path,
                source,
            })
        }
    }
}
