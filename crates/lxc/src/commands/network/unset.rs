//! `lxc network unset`.

use anyhow::Result;
use api::networks::NetworkPut;
use clap::Args;

use crate::app::App;
use crate::commands::keys;

/// Unset network configuration keys
#[derive(Debug, Args)]
#[command(after_help = "lxc network unset lxdbr0 ipv4.dhcp.ranges")]
pub struct Unset {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    name: String,
    /// The key
    key: String,
}

impl Unset {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        keys::unset::<NetworkPut>(&client, path, &self.key).await
    }
}
