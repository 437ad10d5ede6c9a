//! `lxc profile show`.

use anyhow::Result;
use api::profiles::Profile;
use clap::Args;

use crate::app::App;
use crate::{output, yaml};

/// Show profile configurations
#[derive(Debug, Args)]
#[command(after_help = "lxc profile show default")]
pub struct Show {
    /// The profile
    #[arg(value_name = "[REMOTE:]PROFILE")]
    name: String,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        output::text_block(&yaml::emit_fields(&client.get::<Profile>(&path).await?)?);
        Ok(())
    }
}
