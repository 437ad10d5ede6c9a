//! `lxc storage volume delete`.

use anyhow::Result;
use clap::Args;

use super::place::Place;
use crate::app::App;
use crate::outln;

/// Delete custom storage volumes and their snapshots
///
/// No container or profile may have the volume; its snapshots go with it.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume delete default data
lxc storage volume delete default data/snap0 # only the snapshot")]
pub struct Delete {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume, or a snapshot of it
    #[arg(value_name = "VOLUME[/SNAPSHOT]")]
    volume: String,
}

impl Delete {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        place.ensure_custom("deleted")?;
        let reply = place.client.delete(&place.path()).await?;
        place.client.wait(&reply).await?;
        outln!("Storage volume {} deleted", place.title());
        Ok(())
    }
}
