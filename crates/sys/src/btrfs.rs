//! Subvolumes and quota groups of btrfs, by ioctl(2) as in linux/btrfs.h.
//!
//! Nested subvolumes are found and destroyed by their numbers. A path inside a tree that a guest
//! controls is only used without following links, and what it led to is checked by number.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Opcode, opcode};

use crate::error::{Context, Errno, Error, Result};
use crate::tree;

const MAGIC: u8 = 0x94;
const SUBVOL_READ_ONLY: u64 = 1 << 1;
const SUBVOL_BY_ID: u64 = 1 << 4;
/// Every subvolume's root directory has this inode number.
const ROOT_INODE: u64 = 256;
const ROOT_TREE: u64 = 1;
const QUOTA_TREE: u64 = 8;
const ROOT_REF_KEY: u32 = 156;
const QGROUP_INFO_KEY: u32 = 242;
const QGROUP_LIMIT_KEY: u32 = 244;
const LIMIT_MAX_REFERENCED: u64 = 1;
const QUOTA_ENABLE: u64 = 1;
/// Since Linux 6.7.
const QUOTA_ENABLE_SIMPLE: u64 = 4;

/// Deeper nesting of subvolumes than this is refused.
const MAX_DEPTH: usize = 32;

#[repr(C)]
struct VolArgsV2 {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
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
struct QgroupLimitArgs {
    qgroup_id: u64,
    flags: u64,
    max_referenced: u64,
    max_exclusive: u64,
    reserved: [u64; 2],
}

const SNAP_CREATE_V2: Opcode = opcode::write::<VolArgsV2>(MAGIC, 23);
const SUBVOL_CREATE_V2: Opcode = opcode::write::<VolArgsV2>(MAGIC, 24);
const SNAP_DESTROY_V2: Opcode = opcode::write::<VolArgsV2>(MAGIC, 63);
const SUBVOL_GETFLAGS: Opcode = opcode::read::<u64>(MAGIC, 25);
const SUBVOL_SETFLAGS: Opcode = opcode::write::<u64>(MAGIC, 26);
const TREE_SEARCH: Opcode = opcode::read_write::<SearchArgs>(MAGIC, 17);
const INO_LOOKUP: Opcode = opcode::read_write::<InoLookupArgs>(MAGIC, 18);
const QUOTA_CTL: Opcode = opcode::read_write::<[u64; 2]>(MAGIC, 40);
const QGROUP_CREATE: Opcode = opcode::write::<[u64; 2]>(MAGIC, 42);
const QGROUP_LIMIT: Opcode = opcode::read::<QgroupLimitArgs>(MAGIC, 43);
const QUOTA_RESCAN_WAIT: Opcode = opcode::none(MAGIC, 46);

/// A subvolume inside another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nested {
    /// Its number.
    pub id: u64,
    /// Where it is, relative to the root of the one that holds it.
    pub path: PathBuf,
}

/// What a subvolume takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// All that it refers to.
    pub referenced_bytes: u64,
    /// What no other subvolume refers to.
    pub exclusive_bytes: u64,
}

/// Opens a directory for the functions of this module; a link is refused.
pub fn open(path: impl AsRef<Path>) -> Result<File> {
    let path = path.as_ref();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map(File::from).on_path("open directory", path)
}

/// Whether `path` is the root directory of a subvolume.
pub fn is_subvolume(path: impl AsRef<Path>) -> Result<bool> {
    let file = open(&path)?;
    Ok(rustix::fs::fstat(&file).on_path("stat", path.as_ref())?.st_ino == ROOT_INODE && is_btrfs(&file))
}

/// Makes an empty subvolume `name` in a directory.
pub fn create(parent: impl AsFd, name: &OsStr) -> Result<()> {
    let mut args = vol_args(name)?;
    call(parent, SUBVOL_CREATE_V2, &mut args).context("create subvolume", name.display())
}

/// Makes a snapshot of the subvolume that `source` is the root of, without what is nested in it.
pub fn snapshot(source: impl AsFd, parent: impl AsFd, name: &OsStr, read_only: bool) -> Result<()> {
    let mut args = vol_args(name)?;
    args.fd = source.as_fd().as_raw_fd().into();
    args.flags = if read_only { SUBVOL_READ_ONLY } else { 0 };
    call(parent, SNAP_CREATE_V2, &mut args).context("create snapshot", name.display())
}

/// Destroys the subvolume that `root` is the root of, and all that are nested in it. `pool` is
/// any other descriptor on the file system. Their quota groups go too, when the kernel lets them.
pub fn destroy(root: File, pool: impl AsFd) -> Result<()> {
    destroy_nested(root, pool.as_fd(), 0)
}

