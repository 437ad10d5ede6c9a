//! Keys of character and block device nodes.

use super::DeviceType;
use crate::row::keys;
use crate::types::{AbsolutePath, Mode, Text, Uint32};
use crate::{Device, KeyError, Table};

keys! { ROWS;
    /// Group of the node in the instance.
    GID: Uint32 = "gid", "0", Now;
    /// Major number; with `minor`, instead of a node on the host.
    MAJOR: Uint32 = "major", "", Now;
    /// Minor number; with `major`, instead of a node on the host.
    MINOR: Uint32 = "minor", "", Now;
    /// Permission bits of the node.
    MODE: Mode = "mode", "0660", Now;
    /// Path of the node in the instance; that of the source when unset.
    PATH: AbsolutePath = "path", "", Now;
    /// Refuse to start where the source is missing.
    REQUIRED: bool = "required", "true", Now;
    /// Path of the node on the host; that in the instance when unset.
    SOURCE: AbsolutePath = "source", "", Now;
    /// Either `unix-char` or `unix-block`.
    TYPE: Text = "type", "", Fixed;
    /// Owner of the node in the instance.
    UID: Uint32 = "uid", "0", Now;
}

pub(super) static CHAR: Table = Table { unknown: "Invalid device configuration key for unix-char", rows: ROWS, refused: &[] };
pub(super) static BLOCK: Table = Table { unknown: "Invalid device configuration key for unix-block", rows: ROWS, refused: &[] };

/// Path of the node in the instance.
pub fn guest_path(device: &Device) -> Option<&str> {
    PATH.text(device).or_else(|| SOURCE.text(device))
}

/// Path of the node on the host.
pub fn host_path(device: &Device) -> Option<&str> {
    SOURCE.text(device).or_else(|| PATH.text(device))
}

/// Checks one node.
pub(super) fn validate(kind: DeviceType, device: &Device) -> Result<(), KeyError> {
    let table = if kind == DeviceType::UnixBlock { &BLOCK } else { &CHAR };
    table.validate(device)?;
    let Some(path) = guest_path(device) else {
        return Err(KeyError::other("Unix device entry is missing the required \"path\" or \"source\" property."));
    };
    if MAJOR.text(device).is_some() != MINOR.text(device).is_some() {
        return Err(KeyError::other(format!("Both major and minor must be supplied for device: {path}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Result<(), String> {
        let device = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        validate(DeviceType::UnixChar, &device).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_come_in_pairs() {
        assert_eq!(check(&[("path", "/dev/x"), ("major", "10")]), Err("Both major and minor must be supplied for device: /dev/x".into()));
        assert_eq!(check(&[("source", "/dev/fuse"), ("major", "10"), ("minor", "229")]), Ok(()));
        assert!(check(&[]).is_err());
        assert!(check(&[("path", "/dev/x"), ("mode", "rw")]).expect_err("mode").starts_with("Bad mode rw"));
    }
}
