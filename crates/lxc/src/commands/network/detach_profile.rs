//! `lxc network detach-profile`.

use anyhow::Result;
use api::profiles::ProfilePut;
use clap::Args;

use super::attachment;
use crate::app::App;
use crate::commands::device::Owner;

/// Detach network interfaces from profiles
#[derive(Debug, Args)]
#[command(after_help = "lxc network detach-profile lxdbr0 web")]
pub struct DetachProfile {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    network: String,
    /// The profile
    profile: String,
    /// The device's name, needed if there are several
    device: Option<String>,
}

impl DetachProfile {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, _, network) = super::locate(app, &self.network)?;
        app.note("Profile", &self.profile);
        let owner = Owner { client, path: client::path(&["profiles", &self.profile]), name: self.profile };
        attachment::detach::<ProfilePut>(&network, &owner, (self.device, "lxc profile device list")).await
    }
}
