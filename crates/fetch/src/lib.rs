//! Fetching over HTTPS for callers without an event loop: images from their servers.
//!
//! The other side is not trusted: only TLS, also after a redirect; either the system's certificate
//! authorities vouch for the server, or it shows exactly the certificate that was pinned; every wait
//! has an end, and no reply is longer than its reader says. A running transfer can be stopped from
//! another thread. This crate knows nothing of images or the API.

mod client;
mod error;
pub mod multipart;
mod proxy;
mod tls;

pub use client::{Client, Reply, Settings, Stop};
pub use error::{Error, Result, shown_url};
pub use pki::tls::ServerTrust;
pub use proxy::Proxies;
