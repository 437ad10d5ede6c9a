//! The hardware of a server as text, for `lxc info --resources`.

use std::fmt::{Arguments, Write};

use api::resources::{CpuSocket, GpuCard, HostResources, Memory, NetworkCard, StorageDisk, System};

use crate::units;

/// All of it.
pub fn describe(resources: &HostResources) -> String {
    let mut page = Page::default();
    system(&mut page, &resources.system);
    let cpu = &resources.cpu;
    let titles = (format!("CPU ({}):", cpu.architecture), format!("CPUs ({}):", cpu.architecture));
    each(&mut page, (&titles.0, &titles.1, "Socket"), &cpu.sockets, socket);
    memory(&mut page, &resources.memory);
    each(&mut page, ("GPU:", "GPUs:", "Card"), &resources.gpu.cards, gpu);
    each(&mut page, ("NIC:", "NICs:", "Card"), &resources.network.cards, network);
    each(&mut page, ("Disk:", "Disks:", "Disk"), &resources.storage.disks, disk);
    if !resources.usb.devices.is_empty() {
        page.title(0, "USB devices:");
    }
    for device in &resources.usb.devices {
        let (place, ids) =
            (format!("{}:{}", device.bus_address, device.device_address), format!("{}:{}", device.vendor_id, device.product_id));
        page.item(2, [&place, &ids, &device.vendor, &device.product, ""]);
    }
    if !resources.pci.devices.is_empty() {
        page.title(0, "PCI devices:");
    }
    for device in &resources.pci.devices {
        let driver = if device.driver.is_empty() { String::new() } else { format!("(driver: {})", device.driver) };
        let ids = format!("{}:{}", device.vendor_id, device.product_id);
        page.item(2, [&device.pci_address, &ids, &device.vendor, &device.product, &driver]);
    }
    page.text
}

fn system(page: &mut Page, system: &System) {
    page.title(0, "System:");
    page.field(2, "Vendor", &system.vendor);
    page.field(2, "Product", &system.product);
    page.field(2, "Version", &system.version);
    page.field(2, "Serial", &system.serial);
    page.field(2, "UUID", &system.uuid);
    page.field(2, "Type", &system.kind);
    if let Some(firmware) = &system.firmware {
        page.title(2, "Firmware:");
        page.field(4, "Vendor", &firmware.vendor);
        page.field(4, "Version", &firmware.version);
        page.field(4, "Date", &firmware.date);
    }
}

fn socket(page: &mut Page, indent: usize, socket: &CpuSocket) {
    page.field(indent, "Vendor", &socket.vendor);
    page.field(indent, "Name", &socket.name);
    if !socket.cache.is_empty() {
        page.title(indent, "Caches:");
    }
    for cache in &socket.cache {
        page.line(indent + 2, format_args!("- Level {} (type: {}): {}", cache.level, cache.kind, size(cache.size)));
    }
    page.title(indent, "Cores:");
    for core in &socket.cores {
        page.line(indent + 2, format_args!("- Core {}", core.core));
        page.megahertz(indent + 4, "Frequency", core.frequency);
        page.title(indent + 4, "Threads:");
        for thread in &core.threads {
            let known = (thread.thread, thread.id, thread.online, thread.numa_node);
            page.line(indent + 6, format_args!("- {} (id: {}, online: {}, NUMA node: {})", known.0, known.1, known.2, known.3));
        }
    }
    page.megahertz(indent, "Frequency", socket.frequency);
    page.megahertz(indent, "Frequency (minimum)", socket.frequency_minimum);
    page.megahertz(indent, "Frequency (turbo)", socket.frequency_turbo);
}

fn memory(page: &mut Page, memory: &Memory) {
    page.title(0, "Memory:");
    if memory.hugepages_total > 0 {
        page.title(2, "Hugepages:");
        page.usage(4, memory.hugepages_used, memory.hugepages_total);
    }
    // Of one node there is nothing else to tell.
    if memory.nodes.len() > 1 {
        page.title(2, "NUMA nodes:");
        for node in &memory.nodes {
            page.line(4, format_args!("Node {}:", node.numa_node));
            page.usage(6, node.used, node.total);
        }
    }
    page.usage(2, memory.used, memory.total);
}

fn gpu(page: &mut Page, indent: usize, card: &GpuCard) {
    page.line(indent, format_args!("NUMA node: {}", card.numa_node));
    page.with_id(indent, "Vendor", (&card.vendor, &card.vendor_id));
    page.with_id(indent, "Product", (&card.product, &card.product_id));
    page.field(indent, "PCI address", &card.pci_address);
    page.with_id(indent, "Driver", (&card.driver, &card.driver_version));
    if let Some(drm) = &card.drm {
        page.title(indent, "DRM:");
        page.line(indent + 2, format_args!("ID: {}", drm.id));
        page.with_id(indent + 2, "Card", (&drm.card_name, &drm.card_device));
        page.with_id(indent + 2, "Control", (&drm.control_name, &drm.control_device));
        page.with_id(indent + 2, "Render", (&drm.render_name, &drm.render_device));
    }
}

