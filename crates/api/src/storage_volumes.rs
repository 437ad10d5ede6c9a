//! Custom storage volumes and their snapshots.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::instances::MigrationTarget;
use crate::storage_pools::Usage;
use crate::{Config, Timestamp, null_default};

/// Body of `POST /1.0/storage-pools/POOL/volumes`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageVolumesPost {
    /// Its name, without slashes.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// `custom`; the path may say it instead.
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
    /// `filesystem` or empty.
    #[serde(deserialize_with = "null_default")]
    pub content_type: String,
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// Its keys.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    /// Where its content comes from.
    #[serde(deserialize_with = "null_default")]
    pub source: StorageVolumeSource,
}

/// Where a new volume's content comes from.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageVolumeSource {
    /// `copy`, `migration`, or empty for an empty volume.
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
    /// `VOLUME` or `VOLUME/SNAPSHOT`.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// The source's pool; empty for the same one.
    #[serde(deserialize_with = "null_default")]
    pub pool: String,
    /// Leave the snapshots out.
    #[serde(deserialize_with = "null_default")]
    pub volume_only: bool,
    /// For migrations: `pull` or `push`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// For migrations in the mode `pull`: URL of the operation of the source, `https://HOST:PORT/1.0/operations/UUID`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// For migrations in the mode `pull`: of the source, PEM.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// For migrations in the mode `pull`: what opens the source's websockets, `control` and `fs`.
    #[serde(rename = "secrets", deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub websockets: BTreeMap<String, String>,
}

/// Body of `PUT /1.0/storage-pools/POOL/volumes/custom/NAME`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageVolumePut {
    /// All of its keys.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// Snapshot to restore; every other field is then ignored.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub restore: String,
}

/// Body of `POST /1.0/storage-pools/POOL/volumes/custom/NAME`: another name, another pool, or both.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageVolumePost {
    /// The new name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// The pool to move it to; empty: it stays where it is.
    #[serde(deserialize_with = "null_default")]
    pub pool: String,
    /// Send it to another server.
    #[serde(deserialize_with = "null_default")]
    pub migration: bool,
    /// For migrations: leave the snapshots out.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub volume_only: bool,
    /// For migrations: connect to this operation of the target (mode `push`); absent: wait for the target (mode `pull`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<MigrationTarget>,
}

/// Reply to `GET /1.0/storage-pools/POOL/volumes/custom/NAME/state`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageVolumeState {
    /// What it takes, and its limit.
    pub usage: Usage,
}

/// One snapshot of a volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageVolumeSnapshot {
    /// `VOLUME/SNAPSHOT`.
    pub name: String,
    /// Keys of the volume, then.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// `filesystem`.
    pub content_type: String,
    /// When it was taken.
    pub created_at: Timestamp,
    /// When it will be deleted.
    pub expires_at: Timestamp,
}

/// Body of `POST /1.0/storage-pools/POOL/volumes/custom/NAME/snapshots`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageVolumeSnapshotsPost {
    /// Empty: the next name of `snapshots.pattern`.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Null: as `snapshots.expiry` says.
    pub expires_at: Option<Timestamp>,
}

/// Body of `PUT /1.0/storage-pools/POOL/volumes/custom/NAME/snapshots/SNAPSHOT`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageVolumeSnapshotPut {
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// Null: never.
    pub expires_at: Option<Timestamp>,
}

/// One backup of a volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageVolumeBackup {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is deleted.
    pub expires_at: Timestamp,
    /// Without snapshots.
    pub volume_only: bool,
    /// In a form that only one storage driver knows: never here.
    pub optimized_storage: bool,
}

/// Body of `POST /1.0/storage-pools/POOL/volumes/custom/NAME/backups`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageVolumeBackupsPost {
    /// Empty: `backup0` and on.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Null: never.
    pub expires_at: Option<Timestamp>,
    /// Without snapshots.
    #[serde(deserialize_with = "null_default")]
    pub volume_only: bool,
    /// Taken as a wish: a backup that every storage driver can read is made.
    #[serde(deserialize_with = "null_default")]
    pub optimized_storage: bool,
    /// Empty: as the server's `backups.compression_algorithm` says.
    #[serde(deserialize_with = "null_default")]
    pub compression_algorithm: String,
}
