//! Keys of disks: the root disk, and directories, files and block devices of the host.

use crate::row::keys;
use crate::types::{DiskOptions, DiskRate, DiskSource, GuestPath, PoolName, Propagation, Size, Text};
use crate::{Device, KeyError, Refused, Table};

keys! { ROWS;
    /// Most bytes or operations per second, both read and written; `limits.read` and `limits.write` come first.
    LIMITS_MAX: DiskRate = "limits.max", "", Now;
    /// Most bytes or operations read per second. Bounds the whole disk that the source is on.
    LIMITS_READ: DiskRate = "limits.read", "", Now;
    /// Most bytes or operations written per second. Bounds the whole disk that the source is on.
    LIMITS_WRITE: DiskRate = "limits.write", "", Now;
    /// Start without the disk where its source is missing; the opposite of `required`.
    OPTIONAL: bool = "optional", "false", Now;
    /// Where the disk appears in the instance; `/` is the root disk.
    PATH: GuestPath = "path", "", Now;
    /// Storage pool of the root disk, or of the custom volume that `source` names.
    POOL: PoolName = "pool", "", Fixed;
    /// Which mounts below the source pass between host and instance: with `slave` those that the host makes are seen inside, with
    /// `shared` also the other way round, which the kernel grants to privileged instances only. Those that come later are as the
    /// host has made them, also where the disk is read-only.
    PROPAGATION: Propagation = "propagation", "private", Now;
    /// Options of the mount: `nosuid`, `nodev`, `noexec`, `nosymfollow`, `noatime`, `nodiratime`, `strictatime`, and where the
    /// source is a block device some of its file system (`discard`, `commit=30`).
    RAW_MOUNT_OPTIONS: DiskOptions = "raw.mount.options", "", Now;
    /// Whether the disk is read-only in the instance.
    READONLY: bool = "readonly", "false", Now;
    /// Whether mounts below the source come along.
    RECURSIVE: bool = "recursive", "false", Now;
    /// Refuse to start where the source is missing.
    REQUIRED: bool = "required", "true", Now;
    /// Whether the source's files appear with the instance's ids (by an idmapped mount).
    SHIFT: bool = "shift", "false", Now;
    /// Size limit of the root disk. Subvolumes that the guest makes inside count, too: while there is
    /// a limit it can make none that would not (snapshots by the request that can name quota groups answer EPERM), from the
    /// next start on.
    SIZE: Size = "size", "", Now;
    /// Directory or file on the host; with `pool` the name of a custom volume. A character device that is shown in this way may be
    /// used by unprivileged instances; a device for a privileged one is of the type `unix-char`.
    SOURCE: DiskSource = "source", "", Now;
    /// Always `disk`.
    TYPE: Text = "type", "", Fixed;
}

static REFUSED: &[Refused] = &[
    Refused { name: "boot.priority", reason: "it concerns virtual machines, and this server runs containers" },
    Refused { name: "ceph.*", reason: "Ceph is not supported" },
];

pub(super) static TABLE: Table = Table { unknown: "Invalid device configuration key for disk", rows: ROWS, refused: REFUSED };

/// Whether the device is a root disk.
pub fn is_root(device: &Device) -> bool {
    device.get("type").is_some_and(|kind| kind == "disk")
        && normal_path(device) == "/"
        && PATH.text(device).is_some()
        && SOURCE.text(device).is_none()
}

