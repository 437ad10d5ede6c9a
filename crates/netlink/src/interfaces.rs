//! The interfaces inside another network namespace, as a guest sees them.

use std::os::fd::BorrowedFd;

use crate::{Addr, Link, Netlink, Result};

/// One interface with its addresses.
#[derive(Clone, Debug)]
pub struct Interface {
    /// The link as seen inside.
    pub link: Link,
    /// Its addresses.
    pub addresses: Vec<Addr>,
    /// For a veth: name of the other end in the calling thread's namespace, if it is there.
    pub host_name: Option<String>,
}

/// The interfaces of the namespace behind `netns`, for instance an open `/proc/PID/ns/net`.
pub fn interfaces_in(netns: BorrowedFd<'_>) -> Result<Vec<Interface>> {
    let mut inside = Netlink::open_in(netns)?;
    let links = inside.link_list()?;
    let addresses = inside.addr_list()?;
    let mut here = None;
    let mut interfaces = Vec::with_capacity(links.len());
    for link in links {
        let host_name = match link.peer_index {
            Some(peer) if link.is_kind("veth") && link.peer_netns_id.is_some() => {
                let here = match &mut here {
                    Some(here) => here,
                    none => none.insert(Netlink::open()?),
                };
                other_end(here, peer, link.index)
            }
            _ => None,
        };
        let addresses = addresses.iter().filter(|addr| addr.index == link.index).copied().collect();
        interfaces.push(Interface { link, addresses, host_name });
    }
    Ok(interfaces)
}

/// The peer's index counts in whichever namespace the peer is in; it is here only if the link
/// with that index points back.
fn other_end(here: &mut Netlink, peer: u32, index: u32) -> Option<String> {
    let link = here.link_by_index(peer).ok()?;
    (link.is_kind("veth") && link.peer_index == Some(index)).then_some(link.name)
}
