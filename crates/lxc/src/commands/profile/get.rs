//! `lxc profile get`.

use anyhow::Result;
use api::profiles::ProfilePut;
use clap::Args;

use crate::app::App;
use crate::commands::keys;

/// Get values for profile configuration keys
#[derive(Debug, Args)]
#[command(after_help = "lxc profile get web limits.memory")]
pub struct Get {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
    /// The key
    key: String,
}

impl Get {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        keys::get::<ProfilePut>(&client, path, &self.key).await
    }
}
