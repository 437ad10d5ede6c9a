//! Profiles: named sets of configuration and devices.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Config, Devices, null_default};

/// One profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Profile {
    /// Configuration of the instances that use it.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// Devices of the instances that use it: name to keys.
    #[serde(deserialize_with = "null_default")]
    pub devices: Devices,
    /// Its name.
    pub name: String,
    /// URLs of the instances that use it.
    #[serde(deserialize_with = "null_default")]
    pub used_by: Vec<String>,
}

/// Body of `PUT /1.0/profiles/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProfilePut {
    /// The whole configuration.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// All devices.
    #[serde(deserialize_with = "null_default")]
    pub devices: Devices,
}

/// Body of every rename: `POST` on a resource.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Rename {
    /// The new name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
}
