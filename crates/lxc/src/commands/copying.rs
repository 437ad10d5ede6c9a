//! What copies and moves of instances share: how the new one differs from its source, and its way to another server.

use anyhow::{Context, Result, bail};
use api::instances::{Instance, InstancePost, InstancesPost, Source};
use api::operations::Operation;
use api::{Config, Devices, StatusCode};
use clap::Args;
use client::{Client, path};

use super::transfer::{Ask, Side, Transfer};
use super::warnings;
use crate::app::App;
use crate::names::{Target, split_snapshot};
use crate::pairs::{DeviceKey, KeyValue};
use crate::record::instance_path;
use crate::servers::Mode;

/// How keys begin that a server keeps for itself.
const VOLATILE: &str = "volatile.";
/// Those of them that a copy has, too: what it was made of, and whose its files are.
const COPIED_VOLATILE: &[&str] = &["volatile.base_image", "volatile.last_state.idmap"];
/// The extension of servers to which instances can be sent.
const PUSH: &str = "container_push";

/// How the new container differs from its source.
#[derive(Debug, Args)]
pub struct Overrides {
    /// Config key/value of the new container
    #[arg(long, short, value_name = "KEY=VALUE")]
    config: Vec<KeyValue>,
    /// Key of a device of the new container
    #[arg(long = "device", short, value_name = "DEVICE,KEY=VALUE")]
    devices: Vec<DeviceKey>,
    /// Profile of the new container instead of the source's (without a name: no profiles)
    #[arg(long = "profile", short, num_args = 0..=1, default_missing_value = "", value_name = "PROFILE")]
    profiles: Vec<String>,
    /// Create it with no profiles
    #[arg(long, conflicts_with = "profiles")]
    no_profiles: bool,
    /// Storage pool of the new container
    #[arg(long, short, value_name = "POOL")]
    storage: Option<String>,
}

/// How it gets to another server.
#[derive(Debug, Args)]
pub struct Way {
    /// How it gets to another server (pull, push, relay)
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// Without its running state: as if it had been stopped
    #[arg(long)]
    pub stateless: bool,
    /// Without its snapshots
    #[arg(long, alias = "container-only")]
    pub instance_only: bool,
    /// Taken as a wish: what is copied is always of one moment
    #[arg(long, hide = true)]
    pub allow_inconsistent: bool,
    /// There are no projects but the default one
    #[arg(long, hide = true, value_name = "PROJECT")]
    pub target_project: Option<String>,
}

impl Way {
    /// Refuses what these servers do not have.
    pub fn check(&self) -> Result<()> {
        match self.target_project.as_deref() {
            None | Some("" | "default") => Ok(()),
            Some(project) => bail!("There is no project \"{project}\": servers have the project default only (leave --target-project out)"),
        }
    }
}

