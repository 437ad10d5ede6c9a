//! `lxc storage volume edit`.

use anyhow::Result;
use api::storage_pools::StorageVolume;
use api::storage_volumes::{StorageVolumePut, StorageVolumeSnapshot, StorageVolumeSnapshotPut};
use clap::Args;

use super::place::{CONFIGURED, Place};
use crate::app::App;
use crate::commands::keys;
use crate::yaml;

const HELP: &str = "This is a YAML representation of the storage volume.
Any line starting with a '#' will be ignored.

An example would look like:
config:
  size: 10GB
description: files of the web servers
name: data
type: custom

Note that only the configuration and the description can be changed.";

const SNAPSHOT_HELP: &str = "This is a YAML representation of the snapshot of a storage volume.
Any line starting with a '#' will be ignored.

An example would look like:
description: before the upgrade
expires_at: 2030-01-01T00:00:00Z

Note that only the description and the expiry can be changed.";

/// Edit storage volume configurations as YAML
///
/// Where standard input is no terminal it replaces the configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume edit default data # in the editor that $VISUAL or $EDITOR names
lxc storage volume edit default data/snap0 # when it expires
lxc storage volume edit default data < data.yaml")]
pub struct Edit {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume, or a snapshot of it
    #[arg(value_name = "VOLUME[/SNAPSHOT]")]
    volume: String,
}

impl Edit {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        place.ensure_custom(CONFIGURED)?;
        let path = place.path();
        if place.snapshot.is_some() {
            let shown = yaml::emit_fields(&place.client.get::<StorageVolumeSnapshot>(&path).await?)?;
            return keys::edit::<StorageVolumeSnapshotPut>(&place.client, path, &shown, SNAPSHOT_HELP).await;
        }
        let shown = yaml::emit_fields(&place.client.get::<StorageVolume>(&path).await?)?;
        keys::edit::<StorageVolumePut>(&place.client, path, &shown, HELP).await
    }
}
