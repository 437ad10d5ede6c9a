//! `lxc profile device list`.

use anyhow::Result;
use api::profiles::ProfilePut;
use clap::Args;

use crate::app::App;

/// List devices
#[derive(Debug, Args)]
#[command(after_help = "lxc profile device list default")]
pub struct List {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        super::owner(app, &self.name)?.list::<ProfilePut>().await
    }
}
