//! How an image comes in: uploaded, published from an instance, or built from packages. (`download` has the rest.)

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::images::{ImageAlias, ImageSource, ImagesPost};
use api::{Config, Timestamp};
use images::{Compression, ImageFacts, PackSource, Packing};
use keys::instance::volatile;
use keys::server::IMAGES_COMPRESSION_ALGORITHM;
use serde_json::{Value, json};
use storage::VolumeRef;
use sys::Root;

use super::{Images, Upload, UploadDir};
use crate::error::Context;
use crate::instances::admission::Action;
use crate::instances::runtime_rootfs;
use crate::operations::{New, Operation};
use crate::records::{AliasRecord, ImageRecord, InstanceRecord};
use crate::undo::Undo;
use crate::{Error, ErrorKind, Result};

/// The files of a new image, somewhere in a directory of its own.
pub(super) struct Files {
    pub fingerprint: String,
    pub metadata: PathBuf,
    pub rootfs: Option<PathBuf>,
    pub _dir: UploadDir,
}

impl Images {
    /// Takes an uploaded image in.
    pub fn import(&self, upload: Upload) -> Result<Arc<Operation>> {
        self.check_aliases(&upload.aliases)?;
        let this = self.clone();
        let secret = upload.is_by_secret.then(crate::operations::new_secret);
        let metadata = secret.as_ref().map(|secret| json!({ "secret": secret }));
        self.engine.operations.run(New { metadata, ..New::plain("Importing image") }, move |operation| {
            let (metadata, rootfs) = (upload.metadata.as_path(), upload.rootfs.as_deref());
            let known = images::fingerprint(metadata, rootfs).context("read the image")?;
            // Nothing is parsed that is not what was announced.
            if !upload.fingerprint.is_empty() && upload.fingerprint != known.0 {
                return Err(Error::bad_request(format!("fingerprints don't match, got {} expected {}", known.0, upload.fingerprint)));
            }
            let facts = images::read_known_image(metadata, rootfs, known).context_as(ErrorKind::BadRequest, "read the image")?;
            let mut record = record_of(&facts);
            record.expires_at = upload.expires_at.unwrap_or(record.expires_at);
            record.properties.extend(upload.properties);
            record.filename = upload.filename;
            record.public = upload.public;
            let files = Files { fingerprint: facts.fingerprint, metadata: upload.metadata, rootfs: upload.rootfs, _dir: upload.dir };
            let mut taken = this.take_in(files, record, &upload.aliases, operation)?;
            if let (Some(Value::Object(result)), Some(secret)) = (&mut taken, secret) {
                // Whoever asks a moment later still may.
                result.insert("secret".to_owned(), secret.into());
            }
            Ok(taken)
        })
    }

    /// Publishes an instance or snapshot, downloads an image, agrees to be sent one, or builds one (`source.type` `build`).
    pub fn create(&self, request: ImagesPost) -> Result<Arc<Operation>> {
        self.check_aliases(&request.aliases)?;
        match request.source.kind.as_str() {
            "container" | "instance" | "snapshot" => self.publish(request),
            "build" => self.build(request),
            "image" | "" if request.source.mode == "push" => self.create_upload_secret(request),
            "image" | "url" => self.download(request),
            "" => Err(Error::bad_request("source.type: it is required and must not be empty")),
            other => Err(Error::bad_request(format!("Invalid images JSON: unknown source type '{other}'"))),
        }
    }

    fn publish(&self, request: ImagesPost) -> Result<Arc<Operation>> {
        let (volume, instance) = self.published(&request.source)?;
        let compression = self.compression(&request.compression_algorithm)?;
        let this = self.clone();
        let new = New::instance("Creating image from instance", &volume.instance);
        self.engine.operations.run(new, move |operation| {
            let _permit = this.engine.gates.permit(&volume.instance, Action::Copy)?;
            if volume.snapshot.is_none() && this.engine.live.get(&volume.instance).is_some() {
                return Err(
                    Error::bad_request("Cannot export a running container as an image").hint("stop it first, or publish a snapshot of it")
                );
            }
            operation.progress("create_image_from_container_pack_progress", "Image pack: started");
            let packing = Packing::from(compression);
            let cancel = packing.cancel.clone();
            let pack = || {
                let dir = this.upload_dir()?;
                let path = dir.path().join("image");
                let packed = this.pack((&volume, &instance), &request.properties, &path, packing)?;
                operation.seal()?;
                Ok((dir, path, packed))
            };
            let (dir, path, packed) = operation.breakable(move || cancel.cancel(), pack)?;
            let record = ImageRecord {
                architecture: instance.architecture.clone(),
                auto_update: false,
                created_at: Timestamp::now(),
                expires_at: request.expires_at.unwrap_or_default(),
                filename: request.filename,
                properties: request.properties,
                public: request.public,
                size_bytes: packed.size_bytes,
                extension: images::extension_of(&path).context("look at the new image")?.to_owned(),
                ..ImageRecord::default()
            };
            let files = Files { fingerprint: packed.fingerprint, metadata: path, rootfs: None, _dir: dir };
            this.take_in(files, record, &request.aliases, operation)
        })
    }