fn destroy_nested(root: File, pool: BorrowedFd<'_>, depth: usize) -> Result<()> {
    let id = subvolume_id(&root)?;
    if depth == MAX_DEPTH {
        return Err(Error::new("destroy subvolume (nested too deep)", id, Errno::LOOP));
    }
    let inside = nested(&root)?;
    if !inside.is_empty() && is_read_only(&root)? {
        // Nothing can be taken out of a read-only one.
        set_read_only(&root, false)?;
    }
    for child in inside {
        match open_nested(&root, &child)? {
            Some(child) => destroy_nested(child, pool, depth + 1)?,
            // It is not where it was; its number still is good.
            None => destroy_by_id(pool, child.id)?,
        }
    }
    // The root must not be held open: it is only a number from here on.
    drop(root);
    destroy_by_id(pool, id)
}

fn destroy_by_id(pool: BorrowedFd<'_>, id: u64) -> Result<()> {
    let mut args = VolArgsV2 { fd: 0, transid: 0, flags: SUBVOL_BY_ID, unused: [0; 4], name: [0; 4040] };
    args.name[..8].copy_from_slice(&id.to_ne_bytes());
    call(pool, SNAP_DESTROY_V2, &mut args).context("destroy subvolume", id)?;
    // Newer kernels remove the group themselves once the subvolume is cleaned up and refuse
    // until then; without quotas there is none.
    let _ = call(pool, QGROUP_CREATE, &mut [0u64, id]);
    Ok(())
}

/// Opens a nested subvolume; `None` if its path does not lead to it any more.
pub fn open_nested(parent: impl AsFd, child: &Nested) -> Result<Option<File>> {
    match tree::open_dir(parent, &child.path) {
        Err(error) if tree::is_vanished(&error) => Ok(None),
        Err(error) => Err(error),
        Ok(dir) => Ok((subvolume_id(&dir)? == child.id).then(|| File::from(dir))),
    }
}

/// Whether writes are refused.
pub fn is_read_only(subvolume: impl AsFd) -> Result<bool> {
    let mut flags = 0u64;
    call(subvolume, SUBVOL_GETFLAGS, &mut flags).context("read flags of", "subvolume")?;
    Ok(flags & SUBVOL_READ_ONLY != 0)
}

/// Makes a subvolume read-only or writable.
pub fn set_read_only(subvolume: impl AsFd, read_only: bool) -> Result<()> {
    let mut flags = if read_only { SUBVOL_READ_ONLY } else { 0 };
    call(subvolume, SUBVOL_SETFLAGS, &mut flags).context("set flags of", "subvolume")
}

/// The number of the subvolume that holds an open file or directory.
pub fn subvolume_id(fd: impl AsFd) -> Result<u64> {
    Ok(ino_lookup(fd, 0, ROOT_INODE).context("find the number of", "subvolume")?.tree_id)
}

/// The subvolumes directly inside another.
pub fn nested(subvolume: impl AsFd) -> Result<Vec<Nested>> {
    let id = subvolume_id(&subvolume)?;
    children(subvolume.as_fd(), id)?
        .into_iter()
        .map(|child| {
            let args = ino_lookup(&subvolume, id, child.dir).context("find the directory of subvolume", child.id)?;
            let dir = CStr::from_bytes_until_nul(&args.name)
                .map_err(|_| Error::new("find the directory of subvolume", child.id, Errno::NAMETOOLONG))?;
            let mut path = PathBuf::from(OsStr::from_bytes(dir.to_bytes()));
            path.push(OsStr::from_bytes(&child.name));
            Ok(Nested { id: child.id, path })
        })
        .collect()
}

/// Turns simple quotas on: each extent counts for the subvolume that wrote it, which costs next
/// to nothing. False where the kernel does not have them. Quotas that are on stay as they are.
pub fn enable_simple_quota(fs: impl AsFd) -> Result<bool> {
    match call(&fs, QUOTA_CTL, &mut [QUOTA_ENABLE_SIMPLE, 0]) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(false),
        Err(errno) => Err(errno).context("enable simple quotas of", "btrfs"),
    }
}

/// Turns full quotas on and waits until what is there has been counted. Each extent counts for
/// every subvolume that refers to it; with many snapshots of much data this makes every further
/// one slow, to seconds at a hundred. Quotas that are on stay as they are.
pub fn enable_quota(fs: impl AsFd) -> Result<()> {
    call(&fs, QUOTA_CTL, &mut [QUOTA_ENABLE, 0]).context("enable quotas of", "btrfs")?;
    match call(&fs, QUOTA_RESCAN_WAIT, &mut 0u64) {
        Ok(()) | Err(Errno::NOTCONN) => Ok(()),
        Err(errno) => Err(errno).context("wait for the quota scan of", "btrfs"),
    }
}

