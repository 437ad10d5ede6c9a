//! What an instance's volume says of the image it came from, and the templates that make its files.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Config, null_default};

/// Reply to `GET /1.0/metadata/configuration`: every configuration key there is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MetadataConfiguration {
    /// By what the keys are of (`instance`, `device-disk`), and within that by group.
    pub configs: BTreeMap<String, BTreeMap<String, MetadataConfigGroup>>,
}

/// Configuration keys that belong together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MetadataConfigGroup {
    /// Each a map with the key's name as its only entry.
    pub keys: Vec<BTreeMap<String, MetadataConfigKey>>,
}

/// One configuration key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MetadataConfigKey {
    /// Value when unset.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub defaultdesc: String,
    /// Whether a change takes effect on what runs: `yes` or `no`.
    pub liveupdate: String,
    /// What it takes, and when a change takes effect.
    pub longdesc: String,
    /// What it means.
    pub shortdesc: String,
    /// `bool`, `integer` or `string`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Reply to `GET /1.0/instances/NAME/metadata`, and body of its `PUT`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImageMetadata {
    /// What it is for: `x86_64` and so on.
    #[serde(deserialize_with = "null_default")]
    pub architecture: String,
    /// Unix seconds.
    #[serde(deserialize_with = "null_default")]
    pub creation_date: i64,
    /// Unix seconds, 0 for never.
    #[serde(deserialize_with = "null_default")]
    pub expiry_date: i64,
    /// What the image says of itself.
    #[serde(deserialize_with = "null_default")]
    pub properties: Config,
    /// By the absolute path of the file that is made.
    #[serde(deserialize_with = "null_default")]
    pub templates: BTreeMap<String, ImageMetadataTemplate>,
}

/// One file to be made from a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImageMetadataTemplate {
    /// `create`, `copy`, `rename`, `start`.
    #[serde(deserialize_with = "null_default")]
    pub when: Vec<String>,
    /// Only where the file is not there yet.
    #[serde(deserialize_with = "null_default")]
    pub create_only: bool,
    /// Name of the template.
    #[serde(deserialize_with = "null_default")]
    pub template: String,
    /// What the template may use.
    #[serde(deserialize_with = "null_default")]
    pub properties: Config,
}
