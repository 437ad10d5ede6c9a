//! Links: reading, making, changing and removing them.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{DecodeError, NLM_F_CREATE, NLM_F_EXCL, NlasIterator, parse_i32, parse_string, parse_u32};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoMacVlan, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkExtentMask,
    LinkFlags, LinkInfo, LinkMessage, LinkMessageBuffer, MacVlanMode,
};
use sys::Errno;

use crate::socket::{Netlink, Purpose};
use crate::{Error, Result};

/// Message type of a link in a reply (linux/rtnetlink.h).
const RTM_NEWLINK: u16 = 16;
// Attributes of a link (linux/if_link.h).
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The kind of a virtual link (`veth`, `bridge`, `macvlan`, ...); none for hardware and `lo`.
    pub kind: Option<String>,
    /// Hardware address, where it has one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Interface flags as of netdevice(7).
    pub flags: LinkFlags,
    /// The bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// The other end of a veth, the lower device of a macvlan or VLAN.
    pub peer_index: Option<u32>,
    /// Set when `peer_index` counts in another namespace.
    pub peer_netns_id: Option<i32>,
    /// Traffic.
    pub stats: Stats,
}

impl Link {
    /// Administratively up.
    pub fn is_up(&self) -> bool {
        self.flags.contains(LinkFlags::Up)
    }

    /// `loopback`, `broadcast`, `point-to-point` or `unknown`.
    pub fn medium(&self) -> &'static str {
        if self.flags.contains(LinkFlags::Loopback) {
            "loopback"
        } else if self.flags.contains(LinkFlags::Pointopoint) {
            "point-to-point"
        } else if self.flags.contains(LinkFlags::Broadcast) {
            "broadcast"
        } else {
            "unknown"
        }
    }

    /// Whether it is a virtual link of this kind.
    pub fn is_kind(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }
}

/// Traffic since the link exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Stats {
    pub received_packets: u64,
    pub sent_packets: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub receive_errors: u64,
    pub send_errors: u64,
    pub receive_drops: u64,
    pub send_drops: u64,
}

/// A pair of virtual Ethernet devices.
#[derive(Clone, Copy, Debug)]
pub struct VethSpec<'a> {
    /// The end in the socket's namespace; it is set up.
    pub host_name: &'a str,
    /// Hardware address of the host end; the kernel's choice if none.
    pub host_mac: Option<[u8; 6]>,
    /// The end in `peer_netns`; it is down, since the kernel cannot open it before both exist.
    pub peer_name: &'a str,
    /// Hardware address of the peer end; the kernel's choice if none.
    pub peer_mac: Option<[u8; 6]>,
    /// Where the peer end is made.
    pub peer_netns: BorrowedFd<'a>,
    /// Bridge that the host end becomes a port of.
    pub master: Option<u32>,
    /// For both ends.
    pub mtu: Option<u32>,
}

/// A macvlan device in bridge mode.
#[derive(Clone, Copy, Debug)]
pub struct MacvlanSpec<'a> {
    /// Its name in `netns`.
    pub name: &'a str,
    /// Lower device, in the socket's namespace.
    pub parent: u32,
    /// Hardware address; the kernel's choice if none.
    pub mac: Option<[u8; 6]>,
    /// The parent's if none.
    pub mtu: Option<u32>,
    /// Where it is made; it is set up there.
    pub netns: BorrowedFd<'a>,
}

/// Properties of a new bridge.
#[derive(Clone, Copy, Debug, Default)]
pub struct BridgeOptions {
    /// A fixed hardware address, so that it does not follow the ports'.
    pub mac: Option<[u8; 6]>,
    /// Fixed size; otherwise the smallest of the ports'.
    pub mtu: Option<u32>,
}

impl Netlink {
    /// All links of the namespace.
    pub fn link_list(&mut self) -> Result<Vec<Link>> {
        let purpose = Purpose { operation: "list", subject: "links" };
        let mut message = LinkMessage::default();
        message.attributes.push(brief());
        self.list(purpose, &RouteNetlinkMessage::GetLink(message), |kind, content| {
            if kind == RTM_NEWLINK { parse_link(content).map(Some) } else { Ok(None) }
        })
    }

