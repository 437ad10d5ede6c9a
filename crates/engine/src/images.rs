//! Images and their aliases.
//!
//! The files of an image are `images/FINGERPRINT` and, where it is split, `FINGERPRINT.rootfs`.
//! A pool unpacks an image when the first instance on it needs it.

mod aliases;
mod download;
mod form;
mod push;
mod refresh;
mod remote;
mod secrets;
mod take_in;
mod transfer;
mod unpacked;
mod upkeep;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use api::images::{Image, ImageAlias, ImagePut};
use api::{Config, Timestamp};
use serde_json::Value;

pub(crate) use download::Keep;
pub use form::{Form, FormPiece};
pub(crate) use remote::{RemoteImage, read_foreign_reply};
pub use secrets::Agreed;
pub(crate) use transfer::progress_text;
pub(crate) use unpacked::ImageState;

use crate::error::Context;
use crate::operations::{New, Operation};
use crate::records::{Held, ImageRecord};
use crate::{Engine, Error, Result, Tagged, etag, patch};

/// How the directories of uploads begin.
const UPLOAD_PREFIX: &str = "upload-";

/// The images of an engine.
#[derive(Clone, Debug)]
pub struct Images {
    pub(crate) engine: Arc<Engine>,
}

/// A place for an upload; removed with all its content when dropped.
#[derive(Debug)]
pub struct UploadDir {
    path: PathBuf,
}

/// An uploaded image.
#[derive(Debug)]
pub struct Upload {
    /// Holds the files below; taken over by the operation.
    pub dir: UploadDir,
    /// The unified tarball, or the metadata tarball of a split image.
    pub metadata: PathBuf,
    /// The root file system of a split image.
    pub rootfs: Option<PathBuf>,
    /// Name to offer at export.
    pub filename: String,
    /// Visible to everybody.
    pub public: bool,
    /// Over those of the image's own metadata.
    pub properties: Config,
    /// The fingerprint the client expects, or empty.
    pub fingerprint: String,
    /// Aliases to give it.
    pub aliases: Vec<ImageAlias>,
    /// When it becomes obsolete; `None`: by its own words.
    pub expires_at: Option<Timestamp>,
    /// Whether somebody who may be a stranger has sent it, and asks by a secret what has become of it.
    pub is_by_secret: bool,
}

/// An image's files for a download.
#[derive(Debug)]
pub struct Export {
    /// Full fingerprint.
    pub fingerprint: String,
    /// One (unified) or two (metadata, rootfs) files.
    pub files: Vec<ExportFile>,
}

/// One file of an image.
#[derive(Debug)]
pub struct ExportFile {
    /// Name to offer: `FINGERPRINT.tar.gz`, `meta-FINGERPRINT.tar.xz`.
    pub filename: String,
    /// Size in bytes.
    pub size: u64,
    /// Open for reading.
    pub file: OwnedFd,
}

impl UploadDir {
    /// The directory to write into.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}

impl Drop for UploadDir {
    fn drop(&mut self) {
        if let Err(error) = sys::fs::remove_tree(&self.path) {
            tracing::warn!("{error}");
        }
    }
}

impl Images {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Fingerprints, sorted.
    pub fn fingerprints(&self) -> Vec<String> {
        self.engine.records.images.ids()
    }

    /// All images.
    pub fn list(&self) -> Vec<Image> {
        let mut aliases: BTreeMap<String, Vec<ImageAlias>> = BTreeMap::new();
        for (name, alias) in self.engine.records.aliases.all() {
            aliases.entry(alias.target.clone()).or_default().push(ImageAlias { name, description: alias.description.clone() });
        }
        let all = self.engine.records.images.all().into_iter();
        all.map(|(fingerprint, record)| {
            let own = aliases.remove(&fingerprint).unwrap_or_default();
            render(fingerprint, &record, own)
        })
        .collect()
    }

    /// One image, by fingerprint or an unambiguous beginning of it.
    pub fn get(&self, fingerprint: &str) -> Result<Tagged<Image>> {
        let (fingerprint, record) = self.find(fingerprint)?;
        let own = self.engine.records.aliases.all().into_iter().filter(|(_, alias)| alias.target == fingerprint);
        let aliases = own.map(|(name, alias)| ImageAlias { name, description: alias.description.clone() }).collect();
        Ok(Tagged { etag: etag::of(&tagged_parts(&record)), value: render(fingerprint, &record, aliases) })
    }

    /// Makes a directory for an upload.
    pub fn upload_dir(&self) -> Result<UploadDir> {
        let path = self.dir().join(format!("{UPLOAD_PREFIX}{}", uuid::Uuid::new_v4().simple()));
        sys::fs::create_dir(&path, 0o700).context("make a directory for the image")?;
        Ok(UploadDir { path })
    }

