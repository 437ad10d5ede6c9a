//! `lxc storage volume create`.

use anyhow::Result;
use api::storage_volumes::StorageVolumesPost;
use clap::Args;
use client::path;

use super::place::{CUSTOM, Place};
use crate::app::App;
use crate::{outln, pairs};

/// Create custom storage volumes
///
/// A volume is a directory tree of its own that any number of containers share, and that outlives them.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume create default data
lxc storage volume create default data size=10GB # on pools that can limit sizes (btrfs)")]
pub struct Create {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume
    volume: String,
    /// Its keys
    #[arg(value_name = "KEY=VALUE")]
    keys: Vec<String>,
    /// Content type
    #[arg(long = "type", default_value = "filesystem", value_name = "TYPE")]
    content_type: String,
    /// Description
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

impl Create {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        place.ensure_custom("created")?;
        place.ensure_whole("`lxc storage volume snapshot` takes one")?;
        let post = StorageVolumesPost {
            name: place.volume.clone(),
            kind: CUSTOM.to_owned(),
            content_type: self.content_type,
            description: self.description,
            config: pairs::parse(&self.keys)?.into_iter().collect(),
            ..StorageVolumesPost::default()
        };
        let reply = place.client.post(&path(&["storage-pools", &place.pool, "volumes", CUSTOM]), &post).await?;
        place.client.wait(&reply).await?;
        outln!("Storage volume {} created", place.volume);
        Ok(())
    }
}
