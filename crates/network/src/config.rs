//! The configuration keys of a bridge, read into typed settings. Pure.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};

/// Keys and values as stored. An empty value is an absent key.
pub type Config = BTreeMap<String, String>;

/// A key that cannot be accepted, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct ConfigError {
    /// The key, or `name` for the network's name.
    pub key: String,
    /// In words.
    pub reason: String,
}

/// Keys that have a meaning here, sorted.
const KEYS: &[&str] = &[
    "bridge.driver",
    "bridge.hwaddr",
    "bridge.mtu",
    "dns.domain",
    "dns.mode",
    "ipv4.address",
    "ipv4.dhcp",
    "ipv4.dhcp.expiry",
    "ipv4.dhcp.gateway",
    "ipv4.dhcp.ranges",
    "ipv4.firewall",
    "ipv4.nat",
    "ipv4.routing",
    "ipv6.address",
    "ipv6.dhcp",
    "ipv6.dhcp.expiry",
    "ipv6.dhcp.ranges",
    "ipv6.dhcp.stateful",
    "ipv6.firewall",
    "ipv6.nat",
    "ipv6.routing",
];

/// Everything that a bridge is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name, which is also that of the interface.
    pub name: String,
    /// Size of its packets in bytes.
    pub mtu: Option<u32>,
    /// Its hardware address.
    pub mac: Option<[u8; 6]>,
    /// None: no IPv4.
    pub ipv4: Option<Ipv4>,
    /// None: no IPv6.
    pub ipv6: Option<Ipv6>,
    /// Names.
    pub dns: Dns,
}

/// IPv4 on the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named after the keys")]
pub struct Ipv4 {
    pub net: Ipv4Net,
    pub nat: bool,
    pub dhcp: bool,
    /// First and last address; empty for the whole subnet.
    pub ranges: Vec<(Ipv4Addr, Ipv4Addr)>,
    pub expiry: String,
    pub gateway: Option<Ipv4Addr>,
    pub firewall: bool,
    pub routing: bool,
}

/// IPv6 on the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named after the keys")]
pub struct Ipv6 {
    pub net: Ipv6Net,
    pub nat: bool,
    pub dhcp: bool,
    pub stateful: bool,
    /// First and last address; empty for the whole subnet.
    pub ranges: Vec<(Ipv6Addr, Ipv6Addr)>,
    pub expiry: String,
    pub firewall: bool,
    pub routing: bool,
}

/// Names of the guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Where they come from.
    pub mode: DnsMode,
    /// The domain they are in.
    pub domain: String,
}

/// Where guests' names come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsMode {
    /// From the manager: a guest cannot claim another's name.
    Managed,
    /// From what guests claim in their DHCP requests.
    Dynamic,
    /// No names.
    None,
}

/// Checks a network's name and configuration; `auto` is accepted as an address.
pub fn validate(name: &str, config: &Config) -> Result<(), Vec<ConfigError>> {
    Settings::parse(name, config).map(drop)
}

/// Whether it can name an interface. Only characters that mean nothing to nft, dnsmasq and
/// paths are accepted, so that the name can stand in their arguments as it is.
pub fn validate_name(name: &str) -> Result<(), ConfigError> {
    let problem = |reason: &str| Err(ConfigError { key: "name".to_owned(), reason: format!("`{name}` {reason}") });
    if name.len() < 2 || name.len() > 15 {
        return problem("must have 2 to 15 characters");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return problem("may hold only letters, digits, `-`, `_` and `.`");
    }
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return problem("must start with a letter or digit");
    }
    if ["lo", "all", "default"].contains(&name) {
        return problem("is reserved");
    }
    Ok(())
}

