//! `lxc profile device remove`.

use anyhow::Result;
use api::profiles::ProfilePut;
use clap::Args;

use crate::app::App;

/// Remove devices
#[derive(Debug, Args)]
#[command(after_help = "lxc profile device remove web share")]
pub struct Remove {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
    /// The devices' names
    #[arg(required = true, value_name = "DEVICE")]
    devices: Vec<String>,
}

impl Remove {
    pub async fn run(self, app: &App) -> Result<()> {
        super::owner(app, &self.name)?.remove::<ProfilePut>(&self.devices).await
    }
}