    /// One link.
    pub fn link_by_name(&mut self, name: &str) -> Result<Link> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.get_link(Purpose { operation: "look up interface", subject: name }, message)
    }

    /// One link; none if there is no such name.
    pub fn find_link(&mut self, name: &str) -> Result<Option<Link>> {
        match self.link_by_name(name) {
            Ok(link) => Ok(Some(link)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One link.
    pub fn link_by_index(&mut self, index: u32) -> Result<Link> {
        let subject = index.to_string();
        self.get_link(Purpose { operation: "look up interface", subject: &subject }, message_for(index))
    }

    fn get_link(&mut self, purpose: Purpose<'_>, mut message: LinkMessage) -> Result<Link> {
        let mut found = None;
        message.attributes.push(brief());
        self.get(purpose, RouteNetlinkMessage::GetLink(message), &mut |kind, content| {
            if kind == RTM_NEWLINK {
                found = Some(parse_link(content)?);
            }
            Ok(())
        })?;
        found.ok_or_else(|| purpose.malformed("no link in it"))
    }

    /// Makes a bridge without spanning tree or forwarding delay, so that a new port forwards at
    /// once, and sets it up.
    pub fn create_bridge(&mut self, name: &str, options: BridgeOptions) -> Result<()> {
        let mut message = new_link(name, options.mac, options.mtu);
        let data = InfoData::Bridge(vec![InfoBridge::ForwardDelay(0)]);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(data)]));
        self.create(Purpose { operation: "create bridge", subject: name }, message)
    }

    /// Makes a veth pair in one message: the peer is born inside its namespace, the host end is
    /// born as a port of the bridge. Moving an end afterwards would cost an RCU grace period.
    pub fn create_veth(&mut self, spec: &VethSpec<'_>) -> Result<()> {
        let mut peer = new_link(spec.peer_name, spec.peer_mac, spec.mtu);
        peer.header.flags = LinkFlags::empty();
        peer.header.change_mask = LinkFlags::empty();
        peer.attributes.push(LinkAttribute::NetNsFd(spec.peer_netns.as_raw_fd()));
        let mut message = new_link(spec.host_name, spec.host_mac, spec.mtu);
        message.attributes.extend(spec.master.map(LinkAttribute::Controller));
        let data = InfoData::Veth(InfoVeth::Peer(peer));
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(data)]));
        let subject = format!("{} (peer {})", spec.host_name, spec.peer_name);
        self.create(Purpose { operation: "create veth", subject: &subject }, message)
    }

    /// Makes a macvlan directly inside a namespace.
    pub fn create_macvlan(&mut self, spec: &MacvlanSpec<'_>) -> Result<()> {
        let mut message = new_link(spec.name, spec.mac, spec.mtu);
        message.attributes.push(LinkAttribute::Link(spec.parent));
        message.attributes.push(LinkAttribute::NetNsFd(spec.netns.as_raw_fd()));
        let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)]);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::MacVlan), LinkInfo::Data(data)]));
        self.create(Purpose { operation: "create macvlan", subject: spec.name }, message)
    }

    fn create(&mut self, purpose: Purpose<'_>, message: LinkMessage) -> Result<()> {
        self.change(purpose, NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewLink(message))
    }

    /// Removes a link; a veth's other end goes with it.
    pub fn delete_link(&mut self, index: u32) -> Result<()> {
        let subject = index.to_string();
        let purpose = Purpose { operation: "delete interface", subject: &subject };
        self.change(purpose, 0, RouteNetlinkMessage::DelLink(message_for(index)))
    }

    /// Removes a link by name; that it is gone already is fine.
    pub fn delete_link_by_name(&mut self, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let purpose = Purpose { operation: "delete interface", subject: name };
        match self.change(purpose, 0, RouteNetlinkMessage::DelLink(message)) {
            Err(error) if error.kernel_errno() == Some(Errno::NODEV) => Ok(()),
            other => other,
        }
    }

    /// Sets a link up.
    pub fn set_up(&mut self, index: u32) -> Result<()> {
        let mut message = message_for(index);
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.set_link("set up", index, message)
    }

    /// Sets a link down.
    pub fn set_down(&mut self, index: u32) -> Result<()> {
        let mut message = message_for(index);
        message.header.change_mask = LinkFlags::Up;
        self.set_link("set down", index, message)
    }

    /// Renames a link.
    pub fn set_name(&mut self, index: u32, name: &str) -> Result<()> {
        self.set_attribute("rename", index, LinkAttribute::IfName(name.to_owned()))
    }

    /// Changes the largest packet size in bytes.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<()> {
        self.set_attribute("set the MTU of", index, LinkAttribute::Mtu(mtu))
    }

    /// Changes the hardware address.
    pub fn set_mac(&mut self, index: u32, mac: [u8; 6]) -> Result<()> {
        self.set_attribute("set the hardware address of", index, LinkAttribute::Address(mac.to_vec()))
    }

    /// Makes it a port of a bridge, or of none (`None`).
    pub fn set_master(&mut self, index: u32, master: Option<u32>) -> Result<()> {
        self.set_attribute("set the bridge of", index, LinkAttribute::Controller(master.unwrap_or(0)))
    }

    /// Keeps a port of a bridge from reaching other ports of which the same is said, or lets it.
    pub fn set_isolated(&mut self, index: u32, isolated: bool) -> Result<()> {
        let mut message = message_for(index);
        let data = InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(isolated)]);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::PortKind(InfoPortKind::Bridge), LinkInfo::PortData(data)]));
        let subject = format!("interface {index}");
        // Of what changes a link, the kernel looks for this only in what may also make one.
        let result = self.change(Purpose { operation: "isolate", subject: &subject }, 0, RouteNetlinkMessage::NewLink(message));
        result.map_err(|error| self.name_subject(error, index))
    }

    /// Moves a link to another namespace, where it gets `new_name` (the same if none) and is
    /// down, without addresses. Its index may change.
    pub fn set_netns(&mut self, index: u32, netns: BorrowedFd<'_>, new_name: Option<&str>) -> Result<()> {
        let mut message = message_for(index);
        message.attributes.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
        message.attributes.extend(new_name.map(|name| LinkAttribute::IfName(name.to_owned())));
        // A link can only be renamed while it is down, which moving it brings about.
        message.header.change_mask = LinkFlags::Up;
        self.set_link("move to another network namespace", index, message)
    }

    fn set_attribute(&mut self, operation: &'static str, index: u32, attribute: LinkAttribute) -> Result<()> {
        let mut message = message_for(index);
        message.attributes.push(attribute);
        self.set_link(operation, index, message)
    }

    fn set_link(&mut self, operation: &'static str, index: u32, message: LinkMessage) -> Result<()> {
        let subject = format!("interface {index}");
        let result = self.change(Purpose { operation, subject: &subject }, 0, RouteNetlinkMessage::SetLink(message));
        result.map_err(|error| self.name_subject(error, index))
    }

    /// Errors show the name rather than the index where it can still be had.
    fn name_subject(&mut self, error: Error, index: u32) -> Error {
        match error {
            Error::Kernel { operation, errno, reason, subject } => {
                let subject = self.link_by_index(index).map_or(subject, |link| link.name);
                Error::Kernel { operation, subject, errno, reason }
            }
            other => other,
        }
    }
}

