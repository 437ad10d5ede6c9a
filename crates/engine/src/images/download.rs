//! Images that come from other servers, into the cache or to stay.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::images::{ImageAlias, ImagesPost};
use api::{Config, Timestamp};
use serde_json::Value;

use super::Images;
use super::remote::{LIST_LIFETIME, Offer, RemoteImage, Reported};
use super::take_in::{Files, record_of};
use super::transfer::{Cancel, Transfer, Working};
use crate::error::Context;
use crate::operations::{New, Operation};
use crate::records::{AliasRecord, ImageRecord};
use crate::{Error, ErrorKind, Result, points};

/// The longest file name that is kept.
const MAX_NAME_BYTES: usize = 255;

/// What is to be known of an image that comes in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keep {
    /// For an instance only: to go when it is not used for long.
    pub cached: bool,
    pub public: bool,
    /// Follow the name that it was asked for by.
    pub auto_update: bool,
    /// Over those of the image.
    pub properties: Config,
    pub aliases: Vec<ImageAlias>,
    /// Instead of that of the server.
    pub filename: String,
    pub last_used_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// Ask the server even if it was asked not long ago.
    pub is_fresh: bool,
    /// When it must be here, if somebody does not want to wait longer.
    pub deadline: Option<Instant>,
}

/// What became of a request for an image.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub fingerprint: String,
    /// What operations tell of it; `None` where it was here already.
    pub result: Option<Value>,
}

impl Images {
    /// Downloads an image to stay.
    pub(super) fn download(&self, request: ImagesPost) -> Result<Arc<Operation>> {
        let remote = RemoteImage::of_image(&request.source)?;
        let keep = Keep {
            public: request.public,
            auto_update: request.auto_update,
            properties: request.properties,
            aliases: request.aliases,
            filename: request.filename,
            expires_at: request.expires_at,
            ..Keep::default()
        };
        let this = self.clone();
        self.engine.operations.run(New::plain("Downloading image"), move |operation| {
            let arrived = this.ensure_downloaded(&remote, &keep, operation)?;
            match arrived.result {
                Some(result) => Ok(Some(result)),
                None => this.keep_present(&arrived.fingerprint, &remote, &keep, operation),
            }
        })
    }

    /// Makes sure that an image of another server is here. The operation can be cancelled until then.
    pub(crate) fn ensure_downloaded(&self, remote: &RemoteImage, keep: &Keep, operation: &Arc<Operation>) -> Result<Arrived> {
        let known = self.engine.records.images.ids().into_iter().find(|fingerprint| remote.is_surely(fingerprint));
        if let Some(fingerprint) = known {
            return Ok(Arrived { fingerprint, result: None });
        }
        let cancel = Arc::new(Cancel::until(keep.deadline));
        let working = Working(cancel.clone());
        let hook = cancel.clone();
        operation.on_cancel(move || hook.cancel());
        let result = self.ensure_downloaded_or_cancelled(remote, keep, (operation, &cancel));
        drop(working);
        result
    }

