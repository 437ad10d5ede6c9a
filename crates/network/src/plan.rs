//! What has to be on the host for a bridge: links, addresses, kernel settings, firewall rules,
//! dnsmasq's arguments. Pure; carrying it out is the business of [`crate::Network`].

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::{IpNet, Ipv4Net};

use crate::config::{DnsMode, Ipv4, Ipv6, Settings};
use crate::sysctl::Sysctl;

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Name of the interface.
    pub name: String,
    /// Its hardware address, always the same for one network.
    pub mac: [u8; 6],
    /// Size of its packets in bytes, if fixed.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Kernel settings of the bridge.
    pub sysctls: Vec<Sysctl>,
    /// The host must route IPv4.
    pub forward_ipv4: bool,
    /// The host must route IPv6.
    pub forward_ipv6: bool,
    /// Rules for nft, replacing the network's table as a whole; none where nothing is wanted.
    pub ruleset: Option<String>,
    /// Arguments of dnsmasq; none where it is not needed.
    pub dnsmasq: Option<Vec<String>>,
}

/// Derives the plan. `user` is whom dnsmasq becomes, `state_dir` holds its files.
pub fn plan(settings: &Settings, state_dir: &Path, user: &str) -> Plan {
    let ipv4 = settings.ipv4.as_ref();
    let ipv6 = settings.ipv6.as_ref();
    let addresses: Vec<IpNet> = ipv4.map(|ipv4| IpNet::V4(ipv4.net)).into_iter().chain(ipv6.map(|ipv6| IpNet::V6(ipv6.net))).collect();
    Plan {
        name: settings.name.clone(),
        mac: settings.mac.unwrap_or_else(|| derived_mac(&settings.name)),
        mtu: settings.mtu,
        sysctls: bridge_sysctls(&settings.name, ipv6.is_some()),
        forward_ipv4: ipv4.is_some_and(|ipv4| ipv4.routing),
        forward_ipv6: ipv6.is_some_and(|ipv6| ipv6.routing),
        ruleset: ruleset(settings),
        dnsmasq: (!addresses.is_empty()).then(|| dnsmasq(settings, state_dir, user)),
        addresses,
    }
}

/// A bridge's own address otherwise follows its ports', and guests would lose their gateway's
/// entry in the neighbour table whenever one comes or goes. FNV-1a over the name.
fn derived_mac(name: &str) -> [u8; 6] {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let [a, b, c, ..] = hash.to_be_bytes();
    [0x00, 0x16, 0x3e, a, b, c]
}

fn bridge_sysctls(name: &str, has_ipv6: bool) -> Vec<Sysctl> {
    let setting = |key: &str, value: &'static str| Sysctl { path: format!("/proc/sys/net/ipv6/conf/{name}/{key}"), value };
    if !has_ipv6 {
        return vec![setting("disable_ipv6", "1")];
    }
    vec![
        setting("disable_ipv6", "0"),
        // The bridge is the router here: it must not listen to guests that pretend to be one.
        setting("accept_ra", "0"),
        setting("autoconf", "0"),
        // Looking for duplicates would keep dnsmasq from announcing the prefix for a second.
        setting("accept_dad", "0"),
    ]
}

/// Name of a network's table in nft's `inet` family.
pub(crate) fn table_name(network: &str) -> String {
    format!("lxd_{network}")
}

/// The text that makes the table anew in one transaction. The first line makes the second
/// succeed where there is no table yet.
fn ruleset(settings: &Settings) -> Option<String> {
    let name = &settings.name;
    let mut input = String::new();
    let mut forward = String::new();
    let mut postrouting = String::new();
    if let Some(ipv4) = &settings.ipv4 {
        rules_ipv4(name, ipv4, &mut input, &mut forward, &mut postrouting);
    }
    if let Some(ipv6) = &settings.ipv6 {
        rules_ipv6(name, ipv6, &mut input, &mut forward, &mut postrouting);
    }
    let chains = [
        ("input", "filter hook input priority filter", input),
        ("forward", "filter hook forward priority filter", forward),
        ("postrouting", "nat hook postrouting priority srcnat", postrouting),
    ];
    if chains.iter().all(|(_, _, rules)| rules.is_empty()) {
        return None;
    }
    let table = table_name(name);
    let mut text = format!("table inet {table} {{}}\ndelete table inet {table}\ntable inet {table} {{\n");
    for (chain, kind, rules) in chains.iter().filter(|(_, _, rules)| !rules.is_empty()) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\tchain {chain} {{\n\t\ttype {kind}; policy accept;\n{rules}\t}}\n");
    }
    text.push_str("}\n");
    Some(text)
}

