//! `lxc profile device set`.

use anyhow::Result;
use api::profiles::ProfilePut;
use clap::Args;

use crate::app::App;

/// Set device configuration keys
#[derive(Debug, Args)]
#[command(after_help = "lxc profile device set default root size 20GB")]
pub struct Set {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
    /// The device's name
    device: String,
    /// The keys and values
    #[arg(required = true, value_name = "KEY VALUE|KEY=VALUE...", allow_negative_numbers = true)]
    words: Vec<String>,
}

impl Set {
    pub async fn run(self, app: &App) -> Result<()> {
        super::owner(app, &self.name)?.set::<ProfilePut>(&self.device, &self.words).await
    }
}
