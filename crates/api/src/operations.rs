//! Operations: background work and its progress.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{StatusCode, Timestamp};

/// One operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// UUID.
    pub id: String,
    /// `task`, `websocket` or `token`.
    pub class: String,
    /// What it does, in words: `Creating instance`.
    #[serde(default)]
    pub description: String,
    /// When it began.
    pub created_at: Timestamp,
    /// Last change of status, metadata or resources.
    pub updated_at: Timestamp,
    /// Text of `status_code`.
    pub status: String,
    /// Where it is.
    pub status_code: StatusCode,
    /// Kind (`instances`, `images`) to URLs.
    pub resources: Option<BTreeMap<String, Vec<String>>>,
    /// Progress and results.
    pub metadata: Option<Value>,
    /// Whether DELETE works.
    pub may_cancel: bool,
    /// Why it failed.
    pub err: String,
    /// Server that runs it.
    #[serde(default)]
    pub location: String,
}
