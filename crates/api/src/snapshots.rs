//! Snapshots of instances.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Config, Devices, Timestamp, null_default};

/// One snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Snapshot {
    pub architecture: String,
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    pub created_at: Timestamp,
    #[serde(deserialize_with = "null_default")]
    pub devices: Devices,
    pub ephemeral: bool,
    #[serde(deserialize_with = "null_default")]
    pub expanded_config: Config,
    #[serde(deserialize_with = "null_default")]
    pub expanded_devices: Devices,
    pub expires_at: Timestamp,
    pub last_used_at: Timestamp,
    /// `INSTANCE/SNAPSHOT` under `/1.0/containers`, the bare name under `/1.0/instances`.
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub profiles: Vec<String>,
    pub size: i64,
    pub stateful: bool,
}

/// Body of `POST /1.0/instances/NAME/snapshots`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct SnapshotsPost {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub stateful: bool,
    /// Null: as `snapshots.expiry` of the instance says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Body of `PUT /1.0/instances/NAME/snapshots/SNAPSHOT`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SnapshotPut {
    /// Null: never.
    pub expires_at: Option<Timestamp>,
}
