//! Custom storage volumes: file systems that belong to no instance and are attached to any number of them.
//!
//! As with instances, what a change does to the pool and to the records is covered by an intent
//! (`storage_volumes/intents.rs`), and one volume is worked on by one at a time.

mod backups;
mod copy;
mod intents;
mod migration;
mod snapshots;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::storage_pools::{StorageVolume, Usage};
use api::storage_volumes::{StorageVolumePost, StorageVolumePut, StorageVolumeState, StorageVolumesPost};
use api::{Config, Devices, Timestamp};
use keys::devices::disk;
use keys::storage_volume::SIZE;
use serde_json::Value;
use storage::{CustomVolumes, VolumeRef};

use crate::error::Context;
use crate::instances::expand::expand_record;
use crate::leases::Lease;
use crate::operations::Operation;
use crate::records::{Held, VolumeBackupRecord, VolumeIntentRecord, VolumeRecord, VolumeSnapshotRecord};
use crate::{Engine, Error, ErrorKind, Result, Tagged, etag, patch, points};

/// The custom volumes of one storage pool.
#[derive(Clone, Debug)]
pub struct StorageVolumes {
    pub(crate) engine: Arc<Engine>,
    pool: String,
}

pub use backups::VolumeBackupUpload;

/// What became of a request that may take long.
#[derive(Debug)]
pub enum Done {
    /// It is done.
    Now,
    /// It goes on in the background.
    Later(Arc<Operation>),
}

/// How long a volume that something else is done with is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn busy(id: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("Storage volume '{id}' is busy"))
        .hint("`lxc operation list` shows what is done with it; try again after that")
}

impl Engine {
    /// The custom volumes of a pool that exists.
    pub fn storage_volumes(self: &Arc<Self>, pool: &str) -> Result<StorageVolumes> {
        self.storage_pools().record(pool)?;
        Ok(StorageVolumes { engine: self.clone(), pool: pool.to_owned() })
    }

    /// Holds a custom volume alone. Whoever has it may be at the mercy of another server: nobody waits for ever.
    fn hold_volume(&self, id: &str) -> Result<Lease<'_>> {
        self.pools.volumes.hold_within(id, PATIENCE).ok_or_else(|| busy(id))
    }

    /// Holds a custom volume beside others.
    fn share_volume(&self, id: &str) -> Result<Lease<'_>> {
        self.pools.volumes.share_within(id, PATIENCE).ok_or_else(|| busy(id))
    }

    /// Keeps the volumes that these devices attach from being removed or renamed until the record of the
    /// devices is stored. Refuses devices whose volume is not there.
    pub(crate) fn use_volumes(&self, devices: &Devices) -> Result<Vec<Lease<'_>>> {
        let mut ids: Vec<String> = devices.values().filter_map(disk::volume).map(|(pool, name)| format!("{pool}/{name}")).collect();
        // Always in the same order, so that no two wait for each other.
        ids.sort();
        ids.dedup();
        let leases = ids.iter().map(|id| self.share_volume(id)).collect::<Result<_>>()?;
        match ids.iter().find(|id| !self.records.volumes.contains(id)) {
            Some(missing) => Err(Error::bad_request(format!("Storage volume '{missing}' not found"))
                .hint("`lxc storage volume list POOL` shows those there are, `lxc storage volume create` makes one")),
            None => Ok(leases),
        }
    }

    /// The directory with the content of a custom volume.
    pub(crate) fn volume_content(&self, pool: &str, name: &str) -> Result<PathBuf> {
        if !self.records.volumes.contains(&format!("{pool}/{name}")) {
            return Err(Error::bad_request(format!("Storage volume '{pool}/{name}' not found")));
        }
        self.custom_volumes(pool)?.content(&VolumeRef::instance(name)).context(format!("look at storage volume `{pool}/{name}`"))
    }
}

