//! Client certificates that the server trusts.

use data_encoding::BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::null_default;

/// One trusted certificate.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// PEM text.
    pub certificate: String,
    /// SHA-256 of its bytes.
    pub fingerprint: String,
    /// A name to tell it by.
    pub name: String,
    /// `client`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Body of `POST /1.0/certificates`.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CertificatesPost {
    /// PEM, or DER in base64; empty for the one that the connection was made with.
    #[serde(deserialize_with = "null_default")]
    pub certificate: String,
    /// A name to tell it by.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// The trust password, or a token; for callers that are not trusted.
    #[serde(deserialize_with = "null_default")]
    pub password: String,
    /// Projects that it is limited to.
    #[serde(deserialize_with = "null_default")]
    pub projects: Vec<String>,
    /// Whether it is limited to projects.
    #[serde(deserialize_with = "null_default")]
    pub restricted: bool,
    /// Asks for a token instead (extension `certificate_token`).
    #[serde(deserialize_with = "null_default")]
    pub token: bool,
    /// A token, as newer clients send it.
    #[serde(deserialize_with = "null_default")]
    pub trust_token: String,
    /// `client`.
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
}

impl std::fmt::Debug for CertificatesPost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificatesPost").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Body of `PUT` and `PATCH /1.0/certificates/{fingerprint}` (extension `certificate_update`).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CertificatePut {
    /// The certificate itself; empty for the one there is.
    #[serde(deserialize_with = "null_default")]
    pub certificate: String,
    /// A name to tell it by.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Projects that it is limited to.
    #[serde(deserialize_with = "null_default")]
    pub projects: Vec<String>,
    /// Whether it is limited to projects.
    #[serde(deserialize_with = "null_default")]
    pub restricted: bool,
    /// `client`.
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
}

/// What is handed to somebody who is to be let in: where the server is, how to know it, and a secret.
/// Written as JSON in base64, as LXD does.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrustToken {
    /// Name that the client's certificate will have.
    pub client_name: String,
    /// Fingerprint of the server's certificate.
    pub fingerprint: String,
    /// Where the server listens.
    pub addresses: Vec<String>,
    /// What lets the client in, once.
    pub secret: String,
    /// When it stops doing so; `0001-01-01T00:00:00Z` for never.
    pub expires_at: crate::Timestamp,
}

impl std::fmt::Debug for TrustToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrustToken").field("client_name", &self.client_name).finish_non_exhaustive()
    }
}

impl TrustToken {
    /// As one word.
    pub fn encode(&self) -> String {
        // Strings, a list of them and a time always serialize.
        BASE64.encode(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads what [`Self::encode`] wrote; `None` for anything else.
    pub fn decode(text: &str) -> Option<Self> {
        let json = BASE64.decode(text.trim().as_bytes()).ok()?;
        let token: Self = serde_json::from_slice(&json).ok()?;
        (!token.secret.is_empty()).then_some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_one_word_and_come_back() {
        let token = TrustToken {
            client_name: "laptop".into(),
            fingerprint: "ab".into(),
            addresses: vec!["10.0.0.1:8443".into()],
            secret: "s3cret".into(),
            ..TrustToken::default()
        };
        let word = token.encode();
        assert!(!word.contains(char::is_whitespace));
        assert_eq!(TrustToken::decode(&format!(" {word}\n")), Some(token));
        for other in ["", "sesame", "e30=", "bm9uc2Vuc2U="] {
            assert_eq!(TrustToken::decode(other), None, "{other}");
        }
    }
}
