//! `lxc rename`.

use anyhow::{Result, bail};
use api::profiles::Rename as Body;
use clap::Args;
use client::Client;

use crate::app::App;
use crate::names::split_snapshot;
use crate::record::instance_path;

/// Rename containers and snapshots
///
/// A container must be stopped for it.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc rename c1 c2 # the container must be stopped
lxc rename c1/snap0 before-upgrade")]
pub struct Rename {
    /// The container or snapshot
    #[arg(value_name = "[REMOTE:]CONTAINER[/SNAPSHOT]")]
    name: String,
    /// Its new name
    #[arg(value_name = "NEW-NAME[/SNAPSHOT]")]
    new_name: String,
}

impl Rename {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.name, "Container")?;
        let new_name = match split_snapshot(&name) {
            (instance, Some(_)) if !self.new_name.contains('/') => format!("{instance}/{}", self.new_name),
            _ => self.new_name,
        };
        rename(&client, &name, &new_name).await
    }
}

/// Renames a container, or a snapshot within its container.
pub async fn rename(client: &Client, name: &str, new_name: &str) -> Result<()> {
    let new = match (split_snapshot(name), split_snapshot(new_name)) {
        ((_, None), (new, None)) => new,
        ((old, Some(_)), (new, Some(snapshot))) if old == new => snapshot,
        ((_, Some(_)), (_, Some(_))) => bail!("Can't rename to different container"),
        ((_, Some(_)), (_, None)) => bail!("A snapshot's new name must be CONTAINER/SNAPSHOT"),
        ((_, None), (_, Some(_))) => bail!("Invalid new snapshot name"),
    };
    let reply = client.post(&instance_path(name), &Body { name: new.to_owned() }).await?;
    client.wait(&reply).await?;
    Ok(())
}
