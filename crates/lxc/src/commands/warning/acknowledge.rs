//! `lxc warning acknowledge`.

use anyhow::Result;
use api::warnings::WarningPut;
use clap::Args;
use client::path;

use crate::app::App;

/// Acknowledge a warning: it is no longer listed, unless by --all
#[derive(Debug, Args)]
#[command(alias = "ack", after_help = "lxc warning acknowledge 4a255fd4-bd32-4660-b7eb-53c014ceb9d8")]
pub struct Acknowledge {
    /// The warning
    #[arg(value_name = "[REMOTE:]WARNING")]
    uuid: String,
}

impl Acknowledge {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, uuid) = app.resolve_named(&self.uuid, "Warning")?;
        client.put(&path(&["warnings", &uuid]), &WarningPut { status: "acknowledged".to_owned() }, None).await?;
        Ok(())
    }
}
