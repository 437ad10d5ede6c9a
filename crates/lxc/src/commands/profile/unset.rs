//! `lxc profile unset`.

use anyhow::Result;
use api::profiles::ProfilePut;
use clap::Args;

use crate::app::App;
use crate::commands::keys;

/// Unset profile configuration keys
#[derive(Debug, Args)]
#[command(after_help = "lxc profile unset web limits.memory")]
pub struct Unset {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
    /// The key
    key: String,
}

impl Unset {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        keys::unset::<ProfilePut>(&client, path, &self.key).await
    }
}
