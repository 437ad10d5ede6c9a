//! `lxc storage volume restore`.

use anyhow::Result;
use api::storage_volumes::StorageVolumePut;
use clap::Args;

use super::place::Place;
use crate::app::App;

/// Restore storage volumes from snapshots
///
/// No container that has the volume may run.
#[derive(Debug, Args)]
#[command(after_help = "lxc storage volume restore default data snap0")]
pub struct Restore {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume
    volume: String,
    /// The snapshot
    snapshot: String,
}

impl Restore {
    pub async fn run(self, app: &App) -> Result<()> {
        let snapshot = self.snapshot.rsplit('/').next().unwrap_or(&self.snapshot);
        let place = Place::of(app, &self.pool, &format!("{}/{snapshot}", self.volume))?;
        place.ensure_custom("restored by itself")?;
        let put = StorageVolumePut { restore: snapshot.to_owned(), ..StorageVolumePut::default() };
        let reply = place.client.put(&place.below(&[]), &put, None).await?;
        place.client.wait(&reply).await?;
        Ok(())
    }
}
