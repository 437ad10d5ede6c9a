//! `lxc image alias delete`.

use anyhow::Result;
use clap::Args;
use client::path;

use crate::app::App;

/// Delete image aliases
#[derive(Debug, Args)]
#[command(after_help = "lxc image alias delete web")]
pub struct Delete {
    /// The alias
    #[arg(value_name = "[REMOTE:]ALIAS")]
    alias: String,
}

impl Delete {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.alias, "Alias")?;
        client.delete(&path(&["images", "aliases", &name])).await?;
        Ok(())
    }
}
