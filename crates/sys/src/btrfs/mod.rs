//! Subvolumes and quota groups of btrfs, by ioctl(2) as in linux/btrfs.h.
//!
//! Nested subvolumes are found by their numbers, and reached by the numbers of inodes: no path inside a tree that a guest
//! controls is used, which may be longer than any path can be, and lead elsewhere by the time it is.

mod ioctl;
mod quota;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{Context, Errno, Error, Result};
use crate::tree;
use ioctl::{
    INODE_ITEM_KEY, Inherit, ROOT_REF_KEY, ROOT_TREE, SNAP_CREATE_V2, SNAP_DESTROY, SNAP_DESTROY_V2, SUBVOL_CREATE, SUBVOL_CREATE_V2,
    SUBVOL_GETFLAGS, SUBVOL_INHERIT, SUBVOL_READ_ONLY, SUBVOL_SETFLAGS, VolArgs, VolArgsV2, call, search, tree_of, u64_at,
};

pub use quota::{Quotas, Usage, enable_quota, enable_simple_quota, enclose, limit, quotas, set_limit, usage};

/// Every subvolume's root directory has this inode number.
pub const ROOT_INODE: u64 = 256;
/// `FILEID_BTRFS_WITHOUT_PARENT`: a file handle of inode, subvolume and generation.
const HANDLE_TYPE: i32 = 0x4d;

/// A subvolume inside another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nested {
    /// Its number.
    pub id: u64,
    /// The subvolume that holds it.
    pub parent: u64,
    /// The inode of the directory there.
    pub dir: u64,
    /// Its name in that directory.
    pub name: OsString,
}

/// Opens a directory for the functions of this module; a link is refused.
pub fn open(path: impl AsRef<Path>) -> Result<File> {
    let path = path.as_ref();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map(File::from).on_path("open directory", path)
}

/// Opens a directory of a subvolume by its inode number; `None` if there is no such one. `fs` is any descriptor on the
/// file system, through whose mount it is opened.
pub fn open_dir(fs: impl AsFd, subvolume: u64, inode: u64) -> Result<Option<File>> {
    // struct btrfs_inode_item begins with the generation, which a handle names, too.
    let mut generation = None;
    match search(&fs, subvolume, (inode, INODE_ITEM_KEY), (0, 0), |_, item| generation = u64_at(item, 0)) {
        Err(error) if !error.is_not_found() => return Err(error),
        _ => {}
    }
    let Some(generation) = generation else { return Ok(None) };
    let mut handle = [inode.to_ne_bytes(), subvolume.to_ne_bytes()].concat();
    handle.extend_from_slice(&(generation as u32).to_ne_bytes());
    match crate::inotify::open_handle(fs, (HANDLE_TYPE, &handle), OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(error) if matches!(error.errno, Errno::STALE | Errno::NOENT | Errno::NOTDIR) => Ok(None),
        other => other.map(|dir| Some(File::from(dir))),
    }
}

/// Whether `path` is the root directory of a subvolume.
pub fn is_subvolume(path: impl AsRef<Path>) -> Result<bool> {
    let file = open(&path)?;
    Ok(rustix::fs::fstat(&file).on_path("stat", path.as_ref())?.st_ino == ROOT_INODE && is_btrfs(&file))
}

/// Makes an empty subvolume `name` in a directory. With simple quotas it is in the groups of the one around it.
pub fn create(parent: impl AsFd, name: &OsStr) -> Result<()> {
    let mut args = VolArgs::named(name)?;
    call(parent, SUBVOL_CREATE, &mut args).context("create subvolume", name.display())
}

/// Makes an empty subvolume `name` that counts for no other.
pub fn create_apart(parent: impl AsFd, name: &OsStr) -> Result<()> {
    let mut args = VolArgsV2::named(name)?;
    let mut none = Inherit::default();
    args.flags = SUBVOL_INHERIT;
    args.inherit = [size_of::<Inherit>() as u64, std::ptr::from_mut(&mut none).expose_provenance() as u64];
    call(parent, SUBVOL_CREATE_V2, &mut args).context("create subvolume", name.display())
}

/// Makes a snapshot of the subvolume that `source` is the root of, without what is nested in it.
pub fn snapshot(source: impl AsFd, parent: impl AsFd, name: &OsStr, read_only: bool) -> Result<()> {
    let mut args = VolArgsV2::named(name)?;
    args.fd = source.as_fd().as_raw_fd().into();
    args.flags = if read_only { SUBVOL_READ_ONLY } else { 0 };
    call(parent, SNAP_CREATE_V2, &mut args).context("create snapshot", name.display())
}

