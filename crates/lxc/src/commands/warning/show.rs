//! `lxc warning show`.

use anyhow::Result;
use api::warnings::Warning;
use clap::Args;
use client::path;

use crate::app::App;
use crate::{output, yaml};

/// Show a warning
#[derive(Debug, Args)]
#[command(after_help = "lxc warning show 4a255fd4-bd32-4660-b7eb-53c014ceb9d8")]
pub struct Show {
    /// The warning
    #[arg(value_name = "[REMOTE:]WARNING")]
    uuid: String,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, uuid) = app.resolve_named(&self.uuid, "Warning")?;
        let warning: Warning = client.get(&path(&["warnings", &uuid])).await?;
        output::text_block(&yaml::emit_fields(&warning)?);
        Ok(())
    }
}
