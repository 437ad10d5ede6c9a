//! `lxc storage volume move`.

use anyhow::{Context, Result, bail};
use api::storage_pools::StorageVolume;
use api::storage_volumes::StorageVolumePost;
use clap::Args;

use super::abroad::{self, Way};
use super::place::Place;
use crate::app::App;
use crate::commands::create::wait_or_cancel;
use crate::outln;
use crate::progress::Progress;

/// Move custom storage volumes between pools and servers
///
/// With their snapshots. No container or profile may have the volume.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume move default/data fast/data
lxc storage volume move default/data default/files # renames it
lxc storage volume move default/data work:default/data # to another server")]
pub struct Move {
    /// The volume
    #[arg(value_name = "[REMOTE:]POOL/VOLUME")]
    source: String,
    /// Where it goes
    #[arg(value_name = "[REMOTE:]POOL/NEW-VOLUME")]
    destination: String,
    #[command(flatten)]
    way: Way,
}

impl Move {
    pub async fn run(self, app: &App) -> Result<()> {
        self.way.check()?;
        let target = Place::of_word(app, &self.destination)?;
        let source = Place::of_word(app, &self.source)?;
        source.ensure_custom("moved")?;
        source.ensure_whole("it stays with its volume (`lxc storage volume copy` makes a volume of it)")?;
        target.ensure_custom("made by moving")?;
        target.ensure_whole("a volume's name has no slash")?;
        if source.remote == target.remote {
            self.move_here(app, (&source, &target)).await?;
        } else {
            self.move_abroad(app, (&source, &target)).await?;
        }
        outln!("Storage volume moved successfully!");
        Ok(())
    }

    async fn move_here(&self, app: &App, (source, target): (&Place, &Place)) -> Result<()> {
        if self.way.volume_only {
            bail!("Within a server a volume moves with its snapshots (`lxc storage volume copy --volume-only` leaves them out)");
        }
        let pool = if target.pool == source.pool { String::new() } else { target.pool.clone() };
        let post = StorageVolumePost { name: target.volume.clone(), pool, ..StorageVolumePost::default() };
        let reply = source.client.post(&source.path(), &post).await?;
        if reply.is_async {
            let mut progress = Progress::new("Moving the storage volume", app.quiet);
            wait_or_cancel(&source.client, &reply.operation()?, |operation| progress.show(operation)).await?;
        }
        Ok(())
    }

    /// A copy there; then the original goes, which until then has all that it had.
    async fn move_abroad(&self, app: &App, (source, target): (&Place, &Place)) -> Result<()> {
        let before: StorageVolume = source.client.get(&source.path()).await?;
        if !before.used_by.is_empty() {
            bail!(
                "Storage volume '{}/{}' is still in use and cannot be moved: {} (detach it first with `lxc storage volume detach`)",
                source.pool,
                source.volume,
                before.used_by.join(", ")
            );
        }
        let snapshots = format!("{}/snapshots", source.path());
        let had: Vec<String> = source.client.get(&snapshots).await?;
        if self.way.volume_only && !had.is_empty() {
            bail!("{} has snapshots, which would be lost (`lxc storage volume copy --volume-only` leaves them here)", source.volume);
        }
        abroad::copy(app, (source, target), (&self.way, "Moving the storage volume")).await?;
        let deleted = async {
            if source.client.get::<Vec<String>>(&snapshots).await? != had {
                bail!("It has other snapshots than before the move; delete the one that is not wanted");
            }
            let reply = source.client.delete(&source.path()).await?;
            source.client.wait(&reply).await?;
            Ok(())
        };
        deleted.await.with_context(|| {
            format!("{} is now on {}, but {} is still on {} as well", target.volume, target.remote, source.volume, source.remote)
        })
    }
}
