//! Making an instance from an image: what `init` and `launch` share.

use anyhow::{Result, bail};
use api::Devices;
use api::images::ImageSource;
use api::instances::{Instance, InstancesPost, Source};
use api::operations::Operation;
use api::profiles::Profile;
use api::server::Server;
use clap::Args;
use client::{Client, Kind, path};

use super::{console, image_servers, states};
use crate::app::App;
use crate::cli::Exit;
use crate::names::Target;
use crate::pairs::{DeviceKey, KeyValue};
use crate::progress::Progress;
use crate::{errln, images, names, outln};

/// The arguments of both commands.
#[derive(Debug, Args)]
pub struct Create {
    /// The image: an alias or the beginning of a fingerprint
    #[arg(value_name = "[REMOTE:]IMAGE")]
    image: String,
    /// The name; without one the server chooses
    #[arg(value_name = "[REMOTE:]NAME")]
    name: Option<String>,
    /// Ephemeral container: gone when it stops
    #[arg(long, short)]
    ephemeral: bool,
    /// Profile to apply to the new container (without a name: no profiles)
    #[arg(long = "profile", short, num_args = 0..=1, default_missing_value = "", value_name = "PROFILE")]
    profiles: Vec<String>,
    /// Create it with no profiles
    #[arg(long, conflicts_with = "profiles")]
    no_profiles: bool,
    /// Config key/value to apply to the new container
    #[arg(long, short, value_name = "KEY=VALUE")]
    config: Vec<KeyValue>,
    /// Key of a device of the new container, over those of its profiles
    #[arg(long = "device", short, value_name = "DEVICE,KEY=VALUE")]
    devices: Vec<DeviceKey>,
    /// Make it without an image, from nothing: IMAGE is then its name
    #[arg(long)]
    empty: bool,
    /// Instance type
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    instance_type: Option<String>,
    /// Storage pool of the root disk
    #[arg(long, short, value_name = "POOL")]
    storage: Option<String>,
    /// Network to attach eth0 to
    #[arg(long, short, value_name = "NETWORK")]
    network: Option<String>,
}

impl Create {
    /// Creates the instance and, for `launch`, starts it, and connects the terminal to its console where that is wished.
    pub async fn run(self, app: &App, (is_started, is_attached): (bool, bool)) -> Result<()> {
        let (image, name) = self.words()?;
        let target = app.target(name)?;
        let client = app.client(&target.remote)?;
        let mut post = self.post(&client, target.name.clone()).await?;
        let sources = match image {
            Some(image) => self.sources(app, (&client, &target), &app.target(image)?).await?,
            None if is_started => bail!("A container that is made of nothing has nothing to start (`lxc init --empty` makes it)"),
            None => vec![Source { kind: "none".to_owned(), ..Source::default() }],
        };
        post.start = is_started && has_extension(&client, "instance_create_start").await?;
        if target.name.is_empty() {
            outln!("Creating the container");
        } else {
            outln!("Creating {}", target.name);
        }
        let made = self.create_of_any(app, &client, (&mut post, sources)).await?;
        let target_name = Some(target.name).filter(|name| !name.is_empty());
        let name = target_name.clone().or_else(|| created_name(&made));
        let Some(name) = name else { bail!("The server didn't tell the container's name") };
        if target_name.is_none() {
            outln!("Container name is: {name}");
        }
        if !is_started {
            client.wait_operation(&made.id).await?;
            return Ok(());
        }
        let started = if post.start { self.wait_started(app, &client, &name, &made).await } else { start(&client, &name).await };
        let Err(error) = started else { return if is_attached { console::attach(&client, &name).await } else { Ok(()) } };
        let is_made = client.get::<Instance>(&path(&["instances", &name])).await.is_ok();
        if !is_made {
            return Err(error);
        }
        errln!("error: {error:#}\nTry `lxc info --show-log {}:{name}` for more info", target.remote);
        Err(Exit(1).into())
    }

    /// The image, where there is one, and the name that the words are.
    fn words(&self) -> Result<(Option<&str>, &str)> {
        match (self.empty, &self.name) {
            (false, name) => Ok((Some(&self.image), name.as_deref().unwrap_or(""))),
            (true, None) => Ok((None, &self.image)),
            (true, Some(_)) => bail!("A container that is made of nothing has no image (with --empty there is only a name)"),
        }
    }

