//! `lxc config set`.

use anyhow::Result;
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
pub struct Set {
    /// The container (none: the server), then the keys and values
    #[arg(required = true, value_names = ["[REMOTE:][CONTAINER] KEY VALUE|KEY=VALUE"], allow_hyphen_values = true)]
    words: Vec<String>,
}

impl Set {
    pub async fn run(self, app: &App) -> Result<()> {
        let (argument, assignments) = pairs::subject_and_assignments(&self.words)?;
        match super::subject(app, argument)? {
            Subject::Instance(client, name) => keys::set::<InstancePut>(&client, super::writable_path(&name)?, assignments).await,
            Subject::Server(client) => set_server(&client, assignments).await,
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
