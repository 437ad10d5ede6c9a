//! Why a certificate cannot be read or made.

/// Result of the functions of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A certificate or key that is no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text holds no certificate.
    #[error("Invalid certificate: {0}")]
    Certificate(String),
    /// The text holds no private key.
    #[error("Invalid private key: {0}")]
    Key(String),
    /// A new pair could not be made.
    #[error("make a certificate: {0}")]
    Generate(String),
}
