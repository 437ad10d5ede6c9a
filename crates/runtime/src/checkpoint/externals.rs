//! Which mounts of a container come from the host: CRIU saves their names only, and gets their
//! content again at the restore.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sys::Root;

use crate::error::{Error, Result};
use crate::plan::{Plan, Step, Tree};
use crate::spec::ContainerSpec;

/// A mount of the host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct External {
    /// Where it is inside.
    pub mount_point: PathBuf,
    /// The tree that it belongs to, by its target in the plan.
    pub target: PathBuf,
    /// Where in the tree.
    pub below: PathBuf,
}

/// Finds those of the plan that are mounted in the container of `pid`: the guest may have removed some.
pub(crate) fn find(plan: &Plan, pid: i32) -> Result<Vec<External>> {
    let inside = mount_points(&sys::fs::read_to_string(format!("/proc/{pid}/mountinfo"))?);
    let on_host = mount_points(&sys::fs::read_to_string("/proc/self/mountinfo")?);
    let root = Root::open(format!("/proc/{pid}/root/."))?;
    let mut found = Vec::new();
    for (tree, target) in targets(plan) {
        let Some(place) = resolve(&root, target) else { continue };
        // It would not survive the syntax of CRIU's options.
        if place.to_string_lossy().contains(']') {
            return Err(Error::Invalid(format!("`{}` cannot be saved: its name has a `]`", place.display())));
        }
        let mut add = |mount_point: &PathBuf, below: &Path| {
            let external = External { mount_point: mount_point.clone(), target: target.to_owned(), below: below.to_owned() };
            if found.iter().all(|other: &External| other.mount_point != *mount_point) {
                found.push(external);
            }
        };
        for mount_point in &inside {
            match mount_point.strip_prefix(&place) {
                Ok(below) if below.as_os_str().is_empty() => add(mount_point, below),
                Ok(below) if tree.recursive && on_host.contains(&tree.source.join(below)) => add(mount_point, below),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Mounts that the guest has made of parts of its disks: the disk, and where.
pub(crate) fn mounted_again(spec: &ContainerSpec, pid: i32) -> Vec<(PathBuf, PathBuf)> {
    let Ok(root) = Root::open(format!("/proc/{pid}/root/.")) else { return Vec::new() };
    let mounts = mounts(&sys::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default());
    let mut found = Vec::new();
    for disk in &spec.mounts {
        let Some(place) = resolve(&root, &disk.target) else { continue };
        let Some((device, within, _)) = mounts.iter().find(|(_, _, mount_point)| *mount_point == place) else { continue };
        let again = mounts.iter().filter(|(other, root, point)| {
            other == device
                && root.starts_with(within)
                && !spec.mounts.iter().any(|disk| *point == disk.target || point.starts_with(&place))
        });
        found.extend(again.map(|(_, _, point)| (place.clone(), point.clone())));
    }
    found
}

/// Device, root within it and mount point of each line of a mountinfo file.
fn mounts(mountinfo: &str) -> Vec<(String, PathBuf, PathBuf)> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split(' ').take(5).collect();
        Some(((*fields.get(2)?).to_owned(), unescape(fields.get(3)?), unescape(fields.get(4)?)))
    };
    mountinfo.lines().filter_map(line).collect()
}

/// The trees that are shown below the root, and where.
pub(crate) fn targets(plan: &Plan) -> impl Iterator<Item = (&Tree, &Path)> {
    plan.steps.iter().filter_map(|step| match step {
        Step::AttachTree { tree, target } => Some((&plan.trees[*tree], target.as_path())),
        _ => None,
    })
}

/// Where a path leads inside, as the kernel names it: the guest may have links on the way.
fn resolve(root: &Root, target: &Path) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    let fd = root.open_at(target, rustix::fs::OFlags::PATH, 0).ok()?;
    sys::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

/// Field 5 of a mountinfo file, with its escapes undone.
pub(crate) fn mount_points(mountinfo: &str) -> Vec<PathBuf> {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).collect()
}

/// `\040` and the like, see proc_pid_mountinfo(5).
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'\\').then(|| text.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok())).flatten();
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        let line = r"36 35 98:0 / /mnt/a\040b\134c rw - ext4 /dev/root rw";
        assert_eq!(mount_points(line), [PathBuf::from(r"/mnt/a b\c")]);
    }
}
