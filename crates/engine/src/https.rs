//! What the server shows itself with on the network, and where it listens.
//!
//! The engine keeps certificate and key, and decides the addresses; sockets are the business of the
//! edge, which takes its seat here with [`Engine::attach_edge`](crate::Engine::attach_edge).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use pki::{Identity, Purpose};

use crate::error::Context;
use crate::migration::Dial;
use crate::{Error, Result};

/// The port where none is given.
const PORT: u16 = 8443;
const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";

/// What serves clients on the network, as the engine sees it.
pub trait Edge: Send + Sync {
    /// Listens on the first of the addresses that can be had, instead of where it listened before; with none,
    /// nowhere. After a failure everything is as it was. Blocks until that is so; not to be called from the edge's
    /// own event loop.
    fn listen(&self, addresses: &[SocketAddr]) -> std::io::Result<()>;
    /// Where it listens.
    fn addresses(&self) -> Vec<SocketAddr>;
    /// Opens a websocket of another server; the descriptor carries its messages as frames of the crate `migration`.
    /// Blocks for some seconds at most. An error says in words what happened.
    fn dial(&self, wanted: &Dial) -> std::result::Result<OwnedFd, String>;
    /// A certificate may not be trusted any more: connections are to be looked at again.
    fn trust_changed(&self);
}

/// Certificate and key, and the edge once it is there.
pub(crate) struct Https {
    identity: std::result::Result<Identity, String>,
    edge: OnceLock<Box<dyn Edge>>,
    /// Held while the configuration of the server is changed, since listening cannot be taken back by a commit.
    pub changing: Mutex<()>,
}

/// A value of `core.https_address`, and where it leads.
#[derive(Debug)]
pub(crate) struct Wanted {
    address: String,
    found: std::io::Result<Vec<SocketAddr>>,
}

impl Wanted {
    /// Looks a name up, which may take long: not to be done while [`Https::changing`] is held.
    pub fn look_up(address: &str) -> Self {
        let found = if address.is_empty() { Ok(Vec::new()) } else { resolve(address) };
        Self { address: address.to_owned(), found }
    }

    /// Whether it is about this value.
    pub fn is(&self, address: &str) -> bool {
        self.address == address
    }
}

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Https").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Https {
    /// Reads `server.crt` and `server.key`, or makes them. Without them the daemon runs all the same, but
    /// does not listen on the network.
    pub fn open(dir: &Path, hostname: &str) -> Self {
        let identity = open_identity(dir, hostname).map_err(|error| error.report());
        if let Err(reason) = &identity {
            tracing::error!("no clients on the network can be served: {reason}");
        }
        Self { identity, edge: OnceLock::new(), changing: Mutex::default() }
    }

    /// Who the server is, or why it cannot say so.
    pub fn identity(&self) -> std::result::Result<&Identity, &str> {
        self.identity.as_ref().map_err(String::as_str)
    }

    pub fn attach(&self, edge: Box<dyn Edge>) {
        // There is one edge a daemon.
        drop(self.edge.set(edge));
    }

    /// Listens on `core.https_address`; an empty one for nowhere.
    pub fn listen(&self, wanted: Wanted) -> Result<()> {
        let Wanted { address, found } = wanted;
        let Some(edge) = self.edge.get() else {
            // Before the edge is there; it asks for the address when it comes.
            return Ok(());
        };
        if address.is_empty() {
            return edge.listen(&[]).context("stop listening on the network");
        }
        let failed = || Error::bad_request(format!("cannot listen on https socket: {address}"));
        self.identity().map_err(|reason| failed().caused_by(Error::internal(reason)))?;
        let addresses = found.map_err(|error| failed().caused_by(error))?;
        edge.listen(&addresses).map_err(|error| failed().caused_by(error))
    }

    /// Where the server can be reached: `10.0.0.1:8443`, a wildcard as every address of the host.
    pub fn addresses(&self) -> Vec<String> {
        let mut all: Vec<SocketAddr> = Vec::new();
        for address in self.edge.get().map(|edge| edge.addresses()).unwrap_or_default() {
            if address.ip().is_unspecified() {
                all.extend(
                    host_addresses()
                        .into_iter()
                        .filter(|ip| address.is_ipv6() || ip.is_ipv4())
                        .map(|ip| SocketAddr::new(ip, address.port())),
                );
            } else {
                all.push(address);
            }
        }
        all.iter().map(SocketAddr::to_string).collect()
    }

    /// See [`Edge::dial`].
    pub fn dial(&self, wanted: &Dial) -> Result<OwnedFd> {
        let edge = self.edge.get().ok_or_else(|| Error::unavailable("this daemon does not use the network"))?;
        edge.dial(wanted).map_err(|reason| Error::unavailable("connect to the other server").caused_by(Error::unavailable(reason)))
    }

    pub fn trust_changed(&self) {
        if let Some(edge) = self.edge.get() {
            edge.trust_changed();
        }
    }
}

