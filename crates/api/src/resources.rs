//! The hardware of the host: `GET /1.0/resources`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::null_default;

macro_rules! resource {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default)]
        #[allow(missing_docs, reason = "the names are those of the API and say it")]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* })*
    };
}

resource! {
    /// All of it.
    HostResources {
        cpu: Cpu,
        memory: Memory,
        gpu: Gpu,
        network: Network,
        storage: Storage,
        usb: Usb,
        pci: Pci,
        system: System,
    }
    /// The processors.
    Cpu {
        architecture: String,
        #[serde(deserialize_with = "null_default")]
        sockets: Vec<CpuSocket>,
        /// Threads.
        total: u64,
    }
    /// One package of processors. Frequencies in MHz, 0 where unknown.
    CpuSocket {
        name: String,
        vendor: String,
        socket: u64,
        #[serde(deserialize_with = "null_default")]
        cache: Vec<CpuCache>,
        #[serde(deserialize_with = "null_default")]
        cores: Vec<CpuCore>,
        frequency: u64,
        frequency_minimum: u64,
        frequency_turbo: u64,
    }
    /// One cache.
    CpuCache {
        level: u64,
        /// `Data`, `Instruction` or `Unified`.
        #[serde(rename = "type")]
        kind: String,
        /// Bytes.
        size: u64,
    }
    /// One core.
    CpuCore {
        core: u64,
        die: u64,
        #[serde(deserialize_with = "null_default")]
        threads: Vec<CpuThread>,
        frequency: u64,
    }
    /// One thread of a core.
    CpuThread {
        /// The kernel's number of it.
        id: i64,
        numa_node: u64,
        thread: u64,
        online: bool,
        isolated: bool,
    }
    /// Memory in bytes, huge pages included.
    Memory {
        #[serde(deserialize_with = "null_default")]
        nodes: Vec<MemoryNode>,
        hugepages_total: u64,
        hugepages_used: u64,
        hugepages_size: u64,
        used: u64,
        total: u64,
    }
    /// The memory of one node, in bytes.
    MemoryNode {
        numa_node: u64,
        hugepages_used: u64,
        hugepages_total: u64,
        used: u64,
        total: u64,
    }
    /// Graphics cards.
    Gpu {
        #[serde(deserialize_with = "null_default")]
        cards: Vec<GpuCard>,
        total: u64,
    }
    /// One graphics card.
    GpuCard {
        driver: String,
        driver_version: String,
        drm: Option<GpuCardDrm>,
        numa_node: u64,
        pci_address: String,
        vendor: String,
        vendor_id: String,
        product: String,
        product_id: String,
    }
    /// The nodes of a graphics card.
    GpuCardDrm {
        id: u64,
        card_name: String,
        card_device: String,
        control_name: String,
        control_device: String,
        render_name: String,
        render_device: String,
    }
    /// Network cards.
    Network {
        #[serde(deserialize_with = "null_default")]
        cards: Vec<NetworkCard>,
        total: u64,
    }
    /// One network card.
    NetworkCard {
        driver: String,
        driver_version: String,
        #[serde(deserialize_with = "null_default")]
        ports: Vec<NetworkCardPort>,
        numa_node: u64,
        pci_address: String,
        vendor: String,
        vendor_id: String,
        product: String,
        product_id: String,
        firmware_version: String,
    }
    /// One interface of a network card.
    NetworkCardPort {
        /// Name of the interface.
        id: String,
        address: String,
        port: u64,
        protocol: String,
        auto_negotiation: bool,
        link_detected: bool,
        /// Mbit/s, 0 where unknown.
        link_speed: u64,
        link_duplex: String,
    }
    /// Disks.
    Storage {
        #[serde(deserialize_with = "null_default")]
        disks: Vec<StorageDisk>,
        total: u64,
    }
    /// One disk.
    StorageDisk {
        /// Name of the device.
        id: String,
        /// Its numbers: `8:0`.
        device: String,
        model: String,
        #[serde(rename = "type")]
        kind: String,
        read_only: bool,
        /// Bytes.
        size: u64,
        removable: bool,
        wwn: String,
        numa_node: u64,
        pci_address: String,
        device_path: String,
        block_size: u64,
        firmware_version: String,
        rpm: u64,
        serial: String,
        device_id: String,
        #[serde(deserialize_with = "null_default")]
        partitions: Vec<StorageDiskPartition>,
    }
    /// One partition of a disk.
    StorageDiskPartition {
        id: String,
        device: String,
        read_only: bool,
        /// Bytes.
        size: u64,
        partition: u64,
    }
    /// Devices on USB.
    Usb {
        #[serde(deserialize_with = "null_default")]
        devices: Vec<UsbDevice>,
        total: u64,
    }
    /// One device on USB.
    UsbDevice {
        bus_address: u64,
        device_address: u64,
        #[serde(deserialize_with = "null_default")]
        interfaces: Vec<UsbInterface>,
        vendor: String,
        vendor_id: String,
        product: String,
        product_id: String,
        /// Mbit/s.
        speed: f64,
        serial: String,
    }
    /// One interface of such a device.
    UsbInterface {
        class: String,
        class_id: u64,
        driver: String,
        driver_version: String,
        number: u64,
        subclass: String,
        subclass_id: u64,
    }
    /// Devices on PCI.
    Pci {
        #[serde(deserialize_with = "null_default")]
        devices: Vec<PciDevice>,
        total: u64,
    }
    /// One device on PCI.
    PciDevice {
        driver: String,
        driver_version: String,
        numa_node: u64,
        pci_address: String,
        vendor: String,
        vendor_id: String,
        product: String,
        product_id: String,
        iommu_group: u64,
    }
    /// The machine, as its firmware describes it.
    System {
        uuid: String,
        vendor: String,
        product: String,
        family: String,
        version: String,
        sku: String,
        serial: String,
        /// `physical`, `virtual-machine` or `container`.
        #[serde(rename = "type")]
        kind: String,
        firmware: Option<SystemFirmware>,
        chassis: Option<SystemChassis>,
        motherboard: Option<SystemMotherboard>,
    }
    /// The firmware.
    SystemFirmware {
        vendor: String,
        date: String,
        version: String,
    }
    /// The case.
    SystemChassis {
        vendor: String,
        #[serde(rename = "type")]
        kind: String,
        serial: String,
        version: String,
    }
    /// The board.
    SystemMotherboard {
        vendor: String,
        product: String,
        serial: String,
        version: String,
    }
}
