//! An overlay as a root file system: the same at a start, at a restore, and in CRIU's hook.

use std::path::Path;

use rustix::mount::MountFlags;

use crate::error::Result;

/// Mounts the layers `lower` and `rw` that stand on a stage as its `root`. `upper` and `work` are names in `rw`.
pub(crate) fn mount(stage: &Path, upper: &str, work: &str) -> Result<()> {
    let at = |name: &str| stage.join(name).display().to_string();
    let options = format!("lowerdir={},upperdir={}/{upper},workdir={}/{work},userxattr", at("lower"), at("rw"), at("rw"));
    Ok(sys::mount::mount_fs("overlay", stage.join("root"), "overlay", MountFlags::empty(), &options)?)
}
