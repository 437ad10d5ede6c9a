//! `lxc network set`.

use anyhow::Result;
use api::networks::NetworkPut;
use clap::Args;

use crate::app::App;
use crate::commands::keys;
use crate::pairs;

/// Set network configuration keys
#[derive(Debug, Args)]
#[command(after_help = "\
lxc network set lxdbr0 ipv4.nat true
lxc network set lxdbr0 ipv4.dhcp.ranges=10.50.0.100-10.50.0.200")]
pub struct Set {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    name: String,
    /// The keys and values
    #[arg(required = true, value_name = "KEY VALUE|KEY=VALUE...", allow_negative_numbers = true)]
    words: Vec<String>,
}

impl Set {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        keys::set::<NetworkPut>(&client, path, pairs::assignments(&self.words)?).await
    }
}
