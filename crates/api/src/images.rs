//! Images and their aliases.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Config, Timestamp, null_default};

/// One image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct Image {
    #[serde(deserialize_with = "null_default")]
    pub aliases: Vec<ImageAlias>,
    pub architecture: String,
    pub auto_update: bool,
    pub cached: bool,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub filename: String,
    pub fingerprint: String,
    pub last_used_at: Timestamp,
    #[serde(deserialize_with = "null_default")]
    pub profiles: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    pub properties: Config,
    pub public: bool,
    pub size: i64,
    /// `container`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it was downloaded from, if from where a newer version may come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_source: Option<UpdateSource>,
    pub uploaded_at: Timestamp,
}

/// Where an image was downloaded from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct UpdateSource {
    pub alias: String,
    /// PEM text of the server's own certificate; empty where one of the system's authorities vouches for it.
    pub certificate: String,
    /// `lxd`, `simplestreams` or `direct`.
    pub protocol: String,
    pub server: String,
}

/// An alias as an image lists it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct ImageAlias {
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub description: String,
}

/// An alias as `/1.0/images/aliases` shows it; also the body of its `POST` and `PUT`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct ImageAliasEntry {
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Full fingerprint.
    #[serde(deserialize_with = "null_default")]
    pub target: String,
    /// `container`.
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
}

/// Body of `PUT /1.0/images/FINGERPRINT`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct ImagePut {
    #[serde(deserialize_with = "null_default")]
    pub auto_update: bool,
    /// When the image becomes obsolete (extension `images_expiry`); left as it is where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(deserialize_with = "null_default")]
    pub properties: Config,
    #[serde(deserialize_with = "null_default")]
    pub public: bool,
}

/// JSON body of `POST /1.0/images` (anything that is not an upload).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct ImagesPost {
    #[serde(deserialize_with = "null_default")]
    pub filename: String,
    #[serde(deserialize_with = "null_default")]
    pub public: bool,
    #[serde(deserialize_with = "null_default")]
    pub auto_update: bool,
    #[serde(deserialize_with = "null_default")]
    pub properties: Config,
    #[serde(deserialize_with = "null_default")]
    pub aliases: Vec<ImageAlias>,
    #[serde(deserialize_with = "null_default")]
    pub compression_algorithm: String,
    /// When the image becomes obsolete (extension `images_expiry`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(deserialize_with = "null_default")]
    pub source: ImageSource,
}

/// Where an image comes from.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the API and say it")]
pub struct ImageSource {
    /// `container`/`instance`, `snapshot`, `image`, `url`, or `build` (extension `image_build`).
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
    /// For `image`: `pull`, also if empty.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// For `image`: address of the server.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// For `image`: `lxd`, also if empty, or `simplestreams`.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// For `image`: PEM text of the server's certificate, where it is pinned.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// For `image`: what lets a private image be fetched once.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub secret: String,
    /// For `image`: which one there.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// For `image`: which one there, where there is no fingerprint.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// For `url`: an address that says where the image is.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Instance, or `INSTANCE/SNAPSHOT`.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// For `build`: what to build, `debian/12` or `busybox`.
    #[serde(deserialize_with = "null_default")]
    pub recipe: String,
    /// For `build`: further packages to put in.
    #[serde(deserialize_with = "null_default")]
    pub packages: Vec<String>,
}
