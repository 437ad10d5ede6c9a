//! Storage pools.

use std::sync::Arc;

use api::storage_pools::{Resources, StoragePool, StoragePoolPut, StoragePoolsPost, StorageVolume, Usage};
use serde_json::Value;
use storage::{CustomVolumes, Pool, PoolSpec};

use crate::error::Context;
use crate::instances::expand::expand_record;
use crate::leases::{Lease, Leases};
use crate::records::PoolRecord;
use crate::slots::Slots;
use crate::warnings::Cause;
use crate::{Engine, Error, ErrorKind, Result, Tagged, etag, patch};

/// What the errors call it.
const KIND: &str = "storage pool";

/// A pool that is open.
#[derive(Clone)]
struct Opened {
    pool: Arc<dyn Pool>,
    custom: Arc<dyn CustomVolumes>,
}

impl Opened {
    fn open(spec: &PoolSpec) -> storage::Result<Self> {
        Ok(Self { pool: storage::open(spec)?, custom: storage::open_custom(spec)? })
    }
}

/// The pools that are open.
#[derive(Default)]
pub(crate) struct PoolTable {
    slots: Slots<Opened>,
    /// Shared by whoever makes something on a pool, held alone by whoever makes or removes the pool.
    leases: Leases,
    /// Held while a pool is opened: it is mounted once, and there is one object of it with its locks.
    opening: Leases,
    /// Of custom volumes, by `POOL/VOLUME`: held alone by whoever changes one.
    pub(crate) volumes: Leases,
}

impl PoolTable {
    pub(crate) fn expect(&self, names: &[String]) {
        self.slots.expect(names);
    }

    /// Any pool that is open, for the server's facts.
    pub(crate) fn drivers(&self) -> Vec<(String, String)> {
        let mut drivers: Vec<_> =
            self.slots.all_ready().iter().map(|Opened { pool, .. }| (pool.driver().to_owned(), pool.version())).collect();
        drivers.sort();
        drivers.dedup();
        drivers
    }
}

impl std::fmt::Debug for PoolTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolTable").finish_non_exhaustive()
    }
}

/// The storage pools of an engine.
#[derive(Clone, Debug)]
pub struct StoragePools {
    pub(crate) engine: Arc<Engine>,
}

impl Engine {
    /// An open pool. One that failed to open is tried again: the disk may be there by now.
    pub(crate) fn pool(&self, name: &str) -> Result<Arc<dyn Pool>> {
        self.opened_pool(name).map(|opened| opened.pool)
    }

    /// The custom volumes of an open pool.
    pub(crate) fn custom_volumes(&self, name: &str) -> Result<Arc<dyn CustomVolumes>> {
        self.opened_pool(name).map(|opened| opened.custom)
    }

    fn opened_pool(&self, name: &str) -> Result<Opened> {
        match self.pools.slots.get(KIND, name) {
            Err(error) if error.kind() == ErrorKind::Unavailable => self.open_pool(name).map_err(|_| error),
            other => other,
        }
    }

    /// Keeps a pool from being deleted while something is made on it. To be taken before the pool
    /// is looked up, and to be kept until the record of the new thing is stored.
    pub(crate) fn use_pool(&self, name: &str) -> Lease<'_> {
        self.pools.leases.share(name)
    }

    /// A pool that is open now.
    pub(crate) fn ready_pool(&self, name: &str) -> Option<Arc<dyn Pool>> {
        self.pools.slots.ready(name).map(|opened| opened.pool)
    }

    fn open_pool(&self, name: &str) -> Result<Opened> {
        let _turn = self.pools.opening.hold(name);
        // Another thread may have opened it meanwhile.
        match self.pools.slots.ready(name) {
            Some(opened) => Ok(opened),
            None => self.open_pool_held(name),
        }
    }

    /// The caller has its turn to open it.
    fn open_pool_held(&self, name: &str) -> Result<Opened> {
        let record = self.records.pools.get(name).ok_or_else(|| Error::not_found(format!("Storage pool '{name}' not found")))?;
        let result = Opened::open(&self.pool_spec(name, &record));
        let kept = match &result {
            Ok(opened) => Ok(opened.clone()),
            Err(error) => Err(chain(error)),
        };
        if result.is_ok() {
            self.resolve_warning(Cause::Pool, name);
        }
        self.pools.slots.set(name, kept);
        result.context(format!("open storage pool `{name}`"))
    }

    fn pool_spec(&self, name: &str, record: &PoolRecord) -> PoolSpec {
        PoolSpec {
            name: name.to_owned(),
            driver: record.driver.clone(),
            config: record.config.clone(),
            dir: self.config.dir.join("storage-pools").join(name),
            disks_dir: self.config.dir.join("disks"),
            id: record.id.clone(),
        }
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        source = error.source();
    }
    text
}

