//! `lxc restore`.

use anyhow::Result;
use clap::Args;
use client::path;
use serde_json::json;

use crate::app::App;

/// Restore containers from snapshots
///
/// The container becomes what it was when the snapshot was taken; what changed since is lost. A
/// running container is stopped for it and started again.
#[derive(Debug, Args)]
#[command(after_help = "lxc restore c1 before-upgrade # go back to that snapshot")]
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
        app.note("Container", &format!("{name}/{}", self.snapshot));
        let put = json!({"restore": self.snapshot, "stateful": self.stateful});
        let reply = client.put(&path(&["instances", &name]), &put, None).await?;
        client.wait(&reply).await?;
        Ok(())
    }
}
