//! `lxc storage list`.

use anyhow::Result;
use api::storage_pools::StoragePool;
use clap::Args;
use client::path;

use crate::app::App;
use crate::format::FormatFlag;
use crate::table::Table;

/// List available storage pools
#[derive(Debug, Args)]
#[command(after_help = "lxc storage list")]
pub struct List {
    /// The server
    #[arg(value_name = "[REMOTE:]")]
    remote: Option<String>,
    #[command(flatten)]
    format: FormatFlag,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        let format = self.format.parse()?;
        let client = app.server(self.remote.as_deref())?;
        let found: Vec<StoragePool> = client.get(&format!("{}?recursion=1", path(&["storage-pools"]))).await?;
        let mut table = Table::new(["NAME", "DESCRIPTION", "DRIVER", "SOURCE", "USED BY", "STATE"]);
        for pool in &found {
            let source = pool.config.get("source").map_or("", String::as_str);
            table.row([&pool.name, &pool.description, &pool.driver, source, &pool.used_by.len().to_string(), &pool.status.to_uppercase()]);
        }
        table.sort();
        format.write(&table, || Ok(serde_json::to_value(&found)?))
    }
}
