//! Events sent over `/1.0/events`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Timestamp;

/// One event.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// `operation`, `logging` or `lifecycle`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When.
    pub timestamp: Timestamp,
    /// An operation, a [`Logging`] or a [`Lifecycle`].
    pub metadata: Value,
    /// Project, for clients that filter by it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project: String,
}

/// Metadata of a `logging` event.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Logging {
    /// The message.
    pub message: String,
    /// `dbug`, `info`, `warn`, `eror`, `crit`.
    pub level: String,
    /// Further fields.
    pub context: std::collections::BTreeMap<String, String>,
}

/// Metadata of a `lifecycle` event.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Lifecycle {
    /// `instance-started`, `image-created` and so on.
    pub action: String,
    /// URL of the subject.
    pub source: String,
    /// Further fields.
    #[serde(default)]
    pub context: serde_json::Map<String, Value>,
}
