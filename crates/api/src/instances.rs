//! Instances: system containers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Config, Devices, StatusCode, Timestamp, null_default};

/// One instance, as `GET /1.0/instances/NAME` shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Instance {
    pub architecture: String,
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    pub created_at: Timestamp,
    pub description: String,
    #[serde(deserialize_with = "null_default")]
    pub devices: Devices,
    pub ephemeral: bool,
    #[serde(deserialize_with = "null_default")]
    pub expanded_config: Config,
    #[serde(deserialize_with = "null_default")]
    pub expanded_devices: Devices,
    pub last_used_at: Timestamp,
    pub location: String,
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub profiles: Vec<String>,
    pub project: String,
    pub stateful: bool,
    pub status: String,
    pub status_code: StatusCode,
    /// `container`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// An instance with all that `recursion=2` adds.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InstanceFull {
    /// The instance.
    #[serde(flatten)]
    pub instance: Instance,
    /// Its backups.
    pub backups: Option<Vec<crate::instance_backups::InstanceBackup>>,
    /// Its state now.
    pub state: Option<crate::state::InstanceState>,
    /// Its snapshots.
    pub snapshots: Option<Vec<crate::snapshots::Snapshot>>,
}

/// Body of `PUT /1.0/instances/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct InstancePut {
    #[serde(deserialize_with = "null_default")]
    pub architecture: String,
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    #[serde(deserialize_with = "null_default")]
    pub devices: Devices,
    #[serde(deserialize_with = "null_default")]
    pub ephemeral: bool,
    /// Null or absent: keep what there is (creation: `default`).
    pub profiles: Option<Vec<String>>,
    /// Snapshot to restore; every other field is then ignored.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub restore: String,
    #[serde(deserialize_with = "null_default")]
    pub stateful: bool,
}

/// Body of `POST /1.0/instances`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct InstancesPost {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub architecture: String,
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    #[serde(deserialize_with = "null_default")]
    pub devices: Devices,
    #[serde(deserialize_with = "null_default")]
    pub ephemeral: bool,
    #[serde(deserialize_with = "null_default")]
    pub instance_type: String,
    pub profiles: Option<Vec<String>>,
    /// Start it once it is made.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub start: bool,
    #[serde(deserialize_with = "null_default")]
    pub source: Source,
    /// `container` or empty.
    #[serde(rename = "type", deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

/// Where a new instance comes from.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Source {
    /// `image`, `none`, `copy` or `migration`.
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub alias: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Config::is_empty")]
    pub properties: Config,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub server: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub secret: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// For copies: `instance` or `instance/snapshot`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// For copies: leave the snapshots out.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub instance_only: bool,
    /// The old name of `instance_only`; clients send both.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub container_only: bool,
}

/// Body of `PUT /1.0/instances/NAME/state`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatePut {
    /// `start`, `stop`, `restart`, `freeze`, `unfreeze`.
    pub action: String,
    /// Seconds to wait for a clean stop; -1 waits for ever.
    #[serde(deserialize_with = "minus_one")]
    pub timeout: i64,
    /// Kill instead of asking.
    #[serde(deserialize_with = "null_default")]
    pub force: bool,
    /// Save or restore the running state.
    #[serde(deserialize_with = "null_default")]
    pub stateful: bool,
}

/// Reply to `GET /1.0/instances/NAME/state/checkpoint` (extension `container_checkpoint_check`): whether the
/// running state of an instance can be saved now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Checkpointability {
    /// No obstacle is fatal.
    pub possible: bool,
    /// What stands in the way or will be lost.
    pub obstacles: Vec<Obstacle>,
}

/// Something that stands in the way of saving the running state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Obstacle {
    /// Saving cannot succeed; otherwise something will be lost.
    pub fatal: bool,
    /// What it is, and whose.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Default for StatePut {
    fn default() -> Self {
        Self { action: String::new(), timeout: -1, force: false, stateful: false }
    }
}

fn minus_one<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Ok(Option::<i64>::deserialize(deserializer)?.unwrap_or(-1))
}

/// Body of `POST /1.0/instances/NAME/exec`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct ExecPost {
    #[serde(deserialize_with = "null_default")]
    pub command: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    pub environment: Config,
    #[serde(deserialize_with = "null_default")]
    pub wait_for_websocket: bool,
    #[serde(deserialize_with = "null_default")]
    pub interactive: bool,
    #[serde(deserialize_with = "null_default")]
    pub record_output: bool,
    #[serde(deserialize_with = "null_default")]
    pub width: u16,
    #[serde(deserialize_with = "null_default")]
    pub height: u16,
    #[serde(deserialize_with = "null_default")]
    pub user: u32,
    #[serde(deserialize_with = "null_default")]
    pub group: u32,
    #[serde(deserialize_with = "null_default")]
    pub cwd: String,
}

/// A message on the control websocket of an exec session.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct ExecControl {
    /// `window-resize` or `signal`.
    pub command: String,
    /// `width` and `height`, numbers as strings.
    #[serde(deserialize_with = "null_default")]
    pub args: Config,
    #[serde(deserialize_with = "null_default")]
    pub signal: i32,
}

/// Body of `POST /1.0/instances/NAME/console`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct ConsolePost {
    #[serde(deserialize_with = "null_default")]
    pub width: u16,
    #[serde(deserialize_with = "null_default")]
    pub height: u16,
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
}

/// Body of `POST /1.0/instances/NAME`: rename, or the start of a migration.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct InstancePost {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub migration: bool,
}
