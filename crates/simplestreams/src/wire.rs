//! The documents as servers write them. Unknown fields are ignored; nesting is bounded by the JSON parser.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::{Error, Result};

/// The only kind of product that is an image to download.
const IMAGES: &str = "image-downloads";
/// How many files of products an index may name.
const MAX_FILES: usize = 32;

#[derive(Deserialize)]
struct Index {
    index: BTreeMap<String, IndexEntry>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct IndexEntry {
    datatype: String,
    path: String,
    products: Vec<IgnoredAny>,
}

/// A file of products.
#[derive(Deserialize)]
pub(crate) struct Products {
    #[serde(default)]
    pub products: BTreeMap<String, Product>,
}

/// A distribution's release for one architecture.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Product {
    /// Separated by commas.
    pub aliases: String,
    pub arch: String,
    pub os: String,
    pub release: String,
    pub release_title: String,
    pub version: String,
    /// `YYYY-MM-DD`.
    pub support_eol: String,
    /// By serial, which begins with a date.
    pub versions: BTreeMap<String, Version>,
}

/// A build of a product.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Version {
    pub label: String,
    pub items: BTreeMap<String, WireItem>,
}

/// A file of a build.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireItem {
    pub ftype: String,
    pub path: String,
    pub sha256: String,
    pub size: u64,
    pub combined_sha256: String,
    pub combined_rootxz_sha256: String,
    pub combined_squashfs_sha256: String,
}

/// The paths of the files that list images, as the index names them.
pub(crate) fn product_files(index: &[u8]) -> Result<Vec<String>> {
    let index: Index = parse("the index", index)?;
    let entries = index.index.into_values().filter(|entry| entry.datatype == IMAGES && !entry.products.is_empty());
    let paths: Vec<String> = entries.map(|entry| entry.path).collect();
    if paths.len() > MAX_FILES {
        return Err(Error::Limit { what: "files of products", limit: MAX_FILES });
    }
    Ok(paths)
}

pub(crate) fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::Format { what, reason: error.to_string().chars().take(200).collect() })
}
