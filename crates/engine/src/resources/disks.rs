//! Disks and their partitions.

use api::resources::{Storage, StorageDisk, StorageDiskPartition};

use super::{Tree, pci_address};

const BLOCK: &str = "/sys/class/block";
/// The unit of `size` in sysfs, whatever the disk's own is.
const SECTOR_BYTES: u64 = 512;

/// The disks that are hardware, or that the hypervisor shows as such.
pub(super) fn read(tree: &Tree) -> Storage {
    let names = tree.names(BLOCK);
    let is_disk = |name: &&String| tree.exists(&format!("{BLOCK}/{name}/device")) && !tree.exists(&format!("{BLOCK}/{name}/partition"));
    let disks: Vec<StorageDisk> = names.iter().filter(is_disk).map(|name| disk(tree, name, &names)).collect();
    let total = disks.iter().map(|disk| 1 + disk.partitions.len() as u64).sum();
    Storage { disks, total }
}

fn disk(tree: &Tree, name: &str, all: &[String]) -> StorageDisk {
    let dir = format!("{BLOCK}/{name}");
    let text = |file: &str| tree.text(&format!("{dir}/{file}"));
    let number = |file: &str| tree.number(&format!("{dir}/{file}"));
    let (path, device) = (tree.link(&dir), text("dev"));
    let firmware = ["device/firmware_rev", "device/rev"].into_iter().map(text).find(|found| !found.is_empty());
    let wwn = ["wwid", "device/wwid"].into_iter().map(text).find(|found| !found.is_empty());
    StorageDisk {
        id: name.to_owned(),
        model: text("device/model"),
        kind: kind(name, &tree.link_name(&format!("{dir}/device/subsystem"))),
        read_only: number("ro") == 1,
        size: number("size") * SECTOR_BYTES,
        removable: number("removable") == 1,
        wwn: wwn.unwrap_or_default(),
        numa_node: tree.numa_node(&format!("{dir}/device")),
        pci_address: pci_address(&path),
        device_path: links_to(tree, "/dev/disk/by-path", name),
        block_size: number("queue/physical_block_size"),
        firmware_version: firmware.unwrap_or_default(),
        // A spinning disk does not say how fast it spins; 1 says that it does.
        rpm: number("queue/rotational"),
        serial: text("serial"),
        device_id: links_to(tree, "/dev/disk/by-id", name),
        partitions: all.iter().filter_map(|partition| partition_of(tree, name, partition)).collect(),
        device,
    }
}

fn kind(name: &str, subsystem: &str) -> String {
    match subsystem {
        _ if name.starts_with("nvme") => "nvme",
        other => other,
    }
    .to_owned()
}

/// The link in a directory of links that leads to a device.
fn links_to(tree: &Tree, dir: &str, name: &str) -> String {
    tree.names(dir).into_iter().find(|link| tree.link_name(&format!("{dir}/{link}")) == name).unwrap_or_default()
}

fn partition_of(tree: &Tree, disk: &str, name: &str) -> Option<StorageDiskPartition> {
    let dir = format!("{BLOCK}/{name}");
    let path = tree.link(&dir);
    let is_ours = path.parent().and_then(|parent| parent.file_name()).is_some_and(|parent| parent == disk);
    (is_ours && tree.exists(&format!("{dir}/partition"))).then(|| StorageDiskPartition {
        id: name.to_owned(),
        device: tree.text(&format!("{dir}/dev")),
        read_only: tree.number(&format!("{dir}/ro")) == 1,
        size: tree.number(&format!("{dir}/size")) * SECTOR_BYTES,
        partition: tree.number(&format!("{dir}/partition")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::host;
    use super::*;

    #[test]
    fn a_disk_with_a_partition_beside_a_loop_device() {
        let device = "sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda";
        let file = |name: &str| format!("{device}/{name}");
        let files = [
            (file("size"), "2048"),
            (file("ro"), "0"),
            (file("dev"), "254:0"),
            (file("serial"), "abc"),
            (file("device/model"), "Disk"),
            (file("queue/physical_block_size"), "4096"),
            (file("vda1/partition"), "1"),
            (file("vda1/size"), "1024"),
            (file("vda1/dev"), "254:1"),
            ("sys/devices/virtual/block/loop0/size".to_owned(), "9"),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), *content)).collect();
        let block = "../../devices/pci0000:00/0000:00:04.0/virtio1/block/vda";
        let (_dir, tree) = host(
            &files,
            &[
                ("sys/class/block/vda", block),
                ("sys/class/block/vda1", &format!("{block}/vda1")),
                ("sys/class/block/loop0", "../../devices/virtual/block/loop0"),
                ("dev/disk/by-id/virtio-abc", "../../vda"),
            ],
        );
        let found = read(&tree);
        assert_eq!((found.total, found.disks.len()), (2, 1));
        let disk = &found.disks[0];
        assert_eq!((disk.id.as_str(), disk.device.as_str(), disk.size, disk.model.as_str()), ("vda", "254:0", 1 << 20, "Disk"));
        assert_eq!((disk.pci_address.as_str(), disk.device_id.as_str(), disk.block_size), ("0000:00:04.0", "virtio-abc", 4096));
        assert_eq!((disk.partitions.len(), disk.partitions[0].size, disk.partitions[0].partition), (1, 512 << 10, 1));
    }
}