    /// The volume to publish and the record that goes with it.
    fn published(&self, source: &ImageSource) -> Result<(VolumeRef, InstanceRecord)> {
        if source.name.is_empty() {
            return Err(Error::bad_request("No source provided"));
        }
        let instances = self.engine.instances();
        match (source.kind.as_str(), source.name.split_once('/')) {
            ("snapshot", None) => Err(Error::bad_request("Not a snapshot")),
            ("snapshot", Some((instance, snapshot))) => {
                let held = self
                    .engine
                    .records
                    .snapshots
                    .get(&source.name)
                    .ok_or_else(|| Error::not_found(format!("Snapshot '{}' not found", source.name)))?;
                Ok((VolumeRef::snapshot(instance, snapshot), held.instance.clone()))
            }
            (_, Some(_)) => Err(Error::bad_request("This is a snapshot")),
            (_, None) => Ok((VolumeRef::instance(&source.name), InstanceRecord::clone(&instances.record(&source.name)?.record))),
        }
    }

    fn pack(
        &self,
        (volume, instance): (&VolumeRef, &InstanceRecord),
        properties: &Config,
        path: &Path,
        packing: Packing,
    ) -> Result<images::Packed> {
        let what = "pack the image";
        if instance.shifting_to.is_some() {
            return Err(Error::bad_request("a change of the owners of its files was interrupted")
                .hint("start the instance once, which goes on with it"));
        }
        let pool_name = self.engine.instances().record(&volume.instance)?.pool.clone();
        let pool = self.engine.pool(&pool_name)?;
        let dir = Root::open(pool.dir(volume)).context(what)?;
        let rootfs = runtime::open_rootfs(&runtime_rootfs(pool.rootfs(volume).context(what)?)).context(what)?;
        let shifted =
            volatile::LAST_STATE_IDMAP.text(&instance.config).and_then(|text| serde_json::from_str::<sys::idmap::IdMap>(text).ok());
        let shifted = shifted.filter(|map| !map.is_empty());
        let source = PackSource { volume: &dir, rootfs: &rootfs, ids: shifted.as_ref(), architecture: &instance.architecture };
        let out = sys::fs::create(path, 0o600).context(what)?;
        images::pack(&source, properties, &out, packing).context(what)
    }

    fn compression(&self, requested: &str) -> Result<Compression> {
        let config = self.engine.records.server.get("config").map(|record| record.config.clone()).unwrap_or_default();
        let name = if requested.is_empty() {
            IMAGES_COMPRESSION_ALGORITHM.text(&config).unwrap_or(IMAGES_COMPRESSION_ALGORITHM.default)
        } else {
            requested
        };
        Compression::parse(name).ok_or_else(|| {
            Error::bad_request(format!("compression algorithm '{name}' is not known")).hint("one of none, gzip, bzip2, xz, lzma, zstd")
        })
    }

    fn build(&self, request: ImagesPost) -> Result<Arc<Operation>> {
        images::Recipe::parse(&request.source.recipe).context_as(ErrorKind::BadRequest, "build an image")?;
        let this = self.clone();
        self.engine.operations.run(New::plain("Building image"), move |operation| {
            let dir = this.upload_dir()?;
            let mut progress = |text: &str| operation.progress("build_progress", text);
            let built = images::build(&request.source.recipe, &request.source.packages, dir.path(), &mut progress);
            let built = built.context(format!("build image `{}`", request.source.recipe))?;
            let metadata = &built.metadata;
            let mut record = ImageRecord {
                architecture: metadata.architecture.clone(),
                auto_update: false,
                created_at: Timestamp::from_unix(metadata.creation_date),
                expires_at: Timestamp::from_unix(metadata.expiry_date),
                filename: request.filename.clone(),
                properties: metadata.properties.clone(),
                public: request.public,
                size_bytes: built.size_bytes,
                extension: images::extension_of(&built.image).context("look at the new image")?.to_owned(),
                ..ImageRecord::default()
            };
            record.properties.extend(request.properties.clone());
            // The names that suit a build move on from an older build of the same.
            let named = |name: String| ImageAlias { name, description: String::new() };
            let moving: Vec<ImageAlias> =
                if request.aliases.is_empty() { built.aliases.into_iter().map(named).collect() } else { Vec::new() };
            let fingerprint = built.fingerprint.clone();
            let files = Files { fingerprint: built.fingerprint, metadata: built.image, rootfs: None, _dir: dir };
            let result = match this.take_in(files, record, &request.aliases, operation) {
                // Built again from the same packages: the image is there.
                Err(error) if error.kind() == ErrorKind::Conflict && request.aliases.is_empty() => this.present(&fingerprint),
                other => other,
            }?;
            this.move_aliases(&fingerprint, &moving)?;
            Ok(result)
        })
    }

