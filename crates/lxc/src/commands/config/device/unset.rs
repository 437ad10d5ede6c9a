//! `lxc config device unset`.

use anyhow::Result;
use api::instances::InstancePut;
use clap::Args;

use crate::app::App;

/// Unset device configuration keys
#[derive(Debug, Args)]
#[command(after_help = "lxc config device unset c1 share readonly")]
pub struct Unset {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The device's name
    device: String,
    /// The key
    key: String,
}

impl Unset {
    pub async fn run(self, app: &App) -> Result<()> {
        super::owner(app, &self.name)?.unset::<InstancePut>(&self.device, &self.key).await
    }
}
