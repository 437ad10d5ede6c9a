//! `lxc network create`.

use anyhow::Result;
use api::networks::NetworksPost;
use clap::Args;

use crate::app::App;
use crate::{outln, pairs};

/// Create new networks
#[derive(Debug, Args)]
#[command(after_help = "\
lxc network create br1 # a bridge with free addresses, DHCP and NAT
lxc network create br1 ipv4.address=10.50.0.1/24 ipv4.nat=true ipv6.address=none")]
pub struct Create {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    name: String,
    /// Its keys
    #[arg(value_name = "KEY=VALUE")]
    keys: Vec<String>,
    /// Network type
    #[arg(long = "type", short = 't', default_value = "bridge", value_name = "TYPE")]
    kind: String,
    /// Description
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

impl Create {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, _, name) = super::locate(app, &self.name)?;
        let config = pairs::parse(&self.keys)?.into_iter().collect();
        let post = NetworksPost { name: name.clone(), kind: self.kind, description: self.description, config };
        let reply = client.post(&client::path(&["networks"]), &post).await?;
        client.wait(&reply).await?;
        outln!("Network {name} created");
        Ok(())
    }
}
