//! `lxc restore`.

use anyhow::Result;
use clap::Args;
use client::path;
use serde_json::json;

use crate::app::App;

/// Restore containers from snapshots
#[derive(Debug, Args)]
pub struct Restore {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The snapshot
    snapshot: String,
    /// Restore the running state as well
    #[arg(long)]
    stateful: bool,
}

impl Restore {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.name, "Container")?;
        let put = json!({"restore": self.snapshot, "stateful": self.stateful});
        let reply = client.put(&path(&["instances", &name]), &put, None).await?;
        client.wait(&reply).await?;
        Ok(())
    }
}