impl StorageVolumes {
    /// All of them, by name.
    pub fn list(&self) -> Vec<StorageVolume> {
        let volumes = self.engine.records.volumes.below(&format!("{}/", self.pool));
        volumes.iter().map(|(name, record)| self.render(name, record)).collect()
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Result<Tagged<StorageVolume>> {
        let record = self.record(name)?;
        Ok(Tagged { value: self.render(name, &record), etag: etag::of(&tagged_parts(&record)) })
    }

    /// What it takes, where the pool knows that without counting.
    pub fn state(&self, name: &str) -> Result<StorageVolumeState> {
        let record = self.record(name)?;
        let used = self.custom()?.usage_bytes(&VolumeRef::instance(name)).unwrap_or_default();
        Ok(StorageVolumeState { usage: Usage { used, total: quota(&record.config).unwrap_or_default() } })
    }

    /// Makes a volume: empty at once, a copy in the background.
    pub fn create(&self, request: StorageVolumesPost) -> Result<Done> {
        check_kind(&request.kind, &request.content_type)?;
        keys::names::check_volume(&request.name)?;
        if self.engine.records.volumes.contains(&self.id(&request.name)) {
            return Err(exists(&request.name));
        }
        match request.source.kind.as_str() {
            "" => self.create_empty(request).map(|()| Done::Now),
            "copy" => self.create_copy(request).map(Done::Later),
            "migration" => self.create_migrated(request).map(Done::Later),
            other => Err(Error::bad_request(format!("unknown source type {other}"))),
        }
    }

    fn create_empty(&self, request: StorageVolumesPost) -> Result<()> {
        let config = checked(request.config)?;
        let record = VolumeRecord { description: request.description, config, created_at: Timestamp::now() };
        self.make(&request.name, record, Vec::new(), |custom| custom.create(&request.name))
    }

    /// Makes volume and records; nothing of it stays if a step fails.
    fn make(
        &self,
        name: &str,
        record: VolumeRecord,
        snapshots: Vec<(String, VolumeSnapshotRecord)>,
        fill: impl FnOnce(&dyn CustomVolumes) -> storage::Result<()>,
    ) -> Result<()> {
        let id = self.id(name);
        let _pool_in_use = self.engine.use_pool(&self.pool);
        let _alone = self.engine.hold_volume(&id)?;
        let custom = self.custom()?;
        self.settle_leftover(name)?;
        if self.engine.records.is_stored::<VolumeRecord>(&id)? {
            return Err(exists(name));
        }
        self.check_no_volume(&*custom, &VolumeRef::instance(name))?;
        let intent = self.intend(name, VolumeIntentRecord::Creating)?;
        fill(&*custom).context(format!("make storage volume `{id}`"))?;
        if let Some(bytes) = quota(&record.config) {
            set_quota(&*custom, name, Some(bytes))?;
        }
        points::reach("volume.filled");
        let mut changes = self.engine.records.changes();
        changes.insert(&id, record)?;
        for (snapshot, record) in snapshots {
            changes.insert(&format!("{id}/{snapshot}"), record)?;
        }
        changes.delete::<VolumeIntentRecord>(&id);
        changes.commit()?;
        intent.done();
        self.lifecycle("created", name);
        Ok(())
    }

    /// Replaces description and configuration, or restores a snapshot (`restore` not empty).
    pub fn update(&self, name: &str, request: StorageVolumePut, if_match: Option<&str>) -> Result<()> {
        let _alone = self.engine.hold_volume(&self.id(name))?;
        let held = self.record(name)?;
        self.settle_leftover(name)?;
        if !request.restore.is_empty() {
            return self.restore(name, &request.restore);
        }
        etag::check(if_match, &tagged_parts(&held))?;
        let config = checked(request.config)?;
        let custom = self.custom()?;
        let (before, after) = (quota(&held.config), quota(&config));
        if before != after {
            set_quota(&*custom, name, after)?;
        }
        let mut changes = self.engine.records.changes();
        changes.update(
            &self.id(name),
            &held,
            VolumeRecord { description: request.description, config, ..VolumeRecord::clone(&held.record) },
        )?;
        if let Err(error) = changes.commit() {
            if before != after
                && let Err(undo) = set_quota(&*custom, name, before)
            {
                tracing::warn!("undo: put the old size limit back: {}", undo.report());
            }
            return Err(error);
        }
        self.lifecycle("updated", name);
        Ok(())
    }

    /// Changes only what `patch` names.
    pub fn patch(&self, name: &str, patch: Value, if_match: Option<&str>) -> Result<()> {
        let record = self.record(name)?;
        etag::check(if_match, &tagged_parts(&record))?;
        let current =
            StorageVolumePut { description: record.description.clone(), config: record.config.clone(), ..StorageVolumePut::default() };
        self.update(name, patch::apply(&current, patch)?, if_match)
    }

    /// Gives it another name at once, or moves it to another pool in the background.
    pub fn rename(&self, name: &str, request: StorageVolumePost) -> Result<Done> {
        if request.migration {
            return self.migrate(name, None, &request).map(Done::Later);
        }
        keys::names::check_volume(&request.name)?;
        self.record(name)?;
        if request.pool.is_empty() || request.pool == self.pool {
            return self.rename_here(name, &request.name).map(|()| Done::Now);
        }
        self.move_to(name, &request.pool, &request.name).map(Done::Later)
    }

    fn rename_here(&self, name: &str, new: &str) -> Result<()> {
        let (id, new_id) = (self.id(name), self.id(new));
        if self.engine.records.volumes.contains(&new_id) {
            return Err(exists(new));
        }
        let _alone = self.hold_two(&id, &new_id)?;
        let held = self.unused(name, "renamed")?;
        let custom = self.custom()?;
        self.settle_leftover(name)?;
        self.settle_leftover(new)?;
        self.check_no_volume(&*custom, &VolumeRef::instance(new))?;
        let intent = self.intend(name, VolumeIntentRecord::Renaming { to: new.to_owned() })?;
        custom.rename(name, new).context(format!("rename storage volume `{id}`"))?;
        points::reach("volume.renamed");
        let mut changes = self.engine.records.changes();
        changes.delete::<VolumeRecord>(&id);
        changes.insert(&new_id, VolumeRecord::clone(&held.record))?;
        for (snapshot, record) in self.engine.records.volume_snapshots.below(&format!("{id}/")) {
            changes.delete::<VolumeSnapshotRecord>(&format!("{id}/{snapshot}"));
            changes.insert(&format!("{new_id}/{snapshot}"), VolumeSnapshotRecord::clone(&record.record))?;
        }
        for (backup, record) in self.engine.records.volume_backups.below(&format!("{id}/")) {
            changes.delete::<VolumeBackupRecord>(&format!("{id}/{backup}"));
            changes.insert(&format!("{new_id}/{backup}"), VolumeBackupRecord::clone(&record.record))?;
        }
        changes.delete::<VolumeIntentRecord>(&id);
        changes.commit()?;
        intent.done();
        self.lifecycle("renamed", new);
        Ok(())
    }

    /// Deletes a volume that nothing uses, with its snapshots.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.record(name)?;
        let _alone = self.engine.hold_volume(&self.id(name))?;
        self.unused(name, "deleted")?;
        self.settle_leftover(name)?;
        self.delete_held(name)
    }

