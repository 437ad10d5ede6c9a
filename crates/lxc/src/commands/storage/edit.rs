//! `lxc storage edit`.

use anyhow::Result;
use api::storage_pools::{StoragePool, StoragePoolPut};
use clap::Args;

use crate::app::App;
use crate::commands::keys;
use crate::yaml;

const HELP: &str = "This is a YAML representation of the storage pool.
Any line starting with a '#' will be ignored.

An example would look like:
config:
  size: 20GB
description: \"\"
name: default
driver: btrfs

Note that only the configuration and the description can be changed.";

/// Edit pool configurations as YAML
#[derive(Debug, Args)]
#[command(after_help = "lxc storage edit default")]
pub struct Edit {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    name: String,
}

impl Edit {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        let shown = yaml::emit_fields(&client.get::<StoragePool>(&path).await?)?;
        keys::edit::<StoragePoolPut>(&client, path, &shown, HELP).await
    }
}
