//! `lxc network list-leases`.

use anyhow::Result;
use api::networks::Lease;
use clap::Args;
use client::path;

use crate::app::App;
use crate::format::FormatFlag;
use crate::table::Table;

/// List DHCP leases
#[derive(Debug, Args)]
#[command(after_help = "lxc network list-leases lxdbr0")]
pub struct ListLeases {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    name: String,
    #[command(flatten)]
    format: FormatFlag,
}

impl ListLeases {
    pub async fn run(self, app: &App) -> Result<()> {
        let format = self.format.parse()?;
        let (client, _, name) = super::locate(app, &self.name)?;
        let leases: Vec<Lease> = client.get(&path(&["networks", &name, "leases"])).await?;
        let mut table = Table::new(["HOSTNAME", "MAC ADDRESS", "IP ADDRESS", "TYPE"]);
        for lease in &leases {
            table.row([&lease.hostname, &lease.hwaddr, &lease.address, &lease.kind.to_uppercase()]);
        }
        table.sort();
        format.write(&table, || Ok(serde_json::to_value(&leases)?))
    }
}