    fn ensure_downloaded_or_cancelled(
        &self,
        remote: &RemoteImage,
        keep: &Keep,
        (operation, cancel): (&Arc<Operation>, &Cancel),
    ) -> Result<Arrived> {
        let client = self.client_of(remote)?;
        cancel.covers(&client)?;
        let max_age = if keep.is_fresh { Duration::ZERO } else { LIST_LIFETIME };
        let offer = self.resolve(remote, &client, max_age, cancel)?;
        if keep.cached {
            // Only for an instance, which would then not run.
            self.check_architecture(&offer.image.architecture)?;
        }
        let state = &self.engine.image_state;
        let _seat = state.audience.join(&offer.fingerprint, operation);
        // Whoever wants the same image at the same time waits, and has it then.
        let _turn = cancel.turn(&state.downloading, &offer.fingerprint)?;
        if self.engine.records.images.contains(&offer.fingerprint) {
            operation.seal()?;
            self.follow_name(&offer.fingerprint, remote, keep)?;
            return Ok(Arrived { fingerprint: offer.fingerprint.clone(), result: None });
        }
        let dir = self.upload_dir()?;
        let show = |text: &str| state.audience.show(&offer.fingerprint, text);
        let transfer = Transfer { client: &client, cancel, show: &show, dir: dir.path() };
        let fetched = transfer
            .fetch(&offer)
            .map_err(|error| Error::new(error.kind(), format!("download image {}", remote.title())).caused_by(Reported(error.report())))?;
        points::reach("download.fetched");
        let known = (offer.fingerprint.clone(), fetched.size_bytes);
        let facts = images::read_known_image(&fetched.metadata, fetched.rootfs.as_deref(), known)
            .context_as(ErrorKind::BadRequest, format!("read image {}", remote.title()))?;
        let record = described(record_of(&facts), &offer, remote, keep);
        operation.seal()?;
        let files = Files { fingerprint: offer.fingerprint.clone(), metadata: fetched.metadata, rootfs: fetched.rootfs, _dir: dir };
        let result = match self.take_in(files, record, &keep.aliases, operation) {
            // Somebody has imported it meanwhile.
            Err(error) if error.kind() == ErrorKind::Conflict && self.engine.records.images.contains(&offer.fingerprint) => None,
            result => result?,
        };
        Ok(Arrived { fingerprint: offer.fingerprint.clone(), result })
    }

    fn check_architecture(&self, name: &str) -> Result<()> {
        let runs = &self.engine.host.architectures;
        if name.is_empty() || runs.contains(&name) {
            return Ok(());
        }
        let shown: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
        Err(Error::bad_request(format!("the image is for architecture {shown}, which does not run on this host"))
            .hint(format!("it runs {}", runs.join(", "))))
    }

    /// A cached image follows the first name that it is asked for by.
    fn follow_name(&self, fingerprint: &str, remote: &RemoteImage, keep: &Keep) -> Result<()> {
        let change = |record: &mut ImageRecord| {
            if keep.cached && record.cached && record.source.is_none() {
                record.source = remote.record(fingerprint);
                record.auto_update = keep.auto_update && record.source.is_some();
            }
        };
        self.engine.records.modify(fingerprint, change).map(drop)
    }

    /// An image that was asked for by somebody who wants to keep it was here already.
    fn keep_present(&self, fingerprint: &str, remote: &RemoteImage, keep: &Keep, operation: &Operation) -> Result<Option<Value>> {
        let change = |record: &mut ImageRecord| {
            record.cached = false;
            record.public |= keep.public;
            record.properties.extend(keep.properties.clone());
            if let Some(expires_at) = keep.expires_at {
                record.expires_at = expires_at;
            }
            if keep.auto_update {
                record.source = remote.record(fingerprint).or_else(|| record.source.clone());
                record.auto_update = record.source.is_some();
            }
        };
        let also = |changes: &mut crate::records::Changes<'_>| {
            for alias in &keep.aliases {
                changes.insert(&alias.name, AliasRecord { target: fingerprint.to_owned(), description: alias.description.clone() })?;
            }
            Ok(())
        };
        self.engine.records.modify_with(fingerprint, change, also)?;
        operation.add_resource("images", fingerprint);
        self.present(fingerprint)
    }
}

/// A record with what the server and the request say of the image. What the image says of itself comes first
/// where it matters: its architecture and age.
fn described(record: ImageRecord, offer: &Offer, remote: &RemoteImage, keep: &Keep) -> ImageRecord {
    let source = remote.record(&offer.fingerprint);
    let mut properties = record.properties.clone();
    properties.extend(offer.image.properties.clone());
    properties.extend(keep.properties.clone());
    let name = if keep.filename.is_empty() { &offer.image.filename } else { &keep.filename };
    let told = offer.image.expires_at;
    ImageRecord {
        auto_update: keep.auto_update && source.is_some(),
        cached: keep.cached,
        public: keep.public,
        properties,
        filename: name.chars().filter(|c| !c.is_control()).take(MAX_NAME_BYTES / 4).collect(),
        expires_at: keep.expires_at.unwrap_or(if told.unix() > 0 { told } else { record.expires_at }),
        last_used_at: keep.last_used_at,
        source,
        ..record
    }
}
