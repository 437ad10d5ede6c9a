//! `lxc network edit`.

use anyhow::Result;
use api::networks::{Network, NetworkPut};
use clap::Args;

use crate::app::App;
use crate::commands::keys;
use crate::yaml;

const HELP: &str = "This is a YAML representation of the network.
Any line starting with a '#' will be ignored.

An example would look like:
config:
  ipv4.address: 10.62.42.1/24
  ipv4.nat: \"true\"
  ipv6.address: none
name: lxdbr0
managed: true
type: bridge

Note that only the configuration and the description can be changed.";

/// Edit network configurations as YAML
#[derive(Debug, Args)]
#[command(after_help = "lxc network edit lxdbr0")]
pub struct Edit {
    /// The network
    #[arg(value_name = "[REMOTE:]NETWORK")]
    name: String,
}

impl Edit {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        let shown = yaml::emit_fields(&client.get::<Network>(&path).await?)?;
        keys::edit::<NetworkPut>(&client, path, &shown, HELP).await
    }
}
