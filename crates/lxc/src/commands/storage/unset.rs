//! `lxc storage unset`.

use anyhow::Result;
use api::storage_pools::StoragePoolPut;
use clap::Args;

use crate::app::App;
use crate::commands::keys;

/// Unset pool configuration keys
#[derive(Debug, Args)]
#[command(after_help = "lxc storage unset default user.note")]
pub struct Unset {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    name: String,
    /// The key
    key: String,
}

impl Unset {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        keys::unset::<StoragePoolPut>(&client, path, &self.key).await
    }
}
