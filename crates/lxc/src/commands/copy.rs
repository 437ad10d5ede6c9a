//! `lxc copy`.

use anyhow::{Result, bail};
use api::instances::{InstancesPost, Source};
use clap::Args;
use client::path;

use super::create::{created_name, wait_or_cancel};
use crate::app::App;
use crate::pairs::KeyValue;
use crate::progress::Progress;
use crate::{names, outln};

/// Copy containers within a server
///
/// The copy has the configuration of its source, stopped, and not its identity (addresses).
#[derive(Debug, Args)]
#[command(after_help = "\
lxc copy c1 c2 # with its snapshots
lxc copy c1/snap0 c2 # as it was when the snapshot was taken
lxc copy c1 c2 -c limits.memory=1GB -p default -p web")]
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
    /// Copy the container without its snapshots
    #[arg(long, alias = "container-only")]
    instance_only: bool,
    /// Profile of the copy instead of the source's (without a name: no profiles)
    #[arg(long = "profile", short, num_args = 0..=1, default_missing_value = "", value_name = "PROFILE")]
    profiles: Vec<String>,
    /// Config key/value of the copy
    #[arg(long, short, value_name = "KEY=VALUE")]
    config: Vec<KeyValue>,
}

impl Copy {
    pub async fn run(self, app: &App) -> Result<()> {
        let source = app.target(&self.source)?;
        let destination = app.target(self.destination.as_deref().unwrap_or(""))?;
        if source.name.is_empty() {
            bail!("You must specify a source container name");
        }
        app.note("Container", &source.name);
        if source.remote != destination.remote {
            bail!("Copying between servers isn't supported yet");
        }
        let client = app.client(&source.remote)?;
        let from = Source {
            kind: "copy".to_owned(),
            instance_only: self.instance_only || names::split_snapshot(&source.name).1.is_some(),
            source: source.name,
            ..Source::default()
        };
        let mut post = InstancesPost { name: destination.name.clone(), ephemeral: self.ephemeral, source: from, ..InstancesPost::default() };
        post.config = self.config.into_iter().map(|KeyValue(key, value)| (key, value)).collect();
        if !self.profiles.is_empty() {
            post.profiles = Some(self.profiles.into_iter().filter(|profile| !profile.is_empty()).collect());
        }
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
