//! Graphics cards of the host as nodes inside.

use std::collections::BTreeMap;
use std::path::Path;

use api::Config;
use keys::devices::gpu as key;
use runtime::DeviceNode;

use super::{Device, Owner, Part};
use crate::{Error, Result};

pub(super) struct GpuDevice;

impl Device for GpuDevice {
    fn part(&self, name: &str, config: &Config, owner: &Owner<'_>) -> Result<Option<Part>> {
        let cards = cards(owner.sysfs);
        let chosen = cards.iter().filter(|(pci, card)| is_wanted(config, pci, card));
        let nodes: Vec<DeviceNode> = chosen
            .flat_map(|(_, card)| &card.nodes)
            .map(|(node, number)| DeviceNode {
                mode: key::MODE.get(config).unwrap_or(0o660),
                uid: key::UID.get(config).unwrap_or(0),
                gid: key::GID.get(config).unwrap_or(0),
                ..super::node_of(owner, name, &format!("/dev/dri/{node}"), (false, *number))
            })
            .collect();
        if !nodes.is_empty() {
            return Ok(Some(Part::Nodes(nodes)));
        }
        let wanted: Vec<String> = [key::ID.name, key::PCI.name, key::VENDORID.name, key::PRODUCTID.name]
            .into_iter()
            .filter_map(|key| config.get(key).filter(|text| !text.is_empty()).map(|text| format!(" {key}={text}")))
            .collect();
        let there: Vec<&str> = cards.keys().map(String::as_str).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        Err(Error::bad_request(format!("device '{name}': no such device: the host has no graphics card{}", wanted.concat()))
            .hint(format!("cards that it has: {there}")))
    }
}

/// One card: what it is, and its nodes below `/dev/dri` with their device numbers.
#[derive(Debug, Default)]
struct Card {
    number: Option<u64>,
    vendor: Option<u16>,
    product: Option<u16>,
    nodes: BTreeMap<String, (u32, u32)>,
}

/// The cards of the host by their PCI address, or what else they are on. See the kernel's Documentation/gpu/drm-uapi.
fn cards(sysfs: &Path) -> BTreeMap<String, Card> {
    let root = sysfs.join("class/drm");
    let mut cards: BTreeMap<String, Card> = BTreeMap::new();
    for node in sys::fs::list_dir(&root).unwrap_or_default() {
        let digits = |prefix: &str| node.strip_prefix(prefix).and_then(|number| number.parse::<u64>().ok());
        // Others are the sockets of a card.
        if digits("card").or(digits("renderD")).is_none() {
            continue;
        }
        let dir = root.join(&node);
        let Ok(device) = sys::fs::read_link(dir.join("device")) else { continue };
        let text = |file: &str| sys::fs::read_to_string(dir.join(file)).ok().map(|text| text.trim().to_owned());
        let Some(number) = text("dev").and_then(|text| super::parse_number(&text)) else { continue };
        let hex = |file: &str| u16::from_str_radix(text(file)?.trim_start_matches("0x"), 16).ok();
        let address = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let card = cards.entry(address).or_default();
        card.number = card.number.or(digits("card"));
        card.vendor = card.vendor.or_else(|| hex("device/vendor"));
        card.product = card.product.or_else(|| hex("device/device"));
        card.nodes.insert(node, number);
    }
    cards
}

fn is_wanted(config: &Config, address: &str, card: &Card) -> bool {
    key::ID.get(config).is_none_or(|id| card.number == Some(id))
        && key::PCI.get(config).is_none_or(|pci| pci == address)
        && key::VENDORID.get(config).is_none_or(|vendor| card.vendor == Some(vendor))
        && key::PRODUCTID.get(config).is_none_or(|product| card.product == Some(product))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two cards, one with a socket for a screen.
    fn host() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("dir");
        for (pci, vendor, product, nodes) in [
            ("0000:00:02.0", "0x8086", "0x5917", [("card0", "226:0"), ("renderD128", "226:128")]),
            ("0000:01:00.0", "0x10de", "0x1d01", [("card1", "226:1"), ("renderD129", "226:129")]),
        ] {
            let device = dir.path().join("devices").join(pci);
            std::fs::create_dir_all(&device).expect("mkdir");
            std::fs::write(device.join("vendor"), format!("{vendor}\n")).expect("write");
            std::fs::write(device.join("device"), format!("{product}\n")).expect("write");
            for (node, dev) in nodes {
                let drm = dir.path().join("class/drm").join(node);
                std::fs::create_dir_all(&drm).expect("mkdir");
                std::fs::write(drm.join("dev"), format!("{dev}\n")).expect("write");
                std::os::unix::fs::symlink(format!("../../../devices/{pci}"), drm.join("device")).expect("link");
            }
        }
        std::fs::create_dir_all(dir.path().join("class/drm/card0-HDMI-A-1")).expect("mkdir");
        dir
    }

    fn targets(sysfs: &Path, pairs: &[(&str, &str)]) -> std::result::Result<Vec<String>, String> {
        let config: Config = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let owner = Owner {
            name: "c1",
            config: &Config::new(),
            devices_dir: Path::new("/d/c1"),
            sysfs,
            bridge: &|_| None,
            volume: &super::super::tests::no_volumes,
        };
        match GpuDevice.part("gpu", &config, &owner).map_err(|error| error.report())? {
            Some(Part::Nodes(nodes)) => {
                Ok(nodes.iter().map(|node| format!("{} {}:{}", node.target.display(), node.major, node.minor)).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn chosen_by_number_address_and_maker() {
        let dir = host();
        let second = ["/dev/dri/card1 226:1", "/dev/dri/renderD129 226:129"].map(str::to_owned).to_vec();
        for pairs in [
            &[("id", "1")][..],
            &[("pci", "0000:01:00.0")],
            &[("pci", "01:00.0")],
            &[("vendorid", "10de")],
            &[("vendorid", "10de"), ("productid", "1d01")],
        ] {
            assert_eq!(targets(dir.path(), pairs), Ok(second.clone()), "{pairs:?}");
        }
        assert_eq!(targets(dir.path(), &[]).map(|all| all.len()), Ok(4));
    }

    #[test]
    fn one_that_is_not_there_is_named() {
        let dir = host();
        let error = targets(dir.path(), &[("vendorid", "1002")]).expect_err("none");
        assert!(error.contains("no such device: the host has no graphics card vendorid=1002") && error.contains("0000:01:00.0"), "{error}");
        let error = targets(Path::new("/nowhere"), &[]).expect_err("none");
        assert!(error.contains("no such device") && error.contains("none"), "{error}");
    }
}
