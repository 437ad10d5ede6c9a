//! `lxc profile edit`.

use anyhow::Result;
use api::profiles::{Profile, ProfilePut};
use clap::Args;

use crate::app::App;
use crate::commands::keys;
use crate::yaml;

const HELP: &str = "This is a YAML representation of the profile.
Any line starting with a '#' will be ignored.

A profile consists of a set of configuration items followed by a set of devices.

An example would look like:
name: onenic
config:
  raw.lxc: lxc.apparmor.profile=unconfined
devices:
  eth0:
    nictype: bridged
    parent: lxdbr0
    type: nic

Note that the name is shown but cannot be changed";

/// Edit profile configurations as YAML
#[derive(Debug, Args)]
#[command(after_help = "\
lxc profile edit web
lxc profile edit web < web.yaml")]
pub struct Edit {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
}

impl Edit {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        let shown = yaml::emit_fields(&client.get::<Profile>(&path).await?)?;
        keys::edit::<ProfilePut>(&client, path, &shown, HELP).await
    }
}
