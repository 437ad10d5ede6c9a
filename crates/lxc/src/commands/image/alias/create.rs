//! `lxc image alias create`.

use anyhow::Result;
use api::images::ImageAliasEntry;
use clap::Args;
use client::path;

use crate::app::App;
use crate::images;

/// Create aliases for existing images
#[derive(Debug, Args)]
#[command(after_help = "lxc image alias create web 3f1c9a0b77de # the beginning of a fingerprint will do")]
pub struct Create {
    /// The alias
    #[arg(value_name = "[REMOTE:]ALIAS")]
    alias: String,
    /// The image: the beginning of its fingerprint, or another alias
    image: String,
    /// Description
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

impl Create {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.alias, "Alias")?;
        // An alias stands for the image it is of.
        let target = images::fingerprint(&client, &self.image).await?;
        app.note("Image", &self.image);
        let entry = ImageAliasEntry { name, target, description: self.description, ..ImageAliasEntry::default() };
        client.post(&path(&["images", "aliases"]), &entry).await?;
        Ok(())
    }
}
