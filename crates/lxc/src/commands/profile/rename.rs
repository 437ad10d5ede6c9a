//! `lxc profile rename`.

use anyhow::Result;
use api::profiles::Rename as Body;
use clap::Args;

use crate::app::App;
use crate::outln;

/// Rename profiles
#[derive(Debug, Args)]
#[command(after_help = "lxc profile rename web www")]
pub struct Rename {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
    /// Its new name
    new_name: String,
}

impl Rename {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, name) = super::locate(app, &self.name)?;
        client.post(&path, &Body { name: self.new_name.clone() }).await?;
        outln!("Profile {name} renamed to {}", self.new_name);
        Ok(())
    }
}
