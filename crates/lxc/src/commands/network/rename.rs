//! `lxc network rename`.

use anyhow::Result;
use api::profiles::Rename as Body;
use clap::Args;

use crate::app::App;
use crate::outln;

/// Rename networks
#[derive(Debug, Args)]
#[command(after_help = "lxc network rename br1 br2 # nothing may use it")]
pub struct Rename {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    name: String,
    /// Its new name
    new_name: String,
}

impl Rename {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, name) = super::locate(app, &self.name)?;
        client.post(&path, &Body { name: self.new_name.clone() }).await?;
        outln!("Network {name} renamed to {}", self.new_name);
        Ok(())
    }
}
