//! `lxc remote set-default`.

use anyhow::Result;
use clap::Args;

use crate::app::App;

/// Set the default remote
#[derive(Debug, Args)]
#[command(alias = "switch", after_help = "lxc remote set-default work")]
pub struct SetDefault {
    /// The remote
    #[arg(value_name = "REMOTE")]
    name: String,
}

impl SetDefault {
    pub async fn run(self, app: &App) -> Result<()> {
        let mut config = super::existing(app, &self.name)?;
        config.default_remote = self.name;
        config.save_remotes()
    }
}
