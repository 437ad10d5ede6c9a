//! `lxc operation show`.

use anyhow::Result;
use api::operations::Operation;
use clap::Args;
use client::path;

use crate::app::App;
use crate::{output, yaml};

/// Show details on a background operation
#[derive(Debug, Args)]
#[command(after_help = "lxc operation show 4a255fd4-bd32-4660-b7eb-53c014ceb9d8")]
pub struct Show {
    /// The operation
    #[arg(value_name = "[REMOTE:]OPERATION")]
    id: String,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, id) = app.resolve_named(&self.id, "Operation")?;
        let operation: Operation = client.get(&path(&["operations", &id])).await?;
        output::text_block(&yaml::emit_fields(&operation)?);
        Ok(())
    }
}