    /// Where the server can have the image from, by each of the ways there are.
    async fn sources(&self, app: &App, (client, target): (&Client, &Target), image: &Target) -> Result<Vec<Source>> {
        let remote = if image.remote != target.remote { Some(image.clone()) } else { self.meant_remote(app, client, image).await? };
        let Some(remote) = remote else { return Ok(vec![images::source(client, &image.name).await?]) };
        app.note("Image", images::name_or_default(&remote.name));
        let sources = image_servers::sources(app, &remote.remote, &remote.name).await?;
        let convert = |source: ImageSource| Source {
            kind: source.kind,
            mode: source.mode,
            server: source.server,
            protocol: source.protocol,
            certificate: source.certificate,
            secret: source.secret,
            fingerprint: source.fingerprint,
            alias: source.alias,
            ..Source::default()
        };
        Ok(sources.into_iter().map(convert).collect())
    }

    /// `ubuntu/22.04` may be meant to be `ubuntu:22.04`, if there is no such image.
    async fn meant_remote(&self, app: &App, client: &Client, image: &Target) -> Result<Option<Target>> {
        if image.is_explicit {
            return Ok(None);
        }
        let Some(meant) = image_servers::remote_in_name(app, &image.name).filter(|meant| meant.remote != image.remote) else {
            return Ok(None);
        };
        match images::load(client, &image.name).await {
            Err(error) if error.downcast_ref::<client::Error>().is_some_and(client::Error::is_not_found) => {
                let shown = format!("{}:{}", meant.remote, meant.name);
                errln!("The local image '{}' couldn't be found, trying '{shown}' instead.", image.name);
                Ok(Some(meant))
            }
            Err(error) => Err(error),
            Ok(_) => Ok(None),
        }
    }

    /// Sends the request with one source after the other until one is found to do.
    async fn create_of_any(&self, app: &App, client: &Client, (post, sources): (&mut InstancesPost, Vec<Source>)) -> Result<Operation> {
        let mut failures = Vec::new();
        let count = sources.len();
        // Where there are several ways, a failure must be seen before the next is tried.
        post.start &= count == 1;
        for source in sources {
            let server = source.server.clone();
            post.source = source;
            let result = self.create(app, client, post).await;
            match result {
                Ok(made) => return Ok(made),
                Err(error) if image_servers::is_failed(&error) && count > 1 => failures.push((server, error)),
                Err(error) => return Err(error),
            }
        }
        Err(image_servers::all_failed("Failed container creation", failures))
    }

    /// Sends the request. Unless the server starts the instance too, waits for its end.
    async fn create(&self, app: &App, client: &Client, post: &InstancesPost) -> Result<Operation> {
        let reply = client.post(&path(&["instances"]), post).await;
        let reply = match reply {
            Err(error) if error.is_not_found() && !post.source.alias.is_empty() => {
                bail!("The image \"{}\" doesn't exist: {error}", post.source.alias)
            }
            reply => reply?,
        };
        let operation = reply.operation()?;
        if post.start {
            return Ok(operation);
        }
        let mut progress = Progress::new("Retrieving image", app.quiet);
        wait_or_cancel(client, &operation, |operation| progress.show(operation)).await
    }

    /// Waits for an operation that makes the instance and starts it.
    async fn wait_started(&self, app: &App, client: &Client, name: &str, made: &Operation) -> Result<()> {
        let mut progress = Progress::new("Retrieving image", app.quiet);
        let result = wait_or_cancel(client, made, |operation| progress.show(operation)).await;
        progress.clear();
        // Not said before it is known that there is something to start.
        if result.is_ok() || client.get::<Instance>(&path(&["instances", name])).await.is_ok() {
            outln!("Starting {name}");
        }
        result.map(drop)
    }

