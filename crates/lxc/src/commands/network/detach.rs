//! `lxc network detach`.

use anyhow::{Result, bail};
use api::instances::InstancePut;
use clap::Args;

use crate::app::App;
use crate::record::{Record, instance_path};

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
        let mut record = Record::<InstancePut>::load(&client, instance_path(&self.container)).await?;
        let is_on_network = |device: &api::Config| ["parent", "network"].iter().any(|key| device.get(*key) == Some(&network));
        let name = match self.device {
            Some(name) => name,
            None => {
                let mut names = record.value.devices.iter().filter(|(_, device)| is_on_network(device)).map(|(name, _)| name.clone());
                match (names.next(), names.next()) {
                    (Some(name), None) => name,
                    (None, _) => bail!("No device found for this network ({} has none of its own on {network}; those of a profile are the profile's)", self.container),
                    (Some(_), Some(_)) => bail!("More than one device matches, specify the device name (`lxc config device list {}` shows them)", self.container),
                }
            }
        };
        match record.value.devices.get(&name) {
            None => bail!("The specified device doesn't exist ({} has no {name} of its own; `lxc config device list {}` shows those it has)", self.container, self.container),
            Some(device) if !is_on_network(device) => bail!("The specified device doesn't match the network ({name} is not on {network})"),
            Some(_) => record.value.devices.remove(&name),
        };
        record.save().await
    }
}
