//! `lxc network attach`.

use anyhow::Result;
use api::instances::InstancePut;
use api::networks::Network;
use clap::Args;

use super::attachment;
use crate::app::App;
use crate::commands::device::Owner;
use crate::record::instance_path;

/// Attach network interfaces to containers
///
/// Adds a network card on the network to the container's own devices.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc network attach lxdbr0 c1 # as the device lxdbr0
lxc network attach lxdbr0 c1 eth1 eth1 # device and interface are named eth1")]
pub struct Attach {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    network: String,
    /// The container
    container: String,
    /// The device's name (default: the network's)
    device: Option<String>,
    /// The interface's name inside the container
    interface: Option<String>,
}

impl Attach {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.network)?;
        let network: Network = client.get(&path).await?;
        app.note("Container", &self.container);
        let owner = Owner { client, path: instance_path(&self.container), name: self.container };
        attachment::attach::<InstancePut>(&network, &owner, (self.device, self.interface)).await
    }
}
