//! The wire types of the REST API: exactly the JSON names that LXD uses.
//!
//! Plain data with serde derives. No logic, no I/O. One file per resource, named like the files
//! of the same resource in `engine` and `rest`.

pub mod certificates;
pub mod events;
pub mod images;
pub mod instance_backups;
pub mod instances;
pub mod metadata;
pub mod networks;
pub mod operations;
pub mod profiles;
pub mod resources;
pub mod response;
pub mod server;
pub mod snapshots;
pub mod state;
pub mod status;
pub mod storage_pools;
pub mod storage_volumes;
pub mod time;
pub mod warnings;

use std::collections::BTreeMap;

/// A `config` map: every value is a string.
pub type Config = BTreeMap<String, String>;
/// A `devices` map: device name to its keys.
pub type Devices = BTreeMap<String, BTreeMap<String, String>>;

pub use status::StatusCode;
pub use time::Timestamp;

/// The version of the API, the first path component of every resource.
pub const API_VERSION: &str = "1.0";

/// Deserializes `null` like an absent field, as the original does.
pub(crate) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + serde::Deserialize<'de>,
{
    Ok(<Option<T> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
}
