//! TLS as clients of LXD know it: 1.2 and 1.3, a certificate of the client asked for, none demanded.
//!
//! The handshake proves that a client has the key to the certificate it shows, and nothing else; whether
//! that certificate is trusted is asked with each request.

use std::sync::Arc;

use rustls::Error;
use rustls::server::{NoServerSessionStorage, ServerConfig};

/// What every connection is set up with.
pub(crate) fn server_config(identity: &pki::Identity) -> Result<Arc<ServerConfig>, Error> {
    let mut config = pki::tls::server_config(identity)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Whoever comes back proves who it is again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
