//! What a running instance uses.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::StatusCode;

/// Reply to `GET /1.0/instances/NAME/state`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InstanceState {
    /// Text of `status_code`.
    pub status: String,
    /// As of the instance.
    pub status_code: StatusCode,
    /// Disk device to its usage; null while it is stopped.
    pub disk: Option<BTreeMap<String, Disk>>,
    /// Memory.
    pub memory: Memory,
    /// Interface to what is known of it; null while it is stopped.
    pub network: Option<BTreeMap<String, Network>>,
    /// Process id of its init on the host; 0 while it is stopped.
    pub pid: i64,
    /// Number of processes and threads.
    pub processes: i64,
    /// Processor time.
    pub cpu: Cpu,
}

/// Usage of a disk device, bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Disk {
    /// Bytes used.
    pub usage: i64,
    /// Most bytes; 0: no limit.
    pub total: i64,
}

/// Memory, bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Memory {
    /// Bytes used now.
    pub usage: i64,
    /// Most bytes used so far.
    pub usage_peak: i64,
    /// Most bytes; 0: no limit.
    pub total: i64,
    /// Bytes of swap used now.
    pub swap_usage: i64,
    /// Most bytes of swap used so far.
    pub swap_usage_peak: i64,
}

/// Processor time, nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cpu {
    /// Nanoseconds since its start.
    pub usage: i64,
}

/// One interface, seen from inside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Network {
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Traffic since its start.
    pub counters: Counters,
    /// Hardware address.
    pub hwaddr: String,
    /// Name of the other end on the host.
    pub host_name: String,
    /// Bytes.
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
pub struct Address {
    /// `inet` or `inet6`.
    pub family: String,
    /// The address.
    pub address: String,
    /// Prefix length.
    pub netmask: String,
    /// `local`, `link` or `global`.
    pub scope: String,
}

/// Traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Counters {
    /// Bytes.
    pub bytes_received: i64,
    /// Bytes.
    pub bytes_sent: i64,
    /// Packets.
    pub packets_received: i64,
    /// Packets.
    pub packets_sent: i64,
}
