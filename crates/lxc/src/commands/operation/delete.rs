//! `lxc operation delete`.

use anyhow::Result;
use clap::Args;

use crate::app::App;
use crate::outln;

/// Delete background operations (will attempt to cancel)
///
/// `lxc operation list` shows which can be cancelled.
#[derive(Debug, Args)]
#[command(after_help = "lxc operation delete 4a255fd4-bd32-4660-b7eb-53c014ceb9d8")]
pub struct Delete {
    /// The operation
    #[arg(value_name = "[REMOTE:]OPERATION")]
    id: String,
}

impl Delete {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, id) = app.resolve_named(&self.id, "Operation")?;
        client.cancel_operation(&id).await?;
        outln!("Operation {id} deleted");
        Ok(())
    }
}