    pub(super) fn present(&self, fingerprint: &str) -> Result<Option<Value>> {
        let (fingerprint, record) = self.find(fingerprint)?;
        Ok(Some(json!({ "fingerprint": fingerprint, "size": record.size_bytes.to_string() })))
    }

    fn move_aliases(&self, fingerprint: &str, aliases: &[ImageAlias]) -> Result<()> {
        let records = &self.engine.records;
        let mut changes = records.changes();
        for alias in aliases {
            let record = AliasRecord { target: fingerprint.to_owned(), description: alias.description.clone() };
            match records.aliases.get(&alias.name) {
                Some(held) => changes.update(&alias.name, &held, record)?,
                None => changes.insert(&alias.name, record)?,
            }
        }
        changes.commit()
    }

    /// Moves the files to their place and stores the records; nothing stays if a step fails.
    pub(super) fn take_in(
        &self,
        files: Files,
        record: ImageRecord,
        aliases: &[ImageAlias],
        operation: &Operation,
    ) -> Result<Option<Value>> {
        let records = &self.engine.records;
        let fingerprint = files.fingerprint.clone();
        // Until the record is stored or all is undone, the files of this name are nobody else's.
        let _alone = self.engine.image_state.files.hold(&fingerprint);
        if records.is_stored::<ImageRecord>(&fingerprint)? {
            return Err(Error::conflict(format!("Image with same fingerprint already exists: {fingerprint}")));
        }
        let record = ImageRecord { uploaded_at: Timestamp::now(), ..record };
        let (metadata, rootfs) = self.files(&fingerprint, &record);
        let mut undo = Undo::default();
        let parts = [(Some(&files.metadata), Some(metadata)), (files.rootfs.as_ref(), rootfs)];
        for (from, to) in parts.into_iter().filter_map(|(from, to)| from.zip(to)) {
            // The record is not to be more durable than what it speaks of.
            sys::fs::open(from).context("store the image")?.sync_all().context("store the image")?;
            sys::fs::rename(from, &to).context("store the image")?;
            undo.push("remove the image's file", move || sys::fs::remove_file(to));
        }
        let size = record.size_bytes.to_string();
        let mut changes = records.changes();
        changes.insert(&fingerprint, record)?;
        for alias in aliases {
            changes.insert(&alias.name, AliasRecord { target: fingerprint.clone(), description: alias.description.clone() })?;
        }
        changes.commit()?;
        undo.keep();
        operation.add_resource("images", &fingerprint);
        self.engine.lifecycle("image-created", "images", &fingerprint);
        Ok(Some(json!({ "fingerprint": fingerprint, "size": size })))
    }

    fn check_aliases(&self, aliases: &[ImageAlias]) -> Result<()> {
        for alias in aliases {
            keys::names::check_alias(&alias.name)?;
            if self.engine.records.aliases.contains(&alias.name) {
                return Err(
                    Error::conflict(format!("Alias '{}' already exists", alias.name)).hint("delete it first, or choose another one")
                );
            }
        }
        Ok(())
    }
}

pub(super) fn record_of(facts: &ImageFacts) -> ImageRecord {
    let metadata = &facts.metadata;
    let rootfs_extension = facts.kind.rootfs_extension();
    ImageRecord {
        architecture: metadata.architecture.clone(),
        created_at: Timestamp::from_unix(metadata.creation_date),
        expires_at: Timestamp::from_unix(metadata.expiry_date),
        properties: metadata.properties.clone(),
        size_bytes: facts.size_bytes,
        is_split: rootfs_extension.is_some(),
        extension: facts.kind.extension().to_owned(),
        rootfs_extension: rootfs_extension.unwrap_or_default().to_owned(),
        ..ImageRecord::default()
    }
}
