//! Changing an instance: PUT, PATCH, and the echo of a changed profile. What can change while it
//! runs does; any failure puts everything back.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Config;
use api::instances::InstancePut;
use keys::devices::disk;
use keys::instance::{LIMITS_CPU, RAW_APPARMOR, volatile};
use runtime::Nic;
use serde_json::Value;

use super::Instances;
use super::admission::Action;
use super::create::{check_expanded, clean, set_quota};
use super::expand::{Expanded, expand_record};
use crate::devices::{self, Part, Parts};
use crate::error::Context;
use crate::live::Run;
use crate::operations::{New, Operation};
use crate::records::{Held, InstanceRecord};
use crate::sync::lock;
use crate::undo::Undo;
use crate::{Error, ErrorKind, Result, etag, host, patch};

/// Volatile keys that a request cannot lose by leaving them out: without them the instance would
/// forget what it is. All others stay only where a request names no volatile key whatever: then its
/// sender does not know them, and does not mean that cards get new addresses.
const STICKY: &[&str] = &[volatile::IDMAP_BASE.name, volatile::LAST_STATE_IDMAP.name, volatile::LAST_STATE_POWER.name, volatile::UUID.name];

impl Instances {
    /// Replaces the writable parts, or restores a snapshot (`restore` not empty).
    pub fn update(&self, name: &str, request: InstancePut, if_match: Option<&str>) -> Result<Arc<Operation>> {
        let held = self.record(name)?;
        let (this, instance) = (self.clone(), name.to_owned());
        if !request.restore.is_empty() {
            let restore = move |_: &Arc<Operation>| this.restore(&instance, &request.restore).map(|()| None);
            return self.engine.operations.run(New::instance("Restoring snapshot", name), restore);
        }
        etag::check(if_match, &tagged_parts(&held))?;
        let sent = if_match.map(str::to_owned);
        self.engine
            .operations
            .run(New::instance("Updating instance", name), move |_| this.update_now(&instance, request, sent.as_deref()).map(|()| None))
    }

    /// Changes only what `patch` names; `config` and `devices` are merged by key. Done on return.
    pub fn patch(&self, name: &str, patch: Value, if_match: Option<&str>) -> Result<()> {
        let record = self.record(name)?;
        etag::check(if_match, &tagged_parts(&record))?;
        let current = InstancePut {
            architecture: record.architecture.clone(),
            config: record.config.clone(),
            description: record.description.clone(),
            devices: record.devices.clone(),
            ephemeral: record.ephemeral,
            profiles: Some(record.profiles.clone()),
            ..InstancePut::default()
        };
        self.update_now(name, patch::apply(&current, patch)?, if_match)
    }

    fn update_now(&self, name: &str, request: InstancePut, if_match: Option<&str>) -> Result<()> {
        let engine = &self.engine;
        let _permit = engine.gates.permit(name, Action::Update)?;
        let held = self.record(name)?;
        etag::check(if_match, &tagged_parts(&held))?;
        let mut record = requested(&held, request);
        let mut after = self.checked(&record)?;
        let _volumes = engine.use_volumes(&after.devices)?;
        self.check_pool_unchanged(&held, &after)?;
        let before = expand_record(&engine.records, &held);
        forget_removed_cards(&mut record.config, &before, &after);
        let run = engine.live.get(name);
        let mut undo = Undo::default();
        self.change_quota(&held.pool, name, (&before, &after), &mut undo)?;
        if let Some(run) = &run {
            let new = devices::generate_volatile(&after.devices, &after.config, || uuid::Uuid::new_v4().as_u128());
            record.config.extend(new.clone());
            after.config.extend(new);
            self.change_live(run, (&before, &after), &mut undo)?;
        }
        self.store(name, &held, record, idmap_keys(&before.config) != idmap_keys(&after.config))?;
        undo.keep();
        self.after_change(name, &before, &after);
        engine.lifecycle("instance-updated", "instances", name);
        Ok(())
    }

    /// Stores the changed record. The lock on ids comes last: nobody waits for a guest with it.
    fn store(&self, name: &str, held: &Held<InstanceRecord>, mut record: InstanceRecord, new_ids: bool) -> Result<()> {
        let _allocation = new_ids.then(|| lock(&self.engine.id_allocation));
        if new_ids {
            self.allocate_ids(name, &mut record)?;
        }
        let mut changes = self.engine.records.changes();
        changes.update(name, held, record)?;
        changes.commit()
    }

