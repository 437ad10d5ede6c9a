//! Devices of instances and profiles: their keys per type, and the rules across devices.

pub mod disk;
pub mod gpu;
pub mod nic;
pub mod unix;
pub mod usb;

use std::collections::BTreeMap;

use crate::row::{nearest, printable};
use crate::{Device, Devices, KeyError, Row, Table, names};

/// Whose devices are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// An instance's own.
    Instance,
    /// A profile's.
    Profile,
    /// An instance's own upon those of its profiles: here the root disk must be there.
    Expanded,
}

/// Types of devices, in the order in which they are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum DeviceType {
    None,
    Nic,
    Disk,
    UnixChar,
    UnixBlock,
    Usb,
    Gpu,
}

/// Keys of a device that blocks an inherited one.
pub mod none {
    use crate::row::keys;
    use crate::types::Text;
    keys! { ROWS;
        /// Always `none`.
        TYPE: Text = "type", "", Fixed;
    }
    pub(super) static TABLE: crate::Table = crate::Table { unknown: "Invalid device configuration key for none", rows: ROWS, refused: &[] };
}

const TYPES: &[(&str, DeviceType)] = &[
    ("disk", DeviceType::Disk),
    ("gpu", DeviceType::Gpu),
    ("nic", DeviceType::Nic),
    ("none", DeviceType::None),
    ("unix-block", DeviceType::UnixBlock),
    ("unix-char", DeviceType::UnixChar),
    ("usb", DeviceType::Usb),
];

/// Types that the original knows and this server does not.
const FOREIGN: &[&str] = &["infiniband", "pci", "proxy", "tpm", "unix-hotplug"];

impl DeviceType {
    /// The type's name in configuration.
    pub fn text(self) -> &'static str {
        TYPES.iter().find(|(_, kind)| *kind == self).map_or("none", |(text, _)| text)
    }

    /// The type of a device, from its `type` key.
    pub fn of(device: &Device) -> Option<Self> {
        let text = device.get("type")?;
        TYPES.iter().find(|(name, _)| name == text).map(|(_, kind)| *kind)
    }
}

/// Title and rows of every table of device keys, for the reference.
pub fn tables() -> Vec<(&'static str, &'static [Row])> {
    vec![
        ("disk", disk::ROWS),
        ("gpu", gpu::ROWS),
        ("nic bridged", nic::bridged::ROWS),
        ("nic macvlan", nic::macvlan::ROWS),
        ("nic p2p", nic::p2p::ROWS),
        ("nic physical", nic::physical::ROWS),
        ("none", none::ROWS),
        ("unix-block", unix::ROWS),
        ("unix-char", unix::ROWS),
        ("usb", usb::ROWS),
    ]
}

const NO_ROOT: &str = "No root device could be found. It takes a disk with path=/ and a pool, of its own or of a profile";

/// Checks all devices of an instance or profile.
pub fn validate_devices(devices: &Devices, scope: Scope) -> Result<(), KeyError> {
    for (name, device) in devices {
        validate_device(name, device)?;
    }
    check_disk_paths(devices)?;
    check_names(devices)?;
    match (root_disk(devices), scope) {
        (Ok(Some(_)), _) | (Ok(None), Scope::Instance | Scope::Profile) => Ok(()),
        (Ok(None), Scope::Expanded) => Err(KeyError::other(NO_ROOT)),
        (Err(error), _) => Err(error),
    }
}

/// Checks one device.
pub fn validate_device(name: &str, device: &Device) -> Result<(), KeyError> {
    names::check_device(name)?;
    let Some(kind_text) = device.get("type").filter(|text| !text.is_empty()) else {
        return Err(KeyError::other(format!("Missing device type for device '{name}'")));
    };
    let Some(kind) = DeviceType::of(device) else {
        return Err(unknown_type(name, kind_text));
    };
    let checked = match kind {
        DeviceType::None => none::TABLE.validate(device),
        DeviceType::Nic => nic::validate(device),
        DeviceType::Disk => disk::validate(device),
        DeviceType::UnixChar | DeviceType::UnixBlock => unix::validate(kind, device),
        DeviceType::Usb => usb::TABLE.validate(device),
        DeviceType::Gpu => gpu::TABLE.validate(device),
    };
    checked.map_err(|error| KeyError::other(format!("{error} (device '{name}')")))
}

/// The table that a device's keys belong to, as far as its type is known.
pub fn table_of(device: &Device) -> Option<&'static Table> {
    Some(match DeviceType::of(device)? {
        DeviceType::None => &none::TABLE,
        DeviceType::Nic => nic::table_of(nic::nic_type(device)?),
        DeviceType::Disk => &disk::TABLE,
        DeviceType::UnixChar => &unix::CHAR,
        DeviceType::UnixBlock => &unix::BLOCK,
        DeviceType::Usb => &usb::TABLE,
        DeviceType::Gpu => &gpu::TABLE,
    })
}

/// The root disk: type disk, path `/`, no source. More than one is an error.
pub fn root_disk(devices: &Devices) -> Result<Option<(&str, &Device)>, KeyError> {
    let mut roots = devices.iter().filter(|(_, device)| disk::is_root(device));
    let first = roots.next().map(|(name, device)| (name.as_str(), device));
    match roots.next() {
        Some(_) => Err(KeyError::other("More than one root device found.")),
        None => Ok(first),
    }
}

