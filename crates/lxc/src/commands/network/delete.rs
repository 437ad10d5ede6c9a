//! `lxc network delete`.

use anyhow::Result;
use clap::Args;

use crate::app::App;
use crate::outln;

/// Delete networks
///
/// No container or profile may use it.
#[derive(Debug, Args)]
#[command(after_help = "lxc network delete br1")]
pub struct Delete {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    name: String,
}

impl Delete {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, name) = super::locate(app, &self.name)?;
        let reply = client.delete(&path).await?;
        client.wait(&reply).await?;
        outln!("Network {name} deleted");
        Ok(())
    }
}