    /// Applies what a changed profile means for one instance; `before` is what it had.
    pub(crate) fn reapply(&self, name: &str, before: &Expanded) -> Result<()> {
        let engine = &self.engine;
        let _permit = engine.gates.permit(name, Action::Update)?;
        let held = self.record(name)?;
        let mut after = self.checked(&held)?;
        let run = engine.live.get(name);
        let mut undo = Undo::default();
        self.change_quota(&held.pool, name, (before, &after), &mut undo)?;
        if let Some(run) = &run {
            let new = devices::generate_volatile(&after.devices, &after.config, || uuid::Uuid::new_v4().as_u128());
            after.config.extend(new.clone());
            self.change_live(run, (before, &after), &mut undo)?;
            engine.records.modify::<InstanceRecord>(name, |record| record.config.extend(new.clone()))?;
        }
        if idmap_keys(&before.config) != idmap_keys(&after.config) {
            self.claim_ids(name)?;
        }
        undo.keep();
        self.after_change(name, before, &after);
        Ok(())
    }

    /// Checks what an instance would run with after a change of a profile.
    pub(crate) fn check_expanded(&self, held: &InstanceRecord, after: &Expanded) -> Result<()> {
        check_expanded(after)?;
        self.check_apparmor(after)?;
        self.check_pool_unchanged(held, after)
    }

    fn check_pool_unchanged(&self, held: &InstanceRecord, after: &Expanded) -> Result<()> {
        let pool = keys::devices::root_disk(&after.devices)?.and_then(|(_, device)| disk::POOL.text(device));
        if pool.is_some_and(|pool| pool != held.pool) {
            return Err(
                Error::bad_request("The storage pool of the root disk cannot be changed").hint("copy the instance into the other pool")
            );
        }
        Ok(())
    }

    fn change_quota<'a>(&self, pool: &str, name: &'a str, (before, after): (&'a Expanded, &Expanded), undo: &mut Undo<'a>) -> Result<()> {
        let size = |expanded: &Expanded| {
            keys::devices::root_disk(&expanded.devices).ok().flatten().and_then(|(_, device)| disk::SIZE.text(device).map(str::to_owned))
        };
        if size(before) == size(after) {
            return Ok(());
        }
        let pool = self.engine.pool(pool)?;
        set_quota(&*pool, name, &after.devices, true)?;
        undo.push("put the old size limit back", move || set_quota(&*pool, name, &before.devices, true));
        Ok(())
    }

    /// Changes a running instance: devices away, devices new, limits.
    fn change_live<'a>(&'a self, run: &'a Arc<Run>, (before, after): (&'a Expanded, &'a Expanded), undo: &mut Undo<'a>) -> Result<()> {
        let container = &run.container;
        if before.config.get("linux.kernel_modules") != after.config.get("linux.kernel_modules") {
            super::start::load_modules(&after.config)?;
        }
        let mut old = devices::parts_of(&container.spec());
        let new =
            self.with_owner(container.name(), &after.config, |owner| devices::parts_after(&old, (&before.devices, &after.devices), owner))?;
        self.filter_cards(&new, (before, after))?;
        let had = old.clone();
        undo.push("put the old filters of its cards back", move || self.filter_cards(&had, (after, before)));
        let gone = old.iter().filter_map(|(name, part)| match part {
            Part::Nic(nic) if !new.contains_key(name) => Some((name.clone(), nic.clone())),
            _ => None,
        });
        let gone: BTreeMap<String, Nic> = gone.collect();
        for (name, part) in &new {
            if old.get(name).is_some_and(|old| old.is_adjustable_to(part)) {
                devices::adjust(container, name, part)?;
                let (name, before) = (name.clone(), old.insert(name.clone(), part.clone()));
                undo.push("change a device back", move || before.map_or(Ok(()), |before| devices::adjust(&run.container, &name, &before)));
            }
        }
        for (name, part) in ordered(&old).into_iter().rev().filter(|(name, part)| new.get(name) != Some(part)) {
            devices::detach(container, &name, &part)?;
            undo.push("give a device back", move || devices::attach(&run.container, &name, &part));
        }
        for (name, part) in ordered(&new).into_iter().filter(|(name, part)| old.get(name) != Some(part)) {
            devices::attach(container, &name, &part)?;
            undo.push("take a device away again", move || devices::detach(&run.container, &name, &part));
        }
        self.change_apparmor(run, (&before.config, &after.config), undo)?;
        self.change_limits(run, (before, after), undo)?;
        self.lift_filters(&gone, before);
        Ok(())
    }

    /// Rules of the AppArmor profile.
    fn change_apparmor<'a>(&self, run: &'a Run, (before, after): (&Config, &Config), undo: &mut Undo<'a>) -> Result<()> {
        if RAW_APPARMOR.text(before) == RAW_APPARMOR.text(after) {
            return Ok(());
        }
        let changed = run.container.change_apparmor(RAW_APPARMOR.text(after).unwrap_or_default());
        let old = changed.context_as(ErrorKind::BadRequest, "change the AppArmor profile of the running container")?;
        undo.push("put the old AppArmor profile back", move || run.container.change_apparmor(&old).map(drop));
        Ok(())
    }

    /// All limits or, on failure, none. It keeps its processors unless others are asked for.
    fn change_limits<'a>(&self, run: &'a Run, (before, after): (&Expanded, &Expanded), undo: &mut Undo<'a>) -> Result<()> {
        let mut new = self.limits_for(run.container.name(), after)?;
        let keeps_cpus = LIMITS_CPU.text(&before.config) == LIMITS_CPU.text(&after.config);
        let changed = run.container.change_limits(|now| {
            if keeps_cpus {
                new.cpus.clone_from(&now.cpus);
            }
            new
        });
        let old = changed.map_err(|error| {
            let in_use = error.errno() == Some(sys::Errno::BUSY);
            let failed = Error::bad_request("change the limits of the running container").caused_by(error);
            if in_use { failed.hint("it uses more than that now") } else { failed }
        })?;
        undo.push("put the old limits back", move || run.container.change_limits(|_| old).map(drop));
        Ok(())
    }

    /// What others are to know of a change that is done.
    fn after_change(&self, name: &str, before: &Expanded, after: &Expanded) {
        let engine = &self.engine;
        let (old, new) = (engine.hosts_of(name, &before.config, &before.devices), engine.hosts_of(name, &after.config, &after.devices));
        for (network, host) in old.iter().filter(|entry| !new.contains(entry)) {
            engine.withdraw_host(network, &host.hwaddr);
        }
        for (network, host) in new.into_iter().filter(|entry| !old.contains(entry)) {
            engine.announce_host(&network, host);
        }
        if before.config.get("limits.cpu") != after.config.get("limits.cpu") {
            self.rebalance_cpus();
        }
        if let Some(run) = engine.live.get(name) {
            engine.guests().changed(&run.container.spec(), before, after);
            if before.devices != after.devices {
                engine.hotplug.look_again();
            }
        }
    }
}

