//! The host's interfaces, managed or not.

use netlink::{Link, Netlink};

use crate::Result;

/// One interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterface {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: InterfaceKind,
    /// Hardware address, empty if it has none.
    pub hwaddr: String,
    /// Size of its packets in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
}

/// What an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceKind {
    /// `lo`.
    Loopback,
    /// A bridge of the kernel.
    Bridge,
    /// A VLAN on another interface.
    Vlan,
    /// A device of hardware.
    Physical,
    /// Several devices as one.
    Bond,
    /// Anything else.
    Unknown,
}

impl InterfaceKind {
    /// The API's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Bridge => "bridge",
            Self::Vlan => "vlan",
            Self::Physical => "physical",
            Self::Bond => "bond",
            Self::Unknown => "unknown",
        }
    }
}

/// All interfaces of the current network namespace, in the kernel's order.
pub fn host_interfaces() -> Result<Vec<HostInterface>> {
    Ok(Netlink::open()?.link_list()?.into_iter().map(describe).collect())
}

/// One interface; none if there is none of that name.
pub fn host_interface(name: &str) -> Result<Option<HostInterface>> {
    // The kernel would match a longer name against alternative names.
    if name.is_empty() || name.len() > 15 {
        return Ok(None);
    }
    Ok(Netlink::open()?.find_link(name)?.map(describe))
}

/// An interface with its addresses and counters, and what only a bridge has.
#[derive(Clone, Debug)]
pub struct InterfaceState {
    /// Link and addresses.
    pub interface: netlink::Interface,
    /// Of a bridge.
    pub bridge: Option<BridgeState>,
}

/// The state of a bridge, as the kernel shows it in `/sys/class/net/NAME/bridge`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeState {
    /// Priority and address: `8000.00163e000001`.
    pub id: String,
    /// Whether it takes part in the spanning tree protocol.
    pub stp: bool,
    /// In hundredths of a second.
    pub forward_delay: u64,
    /// The VLAN of packets without one.
    pub vlan_default: u64,
    /// Whether it looks at VLANs.
    pub vlan_filtering: bool,
    /// The links that are its ports, sorted.
    pub ports: Vec<String>,
}

/// The state of one interface of the current network namespace; none if there is none of that name.
pub fn interface_state(name: &str) -> Result<Option<InterfaceState>> {
    if name.is_empty() || name.len() > 15 {
        return Ok(None);
    }
    let mut netlink = Netlink::open()?;
    let Some(link) = netlink.find_link(name)? else { return Ok(None) };
    let addresses = netlink.addr_list()?.into_iter().filter(|address| address.index == link.index).collect();
    let bridge = link.is_kind("bridge").then(|| bridge_state(name));
    Ok(Some(InterfaceState { interface: netlink::Interface { link, addresses, host_name: None }, bridge }))
}

/// What cannot be read stays empty.
fn bridge_state(name: &str) -> BridgeState {
    let dir = std::path::Path::new("/sys/class/net").join(name);
    let text = |file: &str| sys::fs::read_to_string(dir.join("bridge").join(file)).unwrap_or_default().trim().to_owned();
    let number = |file: &str| text(file).parse().unwrap_or(0);
    let mut ports = sys::fs::list_dir(dir.join("brif")).unwrap_or_default();
    ports.sort();
    BridgeState {
        id: text("bridge_id"),
        stp: number("stp_state") != 0,
        forward_delay: number("forward_delay"),
        vlan_default: number("default_pvid"),
        vlan_filtering: number("vlan_filtering") != 0,
        ports,
    }
}

fn describe(link: Link) -> HostInterface {
    let kind = match link.kind.as_deref() {
        _ if link.medium() == "loopback" => InterfaceKind::Loopback,
        Some("bridge") => InterfaceKind::Bridge,
        Some("vlan") => InterfaceKind::Vlan,
        Some("bond") => InterfaceKind::Bond,
        _ if sys::fs::exists(format!("/sys/class/net/{}/device", link.name)) => InterfaceKind::Physical,
        _ => InterfaceKind::Unknown,
    };
    let hwaddr = link.mac.map(netlink::format_mac).unwrap_or_default();
    let up = link.is_up();
    HostInterface { name: link.name, kind, hwaddr, mtu: link.mtu, up }
}