fn rules_ipv4(name: &str, ipv4: &Ipv4, input: &mut String, forward: &mut String, postrouting: &mut String) {
    if ipv4.firewall {
        let _ = writeln!(input, "\t\tiifname \"{name}\" meta nfproto ipv4 udp dport {{ 53, 67 }} accept");
        let _ = writeln!(input, "\t\tiifname \"{name}\" meta nfproto ipv4 tcp dport 53 accept");
        forward_rules(name, "ipv4", ipv4.routing, forward);
    }
    if ipv4.nat && ipv4.routing {
        let subnet = ipv4.net.trunc();
        let _ = writeln!(postrouting, "\t\tip saddr {subnet} ip daddr != {subnet} masquerade");
    }
}

fn rules_ipv6(name: &str, ipv6: &Ipv6, input: &mut String, forward: &mut String, postrouting: &mut String) {
    if ipv6.firewall {
        let _ = writeln!(input, "\t\tiifname \"{name}\" meta nfproto ipv6 udp dport {{ 53, 547 }} accept");
        let _ = writeln!(input, "\t\tiifname \"{name}\" meta nfproto ipv6 tcp dport 53 accept");
        let _ = writeln!(
            input,
            "\t\tiifname \"{name}\" icmpv6 type {{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-report, mld2-listener-report }} accept"
        );
        forward_rules(name, "ipv6", ipv6.routing, forward);
    }
    if ipv6.nat && ipv6.routing {
        let subnet = ipv6.net.trunc();
        let _ = writeln!(postrouting, "\t\tip6 saddr {subnet} ip6 daddr != {subnet} masquerade");
    }
}

/// Guests of one bridge always reach each other; these packets pass here only where the host
/// has bridge netfilter on. Without routing, what another network turned on must not help.
fn forward_rules(name: &str, family: &str, routing: bool, forward: &mut String) {
    if routing {
        let _ = writeln!(forward, "\t\tiifname \"{name}\" meta nfproto {family} accept");
        let _ = writeln!(forward, "\t\toifname \"{name}\" meta nfproto {family} accept");
    } else {
        let _ = writeln!(forward, "\t\tiifname \"{name}\" oifname \"{name}\" meta nfproto {family} accept");
        let _ = writeln!(forward, "\t\tiifname \"{name}\" meta nfproto {family} reject");
        let _ = writeln!(forward, "\t\toifname \"{name}\" meta nfproto {family} reject");
    }
}

/// Argument that tells this network's dnsmasq from all others.
pub(crate) fn pid_file_argument(state_dir: &Path) -> String {
    format!("--pid-file={}", state_dir.join("dnsmasq.pid").display())
}

fn dnsmasq(settings: &Settings, state_dir: &Path, user: &str) -> Vec<String> {
    let name = &settings.name;
    let mut args: Vec<String> = [
        // Nothing from the host's own dnsmasq configuration.
        "--conf-file=/dev/null",
        // Only addresses of the bridge, also those that appear later, so that a resolver on
        // loopback or another network's dnsmasq is not in the way.
        "--bind-dynamic",
        "--except-interface=lo",
    ]
    .map(str::to_owned)
    .into();
    args.push(format!("--interface={name}"));
    args.push(pid_file_argument(state_dir));
    args.push(format!("--user={user}"));
    args.push(format!("--dhcp-leasefile={}", state_dir.join("dnsmasq.leases").display()));
    args.push(format!("--dhcp-hostsdir={}", state_dir.join("dnsmasq.hosts").display()));
    // Quick and quiet: a guest waits for its first address. Pinging an address before it is
    // given out would take three seconds.
    let quick = ["--dhcp-authoritative", "--dhcp-rapid-commit", "--no-ping", "--dhcp-no-override", "--dhcp-lease-max=16384"];
    args.extend(quick.map(str::to_owned));
    args.extend(["--quiet-dhcp", "--quiet-dhcp6", "--quiet-ra"].map(str::to_owned));
    // Guests' plain names are no business of the resolvers upstream.
    args.push("--domain-needed".to_owned());
    if settings.dns.mode != DnsMode::None {
        args.push(format!("--domain={}", settings.dns.domain));
        args.push(format!("--local=/{}/", settings.dns.domain));
    }
    if settings.dns.mode != DnsMode::Dynamic {
        // A guest that claims another's name in its request gets nothing by it.
        args.push("--dhcp-ignore-names".to_owned());
    }
    if let Some(ipv4) = settings.ipv4.as_ref().filter(|ipv4| ipv4.dhcp) {
        dhcp_ipv4(ipv4, settings.mtu, &mut args);
    }
    if let Some(ipv6) = &settings.ipv6 {
        dhcp_ipv6(name, ipv6, &mut args);
    }
    args
}