    async fn post(&self, client: &Client, name: String) -> Result<InstancesPost> {
        let mut post = InstancesPost {
            name,
            ephemeral: self.ephemeral,
            instance_type: self.instance_type.clone().unwrap_or_default(),
            ..Default::default()
        };
        post.config = self.config.iter().map(|KeyValue(key, value)| (key.clone(), value.clone())).collect();
        if self.no_profiles || !self.profiles.is_empty() {
            post.profiles = Some(self.profiles.iter().filter(|profile| !profile.is_empty()).cloned().collect());
        }
        if let Some(pool) = &self.storage {
            let root = [("type", "disk"), ("path", "/"), ("pool", pool)];
            post.devices.insert("root".to_owned(), device(&root));
        }
        if let Some(network) = &self.network {
            let network: api::networks::Network =
                client.get(&path(&["networks", network])).await.map_err(|error| no_network(error, network))?;
            let nictype = if network.kind == "bridge" { "bridged" } else { "macvlan" };
            post.devices
                .insert("eth0".to_owned(), device(&[("type", "nic"), ("name", "eth0"), ("nictype", nictype), ("parent", &network.name)]));
        }
        if !self.devices.is_empty() {
            let inherited = profile_devices(client, post.profiles.as_deref()).await?;
            DeviceKey::apply(&self.devices, &inherited, &mut post.devices);
        }
        Ok(post)
    }
}

/// The devices of some profiles together; those that a server takes where none are named.
async fn profile_devices(client: &Client, profiles: Option<&[String]>) -> Result<Devices> {
    let usual = ["default".to_owned()];
    let mut devices = Devices::new();
    for profile in profiles.unwrap_or(&usual) {
        let profile: Profile = client.get(&path(&["profiles", profile])).await?;
        devices.extend(profile.devices);
    }
    Ok(devices)
}

async fn start(client: &Client, name: &str) -> Result<()> {
    outln!("Starting {name}");
    states::send(client, name, &api::instances::StatePut { action: "start".to_owned(), ..Default::default() }).await
}

fn no_network(error: client::Error, network: &str) -> anyhow::Error {
    if error.is_not_found() {
        anyhow::anyhow!("Network '{network}' not found (`lxc network list` shows those there are)")
    } else {
        error.into()
    }
}

fn device(keys: &[(&str, &str)]) -> api::Config {
    keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Whether the server announces an extension of the API.
pub async fn has_extension(client: &Client, name: &str) -> Result<bool> {
    let server: Server = client.get("/1.0").await?;
    Ok(server.api_extensions.iter().any(|extension| extension == name))
}

/// Refuses a server without an extension of the API that is needed.
pub async fn ensure_extension(client: &Client, remote: &str, name: &str) -> Result<()> {
    if !has_extension(client, name).await? {
        bail!("The server is missing the required \"{name}\" API extension ({remote})");
    }
    Ok(())
}

/// The name in an operation's resources.
pub fn created_name(operation: &Operation) -> Option<String> {
    let resources = operation.resources.as_ref()?;
    let urls = resources.get("instances").or_else(|| resources.get("containers"))?;
    urls.first().map(|url| names::from_url(url).to_owned())
}

/// Waits for an operation, showing its progress where there is a terminal. Ctrl-C asks the
/// server to cancel; one that can't be cancelled is left alone at the third.
pub async fn wait_or_cancel(client: &Client, operation: &Operation, changed: impl FnMut(&Operation)) -> Result<Operation> {
    let wait = async {
        if crate::output::is_terminal() {
            client.follow_operation(operation, changed).await
        } else {
            client.wait_operation(&operation.id).await
        }
    };
    tokio::pin!(wait);
    let mut asked = 0;
    loop {
        tokio::select! {
            done = &mut wait => return match done {
                Err(error) if error.kind() == Kind::Cancelled && asked > 0 => bail!("Remote operation canceled by user"),
                done => Ok(done?),
            },
            signal = tokio::signal::ctrl_c() => {
                signal?;
                asked += 1;
                if asked == 3 {
                    bail!("User signaled us three times, exiting. The remote operation will keep running.");
                }
                if let Err(error) = client.cancel_operation(&operation.id).await {
                    errln!("{error} (interrupt {} more times to force)", if asked == 1 { "two" } else { "one" });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_what_was_made() {
        let resources = |kind: &str| Some([(kind.to_owned(), vec!["/1.0/instances/sweet-fox?project=default".to_owned()])].into());
        for kind in ["instances", "containers"] {
            let operation = Operation { resources: resources(kind), ..Operation::default() };
            assert_eq!(created_name(&operation).as_deref(), Some("sweet-fox"));
        }
        assert_eq!(created_name(&Operation::default()), None);
    }
}
