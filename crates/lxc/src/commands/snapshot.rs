//! `lxc snapshot`.

use anyhow::Result;
use api::snapshots::SnapshotsPost;
use clap::Args;
use client::path;

use crate::app::App;

/// Create container snapshots
///
/// Keeps files and configuration as they are now, for `lxc restore`, `lxc copy` and `lxc publish`. The
/// container goes on running.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc snapshot c1 # named snap0, snap1 and so on
lxc snapshot c1 before-upgrade")]
pub struct Snapshot {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The snapshot's name; without one the server numbers it
    snapshot: Option<String>,
    /// Include the running state
    #[arg(long)]
    stateful: bool,
}

impl Snapshot {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.name, "Container")?;
        let post = SnapshotsPost { name: self.snapshot.unwrap_or_default(), stateful: self.stateful };
        let reply = client.post(&path(&["instances", &name, "snapshots"]), &post).await?;
        client.wait(&reply).await?;
        Ok(())
    }
}