impl Settings {
    /// Reads all keys and reports every problem. An address of `auto` reads as none.
    pub fn parse(name: &str, config: &Config) -> Result<Self, Vec<ConfigError>> {
        let mut reader = Reader { config, problems: Vec::new() };
        reader.problems.extend(validate_name(name).err());
        reader.refuse_unknown();
        reader.value("bridge.driver", |text| if text == "native" { Ok(()) } else { Err("only `native` bridges are supported".into()) });
        let mtu = reader.value("bridge.mtu", parse_mtu);
        let mac = reader.value("bridge.hwaddr", parse_mac);
        let dns = Dns {
            mode: reader.value("dns.mode", parse_dns_mode).unwrap_or(DnsMode::Managed),
            domain: reader.value("dns.domain", parse_domain).unwrap_or_else(|| "lxd".to_owned()),
        };
        let ipv4 = reader.ipv4();
        let ipv6 = reader.ipv6();
        if ipv6.is_some() && mtu.is_some_and(|mtu| mtu < 1280) {
            reader.problem("bridge.mtu", "must be at least 1280 with IPv6");
        }
        if reader.problems.is_empty() { Ok(Self { name: name.to_owned(), mtu, mac, ipv4, ipv6, dns }) } else { Err(reader.problems) }
    }
}

struct Reader<'a> {
    config: &'a Config,
    problems: Vec<ConfigError>,
}

impl Reader<'_> {
    fn problem(&mut self, key: &str, reason: impl Into<String>) {
        self.problems.push(ConfigError { key: key.to_owned(), reason: reason.into() });
    }

    fn refuse_unknown(&mut self) {
        for key in self.config.keys() {
            if key == "raw.dnsmasq" {
                self.problem(key, "is not supported: dnsmasq gets its options from the other keys only");
            } else if !KEYS.contains(&key.as_str()) && !key.starts_with("user.") && !key.starts_with("volatile.") {
                self.problem(key, "unknown key");
            }
        }
    }

    fn value<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.config.get(key).filter(|text| !text.is_empty())?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.problem(key, format!("`{}`: {reason}", text.escape_default()));
                None
            }
        }
    }

    fn flag(&mut self, key: &str, default: bool) -> bool {
        self.value(key, parse_bool).unwrap_or(default)
    }

    fn ipv4(&mut self) -> Option<Ipv4> {
        let nat = self.flag("ipv4.nat", false);
        let dhcp = self.flag("ipv4.dhcp", true);
        let firewall = self.flag("ipv4.firewall", true);
        let routing = self.flag("ipv4.routing", true);
        let expiry = self.value("ipv4.dhcp.expiry", parse_expiry).unwrap_or_else(|| "1h".to_owned());
        let ranges = self.value("ipv4.dhcp.ranges", parse_ranges::<Ipv4Addr>).unwrap_or_default();
        let gateway = self.value("ipv4.dhcp.gateway", parse_as::<Ipv4Addr>);
        let net = self.value("ipv4.address", |text| parse_address(text, parse_ipv4_net))??;
        if ranges.iter().any(|(first, last)| !net.contains(first) || !net.contains(last)) {
            self.problem("ipv4.dhcp.ranges", format!("not all inside {}", net.trunc()));
        }
        if gateway.is_some_and(|gateway| !net.contains(&gateway)) {
            self.problem("ipv4.dhcp.gateway", format!("not inside {}", net.trunc()));
        }
        Some(Ipv4 { net, nat, dhcp, ranges, expiry, gateway, firewall, routing })
    }

    fn ipv6(&mut self) -> Option<Ipv6> {
        let nat = self.flag("ipv6.nat", false);
        let dhcp = self.flag("ipv6.dhcp", true);
        let stateful = self.flag("ipv6.dhcp.stateful", false);
        let firewall = self.flag("ipv6.firewall", true);
        let routing = self.flag("ipv6.routing", true);
        let expiry = self.value("ipv6.dhcp.expiry", parse_expiry).unwrap_or_else(|| "1h".to_owned());
        let ranges = self.value("ipv6.dhcp.ranges", parse_ranges::<Ipv6Addr>).unwrap_or_default();
        let net = self.value("ipv6.address", |text| parse_address(text, parse_ipv6_net))??;
        if ranges.iter().any(|(first, last)| !net.contains(first) || !net.contains(last)) {
            self.problem("ipv6.dhcp.ranges", format!("not all inside {}", net.trunc()));
        }
        if net.prefix_len() != 64 && !(dhcp && stateful) {
            self.problem("ipv6.address", "guests choose their own addresses only in a /64; set ipv6.dhcp.stateful for other sizes");
        }
        if net.prefix_len() < 64 {
            self.problem("ipv6.address", "the prefix must be /64 or longer");
        }
        Some(Ipv6 { net, nat, dhcp, stateful, ranges, expiry, firewall, routing })
    }
}

