//! `lxc profile delete`.

use anyhow::Result;
use clap::Args;

use crate::app::App;
use crate::outln;

/// Delete profiles
///
/// No container may use it.
#[derive(Debug, Args)]
#[command(after_help = "lxc profile delete web")]
pub struct Delete {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
}

impl Delete {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, name) = super::locate(app, &self.name)?;
        client.delete(&path).await?;
        outln!("Profile {name} deleted");
        Ok(())
    }
}
