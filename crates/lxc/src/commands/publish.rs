//! `lxc publish`.

use anyhow::{Context, Result, bail};
use api::Timestamp;
use api::images::{ImageSource, ImagesPost};
use api::instances::{Instance, InstancePut, StatePut};
use api::operations::Operation;
use clap::Args;
use client::{Client, path};

use super::create::wait_or_cancel;
use super::{image_servers, states};
use crate::app::App;
use crate::names::split_snapshot;
use crate::progress::Progress;
use crate::record::{Record, instance_path};
use crate::{images, outln, pairs};

/// Publish containers as images
///
/// The container must be stopped, or a snapshot of it given. The image can be launched like any other.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc publish c1 --alias web description=\"Web server\"
lxc publish c1/snap0 --alias web # while the container runs
lxc publish c1 --force # stops it for that and starts it again")]
pub struct Publish {
    /// The container or snapshot
    #[arg(value_name = "[REMOTE:]CONTAINER[/SNAPSHOT]")]
    name: String,
    /// Properties of the image; a word that ends in a colon is the server to publish on
    #[arg(value_name = "KEY=VALUE")]
    properties: Vec<String>,
    /// New alias to define at target
    #[arg(long = "alias", value_name = "ALIAS")]
    aliases: Vec<String>,
    /// Make the image public
    #[arg(long)]
    public: bool,
    /// Stop the container if currently running
    #[arg(long, short)]
    force: bool,
    /// When the image becomes obsolete (RFC 3339: 2030-01-31T00:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    expire: Option<Timestamp>,
    /// Compression of the image (none, gzip, bzip2, xz, zstd, lzma)
    #[arg(long, value_name = "ALGORITHM")]
    compression: Option<String>,
}

impl Publish {
    pub async fn run(mut self, app: &App) -> Result<()> {
        let source = app.target(&self.name)?;
        if source.name.is_empty() {
            bail!("Container name is mandatory");
        }
        app.note("Container", &source.name);
        let mut there = None;
        if let Some(server) = self.properties.first().filter(|word| !word.contains('=')).cloned() {
            let target = app.target(&server)?;
            if !target.name.is_empty() {
                bail!("There is no \"image name\".  Did you want an alias?");
            }
            self.properties.remove(0);
            if target.remote != source.remote {
                there = Some(target.remote);
            }
        }
        // Nothing is stopped for what is wrong anyway.
        let properties: api::Config = pairs::parse(&self.properties)?.into_iter().collect();
        let client = app.client(&source.remote)?;
        let stopped = if split_snapshot(&source.name).1.is_none() { self.stop(&client, &source.name).await? } else { None };
        let result = self.publish(app, &client, (source.name.as_str(), properties)).await;
        if let Some(is_ephemeral) = stopped {
            start_again(&client, &source.name, is_ephemeral).await.context("Starting the container again failed")?;
        }
        let fingerprint = result?;
        match there {
            None => images::set_aliases(&client, &self.aliases, &fingerprint).await?,
            Some(there) => self.move_there(app, (&source.remote, &client), (&there, &fingerprint)).await?,
        }
        outln!("Container published with fingerprint: {fingerprint}");
        Ok(())
    }

    /// Stops a running container if that is wished. Where it has to be started again: whether it was ephemeral, which it
    /// is not until then, since stopping would delete it.
    async fn stop(&self, client: &Client, name: &str) -> Result<Option<bool>> {
        let instance: Instance = client.get(&path(&["instances", name])).await?;
        if !matches!(instance.status.as_str(), "Running" | "Ready" | "Frozen") {
            return Ok(None);
        }
        if !self.force {
            bail!("The container is currently running. Use --force to have it stopped and restarted.");
        }
        if instance.ephemeral {
            set_ephemeral(client, name, false).await?;
        }
        let put = StatePut { action: "stop".to_owned(), force: true, ..StatePut::default() };
        if let Err(error) = states::send(client, name, &put).await {
            if instance.ephemeral {
                set_ephemeral(client, name, true).await?;
            }
            return Err(error);
        }
        Ok(Some(instance.ephemeral))
    }

    /// Has another server fetch the new image, after which it is not needed here any more.
    async fn move_there(&self, app: &App, (here, client): (&str, &Client), (there, fingerprint): (&str, &str)) -> Result<()> {
        let target = app.client(there)?;
        let post = ImagesPost { public: self.public, ..ImagesPost::default() };
        let sources = image_servers::sources(app, here, fingerprint).await;
        let fetched = match sources {
            Ok(sources) => image_servers::fetch(app, &target, (sources, post)).await,
            Err(error) => Err(error),
        };
        let reply = client.delete(&path(&["images", fingerprint])).await?;
        client.wait(&reply).await?;
        images::set_aliases(&target, &self.aliases, &fetched?).await
    }

    async fn publish(&self, app: &App, client: &Client, (name, properties): (&str, api::Config)) -> Result<String> {
        let kind = if split_snapshot(name).1.is_some() { "snapshot" } else { "container" };
        let post = ImagesPost {
            public: self.public,
            properties,
            compression_algorithm: self.compression.clone().unwrap_or_default(),
            expires_at: self.expire,
            source: ImageSource { kind: kind.to_owned(), name: name.to_owned(), ..ImageSource::default() },
            ..ImagesPost::default()
        };
        let operation = client.post(&path(&["images"]), &post).await?.operation()?;
        let mut progress = Progress::new("Publishing container", app.quiet);
        fingerprint(&wait_or_cancel(client, &operation, |operation| progress.show(operation)).await?)
    }
}

fn parse_time(text: &str) -> Result<Timestamp, &'static str> {
    let time: jiff::Timestamp = text.parse().map_err(|_| "is no time (RFC 3339 is expected, such as 2030-01-31T00:00:00Z)")?;
    Ok(Timestamp(Some(time)))
}

async fn set_ephemeral(client: &Client, name: &str, is_ephemeral: bool) -> Result<()> {
    let mut record = Record::<InstancePut>::load(client, instance_path(name)).await?;
    record.value.ephemeral = is_ephemeral;
    record.save().await
}

/// Starts what was stopped for publishing, and only then has it vanish at its next stop again.
async fn start_again(client: &Client, name: &str, is_ephemeral: bool) -> Result<()> {
    states::send(client, name, &StatePut { action: "start".to_owned(), ..StatePut::default() }).await?;
    if is_ephemeral { set_ephemeral(client, name, true).await } else { Ok(()) }
}

/// The fingerprint that an operation made.
pub fn fingerprint(operation: &Operation) -> Result<String> {
    let fingerprint = operation.metadata.as_ref().and_then(|metadata| metadata.get("fingerprint")?.as_str());
    fingerprint.map(str::to_owned).context("The server didn't tell the image's fingerprint")
}
