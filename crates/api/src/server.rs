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
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Environment {
    pub addresses: Vec<String>,
    pub architectures: Vec<String>,
    pub certificate: String,
    pub certificate_fingerprint: String,
    /// Version of the CRIU that saves running states, `4.2.1` (extension `server_criu`); empty if there is none to use.
    pub criu: String,
    /// Why there is none to use and what to do about it (extension `server_criu`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub criu_problem: String,
    pub driver: String,
    pub driver_version: String,
    pub kernel: String,
    pub kernel_architecture: String,
    pub kernel_features: std::collections::BTreeMap<String, String>,
    pub kernel_version: String,
    pub lxc_features: std::collections::BTreeMap<String, String>,
    pub os_name: String,
    pub os_version: String,
    pub project: String,
    pub server: String,
    pub server_clustered: bool,
    pub server_name: String,
    pub server_pid: u32,
    pub server_version: String,
    pub storage: String,
    pub storage_version: String,
}

/// Body of `PUT` and `PATCH /1.0`; null values unset.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServerPut {
    /// Server keys.
    #[serde(default, deserialize_with = "null_default")]
    pub config: Map<String, Value>,
}
