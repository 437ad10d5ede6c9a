//! A volume from one server to another.

use anyhow::{Result, bail};
use api::storage_pools::StorageVolume;
use api::storage_volumes::{StorageVolumePost, StorageVolumeSource, StorageVolumesPost};
use clap::Args;
use client::path;

use super::place::{CUSTOM, Place};
use crate::app::App;
use crate::commands::transfer::{Ask, Side, Transfer};
use crate::servers::Mode;

/// The extension of servers whose volumes can go to others and come from them.
const REMOTE_VOLUMES: &str = "storage_api_remote_volume_handling";

/// How keys begin that a server keeps for itself.
const VOLATILE: &str = "volatile.";

/// How a volume gets to another server.
#[derive(Debug, Args)]
pub struct Way {
    /// How it gets to another server (pull, push, relay)
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// Without its snapshots
    #[arg(long)]
    pub volume_only: bool,
    /// There are no projects but the default one
    #[arg(long, hide = true, value_name = "PROJECT")]
    target_project: Option<String>,
}

impl Way {
    /// Refuses what these servers do not have.
    pub fn check(&self) -> Result<()> {
        match self.target_project.as_deref() {
            None | Some("" | "default") => Ok(()),
            Some(project) => bail!("There is no project \"{project}\": servers have the project default only (leave --target-project out)"),
        }
    }
}

/// Makes a copy on the other server; the volume as it was before.
pub async fn copy(app: &App, (source, target): (&Place, &Place), (way, label): (&Way, &'static str)) -> Result<StorageVolume> {
    let whole = source.below(&[]);
    let volume: StorageVolume = source.client.get(&whole).await?;
    let volume_only = way.volume_only || source.snapshot.is_some();
    // One that stays keeps its name.
    let name = source.snapshot.clone().unwrap_or_else(|| source.volume.clone());
    let offer = StorageVolumePost { name, migration: true, volume_only, ..StorageVolumePost::default() };
    let order = StorageVolumesPost {
        name: target.volume.clone(),
        kind: CUSTOM.to_owned(),
        content_type: volume.content_type.clone(),
        description: volume.description.clone(),
        config: volume.config.iter().filter(|(key, _)| !key.starts_with(VOLATILE)).map(|(key, value)| (key.clone(), value.clone())).collect(),
        source: StorageVolumeSource { kind: "migration".to_owned(), volume_only, ..StorageVolumeSource::default() },
    };
    let transfer = Transfer {
        from: Side { client: &source.client, remote: &source.remote },
        to: Side { client: &target.client, remote: &target.remote },
        mode: way.mode,
        offer: Ask::new(source.path(), &offer)?,
        order: Ask::new(path(&["storage-pools", &target.pool, "volumes", CUSTOM]), &order)?,
        push_extension: REMOTE_VOLUMES,
        label,
    };
    transfer.run(app).await?;
    Ok(volume)
}
