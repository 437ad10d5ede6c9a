//! `lxc storage volume show`.

use anyhow::{Result, bail};
use api::storage_pools::{StoragePool, StorageVolume};
use clap::Args;
use client::path;

use crate::app::App;
use crate::{output, yaml};

/// Show storage volume configurations
#[derive(Debug, Args)]
#[command(after_help = "lxc storage volume show default container/c1")]
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
        let volume = client.get::<StorageVolume>(&path(&["storage-pools", &pool, "volumes", kind, name])).await;
        let volume = match volume {
            Err(error) if error.is_not_found() => {
                // Or is it the pool that is not there?
                client.get::<StoragePool>(&path(&["storage-pools", &pool])).await?;
                bail!("Storage volume '{kind}/{name}' not found in pool {pool} (`lxc storage volume list {pool}` shows those there are)");
            }
            volume => volume?,
        };
        output::text_block(&yaml::emit_fields(&volume)?);
        Ok(())
    }
}
