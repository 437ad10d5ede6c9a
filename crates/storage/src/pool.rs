//! What a pool is to the rest of the program: its description and the operations on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// A pool as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// Name of the pool.
    pub name: String,
    /// One of [`crate::driver_names`].
    pub driver: String,
    /// Its keys, such as `source` and `size`.
    pub config: BTreeMap<String, String>,
    /// Where it is mounted, or kept when it has no `source`: `$LXD_DIR/storage-pools/NAME`.
    pub dir: PathBuf,
    /// Where loop files go: `$LXD_DIR/disks`.
    pub disks_dir: PathBuf,
    /// What the pool's marker file says; no other pool has it. Empty: no marker is made or asked for.
    pub id: String,
}

/// Names a container's volume or that of one of its snapshots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeRef {
    /// The container.
    pub instance: String,
    /// The snapshot, if one is meant.
    pub snapshot: Option<String>,
}

impl VolumeRef {
    /// The volume of a container.
    pub fn instance(name: impl Into<String>) -> Self {
        Self { instance: name.into(), snapshot: None }
    }

    /// The volume of a snapshot.
    pub fn snapshot(instance: impl Into<String>, snapshot: impl Into<String>) -> Self {
        Self { instance: instance.into(), snapshot: Some(snapshot.into()) }
    }
}

/// An error of whoever is called back.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// See [`Pool::snapshot_at_rest`].
pub type Rest<'a> = &'a mut dyn FnMut(&mut (dyn FnMut() -> Result<()> + Send)) -> std::result::Result<(), BoxError>;

/// See [`Pool::create_filled`].
pub type Fill<'a> = &'a mut dyn FnMut(&Path, &str) -> Result<()>;

/// How the root file system of a volume is to be mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// A directory that holds it all.
    Dir {
        /// The directory.
        path: PathBuf,
    },
    /// An overlay, to be mounted with `userxattr`.
    Overlay {
        /// The image's root file system, never written.
        lower: PathBuf,
        /// What differs from it.
        upper: PathBuf,
        /// The kernel's scratch directory beside `upper`.
        work: PathBuf,
    },
}

/// Space of the file system that holds a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total_bytes: u64,
    /// What is not available any more.
    pub used_bytes: u64,
}

/// Which subvolumes a guest may make inside its volume, so that it cannot write past the limit of the volume by way of them.
/// The least of what several volumes allow is the greatest here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subvolumes {
    /// Any, if it can: there is no limit.
    #[default]
    Any,
    /// Those that the file system counts for the volume: all but those made with quota groups of their own.
    Counted,
    /// None: the file system counts none for the volume.
    None,
}

/// What is on the disk of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Containers.
    pub instances: Vec<String>,
    /// Snapshots, always with `snapshot` set.
    pub snapshots: Vec<VolumeRef>,
    /// Fingerprints of images.
    pub images: Vec<String>,
}

/// An open pool. Every operation either happens as a whole or leaves nothing that counts, also
/// when the machine or the daemon dies in the middle.
///
/// A volume directory holds `metadata.yaml`, `templates/` and `rootfs/` (`upper/` and more on
/// `overlay`). Operations on one volume must not run at once; those on different ones may.
pub trait Pool: Send + Sync {
    /// Name of the driver.
    fn driver(&self) -> &'static str;
    /// Version of the driver: of the kernel or the tools, as the driver sees fit.
    fn version(&self) -> String;
    /// Whether the image's volume is there.
    fn has_image(&self, fingerprint: &str) -> bool;
    /// Makes an image's volume. `fill` gets an empty directory and puts `metadata.yaml`,
    /// `templates/` and `rootfs/` there. Fine if the volume is there already; an image that is
    /// kept only for its containers is revived without a call of `fill`.
    fn create_image(&self, fingerprint: &str, fill: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()>;
    /// Removes an image's volume; fine if absent. Where containers stand on it, it goes with the
    /// last of them.
    fn delete_image(&self, fingerprint: &str) -> Result<()>;
    /// Makes a container's volume from an image's.
    fn create_from_image(&self, name: &str, fingerprint: &str) -> Result<()>;
    /// Makes a container's volume with an empty `rootfs`.
    fn create_empty(&self, name: &str) -> Result<()>;
    /// Makes a container's volume that `fill` fills: it gets the volume's directory and the name of the root
    /// file system's directory in it, which may be there.
    fn create_filled(&self, name: &str, fill: Fill<'_>) -> Result<()>;
    /// The same for a snapshot of a container.
    fn create_snapshot_filled(&self, name: &str, snapshot: &str, fill: Fill<'_>) -> Result<()>;
    /// Makes a container's volume as a copy of another or of a snapshot.
    fn copy(&self, from: &VolumeRef, name: &str) -> Result<()>;
    /// Removes a container's volume with its snapshots; fine if absent.
    fn delete(&self, name: &str) -> Result<()>;
    /// Renames a container's volume with its snapshots.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Takes a snapshot of the files.
    fn snapshot(&self, name: &str, snapshot: &str) -> Result<()>;
    /// Makes a snapshot of a container as a copy of a snapshot of another, without a saved state.
    fn copy_snapshot(&self, from: &VolumeRef, name: &str, snapshot: &str) -> Result<()>;
    /// Takes a snapshot, with the saved state, of a container that runs. What takes long is done first; then
    /// `rest` is called, which brings the container to rest, has the snapshot completed by calling what it
    /// is given, and lets the container go on.
    fn snapshot_at_rest(&self, name: &str, snapshot: &str, rest: Rest<'_>) -> std::result::Result<(), BoxError>;
    /// Makes a new, empty directory for a running state that is to be saved.
    fn make_state(&self, name: &str) -> Result<PathBuf>;
    /// Removes a saved running state; fine if absent.
    fn remove_state(&self, volume: &VolumeRef) -> Result<()>;
    /// Where a volume keeps a saved running state, whether it has one or not.
    fn state_dir(&self, volume: &VolumeRef) -> PathBuf;
    /// Puts a snapshot's content in the place of the container's; a quota stays.
    fn restore(&self, name: &str, snapshot: &str) -> Result<()>;
    /// Removes a snapshot; fine if absent.
    fn delete_snapshot(&self, name: &str, snapshot: &str) -> Result<()>;
    /// Renames a snapshot.
    fn rename_snapshot(&self, name: &str, from: &str, to: &str) -> Result<()>;
    /// The directory of a volume, whether it is there or not.
    fn dir(&self, volume: &VolumeRef) -> PathBuf;
    /// How to mount the root file system of a volume.
    fn rootfs(&self, volume: &VolumeRef) -> Result<Rootfs>;
    /// A directory of the container that is on the pool's own file system even where the root
    /// file system is an overlay: for users such as Docker, which cannot stack another overlay
    /// on one. `None` where `rootfs` serves as well.
    fn plain_dir(&self, name: &str) -> Option<PathBuf>;
    /// Limits the size of a container's volume, image content included; `None` lifts the limit.
    fn set_quota(&self, name: &str, bytes: Option<u64>) -> Result<()>;
    /// Sees to it that all that a guest has made in a container's volume counts for the limit of that, and says which subvolumes it
    /// may make from now on. For a volume that nobody uses.
    fn keep_to_limit(&self, name: &str) -> Result<Subvolumes>;
    /// What a volume takes by itself, if the driver knows without counting.
    fn usage_bytes(&self, volume: &VolumeRef) -> Option<u64>;
    /// Space of the pool.
    fn space(&self) -> Result<Space>;
    /// What is on the disk.
    fn list(&self) -> Result<Contents>;
}