    /// The volume goes first: if that fails half way, the record still shows what to delete again.
    fn delete_held(&self, name: &str) -> Result<()> {
        let id = self.id(name);
        self.custom()?.delete(name).context(format!("delete storage volume `{id}`"))?;
        let mut changes = self.engine.records.changes();
        changes.delete::<VolumeRecord>(&id);
        changes.delete::<VolumeIntentRecord>(&id);
        for (snapshot, _) in self.engine.records.volume_snapshots.below(&format!("{id}/")) {
            changes.delete::<VolumeSnapshotRecord>(&format!("{id}/{snapshot}"));
        }
        let backups = self.forget_backups(name, &mut changes);
        changes.commit()?;
        backups.iter().for_each(|path| self.engine.remove_backup_file(path));
        self.lifecycle("deleted", name);
        Ok(())
    }

    fn id(&self, name: &str) -> String {
        format!("{}/{name}", self.pool)
    }

    fn custom(&self) -> Result<Arc<dyn CustomVolumes>> {
        self.engine.custom_volumes(&self.pool)
    }

    fn record(&self, name: &str) -> Result<Held<VolumeRecord>> {
        // A name with a slash would be that of a snapshot or lead to another pool.
        let found = (!name.contains('/')).then(|| self.engine.records.volumes.get(&self.id(name))).flatten();
        found.ok_or_else(|| Error::not_found(format!("Storage volume '{}' not found", self.id(name))))
    }

