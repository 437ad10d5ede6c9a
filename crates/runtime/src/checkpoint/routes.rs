//! Saved routes that name a next hop by its number.
//!
//! systemd-networkd makes objects of next hops; the kernel then lists a route with the object's number
//! beside the gateway that it stands for. The objects are not saved, and a route with both is refused at
//! the restore; so the number is left out of what is saved: the gateway says the same.

use std::path::Path;

use crate::error::Result;

/// First word of what `ip route save` writes.
const MAGIC: u32 = 0x4531_1224;
/// Sizes of `struct nlmsghdr` and `struct rtmsg`.
const HEADER: usize = 16;
const ROUTE: usize = 12;
const RTM_NEWROUTE: u16 = 24;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;

/// Rewrites the route images of a directory where that is needed.
pub(crate) fn name_gateways(images: &Path) -> Result<()> {
    for name in sys::fs::list_dir(images)?.iter().filter(|name| name.starts_with("route") && name.ends_with(".img")) {
        let path = images.join(name);
        if let Some(changed) = without_next_hops(&sys::fs::read(&path)?) {
            sys::fs::write_atomic(&path, &changed, 0o644)?;
        }
    }
    Ok(())
}

/// The same messages without numbers of next hops; `None` if there are none, or the file is something else.
fn without_next_hops(file: &[u8]) -> Option<Vec<u8>> {
    let word = |at: usize| Some(u32::from_ne_bytes(file.get(at..at + 4)?.try_into().ok()?));
    if word(0)? != MAGIC {
        return None;
    }
    let (mut out, mut at, mut is_changed) = (file[..4].to_vec(), 4, false);
    while at < file.len() {
        let length = usize::try_from(word(at)?).ok()?;
        let message = file.get(at..at + length).filter(|message| message.len() >= HEADER)?;
        let kept = strip(message);
        is_changed |= kept.len() != message.len();
        out.extend_from_slice(&kept);
        out.resize(aligned(out.len()), 0);
        at = aligned(at + length);
    }
    is_changed.then_some(out)
}

/// One message; unchanged unless it is a route that has both.
fn strip(message: &[u8]) -> Vec<u8> {
    let kind = u16::from_ne_bytes([message[4], message[5]]);
    let attributes = message.get(HEADER + ROUTE..).map(attributes).unwrap_or_default();
    let has = |wanted: u16| attributes.iter().any(|(kind, _)| *kind == wanted);
    if kind != RTM_NEWROUTE || !has(RTA_NH_ID) || !(has(RTA_GATEWAY) || has(RTA_VIA) || has(RTA_OIF)) {
        return message.to_vec();
    }
    let mut out = message[..HEADER + ROUTE].to_vec();
    for (_, bytes) in attributes.iter().filter(|(kind, _)| *kind != RTA_NH_ID) {
        out.extend_from_slice(bytes);
        out.resize(aligned(out.len()), 0);
    }
    let length = u32::try_from(out.len()).unwrap_or(0).to_ne_bytes();
    out[..4].copy_from_slice(&length);
    out
}

/// Type and bytes, header included, of each attribute.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let [a, b, c, d, ..] = bytes {
        let (length, kind) = (usize::from(u16::from_ne_bytes([*a, *b])), u16::from_ne_bytes([*c, *d]));
        let Some(attribute) = bytes.get(..length).filter(|attribute| attribute.len() >= 4) else { break };
        found.push((kind, attribute));
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    found
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).expect("short").to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn route(attributes: &[Vec<u8>]) -> Vec<u8> {
        let body: Vec<u8> = [vec![0; ROUTE], attributes.concat()].concat();
        let mut message = u32::try_from(HEADER + body.len()).expect("short").to_ne_bytes().to_vec();
        message.extend(RTM_NEWROUTE.to_ne_bytes());
        message.resize(HEADER, 0);
        message.extend(body);
        message
    }

    #[test]
    fn only_the_number_goes() {
        let gateway = attribute(RTA_GATEWAY, &[10, 0, 0, 1]);
        let metric = attribute(6, &[1, 0, 0, 0]);
        let number = attribute(RTA_NH_ID, &[9, 9, 9, 9]);
        let plain = route(std::slice::from_ref(&gateway));
        let file = [MAGIC.to_ne_bytes().to_vec(), plain.clone(), route(&[number, gateway.clone(), metric.clone()])].concat();
        let expected = [MAGIC.to_ne_bytes().to_vec(), plain, route(&[gateway, metric])].concat();
        assert_eq!(without_next_hops(&file), Some(expected.clone()));
        assert_eq!(without_next_hops(&expected), None);
        assert_eq!(without_next_hops(b"something else"), None);
        assert_eq!(without_next_hops(&file[..file.len() - 3]), None, "a file that is cut off is left alone");
    }
}
