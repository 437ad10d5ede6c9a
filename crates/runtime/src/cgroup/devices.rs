//! Which devices a container may use, by the devices controller of cgroup v1.
//!
//! An unprivileged guest cannot make nodes, but its root file system may hold some from when it was
//! privileged, and a shared directory may hold some; so the list is for every container.

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

/// Allows the common devices and the container's own, and nothing else; false where that cannot be.
pub(super) fn restrict(groups: &Groups, nodes: &[DeviceNode]) -> Result<bool> {
    if !is_enforced(groups) {
        return Ok(false);
    }
    write(groups, false, "a")?;
    ALLOWED.iter().try_for_each(|rule| write(groups, true, rule))?;
    nodes.iter().try_for_each(|node| write(groups, true, &rule(node)))?;
    Ok(true)
}

/// Allows one more device.
pub(super) fn allow(groups: &Groups, node: &DeviceNode) -> Result<()> {
    if is_enforced(groups) { write(groups, true, &rule(node)) } else { Ok(()) }
}

/// Takes one back, unless every container has it. Nodes for it may still be made, as all may.
pub(super) fn deny(groups: &Groups, node: &DeviceNode) -> Result<()> {
    let is_common = ALLOWED.contains(&rule(node).as_str()) || (!node.block && node.major == PTS);
    if is_common || !is_enforced(groups) {
        return Ok(());
    }
    write(groups, false, &rule(node).replace("rwm", "rw"))
}

/// Major number of the slave terminals.
const PTS: u32 = 136;

/// On cgroup v2 there are no such files. In a user namespace they take no rules from anyone, and this
/// manager is itself a guest, held to its own list.
fn is_enforced(groups: &Groups) -> bool {
    matches!(groups.controller("devices"), Some((_, false))) && sys::process::has_all_ids()
}

fn rule(node: &DeviceNode) -> String {
    format!("{} {}:{} rwm", if node.block { 'b' } else { 'c' }, node.major, node.minor)
}

fn write(groups: &Groups, allowed: bool, rule: &str) -> Result<()> {
    let Some((dir, _)) = groups.controller("devices") else { return Ok(()) };
    Ok(sys::fs::write_kernel(dir.join(if allowed { "devices.allow" } else { "devices.deny" }), rule)?)
}
