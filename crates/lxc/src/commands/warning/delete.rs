//! `lxc warning delete`.

use anyhow::{Result, bail};
use clap::Args;
use client::path;

use crate::app::App;

/// Delete a warning
#[derive(Debug, Args)]
#[command(after_help = "\
lxc warning delete 4a255fd4-bd32-4660-b7eb-53c014ceb9d8
lxc warning delete --all")]
pub struct Delete {
    /// The warning; with --all the server
    #[arg(value_name = "[REMOTE:]WARNING")]
    uuid: Option<String>,
    /// Delete all warnings
    #[arg(long, short)]
    all: bool,
}

impl Delete {
    pub async fn run(self, app: &App) -> Result<()> {
        if self.all {
            let client = app.server(self.uuid.as_deref())?;
            let urls: Vec<String> = client.get(&path(&["warnings"])).await?;
            for url in urls {
                client.delete(&url).await?;
            }
            return Ok(());
        }
        let Some(uuid) = &self.uuid else { bail!("Specify a warning UUID or use --all") };
        let (client, uuid) = app.resolve_named(uuid, "Warning")?;
        client.delete(&path(&["warnings", &uuid])).await?;
        Ok(())
    }
}
