//! The envelopes around every JSON reply.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Any reply, as a client reads it and as the server writes it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Response {
    /// `sync`, `async` or `error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Text of the status code.
    #[serde(default)]
    pub status: String,
    /// 200 or 100.
    #[serde(default)]
    pub status_code: u16,
    /// URL of the operation of an async reply.
    #[serde(default)]
    pub operation: String,
    /// HTTP code of an error.
    #[serde(default)]
    pub error_code: u16,
    /// Text of an error.
    #[serde(default)]
    pub error: String,
    /// The payload.
    #[serde(default)]
    pub metadata: Value,
}
