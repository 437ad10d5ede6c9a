//! Custom volumes: file systems that belong to no container, to be attached to several.
//!
//! They lie as containers do, the content in `rootfs/` within a directory that only root enters, so
//! all that is known of those serves here. A pool of the driver `overlay` has no image to lay
//! them over and keeps them as plain directories.

use std::path::{Path, PathBuf};

use sys::Root;

use crate::error::Result;
use crate::pool::{Fill, Pool, Subvolumes, VolumeRef};
use crate::volumes::{Driver, STATE, Volumes, checked_dir};

/// The custom volumes of a pool. `instance` in a [`VolumeRef`] is the name of the volume. As with
/// [`Pool`], each operation happens as a whole or not at all, and one volume is worked on by one at a time.
pub trait CustomVolumes: Send + Sync {
    /// Makes an empty volume.
    fn create(&self, name: &str) -> Result<()>;
    /// Makes a volume as a copy of another of this pool, or of a snapshot.
    fn copy(&self, from: &VolumeRef, name: &str) -> Result<()>;
    /// Makes a snapshot of a volume as a copy of a snapshot of another.
    fn copy_snapshot(&self, from: &VolumeRef, name: &str, snapshot: &str) -> Result<()>;
    /// Makes a volume as a copy of one of another pool; `from` is that one's [`Self::dir`].
    fn copy_in(&self, from: &Path, name: &str) -> Result<()>;
    /// Makes a snapshot of a volume as a copy of one of another pool.
    fn copy_snapshot_in(&self, from: &Path, name: &str, snapshot: &str) -> Result<()>;
    /// Makes a volume that `fill` fills, as [`Pool::create_filled`] does.
    fn create_filled(&self, name: &str, fill: Fill<'_>) -> Result<()>;
    /// The same for a snapshot of a volume.
    fn create_snapshot_filled(&self, name: &str, snapshot: &str, fill: Fill<'_>) -> Result<()>;
    /// Removes a volume with its snapshots; fine if absent.
    fn delete(&self, name: &str) -> Result<()>;
    /// Renames a volume with its snapshots.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Takes a snapshot.
    fn snapshot(&self, name: &str, snapshot: &str) -> Result<()>;
    /// Puts a snapshot's content in the place of the volume's; a quota stays.
    fn restore(&self, name: &str, snapshot: &str) -> Result<()>;
    /// Removes a snapshot; fine if absent.
    fn delete_snapshot(&self, name: &str, snapshot: &str) -> Result<()>;
    /// Renames a snapshot.
    fn rename_snapshot(&self, name: &str, from: &str, to: &str) -> Result<()>;
    /// Limits the size of a volume; `None` lifts the limit.
    fn set_quota(&self, name: &str, bytes: Option<u64>) -> Result<()>;
    /// The same as [`Pool::keep_to_limit`].
    fn keep_to_limit(&self, name: &str) -> Result<Subvolumes>;
    /// What a volume takes by itself, if the driver knows without counting.
    fn usage_bytes(&self, volume: &VolumeRef) -> Option<u64>;
    /// The directory of a volume, whether it is there or not.
    fn dir(&self, volume: &VolumeRef) -> PathBuf;
    /// The directory with the content of a volume or snapshot that is there.
    fn content(&self, volume: &VolumeRef) -> Result<PathBuf>;
    /// Names of the volumes on the disk.
    fn list(&self) -> Result<Vec<String>>;
}

/// Custom volumes of a driver.
pub(crate) struct Custom<D>(pub(crate) Volumes<D>);

impl<D: Driver> Custom<D> {
    /// Custom volumes look alike on all drivers.
    fn copy_from(&self, from: &Path, to: &Path) -> Result<()> {
        self.0.driver().make(to)?;
        Ok(sys::copy::copy_tree(&Root::open(from)?, &Root::open(to)?, &[STATE])?)
    }
}

impl<D: Driver> CustomVolumes for Custom<D> {
    fn create(&self, name: &str) -> Result<()> {
        self.0.create_empty(name)
    }

    fn copy(&self, from: &VolumeRef, name: &str) -> Result<()> {
        self.0.copy(from, name)
    }

    fn copy_snapshot(&self, from: &VolumeRef, name: &str, snapshot: &str) -> Result<()> {
        self.0.copy_snapshot(from, name, snapshot)
    }

    fn copy_in(&self, from: &Path, name: &str) -> Result<()> {
        self.0.build_instance(name, |dir| self.copy_from(from, dir))
    }

    fn copy_snapshot_in(&self, from: &Path, name: &str, snapshot: &str) -> Result<()> {
        self.0.build_snapshot(name, snapshot, |dir| {
            self.copy_from(from, dir)?;
            self.0.driver().seal(dir)
        })
    }

    fn create_filled(&self, name: &str, fill: Fill<'_>) -> Result<()> {
        self.0.create_filled(name, fill)
    }

    fn create_snapshot_filled(&self, name: &str, snapshot: &str, fill: Fill<'_>) -> Result<()> {
        self.0.create_snapshot_filled(name, snapshot, fill)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.0.delete(name)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.0.rename(from, to)
    }

    fn snapshot(&self, name: &str, snapshot: &str) -> Result<()> {
        self.0.snapshot(name, snapshot)
    }

    fn restore(&self, name: &str, snapshot: &str) -> Result<()> {
        self.0.restore(name, snapshot)
    }

    fn delete_snapshot(&self, name: &str, snapshot: &str) -> Result<()> {
        self.0.delete_snapshot(name, snapshot)
    }

    fn rename_snapshot(&self, name: &str, from: &str, to: &str) -> Result<()> {
        self.0.rename_snapshot(name, from, to)
    }

    fn set_quota(&self, name: &str, bytes: Option<u64>) -> Result<()> {
        self.0.set_quota(name, bytes)
    }

    fn keep_to_limit(&self, name: &str) -> Result<Subvolumes> {
        self.0.keep_to_limit(name)
    }

    fn usage_bytes(&self, volume: &VolumeRef) -> Option<u64> {
        self.0.usage_bytes(volume)
    }

    fn dir(&self, volume: &VolumeRef) -> PathBuf {
        self.0.dir(volume)
    }

    fn content(&self, volume: &VolumeRef) -> Result<PathBuf> {
        checked_dir(&self.0.existing(volume)?, "rootfs")
    }

    fn list(&self) -> Result<Vec<String>> {
        Ok(self.0.list()?.instances)
    }
}
