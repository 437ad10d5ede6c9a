//! Network cards that wait on the host until CRIU takes them into the restored container.
//!
//! A waiting card's name follows from whose it is, so that whoever cleans up after a monitor that
//! died finds it. It begins with `lxr`, which nothing else does.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::os::fd::AsFd;

use netlink::Netlink;

use super::hook::Port;
use crate::error::{Error, Result};
use crate::protocol::Launch;
use crate::spec::{Nic, NicKind};

/// Cards that were made.
#[derive(Default)]
pub(crate) struct Cards {
    /// Name inside and name here.
    made: Vec<(String, String)>,
    /// Those that are still to be put on a bridge: a packet that came while the container has its addresses
    /// and not yet its sockets would be answered with a reset.
    ports: Vec<Port>,
}

impl Cards {
    /// Makes all of a container's, or none.
    pub fn make(launch: &Launch) -> Result<Self> {
        let mut cards = Self::default();
        if launch.spec.nics.is_empty() {
            return Ok(cards);
        }
        remove_waiting(launch);
        let here = sys::fs::open("/proc/self/ns/net")?;
        let mut netlink = Netlink::open().map_err(|error| Error::Network(error.to_string()))?;
        for nic in &launch.spec.nics {
            let peer = waiting_name(launch, nic);
            let host_name = nic.host_name.clone().unwrap_or_else(|| crate::nic::random_name("veth"));
            let waiting = Nic { name: peer.clone(), host_name: Some(host_name.clone()), ..nic.clone() };
            if let Err(error) = crate::nic::attach_apart(&mut netlink, &waiting, here.as_fd()) {
                remove_waiting(launch);
                return Err(error);
            }
            cards.made.push((nic.name.clone(), peer));
            let made = Nic { host_name: Some(host_name), ..nic.clone() };
            cards.ports.extend(ports(std::slice::from_ref(&made)));
        }
        Ok(cards)
    }

    /// Name inside and name here.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.made.iter().map(|(inside, here)| (inside.as_str(), here.as_str()))
    }

    /// Those that are still to be put on a bridge.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }
}

/// The host's ends of these cards that are on bridges.
fn ports(nics: &[Nic]) -> impl Iterator<Item = Port> {
    nics.iter().filter_map(|nic| match (&nic.kind, &nic.host_name) {
        (NicKind::Bridged { parent }, Some(name)) => Some(Port { name: name.clone(), bridge: parent.clone(), isolated: nic.isolated }),
        _ => None,
    })
}

/// Takes cards off their bridges: a network that is being taken apart still has addresses for a while, and no sockets,
/// and would answer with a reset whoever tries again.
pub(super) fn leave_bridges(nics: &[Nic]) {
    for port in ports(nics) {
        if let Err(error) = crate::nic::leave(&port.name) {
            tracing::warn!(%error, "peers may be told that connections have ended");
        }
    }
}

/// Puts them back.
pub(super) fn join_bridges(nics: &[Nic]) {
    for port in ports(nics) {
        if let Err(error) = crate::nic::join(&port.name, &port.bridge, port.isolated) {
            tracing::error!(%error, "a card is not on its bridge");
        }
    }
}

/// Removes those that nobody took, with their ends at the bridge. One that was taken is gone with the
/// container that did.
pub(crate) fn remove_waiting(launch: &Launch) {
    let Ok(mut netlink) = Netlink::open() else { return };
    for nic in &launch.spec.nics {
        if let Ok(Some(link)) = netlink.find_link(&waiting_name(launch, nic)) {
            drop(netlink.delete_link(link.index));
        }
    }
}

/// As long as the name of a link may be, 15 characters.
fn waiting_name(launch: &Launch, nic: &Nic) -> String {
    let mut hasher = DefaultHasher::new();
    (&launch.cgroup_tag, &launch.spec.name, &nic.name).hash(&mut hasher);
    format!("lxr{:012x}", hasher.finish() >> 16)
}
