//! `lxc network info`.

use anyhow::{Result, bail};
use api::networks::Network;
use clap::Args;
use client::path;

use crate::app::App;
use crate::{outln, units};

/// Get runtime information on networks
#[derive(Debug, Args)]
#[command(after_help = "lxc network info lxdbr0")]
pub struct Info {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    name: String,
}

impl Info {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, network_path, name) = super::locate(app, &self.name)?;
        let state = client.get::<api::state::Network>(&path(&["networks", &name, "state"])).await;
        let state = match state {
            Err(error) if error.is_not_found() => {
                client.get::<Network>(&network_path).await?;
                bail!("The server is missing the required \"network_state\" API extension");
            }
            state => state?,
        };
        outln!("Name: {name}\nMAC address: {}\nMTU: {}\nState: {}", state.hwaddr, state.mtu, state.state);
        if !state.addresses.is_empty() {
            outln!("\nIps:");
            for address in &state.addresses {
                outln!("  {}\t{}", address.family, address.address);
            }
        }
        let counters = &state.counters;
        outln!("\nNetwork usage:");
        outln!("  Bytes received: {}\n  Bytes sent: {}", units::size(counters.bytes_received), units::size(counters.bytes_sent));
        outln!("  Packets received: {}\n  Packets sent: {}", counters.packets_received, counters.packets_sent);
        Ok(())
    }
}
