//! Networks: managed bridges and the host's interfaces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::{Address, Counters};
use crate::{Config, null_default};

/// One network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Network {
    /// Its keys.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// Its name, that of the interface.
    pub name: String,
    /// `bridge`, `physical`, `loopback`, `unknown`.
    #[serde(rename = "type")]
    pub kind: String,
    /// URLs of instances and profiles that use it.
    #[serde(deserialize_with = "null_default")]
    pub used_by: Vec<String>,
    /// This server made it.
    pub managed: bool,
    /// `Created`, or `Unavailable` where it could not be brought up.
    pub status: String,
    /// Servers: none but this.
    #[serde(deserialize_with = "null_default")]
    pub locations: Vec<String>,
}

/// Body of `POST /1.0/networks`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NetworksPost {
    /// 2 to 15 characters.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// `bridge` or empty.
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// Keys; addresses that are not given are chosen.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
}

/// Body of `PUT /1.0/networks/NAME`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NetworkPut {
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// All keys.
    #[serde(deserialize_with = "null_default")]
    pub config: Config,
}

/// Reply to `GET /1.0/networks/NAME/state`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NetworkState {
    /// Its IP addresses.
    #[serde(deserialize_with = "null_default")]
    pub addresses: Vec<Address>,
    /// Its traffic since it is there.
    pub counters: Counters,
    /// Its hardware address.
    pub hwaddr: String,
    /// Largest packet in bytes.
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
pub struct NetworkStateBridge {
    /// Priority and hardware address, as the spanning tree has it.
    pub id: String,
    /// It takes part in a spanning tree.
    pub stp: bool,
    /// In hundredths of a second.
    pub forward_delay: u64,
    /// VLAN of packets without a tag.
    pub vlan_default: u64,
    /// It looks at VLAN tags.
    pub vlan_filtering: bool,
    /// Interfaces that are its ports.
    #[serde(deserialize_with = "null_default")]
    pub upper_devices: Vec<String>,
}

/// One DHCP lease or static assignment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Lease {
    /// Name of the guest.
    pub hostname: String,
    /// Its hardware address.
    pub hwaddr: String,
    /// What it got.
    pub address: String,
    /// `dynamic` or `static`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Server: none but this.
    pub location: String,
}
