//! Failures as they leave the server: an HTTP status and one line of text.

use axum::http::StatusCode;

/// A failed request.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    status: StatusCode,
    message: String,
}

impl Error {
    /// Any status with any text.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The server failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// Nothing there, in the words LXD uses.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not found")
    }

    /// The caller may not, in the words LXD uses.
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "not authorized")
    }

    /// The path has no such verb, in the words LXD uses.
    pub fn not_implemented() -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "not implemented")
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// The one place where failures of the engine become HTTP: its kinds already carry the status.
impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, error.report())
    }
}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Self {
        Self::internal(error.to_string())
    }
}
