//! Keys of managed networks.

use crate::row::keys;
use crate::types::{
    BridgeDriver, DnsMode, Domain, Expiry, Interfaces, Ipv4, Ipv4Ranges, Ipv4Subnet, Ipv6Ranges, Ipv6Subnet, Mac, Mtu, Text,
};
use crate::{Config, KeyError, Refused, Table};

keys! { ROWS;
    /// What drives the bridge.
    BRIDGE_DRIVER: BridgeDriver = "bridge.driver", "native", Fixed;
    /// Host interfaces without addresses to put into the bridge.
    BRIDGE_EXTERNAL_INTERFACES: Interfaces = "bridge.external_interfaces", "", Now;
    /// Hardware address of the bridge.
    BRIDGE_HWADDR: Mac = "bridge.hwaddr", "", Now;
    /// MTU of the bridge.
    BRIDGE_MTU: Mtu = "bridge.mtu", "1500", Now;
    /// Domain of the instances' names.
    DNS_DOMAIN: Domain = "dns.domain", "lxd", Now;
    /// Whose names are in the DNS.
    DNS_MODE: DnsMode = "dns.mode", "managed", Now;
    /// Address of the bridge and its network, `none`, or `auto` for a free one.
    IPV4_ADDRESS: Ipv4Subnet = "ipv4.address", "auto", Now;
    /// Whether IPv4 addresses are given out by DHCP.
    IPV4_DHCP: bool = "ipv4.dhcp", "true", Now;
    /// How long a lease lasts.
    IPV4_DHCP_EXPIRY: Expiry = "ipv4.dhcp.expiry", "1H", Now;
    /// Gateway that DHCP tells, if it isn't the bridge.
    IPV4_DHCP_GATEWAY: Ipv4 = "ipv4.dhcp.gateway", "", Now;
    /// Addresses to give out; all of the network when unset.
    IPV4_DHCP_RANGES: Ipv4Ranges = "ipv4.dhcp.ranges", "", Now;
    /// Whether firewall rules for DHCP, DNS and forwarding are made.
    IPV4_FIREWALL: bool = "ipv4.firewall", "true", Now;
    /// Whether IPv4 traffic to the outside is translated to the host's address.
    IPV4_NAT: bool = "ipv4.nat", "false", Now;
    /// Whether the host forwards IPv4 for the network.
    IPV4_ROUTING: bool = "ipv4.routing", "true", Now;
    /// Address of the bridge and its network, `none`, or `auto` for a random private one.
    IPV6_ADDRESS: Ipv6Subnet = "ipv6.address", "auto", Now;
    /// Whether router advertisements and DHCPv6 are sent.
    IPV6_DHCP: bool = "ipv6.dhcp", "true", Now;
    /// How long a lease lasts.
    IPV6_DHCP_EXPIRY: Expiry = "ipv6.dhcp.expiry", "1H", Now;
    /// Addresses to give out when stateful.
    IPV6_DHCP_RANGES: Ipv6Ranges = "ipv6.dhcp.ranges", "", Now;
    /// Whether addresses come from DHCPv6 instead of being formed by the guests.
    IPV6_DHCP_STATEFUL: bool = "ipv6.dhcp.stateful", "false", Now;
    /// Whether firewall rules for DHCP, DNS and forwarding are made.
    IPV6_FIREWALL: bool = "ipv6.firewall", "true", Now;
    /// Whether IPv6 traffic to the outside is translated to the host's address.
    IPV6_NAT: bool = "ipv6.nat", "false", Now;
    /// Whether the host forwards IPv6 for the network.
    IPV6_ROUTING: bool = "ipv6.routing", "true", Now;
    /// Free for your own use.
    USER: Text = "user.*", "", Event;
    /// What the daemon remembers about the network.
    VOLATILE: Text = "volatile.*", "", Event;
}

static REFUSED: &[Refused] = &[
    Refused { name: "bridge.mode", reason: "the fan overlay network is not supported" },
    Refused { name: "fan.*", reason: "the fan overlay network is not supported" },
    Refused { name: "maas.*", reason: "MAAS is not supported" },
    Refused { name: "raw.dnsmasq", reason: "lines for dnsmasq could run programs as root; use the ipv4.*, ipv6.* and dns.* keys" },
    Refused { name: "tunnel.*", reason: "tunnels are not supported" },
];

/// All keys of managed networks.
pub static TABLE: Table = Table { unknown: "Unknown network configuration key", rows: ROWS, refused: REFUSED };

/// Checks the configuration of a managed network.
pub fn validate(config: &Config) -> Result<(), KeyError> {
    TABLE.validate(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let one = |key: &str, value: &str| validate(&Config::from([(key.to_owned(), value.to_owned())]));
        assert_eq!(one("ipv4.address", "auto"), Ok(()));
        assert_eq!(one("ipv6.address", "none"), Ok(()));
        assert!(one("raw.dnsmasq", "dhcp-script=/x").expect_err("refused").to_string().contains("isn't supported"));
        assert!(one("dns.domain", "a\ndhcp-script=/x").is_err());
        assert!(one("ipv4.dhcp.ranges", "10.0.0.5-10.0.0.1").is_err());
    }
}
