//! `lxc network set`.

use anyhow::Result;
use api::networks::NetworkPut;
use clap::Args;

use crate::app::App;
use crate::commands::keys;
use crate::pairs;

/// Set network configuration keys
#[derive(Debug, Args)]
pub struct Set {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    name: String,
    /// The keys and values
    #[arg(required = true, value_name = "KEY VALUE|KEY=VALUE", allow_hyphen_values = true)]
    words: Vec<String>,
}

impl Set {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        keys::set::<NetworkPut>(&client, path, pairs::assignments(&self.words)?).await
    }
}
