//! `lxc profile device add`.

use anyhow::Result;
use api::profiles::ProfilePut;
use clap::Args;

use crate::app::App;

/// Add devices
#[derive(Debug, Args)]
#[command(after_help = "\
lxc profile device add web share disk source=/srv/www path=/srv/www
lxc profile device add web eth1 nic network=br1")]
pub struct Add {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
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
        super::owner(app, &self.name)?.add::<ProfilePut>(&self.device, &self.kind, &self.keys).await
    }
}
