//! Networks: managed bridges and the host's interfaces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::{Address, Counters};
use crate::{Config, null_default};

/// One network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Network {
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    pub name: String,
    /// `bridge`, `physical`, `loopback`, `unknown`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(deserialize_with = "null_default")]
    pub used_by: Vec<String>,
    pub managed: bool,
    /// `Created`, or `Unavailable` where it could not be brought up.
    pub status: String,
    #[serde(deserialize_with = "null_default")]
    pub locations: Vec<String>,
}

/// Body of `POST /1.0/networks`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct NetworksPost {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
}

/// Body of `PUT /1.0/networks/NAME`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct NetworkPut {
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
}

/// Reply to `GET /1.0/networks/NAME/state`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct NetworkState {
    #[serde(deserialize_with = "null_default")]
    pub addresses: Vec<Address>,
    pub counters: Counters,
    pub hwaddr: String,
    pub mtu: i64,
    /// `up` or `down`.
    pub state: String,
    /// `loopback`, `broadcast`, `point-to-point`, `unknown`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of a bridge.
    pub bridge: Option<NetworkStateBridge>,
}

/// What only a bridge has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct NetworkStateBridge {
    pub id: String,
    pub stp: bool,
    /// In hundredths of a second.
    pub forward_delay: u64,
    pub vlan_default: u64,
    pub vlan_filtering: bool,
    #[serde(deserialize_with = "null_default")]
    pub upper_devices: Vec<String>,
}

/// One DHCP lease or static assignment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Lease {
    pub hostname: String,
    pub hwaddr: String,
    pub address: String,
    /// `dynamic` or `static`.
    #[serde(rename = "type")]
    pub kind: String,
    pub location: String,
}
