//! `lxc storage volume show`.

use anyhow::Result;
use api::storage_pools::StorageVolume;
use api::storage_volumes::StorageVolumeSnapshot;
use clap::Args;

use super::place::Place;
use crate::app::App;
use crate::{output, yaml};

/// Show storage volume configurations
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume show default data
lxc storage volume show default data/snap0
lxc storage volume show default container/c1")]
pub struct Show {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume: TYPE/NAME, or NAME for `custom/NAME`
    #[arg(value_name = "VOLUME[/SNAPSHOT]")]
    volume: String,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        let text = match place.snapshot {
            Some(_) => yaml::emit_fields(&place.client.get::<StorageVolumeSnapshot>(&place.path()).await?)?,
            None => yaml::emit_fields(&place.client.get::<StorageVolume>(&place.path()).await?)?,
        };
        output::text_block(&text);
        Ok(())
    }
}
