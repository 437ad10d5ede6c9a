//! `--check`: whether the running state of instances could be saved, without doing it.

use anyhow::{Result, bail};
use api::instances::{Checkpointability, Instance, Obstacle};
use client::{Client, path};

use super::create::has_extension;
use super::states;
use crate::app::App;
use crate::cli::Exit;
use crate::usage::BAD_FLAG;
use crate::{errln, outln};

/// What a server that can be asked announces.
const EXTENSION: &str = "container_checkpoint_check";

/// What the state would be saved for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `lxc snapshot --stateful`.
    Snapshot,
    /// `lxc stop --stateful`.
    Stop,
}

/// Refuses `--check` without `--stateful`: a stop or snapshot without the state has nothing to check.
pub fn ensure_stateful(stateful: bool) -> Result<()> {
    if stateful {
        return Ok(());
    }
    errln!("error: --check needs --stateful: it tells whether the running state can be saved");
    Err(Exit(BAD_FLAG).into())
}

/// Prints for each container what stands in the way. An error with an exit status of its own if that of
/// any cannot be saved, or is not known.
pub async fn check(app: &App, names: &[String], purpose: Purpose) -> Result<()> {
    let results = futures_util::future::join_all(names.iter().map(|name| ask(app, name, purpose))).await;
    let mut are_all_possible = true;
    for (name, result) in names.iter().zip(results) {
        let prefix = if names.len() == 1 { String::new() } else { format!("{name}: ") };
        match result {
            Ok(found) => {
                are_all_possible &= found.possible;
                report(&found).iter().for_each(|line| outln!("{prefix}{line}"));
            }
            Err(error) => {
                are_all_possible = false;
                errln!("{prefix}error: {}", states::text(name, &error));
            }
        }
    }
    if are_all_possible { Ok(()) } else { Err(Exit(1).into()) }
}

async fn ask(app: &App, argument: &str, purpose: Purpose) -> Result<Checkpointability> {
    let (client, name) = match purpose {
        Purpose::Snapshot => app.resolve_named(argument, "Container")?,
        Purpose::Stop => states::resolve(app, argument, "stop")?,
    };
    let mut found = fetch(&client, &name).await?;
    if purpose == Purpose::Stop {
        let instance: Instance = client.get(&path(&["instances", &name])).await?;
        if instance.ephemeral {
            found.possible = false;
            found.obstacles.insert(0, ephemeral());
        }
    }
    Ok(found)
}

async fn fetch(client: &Client, name: &str) -> Result<Checkpointability> {
    match client.get(&path(&["instances", name, "state", "checkpoint"])).await {
        Err(error) if error.is_not_found() && !has_extension(client, EXTENSION).await? => {
            bail!("The server can't check this (it lacks the API extension `{EXTENSION}`)")
        }
        found => Ok(found?),
    }
}

/// What the server's answer does not say, since it is for snapshots as well.
fn ephemeral() -> Obstacle {
    let remedy = "an ephemeral container is deleted when it stops: `lxc config edit` can make it a lasting one";
    Obstacle { fatal: true, what: "it is ephemeral".to_owned(), remedy: remedy.to_owned() }
}

/// What stands in the way, then what would be lost, then the sum of it.
fn report(found: &Checkpointability) -> Vec<String> {
    let (fatal, losses): (Vec<&Obstacle>, Vec<&Obstacle>) = found.obstacles.iter().partition(|obstacle| obstacle.fatal);
    let line = |kind: &str, obstacle: &Obstacle| match obstacle.remedy.as_str() {
        "" => format!("{kind}: {}", obstacle.what),
        remedy => format!("{kind}: {} ({remedy})", obstacle.what),
    };
    let mut lines: Vec<String> = fatal.iter().map(|obstacle| line("in the way", obstacle)).collect();
    lines.extend(losses.iter().map(|obstacle| line("lost", obstacle)));
    let sum = match (found.possible, losses.is_empty()) {
        (false, _) => "The running state can't be saved",
        (true, true) => "The running state can be saved",
        (true, false) => "The running state can be saved, but for what is lost",
    };
    lines.push(sum.to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obstacle(fatal: bool, what: &str, remedy: &str) -> Obstacle {
        Obstacle { fatal, what: what.to_owned(), remedy: remedy.to_owned() }
    }

    #[test]
    fn obstacles_and_losses_are_told_apart() {
        let loss = obstacle(false, "process 70 (sh) was started by `lxc exec` and is not saved", "start it as a service");
        let found = Checkpointability {
            possible: false,
            obstacles: vec![
                loss.clone(),
                obstacle(true, "the instance is frozen", "`lxc start c1` lets it go on"),
                obstacle(true, "x", ""),
            ],
        };
        let expected = [
            "in the way: the instance is frozen (`lxc start c1` lets it go on)",
            "in the way: x",
            "lost: process 70 (sh) was started by `lxc exec` and is not saved (start it as a service)",
            "The running state can't be saved",
        ];
        assert_eq!(report(&found), expected);
        let lines = report(&Checkpointability { possible: true, obstacles: vec![loss] });
        assert_eq!(lines.last().map(String::as_str), Some("The running state can be saved, but for what is lost"));
        assert_eq!(report(&Checkpointability { possible: true, obstacles: Vec::new() }), ["The running state can be saved"]);
    }
}
