//! `lxc image alias rename`.

use anyhow::Result;
use api::profiles::Rename as Body;
use clap::Args;
use client::path;

use crate::app::App;

/// Rename aliases
#[derive(Debug, Args)]
#[command(after_help = "lxc image alias rename web www")]
pub struct Rename {
    /// The alias
    #[arg(value_name = "[REMOTE:]ALIAS")]
    alias: String,
    /// Its new name
    new_name: String,
}

impl Rename {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.alias, "Alias")?;
        client.post(&path(&["images", "aliases", &name]), &Body { name: self.new_name }).await?;
        Ok(())
    }
}
