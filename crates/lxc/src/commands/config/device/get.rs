//! `lxc config device get`.

use anyhow::Result;
use api::instances::InstancePut;
use clap::Args;

use crate::app::App;

/// Get values of device configuration keys
#[derive(Debug, Args)]
#[command(after_help = "lxc config device get c1 share path")]
pub struct Get {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The device's name
    device: String,
    /// The key
    key: String,
}

impl Get {
    pub async fn run(self, app: &App) -> Result<()> {
        super::owner(app, &self.name)?.get::<InstancePut>(&self.device, &self.key).await
    }
}
