//! Servers by name: those that are always there, what `config.yml` says of others, and how each is reached.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use client::{Https, ServerTrust, Transport};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::errln;

/// The name of the server on this host.
pub const LOCAL: &str = "local";
/// The protocol of this program's servers.
pub const LXD: &str = "lxd";
/// The protocol of servers that only have images, in plain files.
pub const SIMPLESTREAMS: &str = "simplestreams";
/// How a private server knows its clients.
const TLS: &str = "tls";
/// Longest name of a remote.
const MAX_NAME_BYTES: usize = 128;

/// Remotes that are always there: name, address, protocol, whether public.
const STATIC: &[(&str, &str, &str, bool)] = &[
    (LOCAL, "unix://", LXD, false),
    ("ubuntu", "https://cloud-images.ubuntu.com/releases", SIMPLESTREAMS, true),
    ("ubuntu-daily", "https://cloud-images.ubuntu.com/daily", SIMPLESTREAMS, true),
];
/// A remote that is there until the user has others.
const FIRST: (&str, &str, &str, bool) = ("images", "https://images.lxd.canonical.com", SIMPLESTREAMS, true);

/// The same as clients of 2.0.0 wrote it, by a protocol that it has not served since.
const FIRST_OF_OLD: (&str, &str) = ("images", "https://images.linuxcontainers.org:8443");

/// A server, as `config.yml` writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Remote {
    /// Its URL: `unix://PATH` or `https://HOST:PORT`.
    pub addr: String,
    /// Whether it only serves public images.
    pub public: bool,
    /// `simplestreams`; `lxd` and nothing mean the same.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// `tls` for private ones.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth_type: String,
}

impl Remote {
    /// A server of this program's kind.
    pub fn lxd(addr: impl Into<String>, public: bool) -> Self {
        let auth_type = if public { "" } else { TLS }.to_owned();
        Self { addr: addr.into(), public, protocol: String::new(), auth_type }
    }

    /// What it speaks.
    pub fn protocol(&self) -> &str {
        if self.protocol.is_empty() { LXD } else { &self.protocol }
    }

    /// Whether it is on this host.
    pub fn is_local(&self) -> bool {
        self.addr.starts_with("unix:")
    }
}

fn of_row(&(_, addr, protocol, public): &(&str, &str, &str, bool)) -> Remote {
    let protocol = if protocol == LXD { "" } else { protocol };
    Remote { protocol: protocol.to_owned(), ..Remote::lxd(addr, public) }
}

/// A remote that no file can change.
pub fn fixed(name: &str) -> Option<Remote> {
    STATIC.iter().find(|row| row.0 == name).map(of_row)
}

/// All of those.
pub fn all_fixed() -> impl Iterator<Item = (String, Remote)> {
    STATIC.iter().map(|row| (row.0.to_owned(), of_row(row)))
}

/// What a configuration starts with.
pub fn first() -> (String, Remote) {
    (FIRST.0.to_owned(), of_row(&FIRST))
}

/// What a configuration that another version wrote means now.
pub fn renew(name: &str, remote: &mut Remote) {
    if (name, remote.addr.trim_end_matches('/')) == FIRST_OF_OLD && remote.protocol() == LXD {
        let addr = FIRST_OF_OLD.1.trim_end_matches(":8443").to_owned();
        *remote = Remote { protocol: SIMPLESTREAMS.to_owned(), ..Remote::lxd(addr, true) };
    }
}

/// Checks the name of a new remote, which becomes part of a file's name and stands before a colon.
pub fn check_name(name: &str) -> Result<()> {
    let is_good = !name.starts_with(['-', '.']) && !name.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/'));
    ensure!(
        is_good && !name.is_empty() && name.len() <= MAX_NAME_BYTES,
        "Invalid remote name {name:?}: no blanks, colons or slashes, and no dot or hyphen first"
    );
    Ok(())
}

/// The URL behind what a user types: `HOST`, `HOST:PORT`, `[V6]:PORT`, `https://…`, `unix://PATH` or the path of
/// a socket.
pub fn parse_address(text: &str, protocol: &str) -> Result<String> {
    if protocol == SIMPLESTREAMS {
        ensure!(text.starts_with("https://"), "Only https URLs are supported for simplestreams");
        return Ok(text.trim_end_matches('/').to_owned());
    }
    ensure!(protocol == LXD, "Invalid protocol {protocol:?}: {LXD} or {SIMPLESTREAMS}");
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return Ok(format!("unix://{path}"));
    }
    if text.starts_with('/') || is_socket(text) {
        return Ok(format!("unix://{}", std::path::absolute(text)?.display()));
    }
    let authority = match text.split_once("://") {
        Some(("https", rest)) => rest,
        Some((scheme, _)) => bail!("Invalid URL scheme {scheme:?} in {text:?}"),
        None => text,
    };
    let authority = authority.split('/').next().unwrap_or_default();
    let authority = if authority.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{authority}]") } else { authority.to_owned() };
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) && !authority.ends_with(']');
    let url = if has_port { format!("https://{authority}") } else { format!("https://{authority}:{}", client::DEFAULT_PORT) };
    // Refuses what is no address.
    Https::new(&url, ServerTrust::Unproven, None).with_context(|| format!("Invalid address {text:?}"))?;
    Ok(url)
}

