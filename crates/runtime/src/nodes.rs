//! Device nodes on the host that containers are shown.

use rustix::fs::{CWD, FileType, Mode};
use sys::idmap::{IdMap, Kind};

use crate::error::{Error, Result};
use crate::spec::DeviceNode;

/// Makes the nodes anew, with their directories, owned as the guest is to see them.
pub(crate) fn create(nodes: &[DeviceNode], idmap: &IdMap) -> Result<()> {
    nodes.iter().try_for_each(|node| create_one(node, idmap))
}

fn create_one(node: &DeviceNode, idmap: &IdMap) -> Result<()> {
    let outside = || Error::Invalid(format!("device `{}`: its owner is outside the container's id map", node.target.display()));
    let uid = idmap.to_host(Kind::Uid, node.uid).ok_or_else(outside)?;
    let gid = idmap.to_host(Kind::Gid, node.gid).ok_or_else(outside)?;
    let kind = if node.block { FileType::BlockDevice } else { FileType::CharacterDevice };
    let device = rustix::fs::makedev(node.major, node.minor);
    if let Some(dir) = node.source.parent() {
        sys::fs::ensure_dir_all(dir, 0o700)?;
    }
    sys::fs::remove_file(&node.source)?;
    rustix::fs::mknodat(CWD, &node.source, kind, Mode::from_raw_mode(node.mode), device)
        .map_err(|errno| sys::Error::new("mknod", node.source.display(), errno))?;
    sys::fs::chown(&node.source, uid, gid)?;
    Ok(sys::fs::set_mode(&node.source, node.mode)?)
}
