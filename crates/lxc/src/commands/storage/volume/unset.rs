//! `lxc storage volume unset`.

use anyhow::Result;
use api::storage_volumes::StorageVolumePut;
use clap::Args;

use super::place::{CONFIGURED, Place};
use crate::app::App;
use crate::commands::keys;

/// Unset storage volume configuration keys
#[derive(Debug, Args)]
#[command(after_help = "lxc storage volume unset default data size # no limit any more")]
pub struct Unset {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume
    volume: String,
    /// The key
    key: String,
}

impl Unset {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        place.ensure_custom(CONFIGURED)?;
        place.ensure_whole("its configuration can't be changed (`lxc storage volume edit` changes description and expiry)")?;
        keys::unset::<StorageVolumePut>(&place.client, place.path(), &self.key).await
    }
}
