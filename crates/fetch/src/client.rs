//! Requests and their replies.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pki::tls::ServerTrust;
use ureq::http::Uri;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, TcpConnector};
use ureq::{Agent, SendBody};

use crate::error::shown_url;
use crate::tls::TlsConnector;
use crate::{Error, Proxies, Result};

/// How long looking up a name, connecting and the handshakes may take, each.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent before and in the middle of a reply.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a reply that is read as a whole may take.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes read at once of a reply that is read as a whole.
const PIECE_BYTES: usize = 64 << 10;
/// How many redirects are followed.
const MAX_REDIRECTS: u32 = 5;

/// How to fetch from a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How it proves who it is.
    pub trust: ServerTrust,
    /// Ways through proxies.
    pub proxies: Proxies,
    /// The `User-Agent` header.
    pub user_agent: String,
}

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
}

/// Stops a client's transfers from another thread.
#[derive(Clone, Debug)]
pub struct Stop(Agent);

/// A reply whose body is still to be read.
pub struct Reply {
    /// For people.
    url: String,
    status: u16,
    headers: ureq::http::HeaderMap,
    body: ureq::BodyReader<'static>,
}

impl Client {
    /// A client for the server at `base`, an `https://` address; nothing is connected yet.
    pub fn new(base: &str, settings: &Settings) -> Result<Self> {
        let uri = check_url(base)?;
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let proxy = settings.proxies.for_host(host).map(parse_proxy).transpose()?;
        let is_pinned = matches!(settings.trust, ServerTrust::Pinned(_));
        let config = Agent::config_builder()
            .https_only(true)
            .http_status_as_error(false)
            // What is pinned is one server.
            .max_redirects(if is_pinned { 0 } else { MAX_REDIRECTS })
            .max_redirects_will_error(!is_pinned)
            .proxy(proxy)
            .user_agent(settings.user_agent.as_str())
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .timeout_per_write(Some(SILENCE_TIMEOUT))
            .timeout_recv_response(Some(2 * SILENCE_TIMEOUT))
            .build();
        let config_of_tls = pki::tls::client_config(&settings.trust, None).map_err(|error| Error::Tls(pki::tls::explain(&error)))?;
        let tls = TlsConnector(Arc::new(config_of_tls));
        let connector = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(tls);
        Ok(Self { agent: Agent::with_parts(config, connector, DefaultResolver::default()) })
    }

    /// `GET`. A reply with a failure for status is an error.
    pub fn get(&self, url: &str) -> Result<Reply> {
        self.get_any(url)?.success()
    }

    /// `GET`, whatever the status.
    pub fn get_any(&self, url: &str) -> Result<Reply> {
        check_url(url)?;
        Reply::of(url, self.agent.get(url).call())
    }

    /// `HEAD` with further headers. A reply with a failure for status is an error.
    pub fn head(&self, url: &str, headers: &[(&str, &str)]) -> Result<Reply> {
        check_url(url)?;
        let request = headers.iter().fold(self.agent.head(url), |request, (name, value)| request.header(*name, *value));
        Reply::of(url, request.call())?.success()
    }

    /// `POST` of a body whose length is known, whatever the status. The body is read as fast as the server takes it.
    pub fn post(&self, url: &str, headers: &[(&str, &str)], (mut body, length_bytes): (impl Read, u64)) -> Result<Reply> {
        check_url(url)?;
        let request = headers.iter().fold(self.agent.post(url), |request, (name, value)| request.header(*name, *value));
        let request = request.header("Content-Length", length_bytes.to_string());
        Reply::of(url, request.send(SendBody::from_reader(&mut body)))
    }

    /// What stops its transfers.
    pub fn stop_handle(&self) -> Stop {
        Stop(self.agent.clone())
    }
}

impl Stop {
    /// Breaks all transfers off, and refuses further ones. Connecting is not interrupted, but has its time-out.
    pub fn stop(&self) {
        self.0.clone().shutdown();
    }
}

