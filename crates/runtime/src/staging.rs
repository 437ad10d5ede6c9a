//! Mount flags that a guest cannot take back.
//!
//! Whoever owns a mount namespace may change the flags of its mounts, so `ro` on a disk would be a
//! mere proposal to a guest. The kernel locks the flags when a mount is copied into a mount namespace
//! of another, less privileged user namespace (mount_namespaces(7), "Restrictions"). Therefore trees
//! are first attached in a throw-away mount namespace of the host's, the *stage*; whoever sets up the
//! container goes from there into the container's user namespace, unshares its mount namespace, and
//! takes copies with locked flags.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use sys::Result;
use sys::mount::{MountAttrFlags, MountFlags};
use sys::process::namespaces;

use crate::plan::Tree;
use crate::spec::Propagation;

/// Where trees stand on the stage. Every host has the directory, and on the stage its content is
/// not needed.
const PLACE: &str = "/dev";

/// Opens a tree of the host with the flags that it is to have.
pub(crate) fn open(tree: &Tree) -> Result<OwnedFd> {
    let label = tree.source.display().to_string();
    let fd = match &tree.file_system {
        Some(kind) => mount_device(&tree.source, kind, &tree.options)?,
        None => sys::mount::clone_tree(&tree.source, tree.recursive)?,
    };
    match tree.propagation {
        Propagation::Private => sys::mount::set_private(&fd, &label)?,
        Propagation::Slave => sys::mount::set_slave(&fd, &label)?,
        Propagation::Shared => sys::mount::set_shared(&fd, &label)?,
    }
    let mut flags = MountAttrFlags::from_bits_retain(tree.attributes);
    if tree.read_only {
        flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    // A device node that is itself shown as a disk is meant to be used.
    if tree.no_devices && !is_device(&fd) {
        flags |= MountAttrFlags::MOUNT_ATTR_NODEV;
    }
    if !flags.is_empty() {
        sys::mount::add_flags(&fd, flags, tree.recursive, &label)?;
    }
    Ok(fd)
}

/// A mount of the file system on a block device that is nowhere on the host.
fn mount_device(device: &Path, kind: &str, options: &[(String, Option<String>)]) -> Result<OwnedFd> {
    let source = device.to_string_lossy();
    let mut all = vec![("source", Some(&*source))];
    all.extend(options.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
    match sys::mount::new_fs(kind, &all, attributes) {
        // A device that cannot be written to.
        Err(error) if matches!(error.errno, sys::Errno::ROFS | sys::Errno::ACCESS) => {
            all.push(("ro", None));
            sys::mount::new_fs(kind, &all, attributes)
        }
        other => other,
    }
}

/// Leaves the mount namespace of this process, which has one thread, for a stage.
pub(crate) fn enter() -> Result<()> {
    sys::process::unshare(namespaces::MOUNT)?;
    sys::mount::make_all_private()?;
    sys::mount::mount_fs("tmpfs", PLACE, "tmpfs", MountFlags::empty(), "mode=755,size=256k")
}

/// Attaches a tree on the stage, for [`take`].
pub(crate) fn put(index: usize, tree: &OwnedFd) -> Result<()> {
    let place = place(index);
    if file_type(tree).is_some_and(FileType::is_dir) {
        sys::fs::create_dir(&place, 0o755)?;
    } else {
        sys::fs::create(&place, 0o644)?;
    }
    sys::mount::attach(tree, &place)
}

/// After the move from the stage to a less privileged mount namespace: the locked copy of a tree.
pub(crate) fn take(index: usize) -> Result<OwnedFd> {
    // With all below it: the kernel lets nobody see what a locked mount covers.
    sys::mount::clone_tree(place(index), true)
}

fn place(index: usize) -> PathBuf {
    Path::new(PLACE).join(index.to_string())
}

fn file_type(fd: &OwnedFd) -> Option<FileType> {
    rustix::fs::fstat(fd).ok().map(|stat| FileType::from_raw_mode(stat.st_mode))
}

fn is_device(fd: &OwnedFd) -> bool {
    file_type(fd).is_some_and(|kind| kind.is_block_device() || kind.is_char_device())
}
