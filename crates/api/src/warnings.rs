//! What the server warns of (extension `warnings`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Timestamp, null_default};

/// One warning, as `GET /1.0/warnings/UUID` shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Warning {
    /// `new`, `acknowledged` or `resolved`.
    pub status: String,
    /// Its name.
    pub uuid: String,
    /// Server that warns: empty, as on every server alone.
    pub location: String,
    /// `default` for what belongs to a project, empty for the rest.
    pub project: String,
    /// What it is about, in a few words that stay the same.
    #[serde(rename = "type")]
    pub kind: String,
    /// How often it has happened.
    pub count: u64,
    /// When it happened first.
    pub first_seen_at: Timestamp,
    /// When it happened last.
    pub last_seen_at: Timestamp,
    /// What was said then.
    pub last_message: String,
    /// `low`, `moderate` or `high`.
    pub severity: String,
    /// URL of what it is about; empty for the server as a whole.
    pub entity_url: String,
}

/// Body of `PUT` and `PATCH /1.0/warnings/UUID`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WarningPut {
    /// `new` or `acknowledged`.
    #[serde(deserialize_with = "null_default")]
    pub status: String,
}
