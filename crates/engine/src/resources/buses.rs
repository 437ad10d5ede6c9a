//! What is on PCI and USB: network cards, graphics cards, and the rest.

use std::collections::{BTreeMap, HashMap};

use api::resources::{Gpu, GpuCard, GpuCardDrm, Network, NetworkCard, NetworkCardPort, Pci, PciDevice, Usb, UsbDevice, UsbInterface};

use super::{Tree, pci_address};

const PCI: &str = "/sys/bus/pci/devices";
const USB: &str = "/sys/bus/usb/devices";
const NET: &str = "/sys/class/net";
const DRM: &str = "/sys/class/drm";

/// Names of vendors and products by their numbers, where the host has the list of them.
pub(super) struct PciNames {
    vendors: HashMap<String, String>,
    products: HashMap<(String, String), String>,
}

impl PciNames {
    pub(super) fn read(tree: &Tree) -> Self {
        let path = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"].into_iter().find(|path| tree.exists(path));
        Self::parse(&path.map(|path| tree.text(path)).unwrap_or_default())
    }

    /// Lines `VENDOR  NAME` and below them, indented once, `PRODUCT  NAME`; classes of devices follow.
    fn parse(text: &str) -> Self {
        let mut names = Self { vendors: HashMap::new(), products: HashMap::new() };
        let mut vendor = None;
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("\t\t")) {
            let Some((id, name)) = line.trim_start().split_once("  ") else { continue };
            match (line.starts_with('\t'), &vendor) {
                (false, _) if line.starts_with("C ") => break,
                (false, _) => {
                    names.vendors.insert(id.to_owned(), name.to_owned());
                    vendor = Some(id.to_owned());
                }
                (true, Some(vendor)) => drop(names.products.insert((vendor.clone(), id.to_owned()), name.to_owned())),
                (true, None) => {}
            }
        }
        names
    }
}

/// Vendor, product and driver of a PCI device.
pub(super) fn pci_device(tree: &Tree, names: &PciNames, address: &str) -> PciDevice {
    let dir = format!("{PCI}/{address}");
    let (vendor_id, product_id) = (tree.hex(&format!("{dir}/vendor")), tree.hex(&format!("{dir}/device")));
    let driver = tree.link_name(&format!("{dir}/driver"));
    PciDevice {
        driver_version: driver_version(tree, &driver),
        driver,
        numa_node: tree.numa_node(&dir),
        pci_address: address.to_owned(),
        vendor: names.vendors.get(&vendor_id).cloned().unwrap_or_default(),
        product: names.products.get(&(vendor_id.clone(), product_id.clone())).cloned().unwrap_or_default(),
        vendor_id,
        product_id,
        iommu_group: tree.link_name(&format!("{dir}/iommu_group")).parse().unwrap_or(0),
    }
}

/// A driver of the kernel's own has the kernel's version.
fn driver_version(tree: &Tree, driver: &str) -> String {
    if driver.is_empty() {
        return String::new();
    }
    let own = tree.text(&format!("/sys/module/{driver}/version"));
    if own.is_empty() { tree.text("/proc/sys/kernel/osrelease") } else { own }
}

/// All PCI devices.
pub(super) fn pci(tree: &Tree, names: &PciNames) -> Pci {
    let devices: Vec<PciDevice> = tree.names(PCI).iter().map(|address| pci_device(tree, names, address)).collect();
    Pci { total: devices.len() as u64, devices }
}

/// Network cards by their device, each with its interfaces; what is only software is left out.
pub(super) fn networks(tree: &Tree, names: &PciNames) -> Network {
    let mut cards: BTreeMap<String, NetworkCard> = BTreeMap::new();
    for interface in tree.names(NET) {
        let dir = format!("{NET}/{interface}");
        if !tree.exists(&format!("{dir}/device")) {
            continue;
        }
        let path = tree.link(&dir);
        let key = path.parent().and_then(|parent| parent.parent()).unwrap_or(&path).display().to_string();
        let card = cards.entry(key).or_insert_with(|| network_card(tree, names, &dir, &pci_address(&path)));
        card.ports.push(port(tree, &interface, card.ports.len() as u64));
    }
    Network { total: cards.len() as u64, cards: cards.into_values().collect() }
}

