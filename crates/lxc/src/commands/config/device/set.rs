//! `lxc config device set`.

use anyhow::Result;
use api::instances::InstancePut;
use clap::Args;

use crate::app::App;

/// Set device configuration keys
#[derive(Debug, Args)]
#[command(after_help = "\
lxc config device set c1 share readonly true
lxc config device set c1 eth0 mtu=1400")]
pub struct Set {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The device's name
    device: String,
    /// The keys and values
    #[arg(required = true, value_name = "KEY VALUE|KEY=VALUE...", allow_negative_numbers = true)]
    words: Vec<String>,
}

impl Set {
    pub async fn run(self, app: &App) -> Result<()> {
        super::owner(app, &self.name)?.set::<InstancePut>(&self.device, &self.words).await
    }
}
