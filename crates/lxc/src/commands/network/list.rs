//! `lxc network list`.

use anyhow::Result;
use api::networks::Network;
use clap::Args;
use client::path;

use crate::app::App;
use crate::format::FormatFlag;
use crate::table::Table;

/// List available networks
#[derive(Debug, Args)]
#[command(after_help = "lxc network list")]
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
        let found: Vec<Network> = client.get(&format!("{}?recursion=1", path(&["networks"]))).await?;
        let mut table = Table::new(["NAME", "TYPE", "MANAGED", "DESCRIPTION", "USED BY"]);
        for network in found.iter().filter(|network| network.kind != "loopback") {
            let managed = if network.managed { "YES" } else { "NO" };
            table.row([&network.name, &network.kind, managed, &network.description, &network.used_by.len().to_string()]);
        }
        table.sort();
        format.write(&table, || Ok(serde_json::to_value(&found)?))
    }
}
