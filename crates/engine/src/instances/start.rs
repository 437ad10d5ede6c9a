//! Starting: from a record to a running init.

use std::sync::Arc;

use api::{Config, Timestamp};
use keys::instance::{LINUX_KERNEL_MODULES, volatile};
use runtime::{Container, ContainerSpec, Rootfs};
use storage::VolumeRef;

use super::expand::{Expanded, expand_record};
use super::{Instances, spec, templates};
use crate::devices::{self, Owner};
use crate::error::Context;
use crate::records::InstanceRecord;
use crate::{Error, Result};

/// Everything that was worked out before anything is done.
struct Prepared {
    spec: ContainerSpec,
    /// Configuration with the values generated for this start.
    expanded: Expanded,
    /// Keys to store once it runs.
    volatile: Config,
}

impl Instances {
    /// Starts a stopped instance; the caller holds its permit.
    pub(crate) fn start_held(&self, name: &str) -> Result<()> {
        let held = self.record(name)?;
        if self.engine.live.get(name).is_some() {
            return Err(Error::bad_request("The container is already running"));
        }
        let prepared = self.prepare(name, &held)?;
        for (network, host) in self.engine.hosts_of(name, &prepared.expanded.config, &prepared.expanded.devices) {
            self.engine.announce_host(&network, host);
        }
        let container = self.engine.runtime.start(&prepared.spec).context(format!("start container `{name}`"))?;
        self.engine.live.insert(name, container.clone());
        if let Err(error) = self.remember_start(name, &prepared.volatile) {
            self.abandon(name, &container);
            return Err(error);
        }
        if keys::instance::LIMITS_CPU.text(&prepared.expanded.config).is_some() {
            self.rebalance_cpus();
        }
        self.engine.lifecycle("instance-started", "instances", name);
        Ok(())
    }

    fn prepare(&self, name: &str, record: &InstanceRecord) -> Result<Prepared> {
        let engine = &self.engine;
        let mut expanded = expand_record(&engine.records, record);
        let volatile = devices::generate_volatile(&expanded.devices, &expanded.config, || uuid::Uuid::new_v4().as_u128());
        expanded.config.extend(volatile.clone());
        load_modules(&expanded.config)?;
        for network in expanded.devices.values().filter_map(devices::managed_network) {
            if engine.records.networks.contains(network) {
                engine.ensure_network(network)?;
            }
        }
        let parts = self.with_owner(name, &expanded.config, |owner| devices::parts(&expanded.devices, owner))?;
        let pool = engine.pool(&record.pool)?;
        let volume = VolumeRef::instance(name);
        let rootfs = runtime_rootfs(pool.rootfs(&volume).context(format!("look at the volume of `{name}`"))?);
        let idmap = self.claim_ids(name)?;
        templates::apply(&templates::Subject { name, record, expanded: &expanded, volume: &pool.dir(&volume), rootfs: &rootfs })?;
        let idmapped = self.settle_ids(name, (&*pool, &volume), &rootfs, &idmap)?;
        let spec = spec::build(spec::Input {
            name,
            config: &expanded.config,
            idmap,
            rootfs,
            idmapped,
            parts: &parts,
            limits: self.limits_for(name, &expanded.config),
            personality_32: engine.host.is_personality_32(&record.architecture),
        });
        Ok(Prepared { spec, expanded, volatile })
    }

    /// Calls with what the devices of an instance may know.
    pub(super) fn with_owner<T>(&self, name: &str, config: &Config, call: impl FnOnce(&Owner<'_>) -> T) -> T {
        let engine = &self.engine;
        let devices_dir = engine.config.dir.join("devices").join(name);
        call(&Owner { name, config, devices_dir: &devices_dir, bridge: &|network| engine.bridge_facts(network) })
    }

    /// The one durable change of a start.
    fn remember_start(&self, name: &str, generated: &Config) -> Result<()> {
        let now = Timestamp::now();
        let found = self.engine.records.modify::<InstanceRecord>(name, |record| {
            record.config.extend(generated.iter().map(|(key, value)| (key.clone(), value.clone())));
            record.config.remove(volatile::APPLY_TEMPLATE.name);
            volatile::LAST_STATE_POWER.set(&mut record.config, "RUNNING");
            record.last_used_at = now;
        })?;
        found.map(drop).ok_or_else(|| Error::not_found(format!("Instance '{name}' not found")))
    }

    /// Takes a start back whose record could not be written.
    fn abandon(&self, name: &str, container: &Arc<Container>) {
        if let Err(error) = container.kill() {
            tracing::warn!(instance = name, "undo: kill the container: {error}");
        }
        if container.wait_exit(Some(super::stop::KILL_PATIENCE)).is_none() {
            tracing::warn!(instance = name, "undo: the killed container does not end");
        }
        self.engine.live.remove(name);
    }
}

/// Loads the modules of `linux.kernel_modules` that are not there yet.
pub(crate) fn load_modules(config: &Config) -> Result<()> {
    let Some(text) = LINUX_KERNEL_MODULES.text(config) else { return Ok(()) };
    for module in text.split(',').map(str::trim).filter(|module| !module.is_empty()) {
        if sys::fs::exists(format!("/sys/module/{}", module.replace('-', "_"))) {
            continue;
        }
        let result = sys::cmd::Cmd::new("modprobe", "kmod").arg("-b").arg("--").arg(module).run();
        result.context(format!("Failed to load kernel module '{module}'"))?;
    }
    Ok(())
}

/// The same thing in the words of the runtime.
pub(crate) fn runtime_rootfs(rootfs: storage::Rootfs) -> Rootfs {
    match rootfs {
        storage::Rootfs::Dir { path } => Rootfs::Dir { path },
        storage::Rootfs::Overlay { lower, upper, work } => Rootfs::Overlay { lower, upper, work },
    }
}
