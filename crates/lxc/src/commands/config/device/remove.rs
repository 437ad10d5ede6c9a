//! `lxc config device remove`.

use anyhow::Result;
use api::instances::InstancePut;
use clap::Args;

use crate::app::App;

/// Remove devices
#[derive(Debug, Args)]
#[command(after_help = "lxc config device remove c1 share")]
pub struct Remove {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The devices' names
    #[arg(required = true, value_name = "DEVICE")]
    devices: Vec<String>,
}

impl Remove {
    pub async fn run(self, app: &App) -> Result<()> {
        super::owner(app, &self.name)?.remove::<InstancePut>(&self.devices).await
    }
}
