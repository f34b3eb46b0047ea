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
