//! `lxc profile device show`.

use anyhow::Result;
use api::profiles::ProfilePut;
use clap::Args;

use crate::app::App;

/// Show full device configuration
#[derive(Debug, Args)]
#[command(after_help = "lxc profile device show default")]
pub struct Show {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        super::owner(app, &self.name)?.show::<ProfilePut>().await
    }
}
