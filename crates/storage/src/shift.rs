//! Rewriting the ids of a whole tree, for file systems that cannot be mounted with mapped ids.
//!
//! An id outside the first map is left as it is. An interrupted shift leaves a tree with mixed
//! ids. It can be gone on with where one of the maps is empty, that is, where guest ids become host
//! ids or the other way round: the ids of the other map tell what has been done. What may then be
//! missing is the capabilities or the set-id bits of an object that was being changed at that
//! very moment.

use std::ffi::CStr;

use sys::Root;
use sys::idmap::{IdMap, Kind};
use sys::tree::{FileType, Object};
use sys::xattr::{self, ACL_ACCESS, ACL_DEFAULT, CAPABILITY};

use crate::error::Result;

/// Tags of ACL entries that carry an id, see linux/posix_acl.h.
const ACL_USER: u16 = 0x02;
const ACL_GROUP: u16 = 0x08;
/// The version of `security.capability` without and with the id of a namespace's root, see
/// linux/capability.h. The low byte holds flags.
const CAPABILITY_V2: u32 = 0x0200_0000;
const CAPABILITY_V3: u32 = 0x0300_0000;
const CAPABILITY_V2_BYTES: usize = 20;
const CAPABILITY_V3_BYTES: usize = 24;

/// What a tree is at the beginning of a shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShiftState {
    /// Everything has ids of the first map.
    Fresh,
    /// A shift with the same maps was interrupted.
    Interrupted,
}

/// Gives everything in a tree that belongs to a guest id of map `from` to the same guest id of
/// map `to`. Set-id bits stay, ids in ACLs and file capabilities are rewritten, no link is
/// followed, and a file with several names is changed once. When it returns, all is on the disk.
pub fn shift_tree(root: &Root, from: &IdMap, to: &IdMap, state: ShiftState) -> Result<()> {
    if from == to {
        return Ok(());
    }
    let shift = Shift { from, to, state };
    sys::tree::for_each(root, |object, buffer| shift.object(object, buffer))?;
    Ok(sys::copy::sync_fs_of(root.open_dir(".")?)?)
}

struct Shift<'a> {
    from: &'a IdMap,
    to: &'a IdMap,
    state: ShiftState,
}

impl Shift<'_> {
    fn id(&self, kind: Kind, id: u32) -> u32 {
        if self.state == ShiftState::Interrupted && !self.to.is_empty() && self.to.to_guest(kind, id).is_some() {
            return id;
        }
        self.from.to_guest(kind, id).and_then(|guest| self.to.to_host(kind, guest)).unwrap_or(id)
    }

    fn object(&self, object: &Object<'_>, buffer: &mut xattr::Buffer) -> sys::Result<()> {
        // Read before the change of owner, which removes them.
        let attributes = self.attributes(object, buffer)?;
        let (uid, gid) = object.owner();
        let owner = (self.id(Kind::Uid, uid), self.id(Kind::Gid, gid));
        // A change of owner takes set-id bits and capabilities away; better none than for nothing.
        if owner != (uid, gid) {
            object.set_owner(owner.0, owner.1)?;
        }
        for (name, value) in attributes {
            xattr::set(object, name, &value)?;
        }
        if object.kind() == FileType::RegularFile && object.permissions() & 0o6000 != 0 {
            object.set_permissions(object.permissions())?;
        }
        Ok(())
    }

    /// The attributes that hold ids, rewritten.
    fn attributes(&self, object: &Object<'_>, buffer: &mut xattr::Buffer) -> sys::Result<Vec<(&'static CStr, Vec<u8>)>> {
        let mut found = Vec::new();
        if object.kind() == FileType::Symlink {
            return Ok(found);
        }
        let names = xattr::list(object, buffer)?;
        for name in [ACL_ACCESS, ACL_DEFAULT, CAPABILITY].into_iter().filter(|name| names.iter().any(|present| present.as_c_str() == *name))
        {
            let Some(value) = xattr::get(object, name, buffer)? else { continue };
            let value = if name == CAPABILITY { self.capability(value) } else { self.acl(value) };
            found.push((name, value));
        }
        Ok(found)
    }

    /// A version word, then entries of tag, permissions and id.
    fn acl(&self, value: &[u8]) -> Vec<u8> {
        let mut value = value.to_owned();
        for entry in value.get_mut(4..).unwrap_or_default().chunks_exact_mut(8) {
            let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            let kind = match u16::from_le_bytes([entry[0], entry[1]]) {
                ACL_USER => Kind::Uid,
                ACL_GROUP => Kind::Gid,
                _ => continue,
            };
            entry[4..].copy_from_slice(&self.id(kind, id).to_le_bytes());
        }
        value
    }

    /// Version 3 carries the host id of the namespace's root; version 2 means the host's own.
    fn capability(&self, value: &[u8]) -> Vec<u8> {
        let word = |at: usize| value.get(at..at + 4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        let Some(magic) = word(0).filter(|_| value.len() >= CAPABILITY_V2_BYTES) else { return value.to_owned() };
        let root = self.id(Kind::Uid, word(CAPABILITY_V2_BYTES).unwrap_or(0));
        let version = if root == 0 { CAPABILITY_V2 } else { CAPABILITY_V3 };
        let mut shifted = (version | (magic & 0xff)).to_le_bytes().to_vec();
        shifted.extend_from_slice(&value[4..CAPABILITY_V2_BYTES]);
        if root != 0 {
            shifted.extend_from_slice(&root.to_le_bytes());
            debug_assert_eq!(shifted.len(), CAPABILITY_V3_BYTES);
        }
        shifted
    }
}