/// Limits what a subvolume may refer to; `None` lifts the limit. Quotas must be on.
pub fn set_limit(subvolume: impl AsFd, bytes: Option<u64>) -> Result<()> {
    // Group 0 means the subvolume's own; the largest number clears a limit.
    let mut args = QgroupLimitArgs {
        qgroup_id: 0,
        flags: LIMIT_MAX_REFERENCED,
        max_referenced: bytes.unwrap_or(u64::MAX),
        max_exclusive: 0,
        reserved: [0; 2],
    };
    call(subvolume, QGROUP_LIMIT, &mut args).context("set the quota of", "subvolume")
}

/// The limit on what a subvolume may refer to, if it has one.
pub fn limit(subvolume: impl AsFd) -> Result<Option<u64>> {
    let item = qgroup_item(subvolume, QGROUP_LIMIT_KEY)?;
    let Some((flags, max)) = item.as_deref().and_then(|item| Some((u64_at(item, 0)?, u64_at(item, 8)?))) else { return Ok(None) };
    Ok((flags & LIMIT_MAX_REFERENCED != 0).then_some(max))
}

/// What a subvolume takes as of the last transaction; `None` where quotas are off.
pub fn usage(subvolume: impl AsFd) -> Result<Option<Usage>> {
    let item = qgroup_item(subvolume, QGROUP_INFO_KEY)?;
    Ok(item.as_deref().and_then(|item| Some(Usage { referenced_bytes: u64_at(item, 8)?, exclusive_bytes: u64_at(item, 24)? })))
}

fn qgroup_item(subvolume: impl AsFd, kind: u32) -> Result<Option<Vec<u8>>> {
    let id = subvolume_id(&subvolume)?;
    let mut found = None;
    match search(subvolume, QUOTA_TREE, (0, kind), (id, id), |_, item| found = Some(item.to_vec())) {
        // No quota tree.
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
        Ok(()) => Ok(found),
    }
}

struct Child {
    id: u64,
    /// The inode of the directory that holds it.
    dir: u64,
    name: Vec<u8>,
}

fn children(fs: impl AsFd, id: u64) -> Result<Vec<Child>> {
    let mut found = Vec::new();
    search(fs, ROOT_TREE, (id, ROOT_REF_KEY), (0, u64::MAX), |child, item| {
        // struct btrfs_root_ref: dirid, sequence, name_len, then the name.
        let name_length = item.get(16..18).map(|bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
        let parts = name_length.and_then(|length| Some((u64_at(item, 0)?, item.get(18..18 + length)?)));
        if let Some((dir, name)) = parts {
            found.push(Child { id: child, dir, name: name.to_vec() });
        }
    })?;
    Ok(found)
}

/// Calls `visit` with the offset and content of each item of one object and type.
fn search(fs: impl AsFd, tree: u64, (object, kind): (u64, u32), offsets: (u64, u64), mut visit: impl FnMut(u64, &[u8])) -> Result<()> {
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

fn ino_lookup(fd: impl AsFd, tree_id: u64, objectid: u64) -> std::result::Result<Box<InoLookupArgs>, Errno> {
    let mut args = Box::new(InoLookupArgs { tree_id, objectid, name: [0; 4080] });
    call(fd, INO_LOOKUP, &mut *args).map(|()| args)
}

fn vol_args(name: &OsStr) -> Result<VolArgsV2> {
    let mut args = VolArgsV2 { fd: 0, transid: 0, flags: 0, unused: [0; 4], name: [0; 4040] };
    let bytes = name.as_bytes();
    // The kernel refuses a slash; the NUL at the end must stay.
    if bytes.len() > 255 || bytes.contains(&0) {
        return Err(Error::new("name subvolume", name.display(), Errno::NAMETOOLONG));
    }
    args.name[..bytes.len()].copy_from_slice(bytes);
    Ok(args)
}

fn is_btrfs(fd: impl AsFd) -> bool {
    #[allow(clippy::unnecessary_cast, reason = "the width of f_type differs between architectures")]
    rustix::fs::fstatfs(fd).is_ok_and(|stat| stat.f_type as i64 == crate::fs::BTRFS_MAGIC)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
}

/// One ioctl with a pointer argument. Private: every caller pairs an opcode with its type.
fn call<T>(fd: impl AsFd, opcode: Opcode, args: &mut T) -> std::result::Result<(), Errno> {
    // SAFETY: each opcode above is used with the very structure that linux/btrfs.h gives it (or
    // ignores its argument), and `args` is valid for reads and writes through the call.
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
        assert_eq!(size_of::<VolArgsV2>(), 4096);
        assert_eq!(size_of::<SearchArgs>(), 4096);
        assert_eq!(size_of::<InoLookupArgs>(), 4096);
        assert_eq!(size_of::<QgroupLimitArgs>(), 48);
    }
}
