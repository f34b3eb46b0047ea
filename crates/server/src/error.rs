//! What can go wrong, with a stable code and a status each.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// The server's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request, a configuration or a command that contradicts itself.
    #[error("{0}")]
    Request(String),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// A token is needed.
    #[error("this needs a token: Authorization: Bearer TOKEN, or /t/TOKEN/ before the path")]
    TokenMissing,
    /// A token that is not known, or void.
    #[error("the token is not known here, or was revoked")]
    TokenInvalid,
    /// A token that does not allow it.
    #[error("the token does not allow this: it needs the role {0}")]
    RoleMissing(&'static str),
    /// A form that did not come from its own page.
    #[error(
        "the form did not come from its page on this server, or you have signed in anew since; open \
         the page again"
    )]
    FormInvalid,
    /// Too many wrong tokens.
    #[error("too many wrong tokens came from your address; try again in {0} seconds")]
    TooMany(u64),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// A version that is there with another package.
    #[error("{0}")]
    VersionExists(String),
    /// An index that is not newer than the one that is there.
    #[error("{0}")]
    IndexOld(String),
    /// An index that only its publisher can sign.
    #[error("{0}")]
    IndexNeeded(String),
    /// More bytes than are taken.
    #[error("{0}")]
    TooLarge(String),
    /// A package that launchers would refuse.
    #[error("{0}")]
    PackageInvalid(String),
    /// A document that launchers would refuse.
    #[error("{0}")]
    DocumentInvalid(String),
    /// The disk is full.
    #[error("{0}")]
    DiskFull(String),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The store of packages failed.
    #[error("the store failed: {0}")]
    Store(String),
    /// What must not be.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// A request that cannot be fulfilled, and why.
    pub fn request(problem: impl Into<String>) -> Self {
        Self::Request(problem.into())
    }

    /// What is not there.
    pub fn not_found(problem: impl Into<String>) -> Self {
        Self::NotFound(problem.into())
    }

    /// What contradicts what is there.
    pub fn conflict(problem: impl Into<String>) -> Self {
        Self::Conflict(problem.into())
    }

    /// What an operation on a file failed with.
    pub fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let text = format!("cannot {what} {}: {error}", path.display());
        if error.kind() == std::io::ErrorKind::StorageFull {
            Self::DiskFull(text)
        } else {
            Self::Store(text)
        }
    }

    /// The stable name of the kind of error. Programs may rely on it.
    pub fn code(&self) -> &'static str {
        self.kind().0
    }

    /// The status by which it is answered.
    pub fn status(&self) -> StatusCode {
        self.kind().1
    }

    fn kind(&self) -> (&'static str, StatusCode) {
        match self {
            Self::Request(_) => ("REQUEST_INVALID", StatusCode::BAD_REQUEST),
            Self::NotFound(_) => ("NOT_FOUND", StatusCode::NOT_FOUND),
            Self::TokenMissing => ("TOKEN_MISSING", StatusCode::UNAUTHORIZED),
            Self::TokenInvalid => ("TOKEN_INVALID", StatusCode::UNAUTHORIZED),
            Self::RoleMissing(_) => ("ROLE_MISSING", StatusCode::FORBIDDEN),
            Self::FormInvalid => ("FORM_INVALID", StatusCode::FORBIDDEN),
            Self::TooMany(_) => ("TOO_MANY", StatusCode::TOO_MANY_REQUESTS),
            Self::Conflict(_) => ("CONFLICT", StatusCode::CONFLICT),
            Self::VersionExists(_) => ("VERSION_EXISTS", StatusCode::CONFLICT),
            Self::IndexOld(_) => ("INDEX_OLD", StatusCode::CONFLICT),
            Self::IndexNeeded(_) => ("INDEX_NEEDED", StatusCode::CONFLICT),
            Self::TooLarge(_) => ("TOO_LARGE", StatusCode::PAYLOAD_TOO_LARGE),
            Self::PackageInvalid(_) => ("PACKAGE_INVALID", StatusCode::UNPROCESSABLE_ENTITY),
            Self::DocumentInvalid(_) => ("DOCUMENT_INVALID", StatusCode::UNPROCESSABLE_ENTITY),
            Self::DiskFull(_) => ("DISK_FULL", StatusCode::INSUFFICIENT_STORAGE),
            Self::Database(_) => ("DATABASE_FAILED", StatusCode::SERVICE_UNAVAILABLE),
            Self::Store(_) => ("STORE_FAILED", StatusCode::SERVICE_UNAVAILABLE),
            Self::Internal(_) => ("INTERNAL", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// What is said to whoever asked: of the server's own faults only that there was one, whose
    /// words are in the log.
    pub fn message(&self) -> String {
        match self {
            Self::Database(_) | Self::Internal(_) | Self::Store(_) => {
                log::error!("{self}");
                "the server could not do it; its log says why".to_owned()
            }
            _ => self.to_string(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = json!({"error": {"code": self.code(), "message": self.message()}});
        let mut answer = (self.status(), Json(body)).into_response();
        if let Self::TooMany(seconds) = self {
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        answer
    }
}
