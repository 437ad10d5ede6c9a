//! An image that one server sends to another, for servers that cannot be reached the other way round.

use anyhow::{Context, Result};
use api::images::{Image, ImageExportPost, ImageSource, ImagesPost};
use client::{Client, path};

use crate::app::App;
use crate::commands::create::wait_or_cancel;
use crate::commands::image_servers::{all_failed, is_failed};
use crate::progress::Progress;
use crate::servers;

/// Has `from` send an image to `to`, whose name is `remote`, trying one of its addresses after the other; its fingerprint.
pub async fn push(app: &App, (from, to, remote): (&Client, &Client, &str), (image, is_public): (&Image, bool)) -> Result<String> {
    let server = servers::reachable(app, to, remote).await?;
    let mut failures = Vec::new();
    for target in server.addresses {
        let source = ImageSource {
            kind: "image".to_owned(),
            mode: "push".to_owned(),
            fingerprint: image.fingerprint.clone(),
            ..ImageSource::default()
        };
        let post = ImagesPost {
            public: is_public,
            properties: image.properties.clone(),
            expires_at: Some(image.expires_at),
            source,
            ..ImagesPost::default()
        };
        // Each attempt uses one up.
        let token = to.post(&path(&["images"]), &post).await?.operation()?;
        let secret = token.metadata.as_ref().and_then(|metadata| metadata.get("secret")?.as_str());
        let secret = secret.map(str::to_owned).context("The target server didn't tell a secret for the image")?;
        let export = ImageExportPost { target: target.clone(), secret, certificate: server.certificate.clone() };
        let result = send(app, from, (&image.fingerprint, &export)).await;
        match result {
            Ok(()) => return Ok(image.fingerprint.clone()),
            Err(error) => {
                // It is of no use any more; mostly it is used up.
                drop(to.cancel_operation(&token.id).await);
                if !is_failed(&error) {
                    return Err(error);
                }
                failures.push((target, error));
            }
        }
    }
    Err(all_failed("Failed image transfer", failures))
}

async fn send(app: &App, from: &Client, (fingerprint, export): (&str, &ImageExportPost)) -> Result<()> {
    let operation = from.post(&path(&["images", fingerprint, "export"]), export).await?.operation()?;
    let mut progress = Progress::new("Copying the image", app.quiet);
    wait_or_cancel(from, &operation, |operation| progress.show(operation)).await.map(drop)
}