fn dhcp_ipv4(ipv4: &Ipv4, mtu: Option<u32>, args: &mut Vec<String>) {
    let ranges = if ipv4.ranges.is_empty() { vec![whole_range(ipv4.net)] } else { ipv4.ranges.clone() };
    for (first, last) in ranges {
        args.push(format!("--dhcp-range={first},{last},{},{}", ipv4.net.netmask(), ipv4.expiry));
    }
    match (ipv4.gateway, ipv4.routing) {
        (Some(gateway), _) => args.push(format!("--dhcp-option=3,{gateway}")),
        (None, true) => {}
        // An empty router option: no default route that leads nowhere.
        (None, false) => args.push("--dhcp-option=3".to_owned()),
    }
    if let Some(mtu) = mtu {
        args.push(format!("--dhcp-option-force=26,{mtu}"));
    }
}

/// All addresses but the bridge's own where that is the first or last.
fn whole_range(net: Ipv4Net) -> (Ipv4Addr, Ipv4Addr) {
    let (mut first, mut last) = (u32::from(net.network()) + 1, u32::from(net.broadcast()) - 1);
    let own = u32::from(net.addr());
    if own == first {
        first += 1;
    } else if own == last {
        last -= 1;
    }
    (first.into(), last.into())
}

fn dhcp_ipv6(name: &str, ipv6: &Ipv6, args: &mut Vec<String>) {
    args.push("--enable-ra".to_owned());
    if !ipv6.dhcp {
        args.push(format!("--dhcp-range=::,constructor:{name},ra-only"));
    } else if !ipv6.stateful {
        args.push(format!("--dhcp-range=::,constructor:{name},ra-stateless,ra-names"));
    } else {
        let whole = || {
            let (network, last) = (u128::from(ipv6.net.network()), u128::from(ipv6.net.broadcast()));
            // From the second on: the first is by custom the router's.
            vec![((network + 2).into(), last.into())]
        };
        let ranges = if ipv6.ranges.is_empty() { whole() } else { ipv6.ranges.clone() };
        for (first, last) in ranges {
            args.push(format!("--dhcp-range={first},{last},{},{}", ipv6.net.prefix_len(), ipv6.expiry));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn planned(pairs: &[(&str, &str)]) -> Plan {
        let config: Config = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        plan(&Settings::parse("lxdbr0", &config).expect("valid"), Path::new("/s"), "dnsmasq")
    }

    #[test]
    fn usual_network() {
        let plan =
            planned(&[("ipv4.address", "10.1.2.1/24"), ("ipv4.nat", "true"), ("ipv6.address", "fd42:1:2:3::1/64"), ("ipv6.nat", "true")]);
        assert_eq!(
            plan.ruleset.as_deref().expect("rules"),
            r#"table inet lxd_lxdbr0 {}
delete table inet lxd_lxdbr0
table inet lxd_lxdbr0 {
	chain input {
		type filter hook input priority filter; policy accept;
		iifname "lxdbr0" meta nfproto ipv4 udp dport { 53, 67 } accept
		iifname "lxdbr0" meta nfproto ipv4 tcp dport 53 accept
		iifname "lxdbr0" meta nfproto ipv6 udp dport { 53, 547 } accept
		iifname "lxdbr0" meta nfproto ipv6 tcp dport 53 accept
		iifname "lxdbr0" icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-report, mld2-listener-report } accept
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname "lxdbr0" meta nfproto ipv4 accept
		oifname "lxdbr0" meta nfproto ipv4 accept
		iifname "lxdbr0" meta nfproto ipv6 accept
		oifname "lxdbr0" meta nfproto ipv6 accept
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 10.1.2.0/24 ip daddr != 10.1.2.0/24 masquerade
		ip6 saddr fd42:1:2:3::/64 ip6 daddr != fd42:1:2:3::/64 masquerade
	}
}
"#
        );
        assert_eq!(
            plan.dnsmasq.as_deref().expect("dnsmasq").join("\n"),
            "--conf-file=/dev/null
--bind-dynamic
--except-interface=lo
--interface=lxdbr0
--pid-file=/s/dnsmasq.pid
--user=dnsmasq
--dhcp-leasefile=/s/dnsmasq.leases
--dhcp-hostsdir=/s/dnsmasq.hosts
--dhcp-authoritative
--dhcp-rapid-commit
--no-ping
--dhcp-no-override
--dhcp-lease-max=16384
--quiet-dhcp
--quiet-dhcp6
--quiet-ra
--domain-needed
--domain=lxd
--local=/lxd/
--dhcp-ignore-names
--dhcp-range=10.1.2.2,10.1.2.254,255.255.255.0,1h
--enable-ra
--dhcp-range=::,constructor:lxdbr0,ra-stateless,ra-names"
        );
        assert!(plan.forward_ipv4 && plan.forward_ipv6);
        assert_eq!(plan.mac[..3], [0x00, 0x16, 0x3e]);
        assert_eq!(plan.mac, planned(&[]).mac, "depends on the name only");
    }

    #[test]
    fn network_without_addresses_needs_no_program() {
        let plan = planned(&[("ipv4.address", "none"), ("ipv6.address", "none"), ("ipv4.nat", "true")]);
        assert_eq!((plan.ruleset, plan.dnsmasq, plan.addresses.len()), (None, None, 0));
        assert!(!plan.forward_ipv4 && !plan.forward_ipv6);
        assert!(plan.sysctls.iter().any(|sysctl| sysctl.path.ends_with("/lxdbr0/disable_ipv6") && sysctl.value == "1"));
    }

    #[test]
    fn without_routing_nothing_is_forwarded_and_no_gateway_announced() {
        let plan = planned(&[("ipv4.address", "10.1.2.1/24"), ("ipv4.routing", "false"), ("ipv4.nat", "true")]);
        let rules = plan.ruleset.expect("rules");
        assert!(rules.contains("iifname \"lxdbr0\" meta nfproto ipv4 reject") && !rules.contains("masquerade"), "{rules}");
        assert!(plan.dnsmasq.expect("dnsmasq").contains(&"--dhcp-option=3".to_owned()));
        assert!(!plan.forward_ipv4);
    }

    #[test]
    fn firewall_off_leaves_only_nat() {
        let plan = planned(&[("ipv4.address", "10.1.2.1/24"), ("ipv4.firewall", "false"), ("ipv4.nat", "true")]);
        let rules = plan.ruleset.expect("rules");
        assert!(rules.contains("masquerade") && !rules.contains("accept\n\t\t") && !rules.contains("chain input"), "{rules}");
        assert_eq!(planned(&[("ipv4.address", "10.1.2.1/24"), ("ipv4.firewall", "false")]).ruleset, None);
    }

    #[test]
    fn options_reach_dnsmasq() {
        let has = |pairs: &[(&str, &str)], argument: &str| {
            let mut all = vec![("ipv4.address", "10.1.2.254/24"), ("ipv6.address", "fd42::1/64")];
            all.extend_from_slice(pairs);
            planned(&all).dnsmasq.expect("dnsmasq").contains(&argument.to_owned())
        };
        assert!(has(&[], "--dhcp-range=10.1.2.1,10.1.2.253,255.255.255.0,1h"), "not the bridge's own address");
        assert!(has(&[("ipv4.dhcp.expiry", "9m")], "--dhcp-range=10.1.2.1,10.1.2.253,255.255.255.0,9m"));
        assert!(has(&[("ipv4.dhcp.ranges", "10.1.2.5-10.1.2.9")], "--dhcp-range=10.1.2.5,10.1.2.9,255.255.255.0,1h"));
        assert!(has(&[("ipv4.dhcp.gateway", "10.1.2.7")], "--dhcp-option=3,10.1.2.7"));
        assert!(has(&[("bridge.mtu", "1400")], "--dhcp-option-force=26,1400"));
        assert!(has(&[("ipv6.dhcp", "false")], "--dhcp-range=::,constructor:lxdbr0,ra-only"));
        assert!(has(&[("ipv6.dhcp.stateful", "true")], "--dhcp-range=fd42::2,fd42::ffff:ffff:ffff:ffff,64,1h"));
        assert!(!has(&[("dns.mode", "dynamic")], "--dhcp-ignore-names"));
        assert!(!has(&[("dns.mode", "none")], "--domain=lxd"));
        assert!(!has(&[("ipv4.dhcp", "false")], "--dhcp-range=10.1.2.1,10.1.2.253,255.255.255.0,1h"));
    }
}