impl StoragePools {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Opens all pools, each on a thread of its own: one that hangs holds up no other.
    pub(crate) fn open_all(&self) {
        std::thread::scope(|scope| {
            for name in self.names() {
                scope.spawn(move || match self.engine.open_pool(&name).and_then(|_| self.engine.storage_volumes(&name)) {
                    Ok(volumes) => volumes.settle_all(),
                    Err(error) => {
                        self.engine.warn(Cause::Pool, &name, &error.report());
                        tracing::error!(pool = name, "{}", error.report());
                    }
                });
            }
        });
    }

    /// Names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.engine.records.pools.ids()
    }

    /// All pools.
    pub fn list(&self) -> Vec<StoragePool> {
        self.engine.records.pools.all().into_iter().map(|(name, record)| self.render(&name, &record)).collect()
    }

    /// One pool.
    pub fn get(&self, name: &str) -> Result<Tagged<StoragePool>> {
        let record = self.record(name)?;
        Ok(Tagged { value: self.render(name, &record), etag: etag::of(&tagged_parts(&record)) })
    }

    /// Makes a pool.
    pub fn create(&self, request: StoragePoolsPost) -> Result<()> {
        let StoragePoolsPost { name, driver, description, config } = request;
        keys::names::check_pool(&name)?;
        if !storage::driver_names().contains(&driver.as_str()) {
            let known = storage::driver_names().join(", ");
            return Err(Error::bad_request(format!("storage driver '{driver}' is not one of {known}")));
        }
        keys::storage_pool::validate(&driver, &config)?;
        storage::validate(&driver, &config).map_err(|error| Error::bad_request(error.to_string()))?;
        let _alone = self.engine.pools.leases.hold(&name);
        if self.engine.records.is_stored::<PoolRecord>(&name)? {
            return Err(Error::conflict(format!("Storage pool '{name}' already exists")));
        }
        let mut record = PoolRecord { driver, description, config, id: uuid::Uuid::new_v4().to_string() };
        let mut spec = self.engine.pool_spec(&name, &record);
        let what = format!("make storage pool `{name}`");
        let pool = storage::create(&mut spec).context(what.as_str())?;
        let custom = storage::open_custom(&spec).context(what)?;
        record.config = spec.config.clone();
        let mut changes = self.engine.records.changes();
        changes.insert(&name, record)?;
        if let Err(error) = changes.commit() {
            drop((pool, custom));
            if let Err(undo) = storage::destroy(&spec) {
                tracing::warn!("undo: remove storage pool: {undo}");
            }
            return Err(error);
        }
        self.engine.pools.slots.set(&name, Ok(Opened { pool, custom }));
        self.engine.lifecycle("storage-pool-created", "storage-pools", &name);
        Ok(())
    }

    /// Replaces description and configuration. What was fixed at creation cannot change.
    pub fn update(&self, name: &str, request: StoragePoolPut, if_match: Option<&str>) -> Result<()> {
        let held = self.record(name)?;
        etag::check(if_match, &tagged_parts(&held))?;
        let mut record = PoolRecord::clone(&held.record);
        let mut config = request.config;
        config.retain(|_, value| !value.is_empty());
        for key in ["source", "size"] {
            let old = record.config.get(key).cloned();
            match (config.get(key), old) {
                (None, Some(old)) => {
                    config.insert(key.to_owned(), old);
                }
                (new, old) if new != old.as_ref() => {
                    return Err(Error::bad_request(format!("storage pool key `{key}` is fixed when the pool is made")));
                }
                _ => {}
            }
        }
        keys::storage_pool::validate(&record.driver, &config)?;
        record.config = config;
        record.description = request.description;
        let mut changes = self.engine.records.changes();
        changes.update(name, &held, record)?;
        changes.commit()?;
        self.engine.lifecycle("storage-pool-updated", "storage-pools", name);
        Ok(())
    }

    /// Changes only what `patch` names.
    pub fn patch(&self, name: &str, patch: Value, if_match: Option<&str>) -> Result<()> {
        let record = self.record(name)?;
        let current = StoragePoolPut { description: record.description.clone(), config: record.config.clone() };
        self.update(name, patch::apply(&current, patch)?, if_match)
    }

    /// Deletes a pool that no instance uses; cached images on it go along. Refused with 400 while
    /// anything is made on it, or while it may hold volumes of instances whose records are missing
    /// or cannot be read.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.record(name)?;
        let busy = || {
            Error::bad_request("The storage pool is currently in use by an operation").hint("wait for it to end, see `lxc operation list`")
        };
        let _alone = self.engine.pools.leases.try_hold(name).ok_or_else(busy)?;
        let _turn = self.engine.pools.opening.hold(name);
        let record = self.record(name)?;
        self.check_deletable(name)?;
        self.engine.pools.slots.remove(name);
        let spec = self.engine.pool_spec(name, &record);
        if let Err(error) = storage::destroy(&spec) {
            // What is left of it stays usable.
            drop(self.engine.open_pool_held(name));
            return Err(Error::internal(format!("remove storage pool `{name}`")).caused_by(error));
        }
        let mut changes = self.engine.records.changes();
        changes.delete::<PoolRecord>(name);
        changes.commit()?;
        self.engine.forget_warnings(Cause::Pool, name);
        self.engine.lifecycle("storage-pool-deleted", "storage-pools", name);
        Ok(())
    }

    fn check_deletable(&self, name: &str) -> Result<()> {
        let users: Vec<String> = self.used_by(name).into_iter().filter(|url| !url.starts_with("/1.0/images/")).collect();
        if !users.is_empty() {
            return Err(Error::bad_request(format!("The storage pool is currently in use by {}", users.join(", ")))
                .hint("delete these instances and volumes, or move them to another pool"));
        }
        let records = &self.engine.records;
        if let Some(damaged) = records.instances.damaged().iter().chain(records.snapshots.damaged()).chain(records.volumes.damaged()).next()
        {
            return Err(Error::bad_request(
                "The storage pool may hold the volume of an instance or a custom volume whose record cannot be read",
            )
            .caused_by(std::io::Error::other(damaged.clone()))
            .hint("a newer version of the daemon may be able to read it"));
        }
        let Some(pool) = self.engine.ready_pool(name) else { return Ok(()) };
        let found = pool.list().context(format!("look at the volumes of storage pool `{name}`"))?.instances;
        self.check_no_unknown_volumes(name)?;
        let unknown: Vec<String> = found.into_iter().filter(|instance| !records.instances.contains(instance)).collect();
        if let Some(first) = unknown.first() {
            let dir = pool.dir(&storage::VolumeRef::instance(first));
            return Err(Error::bad_request(format!("The storage pool holds volumes of unknown instances: {}", unknown.join(", ")))
                .hint(format!("if they are not needed any more, remove them first: {}", dir.display())));
        }
        Ok(())
    }

    /// The caller has seen that no custom volume is recorded.
    fn check_no_unknown_volumes(&self, name: &str) -> Result<()> {
        let custom = self.engine.custom_volumes(name)?;
        let found = custom.list().context(format!("look at the volumes of storage pool `{name}`"))?;
        match found.first() {
            None => Ok(()),
            Some(first) => {
                let dir = custom.dir(&storage::VolumeRef::instance(first));
                Err(Error::bad_request(format!("The storage pool holds unknown custom volumes: {}", found.join(", ")))
                    .hint(format!("if they are not needed any more, remove them first: {}", dir.display())))
            }
        }
    }

    /// Space of a pool.
    pub fn resources(&self, name: &str) -> Result<Resources> {
        self.record(name)?;
        let space = self.engine.pool(name)?.space().context(format!("look at the space of storage pool `{name}`"))?;
        Ok(Resources { space: Usage { used: space.used_bytes, total: space.total_bytes }, inodes: Usage::default() })
    }

    /// Volumes of a pool: containers, custom ones and images.
    pub fn volumes(&self, name: &str) -> Result<Vec<StorageVolume>> {
        self.record(name)?;
        let volume = |kind: &str, volume: String, url: String| StorageVolume {
            name: volume,
            kind: kind.to_owned(),
            used_by: vec![url],
            location: "none".into(),
            content_type: "filesystem".into(),
            ..StorageVolume::default()
        };
        let instances = self.engine.records.instances.all().into_iter().filter(|(_, record)| record.pool == name);
        let mut volumes: Vec<_> = instances.map(|(id, _)| volume("container", id.clone(), format!("/1.0/instances/{id}"))).collect();
        let pool = self.engine.pool(name)?;
        volumes.extend(self.engine.storage_volumes(name)?.list());
        let images = self.engine.records.images.ids().into_iter().filter(|fingerprint| pool.has_image(fingerprint));
        volumes.extend(images.map(|id| volume("image", id.clone(), format!("/1.0/images/{id}"))));
        Ok(volumes)
    }

    pub(crate) fn record(&self, name: &str) -> Result<crate::records::Held<PoolRecord>> {
        self.engine.records.pools.get(name).ok_or_else(|| Error::not_found(format!("Storage pool '{name}' not found")))
    }

    fn render(&self, name: &str, record: &PoolRecord) -> StoragePool {
        let broken = self.engine.pools.slots.broken(name);
        StoragePool {
            config: record.config.clone(),
            // A client shows the description beside the status: the place for the reason.
            description: match &broken {
                Some(reason) if record.description.is_empty() => reason.clone(),
                _ => record.description.clone(),
            },
            name: name.to_owned(),
            driver: record.driver.clone(),
            used_by: self.used_by(name),
            status: if broken.is_some() { "Unavailable" } else { "Created" }.to_owned(),
            locations: vec!["none".into()],
        }
    }

    /// URLs of the images, instances, custom volumes and profiles on a pool.
    fn used_by(&self, name: &str) -> Vec<String> {
        let records = &self.engine.records;
        let uses = |devices: &api::Devices| devices.values().any(|device| device.get("pool").is_some_and(|pool| pool == name));
        let mut urls = Vec::new();
        if let Some(pool) = self.engine.ready_pool(name) {
            urls.extend(records.images.ids().into_iter().filter(|id| pool.has_image(id)).map(|id| format!("/1.0/images/{id}")));
        }
        let instances = records.instances.all().into_iter();
        let on_pool = instances.filter(|(_, record)| record.pool == name || uses(&expand_record(records, record).devices));
        urls.extend(on_pool.map(|(id, _)| format!("/1.0/instances/{id}")));
        let volumes = records.volumes.below(&format!("{name}/"));
        urls.extend(volumes.into_iter().map(|(id, _)| format!("/1.0/storage-pools/{name}/volumes/custom/{id}")));
        urls.extend(
            records.profiles.all().into_iter().filter(|(_, record)| uses(&record.devices)).map(|(id, _)| format!("/1.0/profiles/{id}")),
        );
        urls
    }
}

fn tagged_parts(record: &PoolRecord) -> (&str, &str, &api::Config) {
    (&record.driver, &record.description, &record.config)
}
