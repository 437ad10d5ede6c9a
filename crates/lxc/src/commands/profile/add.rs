//! `lxc profile add`.

use anyhow::{Result, bail};
use api::instances::InstancePut;
use clap::Args;

use crate::app::App;
use crate::outln;
use crate::record::{Record, instance_path};

/// Add profiles to containers
#[derive(Debug, Args)]
#[command(after_help = "lxc profile add c1 web # after those it has")]
pub struct Add {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The profile
    profile: String,
}

impl Add {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.name, "Container")?;
        let mut record = Record::<InstancePut>::load(&client, instance_path(&name)).await?;
        let profiles = record.value.profiles.get_or_insert_default();
        if profiles.contains(&self.profile) {
            bail!("The profile {} is already applied to {name}", self.profile);
        }
        profiles.push(self.profile.clone());
        record.save().await?;
        outln!("Profile {} added to {name}", self.profile);
        Ok(())
    }
}
