//! `lxc storage volume set`.

use anyhow::Result;
use api::storage_volumes::StorageVolumePut;
use clap::Args;

use super::place::{CONFIGURED, Place};
use crate::app::App;
use crate::commands::keys;
use crate::pairs;

/// Set storage volume configuration keys
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume set default data size 20GB
lxc storage volume set default data snapshots.expiry=7d user.note=mine")]
pub struct Set {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume
    volume: String,
    /// The keys and values
    #[arg(required = true, value_name = "KEY VALUE|KEY=VALUE...", allow_negative_numbers = true)]
    words: Vec<String>,
}

impl Set {
    pub async fn run(self, app: &App) -> Result<()> {
        let pairs = pairs::assignments(&self.words)?;
        let place = Place::of(app, &self.pool, &self.volume)?;
        place.ensure_custom(CONFIGURED)?;
        place.ensure_whole("its configuration can't be changed (`lxc storage volume edit` changes description and expiry)")?;
        keys::set::<StorageVolumePut>(&place.client, place.path(), pairs).await
    }
}
