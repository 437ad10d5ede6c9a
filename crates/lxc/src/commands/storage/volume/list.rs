//! `lxc storage volume list`.

use anyhow::Result;
use api::storage_pools::StorageVolume;
use clap::Args;
use client::path;

use crate::app::App;
use crate::format::FormatFlag;
use crate::table::Table;

/// List storage volumes
#[derive(Debug, Args)]
#[command(after_help = "lxc storage volume list default")]
pub struct List {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    #[command(flatten)]
    format: FormatFlag,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let format = self.format.parse()?;
        let (client, pool) = app.resolve_named(&self.pool, "Pool")?;
        let volumes: Vec<StorageVolume> = client.get(&format!("{}?recursion=1", path(&["storage-pools", &pool, "volumes"]))).await?;
        let mut table = Table::new(["TYPE", "NAME", "DESCRIPTION", "USED BY"]);
        for volume in &volumes {
            table.row([&volume.kind, &volume.name, &volume.description, &volume.used_by.len().to_string()]);
        }
        table.sort();
        format.write(&table, || Ok(serde_json::to_value(&volumes)?))
    }
}