fn network_card(tree: &Tree, names: &PciNames, dir: &str, address: &str) -> NetworkCard {
    let device = pci_device(tree, names, address);
    // That of a virtual card is the one that makes it a network card, not the bus's.
    let driver = tree.link_name(&format!("{dir}/device/driver"));
    NetworkCard {
        driver_version: driver_version(tree, &driver),
        driver,
        ports: Vec::new(),
        numa_node: device.numa_node,
        pci_address: device.pci_address,
        vendor: device.vendor,
        vendor_id: device.vendor_id,
        product: device.product,
        product_id: device.product_id,
        firmware_version: String::new(),
    }
}

fn port(tree: &Tree, interface: &str, number: u64) -> NetworkCardPort {
    let file = |name: &str| format!("{NET}/{interface}/{name}");
    let protocol = match tree.number(&file("type")) {
        1 => "ethernet",
        32 => "infiniband",
        _ => "unknown",
    };
    NetworkCardPort {
        id: interface.to_owned(),
        address: tree.text(&file("address")),
        port: number,
        protocol: protocol.to_owned(),
        auto_negotiation: false,
        link_detected: tree.number(&file("carrier")) == 1,
        // -1 where the card does not know.
        link_speed: tree.number(&file("speed")),
        link_duplex: tree.text(&file("duplex")),
    }
}

/// Graphics cards: those with nodes for the kernel's graphics.
pub(super) fn gpus(tree: &Tree, names: &PciNames) -> Gpu {
    let entries = tree.names(DRM);
    let cards = entries.iter().filter_map(|name| Some((name, name.strip_prefix("card")?.parse::<u64>().ok()?)));
    let cards: Vec<GpuCard> = cards.map(|(name, id)| gpu(tree, names, (name, id), &entries)).collect();
    Gpu { total: cards.len() as u64, cards }
}

fn gpu(tree: &Tree, names: &PciNames, (name, id): (&str, u64), entries: &[String]) -> GpuCard {
    let address = pci_address(&tree.link(&format!("{DRM}/{name}")));
    let device = pci_device(tree, names, &address);
    let is_same = |other: &&String| pci_address(&tree.link(&format!("{DRM}/{other}"))) == address;
    let node = |prefix: &str| entries.iter().filter(|other| other.starts_with(prefix)).find(is_same).cloned().unwrap_or_default();
    let numbers = |node: &str| if node.is_empty() { String::new() } else { tree.text(&format!("{DRM}/{node}/dev")) };
    let (control, render) = (node("controlD"), node("renderD"));
    GpuCard {
        driver: device.driver,
        driver_version: device.driver_version,
        drm: Some(GpuCardDrm {
            id,
            card_name: name.to_owned(),
            card_device: numbers(name),
            control_device: numbers(&control),
            control_name: control,
            render_device: numbers(&render),
            render_name: render,
        }),
        numa_node: device.numa_node,
        pci_address: device.pci_address,
        vendor: device.vendor,
        vendor_id: device.vendor_id,
        product: device.product,
        product_id: device.product_id,
    }
}

/// Devices on USB, without its hubs.
pub(super) fn usb(tree: &Tree) -> Usb {
    /// The class of hubs.
    const HUB: &str = "09";
    let entries = tree.names(USB);
    let is_device = |name: &&String| {
        let file = |file: &str| format!("{USB}/{name}/{file}");
        tree.exists(&file("idVendor")) && tree.text(&file("bDeviceClass")) != HUB
    };
    let devices: Vec<UsbDevice> = entries.iter().filter(is_device).map(|name| usb_device(tree, name, &entries)).collect();
    Usb { total: devices.len() as u64, devices }
}

