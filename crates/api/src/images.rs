//! Images and their aliases.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Config, Timestamp, null_default};

/// One image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Image {
    /// Its names.
    #[serde(deserialize_with = "null_default")]
    pub aliases: Vec<ImageAlias>,
    /// What it is for: `x86_64` and so on.
    pub architecture: String,
    /// It is replaced when its source has a newer version.
    pub auto_update: bool,
    /// It was downloaded for an instance, and goes when it is not used for a while.
    pub cached: bool,
    /// When it was made, by its own words.
    pub created_at: Timestamp,
    /// When it becomes obsolete, by its own words.
    pub expires_at: Timestamp,
    /// Name of the file that it came as.
    pub filename: String,
    /// SHA-256 of its file or files.
    pub fingerprint: String,
    /// When an instance was last made of it.
    pub last_used_at: Timestamp,
    /// Profiles of instances that are made of it: `default`.
    #[serde(deserialize_with = "null_default")]
    pub profiles: Vec<String>,
    /// What it says of itself: `os`, `release` and the like.
    #[serde(deserialize_with = "null_default")]
    pub properties: Config,
    /// Strangers may have it, too.
    pub public: bool,
    /// Bytes of its files.
    pub size: i64,
    /// `container`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it was downloaded from, if from where a newer version may come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_source: Option<UpdateSource>,
    /// When it came here.
    pub uploaded_at: Timestamp,
}

/// Where an image was downloaded from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UpdateSource {
    /// Its name there.
    pub alias: String,
    /// PEM text of the server's own certificate; empty where one of the system's authorities vouches for it.
    pub certificate: String,
    /// `lxd`, `simplestreams` or `direct`.
    pub protocol: String,
    /// Address of the server.
    pub server: String,
}

/// An alias as an image lists it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImageAlias {
    /// The name.
    pub name: String,
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
}

/// An alias as `/1.0/images/aliases` shows it; also the body of its `POST` and `PUT`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImageAliasEntry {
    /// A text for people.
    #[serde(deserialize_with = "null_default")]
    pub description: String,
    /// The name; slashes are allowed.
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
pub struct ImagePut {
    /// Replace it when its source has a newer version.
    #[serde(deserialize_with = "null_default")]
    pub auto_update: bool,
    /// When the image becomes obsolete (extension `images_expiry`); left as it is where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// All of what it says of itself.
    #[serde(deserialize_with = "null_default")]
    pub properties: Config,
    /// Let strangers have it, too.
    #[serde(deserialize_with = "null_default")]
    pub public: bool,
}

/// JSON body of `POST /1.0/images` (anything that is not an upload).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImagesPost {
    /// Name of the file that it is exported as.
    #[serde(deserialize_with = "null_default")]
    pub filename: String,
    /// Let strangers have it, too.
    #[serde(deserialize_with = "null_default")]
    pub public: bool,
    /// Replace it when its source has a newer version.
    #[serde(deserialize_with = "null_default")]
    pub auto_update: bool,
    /// What it says of itself, over what the source says.
    #[serde(deserialize_with = "null_default")]
    pub properties: Config,
    /// Names to give it.
    #[serde(deserialize_with = "null_default")]
    pub aliases: Vec<ImageAlias>,
    /// For one that is published: empty as `images.compression_algorithm` says.
    #[serde(deserialize_with = "null_default")]
    pub compression_algorithm: String,
    /// When the image becomes obsolete (extension `images_expiry`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Where it comes from.
    #[serde(deserialize_with = "null_default")]
    pub source: ImageSource,
}

/// Where an image comes from.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImageSource {
    /// `container`/`instance`, `snapshot`, `image`, `url`, or `build` (extension `image_build`).
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: String,
    /// For `image`: `pull`, also if empty, or `push` (extension `images_push_relay`): the reply is then a secret with which
    /// another server sends it.
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

/// Body of `POST /1.0/images/FINGERPRINT/export` (extension `images_push_relay`): the server to send the image to.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImageExportPost {
    /// Address of the server: `https://HOST:PORT`.
    #[serde(deserialize_with = "null_default")]
    pub target: String,
    /// What it takes the image for: from the operation that `POST /1.0/images` with the mode `push` gave there.
    #[serde(deserialize_with = "null_default")]
    pub secret: String,
    /// PEM text of its certificate, where it is pinned.
    #[serde(deserialize_with = "null_default")]
    pub certificate: String,
}
