//! `lxc network get`.

use anyhow::Result;
use api::networks::NetworkPut;
use clap::Args;

use crate::app::App;
use crate::commands::keys;

/// Get values for network configuration keys
#[derive(Debug, Args)]
#[command(after_help = "lxc network get lxdbr0 ipv4.address")]
pub struct Get {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    name: String,
    /// The key
    key: String,
}

impl Get {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        keys::get::<NetworkPut>(&client, path, &self.key).await
    }
}