/// The path of a disk with one slash in front and between, none at the end. Other devices and
/// disks without a path give `/`.
pub fn normal_path(device: &Device) -> String {
    let path = PATH.text(device).unwrap_or_default();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

/// Whether the device has a limit of accesses.
pub fn is_limited(device: &Device) -> bool {
    [LIMITS_MAX, LIMITS_READ, LIMITS_WRITE].iter().any(|key| key.text(device).is_some())
}

/// Whether the instance starts without the disk when its source is missing.
pub fn is_optional(device: &Device) -> bool {
    OPTIONAL.is_true(device) || !REQUIRED.is_true(device)
}

/// Pool and name of the custom volume that the device attaches, if it is such a device.
pub fn volume(device: &Device) -> Option<(&str, &str)> {
    let is_disk = device.get("type").is_some_and(|kind| kind == "disk");
    let source = SOURCE.text(device).filter(|_| is_disk)?;
    Some((POOL.text(device)?, source.strip_prefix("custom/").unwrap_or(source)))
}

/// Checks one disk.
pub(crate) fn validate(device: &Device) -> Result<(), KeyError> {
    TABLE.validate(device)?;
    if PATH.text(device).is_none() {
        return Err(KeyError::other("Disk entry is missing the required \"path\" property."));
    }
    if normal_path(device) == "/" { validate_root(device) } else { validate_bind(device) }
}

fn validate_root(device: &Device) -> Result<(), KeyError> {
    let refused = [
        (SOURCE.text(device).is_some(), "Root disk entry may not have a \"source\" property set."),
        (RECURSIVE.is_true(device), "The recursive option is only supported for additional bind-mounted paths."),
        (READONLY.is_true(device), "The root disk may not be read-only."),
        (is_optional(device), "The root disk may not be optional."),
        (PROPAGATION.text(device).is_some(), "The root disk may have no propagation."),
        (RAW_MOUNT_OPTIONS.text(device).is_some(), "The root disk may have no mount options."),
    ];
    refused.iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, text)| Err(KeyError::other(*text)))
}

fn validate_bind(device: &Device) -> Result<(), KeyError> {
    let Some(source) = SOURCE.text(device) else {
        return Err(KeyError::other("Disk entry is missing the required \"source\" property."));
    };
    match (POOL.text(device), source.starts_with('/')) {
        (Some(_), true) => return Err(KeyError::other("Storage volumes cannot be specified as absolute paths")),
        (None, false) => {
            return Err(KeyError::other(
                "The source of a disk must be an absolute path, or it must have a \"pool\" that holds the volume.",
            ));
        }
        _ => {}
    }
    if SIZE.text(device).is_some() {
        return Err(KeyError::other("Only the root disk may have a size quota."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Result<(), String> {
        let device = [("type", "disk")].iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        validate(&device).map_err(|error| error.to_string())
    }

    #[test]
    fn texts() {
        assert_eq!(check(&[]), Err("Disk entry is missing the required \"path\" property.".into()));
        assert_eq!(check(&[("path", "/mnt")]), Err("Disk entry is missing the required \"source\" property.".into()));
        assert_eq!(check(&[("path", "/"), ("source", "/x")]), Err("Root disk entry may not have a \"source\" property set.".into()));
        assert_eq!(check(&[("path", "/m"), ("source", "/x"), ("size", "1GB")]), Err("Only the root disk may have a size quota.".into()));
        assert_eq!(check(&[("path", "/"), ("size", "1GB")]), Ok(()));
        assert!(check(&[("path", "/"), ("recursive", "true")]).is_err());
        assert_eq!(check(&[("path", "/m"), ("source", "v1"), ("pool", "default")]), Ok(()));
        assert!(check(&[("path", "/m"), ("source", "/v1"), ("pool", "default")]).is_err());
        assert!(check(&[("path", "/m"), ("source", "../v1"), ("pool", "default")]).is_err());
        let options = |text| check(&[("path", "/m"), ("source", "/x"), ("raw.mount.options", text)]);
        assert_eq!(options("noatime,nosuid,commit=30"), Ok(()));
        for bad in ["suid", "uid=0", "noatime,", "subvol=x", "data=x"] {
            assert!(options(bad).expect_err(bad).contains("Invalid mount option"));
        }
        assert_eq!(check(&[("path", "/"), ("raw.mount.options", "nosuid")]), Err("The root disk may have no mount options.".into()));
        assert!(check(&[("path", "/m"), ("source", "/x"), ("propagation", "unbindable")]).is_err());
    }

    #[test]
    fn paths_do_not_traverse() {
        for (path, source) in [("../etc", "/x"), ("/mnt", "/a/../b"), ("/mnt", "relative"), ("/m\nnt", "/x"), ("/a/../..", "/x")] {
            assert!(check(&[("path", path), ("source", source)]).is_err(), "{path:?} {source:?}");
        }
    }

    #[test]
    fn optional_either_way() {
        let device = |key: &str, value: &str| Device::from([(key.to_owned(), value.to_owned())]);
        assert!(is_optional(&device("optional", "true")));
        assert!(is_optional(&device("required", "false")));
        assert!(!is_optional(&Device::new()));
    }
}
