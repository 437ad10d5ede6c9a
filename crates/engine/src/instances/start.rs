//! Starting: from a record to a running init.

use std::sync::Arc;

use api::{Config, Timestamp};
use keys::instance::{LINUX_KERNEL_MODULES, volatile};
use runtime::{Container, ContainerSpec, Rootfs};
use storage::{Pool, VolumeRef};
use sys::idmap::IdMap;

use super::expand::{Expanded, expand_record};
use super::{Instances, idmap, limits, spec, templates};
use crate::devices::{self, Owner, Parts};
use crate::error::Context;
use crate::records::InstanceRecord;
use crate::{Error, Result};

/// File systems whose mounts can map ids (`f_type` of statfs(2)).
const IDMAP_FILE_SYSTEMS: &[i64] = &[
    0xef53,      // ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0xf2f5_2010, // f2fs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
];

/// Everything that was worked out before anything is done.
struct Prepared {
    spec: ContainerSpec,
    parts: Parts,
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
        self.engine.live.insert(name, container.clone(), prepared.parts);
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
        let mut volatile = devices::generate_volatile(&expanded.devices, &expanded.config, || uuid::Uuid::new_v4().as_u128());
        expanded.config.extend(volatile.clone());
        load_modules(&expanded.config)?;
        for network in expanded.devices.values().filter_map(devices::managed_network) {
            if engine.records.networks.contains(network) {
                engine.ensure_network(network)?;
            }
        }
        let parts = self.parts(name, &expanded)?;
        let pool = engine.pool(&record.pool)?;
        let volume = VolumeRef::instance(name);
        let rootfs = runtime_rootfs(pool.rootfs(&volume).context(format!("look at the volume of `{name}`"))?);
        let idmap = idmap::idmap(&expanded.config, &engine.host_ids, &[])?;
        templates::apply(&templates::Subject { name, record, expanded: &expanded, volume: &pool.dir(&volume), rootfs: &rootfs })?;
        let idmapped = self.settle_ids((&*pool, &volume), &rootfs, &idmap, (&expanded.config, &mut volatile))?;
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
        Ok(Prepared { spec, parts, expanded, volatile })
    }

    /// The parts of all devices of an instance.
    pub(crate) fn parts(&self, name: &str, expanded: &Expanded) -> Result<Parts> {
        let engine = &self.engine;
        let owner = Owner {
            name,
            config: &expanded.config,
            devices_dir: &engine.config.dir.join("devices").join(name),
            bridge: &|network| engine.bridge_facts(network),
        };
        devices::parts(&expanded.devices, &owner)
    }

    /// Sees to it that the ids on disk are what the start expects, and says whether they are to be
    /// mapped by the mount. Where the file system cannot, the tree is rewritten once.
    fn settle_ids(
        &self,
        (pool, volume): (&dyn Pool, &VolumeRef),
        rootfs: &Rootfs,
        idmap: &IdMap,
        (config, new): (&Config, &mut Config),
    ) -> Result<bool> {
        let magic = sys::fs::fs_magic(pool.dir(volume)).context("look at the file system of the pool")?;
        let idmapped = IDMAP_FILE_SYSTEMS.contains(&magic);
        let on_disk: IdMap = volatile::LAST_STATE_IDMAP.text(config).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let wanted = if idmapped { IdMap::default() } else { idmap.clone() };
        if on_disk != wanted {
            let root = runtime::open_rootfs(rootfs).context("open the root file system")?;
            storage::shift_tree(&root, &on_disk, &wanted).context("change the owners of the instance's files")?;
            let json = serde_json::to_string(&wanted).context("print the id map")?;
            new.insert(volatile::LAST_STATE_IDMAP.name.to_owned(), json);
        }
        Ok(idmapped)
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

    /// Limits with the processors that fall to it.
    pub(crate) fn limits_for(&self, name: &str, config: &Config) -> runtime::Limits {
        let mut limits = limits::limits(config, &self.engine.host.resources);
        if let Some(wish) = keys::instance::LIMITS_CPU.get(config) {
            let mut chosen = limits::balance([(name, wish)], &self.engine.host.resources.cpus);
            limits.cpus = chosen.remove(name);
        }
        limits
    }

    /// Spreads the running instances with `limits.cpu` anew over the processors.
    pub(crate) fn rebalance_cpus(&self) {
        let runs = self.engine.live.all();
        let wishes: Vec<_> = runs
            .iter()
            .filter_map(|run| {
                let record = self.engine.records.instances.get(run.container.name())?;
                let config = expand_record(&self.engine.records, &record).config;
                Some((run, keys::instance::LIMITS_CPU.get(&config)?, config))
            })
            .collect();
        if wishes.is_empty() {
            return;
        }
        let names = wishes.iter().map(|(run, wish, _)| (run.container.name(), wish.clone()));
        let mut chosen = limits::balance(names, &self.engine.host.resources.cpus);
        for (run, _, config) in &wishes {
            let mut limits = limits::limits(config, &self.engine.host.resources);
            limits.cpus = chosen.remove(run.container.name());
            if let Err(error) = run.container.set_limits(&limits) {
                tracing::warn!(instance = run.container.name(), "balance processors: {error}");
            }
        }
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
