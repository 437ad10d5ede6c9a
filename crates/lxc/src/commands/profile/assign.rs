//! `lxc profile assign`.

use anyhow::Result;
use api::instances::InstancePut;
use clap::Args;

use crate::app::App;
use crate::outln;
use crate::record::{Record, instance_path};

/// Assign sets of profiles to containers
///
/// They replace those the container has. Also known as `lxc profile apply`.
#[derive(Debug, Args)]
#[command(alias = "apply")]
#[command(after_help = "\
lxc profile assign c1 default,web # just these, later ones win
lxc profile assign c1 \"\" # none")]
pub struct Assign {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The profiles, separated by commas (none: no profiles)
    #[arg(default_value = "", hide_default_value = true)]
    profiles: String,
}

impl Assign {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.name, "Container")?;
        let profiles: Vec<String> = self.profiles.split(',').filter(|profile| !profile.is_empty()).map(str::to_owned).collect();
        let shown = if profiles.is_empty() { "(none)".to_owned() } else { profiles.join(",") };
        let mut record = Record::<InstancePut>::load(&client, instance_path(&name)).await?;
        record.value.profiles = Some(profiles);
        record.save().await?;
        outln!("Profiles {shown} applied to {name}");
        Ok(())
    }
}
