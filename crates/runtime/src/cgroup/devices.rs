//! Which devices a container may use: by the devices controller of cgroup v1, or by a program on the
//! container's group of v2.
//!
//! An unprivileged guest cannot make nodes, but its root file system may hold some from when it was
//! privileged, and a shared directory may hold some; so the list is for every container.

use sys::bpf::Device;

use super::Groups;
use crate::error::Result;
use crate::spec::{Bind, ContainerSpec, DeviceNode, DeviceRule};

/// What every container may use, major and minor numbers of character devices: null, zero, full, random, urandom,
/// tty, console, ptmx, pts, fuse, tun. Nodes may be made of any device.
const COMMON: &[(u32, Option<u32>)] = &[
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
    (10, Some(229)),
    (10, Some(200)),
];

/// How this host restricts devices.
enum Means {
    Controller,
    Program,
    /// In a user namespace neither is to be had from anyone, and this manager is itself a guest, held to its own list.
    None,
}

fn means(groups: &Groups) -> Means {
    match (groups.controller("devices"), groups.unified_dir()) {
        _ if !sys::process::has_all_ids() => Means::None,
        (Some((_, false)), _) => Means::Controller,
        (_, Some(_)) => Means::Program,
        _ => Means::None,
    }
}

/// Allows the common devices and the container's own, and nothing else; false where that cannot be.
pub(super) fn restrict(groups: &Groups, spec: &ContainerSpec) -> Result<bool> {
    match means(groups) {
        // A new group has what its parent has.
        Means::Controller | Means::Program if spec.tuning.all_devices => {}
        Means::Controller => {
            write(groups, false, "a")?;
            ["b *:* m", "c *:* m"].iter().try_for_each(|rule| write(groups, true, rule))?;
            common().try_for_each(|device| write(groups, true, &rule(&device)))?;
            own(spec).try_for_each(|device| write(groups, true, &rule(&device)))?;
        }
        Means::Program => load(groups, spec)?,
        Means::None => return Ok(false),
    }
    Ok(true)
}

/// Allows one more device, which the container has.
pub(super) fn allow(groups: &Groups, node: &DeviceNode, spec: &ContainerSpec) -> Result<()> {
    match means(groups) {
        _ if spec.tuning.all_devices => Ok(()),
        Means::Controller => write(groups, true, &rule(&device(node))),
        Means::Program => load(groups, spec),
        Means::None => Ok(()),
    }
}

/// Takes one back that the container has no more, unless it may use that anyway. Nodes for it may still be made, as all may.
pub(super) fn deny(groups: &Groups, node: &DeviceNode, spec: &ContainerSpec) -> Result<()> {
    let denied = device(node);
    let covers = |device: Device| {
        device.block == denied.block && device.major == denied.major && (device.minor.is_none() || device.minor == denied.minor)
    };
    match means(groups) {
        _ if spec.tuning.all_devices => Ok(()),
        Means::Controller if !common().chain(own(spec)).any(covers) => write(groups, false, &rule(&denied).replace("rwm", "rw")),
        Means::Program => load(groups, spec),
        Means::Controller | Means::None => Ok(()),
    }
}

fn common() -> impl Iterator<Item = Device> {
    COMMON.iter().map(|(major, minor)| Device { block: false, major: *major, minor: *minor })
}

/// Those of its nodes, those whose nodes on the host it is shown, and those that it may use besides.
fn own(spec: &ContainerSpec) -> impl Iterator<Item = Device> {
    let besides = |rule: &DeviceRule| Device { block: rule.block, major: rule.major, minor: rule.minor };
    let shown = spec.mounts.iter().filter_map(|bind| shown(bind, spec));
    spec.nodes.iter().map(device).chain(shown.map(|node| device(&node))).chain(spec.tuning.devices.iter().map(besides))
}

/// The device that a mount gives a container the use of.
pub(crate) fn shown(bind: &Bind, spec: &ContainerSpec) -> Option<DeviceNode> {
    let (major, minor) = bind.character_device.filter(|_| !spec.idmap.is_empty())?;
    Some(DeviceNode { target: bind.target.clone(), major, minor, ..DeviceNode::default() })
}

fn device(node: &DeviceNode) -> Device {
    Device { block: node.block, major: node.major, minor: Some(node.minor) }
}

fn load(groups: &Groups, spec: &ContainerSpec) -> Result<()> {
    let Some(dir) = groups.unified_dir() else { return Ok(()) };
    let mut devices: Vec<Device> = common().chain(own(spec)).collect();
    devices.sort_unstable();
    devices.dedup();
    Ok(sys::bpf::restrict_devices(&dir, &devices)?)
}

fn rule(device: &Device) -> String {
    let minor = device.minor.map_or_else(|| "*".to_owned(), |minor| minor.to_string());
    format!("{} {}:{minor} rwm", if device.block { 'b' } else { 'c' }, device.major)
}

fn write(groups: &Groups, allowed: bool, rule: &str) -> Result<()> {
    let Some((dir, _)) = groups.controller("devices") else { return Ok(()) };
    Ok(sys::fs::write_kernel(dir.join(if allowed { "devices.allow" } else { "devices.deny" }), rule)?)
}
