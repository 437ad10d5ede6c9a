//! Keys of network interfaces.

use crate::row::keys;
use crate::types::{BitRate, Interface, Ipv4, Ipv6, Mac, Mtu, NetworkName, NicType, Text};
use crate::{Config, Device, KeyError, Refused, Table, Value};

/// Interfaces in a bridge.
pub mod bridged {
    use super::{BitRate, Interface, Ipv4, Ipv6, Mac, Mtu, NetworkName, NicType, Text, keys};
    keys! { ROWS;
        /// Name of the interface's host end; chosen when unset.
        HOST_NAME: Interface = "host_name", "", Now;
        /// Hardware address; chosen once when unset.
        HWADDR: Mac = "hwaddr", "", Now;
        /// Fixed IPv4 address, given out by DHCP of the managed network.
        IPV4_ADDRESS: Ipv4 = "ipv4.address", "", Now;
        /// Fixed IPv6 address, given out by DHCPv6 of the managed network.
        IPV6_ADDRESS: Ipv6 = "ipv6.address", "", Now;
        /// Most traffic out of the instance.
        LIMITS_EGRESS: BitRate = "limits.egress", "", Now;
        /// Most traffic into the instance.
        LIMITS_INGRESS: BitRate = "limits.ingress", "", Now;
        /// Most traffic in either direction; `limits.ingress` and `limits.egress` come first.
        LIMITS_MAX: BitRate = "limits.max", "", Now;
        /// MTU; that of the bridge when unset.
        MTU: Mtu = "mtu", "", Now;
        /// Name of the interface in the instance; the next free `ethN` when unset.
        NAME: Interface = "name", "", Now;
        /// Managed network to join, instead of `nictype` and `parent`.
        NETWORK: NetworkName = "network", "", Now;
        /// Always `bridged`; unset where a network is given.
        NICTYPE: NicType = "nictype", "", Now;
        /// Bridge on the host.
        PARENT: Interface = "parent", "", Now;
        /// Keep the instance from using another IPv4 address than `ipv4.address`, and another hardware address than its own.
        SECURITY_IPV4_FILTERING: bool = "security.ipv4_filtering", "false", Now;
        /// Keep the instance from using another IPv6 address than `ipv6.address`, and another hardware address than its own.
        SECURITY_IPV6_FILTERING: bool = "security.ipv6_filtering", "false", Now;
        /// Keep the instance from using another hardware address than its own.
        SECURITY_MAC_FILTERING: bool = "security.mac_filtering", "false", Now;
        /// Keep the instance from reaching others of the bridge that have this set, too.
        SECURITY_PORT_ISOLATION: bool = "security.port_isolation", "false", Now;
        /// Always `nic`.
        TYPE: Text = "type", "", Fixed;
    }
}

/// Pairs of interfaces without a bridge.
pub mod p2p {
    use super::{BitRate, Interface, Mac, Mtu, NicType, Text, keys};
    keys! { ROWS;
        /// Name of the interface's host end; chosen when unset.
        HOST_NAME: Interface = "host_name", "", Now;
        /// Hardware address; chosen once when unset.
        HWADDR: Mac = "hwaddr", "", Now;
        /// Most traffic out of the instance.
        LIMITS_EGRESS: BitRate = "limits.egress", "", Now;
        /// Most traffic into the instance.
        LIMITS_INGRESS: BitRate = "limits.ingress", "", Now;
        /// Most traffic in either direction; `limits.ingress` and `limits.egress` come first.
        LIMITS_MAX: BitRate = "limits.max", "", Now;
        /// MTU; the kernel's default when unset.
        MTU: Mtu = "mtu", "", Now;
        /// Name of the interface in the instance; the next free `ethN` when unset.
        NAME: Interface = "name", "", Now;
        /// Always `p2p`.
        NICTYPE: NicType = "nictype", "", Now;
        /// Always `nic`.
        TYPE: Text = "type", "", Fixed;
    }
}

/// Children of a host interface.
pub mod macvlan {
    use super::{Interface, Mac, Mtu, NicType, Text, keys};
    keys! { ROWS;
        /// Hardware address; chosen once when unset.
        HWADDR: Mac = "hwaddr", "", Now;
        /// MTU; that of the parent when unset.
        MTU: Mtu = "mtu", "", Now;
        /// Name of the interface in the instance; the next free `ethN` when unset.
        NAME: Interface = "name", "", Now;
        /// Always `macvlan`.
        NICTYPE: NicType = "nictype", "", Now;
        /// Host interface to branch from.
        PARENT: Interface = "parent", "", Now;
        /// Always `nic`.
        TYPE: Text = "type", "", Fixed;
    }
}

/// Host interfaces moved into the instance.
pub mod physical {
    use super::{Interface, Mac, Mtu, NicType, Text, keys};
    keys! { ROWS;
        /// Hardware address; that of the interface when unset.
        HWADDR: Mac = "hwaddr", "", Now;
        /// MTU; that of the interface when unset.
        MTU: Mtu = "mtu", "", Now;
        /// Name of the interface in the instance; the next free `ethN` when unset.
        NAME: Interface = "name", "", Now;
        /// Always `physical`.
        NICTYPE: NicType = "nictype", "", Now;
        /// Host interface to move; it comes back when the instance stops.
        PARENT: Interface = "parent", "", Now;
        /// Always `nic`.
        TYPE: Text = "type", "", Fixed;
    }
}

const UNKNOWN: &str = "Invalid device configuration key for nic";

