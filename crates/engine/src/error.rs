//! The one error that leaves the engine: a kind, what was being done, why it failed, what to do.
//!
//! [`ErrorKind`] is a table of kind, HTTP status and the word LXD uses. `Display` shows only this
//! error's own message; [`Error::report`] shows the whole chain with the hint, for users and logs.

use std::error::Error as StdError;
use std::fmt;

/// What sort of failure it is: decides the HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table below says it")]
pub enum ErrorKind {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    PreconditionFailed,
    TooManyRequests,
    Internal,
    NotImplemented,
    Unavailable,
}

/// Kind, HTTP status, the words LXD uses for it.
const KINDS: &[(ErrorKind, u16, &str)] = &[
    (ErrorKind::BadRequest, 400, "bad request"),
    (ErrorKind::Unauthorized, 401, "not authenticated"),
    (ErrorKind::Forbidden, 403, "not authorized"),
    (ErrorKind::NotFound, 404, "not found"),
    (ErrorKind::Conflict, 409, "already exists"),
    (ErrorKind::PreconditionFailed, 412, "precondition failed"),
    (ErrorKind::TooManyRequests, 429, "too many requests"),
    (ErrorKind::Internal, 500, "internal error"),
    (ErrorKind::NotImplemented, 501, "not implemented"),
    (ErrorKind::Unavailable, 503, "unavailable"),
];

impl ErrorKind {
    fn row(self) -> (u16, &'static str) {
        KINDS.iter().find(|row| row.0 == self).map_or((500, "internal error"), |row| (row.1, row.2))
    }

    /// The HTTP status code.
    pub fn http_status(self) -> u16 {
        self.row().0
    }

    /// The short text LXD uses when nothing better is known.
    pub fn text(self) -> &'static str {
        self.row().1
    }
}

/// A failure as the caller of the engine sees it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Result of the engine's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadRequest, message)
    }

    /// Nothing of that name.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// The name is taken.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// The caller may not do that.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, message)
    }

    /// Something that is needed is not there now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// A verb that this server does not offer.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotImplemented, message)
    }

    /// Something failed on the way.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The object changed since the caller read it.
    pub fn precondition(actual: &str, sent: &str) -> Self {
        Self::new(ErrorKind::PreconditionFailed, format!("ETag doesn't match: {actual} vs {sent}"))
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the reason.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The HTTP status code of its kind.
    pub fn http_status(&self) -> u16 {
        self.kind.http_status()
    }

    /// Message, reasons and hint in one line: what a user sees.
    pub fn report(&self) -> String {
        let mut text = self.message.clone();
        let mut source = self.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(error) = source {
            let reason = error.to_string();
            // Some libraries already repeat the reason in their own text.
            if !text.ends_with(&reason) {
                text.push_str(": ");
                text.push_str(&reason);
            }
            source = error.source();
        }
        if let Some(hint) = &self.hint {
            text.push_str(" (");
            text.push_str(hint);
            text.push(')');
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<keys::KeyError> for Error {
    /// A key, value or name that does not fit: the request's fault, and its text says it all.
    fn from(error: keys::KeyError) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// Names what was being done when a lower layer failed.
pub trait Context<T> {
    /// An internal error with `message` and this failure as its reason.
    fn context(self, message: impl Into<String>) -> Result<T>;
    /// The same with another kind.
    fn context_as(self, kind: ErrorKind, message: impl Into<String>) -> Result<T>;
}

impl<T, E: StdError + Send + Sync + 'static> Context<T> for std::result::Result<T, E> {
    fn context(self, message: impl Into<String>) -> Result<T> {
        self.context_as(ErrorKind::Internal, message)
    }

    fn context_as(self, kind: ErrorKind, message: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::new(kind, message).caused_by(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_has_message_reason_and_hint() {
        let reason = std::io::Error::other("disk on fire");
        let error = Error::internal("start c1").caused_by(reason).hint("buy another disk");
        assert_eq!(error.to_string(), "start c1");
        assert_eq!(error.report(), "start c1: disk on fire (buy another disk)");
    }

    #[test]
    fn every_kind_has_its_row() {
        for (kind, status, text) in KINDS {
            assert_eq!((kind.http_status(), kind.text()), (*status, *text));
        }
    }
}
