//! `lxc config show`.

use anyhow::Result;
use api::instances::Instance;
use api::server::ServerPut;
use api::snapshots::Snapshot;
use clap::Args;
use client::Client;
use serde_json::{Value, json};

use super::Subject;
use crate::app::App;
use crate::record::instance_path;
use crate::{names, output, yaml};

/// Show container or server configurations
#[derive(Debug, Args)]
#[command(after_help = "\
lxc config show c1
lxc config show c1 --expanded # with what comes from its profiles
lxc config show c1/snap0 # as it was when the snapshot was taken
lxc config show # the server's")]
pub struct Show {
    /// The container or snapshot (none: the server)
    #[arg(value_name = "[REMOTE:]CONTAINER[/SNAPSHOT]")]
    name: Option<String>,
    /// Show the configuration with that of the profiles
    #[arg(long, short)]
    expanded: bool,
}

impl Show {
    pub async fn run(self, app: &App) -> Result<()> {
        let text = match super::subject(app, self.name.as_deref())? {
            Subject::Server(client) => server(&client).await?,
            Subject::Instance(client, name) => instance(&client, &name, self.expanded).await?,
        };
        output::text_block(&text);
        Ok(())
    }
}

/// The server's configuration as text.
pub async fn server(client: &Client) -> Result<String> {
    let put: ServerPut = client.get("/1.0").await?;
    Ok(yaml::emit(&json!({"config": yaml::sorted(Value::Object(put.config))})))
}

/// An instance's or snapshot's configuration as text.
pub async fn instance(client: &Client, name: &str, is_expanded: bool) -> Result<String> {
    let path = instance_path(name);
    let mut shown = if names::split_snapshot(name).1.is_some() { from_snapshot(client.get(&path).await?) } else { client.get::<Instance>(&path).await? };
    if is_expanded {
        shown.config = shown.expanded_config;
        shown.devices = shown.expanded_devices;
    }
    Ok(yaml::emit(&yaml::fields([
        ("architecture", json!(shown.architecture)),
        ("config", yaml::sorted(json!(shown.config))),
        ("devices", yaml::sorted(json!(shown.devices))),
        ("ephemeral", json!(shown.ephemeral)),
        ("profiles", json!(shown.profiles)),
        ("stateful", json!(shown.stateful)),
        ("description", json!(shown.description)),
    ])))
}

fn from_snapshot(snapshot: Snapshot) -> Instance {
    Instance {
        config: snapshot.config,
        devices: snapshot.devices,
        expanded_config: snapshot.expanded_config,
        expanded_devices: snapshot.expanded_devices,
        ephemeral: snapshot.ephemeral,
        profiles: snapshot.profiles,
        stateful: snapshot.stateful,
        ..Instance::default()
    }
}