    /// The record of a volume that no instance and no profile attaches.
    fn unused(&self, name: &str, verb: &str) -> Result<Held<VolumeRecord>> {
        let held = self.record(name)?;
        match self.used_by(name).as_slice() {
            [] => Ok(held),
            users => Err(Error::bad_request(format!("Storage volume '{name}' is still in use and cannot be {verb}: {}", users.join(", ")))
                .hint("detach it first with `lxc storage volume detach`")),
        }
    }

    /// Holds two volumes alone, whichever way round they are given.
    fn hold_two(&self, one: &str, other: &str) -> Result<(Lease<'_>, Option<Lease<'_>>)> {
        let first = self.engine.hold_volume(one.min(other))?;
        let second = (one != other).then(|| self.engine.hold_volume(one.max(other))).transpose()?;
        Ok((first, second))
    }

    /// Refuses a place on the pool where something lies that no record and no intent accounts for.
    fn check_no_volume(&self, custom: &dyn CustomVolumes, volume: &VolumeRef) -> Result<()> {
        let dir = custom.dir(volume);
        if !sys::fs::exists(&dir) {
            return Ok(());
        }
        Err(Error::conflict(format!("Storage volume '{}' already exists", volume.instance))
            .hint(format!("{} belongs to nothing that is recorded: move it away, or choose another name", dir.display())))
    }

    /// URLs of the instances and profiles that attach it.
    fn used_by(&self, name: &str) -> Vec<String> {
        let records = &self.engine.records;
        let uses = |devices: &Devices| devices.values().filter_map(disk::volume).any(|used| used == (self.pool.as_str(), name));
        let instances = records.instances.all().into_iter();
        let instances = instances.filter(|(_, record)| uses(&expand_record(records, record).devices));
        let profiles = records.profiles.all().into_iter().filter(|(_, record)| uses(&record.devices));
        instances.map(|(id, _)| format!("/1.0/instances/{id}")).chain(profiles.map(|(id, _)| format!("/1.0/profiles/{id}"))).collect()
    }

    fn render(&self, name: &str, record: &VolumeRecord) -> StorageVolume {
        StorageVolume {
            config: record.config.clone(),
            description: record.description.clone(),
            name: name.to_owned(),
            kind: KIND.into(),
            used_by: self.used_by(name),
            location: "none".into(),
            content_type: CONTENT_TYPE.into(),
            created_at: record.created_at,
        }
    }

    fn lifecycle(&self, what: &str, name: &str) {
        let kind = format!("storage-pools/{}/volumes/{KIND}", self.pool);
        self.engine.lifecycle(&format!("storage-volume-{what}"), &kind, name);
    }
}

/// The type of volume that this is about.
pub(crate) const KIND: &str = "custom";
const CONTENT_TYPE: &str = "filesystem";

fn check_kind(kind: &str, content_type: &str) -> Result<()> {
    if !matches!(kind, "" | KIND) {
        return Err(Error::bad_request(format!("Currently not allowed to create storage volumes of type '{kind}'"))
            .hint("volumes of containers and images come and go with those; make one of type custom"));
    }
    if !matches!(content_type, "" | CONTENT_TYPE) {
        return Err(Error::bad_request(format!("content type '{content_type}' is not supported")).hint("only filesystem is"));
    }
    Ok(())
}

fn exists(name: &str) -> Error {
    Error::conflict(format!("Storage volume '{name}' already exists"))
}

/// Empty means unset.
fn checked(mut config: Config) -> Result<Config> {
    config.retain(|_, value| !value.is_empty());
    keys::storage_volume::validate(&config)?;
    Ok(config)
}

fn quota(config: &Config) -> Option<u64> {
    SIZE.text(config).and(SIZE.get(config))
}

fn set_quota(custom: &dyn CustomVolumes, name: &str, bytes: Option<u64>) -> Result<()> {
    custom.set_quota(name, bytes).context_as(ErrorKind::BadRequest, format!("limit the size of storage volume `{name}`"))
}

fn tagged_parts(record: &VolumeRecord) -> (&str, &Config) {
    (&record.description, &record.config)
}
