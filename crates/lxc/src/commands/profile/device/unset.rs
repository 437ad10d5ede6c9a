//! `lxc profile device unset`.

use anyhow::Result;
use api::profiles::ProfilePut;
use clap::Args;

use crate::app::App;

/// Unset device configuration keys
#[derive(Debug, Args)]
#[command(after_help = "lxc profile device unset default root size")]
pub struct Unset {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
    /// The device's name
    device: String,
    /// The key
    key: String,
}

impl Unset {
    pub async fn run(self, app: &App) -> Result<()> {
        super::owner(app, &self.name)?.unset::<ProfilePut>(&self.device, &self.key).await
    }
}