fn parse_as<T: FromStr<Err: ToString>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// `auto` and `none` are addresses too: both read as none here.
fn parse_address<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text == "none" || text == "auto" { Ok(None) } else { parse(text).map(Some) }
}

fn parse_ipv4_net(text: &str) -> Result<Ipv4Net, String> {
    let net: Ipv4Net = text.parse().map_err(|_| "not an IPv4 address with prefix length, `none` or `auto`".to_owned())?;
    let address = net.addr();
    if net.prefix_len() > 30 || net.prefix_len() < 8 {
        return Err("the prefix length must be 8 to 30".to_owned());
    }
    if address == net.network() || address == net.broadcast() {
        return Err("is the subnet's own or its broadcast address; the bridge needs one of the others".to_owned());
    }
    if address.is_loopback() || address.is_multicast() || address.is_unspecified() || address.octets()[0] >= 240 {
        return Err("not an address for hosts".to_owned());
    }
    Ok(net)
}

fn parse_ipv6_net(text: &str) -> Result<Ipv6Net, String> {
    let net: Ipv6Net = text.parse().map_err(|_| "not an IPv6 address with prefix length, `none` or `auto`".to_owned())?;
    let address = net.addr();
    if net.prefix_len() > 126 {
        return Err("the prefix is too long".to_owned());
    }
    if address == net.network() {
        return Err("is the subnet's own address; the bridge needs one of the others".to_owned());
    }
    let foreign = address.is_loopback() || address.is_multicast() || address.to_ipv4_mapped().is_some();
    if foreign || address.is_unicast_link_local() {
        return Err("not a routable address for hosts".to_owned());
    }
    Ok(net)
}

fn parse_ranges<T: FromStr + Ord>(text: &str) -> Result<Vec<(T, T)>, String> {
    let mut ranges = Vec::new();
    for range in text.split(',') {
        let ends = range.trim().split_once('-').map(|(first, last)| (first.trim().parse::<T>(), last.trim().parse::<T>()));
        match ends {
            Some((Ok(first), Ok(last))) if first <= last => ranges.push((first, last)),
            _ => return Err("not a comma-separated list of FIRST-LAST".to_owned()),
        }
    }
    if ranges.len() > 64 { Err("more than 64 ranges".to_owned()) } else { Ok(ranges) }
}

fn parse_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

fn parse_mtu(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(mtu @ 68..=65_535) => Ok(mtu),
        _ => Err("not a number from 68 to 65535".to_owned()),
    }
}

fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let mac = netlink::parse_mac(text).ok_or("not a hardware address like 00:16:3e:12:34:56")?;
    if mac[0] & 1 == 1 || mac == [0; 6] { Err("not the address of one device".to_owned()) } else { Ok(mac) }
}

fn parse_dns_mode(text: &str) -> Result<DnsMode, String> {
    match text {
        "managed" => Ok(DnsMode::Managed),
        "dynamic" => Ok(DnsMode::Dynamic),
        "none" => Ok(DnsMode::None),
        _ => Err("neither `managed`, `dynamic` nor `none`".to_owned()),
    }
}

fn parse_domain(text: &str) -> Result<String, String> {
    if text.len() <= 253 && text.split('.').all(is_label) { Ok(text.to_owned()) } else { Err("not a domain name".to_owned()) }
}

/// One part of a domain name (RFC 1123, with underscores let through inside).
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63 && text.bytes().all(inner) && ends(text.bytes().next()) && ends(text.bytes().next_back())
}

