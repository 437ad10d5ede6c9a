//! `lxc config get`.

use anyhow::Result;
use api::instances::{Instance, InstancePut};
use api::server::ServerPut;
use clap::Args;
use serde_json::Value;

use super::Subject;
use crate::app::App;
use crate::commands::keys;
use crate::record::instance_path;
use crate::{outln, output, pairs};

/// Get the value of a configuration key
///
/// Without a container: of the server. An unset key prints an empty line.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc config get c1 limits.memory
lxc config get c1 limits.memory --expanded # also where a profile sets it
lxc config get core.https_address # a key of the server")]
pub struct Get {
    /// The container (none: the server) and the key
    #[arg(required = true, num_args = 1..=2, value_name = "[[REMOTE:]CONTAINER] KEY")]
    words: Vec<String>,
    /// Of a container: with what comes from its profiles
    #[arg(long, short)]
    expanded: bool,
}

impl Get {
    pub async fn run(self, app: &App) -> Result<()> {
        let (argument, key) = pairs::subject_and_key(&self.words)?;
        match super::subject(app, argument)? {
            Subject::Instance(client, name) if self.expanded => {
                let instance: Instance = client.get(&instance_path(&name)).await?;
                output::value(instance.expanded_config.get(key).map_or("", String::as_str));
                Ok(())
            }
            Subject::Instance(client, name) => keys::get::<InstancePut>(&client, instance_path(&name), key).await,
            Subject::Server(client) => {
                let server: ServerPut = client.get("/1.0").await?;
                match server.config.get(key) {
                    None | Some(Value::Null) => outln!(""),
                    Some(Value::String(text)) => output::value(text),
                    Some(other) => outln!("{other}"),
                }
                Ok(())
            }
        }
    }
}
