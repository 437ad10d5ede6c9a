//! `lxc config device add`.

use anyhow::Result;
use api::instances::InstancePut;
use clap::Args;

use crate::app::App;

/// Add devices
///
/// A running container gets the device at once where the type allows it.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc config device add c1 share disk source=/srv/data path=/mnt # a directory of the host
lxc config device add c1 eth1 nic network=lxdbr0 # a second network card
lxc config device add c1 kvm unix-char path=/dev/kvm")]
pub struct Add {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The device's name
    device: String,
    /// Its type (disk, gpu, nic, none, unix-block, unix-char, usb)
    #[arg(value_name = "TYPE")]
    kind: String,
    /// Its keys
    #[arg(value_name = "KEY=VALUE")]
    keys: Vec<String>,
}

impl Add {
    pub async fn run(self, app: &App) -> Result<()> {
        super::owner(app, &self.name)?.add::<InstancePut>(&self.device, &self.kind, &self.keys).await
    }
}
