//! Changing the state of instances: `start`, `stop`, `restart`, `pause`.

use anyhow::{Result, bail};
use api::instances::{Instance, StatePut};
use client::{Client, path};

use super::console;
use crate::app::App;
use crate::cli::Exit;
use crate::errln;
use crate::missing::{self, Subject};
use crate::names::split_snapshot;

/// A change that is asked of each instance.
#[derive(Clone, Debug)]
pub struct Change {
    /// The command, for messages.
    pub command: &'static str,
    /// What is sent.
    pub put: StatePut,
    /// Every instance that it makes sense for, when no name is given.
    pub is_for_all: bool,
}

impl Change {
    /// Applies it to all names at once.
    pub async fn apply(&self, app: &App, names: Vec<String>) -> Result<()> {
        let names = self.names(app, names).await?;
        let results = futures_util::future::join_all(names.iter().map(|name| self.apply_to(app, name))).await;
        let failed: Vec<(&String, anyhow::Error)> =
            names.iter().zip(results).filter_map(|(name, result)| Some((name, result.err()?))).collect();
        match failed.as_slice() {
            [] => Ok(()),
            [(name, error)] if names.len() == 1 => {
                errln!("error: {}", text(name, error));
                if is_about_the_instance(error) {
                    errln!("Try `lxc info --show-log {name}` for more info");
                }
                Err(Exit(1).into())
            }
            failed => {
                for (name, error) in failed {
                    errln!("{name}: error: {}", text(name, error));
                }
                errln!("");
                bail!("Some containers failed to {}", self.command)
            }
        }
    }

    /// The same, and then connects the terminal to the console of the one instance, where that is wished.
    pub async fn apply_and_attach(&self, app: &App, (names, is_attached): (Vec<String>, bool)) -> Result<()> {
        let [name] = names.as_slice() else {
            if is_attached {
                bail!("--console shows the console of one container (`lxc console NAME` shows another's)");
            }
            return self.apply(app, names).await;
        };
        let (client, instance) = resolve(app, name, self.command)?;
        self.apply(app, names).await?;
        if is_attached { console::attach(&client, &instance).await } else { Ok(()) }
    }

    /// The instances that are meant; none only if all are meant and there is none.
    pub async fn names(&self, app: &App, names: Vec<String>) -> Result<Vec<String>> {
        if self.is_for_all {
            return self.all(app, names).await;
        }
        if names.is_empty() {
            bail!("Must supply container name for: \"{}\"", self.command);
        }
        Ok(names)
    }

    async fn apply_to(&self, app: &App, name: &str) -> Result<()> {
        let (client, name) = resolve(app, name, self.command)?;
        let mut put = self.put.clone();
        if put.action == "start" {
            put = started(&client, &name, put).await?;
        }
        send(&client, &name, &put).await
    }

    async fn all(&self, app: &App, names: Vec<String>) -> Result<Vec<String>> {
        if !names.is_empty() {
            bail!("Both --all and container name given");
        }
        let instances: Vec<Instance> = app.server(None)?.get(&format!("{}?recursion=1", path(&["instances"]))).await?;
        let is_wanted = |instance: &Instance| match self.put.action.as_str() {
            "start" => !matches!(instance.status.as_str(), "Running" | "Ready"),
            "freeze" => matches!(instance.status.as_str(), "Running" | "Ready"),
            _ => instance.status != "Stopped",
        };
        Ok(instances.into_iter().filter(is_wanted).map(|instance| instance.name).collect())
    }
}

/// The server and the name of an instance that `command` is to work on, which cannot be a snapshot.
pub fn resolve(app: &App, argument: &str, command: &str) -> Result<(Client, String)> {
    let (client, name) = app.resolve(argument)?;
    if name.is_empty() {
        bail!("Must supply container name for: \"{command}\"");
    }
    if let (container, Some(_)) = split_snapshot(&name) {
        bail!(
            "\"{name}\" is a snapshot, which can't {command} (`lxc copy {name} NAME` makes a container of it, `lxc restore` puts {container} back to it)"
        );
    }
    Ok((client, name))
}

/// The text of the error of one of the instances.
pub fn text(argument: &str, error: &anyhow::Error) -> String {
    let name = argument.split_once(':').map_or(argument, |(_, name)| name);
    missing::describe(error, &[Subject::new("Container", name)])
}

/// Sends a change of state and waits for its end.
pub async fn send(client: &Client, name: &str, put: &StatePut) -> Result<()> {
    let reply = client.put(&path(&["instances", name, "state"]), put, None).await?;
    client.wait(&reply).await?;
    Ok(())
}

/// `start` thaws a frozen instance, and restores a saved state only where there is one.
async fn started(client: &Client, name: &str, mut put: StatePut) -> Result<StatePut> {
    let instance: Instance = client.get(&path(&["instances", name])).await?;
    if instance.status == "Frozen" {
        put.action = "unfreeze".to_owned();
    }
    put.stateful = put.stateful && instance.stateful;
    Ok(put)
}

/// Whether the instance's log can tell more: not so if the server could not even be asked.
fn is_about_the_instance(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<client::Error>(), Some(client::Error::Operation { .. }))
}
