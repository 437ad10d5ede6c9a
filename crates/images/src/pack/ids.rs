//! Ids inside extended attributes: file capabilities and POSIX ACLs, from host to guest.

use sys::archive_io::Xattr;
use sys::idmap::{IdMap, Kind};

/// Revision 3 of a file capability (linux/capability.h): revision 2 with the user id of the root
/// that it is valid for.
const CAPABILITY_REVISION_3: u32 = 0x0300_0000;
const CAPABILITY_REVISION_2: u32 = 0x0200_0000;
const CAPABILITY_REVISION_MASK: u32 = 0xff00_0000;
const CAPABILITY_3_BYTES: usize = 24;
const CAPABILITY_2_BYTES: usize = 20;
/// Tags of ACL entries that carry an id (linux/posix_acl_xattr.h).
const ACL_USER: u16 = 0x02;
const ACL_GROUP: u16 = 0x08;

/// The attribute as the guest sees it, `None` if it has no meaning there.
pub(super) fn unshift_xattr(mut xattr: Xattr, ids: Option<&IdMap>) -> Option<Xattr> {
    let empty = IdMap::default();
    let map = ids.unwrap_or(&empty);
    xattr.value = match xattr.name.as_bytes() {
        b"security.capability" => capability(&xattr.value, map)?,
        b"system.posix_acl_access" | b"system.posix_acl_default" => acl(xattr.value, map)?,
        _ => xattr.value,
    };
    Some(xattr)
}

/// A capability of the guest's root becomes a plain one; one of a nested container's root keeps
/// its root, translated.
fn capability(value: &[u8], map: &IdMap) -> Option<Vec<u8>> {
    let magic = u32::from_le_bytes(value.get(..4)?.try_into().ok()?);
    if magic & CAPABILITY_REVISION_MASK != CAPABILITY_REVISION_3 {
        return Some(value.to_vec());
    }
    let root = u32::from_le_bytes(value.get(CAPABILITY_2_BYTES..CAPABILITY_3_BYTES)?.try_into().ok()?);
    let root = map.to_guest(Kind::Uid, root)?;
    let mut value = value.get(..CAPABILITY_3_BYTES)?.to_vec();
    if root == 0 {
        let magic = magic & !CAPABILITY_REVISION_MASK | CAPABILITY_REVISION_2;
        value[..4].copy_from_slice(&magic.to_le_bytes());
        value.truncate(CAPABILITY_2_BYTES);
    } else {
        value[CAPABILITY_2_BYTES..].copy_from_slice(&root.to_le_bytes());
    }
    Some(value)
}

/// Entries for ids that the guest does not have make the whole list unusable for it.
fn acl(mut value: Vec<u8>, map: &IdMap) -> Option<Vec<u8>> {
    for entry in value.get_mut(4..)?.chunks_exact_mut(8) {
        let kind = match u16::from_le_bytes([entry[0], entry[1]]) {
            ACL_USER => Kind::Uid,
            ACL_GROUP => Kind::Gid,
            _ => continue,
        };
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        entry[4..].copy_from_slice(&map.to_guest(kind, id)?.to_le_bytes());
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_of_the_guests_root_becomes_plain() {
        let map = IdMap::contiguous(100_000, 100_000, 65_536);
        let mut value = vec![1, 0, 0, 3];
        value.extend([7; 16]);
        value.extend(100_000u32.to_le_bytes());
        let plain = capability(&value, &map).expect("valid");
        assert_eq!(plain.len(), 20);
        assert_eq!(plain[..4], [1, 0, 0, 2]);
        value[20..].copy_from_slice(&100_005u32.to_le_bytes());
        assert_eq!(capability(&value, &map).expect("valid")[20..], 5u32.to_le_bytes());
        value[20..].copy_from_slice(&7u32.to_le_bytes());
        assert_eq!(capability(&value, &map), None, "not the guest's");
        assert_eq!(capability(&[1, 2], &map), None, "too short");
    }

    #[test]
    fn acl_ids_are_translated() {
        let map = IdMap::contiguous(100_000, 200_000, 65_536);
        let entry = |tag: u16, id: u32| [tag.to_le_bytes(), [6, 0]].concat().into_iter().chain(id.to_le_bytes()).collect::<Vec<u8>>();
        let list = |user, group| [vec![2, 0, 0, 0], entry(1, u32::MAX), entry(2, user), entry(8, group)].concat();
        assert_eq!(acl(list(100_033, 200_044), &map), Some(list(33, 44)));
        assert_eq!(acl(list(33, 200_044), &map), None);
        assert_eq!(acl(list(33, 44), &IdMap::default()), Some(list(33, 44)));
    }
}
