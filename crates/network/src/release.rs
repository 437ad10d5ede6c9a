//! Gives addresses back in a guest's name (DHCPRELEASE, RFC 2131), because one that is deleted
//! does not: until its lease ran out, its name would lead to an address that nobody has.

use std::net::{Ipv4Addr, UdpSocket};

/// A lease as dnsmasq knows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: [u8; 6],
    /// What the guest identified itself by, if by more than its hardware address.
    pub(crate) client_id: Option<Vec<u8>>,
}

const SERVER_PORT: u16 = 67;
/// Where the options of a message begin, after the BOOTP fields.
const BOOTP_BYTES: usize = 236;
const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
const DHCP_RELEASE: u8 = 7;

/// Tells the server. No answer is defined, so only a failure to send shows.
pub(crate) fn send(server: Ipv4Addr, held: &Held) -> std::io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.send_to(&message(server, held), (server, SERVER_PORT)).map(drop)
}

fn message(server: Ipv4Addr, held: &Held) -> Vec<u8> {
    let mut message = vec![0; BOOTP_BYTES];
    // BOOTREQUEST, Ethernet, addresses of six bytes.
    message[..3].copy_from_slice(&[1, 1, 6]);
    message[4..8].copy_from_slice(&held.address.octets());
    message[12..16].copy_from_slice(&held.address.octets());
    message[28..34].copy_from_slice(&held.mac);
    message.extend(MAGIC_COOKIE);
    message.extend([53, 1, DHCP_RELEASE]);
    message.extend([54, 4]);
    message.extend(server.octets());
    if let Some((id, length)) = held.client_id.as_ref().and_then(|id| Some((id, u8::try_from(id.len()).ok()?))) {
        message.extend([61, length]);
        message.extend(id);
    }
    message.push(255);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_they_must() {
        let held = Held { address: [10, 0, 0, 9].into(), mac: [2, 0, 0, 0, 0, 7], client_id: Some(vec![1, 9]) };
        let message = message([10, 0, 0, 1].into(), &held);
        assert_eq!((&message[..3], &message[12..16], &message[28..34]), (&[1, 1, 6][..], &[10, 0, 0, 9][..], &[2, 0, 0, 0, 0, 7][..]));
        assert_eq!(message[236..], [99, 130, 83, 99, 53, 1, 7, 54, 4, 10, 0, 0, 1, 61, 2, 1, 9, 255]);
    }
}
