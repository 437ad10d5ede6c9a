//! Backups of instances.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Timestamp, null_default};

/// One backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InstanceBackup {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it will be deleted.
    pub expires_at: Timestamp,
    /// Without snapshots.
    pub instance_only: bool,
    /// The same under its old name.
    pub container_only: bool,
    /// In a form that only one storage driver knows: never here.
    pub optimized_storage: bool,
}

/// Body of `POST /1.0/instances/NAME/backups`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InstanceBackupsPost {
    /// Empty: `backup0` and on.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Null: never.
    pub expires_at: Option<Timestamp>,
    /// Leave the snapshots out.
    #[serde(deserialize_with = "null_default")]
    pub instance_only: bool,
    /// The same under its old name.
    #[serde(deserialize_with = "null_default")]
    pub container_only: bool,
    /// Taken as a wish: a backup that every storage driver can read is made.
    #[serde(deserialize_with = "null_default")]
    pub optimized_storage: bool,
    /// Empty: as the server's `backups.compression_algorithm` says.
    #[serde(deserialize_with = "null_default")]
    pub compression_algorithm: String,
}
