//! The root file system of a stopped container, opened by the daemon itself.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use sys::Root;
use sys::mount::MountAttrFlags;

use crate::error::{Error, Result};
use crate::spec::Rootfs;

/// Opens a root file system. An overlay is mounted for it, in no namespace: nothing but the
/// returned descriptor holds it, so nothing can be left mounted.
pub fn open_rootfs(rootfs: &Rootfs) -> Result<Root> {
    match rootfs {
        Rootfs::Dir { path } => Ok(Root::open(path)?),
        Rootfs::Overlay { upper, .. } => Ok(Root::from_fd(open_root_dir(&mount_overlay(rootfs)?)?, upper)),
    }
}

/// The mount of an overlay, in no namespace.
pub(crate) fn mount_overlay(rootfs: &Rootfs) -> Result<OwnedFd> {
    let Rootfs::Overlay { lower, upper, work } = rootfs else { return Err(Error::Invalid("the root file system is no overlay".into())) };
    let [lowerdir, upperdir, workdir] = [lower, upper, work].map(|path| path.to_string_lossy().into_owned());
    let options = [
        ("lowerdir", Some(lowerdir.as_str())),
        ("upperdir", Some(upperdir.as_str())),
        ("workdir", Some(workdir.as_str())),
        ("userxattr", None),
    ];
    Ok(sys::mount::new_fs("overlay", &options, MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID)?)
}

fn open_root_dir(mount: &OwnedFd) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(mount, ".", flags, Mode::empty()).map_err(|errno| sys::Error::new("open", "overlay root", errno).into())
}
