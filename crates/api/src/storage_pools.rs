//! Storage pools and their volumes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Config, Timestamp, null_default};

/// One pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StoragePool {
    /// Its keys.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// Its name.
    pub name: String,
    /// `btrfs`, `dir`, `overlay`.
    pub driver: String,
    /// URLs of what is in it, and of profiles that name it.
    #[serde(deserialize_with = "null_default")]
    pub used_by: Vec<String>,
    /// `Created`, or `Unavailable` where it could not be mounted.
    pub status: String,
    /// Servers: none but this.
    #[serde(deserialize_with = "null_default")]
    pub locations: Vec<String>,
}

/// Body of `POST /1.0/storage-pools`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StoragePoolsPost {
    /// Its name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// `btrfs`, `dir`, `overlay`.
    #[serde(deserialize_with = "null_default")]
    pub driver: String,
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// Keys.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
}

/// Body of `PUT /1.0/storage-pools/NAME`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StoragePoolPut {
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// All keys.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
}

/// Reply to `GET /1.0/storage-pools/NAME/resources`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Resources {
    /// Bytes.
    pub space: Usage,
    /// Inodes.
    pub inodes: Usage,
}

/// Used and total.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Usage {
    /// What is used.
    pub used: u64,
    /// What there is.
    pub total: u64,
}

/// One volume of a pool.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageVolume {
    /// Its keys.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// Its name.
    pub name: String,
    /// `container`, `image` or `custom`.
    #[serde(rename = "type")]
    pub kind: String,
    /// URLs of instances and profiles that use it.
    #[serde(deserialize_with = "null_default")]
    pub used_by: Vec<String>,
    /// Server: none but this.
    pub location: String,
    /// `filesystem`.
    pub content_type: String,
    /// When it was made.
    pub created_at: Timestamp,
}
