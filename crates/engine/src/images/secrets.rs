//! Secrets for one image each: with which somebody who is not trusted fetches a private one, or sends one here.

use std::sync::Arc;

use api::images::{ImageAlias, ImagesPost};
use api::{Config, StatusCode, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::remote::is_fingerprint;
use super::{Images, one_of};
use crate::operations::{Class, New, Operation, is_same_secret, new_secret};
use crate::{Error, Result};

/// What secrets are for: one for a download lets nobody send anything.
const DOWNLOAD: &str = "Image download token";
const UPLOAD: &str = "Image upload token";

/// What was agreed on about an image that somebody will send.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Agreed {
    /// Names to give it.
    pub aliases: Vec<ImageAlias>,
    /// When it becomes obsolete; `None`: by its own words.
    pub expires_at: Option<Timestamp>,
    /// Over those of its own metadata.
    pub properties: Config,
    /// Visible to everybody.
    pub public: bool,
}

impl Images {
    /// A token operation whose `secret` lets somebody fetch a private image once.
    pub fn create_secret(&self, fingerprint: &str) -> Result<Arc<Operation>> {
        let (fingerprint, _) = self.find(fingerprint)?;
        let metadata = json!({ "secret": new_secret() });
        self.engine.operations.token(New { metadata: Some(metadata), ..New::image(DOWNLOAD, &fingerprint) })
    }

    /// A token operation whose `secret` lets somebody send one image once. What is to be known of it is what the request
    /// says, whatever the sender says.
    pub(super) fn create_upload_secret(&self, request: ImagesPost) -> Result<Arc<Operation>> {
        let fingerprint = request.source.fingerprint;
        if !is_fingerprint(&fingerprint) {
            return Err(Error::bad_request("an image that is to be pushed is named by its full fingerprint (source.fingerprint)"));
        }
        if request.auto_update {
            return Err(Error::bad_request("an image that is pushed cannot be kept up to date: where it comes from is not known")
                .hint("have it pulled"));
        }
        if self.engine.records.images.contains(&fingerprint) {
            return Err(Error::conflict(format!("Image with same fingerprint already exists: {fingerprint}")));
        }
        let agreed =
            Agreed { aliases: request.aliases, expires_at: request.expires_at, properties: request.properties, public: request.public };
        let mut metadata =
            serde_json::to_value(&agreed).map_err(|error| Error::internal("note what is to be uploaded").caused_by(error))?;
        metadata["secret"] = new_secret().into();
        self.engine.operations.token(New { metadata: Some(metadata), ..New::image(UPLOAD, &fingerprint) })
    }

    /// What was agreed on about an image that is sent now. The secret ends with this.
    pub fn begin_upload(&self, fingerprint: &str, secret: &str) -> Option<Agreed> {
        let token = self.token(UPLOAD, fingerprint, secret)?;
        // Of two who come at the same time only one ends it.
        token.cancel().ok()?;
        serde_json::from_value(token.render().metadata?).ok()
    }

    /// The full fingerprint of the image that a caller who is not trusted means and may see: a public one, by any
    /// beginning that no other public one has, or a private one in full and by its secret, which ends with its
    /// first use. Its operation can be read for a few seconds more, and for so long the secret still holds:
    /// whoever fetches an image looks at it first. Private images are as if they were not there.
    pub fn find_visible(&self, wanted: &str, secret: Option<&str>) -> Result<String> {
        let wanted = wanted.to_ascii_lowercase();
        if secret.is_some_and(|secret| !secret.is_empty() && self.use_secret(&wanted, secret)) {
            return Ok(wanted);
        }
        let public = self.engine.records.images.below(&wanted).into_iter().filter(|(_, record)| record.public);
        one_of(&wanted, public).map(|(fingerprint, _)| fingerprint)
    }

    fn use_secret(&self, fingerprint: &str, secret: &str) -> bool {
        let Some(token) = self.token(DOWNLOAD, fingerprint, secret) else { return false };
        if token.status() == StatusCode::RUNNING {
            // Somebody else may have used it in the same moment: it holds for a while, for both.
            drop(token.cancel());
        }
        true
    }

    /// The operation of a secret.
    fn token(&self, purpose: &str, fingerprint: &str, secret: &str) -> Option<Arc<Operation>> {
        let url = format!("/1.0/images/{fingerprint}");
        let fits = |operation: &Arc<Operation>| {
            let shown = operation.render();
            let is_of_image = shown.resources.as_ref().and_then(|all| all.get("images")).is_some_and(|urls| urls.contains(&url));
            let ours = shown.metadata.as_ref().and_then(|metadata| metadata.get("secret")).and_then(Value::as_str);
            shown.description == purpose && is_of_image && ours.is_some_and(|ours| is_same_secret(ours, secret))
        };
        let mut tokens = self.engine.operations.list().into_iter().filter(|operation| operation.class() == Class::Token);
        tokens.find(fits)
    }
}
