//! Addresses and routes.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{DecodeError, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, parse_u32};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressMessageBuffer, AddressScope};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMessageBuffer, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::Result;
use crate::socket::{Netlink, Purpose};

// Message types and attributes (linux/rtnetlink.h, linux/if_addr.h).
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTN_UNICAST: u8 = 1;

/// One address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addr {
    /// The link it is on.
    pub index: u32,
    /// The address with its prefix length.
    pub net: IpNet,
    /// How far it reaches.
    pub scope: AddressScope,
}

impl Addr {
    /// `local`, `link` or `global`, judged by the address itself.
    pub fn reach(&self) -> &'static str {
        match self.net.addr() {
            address if address.is_loopback() => "local",
            IpAddr::V4(address) if address.is_link_local() => "link",
            IpAddr::V6(address) if address.is_unicast_link_local() => "link",
            IpAddr::V4(_) | IpAddr::V6(_) => "global",
        }
    }
}

/// One unicast route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; a prefix length of zero for the default route.
    pub destination: IpNet,
    /// The next hop, if not directly reachable.
    pub gateway: Option<IpAddr>,
    /// The link it leaves by.
    pub index: Option<u32>,
}

impl Netlink {
    /// All addresses of the namespace, of both families.
    pub fn addr_list(&mut self) -> Result<Vec<Addr>> {
        let purpose = Purpose { operation: "list", subject: "addresses" };
        self.list(purpose, &RouteNetlinkMessage::GetAddress(AddressMessage::default()), |kind, content| {
            if kind == RTM_NEWADDR { parse_addr(content) } else { Ok(None) }
        })
    }

    /// The unicast routes of the namespace, of both families and all tables.
    pub fn route_list(&mut self) -> Result<Vec<Route>> {
        let purpose = Purpose { operation: "list", subject: "routes" };
        self.list(purpose, &RouteNetlinkMessage::GetRoute(RouteMessage::default()), |kind, content| {
            if kind == RTM_NEWROUTE { parse_route(content) } else { Ok(None) }
        })
    }

    /// Adds an address; that it is there already is fine. IPv6 addresses are usable at once: no
    /// search for duplicates is made.
    pub fn add_addr(&mut self, index: u32, net: IpNet) -> Result<()> {
        let subject = net.to_string();
        let mut message = address_message(index, net);
        if net.addr().is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        let purpose = Purpose { operation: "add address", subject: &subject };
        match self.change(purpose, NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewAddress(message)) {
            Err(error) if error.is_exists() => Ok(()),
            other => other,
        }
    }

    /// Removes an address.
    pub fn del_addr(&mut self, index: u32, net: IpNet) -> Result<()> {
        let subject = net.to_string();
        let message = RouteNetlinkMessage::DelAddress(address_message(index, net));
        self.change(Purpose { operation: "remove address", subject: &subject }, 0, message)
    }

    /// Adds or replaces a route in the main table.
    pub fn add_route(&mut self, route: &Route) -> Result<()> {
        let subject = route.destination.to_string();
        let mut message = RouteMessage::default();
        message.header.address_family = family(route.destination);
        message.header.destination_prefix_length = route.destination.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        message.header.scope = if route.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(route.destination.network())));
        message.attributes.extend(route.gateway.map(|gateway| RouteAttribute::Gateway(RouteAddress::from(gateway))));
        message.attributes.extend(route.index.map(RouteAttribute::Oif));
        let purpose = Purpose { operation: "add route", subject: &subject };
        self.change(purpose, NLM_F_CREATE | NLM_F_REPLACE, RouteNetlinkMessage::NewRoute(message))
    }
}

fn family(net: IpNet) -> AddressFamily {
    match net {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    }
}

fn address_message(index: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.family = family(net);
    message.header.prefix_len = net.prefix_len();
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message.attributes.push(AddressAttribute::Address(net.addr()));
    if let IpNet::V4(net) = net {
        // The kernel does not derive it, and DHCP servers answer to it.
        message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
    }
    message
}

pub(crate) fn parse_addr(content: &[u8]) -> std::result::Result<Option<Addr>, DecodeError> {
    let buffer = AddressMessageBuffer::new_checked(content)?;
    let (mut address, mut local) = (None, None);
    for attribute in buffer.attributes() {
        let attribute = attribute?;
        match attribute.kind() {
            IFA_ADDRESS => address = parse_ip(attribute.value()),
            IFA_LOCAL => local = parse_ip(attribute.value()),
            _ => {}
        }
    }
    // On point-to-point links IFA_ADDRESS is the other side's.
    let net = local.or(address).and_then(|ip| IpNet::new(ip, buffer.prefix_len()).ok());
    Ok(net.map(|net| Addr { index: buffer.index(), net, scope: buffer.scope().into() }))
}

pub(crate) fn parse_route(content: &[u8]) -> std::result::Result<Option<Route>, DecodeError> {
    let buffer = RouteMessageBuffer::new_checked(content)?;
    if buffer.kind() != RTN_UNICAST {
        return Ok(None);
    }
    let mut destination = match AddressFamily::from(buffer.address_family()) {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        AddressFamily::Inet6 => IpAddr::from([0; 16]),
        _ => return Ok(None),
    };
    let (mut gateway, mut index) = (None, None);
    for attribute in buffer.attributes() {
        let attribute = attribute?;
        match attribute.kind() {
            RTA_DST => destination = parse_ip(attribute.value()).unwrap_or(destination),
            RTA_GATEWAY => gateway = parse_ip(attribute.value()),
            RTA_OIF => index = Some(parse_u32(attribute.value())?),
            _ => {}
        }
    }
    let destination = IpNet::new(destination, buffer.destination_prefix_length()).ok();
    Ok(destination.map(|destination| Route { destination, gateway, index }))
}

fn parse_ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}