fn network(page: &mut Page, indent: usize, card: &NetworkCard) {
    page.line(indent, format_args!("NUMA node: {}", card.numa_node));
    page.with_id(indent, "Vendor", (&card.vendor, &card.vendor_id));
    page.with_id(indent, "Product", (&card.product, &card.product_id));
    page.field(indent, "PCI address", &card.pci_address);
    page.with_id(indent, "Driver", (&card.driver, &card.driver_version));
    if !card.ports.is_empty() {
        page.title(indent, "Ports:");
    }
    for port in &card.ports {
        page.line(indent + 2, format_args!("- Port {} ({})", port.port, port.protocol));
        page.field(indent + 4, "ID", &port.id);
        page.field(indent + 4, "Address", &port.address);
        page.line(indent + 4, format_args!("Auto negotiation: {}", port.auto_negotiation));
        let speed = if port.link_speed > 0 { format!(" ({}Mbit/s {} duplex)", port.link_speed, port.link_duplex) } else { String::new() };
        page.line(indent + 4, format_args!("Link detected: {}{speed}", port.link_detected));
    }
}

fn disk(page: &mut Page, indent: usize, disk: &StorageDisk) {
    page.line(indent, format_args!("NUMA node: {}", disk.numa_node));
    page.field(indent, "ID", &disk.id);
    page.field(indent, "Device", &disk.device);
    page.field(indent, "Model", &disk.model);
    page.field(indent, "Type", &disk.kind);
    page.line(indent, format_args!("Size: {}", size(disk.size)));
    page.field(indent, "WWN", &disk.wwn);
    page.line(indent, format_args!("Read-Only: {}", disk.read_only));
    page.line(indent, format_args!("Removable: {}", disk.removable));
    if !disk.partitions.is_empty() {
        page.title(indent, "Partitions:");
    }
    for partition in &disk.partitions {
        page.line(indent + 2, format_args!("- Partition {}", partition.partition));
        page.field(indent + 4, "ID", &partition.id);
        page.field(indent + 4, "Device", &partition.device);
        page.line(indent + 4, format_args!("Read-Only: {}", partition.read_only));
        page.line(indent + 4, format_args!("Size: {}", size(partition.size)));
    }
}

/// One thing under its title, several numbered under a common one, none not at all.
fn each<T>(page: &mut Page, (one, many, each): (&str, &str, &str), items: &[T], describe: impl Fn(&mut Page, usize, &T)) {
    match items {
        [] => {}
        [item] => {
            page.title(0, one);
            describe(page, 2, item);
        }
        items => {
            page.title(0, many);
            for (index, item) in items.iter().enumerate() {
                page.line(2, format_args!("{each} {index}:"));
                describe(page, 4, item);
            }
        }
    }
}

fn size(bytes: u64) -> String {
    units::size(bytes.min(i64::MAX as u64) as i64)
}

/// Lines, indented.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, indent: usize, text: Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{text}", "");
    }

    /// One at the margin is set off from what stands above.
    fn title(&mut self, indent: usize, title: &str) {
        if indent == 0 && !self.text.is_empty() {
            self.text.push('\n');
        }
        self.line(indent, format_args!("{title}"));
    }

    /// Nothing where the value is not known.
    fn field(&mut self, indent: usize, label: &str, value: &str) {
        if !value.is_empty() {
            self.line(indent, format_args!("{label}: {value}"));
        }
    }

    /// What is known of an item, on one line.
    fn item(&mut self, indent: usize, words: [&str; 5]) {
        let known: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        self.line(indent, format_args!("- {}", known.join(" ")));
    }

    /// A value with its number or version.
    fn with_id(&mut self, indent: usize, label: &str, (value, id): (&str, &str)) {
        match (value.is_empty(), id.is_empty()) {
            (true, true) => {}
            (false, true) => self.field(indent, label, value),
            (true, false) => self.field(indent, label, id),
            (false, false) => self.line(indent, format_args!("{label}: {value} ({id})")),
        }
    }

    fn megahertz(&mut self, indent: usize, label: &str, value: u64) {
        if value > 0 {
            self.line(indent, format_args!("{label}: {value}Mhz"));
        }
    }

    fn usage(&mut self, indent: usize, used: u64, total: u64) {
        for (label, bytes) in [("Free", total.saturating_sub(used)), ("Used", used), ("Total", total)] {
            self.line(indent, format_args!("{label}: {}", size(bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_numbered_and_none_not_mentioned() {
        let mut resources = HostResources::default();
        resources.cpu.architecture = "x86_64".to_owned();
        resources.system.kind = "virtual-machine".to_owned();
        (resources.memory.used, resources.memory.total) = (1 << 20, 3 << 20);
        let disk = StorageDisk { id: "vda".to_owned(), size: 1536, ..StorageDisk::default() };
        resources.storage.disks = vec![disk.clone()];
        let one = describe(&resources);
        let start = "System:\n  Type: virtual-machine\n\nMemory:\n  Free: 2.00MB\n  Used: 1.00MB\n  Total: 3.00MB\n\nDisk:\n  NUMA node: 0\n  ID: vda\n";
        assert!(one.starts_with(start), "{one}");
        resources.storage.disks.push(disk);
        let two = describe(&resources);
        assert!(two.contains("\nDisks:\n  Disk 0:\n    NUMA node: 0\n") && two.contains("\n  Disk 1:\n    NUMA node: 0\n"), "{two}");
        assert!(!two.contains("GPU") && !two.contains("USB"), "{two}");
    }
}
