//! Proxies of the environment: `https_proxy` and `no_proxy`, in lower or upper case.
//!
//! The proxy is asked for a tunnel (`CONNECT`, RFC 9110) and sees nothing of what goes through it.

use std::io::{self, Error, ErrorKind};
use std::net::IpAddr;

use data_encoding::BASE64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most bytes of a proxy's answer.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// The port of a proxy whose address names none.
const DEFAULT_PORT: u16 = 80;

/// An HTTP proxy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    host: String,
    port: u16,
    /// `USER:PASSWORD`.
    login: Option<String>,
}

impl Proxy {
    /// The proxy by which `host` is to be reached, if there is one.
    pub fn from_environment(host: &str) -> io::Result<Option<Self>> {
        let variable = |name: &str| {
            let found = [name.to_owned(), name.to_ascii_uppercase()].into_iter().find_map(|name| std::env::var(name).ok());
            found.unwrap_or_default()
        };
        Self::choose(host, &variable("https_proxy"), &variable("no_proxy"))
    }

    pub fn choose(host: &str, proxy: &str, exceptions: &str) -> io::Result<Option<Self>> {
        if proxy.trim().is_empty() || is_local(host) || exceptions.split(',').any(|exception| is_meant(host, exception.trim())) {
            return Ok(None);
        }
        Self::parse(proxy.trim()).map(Some).ok_or_else(|| Error::new(ErrorKind::InvalidInput, "https_proxy is not an http:// URL"))
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) => scheme.eq_ignore_ascii_case("http").then_some(rest)?,
            None => text,
        };
        let authority: hyper::http::uri::Authority = rest.split('/').next()?.parse().ok()?;
        let login = authority.as_str().rsplit_once('@').map(|(login, _)| login.to_owned());
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        (!host.is_empty()).then(|| Self { host, port: authority.port_u16().unwrap_or(DEFAULT_PORT), login })
    }

    /// A connection to `host` through the proxy.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let named = |error: Error| Error::new(error.kind(), format!("by the proxy {}:{}: {error}", self.host, self.port));
        self.tunnel(host, port).await.map_err(named)
    }

    async fn tunnel(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let login = self.login.as_ref().map(|login| format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(login.as_bytes())));
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", login.unwrap_or_default());
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // Byte by byte, since what follows the answer belongs to the tunnel.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= MAX_ANSWER_BYTES {
                return Err(Error::other("its answer is too long"));
            }
            answer.push(stream.read_u8().await?);
        }
        let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
        match line.split(' ').nth(1) {
            Some(status) if status.len() == 3 && status.starts_with('2') => Ok(stream),
            _ => Err(Error::other(format!("it refuses: {}", line.escape_debug()))),
        }
    }
}

/// Servers on this host are never asked for elsewhere.
fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether an exception is the host, a domain it is in, or `*`.
fn is_meant(host: &str, exception: &str) -> bool {
    let domain = exception.trim_start_matches('.');
    if exception == "*" {
        return true;
    }
    let is_below = || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    !domain.is_empty() && (host.eq_ignore_ascii_case(domain) || is_below())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn which_proxy() {
        let proxy = |host, proxy, exceptions| Proxy::choose(host, proxy, exceptions).expect(proxy);
        let plain = Some(Proxy { host: "proxy".into(), port: 3128, login: None });
        assert_eq!(proxy("host.example", "http://proxy:3128", ""), plain);
        assert_eq!(proxy("host.example", "proxy:3128/", "example.org, .other"), plain);
        let with_login = Some(Proxy { host: "proxy".into(), port: 80, login: Some("user:word".into()) });
        assert_eq!(proxy("host.example", "http://user:word@proxy", ""), with_login);
        for (host, exceptions) in
            [("localhost", ""), ("127.0.0.1", ""), ("::1", ""), ("a.b", "*"), ("a.b", "x, a.b"), ("a.b", ".b"), ("a.b", "b")]
        {
            assert_eq!(proxy(host, "http://proxy:3128", exceptions), None, "{host} {exceptions}");
        }
        assert_eq!(proxy("ab", "http://proxy:3128", "b"), plain, "not a domain of it");
        assert!(Proxy::choose("a", "socks5://proxy", "").is_err() && Proxy::choose("a", "http://", "").is_err());
    }

    /// A proxy that answers one request with `answer`; returns the request.
    async fn ask(answer: &'static str) -> (io::Result<TcpStream>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.expect("read"));
            }
            stream.write_all(answer.as_bytes()).await.expect("write");
            String::from_utf8(request).expect("text")
        });
        let proxy = Proxy { host: "127.0.0.1".into(), port, login: Some("u:p".into()) };
        let connected = proxy.connect("fd00::1", 8443).await;
        (connected, server.await.expect("join"))
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_and_what_follows_is_left_in_it() {
        let (connected, request) = ask("HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nhello").await;
        assert_eq!(request, "CONNECT [fd00::1]:8443 HTTP/1.1\r\nHost: [fd00::1]:8443\r\nProxy-Authorization: Basic dTpw\r\n\r\n");
        let mut content = String::new();
        connected.expect("a tunnel").read_to_string(&mut content).await.expect("read");
        assert_eq!(content, "hello");
        let (refused, _) = ask("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        let text = refused.expect_err("refused").to_string();
        assert!(text.ends_with("it refuses: HTTP/1.1 407 Proxy Authentication Required"), "{text}");
        assert!(ask("HTTP/1.1").await.0.is_err());
    }
}
