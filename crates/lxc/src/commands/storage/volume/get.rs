//! `lxc storage volume get`.

use anyhow::Result;
use api::storage_volumes::StorageVolumePut;
use clap::Args;

use super::place::Place;
use crate::app::App;
use crate::commands::keys;

/// Get values for storage volume configuration keys
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume get default data size
lxc storage volume get default data/snap0 size # as it was when the snapshot was taken")]
pub struct Get {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume: TYPE/NAME, or NAME for `custom/NAME`
    #[arg(value_name = "VOLUME[/SNAPSHOT]")]
    volume: String,
    /// The key
    key: String,
}

impl Get {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        keys::get::<StorageVolumePut>(&place.client, place.path(), &self.key).await
    }
}