fn open_identity(dir: &Path, hostname: &str) -> Result<Identity> {
    let (certificate, key) = (dir.join(CERTIFICATE), dir.join(KEY));
    if !sys::fs::exists(&certificate) {
        let made = pki::generate(Purpose::Server, &format!("root@{hostname}"), &own_names(hostname), jiff::Timestamp::now().as_second());
        let made = made.context("make the server's certificate")?;
        // The certificate comes last: where it is, the key is too.
        let write =
            |path: &Path, text: &str, mode| sys::fs::write_durable(path, text.as_bytes(), mode).context("store the server's certificate");
        write(&key, &made.key_pem, 0o600)?;
        write(&certificate, &made.certificate_pem, 0o644)?;
    }
    let read = |path: &Path| sys::fs::read_to_string(path).context("read the server's certificate");
    Identity::from_pem(&read(&certificate)?, &read(&key)?).context("read the server's certificate").map_err(|error| {
        error.hint(format!(
            "to have a new one made, remove {} and restart the daemon; clients must then be told of it",
            certificate.display()
        ))
    })
}

/// The names that the server's certificate speaks for; a DNS name comes first, for clients that ask for that.
fn own_names(hostname: &str) -> Vec<String> {
    let is_dns = !hostname.is_empty() && hostname.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let mut names: Vec<String> = is_dns.then(|| hostname.to_owned()).into_iter().collect();
    if hostname != "localhost" {
        names.push("localhost".to_owned());
    }
    let local: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    names.extend(local.iter().chain(&host_addresses()).map(IpAddr::to_string));
    names
}

/// Addresses of this host that others can use.
fn host_addresses() -> Vec<IpAddr> {
    let listed = netlink::Netlink::open().and_then(|mut netlink| netlink.addr_list());
    let all = listed.unwrap_or_else(|error| {
        tracing::warn!("find the addresses of this host: {error}");
        Vec::new()
    });
    all.iter().filter(|address| address.reach() == "global").map(|address| address.net.addr()).collect()
}

/// The socket addresses behind `core.https_address`, the best first.
fn resolve(address: &str) -> std::io::Result<Vec<SocketAddr>> {
    let (host, port) = split(address);
    if host.is_empty() {
        // Without IPv6 in the kernel there is still the other.
        return Ok(vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]);
    }
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(vec![(ip, port).into()]),
        Err(_) => (host, port).to_socket_addrs().map(Iterator::collect),
    }
}

/// Host and port of `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT`, `V6` or `:PORT`.
fn split(address: &str) -> (&str, u16) {
    if address.parse::<IpAddr>().is_ok() {
        return (address, PORT);
    }
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !address.ends_with(']') => (host, port.parse().unwrap_or(PORT)),
        _ => (address, PORT),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn addresses_and_their_default_port() {
        for (text, expected) in [
            ("10.0.0.1", ("10.0.0.1", 8443)),
            ("10.0.0.1:1", ("10.0.0.1", 1)),
            ("::", ("::", 8443)),
            ("[::]", ("::", 8443)),
            ("[fd00::1]:443", ("fd00::1", 443)),
            (":443", ("", 443)),
            ("host.example", ("host.example", 8443)),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
        assert_eq!(resolve(":1").expect("wildcard")[0].to_string(), "[::]:1");
    }

    #[test]
    fn the_pair_is_made_once_and_its_key_is_nobody_elses() {
        let dir = tempfile::tempdir().expect("directory");
        let fingerprint = || Https::open(dir.path(), "höst").identity().expect("identity").certificate().fingerprint().to_owned();
        let first = fingerprint();
        assert_eq!(fingerprint(), first);
        let mode = |name: &str| std::fs::metadata(dir.path().join(name)).expect("stat").permissions().mode() & 0o777;
        assert_eq!((mode(KEY), mode(CERTIFICATE)), (0o600, 0o644));
        // A daemon that died between the two files.
        std::fs::remove_file(dir.path().join(CERTIFICATE)).expect("remove");
        assert_ne!(fingerprint(), first);
        std::fs::write(dir.path().join(KEY), "").expect("write");
        let broken = Https::open(dir.path(), "host");
        assert!(broken.identity().expect_err("no key").contains("Invalid private key"), "{broken:?}");
    }

    #[test]
    fn dns_names_come_first() {
        assert_eq!(own_names("web1")[..2], ["web1", "localhost"]);
        assert_eq!(own_names("")[0], "localhost");
        assert!(own_names("web1").contains(&"127.0.0.1".to_owned()));
    }
}