impl Reply {
    fn of(url: &str, result: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Self> {
        let (parts, body) = result.map_err(|error| Error::of_ureq(url, error))?.into_parts();
        Ok(Self { url: shown_url(url), status: parts.status.as_u16(), headers: parts.headers, body: body.into_reader() })
    }

    fn success(self) -> Result<Self> {
        match self.status {
            200..=299 => Ok(self),
            300..=399 => Err(Error::Transport { url: self.url, reason: "the server redirects, which is not expected here".into() }),
            status => Err(Error::Status { url: self.url, status }),
        }
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Content-Length`.
    pub fn length_bytes(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The next bytes of the body; 0 at its end, which is an error if it comes too early.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.body.read(buffer).map_err(|error| Error::of_io(&self.url, error))
    }

    /// The whole body, which must be here in some minutes.
    pub fn bytes(self, limit_bytes: u64) -> Result<Vec<u8>> {
        read_whole(self.body, &self.url, limit_bytes, WHOLE_TIMEOUT)
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("url", &self.url).field("status", &self.status).finish_non_exhaustive()
    }
}

/// Each read has its time-out, but a server could keep up any number of them, byte by byte.
fn read_whole(mut reader: impl Read, url: &str, limit_bytes: u64, timeout: Duration) -> Result<Vec<u8>> {
    let end = Instant::now() + timeout;
    let mut bytes = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = reader.read(&mut piece).map_err(|error| Error::of_io(url, error))?;
        if count == 0 {
            return Ok(bytes);
        }
        if bytes.len() as u64 + count as u64 > limit_bytes {
            return Err(Error::TooLarge { url: url.to_owned(), limit_bytes });
        }
        bytes.extend_from_slice(&piece[..count]);
        if Instant::now() >= end {
            let reason = format!("the reply has taken more than {} seconds", timeout.as_secs());
            return Err(Error::Transport { url: url.to_owned(), reason });
        }
    }
}

fn parse_proxy(address: &str) -> Result<ureq::Proxy> {
    let fail = |reason: &str| Error::Proxy { address: shown_url(address), reason: reason.to_owned() };
    let proxy = ureq::Proxy::new(address).map_err(|_| fail("not the address of a proxy, such as http://proxy.example.net:3128"))?;
    match proxy.protocol() {
        ureq::ProxyProtocol::Http => Ok(proxy),
        _ => Err(fail("only proxies that are spoken to in HTTP are supported")),
    }
}

fn check_url(url: &str) -> Result<Uri> {
    let fail = |reason: &str| Error::Url { url: shown_url(url), reason: reason.to_owned() };
    let uri: Uri = url.parse().map_err(|_| fail("not a URL"))?;
    match uri.scheme_str() {
        Some("https") => {}
        _ => return Err(fail("only https:// is supported")),
    }
    let authority = uri.authority().ok_or_else(|| fail("there is no host in it"))?;
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(fail("there is no plain host in it"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let made = pki::generate(pki::Purpose::Server, "root@host", &[], 1_700_000_000).expect("generate");
        let trust = ServerTrust::Pinned(pki::Certificate::from_pem(&made.certificate_pem).expect("certificate"));
        Settings { trust, proxies: Proxies::default(), user_agent: "test".into() }
    }

    #[test]
    fn only_https() {
        for url in ["http://example.com", "ftp://example.com", "example.com", "", "https://", "https://user:pw@example.com", "https://a b"]
        {
            assert!(matches!(Client::new(url, &settings()), Err(Error::Url { .. })), "{url}");
        }
        for url in ["https://example.com", "https://[::1]:8443/x", "https://192.0.2.1:8443"] {
            Client::new(url, &settings()).expect(url);
        }
    }

    #[test]
    fn proxies_that_are_none() {
        for address in ["socks5://p:1080", "https://p:3128", "http://"] {
            let proxies = Proxies { https: address.into(), ..Proxies::default() };
            let result = Client::new("https://example.com", &Settings { proxies, ..settings() });
            assert!(matches!(result, Err(Error::Proxy { .. })), "{address}");
        }
    }

    #[test]
    fn secrets_are_not_told() {
        let proxies = Proxies { https: "socks5://user:secret@p:1080".into(), ..Proxies::default() };
        let error = Client::new("https://example.com", &Settings { proxies, ..settings() }).expect_err("socks");
        assert!(error.to_string().contains("p:1080") && !error.to_string().contains("secret"), "{error}");
        for url in ["https://user:secret@example.com/?secret=x", "http://example.com/a?secret=x", "https://a b?secret=x"] {
            let error = Client::new(url, &settings()).expect_err(url).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    /// Sends a byte each time.
    struct Trickle;

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            std::thread::sleep(Duration::from_millis(1));
            buffer[0] = b'x';
            Ok(1)
        }
    }

    #[test]
    fn whole_replies_have_bounds() {
        let hour = Duration::from_secs(3600);
        assert_eq!(read_whole(&b"abc"[..], "x", 3, hour).expect("fits"), b"abc");
        assert!(matches!(read_whole(&b"abcd"[..], "x", 3, hour), Err(Error::TooLarge { limit_bytes: 3, .. })));
        assert!(matches!(read_whole(std::io::repeat(0), "x", 1 << 20, hour), Err(Error::TooLarge { .. })));
        let error = read_whole(Trickle, "x", u64::MAX, Duration::from_millis(50)).expect_err("never ends");
        assert!(error.to_string().contains("more than 0 seconds"), "{error}");
    }

    #[test]
    fn nobody_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        drop(listener);
        let url = format!("https://{address}/");
        let error = Client::new(&url, &settings()).and_then(|client| client.get(&format!("{url}x?secret=s3cret"))).expect_err("refused");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
    }

    /// Somebody answers who does not speak TLS, and somebody who never answers and is stopped.
    #[test]
    fn what_is_no_tls_and_what_is_stopped() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("https://{}/", listener.local_addr().expect("address"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use std::io::Write;
                let (mut first, _) = listener.accept().expect("accept");
                first.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("write");
                let second = listener.accept().expect("accept");
                std::thread::sleep(Duration::from_secs(3));
                drop(second);
            });
            let client = Client::new(&url, &settings()).expect("client");
            let error = client.get(&url).expect_err("no TLS");
            assert!(error.to_string().contains("TLS"), "{error}");
            let stop = client.stop_handle();
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                stop.stop();
            });
            let start = std::time::Instant::now();
            client.get(&url).expect_err("stopped");
            assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        });
    }
}
