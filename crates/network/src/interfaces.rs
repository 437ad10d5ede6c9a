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
