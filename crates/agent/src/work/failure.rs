//! What an operation says that has failed, and what follows from that.

use castoff::{Code, Error};

use crate::board::Progress;

/// The code of what fails when a version is put in place.
pub(super) const DEPLOYMENT: &str = "DEPLOYMENT_FAILED";

/// Why an operation failed: a code that the caller knows, and what happened.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    /// For programs and the log.
    pub(super) problem: String,
    /// For people.
    message: String,
    pub(super) then: Then,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing.
    Rest,
    /// Another attempt may succeed, when the network is there.
    TryAgain,
    /// The next start has to take it up: what lies there may be a mixture. That goes before another attempt.
    GoOn,
}

impl Failure {
    /// An error, under the code by which the caller knows it; `otherwise` where it has none of its own.
    pub(super) fn of(error: &Error, otherwise: &'static str) -> Self {
        let code = match error.code() {
            Code::DiskFull => "DISK_FULL",
            Code::ArchiveInvalid
            | Code::ArchiveUnsafe
            | Code::FileListInvalid
            | Code::PackageCommands => "INVALID_MANIFEST",
            _ => otherwise,
        };
        let message = match code {
            "DISK_FULL" => "The disk is full",
            "INVALID_MANIFEST" => "The package is not usable",
            "DOWNLOAD_FAILED" => "Download failed",
            "PROCESS_KILL_FAILED" => "A service does not stop",
            _ => "Installation failed",
        };
        let is_of_the_network = match error {
            // That of a proxy, mostly.
            Error::HttpStatus { status, .. } => *status >= 500,
            _ => matches!(
                error.code(),
                Code::Unreachable | Code::DownloadFailed | Code::DownloadStalled
            ),
        };
        let then = if is_of_the_network {
            Then::TryAgain
        } else {
            Then::Rest
        };
        Self {
            then,
            ..Self::new(code, error.chain(), message)
        }
    }

    /// One from which nothing follows.
    pub(super) fn new(code: &'static str, problem: String, message: &str) -> Self {
        Self {
            code,
            problem,
            message: message.to_owned(),
            then: Then::Rest,
        }
    }

    /// One of the installation.
    pub(super) fn deployment(problem: String, message: &str) -> Self {
        Self::new(DEPLOYMENT, problem, message)
    }

    /// The same, which the next start has to take up.
    pub(super) fn unsettled(self) -> Self {
        Self {
            then: Then::GoOn,
            ..self
        }
    }

    /// The same without what follows the `?` of an address, which may be a password.
    pub(super) fn without_password(mut self, url: &str) -> Self {
        if let Some((_, query)) = url.split_once('?').filter(|(_, query)| !query.is_empty()) {
            self.problem = self.problem.replace(query, "...");
        }
        self
    }

    /// The last word on it, on the board and in the log.
    pub(super) fn last_word(&self) -> Progress {
        log::error!("{}: {}", self.code, self.problem);
        Progress::failed(self.code, &self.problem, self.message.clone())
    }
}