/// The record that a PUT asks for.
fn requested(held: &Held<InstanceRecord>, request: InstancePut) -> InstanceRecord {
    let mut record = InstanceRecord::clone(&held.record);
    let (mut config, mut devices) = (request.config, request.devices);
    let is_volatile = |key: &str| key.starts_with(volatile::PREFIX);
    let knows_volatile = config.keys().any(|key| is_volatile(key));
    for (key, value) in held.config.iter().filter(|(key, _)| is_volatile(key)) {
        if !knows_volatile || STICKY.contains(&key.as_str()) {
            config.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    config.remove(volatile::LAST_STATE_READY.name);
    clean(&mut config, &mut devices);
    if let Some(architecture) = host::architecture(&request.architecture) {
        record.architecture = architecture.to_owned();
    }
    record.config = config;
    record.description = request.description;
    record.devices = devices;
    record.ephemeral = request.ephemeral;
    if let Some(profiles) = request.profiles {
        record.profiles = profiles;
    }
    record
}

/// Drops the generated values of cards that are gone.
fn forget_removed_cards(config: &mut Config, before: &Expanded, after: &Expanded) {
    for name in before.devices.keys().filter(|name| !after.devices.contains_key(*name)) {
        for what in ["hwaddr", "name", "host_name"] {
            config.remove(&volatile::device(name, what));
        }
    }
}

fn idmap_keys(config: &Config) -> Vec<Option<&String>> {
    const KEYS: &[&str] = &["raw.idmap", "security.idmap.base", "security.idmap.isolated", "security.idmap.size", "security.privileged"];
    KEYS.iter().map(|key| config.get(*key)).collect()
}

/// Nodes, then cards, then disks, parents before what is mounted inside them.
fn ordered(parts: &Parts) -> Vec<(String, Part)> {
    let mut list: Vec<_> = parts.iter().map(|(name, part)| (name.clone(), part.clone())).collect();
    list.sort_by_key(|(_, part)| match part {
        Part::Nodes(nodes) => (0, nodes.first().map(|node| node.target.clone()).unwrap_or_default()),
        Part::Nic(nic) => (1, nic.name.clone().into()),
        Part::Disk(bind) => (2, bind.target.clone()),
    });
    list
}

/// What an instance's ETag covers.
pub(super) fn tagged_parts(record: &InstanceRecord) -> (&str, &Config, &str, &api::Devices, bool, &[String]) {
    (&record.architecture, &record.config, &record.description, &record.devices, record.ephemeral, &record.profiles)
}
