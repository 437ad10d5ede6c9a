//! `lxc storage set`.

use anyhow::Result;
use api::storage_pools::StoragePoolPut;
use clap::Args;

use crate::app::App;
use crate::commands::keys;
use crate::pairs;

/// Set pool configuration keys
#[derive(Debug, Args)]
#[command(after_help = "lxc storage set default user.note nightly")]
pub struct Set {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    name: String,
    /// The keys and values
    #[arg(required = true, value_name = "KEY VALUE|KEY=VALUE...", allow_negative_numbers = true)]
    words: Vec<String>,
}

impl Set {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, path, _) = super::locate(app, &self.name)?;
        keys::set::<StoragePoolPut>(&client, path, pairs::assignments(&self.words)?).await
    }
}
