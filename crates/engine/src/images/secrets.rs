//! Secrets that let somebody who is not trusted fetch one private image.

use std::sync::Arc;

use api::StatusCode;
use serde_json::{Value, json};

use super::Images;
use crate::Result;
use crate::operations::{Class, New, Operation, is_same_secret};

impl Images {
    /// A token operation whose `secret` lets somebody fetch a private image once.
    pub fn create_secret(&self, fingerprint: &str) -> Result<Arc<Operation>> {
        let (fingerprint, _) = self.find(fingerprint)?;
        let metadata = json!({ "secret": crate::operations::new_secret() });
        self.engine.operations.token(New { metadata: Some(metadata), ..New::image("Image download token", &fingerprint) })
    }

    /// Whether a caller who is not trusted may see an image: a public one, or a private one by its secret, which
    /// ends with its first use. Its operation can be read for a few seconds more, and for so long the secret
    /// still holds: whoever fetches an image looks at it first.
    pub fn is_visible(&self, fingerprint: &str, secret: Option<&str>) -> bool {
        let secret = secret.filter(|secret| !secret.is_empty());
        self.engine.records.images.get(fingerprint).is_some_and(|record| record.public)
            || secret.is_some_and(|secret| self.use_secret(fingerprint, secret))
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
