//! Network cards of a container, as seen from the monitor and the daemon.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink::{MacvlanSpec, Netlink, VethSpec, parse_mac};
use sys::process::namespaces;

use crate::error::{Error, Result};
use crate::spec::{Nic, NicKind};

/// Makes a card inside the network namespace `inside`.
///
/// A veth pair is made whole by one message, with its far end where it belongs: moving an
/// interface between namespaces afterwards costs some 16 ms of RCU waiting.
pub(crate) fn attach(netlink: &mut Netlink, nic: &Nic, inside: BorrowedFd<'_>) -> Result<()> {
    make(netlink, nic, inside, true)
}

/// The same, but that a bridged card is on no bridge yet.
pub(crate) fn attach_apart(netlink: &mut Netlink, nic: &Nic, inside: BorrowedFd<'_>) -> Result<()> {
    make(netlink, nic, inside, false)
}

/// Puts the host's end of a card on a bridge.
pub(crate) fn join(host_name: &str, bridge: &str) -> Result<()> {
    let failed = |error: netlink::Error| Error::Network(format!("`{host_name}` on `{bridge}`: {error}"));
    let mut netlink = Netlink::open().map_err(failed)?;
    let (port, bridge) = (netlink.link_by_name(host_name).map_err(failed)?, netlink.link_by_name(bridge).map_err(failed)?);
    netlink.set_master(port.index, Some(bridge.index)).map_err(failed)
}

fn make(netlink: &mut Netlink, nic: &Nic, inside: BorrowedFd<'_>, joined: bool) -> Result<()> {
    let failed = |error: netlink::Error| Error::Network(format!("device `{}`: {error}", nic.device));
    let mac = match &nic.hwaddr {
        Some(text) => Some(parse_mac(text).ok_or_else(|| Error::Network(format!("device `{}`: bad MAC address `{text}`", nic.device)))?),
        None => None,
    };
    let host_name = nic.host_name.clone().unwrap_or_else(|| random_name("veth"));
    let parent = |netlink: &mut Netlink, name: &str| match netlink.find_link(name).map_err(failed)? {
        Some(link) => Ok(link),
        None => Err(Error::Network(format!("device `{}`: the parent interface `{name}` does not exist on the host", nic.device))),
    };
    let veth = |master: Option<u32>, mtu: Option<u32>| VethSpec {
        host_name: &host_name,
        host_mac: None,
        peer_name: &nic.name,
        peer_netns: inside,
        peer_mac: mac,
        master,
        mtu,
    };
    match &nic.kind {
        NicKind::Bridged { parent: bridge } => {
            let bridge = parent(netlink, bridge)?;
            netlink.create_veth(&veth(joined.then_some(bridge.index), Some(nic.mtu.unwrap_or(bridge.mtu)))).map_err(failed)
        }
        NicKind::P2p => netlink.create_veth(&veth(None, nic.mtu)).map_err(failed),
        NicKind::Macvlan { parent: name } => {
            let link = parent(netlink, name)?;
            let spec = MacvlanSpec { name: &nic.name, parent: link.index, netns: inside, mac, mtu: nic.mtu };
            netlink.create_macvlan(&spec).map_err(failed)
        }
        NicKind::Physical { parent: name } => {
            let link = parent(netlink, name)?;
            netlink.set_netns(link.index, inside, Some(&nic.name)).map_err(failed)
        }
    }
}

/// Brings up every link of the current network namespace, loopback first.
pub(crate) fn all_up() -> Result<()> {
    let failed = |error: netlink::Error| Error::Network(error.to_string());
    let mut netlink = Netlink::open().map_err(failed)?;
    for link in netlink.link_list().map_err(failed)?.iter().filter(|link| !link.is_up()) {
        netlink.set_up(link.index).map_err(failed)?;
    }
    Ok(())
}

/// Brings up a card that was added to a running container; those it starts with are its own work.
pub(crate) fn bring_up(nic: &Nic, inside: BorrowedFd<'_>) -> Result<()> {
    let failed = |error: netlink::Error| Error::Network(format!("device `{}`: {error}", nic.device));
    let mut netlink = Netlink::open_in(inside).map_err(failed)?;
    let link = netlink.link_by_name(&nic.name).map_err(failed)?;
    netlink.set_up(link.index).map_err(failed)
}

/// Returns lent host interfaces from a namespace that is about to vanish: the kernel would move
/// them to the host's first network namespace, which need not be the one they came from. Those
/// that are not there are passed over. For a process with one thread.
pub(crate) fn take_back(nics: &[Nic], inside: &OwnedFd) {
    let lent: Vec<_> = nics.iter().filter_map(lent).collect();
    if lent.is_empty() {
        return;
    }
    let Ok(home) = sys::fs::open("/proc/self/ns/net") else { return };
    if sys::process::setns_fd(inside.as_fd(), namespaces::NET).is_err() {
        return;
    }
    if let Ok(mut netlink) = Netlink::open() {
        for (host_name, name) in lent {
            if let Ok(Some(link)) = netlink.find_link(name) {
                drop(netlink.set_netns(link.index, home.as_fd(), Some(host_name)));
            }
        }
    }
    drop(sys::process::setns_fd(home.as_fd(), namespaces::NET));
}

/// Name on the host and name inside of a lent host interface.
pub(crate) fn lent(nic: &Nic) -> Option<(&str, &str)> {
    match &nic.kind {
        NicKind::Physical { parent } => Some((parent, &nic.name)),
        _ => None,
    }
}

/// A prefix and eight hexadecimal digits.
pub(crate) fn random_name(prefix: &str) -> String {
    let mut bytes = [0; 4];
    // Without randomness yet, a clash is reported by the kernel as any name that is taken.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    format!("{prefix}{:08x}", u32::from_ne_bytes(bytes))
}

/// Removes a card from the network namespace `inside`; a lent host interface goes home.
pub(crate) fn detach(nic: &Nic, inside: BorrowedFd<'_>) -> Result<()> {
    let failed = |error: netlink::Error| Error::Network(format!("device `{}`: {error}", nic.device));
    let mut netlink = Netlink::open_in(inside).map_err(failed)?;
    let Some(link) = netlink.find_link(&nic.name).map_err(failed)? else {
        return Ok(());
    };
    match &nic.kind {
        NicKind::Physical { parent } => {
            let home = sys::fs::open("/proc/self/ns/net")?;
            netlink.set_netns(link.index, home.as_fd(), Some(parent)).map_err(failed)
        }
        _ => netlink.delete_link(link.index).map_err(failed),
    }
}
