//! Storage pools and their volumes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Config, Timestamp, null_default};

/// One pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct StoragePool {
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    pub name: String,
    pub driver: String,
    #[serde(deserialize_with = "null_default")]
    pub used_by: Vec<String>,
    /// `Created`, or `Unavailable` where it could not be mounted.
    pub status: String,
    #[serde(deserialize_with = "null_default")]
    pub locations: Vec<String>,
}

/// Body of `POST /1.0/storage-pools`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct StoragePoolsPost {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub driver: String,
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
}

/// Body of `PUT /1.0/storage-pools/NAME`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct StoragePoolPut {
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
}

/// Reply to `GET /1.0/storage-pools/NAME/resources`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Resources {
    pub space: Usage,
    pub inodes: Usage,
}

/// Used and total.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Usage {
    pub used: u64,
    pub total: u64,
}

/// One volume of a pool.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct StorageVolume {
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    pub name: String,
    /// `container`, `image` or `custom`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(deserialize_with = "null_default")]
    pub used_by: Vec<String>,
    pub location: String,
    pub content_type: String,
    pub created_at: Timestamp,
}
