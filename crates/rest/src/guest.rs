//! The guest API over HTTP: what instances reach through `/dev/lxd/sock`.
//!
//! Its replies have no envelopes: JSON or plain text. Guests are not trusted, so each instance has a
//! bounded number of connections, of a bounded age before a request, and a bounded pace of requests and bytes;
//! what is beyond waits in its own socket's queue and costs others nothing.

mod endpoints;
mod paced;
mod serve;

pub(crate) use endpoints::router;
pub use endpoints::{GUEST_ENDPOINTS, GuestEndpoint};
pub(crate) use serve::serve;

/// For [`crate::fuzzing`]: what comes with a request of a connection that nothing bounds.
pub(crate) fn unbounded() -> impl Clone + Send + Sync + 'static {
    use std::sync::Arc;
    use std::time::Duration;

    let pace = crate::pace::Pace::new(crate::pace::Rate::new(Duration::ZERO, 1));
    endpoints::Connected::new(Box::new(()), Arc::new(pace), Arc::new(tokio::sync::Semaphore::new(1 << 20)))
}
