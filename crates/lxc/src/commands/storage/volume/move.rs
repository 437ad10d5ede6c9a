//! `lxc storage volume move`.

use anyhow::{Result, bail};
use api::storage_volumes::StorageVolumePost;
use clap::Args;

use super::place::Place;
use crate::app::App;
use crate::commands::create::wait_or_cancel;
use crate::outln;
use crate::progress::Progress;

/// Move custom storage volumes between pools
///
/// With their snapshots. No container or profile may have the volume.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume move default/data fast/data
lxc storage volume move default/data default/files # renames it")]
pub struct Move {
    /// The volume
    #[arg(value_name = "[REMOTE:]POOL/VOLUME")]
    source: String,
    /// Where it goes
    #[arg(value_name = "[REMOTE:]POOL/NEW-VOLUME")]
    destination: String,
}

impl Move {
    pub async fn run(self, app: &App) -> Result<()> {
        let target = Place::of_word(app, &self.destination)?;
        let source = Place::of_word(app, &self.source)?;
        if source.remote != target.remote {
            bail!("Moving storage volumes between servers isn't supported yet ({} and {} are two)", source.remote, target.remote);
        }
        source.ensure_custom("moved")?;
        source.ensure_whole("it stays with its volume (`lxc storage volume copy` makes a volume of it)")?;
        target.ensure_custom("made by moving")?;
        target.ensure_whole("a volume's name has no slash")?;
        let pool = if target.pool == source.pool { String::new() } else { target.pool.clone() };
        let post = StorageVolumePost { name: target.volume.clone(), pool, ..StorageVolumePost::default() };
        let reply = source.client.post(&source.path(), &post).await?;
        if reply.is_async {
            let mut progress = Progress::new("Moving the storage volume", app.quiet);
            wait_or_cancel(&source.client, &reply.operation()?, |operation| progress.show(operation)).await?;
        }
        outln!("Storage volume moved successfully!");
        Ok(())
    }
}
