//! Why running a container failed: the step, its subject, the reason.

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step of setting up failed.
    #[error("{step}: {reason}")]
    Step {
        /// What was being done: `mount the root file system`.
        step: String,
        /// Operation, subject and the kernel's words.
        reason: String,
    },
    /// A kernel call of the daemon itself failed.
    #[error(transparent)]
    Sys(#[from] sys::Error),
    /// Network cards.
    #[error("set up network: {0}")]
    Network(String),
    /// The container does not run (any more).
    #[error("the container `{0}` is not running")]
    NotRunning(String),
    /// The monitor or a helper ended or answered nonsense.
    #[error("the {program} of container `{name}` {what}")]
    Helper {
        /// `monitor` or `helper`.
        program: &'static str,
        /// Container.
        name: String,
        /// What it did.
        what: String,
    },
    /// The monitor or a helper is there and does not answer.
    #[error("the {program} of container `{name}` gave no answer within {seconds} s")]
    Silent {
        /// `monitor` or `helper`.
        program: &'static str,
        /// Container.
        name: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The container is frozen, and what was wanted takes a running one.
    #[error("the container `{0}` is frozen")]
    Frozen(String),
    /// As many operations as may be under way inside are: its file systems may be slow, or hang.
    #[error("{count} operations on files of container `{name}` are under way already")]
    Busy {
        /// Container.
        name: String,
        /// How many.
        count: usize,
    },
    /// A file operation inside the container failed.
    #[error("{message}")]
    File {
        /// Operation, path and reason.
        message: String,
        /// Linux error number.
        errno: i32,
    },
    /// The host lacks something.
    #[error("{what}")]
    Unsupported {
        /// What.
        what: String,
        /// How it is to be had.
        remedy: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failed step.
    pub fn step(step: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Step { step: step.into(), reason: reason.to_string() }
    }

    /// True if a file or directory did not exist.
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(sys::Errno::NOENT)
    }

    /// The kernel's error number, where there is one.
    pub fn errno(&self) -> Option<sys::Errno> {
        match self {
            Self::Sys(error) => Some(error.errno),
            // It comes from inside a guest: what is no number of an error is none.
            Self::File { errno, .. } => (1..4096).contains(errno).then(|| sys::Errno::from_raw_os_error(*errno)),
            _ => None,
        }
    }
}
