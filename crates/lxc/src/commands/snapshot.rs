//! `lxc snapshot`.

use anyhow::Result;
use api::snapshots::SnapshotsPost;
use clap::Args;
use client::path;

use super::checkpoint::{self, Purpose};
use crate::app::App;

/// Create container snapshots
///
/// Keeps files and configuration as they are now, for `lxc restore`, `lxc copy` and `lxc publish`. The
/// container goes on running.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc snapshot c1 # named snap0, snap1 and so on
lxc snapshot c1 before-upgrade
lxc snapshot c1 --stateful # with the running processes
lxc snapshot c1 --stateful --check # whether that can be done, and what stands in the way")]
pub struct Snapshot {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The snapshot's name; without one the server numbers it
    snapshot: Option<String>,
    /// Include the running state
    #[arg(long)]
    stateful: bool,
    /// Only tell whether the running state can be saved, and what stands in the way (exit status 1: it can't)
    #[arg(long)]
    check: bool,
}

impl Snapshot {
    pub async fn run(self, app: &App) -> Result<()> {
        if self.check {
            checkpoint::ensure_stateful(self.stateful)?;
            return checkpoint::check(app, &[self.name], Purpose::Snapshot).await;
        }
        let (client, name) = app.resolve_named(&self.name, "Container")?;
        let post = SnapshotsPost { name: self.snapshot.unwrap_or_default(), stateful: self.stateful, ..SnapshotsPost::default() };
        let reply = client.post(&path(&["instances", &name, "snapshots"]), &post).await?;
        client.wait(&reply).await?;
        Ok(())
    }
}
