//! dnsmasq's lease file. Parsing is pure; guests have a say in its content, so a line that makes
//! no sense is passed over.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::hosts::Host;
use crate::release::Held;

/// An address that a guest has, or would get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Name, empty if it has none.
    pub hostname: String,
    /// Hardware address, empty if it cannot be told.
    pub hwaddr: String,
    /// The address.
    pub address: IpAddr,
    /// False for an assignment by configuration.
    pub dynamic: bool,
}

/// Largest lease file read, far above what `--dhcp-lease-max` allows.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Reads the file; none yet means no leases.
pub(crate) fn read(path: &std::path::Path) -> String {
    match sys::fs::size_bytes(path) {
        Ok(size) if size <= MAX_FILE_BYTES => sys::fs::read_to_string(path).unwrap_or_default(),
        _ => String::new(),
    }
}

/// All fixed assignments, then the leases that have not expired and are not among them.
pub(crate) fn collect(hosts: &[Host], file: &str) -> Vec<Lease> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let mut leases: Vec<Lease> = Vec::new();
    for host in hosts {
        let addresses = host.ipv4.map(IpAddr::V4).into_iter().chain(host.ipv6.map(IpAddr::V6));
        leases.extend(addresses.map(|address| Lease { hostname: host.name.clone(), hwaddr: host.hwaddr.clone(), address, dynamic: false }));
    }
    for lease in parse(file, now) {
        if leases.iter().all(|known| known.address != lease.address) {
            leases.push(lease);
        }
    }
    leases
}

/// The IPv4 leases of a hardware address, also those that ran out.
pub(crate) fn held_by(hwaddr: &str, file: &str) -> Vec<Held> {
    let Some(mac) = netlink::parse_mac(hwaddr) else { return Vec::new() };
    let held = file.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, identity, address, _, client] = fields[..] else { return None };
        let address = address.parse().ok()?;
        (netlink::parse_mac(identity) == Some(mac)).then(|| Held { address, mac, client_id: hex_bytes(client) })
    });
    held.collect()
}

/// Bytes written as hexadecimal pairs between colons.
fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    text.split(':').map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

/// Lines are `EXPIRY MAC ADDRESS NAME CLIENT-ID`; after a `duid` line they are
/// `EXPIRY IAID ADDRESS NAME CLIENT-DUID`. An expiry of zero means never.
pub fn parse(file: &str, now: u64) -> Vec<Lease> {
    file.lines().filter_map(|line| parse_line(line, now)).collect()
}

fn parse_line(line: &str, now: u64) -> Option<Lease> {
    let mut fields = line.split(' ');
    let expiry: u64 = fields.next()?.parse().ok()?;
    let identity = fields.next()?;
    let address: IpAddr = fields.next()?.parse().ok()?;
    let name = fields.next()?;
    let client = fields.next().unwrap_or_default();
    if expiry != 0 && expiry < now {
        return None;
    }
    let hwaddr = match address {
        // A hardware type other than Ethernet stands before the address, with a hyphen.
        IpAddr::V4(_) => netlink::parse_mac(identity.rsplit('-').next().unwrap_or_default()).map(netlink::format_mac),
        IpAddr::V6(_) => mac_of_duid(client),
    };
    let hostname = if name == "*" { String::new() } else { name.to_owned() };
    Some(Lease { hostname, hwaddr: hwaddr.unwrap_or_default(), address, dynamic: true })
}

/// A DHCP unique identifier made from a hardware address ends with it: types 1 (with a time) and
/// 3 (RFC 8415, section 11), followed by hardware type 1, Ethernet.
fn mac_of_duid(duid: &str) -> Option<String> {
    let tail = match (duid.get(..12), duid.len()) {
        (Some("00:01:00:01:"), 41) => &duid[24..],
        (Some("00:03:00:01:"), 29) => &duid[12..],
        _ => return None,
    };
    netlink::parse_mac(tail).map(netlink::format_mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
2000 00:16:3e:00:00:01 10.1.2.5 c1 01:00:16:3e:00:00:01
900 00:16:3e:00:00:02 10.1.2.6 gone *
0 00:16:3e:00:00:03 10.1.2.7 * *
duid 00:01:00:01:2a:c8:60:e8:00:16:3e:ff:ff:ff
2000 1041 fd42::5 c1 00:01:00:01:2a:c8:60:e8:00:16:3e:00:00:01
2000 1042 fd42::6 c4 00:03:00:01:00:16:3e:00:00:04
2000 1043 fd42::7 c5 00:02:00:00:ab:11:aa:bb:cc
nonsense
2000 \u{e9} x y z
";

    #[test]
    fn both_families_are_read_and_nonsense_passed_over() {
        let leases = parse(FILE, 1000);
        let shown: Vec<String> = leases.iter().map(|lease| format!("{}|{}|{}", lease.hostname, lease.hwaddr, lease.address)).collect();
        assert_eq!(
            shown,
            [
                "c1|00:16:3e:00:00:01|10.1.2.5",
                "|00:16:3e:00:00:03|10.1.2.7",
                "c1|00:16:3e:00:00:01|fd42::5",
                "c4|00:16:3e:00:00:04|fd42::6",
                "c5||fd42::7",
            ]
        );
        assert!(leases.iter().all(|lease| lease.dynamic));
    }

    #[test]
    fn fixed_assignments_come_first_and_once() {
        let host = Host { name: "c3".into(), hwaddr: "00:16:3e:00:00:03".into(), ipv4: Some([10, 1, 2, 7].into()), ipv6: None };
        let leases = collect(&[host], FILE);
        assert_eq!((leases[0].hostname.as_str(), leases[0].dynamic), ("c3", false));
        assert_eq!(leases.iter().filter(|lease| lease.address == IpAddr::from([10, 1, 2, 7])).count(), 1);
    }

    #[test]
    fn what_a_guest_holds() {
        let file = "1 00:16:3e:00:00:0a 10.0.0.9 c1 01:00:16:3e:00:00:0a\n1 00:16:3e:00:00:0b 10.0.0.8 c2 *\nduid 00:01\nnonsense\n";
        let first = held_by("00:16:3E:00:00:0A", file);
        assert_eq!((first.len(), first[0].client_id.as_deref()), (1, Some(&[1, 0, 0x16, 0x3e, 0, 0, 10][..])));
        let second = held_by("00:16:3e:00:00:0b", file);
        assert_eq!((second[0].address, second[0].client_id.as_ref()), ([10, 0, 0, 8].into(), None));
    }
}
