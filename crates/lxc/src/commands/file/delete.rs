//! `lxc file delete`.

use anyhow::Result;
use clap::Args;

use crate::app::App;

/// Delete files in containers
#[derive(Debug, Args)]
#[command(after_help = "lxc file delete c1/etc/motd c1/tmp/old")]
pub struct Delete {
    /// The files or empty directories
    #[arg(required = true, value_name = "[REMOTE:]CONTAINER/PATH")]
    files: Vec<String>,
}

impl Delete {
    pub async fn run(self, app: &App) -> Result<()> {
        for argument in &self.files {
            let place = super::place(app, argument, "path")?;
            place.client.delete_file(&place.instance, &place.path).await?;
        }
        Ok(())
    }
}
