//! X.509 certificates as LXD uses them: self-signed pairs, fingerprints, PEM, names and dates; and TLS by them.
//!
//! Nothing here decides whom to trust, and there are no authorities: certificates are compared
//! byte by byte by those who store them. No sockets, and no files but the authorities of the host.

mod certificate;
mod error;
mod generate;
mod identity;
mod pem;
pub mod tls;

pub use certificate::Certificate;
pub use error::{Error, Result};
pub use generate::{Generated, Purpose, generate};
pub use identity::Identity;
