//! Devices: from a device's keys to the part of a container that it stands for.
//!
//! Keys and their values are checked in `keys`. Here a device becomes a [`Part`]: what the runtime
//! is to set up, complete, so that taking it away later needs nothing else.

mod disk;
mod gpu;
mod nic;
mod unix;
mod usb;

use std::collections::BTreeMap;
use std::path::Path;

use api::{Config, Devices};
use keys::devices::DeviceType;
use runtime::{Bind, Container, ContainerSpec, DeviceNode, Nic};

pub(crate) use nic::{BridgeFacts, generate_volatile, managed_network};

use crate::Result;
use crate::error::Context;

/// What a device amounts to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Nic(Nic),
    Disk(Bind),
    /// One at least.
    Nodes(Vec<DeviceNode>),
}

impl Part {
    /// Whether `new` differs only in what can be changed where it is: limits and isolation of a card.
    pub(crate) fn is_adjustable_to(&self, new: &Self) -> bool {
        match (self, new) {
            (Self::Nic(old), Self::Nic(new)) => {
                old != new && Nic { rates: new.rates.clone(), isolated: new.isolated, ..old.clone() } == *new
            }
            _ => false,
        }
    }
}

/// Device name to part.
pub(crate) type Parts = BTreeMap<String, Part>;

/// What a device may know of the instance it belongs to and of the host.
pub(crate) struct Owner<'a> {
    /// Name of the instance.
    pub name: &'a str,
    /// Expanded configuration with the volatile keys.
    pub config: &'a Config,
    /// Where device nodes are made: `$LXD_DIR/devices/NAME`.
    pub devices_dir: &'a Path,
    /// Where the kernel tells of its devices: `/sys`.
    pub sysfs: &'a Path,
    /// Managed networks.
    pub bridge: &'a dyn Fn(&str) -> Option<BridgeFacts>,
    /// Where the content of a custom volume is, by pool and name.
    pub volume: &'a dyn Fn(&str, &str) -> Result<std::path::PathBuf>,
}

/// A type of device.
trait Device: Sync {
    /// The part it stands for; `None` if it is optional and not there. Looks at the host.
    fn part(&self, name: &str, config: &Config, owner: &Owner<'_>) -> Result<Option<Part>>;
}

fn device(kind: DeviceType) -> Option<&'static dyn Device> {
    match kind {
        DeviceType::Nic => Some(&nic::NicDevice),
        DeviceType::Disk => Some(&disk::DiskDevice),
        DeviceType::UnixChar | DeviceType::UnixBlock => Some(&unix::UnixDevice),
        DeviceType::Usb => Some(&usb::UsbDevice),
        DeviceType::Gpu => Some(&gpu::GpuDevice),
        DeviceType::None => None,
    }
}

/// What the parts of `raw.lxc` are called, with a number after it. No device has such a name.
const RAW: &str = "raw.lxc/";

/// The parts of all devices but the root disk, and of the mounts of `raw.lxc`.
pub(crate) fn parts(devices: &Devices, owner: &Owner<'_>) -> Result<Parts> {
    let mut parts = Parts::new();
    let raw = keys::instance::RAW_LXC.get(owner.config).unwrap_or_default();
    for (index, config) in raw.mounts.iter().enumerate() {
        let name = format!("{RAW}{index}");
        parts.extend(part(&name, config, owner)?.map(|part| (name, part)));
    }
    for (name, config) in keys::devices::in_order(devices) {
        if let Some(part) = part(name, config, owner)? {
            parts.insert(name.to_owned(), part);
        }
    }
    Ok(parts)
}

/// The parts that a container has.
pub(crate) fn parts_of(spec: &ContainerSpec) -> Parts {
    let nics = spec.nics.iter().map(|nic| (nic.device.clone(), Part::Nic(nic.clone())));
    let disks = spec.mounts.iter().map(|bind| (bind.device.clone(), Part::Disk(bind.clone())));
    let mut parts: Parts = nics.chain(disks).collect();
    for node in &spec.nodes {
        if let Part::Nodes(nodes) = parts.entry(node.device.clone()).or_insert_with(|| Part::Nodes(Vec::new())) {
            nodes.push(node.clone());
        }
    }
    parts
}

/// Whether a device may come and go on the host while the instance runs.
pub(crate) fn is_hotpluggable(config: &Config) -> bool {
    match DeviceType::of(config) {
        Some(DeviceType::UnixChar | DeviceType::UnixBlock) => !keys::devices::unix::REQUIRED.is_true(config),
        Some(DeviceType::Usb) => true,
        _ => false,
    }
}

