//! `lxc delete`.

use std::io::Write;

use anyhow::{Context, Result, anyhow, bail};
use api::StatusCode;
use api::instances::{Instance, StatePut};
use clap::Args;
use client::{Client, path};

use super::states;
use crate::app::App;
use crate::names;
use crate::record::instance_path;

/// Delete containers and snapshots
///
/// A container is deleted with its files and all its snapshots.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc delete c1
lxc delete c1 c2 --force # also if they run
lxc delete c1/snap0 # only a snapshot")]
pub struct Delete {
    /// The containers or snapshots
    #[arg(required = true, value_name = "[REMOTE:]CONTAINER[/SNAPSHOT]")]
    names: Vec<String>,
    /// Force the removal of running containers
    #[arg(long, short)]
    force: bool,
    /// Require user confirmation
    #[arg(long, short)]
    interactive: bool,
}

impl Delete {
    pub async fn run(self, app: &App) -> Result<()> {
        for argument in &self.names {
            let (client, name) = app.resolve_named(argument, "Container")?;
            if self.interactive {
                confirm(&name)?;
            }
            if names::split_snapshot(&name).1.is_none() && self.is_gone_by_stop(&client, &name).await? {
                continue;
            }
            let reply = client.delete(&instance_path(&name)).await?;
            client.wait(&reply).await?;
        }
        Ok(())
    }

    /// Stops a running container if that is wished; an ephemeral one is gone by that.
    async fn is_gone_by_stop(&self, client: &Client, name: &str) -> Result<bool> {
        let instance: Instance = client.get(&path(&["instances", name])).await?;
        if matches!(instance.status_code, StatusCode::STOPPED | StatusCode::ERROR) {
            return Ok(false);
        }
        if !self.force {
            let text = "The container is currently running, stop it first or pass --force.";
            // Of several, which one.
            return if self.names.len() > 1 { Err(anyhow!("{name}: {text}")) } else { Err(anyhow!(text)) };
        }
        let put = StatePut { action: "stop".to_owned(), force: true, ..StatePut::default() };
        states::send(client, name, &put).await.context("Stopping the container failed")?;
        Ok(instance.ephemeral)
    }
}

fn confirm(name: &str) -> Result<()> {
    let mut stdout = std::io::stdout();
    write!(stdout, "Remove {name} (yes/no): ").and_then(|()| stdout.flush())?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim() != "yes" {
        bail!("User aborted delete operation.");
    }
    Ok(())
}
