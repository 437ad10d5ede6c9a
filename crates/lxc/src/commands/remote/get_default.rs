//! `lxc remote get-default`.

use anyhow::Result;
use clap::Args;

use crate::app::App;
use crate::outln;

/// Show the default remote
#[derive(Debug, Args)]
#[command(after_help = "lxc remote get-default")]
pub struct GetDefault {}

impl GetDefault {
    pub async fn run(self, app: &App) -> Result<()> {
        outln!("{}", app.config.default_remote);
        Ok(())
    }
}