fn usb_device(tree: &Tree, name: &str, entries: &[String]) -> UsbDevice {
    let file = |file: &str| format!("{USB}/{name}/{file}");
    let own = entries.iter().filter(|other| other.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
    UsbDevice {
        bus_address: tree.number(&file("busnum")),
        device_address: tree.number(&file("devnum")),
        interfaces: own.map(|interface| usb_interface(tree, interface)).collect(),
        vendor: tree.text(&file("manufacturer")),
        vendor_id: tree.text(&file("idVendor")),
        product: tree.text(&file("product")),
        product_id: tree.text(&file("idProduct")),
        speed: tree.text(&file("speed")).parse().unwrap_or(0.0),
        serial: tree.text(&file("serial")),
    }
}

fn usb_interface(tree: &Tree, name: &str) -> UsbInterface {
    let hex = |file: &str| u64::from_str_radix(&tree.text(&format!("{USB}/{name}/{file}")), 16).unwrap_or(0);
    let driver = tree.link_name(&format!("{USB}/{name}/driver"));
    UsbInterface {
        class_id: hex("bInterfaceClass"),
        driver_version: driver_version(tree, &driver),
        driver,
        number: hex("bInterfaceNumber"),
        subclass_id: hex("bInterfaceSubClass"),
        ..UsbInterface::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::host;
    use super::*;

    #[test]
    fn a_network_card_by_its_names() {
        let device = "sys/devices/pci0000:00/0000:00:03.0";
        let file = |name: &str| format!("{device}/{name}");
        let files = [
            ("usr/share/misc/pci.ids".to_owned(), "# list\n1af4  Red Hat\n\t1000  Virtio network\n\t\t1af4 0001  sub\nC 01  Storage\n"),
            ("proc/sys/kernel/osrelease".to_owned(), "6.18"),
            (file("vendor"), "0x1af4"),
            (file("device"), "0x1000"),
            (file("numa_node"), "-1"),
            (file("virtio0/net/eth0/address"), "00:16:3e:00:00:01"),
            (file("virtio0/net/eth0/carrier"), "1"),
            (file("virtio0/net/eth0/speed"), "-1"),
            (file("virtio0/net/eth0/type"), "1"),
            ("sys/class/net/lo/type".to_owned(), "772"),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), *content)).collect();
        let (_dir, tree) = host(
            &files,
            &[
                ("sys/bus/pci/devices/0000:00:03.0", "../../../devices/pci0000:00/0000:00:03.0"),
                ("sys/class/net/eth0", "../../devices/pci0000:00/0000:00:03.0/virtio0/net/eth0"),
                (&file("virtio0/net/eth0/device"), "../../../virtio0"),
                (&file("virtio0/driver"), "../../../../bus/virtio/drivers/virtio_net"),
            ],
        );
        let names = PciNames::read(&tree);
        let found = networks(&tree, &names);
        assert_eq!((found.total, pci(&tree, &names).total), (1, 1));
        let card = &found.cards[0];
        assert_eq!((card.vendor.as_str(), card.product.as_str(), card.vendor_id.as_str()), ("Red Hat", "Virtio network", "1af4"));
        assert_eq!((card.driver.as_str(), card.driver_version.as_str()), ("virtio_net", "6.18"));
        let port = &card.ports[0];
        assert_eq!((port.id.as_str(), port.link_detected, port.link_speed, port.protocol.as_str()), ("eth0", true, 0, "ethernet"));
    }

    #[test]
    fn usb_devices_without_hubs() {
        let (_dir, tree) = host(
            &[
                ("sys/bus/usb/devices/1-1/idVendor", "0781"),
                ("sys/bus/usb/devices/1-1/idProduct", "5567"),
                ("sys/bus/usb/devices/1-1/bDeviceClass", "00"),
                ("sys/bus/usb/devices/1-1/speed", "480"),
                ("sys/bus/usb/devices/1-1/busnum", "1"),
                ("sys/bus/usb/devices/1-1:1.0/bInterfaceClass", "08"),
                ("sys/bus/usb/devices/usb1/idVendor", "1d6b"),
                ("sys/bus/usb/devices/usb1/bDeviceClass", "09"),
            ],
            &[],
        );
        let found = usb(&tree);
        assert_eq!((found.total, found.devices[0].vendor_id.as_str(), found.devices[0].speed), (1, "0781", 480.0));
        assert_eq!(found.devices[0].interfaces[0].class_id, 8);
    }
}
