//! Keys of USB devices.

use crate::Table;
use crate::row::keys;
use crate::types::{HexId, Mode, Text, Uint32};

keys! { ROWS;
    /// Group of the node in the instance.
    GID: Uint32 = "gid", "0", Now;
    /// Permission bits of the node.
    MODE: Mode = "mode", "0660", Now;
    /// Product id; any when unset.
    PRODUCTID: HexId = "productid", "", Now;
    /// Refuse to start while no such device is plugged in.
    REQUIRED: bool = "required", "false", Now;
    /// Always `usb`.
    TYPE: Text = "type", "", Fixed;
    /// Owner of the node in the instance.
    UID: Uint32 = "uid", "0", Now;
    /// Vendor id; any when unset.
    VENDORID: HexId = "vendorid", "", Now;
}

pub(super) static TABLE: Table = Table { unknown: "Invalid device configuration key for usb", rows: ROWS, refused: &[] };