fn is_socket(path: &str) -> bool {
    use std::os::unix::fs::FileTypeExt;
    sys::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// How a remote is reached.
pub fn transport(config: &Config, name: &str, remote: &Remote) -> Result<Transport> {
    if remote.protocol() == SIMPLESTREAMS {
        bail!("The remote isn't a private LXD server ({name} serves images by {SIMPLESTREAMS})");
    }
    if let Some(path) = remote.addr.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return Ok(Transport::Unix(if path.is_empty() { client::default_socket() } else { PathBuf::from(path) }));
    }
    let trust = match pinned(config, name)? {
        Some(certificate) => ServerTrust::Pinned(certificate),
        None => ServerTrust::System,
    };
    let identity = if remote.public { None } else { Some(identity(config)?) };
    Ok(Transport::Https(Https::new(&remote.addr, trust, identity)?))
}

/// The file with the certificate that a remote is known by.
pub fn pin_path(config: &Config, name: &str) -> Result<PathBuf> {
    // Of names that a user has written into the file by hand, too.
    check_name(name)?;
    Ok(config.directory()?.join("servercerts").join(format!("{name}.crt")))
}

/// The certificate that a remote is known by; none where an authority vouches for it.
pub fn pinned(config: &Config, name: &str) -> Result<Option<pki::Certificate>> {
    let path = pin_path(config, name)?;
    let Some(text) = read_if_there(&path)? else { return Ok(None) };
    pki::Certificate::from_pem(&text).map(Some).with_context(|| format!("read {}", path.display()))
}

/// Remembers the certificate of a remote.
pub fn pin(config: &Config, name: &str, certificate: &pki::Certificate) -> Result<()> {
    let path = pin_path(config, name)?;
    if let Some(directory) = path.parent() {
        sys::fs::ensure_dir_all(directory, 0o750)?;
    }
    Ok(sys::fs::write_durable(path, certificate.pem().as_bytes(), 0o644)?)
}

/// Who this user is to servers; made when it is first needed.
pub fn identity(config: &Config) -> Result<pki::Identity> {
    let directory = config.directory()?;
    let (certificate, key) = (directory.join("client.crt"), directory.join("client.key"));
    if !sys::fs::exists(&certificate) {
        errln!("Generating a client certificate. This may take a minute...");
        let made = pki::generate(pki::Purpose::Client, &own_name(), &[], jiff::Timestamp::now().as_second())?;
        sys::fs::ensure_dir_all(directory, 0o750)?;
        // The certificate comes last: where it is, the key is too.
        sys::fs::write_durable(&key, made.key_pem.as_bytes(), 0o600)?;
        sys::fs::write_durable(&certificate, made.certificate_pem.as_bytes(), 0o644)?;
    }
    let read = |path: &Path| sys::fs::read_to_string(path);
    pki::Identity::from_pem(&read(&certificate)?, &read(&key)?)
        .with_context(|| format!("read {} and {}", certificate.display(), key.display()))
}

/// `user@host`, for people who look at a server's list of clients.
fn own_name() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let host = sys::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match sys::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let lxd = |text| parse_address(text, LXD).expect(text);
        assert_eq!(lxd("host"), "https://host:8443");
        assert_eq!(lxd("10.0.0.1:99"), "https://10.0.0.1:99");
        assert_eq!(lxd("fd00::1"), "https://[fd00::1]:8443");
        assert_eq!(lxd("[fd00::1]"), "https://[fd00::1]:8443");
        assert_eq!(lxd("[fd00::1]:1"), "https://[fd00::1]:1");
        assert_eq!(lxd("https://host/"), "https://host:8443");
        assert_eq!(lxd("/run/x"), "unix:///run/x");
        assert_eq!(lxd("unix:/run/x"), "unix:///run/x");
        assert_eq!(lxd("unix://"), "unix://");
        let error = parse_address("ftp://x", LXD).expect_err("scheme").to_string();
        assert_eq!(error, "Invalid URL scheme \"ftp\" in \"ftp://x\"");
        assert!(parse_address("http://x", SIMPLESTREAMS).is_err() && parse_address("x", "ipfs").is_err());
        for bad in ["", "a b", "https://", "user@host"] {
            assert!(parse_address(bad, LXD).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for bad in ["", "a:b", "a/b", "..", ".x", "a b", "-x", "a\n"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name("work-1.example").is_ok());
    }
}
