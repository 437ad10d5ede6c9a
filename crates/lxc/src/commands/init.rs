//! `lxc init`.

use anyhow::Result;
use clap::Args;

use super::create::Create;
use crate::app::App;

/// Create containers from images
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    create: Create,
}

impl Init {
    pub async fn run(self, app: &App) -> Result<()> {
        self.create.run(app, false).await
    }
}
