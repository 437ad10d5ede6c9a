//! Snapshots of instances.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Config, Devices, Timestamp, null_default};

/// One snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Snapshot {
    /// Of the instance, then.
    pub architecture: String,
    /// Of the instance, then.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    /// When it was taken.
    pub created_at: Timestamp,
    /// Of the instance, then.
    #[serde(deserialize_with = "null_default")]
    pub devices: Devices,
    /// Of the instance, then.
    pub ephemeral: bool,
    /// With what the profiles add now.
    #[serde(deserialize_with = "null_default")]
    pub expanded_config: Config,
    /// With what the profiles add now.
    #[serde(deserialize_with = "null_default")]
    pub expanded_devices: Devices,
    /// When it will be deleted.
    pub expires_at: Timestamp,
    /// Never.
    pub last_used_at: Timestamp,
    /// `INSTANCE/SNAPSHOT` under `/1.0/containers`, the bare name under `/1.0/instances`.
    pub name: String,
    /// Of the instance, then.
    #[serde(deserialize_with = "null_default")]
    pub profiles: Vec<String>,
    /// Bytes that it alone takes; -1: unknown.
    pub size: i64,
    /// It holds the running state.
    pub stateful: bool,
}

/// Body of `POST /1.0/instances/NAME/snapshots`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SnapshotsPost {
    /// Empty: `snap` and the next number.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Save the running state, too.
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
