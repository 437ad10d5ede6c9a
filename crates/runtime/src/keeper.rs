//! Keeps the control group of the unit that containers' groups are made in: the service manager removes one in
//! which nothing runs. Itself it sits in a leaf, since only then can the group hand controllers on.

use crate::cgroup::Layout;
use crate::error::Result;

/// Name of the leaf, which monitors join; no daemon's group has such a name.
pub(crate) const LEAF: &str = ".keeper";

/// Runs until it is killed.
pub fn run() -> i32 {
    match settle() {
        Ok(()) => loop {
            rustix::event::pause();
        },
        Err(error) => {
            drop(sys::daemon::notify(&format!("STATUS={error}")));
            1
        }
    }
}

/// Where version 2 is not alone, containers' groups are elsewhere, and there is nothing to keep.
fn settle() -> Result<()> {
    let layout = Layout::detect()?;
    let own = sys::fs::read_to_string("/proc/self/cgroup")?;
    if let ([only], Some(path)) = (&*layout.hierarchies, own.trim().strip_prefix("0::/"))
        && only.unified
    {
        let leaf = only.mount_point.join(path).join(LEAF);
        sys::fs::ensure_dir(&leaf, 0o755)?;
        sys::fs::write_kernel(leaf.join("cgroup.procs"), "0")?;
    }
    Ok(sys::daemon::notify("READY=1")?)
}
