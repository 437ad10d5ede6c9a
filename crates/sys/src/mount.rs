//! Mounts through the descriptor-based API of Linux 5.2 and later, and the classic calls where
//! those are simpler. See mount_setattr(2), open_tree(2), move_mount(2), fsopen(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};
pub use rustix::mount::{MountAttrFlags, MountFlags, UnmountFlags};

use crate::error::{Context, Errno, Error, Result};

const AT_EMPTY_PATH: u32 = 0x1000;
const AT_RECURSIVE: u32 = 0x8000;
/// How access times are kept: all of these bits (linux/mount.h).
const MOUNT_ATTR__ATIME: u64 = 0x70;

/// What `mount_setattr(2)` takes.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Mounts a file system by type, classic call.
pub fn mount_fs(source: &str, target: impl AsRef<Path>, fstype: &str, flags: MountFlags, options: &str) -> Result<()> {
    let target = target.as_ref();
    let options = std::ffi::CString::new(options).map_err(|_| Error::new("mount", target.display(), Errno::INVAL))?;
    rustix::mount::mount(source, target, fstype, flags, Some(options.as_c_str())).on_path("mount", target)
}

/// Unmounts, lazily, without following a final link.
pub fn unmount(target: impl AsRef<Path>) -> Result<()> {
    let target = target.as_ref();
    rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).on_path("unmount", target)
}

/// Stops mount events from crossing between this namespace and any other.
pub fn make_all_private() -> Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).context("make private", "/")
}

/// A detached copy of the mount tree at `path`.
pub fn clone_tree(path: impl AsRef<Path>, recursive: bool) -> Result<OwnedFd> {
    let path = path.as_ref();
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(rustix::fs::CWD, path, flags).on_path("open_tree", path)
}

/// A detached copy of the mount tree at an open descriptor.
pub fn clone_tree_fd(fd: impl AsFd, recursive: bool, label: &str) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(fd, "", flags).context("open_tree", label)
}

/// Makes a file system of `fstype` and a detached mount of it. An option without a value is a flag.
pub fn new_fs(fstype: &str, options: &[(&str, Option<&str>)], attributes: MountAttrFlags) -> Result<OwnedFd> {
    let context = rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen", fstype)?;
    for (key, value) in options {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(&context, *key, *value),
            None => rustix::mount::fsconfig_set_flag(&context, *key),
        }
        .context("fsconfig", format_args!("{fstype} {key}={}", value.unwrap_or_default()))?;
    }
    rustix::mount::fsconfig_create(&context).context("mount", fstype)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).context("fsmount", fstype)
}

/// Attaches a detached mount at a path.
pub fn attach(tree: impl AsFd, target: impl AsRef<Path>) -> Result<()> {
    let target = target.as_ref();
    rustix::mount::move_mount(tree, "", rustix::fs::CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).on_path("move_mount to", target)
}

/// Attaches a detached mount onto an open descriptor, so that nobody can swap the target.
pub fn attach_fd(tree: impl AsFd, target: impl AsFd, label: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", target, "", flags).on_path("move_mount to", label)
}

/// Maps the ids of a detached mount through a user namespace.
pub fn set_idmap(tree: impl AsFd, userns: impl AsFd, recursive: bool, label: &str) -> Result<()> {
    let attr = MountAttr { set: libc::MOUNT_ATTR_IDMAP, userns_fd: fd_number(userns.as_fd()), ..Default::default() };
    set_attributes(tree.as_fd(), &attr, recursive).context("mount_setattr idmap", label)
}

/// Adds flags to a mount (and, if asked, to all below it).
pub fn add_flags(tree: impl AsFd, flags: MountAttrFlags, recursive: bool, label: &str) -> Result<()> {
    // How access times are kept is one of several, and the old one must be given up for the new.
    let times =
        u64::from(flags.intersects(MountAttrFlags::MOUNT_ATTR_NOATIME | MountAttrFlags::MOUNT_ATTR_STRICTATIME)) * MOUNT_ATTR__ATIME;
    let attr = MountAttr { set: flags.bits().into(), clear: times, ..Default::default() };
    set_attributes(tree.as_fd(), &attr, recursive).context("mount_setattr", format_args!("{flags:?} on {label}"))
}

/// Stops a tree from exchanging mount events.
pub fn set_private(tree: impl AsFd, label: &str) -> Result<()> {
    let attr = MountAttr { propagation: libc::MS_PRIVATE, ..Default::default() };
    set_attributes(tree.as_fd(), &attr, true).context("mount_setattr private", label)
}

/// Lets a tree get mount events, of mounts that are shared, and give none.
pub fn set_slave(tree: impl AsFd, label: &str) -> Result<()> {
    let attr = MountAttr { propagation: libc::MS_SLAVE, ..Default::default() };
    set_attributes(tree.as_fd(), &attr, true).context("mount_setattr slave", label)
}

/// Lets a tree exchange mount events with those that it is a copy of, where they are shared.
pub fn set_shared(tree: impl AsFd, label: &str) -> Result<()> {
    let attr = MountAttr { propagation: libc::MS_SHARED, ..Default::default() };
    set_attributes(tree.as_fd(), &attr, true).context("mount_setattr shared", label)
}

/// Makes the current directory the root and drops the old one: pivot_root(2) with both
/// arguments `.`, which stacks the old root on the new one and needs no directory for it.
pub fn pivot_to_current_dir() -> Result<()> {
    rustix::process::pivot_root(".", ".").context("pivot_root", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).context("unmount", "old root")?;
    rustix::process::chdir("/").context("chdir", "/")
}

fn fd_number(fd: BorrowedFd<'_>) -> u64 {
    fd.as_raw_fd().unsigned_abs().into()
}

fn set_attributes(tree: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> std::result::Result<(), Errno> {
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a valid empty C string and `attr` a valid struct of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            std::mem::size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

pub(crate) fn last_errno() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