/// A lease time as dnsmasq takes it: a number, perhaps with a unit, or `infinite`.
fn parse_expiry(text: &str) -> Result<String, String> {
    let digits = text.strip_suffix(['s', 'm', 'h', 'd', 'w']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if text == "infinite" || is_number {
        Ok(text.to_owned())
    } else {
        Err("not a time like `3600`, `45m`, `12h`, `7d` or `infinite`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn problem(key: &str, value: &str) -> String {
        let base = [("ipv4.address", "10.1.2.1/24"), ("ipv6.address", "fd42::1/64")];
        let mut config = config(&base);
        config.insert(key.to_owned(), value.to_owned());
        match Settings::parse("br0", &config) {
            Ok(_) => String::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        }
    }

    #[test]
    fn defaults_of_a_minimal_network() {
        let settings = Settings::parse("br0", &config(&[("ipv4.address", "10.1.2.1/24"), ("ipv6.address", "none")])).expect("valid");
        let ipv4 = settings.ipv4.expect("IPv4");
        assert!(ipv4.dhcp && ipv4.firewall && ipv4.routing && !ipv4.nat);
        assert_eq!((settings.ipv6, settings.dns.domain.as_str(), settings.dns.mode), (None, "lxd", DnsMode::Managed));
    }

    #[test]
    fn good_values_pass() {
        for (key, value) in [
            ("user.note", "anything\n"),
            ("volatile.bridge.hwaddr", "00:16:3e:00:00:01"),
            ("ipv4.address", "auto"),
            ("ipv4.nat", "Yes"),
            ("ipv4.dhcp.ranges", "10.1.2.10-10.1.2.20, 10.1.2.30-10.1.2.40"),
            ("ipv4.dhcp.expiry", "45m"),
            ("ipv6.dhcp.ranges", "fd42::10-fd42::ff"),
            ("bridge.mtu", "9000"),
            ("bridge.mtu", ""),
            ("dns.domain", "lab.example"),
            ("dns.mode", "dynamic"),
        ] {
            assert_eq!(problem(key, value), "", "{key}={value}");
        }
    }

    #[test]
    fn bad_values_are_named() {
        for (key, value) in [
            ("ipv4.address", "10.1.2.1"),
            ("ipv4.address", "10.1.2.0/24"),
            ("ipv4.address", "10.1.2.255/24"),
            ("ipv4.address", "127.0.0.1/8"),
            ("ipv4.address", "10.1.2.1/24\nforward"),
            ("ipv4.dhcp.ranges", "10.1.3.1-10.1.3.9"),
            ("ipv4.dhcp.ranges", "10.1.2.9-10.1.2.1"),
            ("ipv4.dhcp.ranges", "10.1.2.2-10.1.2.9,set:x"),
            ("ipv4.dhcp.gateway", "10.9.9.9"),
            ("ipv4.dhcp.expiry", "1h,static"),
            ("ipv6.address", "fe80::1/64"),
            ("ipv6.address", "fd42::1/80"),
            ("ipv6.address", "fd42::/64"),
            ("ipv4.nat", "maybe"),
            ("bridge.mtu", "1200"),
            ("bridge.mtu", "1500 "),
            ("bridge.hwaddr", "01:00:00:00:00:01"),
            ("bridge.driver", "openvswitch"),
            ("dns.domain", "lxd/192.0.2.1"),
            ("dns.domain", "-x"),
            ("dns.mode", "magic"),
            ("raw.dnsmasq", "dhcp-script=/bin/sh"),
            ("ipv5.address", "x"),
        ] {
            assert!(problem(key, value).starts_with(&format!("{key}: ")), "{key}={value}: {}", problem(key, value));
        }
    }

    #[test]
    fn names_that_could_be_arguments_or_paths_are_refused() {
        for name in ["lxdbr0", "br-0.1", "0a", "a_b"] {
            assert!(validate_name(name).is_ok(), "{name}");
        }
        for name in ["", "x", "-br0", "..", "a/b", "br 0", "br0\n", "br*", "sixteen-letters-", "bär", "lo", "all", "br\"0"] {
            assert!(validate_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn every_problem_is_reported() {
        let config = config(&[("bridge.mtu", "x"), ("dns.mode", "x"), ("what", "x")]);
        assert_eq!(validate("a b", &config).expect_err("bad").len(), 4);
    }

    #[test]
    fn keys_are_sorted() {
        assert!(KEYS.is_sorted());
    }
}
