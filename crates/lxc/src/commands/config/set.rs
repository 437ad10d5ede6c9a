//! `lxc config set`.

use anyhow::{Result, bail};
use api::instances::InstancePut;
use api::server::ServerPut;
use clap::Args;
use client::Client;
use serde_json::Value;

use super::Subject;
use crate::app::App;
use crate::commands::keys;
use crate::pairs::{self, Pair};
use crate::record::Record;

/// Set configuration keys
///
/// `KEY VALUE`, or any number of `KEY=VALUE`. Without a container: of the server. The value `-`
/// is read from standard input.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc config set c1 limits.memory 512MB
lxc config set c1 limits.cpu=2 boot.autostart=true # several at once
lxc config set c1 user.user-data - < cloud-init.yaml # the value from a file
lxc config set c1 user.note -- -v # a value that begins with a dash
lxc config set images.remote_cache_expiry 5 # a key of the server")]
pub struct Set {
    /// The container (none: the server), then the keys and values
    #[arg(required = true, value_name = "[[REMOTE:]CONTAINER] KEY VALUE|KEY=VALUE...", allow_negative_numbers = true)]
    words: Vec<String>,
}

impl Set {
    pub async fn run(self, app: &App) -> Result<()> {
        let (argument, assignments) = pairs::subject_and_assignments(&self.words)?;
        match super::subject(app, argument)? {
            Subject::Instance(client, name) => keys::set::<InstancePut>(&client, super::writable_path(&name)?, assignments).await,
            Subject::Server(client) => {
                // All keys of a server have a dot; a word without one is a container whose key is missing.
                if let Some((word, value)) = assignments.iter().find(|(key, _)| !key.contains('.')) {
                    bail!("'{word}' is not a key of the server's configuration (a container's: lxc config set {word} {value} VALUE)");
                }
                set_server(&client, assignments).await
            }
        }
    }
}

async fn set_server(client: &Client, assignments: Vec<Pair>) -> Result<()> {
    let mut record = Record::<ServerPut>::load(client, "/1.0".to_owned()).await?;
    for (key, value) in assignments {
        record.value.config.insert(key, Value::String(pairs::read_value(value)?));
    }
    record.save().await
}
