//! What dnsmasq is told about each guest: one file a hardware address in a directory that it
//! watches.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use crate::config::{DnsMode, is_label};
use crate::{Error, Result};

/// One interface of a guest on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name in DNS, that of the instance.
    pub name: String,
    /// Hardware address, which identifies the entry.
    pub hwaddr: String,
    /// A fixed address.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed address, given out only with `ipv6.dhcp.stateful`.
    pub ipv6: Option<Ipv6Addr>,
}

impl Host {
    /// The line for `--dhcp-hostsdir` (dnsmasq(8), `--dhcp-host`).
    fn line(&self, mode: DnsMode) -> Result<String> {
        let problem = |reason: &str| Error::Host { host: self.name.escape_default().to_string(), reason: reason.to_owned() };
        if !is_label(&self.name) {
            return Err(problem("not a host name"));
        }
        let mut line = canonical(&self.hwaddr).ok_or_else(|| problem("not a hardware address"))?;
        if let Some(address) = self.ipv4 {
            line.push_str(&format!(",{address}"));
        }
        if let Some(address) = self.ipv6 {
            line.push_str(&format!(",[{address}]"));
        }
        if mode == DnsMode::Managed {
            line.push_str(&format!(",{}", self.name));
        }
        line.push('\n');
        Ok(line)
    }
}

/// Whether dnsmasq notices by itself, or has to be told to read everything again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Unchanged,
    New,
    Replaced,
}

/// Writes one entry.
pub(crate) fn write(dir: &Path, host: &Host, mode: DnsMode) -> Result<Written> {
    let line = host.line(mode)?;
    let path =
        path_of(dir, &host.hwaddr).ok_or_else(|| Error::Host { host: host.name.clone(), reason: "not a hardware address".to_owned() })?;
    let written = match sys::fs::read(&path) {
        Ok(current) if current == line.as_bytes() => return Ok(Written::Unchanged),
        Ok(_) => Written::Replaced,
        Err(_) => Written::New,
    };
    // dnsmasq passes over names that start with a dot, so it never sees half a line.
    let temporary = dir.join(format!(".{}", path.file_name().unwrap_or_default().to_string_lossy()));
    sys::fs::create(&temporary, 0o644)?;
    sys::fs::write(&temporary, &line)?;
    sys::fs::rename(&temporary, &path)?;
    Ok(written)
}

/// Removes an entry and says whether there was one.
pub(crate) fn remove(dir: &Path, hwaddr: &str) -> Result<bool> {
    let Some(path) = path_of(dir, hwaddr) else { return Ok(false) };
    let existed = sys::fs::exists(&path);
    sys::fs::remove_file(&path)?;
    Ok(existed)
}

/// Makes the directory hold exactly these entries; says whether dnsmasq must read it again. An
/// entry that dnsmasq could not take is left out with a warning: it must not keep all others
/// from their network.
pub(crate) fn write_all(dir: &Path, hosts: &[Host], mode: DnsMode) -> Result<bool> {
    sys::fs::ensure_dir(dir, 0o755)?;
    let wanted: Vec<PathBuf> = hosts.iter().filter_map(|host| path_of(dir, &host.hwaddr)).collect();
    let mut stale = false;
    for name in sys::fs::list_dir(dir)? {
        let path = dir.join(name);
        if !wanted.contains(&path) {
            sys::fs::remove_file(&path)?;
            stale = true;
        }
    }
    for host in hosts {
        match write(dir, host, mode) {
            Ok(written) => stale |= written == Written::Replaced,
            Err(error @ Error::Host { .. }) => tracing::warn!(%error, "no address assignment for this host"),
            Err(error) => return Err(error),
        }
    }
    Ok(stale)
}

fn canonical(hwaddr: &str) -> Option<String> {
    netlink::parse_mac(hwaddr).map(netlink::format_mac)
}

fn path_of(dir: &Path, hwaddr: &str) -> Option<PathBuf> {
    canonical(hwaddr).map(|mac| dir.join(mac.replace(':', "-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, hwaddr: &str) -> Host {
        Host { name: name.to_owned(), hwaddr: hwaddr.to_owned(), ipv4: None, ipv6: None }
    }

    #[test]
    fn lines() {
        let mut c1 = host("c1", "00:16:3E:AA:BB:CC");
        assert_eq!(c1.line(DnsMode::Managed).expect("line"), "00:16:3e:aa:bb:cc,c1\n");
        c1.ipv4 = Some([10, 0, 0, 5].into());
        c1.ipv6 = Some("fd42::5".parse().expect("address"));
        assert_eq!(c1.line(DnsMode::Managed).expect("line"), "00:16:3e:aa:bb:cc,10.0.0.5,[fd42::5],c1\n");
        assert_eq!(c1.line(DnsMode::Dynamic).expect("line"), "00:16:3e:aa:bb:cc,10.0.0.5,[fd42::5]\n");
    }

    #[test]
    fn nothing_can_be_smuggled_into_a_line() {
        for (name, hwaddr) in [
            ("c1,set:x", "00:16:3e:aa:bb:cc"),
            ("c1\nid:*,evil", "00:16:3e:aa:bb:cc"),
            ("c1", "00:16:3e:aa:bb:cc,10.0.0.1"),
            ("c1", "*:*:*:*:*:*"),
            ("../c1", "00:16:3e:aa:bb:cc"),
            ("", "00:16:3e:aa:bb:cc"),
        ] {
            assert!(host(name, hwaddr).line(DnsMode::Managed).is_err(), "{name:?} {hwaddr:?}");
        }
    }

    #[test]
    fn directory_follows_the_list() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let dir = dir.path().join("dnsmasq.hosts");
        let (a, b) = (host("a", "02:00:00:00:00:0a"), host("b", "02:00:00:00:00:0b"));
        assert!(!write_all(&dir, &[a.clone(), host("bad name", "02:00:00:00:00:0c")], DnsMode::Managed).expect("write"));
        assert_eq!(sys::fs::list_dir(&dir).expect("list"), ["02-00-00-00-00-0a"]);
        assert_eq!(write(&dir, &b, DnsMode::Managed).expect("write"), Written::New);
        assert_eq!(write(&dir, &b, DnsMode::Managed).expect("write"), Written::Unchanged);
        assert_eq!(write(&dir, &Host { name: "c".to_owned(), ..b.clone() }, DnsMode::Managed).expect("write"), Written::Replaced);
        assert!(write_all(&dir, &[b], DnsMode::Managed).expect("write"), "one removed");
        assert!(!remove(&dir, "02:00:00:00:00:0a").expect("absent is fine"));
        assert!(remove(&dir, "02:00:00:00:00:0B").expect("remove"));
    }
}
