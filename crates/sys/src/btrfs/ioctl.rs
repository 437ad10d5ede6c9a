//! The structures, numbers and calls of linux/btrfs.h and linux/btrfs_tree.h.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::ioctl::{Opcode, opcode};

use crate::error::{Context, Errno, Error, Result};

const MAGIC: u8 = 0x94;
pub(super) const SUBVOL_READ_ONLY: u64 = 1 << 1;
pub(super) const SUBVOL_INHERIT: u64 = 1 << 2;
pub(super) const SUBVOL_BY_ID: u64 = 1 << 4;
pub(super) const ROOT_TREE: u64 = 1;
pub(super) const QUOTA_TREE: u64 = 8;
pub(super) const INODE_ITEM_KEY: u32 = 1;
pub(super) const ROOT_REF_KEY: u32 = 156;
pub(super) const QGROUP_STATUS_KEY: u32 = 240;
pub(super) const QGROUP_INFO_KEY: u32 = 242;
pub(super) const QGROUP_LIMIT_KEY: u32 = 244;
pub(super) const QGROUP_RELATION_KEY: u32 = 246;
pub(super) const LIMIT_MAX_REFERENCED: u64 = 1;
pub(super) const QUOTA_ENABLE: u64 = 1;
/// Since Linux 6.7.
pub(super) const QUOTA_ENABLE_SIMPLE: u64 = 4;
pub(super) const QUOTA_STATUS_ON: u64 = 1;
pub(super) const QUOTA_STATUS_SIMPLE: u64 = 1 << 3;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
pub(super) struct VolArgs {
    pub(super) fd: i64,
    name: [u8; 4088],
}

#[repr(C)]
pub(super) struct VolArgsV2 {
    pub(super) fd: i64,
    transid: u64,
    pub(super) flags: u64,
    /// Size and address of a [`Inherit`], with [`SUBVOL_INHERIT`].
    pub(super) inherit: [u64; 2],
    unused: [u64; 2],
    name: [u8; 4040],
}

/// `struct btrfs_qgroup_inherit` without groups.
#[repr(C)]
#[derive(Default)]
pub(super) struct Inherit {
    flags: u64,
    counts: [u64; 3],
    limits: [u64; 5],
}

#[repr(C)]
struct SearchKey {
    tree_id: u64,
    min_objectid: u64,
    max_objectid: u64,
    min_offset: u64,
    max_offset: u64,
    min_transid: u64,
    max_transid: u64,
    min_type: u32,
    max_type: u32,
    nr_items: u32,
    unused: u32,
    unused1: [u64; 4],
}

#[repr(C)]
struct SearchArgs {
    key: SearchKey,
    buf: [u8; 4096 - size_of::<SearchKey>()],
}

#[repr(C)]
struct InoLookupArgs {
    tree_id: u64,
    objectid: u64,
    name: [u8; 4080],
}

#[repr(C)]
pub(super) struct QgroupLimitArgs {
    pub(super) qgroup_id: u64,
    pub(super) flags: u64,
    pub(super) max_referenced: u64,
    pub(super) max_exclusive: u64,
    pub(super) reserved: [u64; 2],
}

/// Whether to assign, the member, the group.
pub(super) type QgroupAssignArgs = [u64; 3];

pub(super) const SUBVOL_CREATE: Opcode = opcode::write::<VolArgs>(MAGIC, 14);
pub(super) const SNAP_DESTROY: Opcode = opcode::write::<VolArgs>(MAGIC, 15);
pub(super) const SNAP_CREATE_V2: Opcode = opcode::write::<VolArgsV2>(MAGIC, 23);
pub(super) const SUBVOL_CREATE_V2: Opcode = opcode::write::<VolArgsV2>(MAGIC, 24);
pub(super) const SNAP_DESTROY_V2: Opcode = opcode::write::<VolArgsV2>(MAGIC, 63);
pub(super) const SUBVOL_GETFLAGS: Opcode = opcode::read::<u64>(MAGIC, 25);
pub(super) const SUBVOL_SETFLAGS: Opcode = opcode::write::<u64>(MAGIC, 26);
const TREE_SEARCH: Opcode = opcode::read_write::<SearchArgs>(MAGIC, 17);
const INO_LOOKUP: Opcode = opcode::read_write::<InoLookupArgs>(MAGIC, 18);
pub(super) const QUOTA_CTL: Opcode = opcode::read_write::<[u64; 2]>(MAGIC, 40);
pub(super) const QGROUP_ASSIGN: Opcode = opcode::write::<QgroupAssignArgs>(MAGIC, 41);
pub(super) const QGROUP_CREATE: Opcode = opcode::write::<[u64; 2]>(MAGIC, 42);
pub(super) const QGROUP_LIMIT: Opcode = opcode::read::<QgroupLimitArgs>(MAGIC, 43);
pub(super) const QUOTA_RESCAN_WAIT: Opcode = opcode::none(MAGIC, 46);