    /// Replaces the writable parts.
    pub fn update(&self, fingerprint: &str, request: ImagePut, if_match: Option<&str>) -> Result<()> {
        let (fingerprint, held) = self.find(fingerprint)?;
        etag::check(if_match, &tagged_parts(&held))?;
        let record = ImageRecord {
            auto_update: request.auto_update,
            expires_at: request.expires_at.unwrap_or(held.expires_at),
            properties: request.properties,
            public: request.public,
            ..ImageRecord::clone(&held.record)
        };
        let mut changes = self.engine.records.changes();
        changes.update(&fingerprint, &held, record)?;
        changes.commit()?;
        self.engine.lifecycle("image-updated", "images", &fingerprint);
        Ok(())
    }

    /// Changes only what `patch` names.
    pub fn patch(&self, fingerprint: &str, patch: Value, if_match: Option<&str>) -> Result<()> {
        let (fingerprint, record) = self.find(fingerprint)?;
        let current = ImagePut {
            auto_update: record.auto_update,
            expires_at: Some(record.expires_at),
            properties: record.properties.clone(),
            public: record.public,
        };
        self.update(&fingerprint, patch::apply(&current, patch)?, if_match)
    }

    /// Deletes an image with its aliases; instances made of it stay.
    pub fn delete(&self, fingerprint: &str) -> Result<Arc<Operation>> {
        let (fingerprint, _) = self.find(fingerprint)?;
        let this = self.clone();
        self.engine.operations.run(New::image("Deleting image", &fingerprint.clone()), move |_| {
            this.remove_if(&fingerprint, |_| true)?;
            Ok(None)
        })
    }

    /// Opens the files of an image.
    pub fn export(&self, fingerprint: &str) -> Result<Export> {
        let (fingerprint, record) = self.find(fingerprint)?;
        let file = |path: PathBuf, filename: String| -> Result<ExportFile> {
            let size = sys::fs::size_bytes(&path).context("open the image's file")?;
            let file = sys::fs::open(&path).context("open the image's file")?.into();
            Ok(ExportFile { filename, size, file })
        };
        let (metadata, rootfs) = self.files(&fingerprint, &record);
        let files = match rootfs {
            None => vec![file(metadata, format!("{fingerprint}{}", record.extension))?],
            Some(rootfs) => vec![
                file(metadata, format!("meta-{fingerprint}{}", record.extension))?,
                file(rootfs, format!("{fingerprint}{}", record.rootfs_extension))?,
            ],
        };
        Ok(Export { fingerprint, files })
    }

    /// An image by fingerprint or an unambiguous beginning of it.
    pub(crate) fn find(&self, prefix: &str) -> Result<(String, Held<ImageRecord>)> {
        let prefix = prefix.to_ascii_lowercase();
        one_of(&prefix, self.engine.records.images.below(&prefix).into_iter())
    }

    fn dir(&self) -> PathBuf {
        self.engine.config.dir.join("images")
    }

    /// Where the files of an image are.
    fn files(&self, fingerprint: &str, record: &ImageRecord) -> (PathBuf, Option<PathBuf>) {
        let dir = self.dir();
        (dir.join(fingerprint), record.is_split.then(|| dir.join(format!("{fingerprint}.rootfs"))))
    }
}

/// The one image of those whose fingerprints begin with `prefix`, which are given by what follows it.
fn one_of<T>(prefix: &str, mut found: impl Iterator<Item = (String, T)>) -> Result<(String, T)> {
    let missing = || Error::not_found("Image not found").hint("`lxc image list` shows the images there are");
    if prefix.is_empty() {
        return Err(missing());
    }
    let (rest, record) = found.next().ok_or_else(missing)?;
    if !rest.is_empty() && found.next().is_some() {
        return Err(Error::bad_request("Partial fingerprint matches more than one image").hint("give more of it"));
    }
    Ok((format!("{prefix}{rest}"), record))
}

fn render(fingerprint: String, record: &ImageRecord, aliases: Vec<ImageAlias>) -> Image {
    Image {
        aliases,
        architecture: record.architecture.clone(),
        auto_update: record.auto_update,
        cached: record.cached,
        created_at: record.created_at,
        expires_at: record.expires_at,
        filename: record.filename.clone(),
        fingerprint,
        last_used_at: record.last_used_at,
        profiles: vec!["default".into()],
        properties: record.properties.clone(),
        public: record.public,
        size: i64::try_from(record.size_bytes).unwrap_or(i64::MAX),
        kind: "container".into(),
        update_source: record.source.as_ref().map(remote::shown_source),
        uploaded_at: record.uploaded_at,
    }
}

fn tagged_parts(record: &ImageRecord) -> (bool, bool, &Config, api::Timestamp) {
    (record.public, record.auto_update, &record.properties, record.expires_at)
}
