//! `lxc config device override`.

use anyhow::{Result, bail};
use api::instances::{Instance, InstancePut};
use clap::Args;

use crate::app::App;
use crate::record::Record;
use crate::{outln, pairs};

/// Copy profile inherited devices and override configuration keys
///
/// The container gets a device of its own, like the one of its profile but for the keys given.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc config device override c1 root size=20GB # a larger disk than the profile's
lxc config device override c1 eth0 ipv4.address=10.0.3.50")]
pub struct Override {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The device's name
    device: String,
    /// Keys that differ from the profile's
    #[arg(value_name = "KEY=VALUE")]
    keys: Vec<String>,
}

impl Override {
    pub async fn run(self, app: &App) -> Result<()> {
        let owner = super::owner(app, &self.name)?;
        let instance: Instance = owner.client.get(&owner.path).await?;
        if instance.devices.contains_key(&self.device) {
            bail!("The device already exists ({} has its own {}: change it with `lxc config device set`)", owner.name, self.device);
        }
        let Some(mut device) = instance.expanded_devices.get(&self.device).cloned() else { bail!("The profile device doesn't exist (no profile of {} has a device {})", owner.name, self.device) };
        device.extend(pairs::parse(&self.keys)?);
        let mut record = Record::<InstancePut>::load(&owner.client, owner.path).await?;
        record.value.devices.insert(self.device.clone(), device);
        record.save().await?;
        outln!("Device {} overridden for {}", self.device, owner.name);
        Ok(())
    }
}
