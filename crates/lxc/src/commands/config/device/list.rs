//! `lxc config device list`.

use anyhow::Result;
use api::instances::InstancePut;
use clap::Args;

use crate::app::App;

/// List devices
#[derive(Debug, Args)]
#[command(after_help = "lxc config device list c1")]
pub struct List {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
}

impl List {
    pub async fn run(self, app: &App) -> Result<()> {
        super::owner(app, &self.name)?.list::<InstancePut>().await
    }
}
