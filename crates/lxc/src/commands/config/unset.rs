//! `lxc config unset`.

use anyhow::{Result, bail};
use api::instances::InstancePut;
use api::server::ServerPut;
use clap::Args;

use super::Subject;
use crate::app::App;
use crate::commands::keys;
use crate::pairs;
use crate::record::Record;

/// Unset a configuration key
#[derive(Debug, Args)]
#[command(after_help = "\
lxc config unset c1 limits.memory # the profiles' value holds again
lxc config unset images.remote_cache_expiry # a key of the server")]
pub struct Unset {
    /// The container (none: the server) and the key
    #[arg(required = true, num_args = 1..=2, value_name = "[[REMOTE:]CONTAINER] KEY")]
    words: Vec<String>,
}

impl Unset {
    pub async fn run(self, app: &App) -> Result<()> {
        let (argument, key) = pairs::subject_and_key(&self.words)?;
        match super::subject(app, argument)? {
            Subject::Instance(client, name) => keys::unset::<InstancePut>(&client, super::writable_path(&name)?, key).await,
            Subject::Server(client) => {
                let mut record = Record::<ServerPut>::load(&client, "/1.0".to_owned()).await?;
                // The order of the other keys does not matter.
                if record.value.config.swap_remove(key).is_none() {
                    bail!("Can't unset key '{key}', it's not currently set.");
                }
                record.save().await
            }
        }
    }
}
