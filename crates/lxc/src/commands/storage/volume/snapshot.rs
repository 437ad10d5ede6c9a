//! `lxc storage volume snapshot`.

use anyhow::Result;
use api::Timestamp;
use api::storage_volumes::StorageVolumeSnapshotsPost;
use clap::Args;

use super::place::Place;
use crate::app::App;
use crate::commands::snapshot::delete_if_there;

/// Snapshot custom storage volumes
///
/// Keeps the content as it is now, for `lxc storage volume restore` and `copy`. Containers that have the volume go on.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume snapshot default data # named snap0, snap1 and so on
lxc storage volume snapshot default data before-upgrade")]
pub struct Snapshot {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume
    volume: String,
    /// The snapshot's name; without one the server numbers it
    #[arg(value_name = "NEW-NAME")]
    snapshot: Option<String>,
    /// Keep it for ever, whatever the volume's snapshots.expiry says
    #[arg(long)]
    no_expiry: bool,
    /// Delete one of that name first, if there is one
    #[arg(long, requires = "snapshot")]
    reuse: bool,
}

impl Snapshot {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        place.ensure_custom("snapshotted by itself")?;
        place.ensure_whole("the name of the new one is a word of its own")?;
        if let Some(snapshot) = self.snapshot.as_ref().filter(|_| self.reuse) {
            delete_if_there(&place.client, &place.below(&["snapshots", snapshot])).await?;
        }
        let expires_at = self.no_expiry.then_some(Timestamp::NEVER);
        let post = StorageVolumeSnapshotsPost { name: self.snapshot.unwrap_or_default(), expires_at };
        let reply = place.client.post(&place.below(&["snapshots"]), &post).await?;
        place.client.wait(&reply).await?;
        Ok(())
    }
}
