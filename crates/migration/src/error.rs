//! What can go wrong between two servers.

/// Why a message did not come, or was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection ended.
    #[error("the other server has closed the connection")]
    Closed,
    /// Nothing came for too long.
    #[error("the other server has said nothing for {seconds} s")]
    Silent {
        /// So long.
        seconds: u64,
    },
    /// Reading or writing failed.
    #[error("the connection to the other server broke: {0}")]
    Broken(#[source] std::io::Error),
    /// A message that is not what it must be.
    #[error("the other server sent {0}")]
    Malformed(String),
    /// The other server gave up.
    #[error("the other server gave up: {0}")]
    GaveUp(String),
}

/// Result of what this crate does.
pub type Result<T> = std::result::Result<T, Error>;
