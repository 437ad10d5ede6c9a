//! `lxc config metadata`: what the image says of a container, kept in the container's volume.

use anyhow::{Result, bail};
use api::metadata::ImageMetadata;
use client::{Client, path};
use serde_json::json;

use crate::app::App;
use crate::yaml;

commands! {
    /// Manage container metadata files
    group Metadata {
        edit => Edit,
        show => Show,
    }
}

/// The server and the path of the metadata of a container, which its snapshots have not.
fn locate(app: &App, argument: &str) -> Result<(Client, String)> {
    let (client, name) = app.resolve_named(argument, "Container")?;
    if name.contains('/') {
        bail!("\"{name}\" is a snapshot: only containers' metadata can be worked on (`lxc copy {name} NAME` makes a container of it)");
    }
    let path = path(&["instances", &name, "metadata"]);
    Ok((client, path))
}

/// The metadata as text, its fields in the order that image builders write.
async fn shown(client: &Client, path: &str) -> Result<String> {
    let metadata: ImageMetadata = client.get(path).await?;
    Ok(yaml::emit(&yaml::fields([
        ("architecture", json!(metadata.architecture)),
        ("creation_date", json!(metadata.creation_date)),
        ("expiry_date", json!(metadata.expiry_date)),
        ("properties", yaml::sorted(json!(metadata.properties))),
        ("templates", json!(metadata.templates)),
    ])))
}
