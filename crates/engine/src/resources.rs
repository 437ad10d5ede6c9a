//! The hardware of the host, as `/proc` and `/sys` show it. What cannot be read stays empty: machines and
//! kernels differ in what they tell.

mod buses;
mod disks;
mod processors;

use std::path::{Path, PathBuf};

use api::resources::{HostResources, Memory, MemoryNode, System, SystemChassis, SystemFirmware, SystemMotherboard};

use crate::Engine;

impl Engine {
    /// What the host has. Reads some hundreds of files.
    pub fn resources(&self) -> HostResources {
        read(&Tree::new("/"), self.host.architecture)
    }
}

/// A host's file system, or one that a test made up.
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file, without blanks around it; empty if there is none.
    fn text(&self, path: &str) -> String {
        sys::fs::read_to_string(self.path(path)).unwrap_or_default().trim().to_owned()
    }

    fn number(&self, path: &str) -> u64 {
        self.text(path).parse().unwrap_or(0)
    }

    /// A number written as `0x1af4`, without that prefix.
    fn hex(&self, path: &str) -> String {
        self.text(path).trim_start_matches("0x").to_owned()
    }

    /// The names in a directory, sorted.
    fn names(&self, path: &str) -> Vec<String> {
        let mut names = sys::fs::list_dir(self.path(path)).unwrap_or_default();
        names.sort();
        names
    }

    fn exists(&self, path: &str) -> bool {
        sys::fs::exists(self.path(path))
    }

    /// The last component of what a link leads to.
    fn link_name(&self, path: &str) -> String {
        let target = sys::fs::read_link(self.path(path)).unwrap_or_default();
        target.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Where a link leads.
    fn link(&self, path: &str) -> PathBuf {
        sys::fs::read_link(self.path(path)).unwrap_or_default()
    }

    /// The node of a device; `-1` for none counts as the first.
    fn numa_node(&self, device: &str) -> u64 {
        self.text(&format!("{device}/numa_node")).parse().unwrap_or(0)
    }
}

fn read(tree: &Tree, architecture: &str) -> HostResources {
    let names = buses::PciNames::read(tree);
    HostResources {
        cpu: processors::read(tree, architecture),
        memory: memory(tree),
        gpu: buses::gpus(tree, &names),
        network: buses::networks(tree, &names),
        storage: disks::read(tree),
        usb: buses::usb(tree),
        pci: buses::pci(tree, &names),
        system: system(tree),
    }
}

/// A value of `/proc/meminfo` or of a node's `meminfo`, in the unit that it has there.
fn meminfo(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.split_once(':').filter(|(name, _)| name.split_whitespace().next_back() == Some(key)));
    line.and_then(|(_, value)| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn used_kib(text: &str) -> u64 {
    let free: u64 = ["MemFree", "Buffers", "Cached", "FilePages", "SReclaimable"].into_iter().map(|key| meminfo(text, key)).sum();
    meminfo(text, "MemTotal").saturating_sub(free)
}

fn memory(tree: &Tree) -> Memory {
    let text = tree.text("/proc/meminfo");
    let page = meminfo(&text, "Hugepagesize") * 1024;
    let (total, free) = (meminfo(&text, "HugePages_Total"), meminfo(&text, "HugePages_Free"));
    Memory {
        nodes: nodes(tree).into_iter().map(|node| memory_node(tree, node, page)).collect(),
        hugepages_total: total * page,
        hugepages_used: total.saturating_sub(free) * page,
        hugepages_size: page,
        used: used_kib(&text) * 1024,
        total: meminfo(&text, "MemTotal") * 1024,
    }
}

fn memory_node(tree: &Tree, node: u64, page: u64) -> MemoryNode {
    let text = tree.text(&format!("/sys/devices/system/node/node{node}/meminfo"));
    let (total, free) = (meminfo(&text, "HugePages_Total"), meminfo(&text, "HugePages_Free"));
    MemoryNode {
        numa_node: node,
        hugepages_used: total.saturating_sub(free) * page,
        hugepages_total: total * page,
        used: used_kib(&text) * 1024,
        total: meminfo(&text, "MemTotal") * 1024,
    }
}

/// Numbers of the nodes, sorted.
fn nodes(tree: &Tree) -> Vec<u64> {
    let names = tree.names("/sys/devices/system/node");
    let mut nodes: Vec<u64> = names.iter().filter_map(|name| name.strip_prefix("node")?.parse().ok()).collect();
    nodes.sort_unstable();
    nodes
}

fn system(tree: &Tree) -> System {
    let dmi = |name: &str| tree.text(&format!("/sys/class/dmi/id/{name}"));
    let has_dmi = tree.exists("/sys/class/dmi/id");
    let is_virtual = tree
        .text("/proc/cpuinfo")
        .lines()
        .any(|line| line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "hypervisor"));
    let kind = if tree.exists("/run/systemd/container") {
        "container"
    } else if is_virtual {
        "virtual-machine"
    } else {
        "physical"
    };
    System {
        uuid: dmi("product_uuid"),
        vendor: dmi("sys_vendor"),
        product: dmi("product_name"),
        family: dmi("product_family"),
        version: dmi("product_version"),
        sku: dmi("product_sku"),
        serial: dmi("product_serial"),
        kind: kind.to_owned(),
        firmware: has_dmi.then(|| SystemFirmware { vendor: dmi("bios_vendor"), date: dmi("bios_date"), version: dmi("bios_version") }),
        chassis: has_dmi.then(|| SystemChassis {
            vendor: dmi("chassis_vendor"),
            kind: dmi("chassis_type"),
            serial: dmi("chassis_serial"),
            version: dmi("chassis_version"),
        }),
        motherboard: has_dmi.then(|| SystemMotherboard {
            vendor: dmi("board_vendor"),
            product: dmi("board_name"),
            serial: dmi("board_serial"),
            version: dmi("board_version"),
        }),
    }
}

