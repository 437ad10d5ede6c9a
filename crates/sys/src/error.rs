//! The one error of this crate: an operation, its subject, and the kernel's reason.

use std::fmt;
use std::path::Path;

pub use rustix::io::Errno;

/// A failed system call.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {subject}: {}", ErrnoText(*.errno))]
pub struct Error {
    /// What was attempted, as a verb: `open`, `mount`, `clone3`.
    pub operation: &'static str,
    /// On what: a path, a pid, a name.
    pub subject: String,
    /// The kernel's reason.
    pub errno: Errno,
}

/// Result of the functions of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `operation` on `subject`.
    pub fn new(operation: &'static str, subject: impl fmt::Display, errno: Errno) -> Self {
        Self { operation, subject: subject.to_string(), errno }
    }

    /// From a `std::io::Error`, keeping its errno (EIO where it has none).
    pub fn io(operation: &'static str, subject: impl fmt::Display, error: &std::io::Error) -> Self {
        let errno = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
        Self::new(operation, subject, errno)
    }

    /// True if the kernel said that the subject does not exist.
    pub fn is_not_found(&self) -> bool {
        self.errno == Errno::NOENT
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = std::io::Error::from_raw_os_error(error.errno.raw_os_error()).kind();
        std::io::Error::new(kind, error)
    }
}

/// Attaches operation and subject to a bare errno or `io::Error`.
pub trait Context<T> {
    /// Names what failed.
    fn context(self, operation: &'static str, subject: impl fmt::Display) -> Result<T>;
    /// Names what failed on a path.
    fn on_path(self, operation: &'static str, path: &Path) -> Result<T>
    where
        Self: Sized,
    {
        self.context(operation, path.display())
    }
}

impl<T> Context<T> for std::result::Result<T, Errno> {
    fn context(self, operation: &'static str, subject: impl fmt::Display) -> Result<T> {
        self.map_err(|errno| Error::new(operation, subject, errno))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, operation: &'static str, subject: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::io(operation, subject, &error))
    }
}

/// An errno in words, without the `(os error N)` that std appends.
struct ErrnoText(Errno);

impl fmt::Display for ErrnoText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::io::Error::from(self.0).to_string();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}
