//! `lxc storage volume copy`.

use anyhow::Result;
use api::storage_volumes::{StorageVolumeSource, StorageVolumesPost};
use clap::Args;
use client::path;

use super::abroad::{self, Way};
use super::place::{CUSTOM, Place};
use crate::app::App;
use crate::commands::create::wait_or_cancel;
use crate::outln;
use crate::progress::Progress;

/// Copy custom storage volumes
///
/// Within a pool, to another pool or to another server, with configuration and snapshots; or one snapshot as a volume.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume copy default/data default/data2
lxc storage volume copy default/data fast/data --volume-only
lxc storage volume copy default/data/snap0 default/before
lxc storage volume copy default/data work:default/data --mode=push # to another server")]
pub struct Copy {
    /// The volume to copy, or a snapshot of it
    #[arg(value_name = "[REMOTE:]POOL/VOLUME[/SNAPSHOT]")]
    source: String,
    /// The copy
    #[arg(value_name = "[REMOTE:]POOL/NEW-VOLUME")]
    destination: String,
    #[command(flatten)]
    way: Way,
}

impl Copy {
    pub async fn run(self, app: &App) -> Result<()> {
        self.way.check()?;
        let target = Place::of_word(app, &self.destination)?;
        let source = Place::of_word(app, &self.source)?;
        source.ensure_custom("copied")?;
        target.ensure_custom("made by copying")?;
        target.ensure_whole("a copy is a whole volume, whose name has no slash")?;
        if source.remote == target.remote {
            self.copy_here(app, (&source, &target)).await?;
        } else {
            abroad::copy(app, (&source, &target), (&self.way, "Copying the storage volume")).await?;
        }
        outln!("Storage volume copied successfully!");
        Ok(())
    }

    async fn copy_here(&self, app: &App, (source, target): (&Place, &Place)) -> Result<()> {
        let from = StorageVolumeSource {
            kind: "copy".to_owned(),
            name: source.title(),
            pool: source.pool.clone(),
            volume_only: self.way.volume_only,
            ..StorageVolumeSource::default()
        };
        let post =
            StorageVolumesPost { name: target.volume.clone(), kind: CUSTOM.to_owned(), source: from, ..StorageVolumesPost::default() };
        let reply = target.client.post(&path(&["storage-pools", &target.pool, "volumes", CUSTOM]), &post).await?;
        if reply.is_async {
            let mut progress = Progress::new("Copying the storage volume", app.quiet);
            wait_or_cancel(&target.client, &reply.operation()?, |operation| progress.show(operation)).await?;
        }
        Ok(())
    }
}
