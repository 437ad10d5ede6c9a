//! Keys of storage pools, per driver.

use crate::row::keys;
use crate::types::{MountOptions, PoolSource, Size, Text};
use crate::{Config, KeyError, Refused, Table};

/// Keys of pools of directories.
pub mod dir {
    use super::{PoolSource, Text, keys};
    keys! { ROWS;
        /// Directory of the pool; chosen below the state directory when unset.
        SOURCE: PoolSource = "source", "", Fixed;
        /// Free for your own use.
        USER: Text = "user.*", "", Event;
        /// The source as it was given at creation.
        VOLATILE_INITIAL_SOURCE: Text = "volatile.initial_source", "", Fixed;
    }
}

/// Keys of btrfs pools.
pub mod btrfs {
    use super::{MountOptions, PoolSource, Size, Text, keys};
    keys! { ROWS;
        /// Options for mounting the pool's file system.
        MOUNT_OPTIONS: MountOptions = "btrfs.mount_options", "", Restart;
        /// Size of the file that holds the pool; a fifth of the free space when unset.
        SIZE: Size = "size", "", Fixed;
        /// Directory on a mounted btrfs; when unset a subvolume beside the state directory if that is on btrfs, else a file.
        SOURCE: PoolSource = "source", "", Fixed;
        /// Free for your own use.
        USER: Text = "user.*", "", Event;
        /// The source as it was given at creation.
        VOLATILE_INITIAL_SOURCE: Text = "volatile.initial_source", "", Fixed;
        /// Size limit of new root disks that have none of their own.
        VOLUME_SIZE: Size = "volume.size", "", Event;
    }
}

/// Keys of overlay pools.
pub mod overlay {
    use super::{PoolSource, Text, keys};
    keys! { ROWS;
        /// Directory of the pool; chosen below the state directory when unset.
        SOURCE: PoolSource = "source", "", Fixed;
        /// Free for your own use.
        USER: Text = "user.*", "", Event;
        /// The source as it was given at creation.
        VOLATILE_INITIAL_SOURCE: Text = "volatile.initial_source", "", Fixed;
    }
}

const UNKNOWN: &str = "Unknown storage pool configuration key";

static NO_SIZE: &[Refused] = &[
    Refused { name: "size", reason: "only pools in a file of their own (driver btrfs without source) have a size" },
    Refused { name: "volume.size", reason: "this driver can't limit the size of root disks; use a btrfs pool" },
];

static DRIVERS: &[(&str, Table)] = &[
    ("btrfs", Table { unknown: UNKNOWN, rows: btrfs::ROWS, refused: &[] }),
    ("dir", Table { unknown: UNKNOWN, rows: dir::ROWS, refused: NO_SIZE }),
    ("overlay", Table { unknown: UNKNOWN, rows: overlay::ROWS, refused: NO_SIZE }),
];

/// The keys of a driver's pools.
pub fn table(driver: &str) -> Option<&'static Table> {
    DRIVERS.iter().find(|(name, _)| *name == driver).map(|(_, table)| table)
}

/// Names of the drivers that have keys.
pub fn drivers() -> impl Iterator<Item = &'static str> {
    DRIVERS.iter().map(|(name, _)| *name)
}

/// Checks the configuration of a pool.
pub fn validate(driver: &str, config: &Config) -> Result<(), KeyError> {
    let Some(table) = table(driver) else {
        let known = drivers().collect::<Vec<_>>().join(", ");
        return Err(KeyError::other(format!("Unknown storage driver: {} (known: {known})", crate::row::printable(driver))));
    };
    table.validate(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_belongs_to_btrfs() {
        let config = Config::from([("size".to_owned(), "10GiB".to_owned())]);
        assert_eq!(validate("btrfs", &config), Ok(()));
        assert!(validate("dir", &config).is_err());
        assert!(validate("lvm", &config).expect_err("driver").to_string().contains("known: btrfs, dir, overlay"));
    }

    #[test]
    fn sources_are_absolute() {
        let config = Config::from([("source".to_owned(), "../x".to_owned())]);
        assert!(validate("dir", &config).is_err());
    }
}
