//! `lxc image delete`.

use anyhow::Result;
use clap::Args;
use client::path;

use crate::app::App;
use crate::images;

/// Delete images
///
/// Containers made from them stay as they are.
#[derive(Debug, Args)]
#[command(after_help = "lxc image delete debian/12")]
pub struct Delete {
    /// The images
    #[arg(required = true, value_name = "[REMOTE:]IMAGE")]
    images: Vec<String>,
}

impl Delete {
    pub async fn run(self, app: &App) -> Result<()> {
        for argument in &self.images {
            let (client, name) = app.resolve_named(argument, "Image")?;
            let fingerprint = images::fingerprint(&client, &name).await?;
            let reply = client.delete(&path(&["images", &fingerprint])).await?;
            client.wait(&reply).await?;
        }
        Ok(())
    }
}