/// `MAJOR:MINOR`, as sysfs has it.
fn parse_number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The node of a device as it is made for an instance.
fn node_of(owner: &Owner<'_>, device: &str, target: &str, (block, (major, minor)): (bool, (u32, u32))) -> DeviceNode {
    DeviceNode {
        device: device.to_owned(),
        source: owner.devices_dir.join(format!("unix.{}", target.trim_start_matches('/').replace('/', "-"))),
        target: target.into(),
        block,
        major,
        minor,
        ..DeviceNode::default()
    }
}

/// The parts of a running container after a change of its devices from `before`. One that stays as
/// it was keeps its part even if the host no longer has what it was made of. Those of `raw.lxc` stay until it stops.
pub(crate) fn parts_after(old: &Parts, (before, after): (&Devices, &Devices), owner: &Owner<'_>) -> Result<Parts> {
    let mut parts: Parts = old.iter().filter(|(name, _)| name.starts_with(RAW)).map(|(name, part)| (name.clone(), part.clone())).collect();
    for (name, config) in keys::devices::in_order(after) {
        let kept = old.get(name).filter(|_| before.get(name) == Some(config)).cloned();
        let part = match (part(name, config, owner), kept) {
            (Ok(Some(part)), _) => Some(part),
            (_, Some(kept)) => Some(kept),
            (other, None) => other?,
        };
        parts.extend(part.map(|part| (name.to_owned(), part)));
    }
    Ok(parts)
}

/// The part of one device.
pub(crate) fn part(name: &str, config: &Config, owner: &Owner<'_>) -> Result<Option<Part>> {
    if keys::devices::disk::is_root(config) {
        return Ok(None);
    }
    match DeviceType::of(config).and_then(device) {
        Some(device) => device.part(name, config, owner),
        None => Ok(None),
    }
}

/// Gives a part to a running container.
pub(crate) fn attach(container: &Container, name: &str, part: &Part) -> Result<()> {
    let result = match part {
        Part::Nic(nic) => container.attach_nic(nic),
        Part::Disk(bind) if bind.optional && !sys::fs::exists(&bind.source) => Ok(()),
        Part::Disk(bind) => container.attach_bind(bind),
        Part::Nodes(nodes) => attach_nodes(container, nodes),
    };
    result.context(format!("add device '{name}' to the running container"))
}

/// All of them or none.
fn attach_nodes(container: &Container, nodes: &[DeviceNode]) -> runtime::Result<()> {
    for (index, node) in nodes.iter().enumerate() {
        container.attach_node(node).inspect_err(|_| nodes[..index].iter().for_each(|node| drop(container.detach_node(node))))?;
    }
    Ok(())
}

/// Changes what can be changed of a part that a running container has.
pub(crate) fn adjust(container: &Container, name: &str, part: &Part) -> Result<()> {
    match part {
        Part::Nic(nic) => container.adjust_nic(nic).context(format!("change device '{name}' of the running container")),
        Part::Disk(_) | Part::Nodes(_) => Ok(()),
    }
}

/// Takes a part from a running container.
pub(crate) fn detach(container: &Container, name: &str, part: &Part) -> Result<()> {
    let result = match part {
        Part::Nic(nic) => container.detach_nic(nic),
        Part::Disk(bind) => container.detach_bind(&bind.target),
        Part::Nodes(nodes) => nodes.iter().try_for_each(|node| container.detach_node(node)),
    };
    result.context(format!("remove device '{name}' from the running container"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(super) fn no_volumes(_pool: &str, name: &str) -> Result<std::path::PathBuf> {
        Err(crate::Error::bad_request(name))
    }

    #[test]
    fn what_stays_keeps_its_part() {
        let disk = |source: &str| -> Config {
            [("type", "disk"), ("source", source), ("path", "/x")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
        };
        let owner = Owner {
            name: "c1",
            config: &Config::new(),
            devices_dir: Path::new("/d"),
            sysfs: Path::new("/sys"),
            bridge: &|_| None,
            volume: &no_volumes,
        };
        let spec = ContainerSpec {
            mounts: vec![Bind { device: "gone".into(), source: "/not/there".into(), target: "/x".into(), ..Bind::default() }],
            ..ContainerSpec::default()
        };
        let old = parts_of(&spec);
        let devices: Devices = [("gone".to_owned(), disk("/not/there"))].into();
        assert_eq!(parts_after(&old, (&devices, &devices), &owner).expect("parts"), old);
        let changed: Devices = [("gone".to_owned(), disk("/not/there/either"))].into();
        assert!(parts_after(&old, (&devices, &changed), &owner).is_err(), "a new source must be there");
        assert!(parts_after(&old, (&devices, &Devices::new()), &owner).expect("parts").is_empty());
    }
}
