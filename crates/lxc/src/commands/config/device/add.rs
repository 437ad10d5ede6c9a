//! `lxc config device add`.

use anyhow::Result;
use api::instances::InstancePut;
use clap::Args;

use crate::app::App;

/// Add devices
#[derive(Debug, Args)]
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
