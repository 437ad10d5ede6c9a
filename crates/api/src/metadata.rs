//! What an instance's volume says of the image it came from, and the templates that make its files.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Config, null_default};

/// Reply to `GET /1.0/instances/NAME/metadata`, and body of its `PUT`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct ImageMetadata {
    #[serde(deserialize_with = "null_default")]
    pub architecture: String,
    /// Unix seconds.
    #[serde(deserialize_with = "null_default")]
    pub creation_date: i64,
    /// Unix seconds, 0 for never.
    #[serde(deserialize_with = "null_default")]
    pub expiry_date: i64,
    #[serde(deserialize_with = "null_default")]
    pub properties: Config,
    /// By the absolute path of the file that is made.
    #[serde(deserialize_with = "null_default")]
    pub templates: BTreeMap<String, ImageMetadataTemplate>,
}

/// One file to be made from a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct ImageMetadataTemplate {
    /// `create`, `copy`, `rename`, `start`.
    #[serde(deserialize_with = "null_default")]
    pub when: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    pub create_only: bool,
    /// Name of the template.
    #[serde(deserialize_with = "null_default")]
    pub template: String,
    #[serde(deserialize_with = "null_default")]
    pub properties: Config,
}
