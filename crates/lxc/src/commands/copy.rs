//! `lxc copy`.

use anyhow::{Result, bail};
use api::instances::{InstancesPost, Source};
use clap::Args;
use client::path;

use super::copying::{Journey, Overrides, Way, ensure_named};
use super::create::{created_name, wait_or_cancel};
use crate::app::App;
use crate::names::{Target, split_snapshot};
use crate::outln;
use crate::progress::Progress;

/// Copy containers within a server or to another one
///
/// The copy has the configuration of its source, stopped, and not its identity (addresses). On another server it needs the profiles
/// of its source there, and keeps its name if none is given.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc copy c1 c2 # with its snapshots
lxc copy c1/snap0 c2 # as it was when the snapshot was taken
lxc copy c1 c2 -c limits.memory=1GB -p default -p web
lxc copy c1 work: # to another server, which fetches it
lxc copy c1 work:c2 --mode=push --stateless # sent there, as if it were stopped
lxc copy c1 work: --refresh # brings the copy there up to date")]
pub struct Copy {
    /// The container or snapshot to copy
    #[arg(value_name = "[REMOTE:]SOURCE[/SNAPSHOT]")]
    source: String,
    /// The name of the copy; without one the server chooses
    #[arg(value_name = "[REMOTE:]DESTINATION")]
    destination: Option<String>,
    /// Ephemeral container: gone when it stops
    #[arg(long, short)]
    ephemeral: bool,
    /// Bring a copy that is there already up to date
    #[arg(long)]
    refresh: bool,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    overrides: Overrides,
}

impl Copy {
    pub async fn run(self, app: &App) -> Result<()> {
        self.way.check()?;
        let source = app.target(&self.source)?;
        let destination = app.target(self.destination.as_deref().unwrap_or(""))?;
        ensure_named(&source)?;
        app.note("Container", &source.name);
        if source.remote == destination.remote {
            return self.copy_here(app, (source, destination)).await;
        }
        if split_snapshot(&source.name).1.is_some() && destination.name.is_empty() {
            bail!("You must specify the name of the container that is made of a snapshot (`lxc copy {} {}:NAME`)", self.source, destination.remote);
        }
        let journey = Journey {
            source: &source,
            destination: &destination,
            way: &self.way,
            overrides: &self.overrides,
            is_move: false,
            is_ephemeral: self.ephemeral,
            is_refresh: self.refresh,
        };
        journey.travel(app).await.map(drop)
    }

    /// The server does all of it.
    async fn copy_here(&self, app: &App, (source, destination): (Target, Target)) -> Result<()> {
        if self.refresh && destination.name.is_empty() {
            bail!("You must specify the container that is to be brought up to date");
        }
        let client = app.client(&source.remote)?;
        let from = Source {
            kind: "copy".to_owned(),
            instance_only: self.way.instance_only || split_snapshot(&source.name).1.is_some(),
            source: source.name.clone(),
            refresh: self.refresh,
            ..Source::default()
        };
        let mut post = InstancesPost { name: destination.name.clone(), ephemeral: self.ephemeral, source: from, ..InstancesPost::default() };
        self.overrides.apply_here(&client, (&source.name, &mut post)).await?;
        let operation = client.post(&path(&["instances"]), &post).await?.operation()?;
        let mut progress = Progress::new("Transferring container", app.quiet);
        wait_or_cancel(&client, &operation, |operation| progress.show(operation)).await?;
        drop(progress);
        if let (true, Some(name)) = (destination.name.is_empty(), created_name(&operation)) {
            outln!("Container name is: {name}");
        }
        Ok(())
    }
}
