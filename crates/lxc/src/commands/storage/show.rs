//! `lxc storage show`.

use anyhow::Result;
use api::storage_pools::{Resources, StoragePool};
use clap::Args;

use crate::app::App;
use crate::{output, yaml};

/// Show pool configurations
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage show default
lxc storage show default --resources # how full it is")]
pub struct Show {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    name: String,
    /// Show the space and inodes that it has instead
    #[arg(long)]
    resources: bool,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, name) = super::locate(app, &self.name)?;
        if self.resources {
            let resources: Resources = client.get(&client::path(&["storage-pools", &name, "resources"])).await?;
            output::text_block(&yaml::emit_fields(&resources)?);
            return Ok(());
        }
        output::text_block(&yaml::emit_fields(&client.get::<StoragePool>(&path).await?)?);
        Ok(())
    }
}
