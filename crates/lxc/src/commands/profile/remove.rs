//! `lxc profile remove`.

use anyhow::{Result, bail};
use api::instances::InstancePut;
use clap::Args;

use crate::app::App;
use crate::outln;
use crate::record::{Record, instance_path};

/// Remove profiles from containers
#[derive(Debug, Args)]
#[command(after_help = "lxc profile remove c1 web")]
pub struct Remove {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The profile
    profile: String,
}

impl Remove {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.name, "Container")?;
        let mut record = Record::<InstancePut>::load(&client, instance_path(&name)).await?;
        let profiles = record.value.profiles.get_or_insert_default();
        let before = profiles.len();
        profiles.retain(|profile| *profile != self.profile);
        if profiles.len() == before {
            bail!("Profile {} isn't currently applied to {name}", self.profile);
        }
        record.save().await?;
        outln!("Profile {} removed from {name}", self.profile);
        Ok(())
    }
}
