//! Keys of graphics cards.

use crate::Table;
use crate::row::keys;
use crate::types::{Count, GpuType, HexId, Mode, PciAddress, Text, Uint32};

keys! { ROWS;
    /// Group of the nodes in the instance.
    GID: Uint32 = "gid", "0", Now;
    /// Which part of the card is passed.
    GPUTYPE: GpuType = "gputype", "physical", Now;
    /// Number of the card under /dev/dri; any when unset.
    ID: Count = "id", "", Now;
    /// Permission bits of the nodes.
    MODE: Mode = "mode", "0660", Now;
    /// PCI address of the card; any when unset.
    PCI: PciAddress = "pci", "", Now;
    /// Product id; any when unset.
    PRODUCTID: HexId = "productid", "", Now;
    /// Always `gpu`.
    TYPE: Text = "type", "", Fixed;
    /// Owner of the nodes in the instance.
    UID: Uint32 = "uid", "0", Now;
    /// Vendor id; any when unset.
    VENDORID: HexId = "vendorid", "", Now;
}

pub(super) static TABLE: Table = Table { unknown: "Invalid device configuration key for gpu", rows: ROWS, refused: &[] };
