//! X.509 certificates as LXD uses them: self-signed pairs, fingerprints, PEM, names and dates.
//!
//! Nothing here decides whom to trust, and there are no authorities: certificates are compared
//! byte by byte by those who store them. No files, no sockets.

mod certificate;
mod error;
mod generate;
mod identity;
mod pem;

pub use certificate::Certificate;
pub use error::{Error, Result};
pub use generate::{Generated, Purpose, generate};
pub use identity::Identity;
