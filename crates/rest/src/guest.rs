//! The guest API over HTTP: what instances reach through `/dev/lxd/sock`.
//!
//! Its replies have no envelopes: JSON or plain text. Guests are not trusted, so each instance has a
//! bounded number of connections, of a bounded age before a request, and a bounded pace of requests and bytes;
//! what is beyond waits in its own socket's queue and costs others nothing.

mod endpoints;
mod paced;
mod serve;

pub use endpoints::{GUEST_ENDPOINTS, GuestEndpoint};
pub(crate) use serve::serve;
