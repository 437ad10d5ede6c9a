//! `lxc storage volume show`.

use anyhow::Result;
use api::storage_pools::StorageVolume;
use clap::Args;
use client::path;

use crate::app::App;
use crate::{output, yaml};

/// Show storage volume configurations
#[derive(Debug, Args)]
pub struct Show {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume: TYPE/NAME, or NAME for `custom/NAME`
    volume: String,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, pool) = app.resolve_named(&self.pool, "Pool")?;
        let (kind, name) = self.volume.split_once('/').unwrap_or(("custom", &self.volume));
        let volume: StorageVolume = client.get(&path(&["storage-pools", &pool, "volumes", kind, name])).await?;
        output::text_block(&yaml::emit_fields(&volume)?);
        Ok(())
    }
}
