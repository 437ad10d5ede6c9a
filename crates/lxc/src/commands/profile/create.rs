//! `lxc profile create`.

use anyhow::Result;
use api::profiles::Profile;
use clap::Args;

use crate::app::App;
use crate::outln;

/// Create profiles
#[derive(Debug, Args)]
#[command(after_help = "lxc profile create web")]
pub struct Create {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
}

impl Create {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, _, name) = super::locate(app, &self.name)?;
        let profile = Profile { name: name.clone(), ..Profile::default() };
        client.post(&client::path(&["profiles"]), &profile).await?;
        outln!("Profile {name} created");
        Ok(())
    }
}
