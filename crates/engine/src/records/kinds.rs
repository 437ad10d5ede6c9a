//! The kinds of record, each with its key prefix and format number.

use api::{Config, Devices, Timestamp};
use serde::{Deserialize, Serialize};
use store::Record;
use sys::idmap::IdMap;

use super::{Kind, Records, Stored};

/// An instance; the key is its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct InstanceRecord {
    pub architecture: String,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    pub description: String,
    pub ephemeral: bool,
    pub profiles: Vec<String>,
    /// Own configuration, `volatile.*` included.
    pub config: Config,
    /// Own devices.
    pub devices: Devices,
    /// Storage pool that holds its volume; fixed at creation.
    pub pool: String,
    /// The owners of its files are being changed from `volatile.last_state.idmap` to this: some
    /// may have those, some these. Goes with the files: into copies and snapshots.
    pub shifting_to: Option<IdMap>,
}

/// A snapshot; the key is `INSTANCE/SNAPSHOT`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SnapshotRecord {
    pub taken_at: Timestamp,
    pub expires_at: Timestamp,
    /// The instance as it was.
    pub instance: InstanceRecord,
}

/// A profile; the key is its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProfileRecord {
    pub description: String,
    pub config: Config,
    pub devices: Devices,
}

/// An image; the key is its fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ImageRecord {
    pub architecture: String,
    pub auto_update: bool,
    pub cached: bool,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub last_used_at: Timestamp,
    pub uploaded_at: Timestamp,
    pub filename: String,
    pub properties: Config,
    pub public: bool,
    pub size_bytes: u64,
    /// There is a separate file for the root file system.
    pub is_split: bool,
    /// Extension of the first file, with its dot: `.tar.gz`.
    pub extension: String,
    /// Extension of the root file system's file.
    pub rootfs_extension: String,
}

/// An alias of an image; the key is its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AliasRecord {
    /// Full fingerprint.
    pub target: String,
    pub description: String,
}

/// A managed network; the key is its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkRecord {
    pub description: String,
    pub config: Config,
}

/// A storage pool; the key is its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PoolRecord {
    pub driver: String,
    pub description: String,
    pub config: Config,
    /// What the pool's marker says, so that a disk that is not mounted is found out.
    pub id: String,
}

/// The server's configuration; the one key is `config`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ServerRecord {
    pub config: Config,
}

macro_rules! kinds {
    ($($record:ident = $prefix:literal, $field:ident;)*) => {
        $(impl Record for $record {
            const PREFIX: &'static str = $prefix;
        }
        impl Stored for $record {
            fn kind(records: &Records) -> &Kind<Self> {
                &records.$field
            }
        })*
    };
}

kinds! {
    InstanceRecord = "instances/", instances;
    SnapshotRecord = "snapshots/", snapshots;
    ProfileRecord = "profiles/", profiles;
    ImageRecord = "images/", images;
    AliasRecord = "aliases/", aliases;
    NetworkRecord = "networks/", networks;
    PoolRecord = "pools/", pools;
    ServerRecord = "server/", server;
}
