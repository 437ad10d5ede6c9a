//! `lxc network attach-profile`.

use anyhow::Result;
use api::networks::Network;
use api::profiles::ProfilePut;
use clap::Args;

use super::attachment;
use crate::app::App;
use crate::commands::device::Owner;

/// Attach network interfaces to profiles
///
/// Every container with the profile has a network card on the network then.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc network attach-profile lxdbr0 web # as the device lxdbr0
lxc network attach-profile lxdbr0 web eth1 eth1 # device and interface are named eth1")]
pub struct AttachProfile {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    network: String,
    /// The profile
    profile: String,
    /// The device's name (default: the network's)
    device: Option<String>,
    /// The interface's name inside containers
    interface: Option<String>,
}

impl AttachProfile {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.network)?;
        let network: Network = client.get(&path).await?;
        app.note("Profile", &self.profile);
        let owner = Owner { client, path: client::path(&["profiles", &self.profile]), name: self.profile };
        attachment::attach::<ProfilePut>(&network, &owner, (self.device, self.interface)).await
    }
}
