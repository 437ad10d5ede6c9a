//! Secrets that let somebody who is not trusted fetch one private image.

use std::sync::Arc;

use api::StatusCode;
use serde_json::{Value, json};

use super::{Images, one_of};
use crate::Result;
use crate::operations::{Class, New, Operation, is_same_secret};

impl Images {
    /// A token operation whose `secret` lets somebody fetch a private image once.
    pub fn create_secret(&self, fingerprint: &str) -> Result<Arc<Operation>> {
        let (fingerprint, _) = self.find(fingerprint)?;
        let metadata = json!({ "secret": crate::operations::new_secret() });
        self.engine.operations.token(New { metadata: Some(metadata), ..New::image("Image download token", &fingerprint) })
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
        let url = format!("/1.0/images/{fingerprint}");
        let fits = |operation: &Arc<Operation>| {
            let shown = operation.render();
            let is_of_image = shown.resources.as_ref().and_then(|all| all.get("images")).is_some_and(|urls| urls.contains(&url));
            let ours = shown.metadata.as_ref().and_then(|metadata| metadata.get("secret")).and_then(Value::as_str);
            is_of_image && ours.is_some_and(|ours| is_same_secret(ours, secret))
        };
        let tokens = self.engine.operations.list().into_iter().filter(|operation| operation.class() == Class::Token);
        let Some(token) = tokens.into_iter().find(fits) else { return false };
        if token.status() == StatusCode::RUNNING {
            // Somebody else may have used it in the same moment: it holds for a while, for both.
            drop(token.cancel());
        }
        true
    }
}