/// Leaves the counters of each protocol out, which the kernel would have to add up over all processors.
/// Those of the link itself are not among them.
fn brief() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

fn message_for(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

/// A link that comes up as soon as it is made.
pub(crate) fn new_link(name: &str, mac: Option<[u8; 6]>, mtu: Option<u32>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    message
}

pub(crate) fn parse_link(content: &[u8]) -> std::result::Result<Link, DecodeError> {
    let buffer = LinkMessageBuffer::new_checked(content)?;
    let mut link = Link { index: buffer.link_index(), flags: LinkFlags::from_bits_retain(buffer.flags()), ..Link::default() };
    for attribute in buffer.attributes() {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            IFLA_IFNAME => link.name = parse_string(value)?,
            IFLA_MTU => link.mtu = parse_u32(value)?,
            IFLA_LINK => link.peer_index = Some(parse_u32(value)?).filter(|index| *index != 0),
            IFLA_MASTER => link.master = Some(parse_u32(value)?),
            IFLA_LINKINFO => link.kind = parse_kind(value)?,
            IFLA_STATS64 => link.stats = parse_stats(value),
            IFLA_LINK_NETNSID => link.peer_netns_id = Some(parse_i32(value)?),
            _ => {}
        }
    }
    Ok(link)
}

fn parse_kind(value: &[u8]) -> std::result::Result<Option<String>, DecodeError> {
    for attribute in NlasIterator::new(value) {
        let attribute = attribute?;
        if attribute.kind() == IFLA_INFO_KIND {
            return parse_string(attribute.value()).map(Some);
        }
    }
    Ok(None)
}

/// The first counters of `struct rtnl_link_stats64` (linux/if_link.h); newer kernels append more.
fn parse_stats(value: &[u8]) -> Stats {
    let counter =
        |position: usize| value.get(8 * position..8 * position + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes);
    Stats {
        received_packets: counter(0),
        sent_packets: counter(1),
        received_bytes: counter(2),
        sent_bytes: counter(3),
        receive_errors: counter(4),
        send_errors: counter(5),
        receive_drops: counter(6),
        send_drops: counter(7),
    }
}
