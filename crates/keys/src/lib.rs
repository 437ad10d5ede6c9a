//! Every configuration key, declared once.
//!
//! A row says name, type, default, when a change takes effect, and what the key means. Validation,
//! typed reads, reference documentation and shell completion all derive from the rows. Everything
//! here is pure: no host, no store, no I/O.

mod error;
mod row;

pub mod cpu;
pub mod devices;
pub mod idmap;
pub mod instance;
pub mod names;
pub mod network;
pub mod profile;
pub mod raw_lxc;
pub mod reference;
pub mod schedule;
pub mod server;
pub mod storage_pool;
pub mod storage_volume;
pub mod subid;
pub mod types;
pub mod values;

use std::collections::BTreeMap;

pub use error::KeyError;
pub use row::{Key, Live, Refused, Row, Table};
pub use types::Value;

/// A `config` map: every value is a string, and an empty one counts as unset.
pub type Config = BTreeMap<String, String>;
/// The keys of one device.
pub type Device = BTreeMap<String, String>;
/// A `devices` map: device name to its keys.
pub type Devices = BTreeMap<String, Device>;