static REFUSED: &[Refused] = &[
    Refused { name: "boot.priority", reason: "it concerns virtual machines, and this server runs containers" },
    Refused { name: "limits.*", reason: "Network limits are only supported on bridged and p2p interfaces" },
    Refused { name: "maas.*", reason: "MAAS is not supported" },
    Refused {
        name: "security.*",
        reason: "traffic is filtered on bridged interfaces only, by security.mac_filtering, security.ipv4_filtering and security.ipv6_filtering",
    },
    Refused { name: "vlan", reason: "VLANs are not supported; make the VLAN interface on the host and use it as parent" },
    Refused { name: "vlan.*", reason: "VLANs are not supported; make the VLAN interface on the host and use it as parent" },
];

static BRIDGED: Table = Table { unknown: UNKNOWN, rows: bridged::ROWS, refused: REFUSED };
static P2P: Table = Table { unknown: UNKNOWN, rows: p2p::ROWS, refused: REFUSED };
static MACVLAN: Table = Table { unknown: UNKNOWN, rows: macvlan::ROWS, refused: REFUSED };
static PHYSICAL: Table = Table { unknown: UNKNOWN, rows: physical::ROWS, refused: REFUSED };

/// The keys of a kind of interface.
pub fn table_of(kind: NicType) -> &'static Table {
    match kind {
        NicType::Bridged => &BRIDGED,
        NicType::P2p => &P2P,
        NicType::Macvlan => &MACVLAN,
        NicType::Physical => &PHYSICAL,
    }
}

/// The kind of an interface: its `nictype`, or bridged where only a network is named.
pub fn nic_type(device: &Config) -> Option<NicType> {
    match bridged::NICTYPE.text(device) {
        Some(text) => NicType::parse(text).ok(),
        None => bridged::NETWORK.text(device).map(|_| NicType::Bridged),
    }
}

/// Whether what the instance sends is filtered.
pub fn is_filtered(device: &Config) -> bool {
    use bridged::{SECURITY_IPV4_FILTERING, SECURITY_IPV6_FILTERING, SECURITY_MAC_FILTERING};
    [SECURITY_MAC_FILTERING, SECURITY_IPV4_FILTERING, SECURITY_IPV6_FILTERING].iter().any(|key| key.is_true(device))
}

/// The bridge or host interface that an interface hangs on: its network, else its parent.
pub fn parent_of(device: &Config) -> Option<&str> {
    bridged::NETWORK.text(device).or_else(|| bridged::PARENT.text(device))
}

/// Checks one interface.
pub(super) fn validate(device: &Device) -> Result<(), KeyError> {
    let Some(kind) = nic_type(device) else {
        return Err(match bridged::NICTYPE.text(device) {
            None => KeyError::other("Missing nic type: set nictype (one of bridged, macvlan, p2p, physical) or network"),
            Some(text) => KeyError::other(format!("Bad nic type: {} (not one of bridged, macvlan, p2p, physical)", text.escape_debug())),
        });
    };
    let network = bridged::NETWORK.text(device);
    for key in [bridged::NICTYPE.name, bridged::PARENT.name] {
        if network.is_some() && device.get(key).is_some_and(|text| !text.is_empty()) {
            return Err(KeyError::other(format!("Cannot use \"{key}\" property in conjunction with \"network\" property")));
        }
    }
    table_of(kind).validate(device)?;
    for (filtering, address) in
        [(bridged::SECURITY_IPV4_FILTERING, bridged::IPV4_ADDRESS.name), (bridged::SECURITY_IPV6_FILTERING, bridged::IPV6_ADDRESS.name)]
    {
        if filtering.is_true(device) && device.get(address).is_none_or(String::is_empty) {
            return Err(KeyError::other(format!("{} needs a fixed address: set {address}", filtering.name)));
        }
    }
    if kind != NicType::P2p && parent_of(device).is_none() {
        return Err(KeyError::other(format!("Missing parent for {} type nic.", kind.text())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(pairs: &[(&str, &str)]) -> String {
        let device = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        validate(&device).expect_err("must be refused").to_string()
    }

    #[test]
    fn texts() {
        assert!(error(&[("type", "nic")]).starts_with("Missing nic type"));
        assert!(error(&[("type", "nic"), ("nictype", "sriov")]).starts_with("Bad nic type: sriov"));
        assert_eq!(error(&[("type", "nic"), ("nictype", "macvlan")]), "Missing parent for macvlan type nic.");
        assert!(error(&[("type", "nic"), ("network", "a"), ("parent", "b")]).contains("\"parent\" property in conjunction"));
        let macvlan = [("type", "nic"), ("nictype", "macvlan"), ("parent", "eth9"), ("limits.max", "1Mbit")];
        assert!(error(&macvlan).contains("Network limits are only supported on bridged and p2p interfaces"));
        assert!(error(&[("type", "nic"), ("network", "lxdbr0"), ("limits.max", "1")]).contains("has no unit"));
    }

    #[test]
    fn filtering_needs_something_to_compare_with() {
        let bridged = [("type", "nic"), ("network", "lxdbr0"), ("security.ipv4_filtering", "true")];
        assert!(error(&bridged).contains("needs a fixed address: set ipv4.address"));
        assert!(error(&[("type", "nic"), ("nictype", "p2p"), ("security.mac_filtering", "true")]).contains("bridged interfaces only"));
    }

    #[test]
    fn nothing_slips_through_an_address() {
        for hwaddr in ["00:16:3e:00:00:01,evil", "00:16:3e:00:00:01\n", "00:16:3e"] {
            assert!(error(&[("type", "nic"), ("network", "lxdbr0"), ("hwaddr", hwaddr)]).contains("Invalid hardware address"));
        }
    }
}
