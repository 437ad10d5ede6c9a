//! Which devices a privileged container may use. An unprivileged one needs no list: it cannot make
//! nodes, and those it is shown are owned by ids that it does not have.

use super::Groups;
use crate::error::Result;
use crate::spec::DeviceNode;

/// Any node may be made, these may be used: null, zero, full, random, urandom, tty, console, ptmx,
/// pts, fuse, tun.
const ALLOWED: &[&str] = &[
    "b *:* m",
    "c *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:229 rwm",
    "c 10:200 rwm",
];

/// Allows the common devices and the container's own, and nothing else (cgroup v1; on v2, which
/// has no such files, nothing is restricted).
pub(super) fn restrict(groups: &Groups, nodes: &[DeviceNode]) -> Result<()> {
    let Some((dir, false)) = groups.controller("devices") else {
        tracing::warn!("this host has no cgroup v1 devices controller: device access of a privileged container is not restricted");
        return Ok(());
    };
    sys::fs::write_kernel(dir.join("devices.deny"), "a")?;
    let own = nodes.iter().map(|node| format!("{} {}:{} rwm", if node.block { 'b' } else { 'c' }, node.major, node.minor));
    for rule in ALLOWED.iter().map(|&rule| rule.to_owned()).chain(own) {
        sys::fs::write_kernel(dir.join("devices.allow"), &rule)?;
    }
    Ok(())
}
