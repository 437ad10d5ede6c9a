//! What a running instance uses.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::StatusCode;

/// Reply to `GET /1.0/instances/NAME/state`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct InstanceState {
    pub status: String,
    pub status_code: StatusCode,
    pub disk: Option<BTreeMap<String, Disk>>,
    pub memory: Memory,
    pub network: Option<BTreeMap<String, Network>>,
    pub pid: i64,
    pub processes: i64,
    pub cpu: Cpu,
}

/// Usage of a disk device, bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Disk {
    pub usage: i64,
    pub total: i64,
}

/// Memory, bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Memory {
    pub usage: i64,
    pub usage_peak: i64,
    pub total: i64,
    pub swap_usage: i64,
    pub swap_usage_peak: i64,
}

/// Processor time, nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Cpu {
    pub usage: i64,
}

/// One interface, seen from inside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Network {
    pub addresses: Vec<Address>,
    pub counters: Counters,
    pub hwaddr: String,
    pub host_name: String,
    pub mtu: i64,
    /// `up` or `down`.
    pub state: String,
    /// `loopback`, `broadcast`, `point-to-point`, `unknown`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// One address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Address {
    /// `inet` or `inet6`.
    pub family: String,
    pub address: String,
    /// Prefix length.
    pub netmask: String,
    /// `local`, `link` or `global`.
    pub scope: String,
}

/// Traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Counters {
    pub bytes_received: i64,
    pub bytes_sent: i64,
    pub packets_received: i64,
    pub packets_sent: i64,
}
