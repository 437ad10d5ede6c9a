//! `lxc network attach`.

use anyhow::{Result, bail};
use api::instances::InstancePut;
use api::networks::Network;
use clap::Args;

use crate::app::App;
use crate::record::{Record, instance_path};

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
        let (client, path, network_name) = super::locate(app, &self.network)?;
        let network: Network = client.get(&path).await?;
        let nictype = if network.kind == "bridge" { "bridged" } else { "macvlan" };
        let name = self.device.unwrap_or_else(|| network_name.clone());
        let mut device: api::Config = [("type", "nic"), ("nictype", nictype), ("parent", &network_name)].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        if let Some(interface) = self.interface {
            device.insert("name".to_owned(), interface);
        }
        app.note("Container", &self.container);
        let mut record = Record::<InstancePut>::load(&client, instance_path(&self.container)).await?;
        if record.value.devices.contains_key(&name) {
            bail!("The device already exists ({} has a device {name}: give another name after the container's)", self.container);
        }
        record.value.devices.insert(name, device);
        record.save().await
    }
}
