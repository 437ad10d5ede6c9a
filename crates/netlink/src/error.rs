//! What can go wrong: the operation, the link it was for, and the kernel's reason.

use sys::Errno;

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the request, or a socket call failed.
    #[error("{operation} {subject}: {reason}")]
    Kernel {
        /// What was attempted: `create veth`, `set up`.
        operation: &'static str,
        /// The link or address.
        subject: String,
        /// The error number.
        errno: Errno,
        /// The error number in words, with the kernel's own explanation where it gave one.
        reason: String,
    },
    /// No answer came in time.
    #[error("{operation} {subject}: the kernel did not answer within {seconds} s")]
    Timeout {
        /// What was attempted.
        operation: &'static str,
        /// The link or address.
        subject: String,
        /// The limit.
        seconds: u64,
    },
    /// The answer does not follow the protocol.
    #[error("{operation} {subject}: malformed answer: {reason}")]
    Malformed {
        /// What was attempted.
        operation: &'static str,
        /// The link or address.
        subject: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// An error with only an error number.
    pub(crate) fn errno(operation: &'static str, subject: &str, errno: Errno) -> Self {
        Self::kernel(operation, subject, errno, None)
    }

    /// An error with the kernel's own message, if it sent one.
    pub(crate) fn kernel(operation: &'static str, subject: &str, errno: Errno, message: Option<String>) -> Self {
        let mut reason = std::io::Error::from(errno).to_string();
        if let Some(end) = reason.find(" (os error") {
            reason.truncate(end);
        }
        if let Some(message) = message {
            reason = format!("{reason} ({message})");
        }
        Self::Kernel { operation, subject: subject.to_owned(), errno, reason }
    }

    /// The kernel's error number, if it was the kernel that refused.
    pub fn kernel_errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { errno, .. } => Some(*errno),
            Self::Timeout { .. } | Self::Malformed { .. } => None,
        }
    }

    /// True if the link, address or route does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kernel_errno(), Some(Errno::NODEV | Errno::ADDRNOTAVAIL | Errno::SRCH | Errno::NOENT))
    }

    /// True if it exists already.
    pub fn is_exists(&self) -> bool {
        self.kernel_errno() == Some(Errno::EXIST)
    }
}
