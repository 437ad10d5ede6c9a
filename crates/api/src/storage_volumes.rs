//! Custom storage volumes and their snapshots.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::storage_pools::Usage;
use crate::{Config, Timestamp, null_default};

/// Body of `POST /1.0/storage-pools/POOL/volumes`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct StorageVolumesPost {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// `custom`; the path may say it instead.
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
    /// `filesystem` or empty.
    #[serde(deserialize_with = "null_default")]
    pub content_type: String,
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    #[serde(deserialize_with = "null_default")]
    pub source: StorageVolumeSource,
}

/// Where a new volume's content comes from.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct StorageVolumeSource {
    /// `copy`, or empty for an empty volume.
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
}

/// Body of `PUT /1.0/storage-pools/POOL/volumes/custom/NAME`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct StorageVolumePut {
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// Snapshot to restore; every other field is then ignored.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub restore: String,
}

/// Body of `POST /1.0/storage-pools/POOL/volumes/custom/NAME`: another name, another pool, or both.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct StorageVolumePost {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub pool: String,
    #[serde(deserialize_with = "null_default")]
    pub migration: bool,
}

/// Reply to `GET /1.0/storage-pools/POOL/volumes/custom/NAME/state`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct StorageVolumeState {
    pub usage: Usage,
}

/// One snapshot of a volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct StorageVolumeSnapshot {
    /// `VOLUME/SNAPSHOT`.
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    pub content_type: String,
    pub created_at: Timestamp,
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
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct StorageVolumeSnapshotPut {
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// Null: never.
    pub expires_at: Option<Timestamp>,
}
