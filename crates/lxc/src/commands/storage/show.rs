//! `lxc storage show`.

use anyhow::Result;
use api::storage_pools::StoragePool;
use clap::Args;

use crate::app::App;
use crate::{output, yaml};

/// Show pool configurations
#[derive(Debug, Args)]
#[command(after_help = "lxc storage show default")]
pub struct Show {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    name: String,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        output::text_block(&yaml::emit_fields(&client.get::<StoragePool>(&path).await?)?);
        Ok(())
    }
}
