//! What is wrong with a stream, or with what is asked of it.

/// Result of the functions of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is not in the format.
    #[error("{what} of the image server is not understood: {reason}")]
    Format {
        /// Which file.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// More than is accepted.
    #[error("the image server lists more than {limit} {what}")]
    Limit {
        /// What is counted.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A path that leads elsewhere, or is none.
    #[error("the image server names a file {0:?}, which is not a path below its own address")]
    Path(String),
    /// Nothing of that name.
    #[error("The requested image couldn't be found: {0:?} is neither an alias nor a fingerprint there for this architecture")]
    NotFound(String),
    /// Several images.
    #[error("Provided partial image fingerprint matches more than one image: {0}")]
    Ambiguous(String),
}
