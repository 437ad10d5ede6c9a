//! Instances: system containers.

mod full;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use full::Outline;

use crate::{Config, Devices, StatusCode, Timestamp, null_default};

/// One instance, as `GET /1.0/instances/NAME` shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Instance {
    /// `x86_64`, `i686`, `aarch64` and so on.
    pub architecture: String,
    /// Its own configuration, with `volatile.*`.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    /// When it was made.
    pub created_at: Timestamp,
    /// A text for people.
    pub description: String,
    /// Its own devices: name to keys.
    #[serde(deserialize_with = "null_default")]
    pub devices: Devices,
    /// It is deleted when it stops.
    pub ephemeral: bool,
    /// With what its profiles add.
    #[serde(deserialize_with = "null_default")]
    pub expanded_config: Config,
    /// With what its profiles add.
    #[serde(deserialize_with = "null_default")]
    pub expanded_devices: Devices,
    /// When it was last started.
    pub last_used_at: Timestamp,
    /// Server that runs it: `none`.
    pub location: String,
    /// Its name.
    pub name: String,
    /// Names of its profiles, the later overriding the earlier.
    #[serde(deserialize_with = "null_default")]
    pub profiles: Vec<String>,
    /// `default`.
    pub project: String,
    /// There is a saved running state.
    pub stateful: bool,
    /// Text of `status_code`.
    pub status: String,
    /// 102 stopped, 103 running, 110 frozen, 112 error, 113 running and ready by its own words.
    pub status_code: StatusCode,
    /// `container`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// An instance with all that `recursion=2` adds.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(default)]
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
pub struct InstancePut {
    /// Empty or unknown: it stays as it is.
    #[serde(deserialize_with = "null_default")]
    pub architecture: String,
    /// The whole of its own configuration.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// The whole of its own devices.
    #[serde(deserialize_with = "null_default")]
    pub devices: Devices,
    /// It is deleted when it stops.
    #[serde(deserialize_with = "null_default")]
    pub ephemeral: bool,
    /// Null or absent: keep what there is (creation: `default`).
    pub profiles: Option<Vec<String>>,
    /// Snapshot to restore; every other field is then ignored.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub restore: String,
    /// Ignored: a snapshot with a running state restores it.
    #[serde(deserialize_with = "null_default")]
    pub stateful: bool,
}

/// Body of `POST /1.0/instances`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InstancesPost {
    /// Empty: one is made up.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Empty: that of the source.
    #[serde(deserialize_with = "null_default")]
    pub architecture: String,
    /// Configuration, over that of a copied source.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// Devices, over those of a copied source.
    #[serde(deserialize_with = "null_default")]
    pub devices: Devices,
    /// It is deleted when it stops.
    #[serde(deserialize_with = "null_default")]
    pub ephemeral: bool,
    /// `c2-m4`: processors and GiB of memory, as limits.
    #[serde(deserialize_with = "null_default")]
    pub instance_type: String,
    /// Null or absent: `default`, or those of a copied source.
    pub profiles: Option<Vec<String>>,
    /// Start it once it is made.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub start: bool,
    /// Where it comes from.
    #[serde(deserialize_with = "null_default")]
    pub source: Source,
    /// `container` or empty.
    #[serde(rename = "type", deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

/// Where a new instance comes from.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Source {
    /// `image`, `none`, `copy` or `migration`.
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
    /// Of an image.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// Of an image; its beginning is enough.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// That an image must have; the newest such is taken.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Config::is_empty")]
    pub properties: Config,
    /// URL of an image server.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// Of the image server.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// With which a private image can be had.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub secret: String,
    /// Of the other server, PEM.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// `pull` or `push`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// For copies: `instance` or `instance/snapshot`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// For copies: leave the snapshots out.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub instance_only: bool,
    /// For copies: where the instance is there already, bring its content and snapshots up to date with the source's.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub refresh: bool,
    /// The old name of `instance_only`; clients send both.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub container_only: bool,
    /// For migrations in the mode `pull`: URL of the operation of the source, `https://HOST:PORT/1.0/operations/UUID`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// For migrations in the mode `pull`: what opens the source's websockets, `control` and `fs`.
    #[serde(rename = "secrets", deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub websockets: BTreeMap<String, String>,
    /// For migrations: bring the running state along, too.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
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
pub struct ExecPost {
    /// The program and its arguments.
    #[serde(deserialize_with = "null_default")]
    pub command: Vec<String>,
    /// Variables, over those of the instance.
    #[serde(deserialize_with = "null_default")]
    pub environment: Config,
    /// Its streams are websockets, and it starts once they are connected; otherwise it reads and writes nothing.
    #[serde(deserialize_with = "null_default")]
    pub wait_for_websocket: bool,
    /// It gets a terminal.
    #[serde(deserialize_with = "null_default")]
    pub interactive: bool,
    /// Its output goes to log files of the instance.
    #[serde(deserialize_with = "null_default")]
    pub record_output: bool,
    /// Columns of the terminal; 0: 80.
    #[serde(deserialize_with = "null_default")]
    pub width: u16,
    /// Rows of the terminal; 0: 25.
    #[serde(deserialize_with = "null_default")]
    pub height: u16,
    /// User id in the instance.
    #[serde(deserialize_with = "null_default")]
    pub user: u32,
    /// Group id in the instance.
    #[serde(deserialize_with = "null_default")]
    pub group: u32,
    /// Working directory; empty: the home.
    #[serde(deserialize_with = "null_default")]
    pub cwd: String,
}

/// A message on the control websocket of an exec session.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExecControl {
    /// `window-resize` or `signal`.
    pub command: String,
    /// `width` and `height`, numbers as strings.
    #[serde(deserialize_with = "null_default")]
    pub args: Config,
    /// Number of the signal.
    #[serde(deserialize_with = "null_default")]
    pub signal: i32,
}

/// Body of `POST /1.0/instances/NAME/console`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConsolePost {
    /// Columns of the terminal.
    #[serde(deserialize_with = "null_default")]
    pub width: u16,
    /// Rows of the terminal.
    #[serde(deserialize_with = "null_default")]
    pub height: u16,
    /// `console` or empty.
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
}

/// Body of `POST /1.0/instances/NAME`: rename, or the start of a migration.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InstancePost {
    /// The new name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Send it to another server.
    #[serde(deserialize_with = "null_default")]
    pub migration: bool,
    /// For migrations: bring the running state along, too.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
    /// For migrations: leave the snapshots out.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub instance_only: bool,
    /// The old name of `instance_only`; clients send both.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub container_only: bool,
    /// For migrations: connect to this operation of the target (mode `push`); absent: wait for the target (mode `pull`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<MigrationTarget>,
}

/// The operation of the server that an instance is pushed to.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MigrationTarget {
    /// Of the target, PEM.
    #[serde(deserialize_with = "null_default")]
    pub certificate: String,
    /// Its URL, `https://HOST:PORT/1.0/operations/UUID`.
    #[serde(deserialize_with = "null_default")]
    pub operation: String,
    /// What opens the target's websockets, `control` and `fs`.
    #[serde(rename = "secrets", deserialize_with = "null_default")]
    pub websockets: BTreeMap<String, String>,
}