impl VolArgs {
    pub(super) fn named(name: &OsStr) -> Result<Self> {
        Ok(Self { fd: 0, name: padded(name)? })
    }
}

impl VolArgsV2 {
    pub(super) fn named(name: &OsStr) -> Result<Self> {
        Ok(Self { name: padded(name)?, ..Self::unnamed() })
    }

    pub(super) fn of_id(id: u64) -> Self {
        let mut args = Self { flags: SUBVOL_BY_ID, ..Self::unnamed() };
        args.name[..8].copy_from_slice(&id.to_ne_bytes());
        args
    }

    fn unnamed() -> Self {
        Self { fd: 0, transid: 0, flags: 0, inherit: [0; 2], unused: [0; 2], name: [0; 4040] }
    }
}

/// The kernel refuses a slash; the NUL at the end must stay.
fn padded<const SIZE: usize>(name: &OsStr) -> Result<[u8; SIZE]> {
    let (mut padded, bytes) = ([0; SIZE], name.as_bytes());
    if bytes.len() > 255 || bytes.contains(&0) {
        return Err(Error::new("name subvolume", name.display(), Errno::NAMETOOLONG));
    }
    padded[..bytes.len()].copy_from_slice(bytes);
    Ok(padded)
}

/// Calls `visit` with the offset and content of each item of one object and type.
pub(super) fn search(
    fs: impl AsFd,
    tree: u64,
    (object, kind): (u64, u32),
    offsets: (u64, u64),
    mut visit: impl FnMut(u64, &[u8]),
) -> Result<()> {
    let mut min_offset = offsets.0;
    loop {
        let key = SearchKey {
            tree_id: tree,
            min_objectid: object,
            max_objectid: object,
            min_offset,
            max_offset: offsets.1,
            min_transid: 0,
            max_transid: u64::MAX,
            min_type: kind,
            max_type: kind,
            nr_items: u32::MAX,
            unused: 0,
            unused1: [0; 4],
        };
        let mut args = Box::new(SearchArgs { key, buf: [0; 4096 - size_of::<SearchKey>()] });
        call(&fs, TREE_SEARCH, &mut *args).context("search btrfs tree", tree)?;
        let mut rest = &args.buf[..];
        let mut last = None;
        for _ in 0..args.key.nr_items {
            // struct btrfs_ioctl_search_header: transid, objectid, offset, type, len.
            let (Some(offset), Some(length)) = (u64_at(rest, 16), rest.get(28..32)) else { break };
            let length = u32::from_ne_bytes([length[0], length[1], length[2], length[3]]) as usize;
            let Some(item) = rest.get(32..32 + length) else { break };
            visit(offset, item);
            last = Some(offset);
            rest = &rest[32 + length..];
        }
        match last {
            Some(last) if last < offsets.1 => min_offset = last + 1,
            _ => return Ok(()),
        }
    }
}

/// The number of the subvolume that holds an open file or directory.
pub(super) fn tree_of(fd: impl AsFd, root_inode: u64) -> std::result::Result<u64, Errno> {
    let mut args = Box::new(InoLookupArgs { tree_id: 0, objectid: root_inode, name: [0; 4080] });
    call(fd, INO_LOOKUP, &mut *args).map(|()| args.tree_id)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
}

/// One ioctl with a pointer argument. Private: every caller pairs an opcode with its type.
pub(super) fn call<T>(fd: impl AsFd, opcode: Opcode, args: &mut T) -> std::result::Result<(), Errno> {
    // SAFETY: each opcode above is used with the very structure that linux/btrfs.h gives it (or
    // ignores its argument), and `args`, with what it points to, is valid for reads and writes through the call.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), opcode as libc::Ioctl, std::ptr::from_mut(args)) };
    if result < 0 {
        let errno = std::io::Error::last_os_error();
        return Err(Errno::from_raw_os_error(errno.raw_os_error().unwrap_or(libc::EIO)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel checks no size but those in the opcode: they must be what the header has.
    #[test]
    fn structures_have_the_kernel_s_sizes() {
        assert_eq!(size_of::<VolArgs>(), 4096);
        assert_eq!(size_of::<VolArgsV2>(), 4096);
        assert_eq!(size_of::<Inherit>(), 72);
        assert_eq!(size_of::<SearchArgs>(), 4096);
        assert_eq!(size_of::<InoLookupArgs>(), 4096);
        assert_eq!(size_of::<QgroupLimitArgs>(), 48);
        assert_eq!(size_of::<QgroupAssignArgs>(), 24);
    }
}
