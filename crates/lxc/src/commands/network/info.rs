//! `lxc network info`.

use anyhow::Result;
use clap::Args;
use client::path;

use crate::app::App;
use crate::{outln, units};

/// Get runtime information on networks
#[derive(Debug, Args)]
pub struct Info {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    name: String,
}

impl Info {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, _, name) = super::locate(app, &self.name)?;
        let state: api::state::Network = client.get(&path(&["networks", &name, "state"])).await?;
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
