//! `lxc move`.

use anyhow::{Context, Result, bail};
use api::instances::{Instance, InstancePut, StatePut};
use clap::Args;
use client::Client;

use super::copying::{Journey, Overrides, Way, ensure_named, is_running};
use super::rename::rename;
use super::states;
use crate::app::App;
use crate::names::{Target, split_snapshot};
use crate::outln;
use crate::record::{Record, instance_path};

/// The key that keeps a container from being deleted.
const PROTECTED: &str = "security.protection.delete";

/// Move containers: rename them, or their snapshots, or take them to another server
///
/// A container must be stopped to be renamed. To another server it goes with its configuration, snapshots and addresses, and is
/// deleted where it was once it is there; it needs its profiles there. One that runs is stopped first with --stateless.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc move c1 c2 # the container must be stopped
lxc move c1/snap0 c1/before-upgrade
lxc move c1 work: # to another server
lxc move c1 work:c2 --mode=relay --stateless")]
pub struct Move {
    /// The container or snapshot
    #[arg(value_name = "[REMOTE:]SOURCE[/SNAPSHOT]")]
    source: String,
    /// Its new name
    #[arg(value_name = "[REMOTE:]DESTINATION[/SNAPSHOT]")]
    destination: String,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    overrides: Overrides,
}

impl Move {
    pub async fn run(self, app: &App) -> Result<()> {
        self.way.check()?;
        let (source, destination) = (app.target(&self.source)?, app.target(&self.destination)?);
        ensure_named(&source)?;
        app.note("Container", &source.name);
        if source.remote != destination.remote {
            return self.to_server(app, (&source, &destination)).await;
        }
        if destination.name.is_empty() {
            bail!("You must specify a source and a destination container name");
        }
        if !self.overrides.is_empty() || self.way.instance_only {
            bail!("Within a server a move is a change of the name and of nothing else (`lxc copy` makes one that differs)");
        }
        rename(&app.client(&source.remote)?, &source.name, &destination.name).await
    }

    /// A copy that is the same one; then the source goes. Until the very end it has all that it had.
    async fn to_server(&self, app: &App, (source, destination): (&Target, &Target)) -> Result<()> {
        if split_snapshot(&source.name).1.is_some() || destination.name.contains('/') {
            bail!("A snapshot can't be moved to another server (`lxc copy` makes a container of it there)");
        }
        let client = app.client(&source.remote)?;
        let path = instance_path(&source.name);
        let before: Instance = client.get(&path).await?;
        let snapshots = snapshots_of(&client, &path).await?;
        if self.way.instance_only && !snapshots.is_empty() {
            bail!("{} has snapshots, which would be lost (`lxc copy --instance-only` leaves them here)", source.name);
        }
        let is_stopped_here = self.way.stateless && is_running(&before);
        if is_stopped_here {
            if before.ephemeral {
                bail!("{} is ephemeral: it would be gone as soon as it is stopped (`lxc copy --stateless` copies it)", source.name);
            }
            set_state(&client, &source.name, "stop").await.context("Stopping the container for its move failed")?;
        }
        let journey = Journey {
            source,
            destination,
            way: &self.way,
            overrides: &self.overrides,
            is_move: true,
            is_ephemeral: false,
            is_refresh: false,
        };
        let (name, moved) = match journey.travel(app).await {
            Ok(there) => there,
            Err(error) if is_stopped_here => {
                // As if nothing had been.
                let again = set_state(&client, &source.name, "start").await;
                return Err(match again {
                    Ok(()) => error,
                    Err(again) => error.context(format!("{} stays here, stopped: it could not be started again ({again:#})", source.name)),
                });
            }
            Err(error) => return Err(error),
        };
        delete(&client, &source.name, (&moved, &snapshots))
            .await
            .with_context(|| format!("{name} is now on {}, but {} is still on {} as well", destination.remote, source.name, source.remote))?;
        if is_stopped_here {
            outln!("{name} was running and is stopped now: `lxc start {}:{name}` starts it there", destination.remote);
        }
        Ok(())
    }
}

/// Deletes what has been moved, unless somebody has changed it meanwhile.
async fn delete(client: &Client, name: &str, (moved, snapshots): (&Instance, &[String])) -> Result<()> {
    let path = instance_path(name);
    let now: Instance = client.get(&path).await?;
    // What goes along running does not run here any more.
    if now.last_used_at != moved.last_used_at || now.created_at != moved.created_at || is_running(&now) {
        bail!("It was started, stopped or replaced during the move; delete the one that is not wanted");
    }
    if snapshots_of(client, &path).await? != snapshots {
        bail!("It has other snapshots than before the move; delete the one that is not wanted");
    }
    let protection = now.expanded_config.get(PROTECTED).and_then(|value| keys::values::parse_bool(value).ok());
    if protection == Some(true) {
        // Whoever moves it does not lose it.
        let mut record = Record::<InstancePut>::load(client, path.clone()).await?;
        record.set(vec![(PROTECTED.to_owned(), "false".to_owned())]);
        record.save().await?;
    }
    let reply = client.delete(&path).await?;
    client.wait(&reply).await?;
    Ok(())
}

/// The addresses of an instance's snapshots.
async fn snapshots_of(client: &Client, path: &str) -> Result<Vec<String>> {
    Ok(client.get(&format!("{path}/snapshots")).await?)
}

async fn set_state(client: &Client, name: &str, action: &str) -> Result<()> {
    states::send(client, name, &StatePut { action: action.to_owned(), ..StatePut::default() }).await
}
