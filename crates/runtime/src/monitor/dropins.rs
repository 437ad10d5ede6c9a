//! Drop-ins for a guest's systemd: what a container cannot do, and what cannot be saved.
//!
//! The system call policy refuses systemd the namespaces that CRIU cannot save, and most units then do
//! without. Some insist: for those the settings are turned off, by a drop-in for all services that has
//! less say than one of the guest's own for that unit. The files are in `/run`, which systemd finds
//! mounted and keeps; so nothing of them is ever in the image.

use std::io::Write;
use std::path::Path;

use rustix::fs::OFlags;
use sys::Root;
use sys::mount::MountAttrFlags;

use crate::error::{Error, Result};

const RUN: &str = "/run";
/// As systemd would mount it.
const RUN_OPTIONS: &[(&str, Option<&str>)] = &[("mode", Some("755")), ("size", Some("20%")), ("nr_inodes", Some("800k"))];
const UNITS: &str = "/run/systemd/system";

/// A drop-in: the unit that it is for, its name, its content.
type DropIn = (&'static str, &'static str, &'static str);

/// The handlers of foreign binaries are the host's, and not the guest's to change.
const BINFMT: DropIn = ("systemd-binfmt.service", "10-container.conf", "[Unit]\nConditionVirtualization=!container\n");
const SIMPLE: DropIn = (
    "service",
    "10-checkpoint.conf",
    "\
# So that the running state of this container can be saved; migration.stateful=false turns it off.
[Service]
PrivateUsers=no
PrivateIPC=no
ProtectHostname=no
Environment=MEMORY_PRESSURE_WATCH=/dev/null
",
);
/// For systemd itself. What it asked the kernel to be told of memory pressure is forgotten by a restore, and
/// then the descriptor reports an error all the time: its daemons would do nothing else than look at it.
pub(super) const NO_PRESSURE: &str = "MEMORY_PRESSURE_WATCH=/dev/null";

/// Leaves the drop-ins for an init that is systemd; does nothing for others.
pub(super) fn leave(root: &Root, init: &str, checkpointable: bool) -> Result<()> {
    if !is_systemd(root, init) {
        return Ok(());
    }
    root.create_dir_all(RUN, 0o755)?;
    let tmpfs = sys::mount::new_fs("tmpfs", RUN_OPTIONS, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV)?;
    let target = root.open_at(RUN, OFlags::PATH | OFlags::DIRECTORY, 0)?;
    sys::mount::attach_fd(tmpfs, target, Path::new(RUN))?;
    write(root, BINFMT)?;
    if checkpointable { write(root, SIMPLE) } else { Ok(()) }
}

fn write(root: &Root, (unit, name, content): DropIn) -> Result<()> {
    let dir = Path::new(UNITS).join(format!("{unit}.d"));
    root.create_dir_all(&dir, 0o755)?;
    let mut file = root.create_file(dir.join(name), OFlags::EXCL, 0o644)?;
    file.write_all(content.as_bytes()).map_err(|error| Error::step(format!("write `{name}`"), error))
}

/// By the name of the program that the path leads to.
fn is_systemd(root: &Root, init: &str) -> bool {
    use std::os::fd::AsRawFd;
    let Ok(program) = root.open_at(init, OFlags::PATH, 0) else { return false };
    sys::fs::read_link(format!("/proc/self/fd/{}", program.as_raw_fd())).is_ok_and(|path| path.ends_with("systemd"))
}
