//! `lxc profile copy`.

use anyhow::Result;
use api::profiles::Profile;
use clap::Args;

use crate::app::App;

/// Copy profiles
#[derive(Debug, Args)]
#[command(after_help = "lxc profile copy default web")]
pub struct Copy {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
    /// The name of the copy
    #[arg(value_name = "[REMOTE:]NEW-NAME")]
    new_name: String,
}

impl Copy {
    pub async fn run(self, app: &App) -> Result<()> {
        let (source, path, _) = super::locate(app, &self.name)?;
        let (target, _, name) = super::locate(app, &self.new_name)?;
        let profile: Profile = source.get(&path).await?;
        target.post(&client::path(&["profiles"]), &Profile { name, used_by: Vec::new(), ..profile }).await?;
        Ok(())
    }
}
