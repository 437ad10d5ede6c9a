//! Client certificates that the server trusts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One trusted certificate.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Certificate {
    pub certificate: String,
    pub fingerprint: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
}
