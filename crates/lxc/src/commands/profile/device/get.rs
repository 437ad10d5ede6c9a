//! `lxc profile device get`.

use anyhow::Result;
use api::profiles::ProfilePut;
use clap::Args;

use crate::app::App;

/// Get values of device configuration keys
#[derive(Debug, Args)]
#[command(after_help = "lxc profile device get default root pool")]
pub struct Get {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
    /// The device's name
    device: String,
    /// The key
    key: String,
}

impl Get {
    pub async fn run(self, app: &App) -> Result<()> {
        super::owner(app, &self.name)?.get::<ProfilePut>(&self.device, &self.key).await
    }
}
