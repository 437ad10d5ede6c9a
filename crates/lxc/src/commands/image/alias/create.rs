//! `lxc image alias create`.

use anyhow::Result;
use api::images::ImageAliasEntry;
use clap::Args;
use client::path;

use crate::app::App;

/// Create aliases for existing images
#[derive(Debug, Args)]
pub struct Create {
    /// The alias
    #[arg(value_name = "[REMOTE:]ALIAS")]
    alias: String,
    /// The image's fingerprint
    fingerprint: String,
    /// Description
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

impl Create {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.alias, "Alias")?;
        let entry = ImageAliasEntry { name, target: self.fingerprint, description: self.description, ..ImageAliasEntry::default() };
        client.post(&path(&["images", "aliases"]), &entry).await?;
        Ok(())
    }
}