/// Destroys the subvolume that `root` is the root of, and all that are nested in it, however many and however deep, be they
/// read-only or full. `pool` is a descriptor of another subvolume, without a limit. Their quota groups go too, when the kernel lets them.
pub fn destroy(root: File, pool: impl AsFd) -> Result<()> {
    let id = subvolume_id(&root)?;
    let inside = descendants(&root)?;
    // The root must not be held open: it is only a number from here on.
    drop(root);
    let holders: BTreeSet<u64> = inside.iter().map(|nested| nested.parent).collect();
    quota::lift_limits(&pool, &holders);
    for holder in &holders {
        // Nothing can be taken out of a read-only one.
        if let Some(holder) = open_dir(&pool, *holder, ROOT_INODE)?
            && is_read_only(&holder)?
        {
            set_read_only(&holder, false)?;
        }
    }
    // Those further down come later in the list.
    for nested in inside.iter().rev() {
        match destroy_by_id(&pool, nested.id) {
            // The kernel makes up the whole path, which is longer than it takes; or a privileged guest has marked something
            // immutable.
            Err(error) if matches!(error.errno, Errno::NAMETOOLONG | Errno::PERM) => destroy_by_name(&pool, nested)?,
            other => other?,
        }
        quota::forget(&pool, nested.id);
    }
    destroy_by_id(&pool, id)?;
    quota::forget(&pool, id);
    Ok(())
}

fn destroy_by_id(pool: impl AsFd, id: u64) -> Result<()> {
    call(pool, SNAP_DESTROY_V2, &mut VolArgsV2::of_id(id)).context("destroy subvolume", id)
}

fn destroy_by_name(pool: impl AsFd, nested: &Nested) -> Result<()> {
    let Some(dir) = open_dir(&pool, nested.parent, nested.dir)? else {
        return Err(Error::new("destroy subvolume (moved meanwhile)", nested.id, Errno::BUSY));
    };
    tree::clear_flags(&dir);
    if let Some(root) = open_dir(&pool, nested.id, ROOT_INODE)? {
        tree::clear_flags(root);
    }
    let mut args = VolArgs::named(&nested.name)?;
    call(dir, SNAP_DESTROY, &mut args).context("destroy subvolume", nested.id)
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

/// Makes a directory writable that is the root of a read-only subvolume. A guest whose files are on somebody's btrfs may have
/// made such a one of its own.
pub(crate) fn unseal(dir: impl AsFd) -> Result<()> {
    let is_root = rustix::fs::fstat(&dir).context("stat", "directory")?.st_ino == ROOT_INODE && is_btrfs(&dir);
    if is_root && is_read_only(&dir)? { set_read_only(&dir, false) } else { Ok(()) }
}

/// The number of the subvolume that holds an open file or directory.
pub fn subvolume_id(fd: impl AsFd) -> Result<u64> {
    tree_of(fd, ROOT_INODE).context("find the number of", "subvolume")
}

/// The subvolumes directly inside another.
pub fn nested(fs: impl AsFd, id: u64) -> Result<Vec<Nested>> {
    let mut found = Vec::new();
    search(fs, ROOT_TREE, (id, ROOT_REF_KEY), (0, u64::MAX), |child, item| {
        // struct btrfs_root_ref: dirid, sequence, name_len, then the name.
        let name_length = item.get(16..18).map(|bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
        let parts = name_length.and_then(|length| Some((u64_at(item, 0)?, item.get(18..18 + length)?)));
        if let Some((dir, name)) = parts {
            found.push(Nested { id: child, parent: id, dir, name: OsString::from_vec(name.to_vec()) });
        }
    })?;
    Ok(found)
}

/// All subvolumes inside another, each after the one that holds it.
pub fn descendants(subvolume: impl AsFd) -> Result<Vec<Nested>> {
    let mut found = nested(&subvolume, subvolume_id(&subvolume)?)?;
    let mut next = 0;
    while let Some(id) = found.get(next).map(|nested| nested.id) {
        found.extend(nested(&subvolume, id)?);
        next += 1;
    }
    Ok(found)
}

fn is_btrfs(fd: impl AsFd) -> bool {
    #[allow(clippy::unnecessary_cast, reason = "the width of f_type differs between architectures")]
    rustix::fs::fstatfs(fd).is_ok_and(|stat| stat.f_type as i64 == crate::fs::BTRFS_MAGIC)
}
