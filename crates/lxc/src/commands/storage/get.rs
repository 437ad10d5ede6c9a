//! `lxc storage get`.

use anyhow::Result;
use api::storage_pools::StoragePoolPut;
use clap::Args;

use crate::app::App;
use crate::commands::keys;

/// Get values for pool configuration keys
#[derive(Debug, Args)]
#[command(after_help = "lxc storage get default source")]
pub struct Get {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    name: String,
    /// The key
    key: String,
}

impl Get {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        keys::get::<StoragePoolPut>(&client, path, &self.key).await
    }
}
