//! A server on the network: its address and how it is known.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pki::tls::{ServerTrust, client_config};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::{Error, Result};
use crate::proxy::Proxy;

/// The port of servers whose address names none.
pub const DEFAULT_PORT: u16 = 8443;
/// How long connecting may take, handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Address of a server on the network, and what its connections are made with. Clones share that.
#[derive(Clone, Debug)]
pub struct Https {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `host:port`, as in URLs.
    authority: String,
    host: String,
    port: u16,
    trust: ServerTrust,
    identity: Option<pki::Identity>,
    /// Made when first needed: reading the host's authorities takes a while.
    config: OnceLock<std::result::Result<Arc<ClientConfig>, String>>,
}

impl Https {
    /// A server at `https://HOST[:PORT]`; nothing is connected yet.
    pub fn new(url: &str, trust: ServerTrust, identity: Option<pki::Identity>) -> Result<Self> {
        let bad = |reason: &str| Error::BadRequest { request: url.to_owned(), reason: reason.to_owned() };
        let authority = url.strip_prefix("https://").ok_or_else(|| bad("is not an https:// URL"))?;
        let authority = authority.split('/').next().unwrap_or_default();
        let parsed: hyper::http::uri::Authority = authority.parse().map_err(|_| bad("is not an address"))?;
        let host = parsed.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.contains('@') {
            return Err(bad("names no host"));
        }
        let port = parsed.port_u16().unwrap_or(DEFAULT_PORT);
        let inner = Inner { authority: authority.to_owned(), host, port, trust, identity, config: OnceLock::new() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// `HOST[:PORT]`.
    pub fn authority(&self) -> &str {
        &self.inner.authority
    }

    /// Opens a connection; the server has proven who it is.
    pub(crate) async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.connect_patiently()).await {
            Ok(connected) => connected,
            Err(_) => Err(self.failed(std::io::ErrorKind::TimedOut.into())),
        }
    }

    async fn connect_patiently(&self) -> Result<TlsStream<TcpStream>> {
        let Inner { host, port, trust, identity, config, .. } = &*self.inner;
        let proxy = Proxy::from_environment(host).map_err(|error| self.failed(error))?;
        let stream = match proxy {
            Some(proxy) => proxy.connect(host, *port).await,
            None => TcpStream::connect((host.as_str(), *port)).await,
        };
        let stream = stream.map_err(|error| self.failed(error))?;
        // What is sent is complete: nothing is gained by waiting for more.
        stream.set_nodelay(true).map_err(|error| self.failed(error))?;
        let config = config.get_or_init(|| set_up(trust, identity.as_ref()).map_err(|error| pki::tls::explain(&error)));
        let config = config.as_ref().map_err(|reason| self.failed(std::io::Error::other(reason.as_str())))?;
        let name = ServerName::try_from(host.clone()).map_err(|error| self.failed(std::io::Error::other(error)))?;
        TlsConnector::from(config.clone()).connect(name, stream).await.map_err(|error| self.failed(error))
    }

    /// The certificate that the server shows. Nothing is proven by that but that it has the key to it.
    pub async fn fetch_certificate(&self) -> Result<pki::Certificate> {
        let stream = self.connect().await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let shown = shown.ok_or_else(|| self.failed(std::io::Error::other("the server shows no certificate")))?;
        pki::Certificate::from_der(shown).map_err(|error| self.failed(std::io::Error::other(error)))
    }

    fn failed(&self, reason: std::io::Error) -> Error {
        Error::Connect { target: format!("https://{}", self.inner.authority), reason: explain(reason) }
    }
}

/// What all connections to a server are made with.
fn set_up(trust: &ServerTrust, identity: Option<&pki::Identity>) -> std::result::Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = client_config(trust, identity)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// An error of a handshake with the words of whoever refused the server.
fn explain(error: std::io::Error) -> std::io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => std::io::Error::other(pki::tls::explain(tls)),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parts = |url| {
            let https = Https::new(url, ServerTrust::Unproven, None).expect(url);
            (https.inner.host.clone(), https.inner.port, https.authority().to_owned())
        };
        assert_eq!(parts("https://host.example"), ("host.example".into(), 8443, "host.example".into()));
        assert_eq!(parts("https://[fd00::1]:443/"), ("fd00::1".into(), 443, "[fd00::1]:443".into()));
        for bad in ["http://x", "https://", "https://a b", "https://user@host", "https://:1", "x"] {
            assert!(Https::new(bad, ServerTrust::Unproven, None).is_err(), "{bad}");
        }
    }
}
