//! `lxc config device show`.

use anyhow::Result;
use api::instances::InstancePut;
use clap::Args;

use crate::app::App;

/// Show full device configuration
#[derive(Debug, Args)]
#[command(after_help = "lxc config device show c1")]
pub struct Show {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        super::owner(app, &self.name)?.show::<InstancePut>().await
    }
}
