//! Starting: from a record to a running init.

use api::{Config, Timestamp};
use keys::instance::{LINUX_KERNEL_MODULES, volatile};
use runtime::{ContainerSpec, Rootfs};
use storage::{Pool, Subvolumes, VolumeRef};

use super::expand::{Expanded, expand_record};
use super::stateful::Origin;
use super::{Instances, spec, templates};
use crate::devices::{self, Owner};
use crate::error::Context;
use crate::records::{Held, InstanceRecord, IntentRecord};
use crate::sync::read;
use crate::undo::Undo;
use crate::{Error, Result, points};

/// Everything that was worked out before anything is done.
struct Prepared {
    spec: ContainerSpec,
    /// Configuration with the values generated for this start.
    expanded: Expanded,
    /// Keys to store before it runs.
    volatile: Config,
}

impl Instances {
    /// Starts a stopped instance; the caller holds its permit.
    pub(crate) fn start_held(&self, name: &str) -> Result<()> {
        self.settle_leftover(name)?;
        let held = self.record(name)?;
        let origin = if held.stateful && self.engine.live.get(name).is_none() {
            let origin = Origin::open(self.state_dir(name, &held)?, name).and_then(|origin| origin.verified(name));
            Some(origin.map_err(|error| kept(name, error))?)
        } else {
            None
        };
        let Some(origin) = origin else { return self.start_from(name, None) };
        // A daemon that dies here must not let anything go on twice; and what ended before does not count.
        self.engine.runtime.forget(name);
        let mut changes = self.engine.records.changes();
        changes.put(name, IntentRecord::Resuming { snapshot: None })?;
        changes.commit()?;
        let started = self.start_from(name, Some(&origin)).map_err(|error| kept(name, error));
        // It has gone on; what was saved is the past.
        let result = started.and_then(|()| self.discard_state(name));
        result.and(self.forget_intent(name))
    }

    /// Starts afresh, or lets it go on from a saved state.
    pub(super) fn start_from(&self, name: &str, origin: Option<&Origin>) -> Result<()> {
        // The shutdown waits for this; after that it sees the flag.
        let _starting = read(&self.engine.starts);
        if self.engine.is_shutting_down() {
            return Err(Error::unavailable("the daemon is shutting down"));
        }
        self.settle_leftover(name)?;
        let held = self.record(name)?;
        if self.engine.live.get(name).is_some() {
            return Err(Error::bad_request("The container is already running"));
        }
        self.engine.runtime.renew_log(name);
        let started = self.start_settled(name, &held, origin);
        started.inspect_err(|error| self.engine.runtime.log_failed_start(name, &error.report()))
    }

    /// Starts what nothing is left of.
    fn start_settled(&self, name: &str, held: &Held<InstanceRecord>, origin: Option<&Origin>) -> Result<()> {
        let prepared = self.prepare(name, held, origin)?;
        // None of its volumes gets another content until it is known to run.
        let _volumes = self.engine.use_volumes(&prepared.expanded.devices)?;
        for (network, host) in self.engine.hosts_of(name, &prepared.expanded.config, &prepared.expanded.devices) {
            self.engine.announce_host(&network, host);
        }
        let mut undo = Undo::default();
        self.remember_start(name, &prepared.volatile)?;
        undo.push("store that it does not run", || self.forget_start(name, held));
        self.filter_cards(&devices::parts_of(&prepared.spec), (&Expanded::default(), &prepared.expanded))?;
        undo.push("lift the filters of its cards", || {
            self.lift_all_filters(name);
            Ok::<_, Error>(())
        });
        // Before it runs: some look for the socket first thing.
        self.engine.guests().admit(name, &prepared.spec)?;
        undo.push("close the guest API", || {
            self.engine.guests().forget(name);
            Ok::<_, Error>(())
        });
        points::reach("start.stored");
        let container = match origin {
            None => self.engine.runtime.start(&prepared.spec).context(format!("start container `{name}`"))?,
            Some(Origin { criu, images, .. }) => {
                let resumed = self.engine.runtime.resume(&prepared.spec, images, criu);
                resumed.context(format!("restore the running state of `{name}`"))?
            }
        };
        undo.keep();
        points::reach("start.launched");
        self.engine.live.insert(name, container);
        if keys::instance::LIMITS_CPU.text(&prepared.expanded.config).is_some() {
            self.rebalance_cpus();
        }
        self.engine.hotplug.look_again();
        if origin.is_none() {
            self.take_startup_snapshot(name, &prepared.expanded.config);
        }
        self.engine.lifecycle("instance-started", "instances", name);
        Ok(())
    }

