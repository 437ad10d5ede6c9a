//! USB devices of the host as nodes inside, by their vendor and product.

use std::path::Path;

use api::Config;
use keys::devices::usb as key;
use runtime::DeviceNode;

use super::{Device, Owner, Part};
use crate::{Error, Result};

pub(super) struct UsbDevice;

impl Device for UsbDevice {
    fn part(&self, name: &str, config: &Config, owner: &Owner<'_>) -> Result<Option<Part>> {
        let (vendor, product) = (key::VENDORID.get(config), key::PRODUCTID.get(config));
        let found = plugged_in(owner.sysfs).into_iter().filter(|device| {
            vendor.is_none_or(|vendor| vendor == device.vendor) && product.is_none_or(|product| product == device.product)
        });
        let nodes: Vec<DeviceNode> = found
            .map(|device| DeviceNode {
                mode: key::MODE.get(config).unwrap_or(0o660),
                uid: key::UID.get(config).unwrap_or(0),
                gid: key::GID.get(config).unwrap_or(0),
                ..super::node_of(owner, name, &device.node(), (false, device.number))
            })
            .collect();
        if !nodes.is_empty() {
            return Ok(Some(Part::Nodes(nodes)));
        }
        if !key::REQUIRED.is_true(config) {
            return Ok(None);
        }
        let wanted = |what: &str, id: Option<u16>| id.map(|id| format!(" {what}={id:04x}")).unwrap_or_default();
        Err(Error::bad_request(format!(
            "device '{name}': no such device: no USB device{}{} is plugged in",
            wanted("vendorid", vendor),
            wanted("productid", product)
        ))
        .hint("plug it in, or set required=false to have it when it comes"))
    }
}

/// One that is plugged in.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Usb {
    bus: u32,
    device: u32,
    vendor: u16,
    product: u16,
    number: (u32, u32),
}

impl Usb {
    fn node(&self) -> String {
        format!("/dev/bus/usb/{:03}/{:03}", self.bus, self.device)
    }
}

/// All of them; those of hosts without USB are none. See the kernel's Documentation/ABI/testing/sysfs-bus-usb.
fn plugged_in(sysfs: &Path) -> Vec<Usb> {
    let root = sysfs.join("bus/usb/devices");
    let read = |name: &str| -> Option<Usb> {
        let text = |file: &str| sys::fs::read_to_string(root.join(name).join(file)).ok().map(|text| text.trim().to_owned());
        let hex = |file: &str| u16::from_str_radix(&text(file)?, 16).ok();
        Some(Usb {
            // Interfaces of devices have no such file.
            vendor: hex("idVendor")?,
            product: hex("idProduct")?,
            bus: text("busnum")?.parse().ok()?,
            device: text("devnum")?.parse().ok()?,
            number: super::parse_number(&text("dev")?)?,
        })
    };
    let mut found: Vec<Usb> = sys::fs::list_dir(&root).unwrap_or_default().iter().filter_map(|name| read(name)).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plug(sysfs: &Path, name: &str, files: &[(&str, &str)]) {
        let dir = sysfs.join("bus/usb/devices").join(name);
        std::fs::create_dir_all(&dir).expect("mkdir");
        files.iter().for_each(|(file, text)| std::fs::write(dir.join(file), format!("{text}\n")).expect("write"));
    }

    #[test]
    fn chosen_by_vendor_and_product() {
        let dir = tempfile::tempdir().expect("dir");
        for (name, vendor, product, devnum, dev) in
            [("1-1", "046d", "c52b", "4", "189:3"), ("1-2", "046d", "0825", "12", "189:11"), ("usb1", "1d6b", "0002", "1", "189:0")]
        {
            plug(dir.path(), name, &[("idVendor", vendor), ("idProduct", product), ("busnum", "1"), ("devnum", devnum), ("dev", dev)]);
        }
        plug(dir.path(), "1-1:1.0", &[("bInterfaceClass", "03")]);
        let part = |pairs: &[(&str, &str)]| {
            let config: Config = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let owner = Owner {
                name: "c1",
                config: &Config::new(),
                devices_dir: Path::new("/d/c1"),
                sysfs: dir.path(),
                bridge: &|_| None,
                volume: &super::super::tests::no_volumes,
            };
            UsbDevice.part("stick", &config, &owner)
        };
        let targets = |pairs: &[(&str, &str)]| match part(pairs).expect("part") {
            Some(Part::Nodes(nodes)) => nodes.iter().map(|node| (node.target.display().to_string(), node.major, node.minor)).collect(),
            _ => Vec::new(),
        };
        assert_eq!(targets(&[("vendorid", "046d"), ("productid", "0825")]), [("/dev/bus/usb/001/012".to_owned(), 189, 11)]);
        assert_eq!(targets(&[("vendorid", "046d")]).len(), 2);
        assert_eq!(targets(&[]).len(), 3);
        assert!(targets(&[("vendorid", "ffff")]).is_empty());
        let error = part(&[("vendorid", "ffff"), ("required", "true")]).expect_err("none").to_string();
        assert_eq!(error, "device 'stick': no such device: no USB device vendorid=ffff is plugged in");
    }
}