impl Overrides {
    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.config.is_empty() && self.has_no_devices() && self.profiles.is_empty() && !self.no_profiles
    }

    /// Whether nothing of the source has to be known for them.
    fn has_no_devices(&self) -> bool {
        self.devices.is_empty() && self.storage.is_none()
    }

    /// The profiles, where they are not the source's.
    fn profiles(&self) -> Option<Vec<String>> {
        let named = self.profiles.iter().filter(|profile| !profile.is_empty());
        (self.no_profiles || !self.profiles.is_empty()).then(|| named.cloned().collect())
    }

    /// Puts them into a request of a server that adds the source's own.
    pub async fn apply_here(&self, client: &Client, (source, post): (&str, &mut InstancesPost)) -> Result<()> {
        post.config = self.config();
        post.profiles = self.profiles();
        if !self.has_no_devices() {
            let source: Instance = client.get(&instance_path(source)).await?;
            post.devices = self.changed_devices(&source)?;
        }
        Ok(())
    }

    fn config(&self) -> Config {
        self.config.iter().map(|KeyValue(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The devices that are other ones than the source's.
    fn changed_devices(&self, source: &Instance) -> Result<Devices> {
        let mut devices = Devices::new();
        DeviceKey::apply(&self.devices, &source.expanded_devices, &mut devices);
        if let Some(pool) = &self.storage {
            let is_root = |device: &Config| {
                device.get("type").is_some_and(|kind| kind == "disk") && device.get("path").is_some_and(|path| path == "/")
            };
            let root =
                source.expanded_devices.iter().find(|(_, device)| is_root(device)).map(|(name, device)| (name.clone(), device.clone()));
            // Where no profile has one either: as `lxc init -s` makes it.
            let disk = || [("type", "disk"), ("path", "/")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            let (name, device) = root.unwrap_or_else(|| ("root".to_owned(), disk()));
            devices.entry(name).or_insert(device).insert("pool".to_owned(), pool.clone());
        }
        Ok(devices)
    }
}

/// An instance that is to be made on another server.
#[derive(Debug)]
pub struct Journey<'a> {
    /// Where it is: a container, or a snapshot of one.
    pub source: &'a Target,
    /// Where it goes; without a name it keeps its own.
    pub destination: &'a Target,
    /// How it gets there.
    pub way: &'a Way,
    /// How it differs then.
    pub overrides: &'a Overrides,
    /// It is the same one, which the server it comes from will not have any more.
    pub is_move: bool,
    /// It is ephemeral there.
    pub is_ephemeral: bool,
    /// It is there already, and is to be brought up to date.
    pub is_refresh: bool,
}

impl Journey<'_> {
    /// Takes it there; its name there, and the source as it was before.
    pub async fn travel(&self, app: &App) -> Result<(String, Instance)> {
        let (from, to) = (app.client(&self.source.remote)?, app.client(&self.destination.remote)?);
        let source: Instance = from.get(&instance_path(&self.source.name)).await?;
        let (instance, snapshot) = split_snapshot(&self.source.name);
        let name = if self.destination.name.is_empty() { instance } else { self.destination.name.as_str() };
        let is_live = snapshot.is_none() && !self.way.stateless && !self.is_refresh && is_running(&source);
        let instance_only = self.way.instance_only || snapshot.is_some();
        let offer = InstancePost {
            // Of a snapshot, which keeps it.
            name: snapshot.unwrap_or_default().to_owned(),
            migration: true,
            live: is_live,
            instance_only,
            container_only: instance_only,
            ..InstancePost::default()
        };
        let transfer = Transfer {
            from: Side { client: &from, remote: &self.source.remote },
            to: Side { client: &to, remote: &self.destination.remote },
            mode: self.way.mode,
            offer: Ask::new(instance_path(&self.source.name), &offer)?,
            order: Ask::new(path(&["instances"]), &self.post(name, &source, (is_live, instance_only))?)?,
            push_extension: PUSH,
            label: "Transferring container",
        };
        let done: Result<Operation> = transfer.run(app).await;
        warnings::show(&done.map_err(|error| if is_live { with_remedy(error, instance) } else { error })?);
        Ok((name.to_owned(), source))
    }

    /// The request of the target, but for how it connects.
    fn post(&self, name: &str, source: &Instance, (live, instance_only): (bool, bool)) -> Result<InstancesPost> {
        let mut config = source.config.clone();
        if !self.is_move {
            config.retain(|key, _| !key.starts_with(VOLATILE) || COPIED_VOLATILE.contains(&key.as_str()));
        }
        config.extend(self.overrides.config());
        let mut devices = source.devices.clone();
        devices.extend(self.overrides.changed_devices(source)?);
        let mut post = InstancesPost {
            name: name.to_owned(),
            architecture: source.architecture.clone(),
            config,
            description: source.description.clone(),
            devices,
            ephemeral: self.is_ephemeral || (self.is_move && source.ephemeral),
            profiles: Some(self.overrides.profiles().unwrap_or_else(|| source.profiles.clone())),
            ..InstancesPost::default()
        };
        post.source = Source {
            kind: "migration".to_owned(),
            live,
            instance_only,
            container_only: instance_only,
            refresh: self.is_refresh,
            ..Source::default()
        };
        Ok(post)
    }
}

/// Whether an instance has processes.
pub fn is_running(instance: &Instance) -> bool {
    !matches!(instance.status_code, StatusCode::STOPPED | StatusCode::ERROR) && !instance.status.is_empty()
}

/// What can be done where a running state cannot go along, unless the server has said it.
fn with_remedy(error: anyhow::Error, name: &str) -> anyhow::Error {
    if format!("{error:#}").contains("--stateless") {
        return error;
    }
    error.context(format!("{name} is running and could not be taken along as it is (--stateless leaves its running state behind)"))
}

/// Refuses a missing name of a source.
pub fn ensure_named(target: &Target) -> Result<()> {
    (!target.name.is_empty()).then_some(()).context("You must specify a source container name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(devices: &[&str], storage: Option<&str>) -> Overrides {
        let devices = devices.iter().map(|text| text.parse().expect("valid")).collect();
        Overrides { config: Vec::new(), devices, profiles: Vec::new(), no_profiles: false, storage: storage.map(str::to_owned) }
    }

    fn device(keys: &[(&str, &str)]) -> Config {
        keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn devices_differ_by_keys() {
        let root = device(&[("type", "disk"), ("path", "/"), ("pool", "default")]);
        let source = Instance { expanded_devices: [("disk0".to_owned(), root)].into(), ..Instance::default() };
        let changed = overrides(&["disk0,size=1GB", "new,type=none"], Some("fast")).changed_devices(&source).expect("devices");
        assert_eq!(changed["disk0"], device(&[("type", "disk"), ("path", "/"), ("pool", "fast"), ("size", "1GB")]));
        assert_eq!(changed["new"], device(&[("type", "none")]));
        let bare = overrides(&[], Some("fast")).changed_devices(&Instance::default()).expect("devices");
        assert_eq!(bare["root"], device(&[("type", "disk"), ("path", "/"), ("pool", "fast")]));
    }

    /// What the server keeps for itself goes along with a move only.
    #[test]
    fn volatile_keys() {
        let target = Target { remote: "a".into(), name: "c1".into(), is_explicit: true };
        let way = Way { mode: Mode::Pull, stateless: false, instance_only: false, allow_inconsistent: false, target_project: None };
        let overrides = overrides(&[], None);
        let keys = [("user.a", "1"), ("volatile.base_image", "f"), ("volatile.eth0.hwaddr", "00:16:3e:00:00:01")];
        let source = Instance { config: device(&keys), ephemeral: true, ..Instance::default() };
        let post = |is_move| {
            let (is_ephemeral, is_refresh) = (false, false);
            let journey =
                Journey { source: &target, destination: &target, way: &way, overrides: &overrides, is_move, is_ephemeral, is_refresh };
            journey.post("c1", &source, (false, false)).expect("request")
        };
        assert_eq!((post(true).config.len(), post(true).ephemeral), (3, true));
        assert_eq!((post(false).config.len(), post(false).ephemeral), (2, false));
        assert_eq!(post(false).config["volatile.base_image"], "f");
    }
}