/// The PCI address within the path of a device, the one nearest to the device.
fn pci_address(path: &Path) -> String {
    let is_address =
        |part: &str| part.len() == 12 && part.as_bytes()[4] == b':' && part.as_bytes()[7] == b':' && part.as_bytes()[10] == b'.';
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    parts.into_iter().rev().find(|part| part.is_ascii() && is_address(part)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up host: path and content, or path and target of a link.
    pub(super) fn host(files: &[(&str, &str)], links: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let make_parent = |path: &Path| std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        for (path, content) in files {
            let path = dir.path().join(path);
            make_parent(&path);
            std::fs::write(path, content).expect("write");
        }
        for (path, target) in links {
            let path = dir.path().join(path);
            make_parent(&path);
            std::os::unix::fs::symlink(target, path).expect("link");
        }
        let tree = Tree::new(dir.path());
        (dir, tree)
    }

    #[test]
    fn this_host_has_something() {
        let found = read(&Tree::new("/"), "x86_64");
        assert!(found.cpu.total > 0 && !found.cpu.sockets.is_empty());
        assert!(found.memory.total > found.memory.used && found.memory.used > 0);
        assert_eq!(found.pci.total, found.pci.devices.len() as u64);
    }

    #[test]
    fn memory_and_its_nodes() {
        let meminfo = "MemTotal: 4096 kB\nMemFree: 1024 kB\nBuffers: 512 kB\nCached: 512 kB\nHugePages_Total: 3\nHugePages_Free: 1\nHugepagesize: 2048 kB";
        let node = "Node 0 MemTotal: 2048 kB\nNode 0 MemFree: 1024 kB\nNode 0 HugePages_Total: 1\nNode 0 HugePages_Free: 0";
        let (_dir, tree) = host(
            &[("proc/meminfo", meminfo), ("sys/devices/system/node/node0/meminfo", node), ("sys/devices/system/node/online", "0")],
            &[],
        );
        let memory = memory(&tree);
        assert_eq!((memory.total, memory.used), (4 << 20, 2 << 20));
        assert_eq!((memory.hugepages_total, memory.hugepages_used, memory.hugepages_size), (6 << 20, 4 << 20, 2 << 20));
        let expected = MemoryNode { numa_node: 0, hugepages_used: 2 << 20, hugepages_total: 2 << 20, used: 1 << 20, total: 2 << 20 };
        assert_eq!(memory.nodes, [expected]);
    }

    #[test]
    fn addresses_in_paths() {
        assert_eq!(pci_address(Path::new("../../devices/pci0000:00/0000:00:02.0/0000:01:00.1/virtio2/block/vda")), "0000:01:00.1");
        assert_eq!(pci_address(Path::new("../../devices/virtual/net/lo")), "");
    }

    #[test]
    fn a_bare_host_is_no_error() {
        let (_dir, tree) = host(&[], &[]);
        let found = read(&tree, "x86_64");
        assert_eq!((found.cpu.total, found.memory.total, found.storage.total, found.system.kind.as_str()), (0, 0, 0, "physical"));
    }
}