/// Devices in the order in which they are attached and listed: by type, disks by path (so that
/// parents come first), then by name.
pub fn in_order(devices: &Devices) -> Vec<(&str, &Device)> {
    let mut list: Vec<(&str, &Device)> = devices.iter().map(|(name, device)| (name.as_str(), device)).collect();
    list.sort_by_key(|(name, device)| (DeviceType::of(device), disk::normal_path(device), name.to_owned()));
    list
}

fn unknown_type(name: &str, kind: &str) -> KeyError {
    let known: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
    let hint = if FOREIGN.contains(&kind) {
        format!("type {kind} isn't supported")
    } else if let Some(near) = nearest(kind, known.iter().copied()) {
        format!("did you mean {near}?")
    } else {
        format!("'{}' is not one of {}", printable(kind), known.join(", "))
    };
    KeyError::other(format!("Invalid device type for device '{name}' ({hint})"))
}

fn check_disk_paths(devices: &Devices) -> Result<(), KeyError> {
    let mut seen = BTreeMap::new();
    for (name, device) in devices {
        if DeviceType::of(device) != Some(DeviceType::Disk) || disk::is_root(device) {
            continue;
        }
        let path = disk::normal_path(device);
        if let Some(other) = seen.insert(path.clone(), name) {
            return Err(KeyError::other(format!("More than one disk device uses the same path: {path}. (devices '{other}' and '{name}')")));
        }
    }
    Ok(())
}

fn check_names(devices: &Devices) -> Result<(), KeyError> {
    let mut seen = BTreeMap::new();
    for (device_name, device) in devices {
        let Some(name) = device.get("name").filter(|name| !name.is_empty() && DeviceType::of(device) == Some(DeviceType::Nic)) else {
            continue;
        };
        if let Some(other) = seen.insert(name, device_name) {
            return Err(KeyError::other(format!("More than one nic uses the same name: {name} (devices '{other}' and '{device_name}')")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(pairs: &[(&str, &str)]) -> Device {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn devices(list: &[(&str, &[(&str, &str)])]) -> Devices {
        list.iter().map(|(name, pairs)| ((*name).to_owned(), device(pairs))).collect()
    }

    fn error(list: &[(&str, &[(&str, &str)])]) -> String {
        validate_devices(&devices(list), Scope::Instance).expect_err("must be refused").to_string()
    }

    #[test]
    fn accepts_usual_profiles() {
        let usual = devices(&[
            ("root", &[("type", "disk"), ("path", "/"), ("pool", "default"), ("size", "10GiB")]),
            ("eth0", &[("type", "nic"), ("network", "lxdbr0"), ("name", "eth0")]),
            ("eth1", &[("type", "nic"), ("nictype", "bridged"), ("parent", "br0"), ("mtu", "1400")]),
            ("aadisable", &[("type", "disk"), ("source", "/dev/null"), ("path", "/sys/module/apparmor/parameters/enabled")]),
            ("fuse", &[("type", "unix-char"), ("path", "/dev/fuse"), ("mode", "0666")]),
            ("gone", &[("type", "none")]),
        ]);
        assert_eq!(validate_devices(&usual, Scope::Expanded), Ok(()));
    }

    #[test]
    fn generic_texts() {
        assert_eq!(error(&[("x", &[])]), "Missing device type for device 'x'");
        assert!(error(&[("x", &[("type", "nik")])]).starts_with("Invalid device type for device 'x' (did you mean nic?)"));
        assert!(error(&[("x", &[("type", "proxy")])]).contains("isn't supported"));
        let text = error(&[("x", &[("type", "disk"), ("path", "/a"), ("source", "/b"), ("colour", "red")])]);
        assert_eq!(text, "Invalid device configuration key for disk: colour (device 'x')");
        assert!(error(&[("x", &[("type", "none"), ("path", "/")])]).starts_with("Invalid device configuration key for none: path"));
    }

    #[test]
    fn one_root_and_unique_paths() {
        let root: &[(&str, &str)] = &[("type", "disk"), ("path", "/"), ("pool", "default")];
        assert_eq!(error(&[("a", root), ("b", root)]), "More than one root device found.");
        let twice: &[(&str, &str)] = &[("type", "disk"), ("path", "/mnt/"), ("source", "/a")];
        let again: &[(&str, &str)] = &[("type", "disk"), ("path", "mnt"), ("source", "/b")];
        assert!(error(&[("a", twice), ("b", again)]).starts_with("More than one disk device uses the same path: /mnt."));
        let none = validate_devices(&Devices::new(), Scope::Expanded).expect_err("no root").to_string();
        assert_eq!(none, NO_ROOT);
        assert_eq!(validate_devices(&Devices::new(), Scope::Profile), Ok(()));
    }

    #[test]
    fn order_is_by_type_then_path() {
        let list = devices(&[
            ("a", &[("type", "disk"), ("path", "/x/y"), ("source", "/s")]),
            ("b", &[("type", "disk"), ("path", "/x"), ("source", "/s")]),
            ("z", &[("type", "nic"), ("nictype", "p2p")]),
        ]);
        let names: Vec<&str> = in_order(&list).iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["z", "b", "a"]);
    }
}
