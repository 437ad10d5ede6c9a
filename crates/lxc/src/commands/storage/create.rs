//! `lxc storage create`.

use anyhow::Result;
use api::storage_pools::StoragePoolsPost;
use clap::Args;

use crate::app::App;
use crate::{outln, pairs};

/// Create storage pools
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage create fast btrfs # on a file of its own
lxc storage create fast btrfs source=/dev/sdb
lxc storage create plain dir source=/srv/lxd")]
pub struct Create {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    name: String,
    /// Its driver (dir, btrfs, overlay)
    driver: String,
    /// Its keys
    #[arg(value_name = "KEY=VALUE")]
    keys: Vec<String>,
    /// Description
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

impl Create {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, _, name) = super::locate(app, &self.name)?;
        let config = pairs::parse(&self.keys)?.into_iter().collect();
        let post = StoragePoolsPost { name: name.clone(), driver: self.driver, description: self.description, config };
        let reply = client.post(&client::path(&["storage-pools"]), &post).await?;
        client.wait(&reply).await?;
        outln!("Storage pool {name} created");
        Ok(())
    }
}
