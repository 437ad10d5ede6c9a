//! Network cards of a container, as seen from the monitor and the daemon.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use netlink::{MacvlanSpec, Netlink, VethSpec, parse_mac};
use sys::process::namespaces;

use crate::error::{Error, Result};
use crate::spec::{Nic, NicKind, NicRates};

/// How long a name on the host may be taken by a card of a container that has ended.
const NAME_PATIENCE: Duration = Duration::from_secs(3);

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

/// Puts the host's end of a card on a bridge, isolated or not.
pub(crate) fn join(host_name: &str, bridge: &str, isolated: bool) -> Result<()> {
    let failed = |error: netlink::Error| Error::Network(format!("`{host_name}` on `{bridge}`: {error}"));
    let mut netlink = Netlink::open().map_err(failed)?;
    let (port, bridge) = (netlink.link_by_name(host_name).map_err(failed)?, netlink.link_by_name(bridge).map_err(failed)?);
    netlink.set_master(port.index, Some(bridge.index)).map_err(failed)?;
    if isolated { netlink.set_isolated(port.index, true).map_err(failed) } else { Ok(()) }
}

/// Takes the host's end of a card off its bridge.
pub(crate) fn leave(host_name: &str) -> Result<()> {
    let failed = |error: netlink::Error| Error::Network(format!("`{host_name}`: {error}"));
    let mut netlink = Netlink::open().map_err(failed)?;
    let port = netlink.link_by_name(host_name).map_err(failed)?;
    netlink.set_master(port.index, None).map_err(failed)
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
        None => Err(Error::Network(format!("Missing parent '{name}' for nic '{}': the host has no such interface", nic.device))),
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
            if !bridge.is_kind("bridge") {
                let text = "is no bridge: use nictype=macvlan or nictype=physical, or a bridge as its parent";
                return Err(Error::Network(format!("the parent '{}' of nic '{}' {text}", bridge.name, nic.device)));
            }
            create_veth(netlink, &veth(joined.then_some(bridge.index), Some(nic.mtu.unwrap_or(bridge.mtu)))).map_err(failed)?;
            // Its end inside is still down: nothing has come out of it.
            if nic.isolated && joined {
                isolate(netlink, nic, &host_name).inspect_err(|_| drop(netlink.delete_link_by_name(&host_name)))?;
            }
            limit_new(netlink, nic, &host_name)
        }
        NicKind::P2p => {
            create_veth(netlink, &veth(None, nic.mtu)).map_err(failed)?;
            limit_new(netlink, nic, &host_name)
        }
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

/// Makes a pair. Where its name is that of a container's that has just ended, it is free once the kernel has taken that
/// one's network namespace down, a moment after the last process.
fn create_veth(netlink: &mut Netlink, spec: &VethSpec<'_>) -> netlink::Result<()> {
    let end = Instant::now() + NAME_PATIENCE;
    loop {
        match netlink.create_veth(spec) {
            Err(error) if error.is_exists() && netlink.find_link(spec.host_name)?.is_some() && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

/// Bounds the traffic of a card that was just made; one that cannot be bounded is not left.
fn limit_new(netlink: &mut Netlink, nic: &Nic, host_name: &str) -> Result<()> {
    if nic.rates == NicRates::default() {
        return Ok(());
    }
    limit(netlink, nic, host_name).inspect_err(|_| {
        drop(netlink.delete_link_by_name(host_name));
        drop(netlink.delete_link_by_name(&shaper_name(host_name)));
    })
}

/// Lets the host's end of a bridged card pass traffic on to others as the card says now.
fn isolate(netlink: &mut Netlink, nic: &Nic, host_name: &str) -> Result<()> {
    let failed = |error: netlink::Error| Error::Network(format!("device `{}`: {error}", nic.device));
    let link = netlink.link_by_name(host_name).map_err(failed)?;
    netlink.set_isolated(link.index, nic.isolated).map_err(failed)
}

/// Isolates a card and bounds its traffic as it says now, whatever held before.
pub(crate) fn adjust(netlink: &mut Netlink, nic: &Nic, host_name: &str) -> Result<()> {
    if matches!(nic.kind, NicKind::Bridged { .. }) {
        isolate(netlink, nic, host_name)?;
    }
    limit(netlink, nic, host_name)
}

/// Bounds the traffic of a card as it says now, whatever held before. What goes into the container leaves the host's
/// end through a token bucket; what comes out of it goes through a link of its own first, where it does the same.
fn limit(netlink: &mut Netlink, nic: &Nic, host_name: &str) -> Result<()> {
    let failed = |error: netlink::Error| Error::Network(format!("device `{}`: {error}", nic.device));
    let link = netlink.link_by_name(host_name).map_err(failed)?;
    match nic.rates.ingress {
        Some(bits) => netlink.shape(link.index, bits),
        None => netlink.unshape(link.index),
    }
    .map_err(failed)?;
    let shaper = shaper_name(host_name);
    let Some(bits) = nic.rates.egress else {
        netlink.stop_redirecting(link.index).map_err(failed)?;
        return netlink.delete_link_by_name(&shaper).map_err(failed);
    };
    if netlink.find_link(&shaper).map_err(failed)?.is_none() {
        netlink.create_ifb(&shaper).map_err(failed)?;
    }
    let through = netlink.link_by_name(&shaper).map_err(failed)?;
    netlink.shape(through.index, bits).map_err(failed)?;
    netlink.redirect(link.index, through.index).map_err(failed)
}

/// Removes what [`limit`] made beside cards that are gone.
pub(crate) fn remove_shapers(nics: &[Nic]) {
    let names = nics.iter().filter(|nic| nic.rates.egress.is_some()).filter_map(|nic| nic.host_name.as_deref());
    let names: Vec<String> = names.map(shaper_name).collect();
    if names.is_empty() {
        return;
    }
    let Ok(mut netlink) = Netlink::open() else { return };
    for name in names {
        if let Err(error) = netlink.delete_link_by_name(&name) {
            tracing::warn!(%error, "a link for limiting traffic could not be removed");
        }
    }
}

/// Links on the host, by number, that keep the name somebody chose for them until the kernel has taken the container's
/// network namespace down. That can take minutes where connections were open.
pub(crate) fn lasting_ends(nics: &[Nic]) -> Vec<u32> {
    let is_chosen = |name: &&str| !(name.len() == 12 && name.starts_with("veth") && name[4..].bytes().all(|byte| byte.is_ascii_hexdigit()));
    let names: Vec<&str> = nics.iter().filter_map(|nic| nic.host_name.as_deref()).filter(is_chosen).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let Ok(mut netlink) = Netlink::open() else { return Vec::new() };
    names.into_iter().filter_map(|name| Some(netlink.find_link(name).ok()??.index)).collect()
}

/// Removes them; one that has gone meanwhile is gone.
pub(crate) fn remove_links(indices: &[u32]) {
    if let (false, Ok(mut netlink)) = (indices.is_empty(), Netlink::open()) {
        indices.iter().for_each(|index| drop(netlink.delete_link(*index)));
    }
}

/// Follows from the name of the host's end, so that whoever cleans up finds it. As long as a name may be.
fn shaper_name(host_name: &str) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    host_name.hash(&mut hasher);
    format!("lxi{:012x}", hasher.finish() >> 16)
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
