//! `lxc launch`.

use anyhow::Result;
use clap::Args;

use super::create::Create;
use crate::app::App;

/// Create and start containers from images
#[derive(Debug, Args)]
pub struct Launch {
    #[command(flatten)]
    create: Create,
}

impl Launch {
    pub async fn run(self, app: &App) -> Result<()> {
        self.create.run(app, true).await
    }
}