    fn prepare(&self, name: &str, record: &InstanceRecord, origin: Option<&Origin>) -> Result<Prepared> {
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
        // Whoever goes on finds the files as they were.
        if origin.is_none() {
            templates::apply(&templates::Subject { name, record, expanded: &expanded, volume: &pool.dir(&volume), rootfs: &rootfs })?;
        }
        let idmapped = self.settle_ids(name, (&*pool, &volume), &rootfs, &idmap)?;
        let spec = spec::build(spec::Input {
            name,
            config: &expanded.config,
            idmap,
            rootfs,
            idmapped,
            parts: &parts,
            guest_api: engine.guests().dir(name),
            limits: self.limits_for(name, &expanded)?,
            subvolumes: self.subvolumes_for(&*pool, name, &expanded)?,
            personality_32: engine.host.is_personality_32(&record.architecture),
        });
        if let Some(reason) = origin.and_then(|origin| origin.state.conflict(&spec)) {
            return Err(Error::bad_request(format!("The running state of `{name}` does not fit its configuration: {reason}"))
                .hint("put the configuration back as it was, or start it without the state (`lxc start --stateless`)"));
        }
        Ok(Prepared { spec, expanded, volatile })
    }

    /// Which subvolumes it may make, so that no volume that it sees gets past its limit by way of them.
    fn subvolumes_for(&self, pool: &dyn Pool, name: &str, expanded: &Expanded) -> Result<Subvolumes> {
        let looked = |volume: &str| format!("look at the limit of volume `{volume}`");
        let mut allowed = pool.keep_to_limit(name).context(looked(name))?;
        for (pool, volume) in expanded.devices.values().filter_map(keys::devices::disk::volume) {
            // What is optional may be absent.
            if self.engine.records.volumes.contains(&format!("{pool}/{volume}")) {
                let custom = self.engine.custom_volumes(pool)?;
                allowed = allowed.max(custom.keep_to_limit(volume).context(looked(volume))?);
            }
        }
        Ok(allowed)
    }

    /// Calls with what the devices of an instance may know.
    pub(crate) fn with_owner<T>(&self, name: &str, config: &Config, call: impl FnOnce(&Owner<'_>) -> T) -> T {
        let engine = &self.engine;
        let devices_dir = engine.config.dir.join("devices").join(name);
        let volume = |pool: &str, volume: &str| engine.volume_content(pool, volume);
        call(&Owner {
            name,
            config,
            devices_dir: &devices_dir,
            sysfs: std::path::Path::new("/sys"),
            bridge: &|network| engine.bridge_facts(network),
            volume: &volume,
        })
    }

    /// The one durable change of a start. It comes first: a container never runs with values that
    /// are not stored, and a start that a crash interrupts is made up for by the next daemon.
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

    /// Takes [`Self::remember_start`] back; generated values may stay.
    fn forget_start(&self, name: &str, before: &Held<InstanceRecord>) -> Result<()> {
        let modified = self.engine.records.modify::<InstanceRecord>(name, |record| {
            for key in [volatile::APPLY_TEMPLATE.name, volatile::LAST_STATE_POWER.name] {
                match before.config.get(key) {
                    Some(value) => drop(record.config.insert(key.to_owned(), value.clone())),
                    None => drop(record.config.remove(key)),
                }
            }
            record.last_used_at = before.last_used_at;
        });
        modified.map(drop)
    }
}

/// Says that nothing is lost by a restore that failed.
fn kept(name: &str, error: Error) -> Error {
    Error::new(error.kind(), format!("`{name}` stays stopped, its saved running state is kept"))
        .caused_by(std::io::Error::other(error.report()))
        .hint(format!("`lxc start {name} --stateless` starts it afresh and discards the state; `lxc info {name} --show-log` has the log"))
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
