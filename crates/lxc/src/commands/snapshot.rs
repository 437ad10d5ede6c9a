//! `lxc snapshot`.

use anyhow::Result;
use api::Timestamp;
use api::snapshots::SnapshotsPost;
use clap::Args;
use client::{Client, path};

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
lxc snapshot c1 daily --reuse # in place of the one of that name
lxc snapshot c1 --stateful # with the running processes
lxc snapshot c1 --stateful --check # whether that can be done, and what stands in the way")]
pub struct Snapshot {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// The snapshot's name; without one the server numbers it
    snapshot: Option<String>,
    /// Keep it for ever, whatever the container's snapshots.expiry says
    #[arg(long)]
    no_expiry: bool,
    /// Delete one of that name first, if there is one
    #[arg(long, requires = "snapshot")]
    reuse: bool,
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
        let snapshots = path(&["instances", &name, "snapshots"]);
        if let Some(snapshot) = self.snapshot.as_ref().filter(|_| self.reuse) {
            delete_if_there(&client, &path(&["instances", &name, "snapshots", snapshot])).await?;
        }
        let expires_at = self.no_expiry.then_some(Timestamp::NEVER);
        let post = SnapshotsPost { name: self.snapshot.unwrap_or_default(), stateful: self.stateful, expires_at };
        let reply = client.post(&snapshots, &post).await?;
        client.wait(&reply).await?;
        Ok(())
    }
}

/// Deletes a snapshot that another of the same name is to follow.
pub async fn delete_if_there(client: &Client, path: &str) -> Result<()> {
    match client.delete(path).await {
        Ok(reply) => client.wait(&reply).await.map(drop).map_err(Into::into),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
