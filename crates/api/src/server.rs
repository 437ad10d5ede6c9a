//! The server itself: `GET /1.0` and its configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::null_default;

/// Reply to `GET /1.0`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Server {
    /// Additions to the API of 2.0 that work here.
    pub api_extensions: Vec<String>,
    /// `stable`.
    pub api_status: String,
    /// `1.0`.
    pub api_version: String,
    /// `trusted` or `untrusted`.
    pub auth: String,
    /// Whether only public images are served.
    pub public: bool,
    /// `tls`.
    #[serde(default, deserialize_with = "null_default")]
    pub auth_methods: Vec<String>,
    /// Set server keys (absent for untrusted callers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
    /// Facts about the server (absent for untrusted callers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
}

/// Facts about server and host.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Environment {
    /// `ADDRESS:PORT` on which it listens.
    pub addresses: Vec<String>,
    /// What it can run, its own first.
    pub architectures: Vec<String>,
    /// Its certificate, PEM.
    pub certificate: String,
    /// SHA-256 of that.
    pub certificate_fingerprint: String,
    /// Version of the CRIU that saves running states, `4.2.1` (extension `server_criu`); empty if there is none to use.
    pub criu: String,
    /// Why there is none to use and what to do about it (extension `server_criu`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub criu_problem: String,
    /// `lxc`.
    pub driver: String,
    /// Version of this program.
    pub driver_version: String,
    /// `Linux`.
    pub kernel: String,
    /// `x86_64` and so on.
    pub kernel_architecture: String,
    /// Facility to `true` or `false`.
    pub kernel_features: std::collections::BTreeMap<String, String>,
    /// Release of the kernel.
    pub kernel_version: String,
    /// None.
    pub lxc_features: std::collections::BTreeMap<String, String>,
    /// Of the host.
    pub os_name: String,
    /// Of the host.
    pub os_version: String,
    /// `default`.
    pub project: String,
    /// `lxd`.
    pub server: String,
    /// False.
    pub server_clustered: bool,
    /// Name of the host.
    pub server_name: String,
    /// Its process id.
    pub server_pid: u32,
    /// Version of this program.
    pub server_version: String,
    /// Drivers in use, separated by ` | `.
    pub storage: String,
    /// Their versions, likewise.
    pub storage_version: String,
}

/// Body of `PUT` and `PATCH /1.0`; null values unset.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServerPut {
    /// Server keys.
    #[serde(default, deserialize_with = "null_default")]
    pub config: Map<String, Value>,
}
