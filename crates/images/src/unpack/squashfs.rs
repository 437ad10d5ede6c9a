//! Unpacking a squashfs with `unsquashfs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sys::Root;
use sys::archive_io::{self, NodeKind};
use sys::cmd::{Cmd, CmdError};

use super::DevicePolicy;
use super::tarball::is_allowed;
use crate::{Error, Result};

/// Memory for its queues, in MiB; the default is a quarter of the machine.
const QUEUE_MIB: &str = "64";
/// No file system image takes longer than this to unpack.
const DEADLINE: Duration = Duration::from_secs(1800);
/// A file system with less than this left is full.
const FULL_BYTES: u64 = 1 << 20;

/// Unpacks `file` into `target/rootfs`.
pub(super) fn unpack(file: &Path, target: &Path, devices: DevicePolicy) -> Result<()> {
    let rootfs = target.join("rootfs");
    let result = Cmd::new("unsquashfs", "squashfs-tools")
        .args(["-force", "-no-progress", "-quiet", "-data-queue", QUEUE_MIB, "-frag-queue", QUEUE_MIB, "-dest"])
        .arg(&rootfs)
        .arg(file)
        .deadline(DEADLINE)
        .run();
    match result {
        Ok(_) => drop_devices(target, devices),
        // Its exit status does not tell a full disk from a broken image.
        Err(CmdError::Failed { .. }) if sys::fs::fs_space(target)?.1 < FULL_BYTES => {
            Err(Error::DiskFull { target: target.display().to_string() })
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes the device nodes that are not to be made: the program knows all or none.
fn drop_devices(target: &Path, policy: DevicePolicy) -> Result<()> {
    if policy == DevicePolicy::All {
        return Ok(());
    }
    let root = archive_io::plain_sub_root(&Root::open(target)?, Path::new("rootfs"))?;
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let dir = archive_io::open_tree_dir(&root, &path)?;
        for (name, kind) in archive_io::read_dir_kinds(&dir, &path)? {
            let below = path.join(&name);
            match kind {
                NodeKind::Directory => todo.push(below),
                NodeKind::CharDevice | NodeKind::BlockDevice => {
                    let stat = archive_io::open_entry(&dir, &name, &below)?.stat;
                    if !is_allowed(policy, stat.kind, stat.device) {
                        root.remove_file(&below)?;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}
