//! `lxc network detach`.

use anyhow::Result;
use api::instances::InstancePut;
use clap::Args;

use super::attachment;
use crate::app::App;
use crate::commands::device::Owner;
use crate::record::instance_path;

/// Detach network interfaces from containers
#[derive(Debug, Args)]
#[command(after_help = "lxc network detach lxdbr0 c1")]
pub struct Detach {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    network: String,
    /// The container
    container: String,
    /// The device's name, needed if there are several
    device: Option<String>,
}

impl Detach {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, _, network) = super::locate(app, &self.network)?;
        app.note("Container", &self.container);
        let owner = Owner { client, path: instance_path(&self.container), name: self.container };
        attachment::detach::<InstancePut>(&network, &owner, (self.device, "lxc config device list")).await
    }
}
