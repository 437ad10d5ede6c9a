//! Choosing what the user left open: free subnets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Result;
use crate::config::Config;

/// Random subnets tried before the search goes through all in order.
const RANDOM_TRIES: usize = 100;

/// Fills in what a new network needs: an absent or `auto` address becomes a free private subnet,
/// with NAT unless that was decided. `in_use` are the host's addresses and routes.
pub fn fill_defaults(config: &Config, in_use: &[IpNet]) -> Config {
    let has_ipv6 = sys::fs::exists("/proc/sys/net/ipv6");
    fill_with(config, in_use, has_ipv6, &mut random)
}

/// The host's addresses and routes but for default routes: what a new subnet must not overlap.
pub fn in_use() -> Result<Vec<IpNet>> {
    let mut netlink = netlink::Netlink::open()?;
    let mut nets: Vec<IpNet> = netlink.addr_list()?.into_iter().map(|addr| addr.net).collect();
    nets.extend(netlink.route_list()?.into_iter().map(|route| route.destination));
    nets.retain(|net| net.prefix_len() > 0 && !net.addr().is_loopback());
    Ok(nets)
}

fn fill_with(config: &Config, in_use: &[IpNet], has_ipv6: bool, random: &mut dyn FnMut() -> u64) -> Config {
    let mut config = config.clone();
    let is_open = |config: &Config, key: &str| config.get(key).is_none_or(|value| value.is_empty() || value == "auto");
    if is_open(&config, "ipv4.address") {
        choose(&mut config, "ipv4", free_ipv4(in_use, random).map(IpNet::V4));
    }
    if is_open(&config, "ipv6.address") {
        let net = if has_ipv6 { free_ipv6(in_use, random) } else { None };
        choose(&mut config, "ipv6", net.map(IpNet::V6));
    }
    config
}

fn choose(config: &mut Config, family: &str, net: Option<IpNet>) {
    let address = net.map_or("none".to_owned(), |net| net.to_string());
    config.insert(format!("{family}.address"), address);
    if net.is_some() {
        let nat = config.entry(format!("{family}.nat")).or_default();
        if nat.is_empty() {
            *nat = "true".to_owned();
        }
    }
}

fn free_ipv4(in_use: &[IpNet], random: &mut dyn FnMut() -> u64) -> Option<Ipv4Net> {
    let drawn = (0..RANDOM_TRIES).map(|_| random().to_le_bytes()).map(|bytes| [10, bytes[0], bytes[1]]).collect::<Vec<_>>();
    // A VPN that routes all of 10/8 leaves the other private ranges.
    let ten = (0..=255).flat_map(|second| (0..=255).map(move |third| [10, second, third]));
    let one_nine_two = (0..=255).map(|third| [192, 168, third]);
    let one_seven_two = (16..=31).flat_map(|second| (0..=255).map(move |third| [172, second, third]));
    drawn
        .into_iter()
        .chain(one_nine_two)
        .chain(one_seven_two)
        .chain(ten)
        .filter_map(|[a, b, c]| Ipv4Net::new(Ipv4Addr::new(a, b, c, 1), 24).ok())
        .find(|net| is_free(IpNet::V4(*net), in_use))
}

fn free_ipv6(in_use: &[IpNet], random: &mut dyn FnMut() -> u64) -> Option<Ipv6Net> {
    (0..RANDOM_TRIES)
        .filter_map(|_| {
            let bytes = random().to_le_bytes();
            let part = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            Ipv6Net::new(Ipv6Addr::new(0xfd42, part(0), part(2), part(4), 0, 0, 0, 1), 64).ok()
        })
        .find(|net| is_free(IpNet::V6(*net), in_use))
}

fn is_free(net: IpNet, in_use: &[IpNet]) -> bool {
    !in_use.iter().any(|used| overlaps(&net, used))
}

fn overlaps(one: &IpNet, other: &IpNet) -> bool {
    let holds = |net: &IpNet, address: IpAddr| net.contains(&address);
    holds(one, other.network()) || holds(other, one.network())
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without entropy the search in order still finds a free subnet.
    if let Err(errno) = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()) {
        tracing::warn!(%errno, "no random numbers to choose a subnet with");
    }
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("net")).collect()
    }

    #[test]
    fn open_addresses_get_free_private_subnets_with_nat() {
        let mut numbers = [0x0605, 0x0807, 0x0102_0304_0506].into_iter();
        let filled = fill_with(&Config::new(), &nets(&["10.5.0.0/16"]), true, &mut || numbers.next().unwrap_or(0x0807));
        // All random numbers are drawn before the first is tried.
        assert_eq!(filled["ipv4.address"], "10.7.8.1/24");
        assert_eq!(filled["ipv4.nat"], "true");
        assert!(filled["ipv6.address"].starts_with("fd42:") && filled["ipv6.address"].ends_with("::1/64"), "{}", filled["ipv6.address"]);
        assert!(crate::validate("br0", &filled).is_ok());
    }

    #[test]
    fn what_was_decided_stays() {
        let config: Config = [("ipv4.address", "none"), ("ipv6.address", "auto"), ("ipv6.nat", "false")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let filled = fill_with(&config, &[], true, &mut || 7);
        assert_eq!((filled["ipv4.address"].as_str(), filled["ipv6.nat"].as_str()), ("none", "false"));
        assert!(!filled.contains_key("ipv4.nat"));
        assert_eq!(fill_with(&config, &[], false, &mut || 7)["ipv6.address"], "none");
    }

    #[test]
    fn other_ranges_when_ten_is_taken_and_none_when_all_is() {
        let filled = fill_with(&Config::new(), &nets(&["10.0.0.0/8", "192.168.0.0/24"]), false, &mut || 1);
        assert_eq!(filled["ipv4.address"], "192.168.1.1/24");
        let all = nets(&["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12"]);
        assert_eq!(fill_with(&Config::new(), &all, false, &mut || 1)["ipv4.address"], "none");
    }

    #[test]
    fn random_numbers_differ() {
        assert_ne!(random(), random());
    }
}
