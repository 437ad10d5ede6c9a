//! Snapshots of custom volumes.

use std::sync::Arc;

use api::Timestamp;
use api::storage_volumes::{StorageVolumeSnapshot, StorageVolumeSnapshotPut, StorageVolumeSnapshotsPost};
use keys::schedule::Minute;
use keys::storage_volume::{SNAPSHOTS_EXPIRY, SNAPSHOTS_PATTERN, SNAPSHOTS_SCHEDULE};
use serde_json::Value;
use storage::VolumeRef;

use super::{CONTENT_TYPE, StorageVolumes};
use crate::error::Context;
use crate::instances::next_snapshot_name;
use crate::operations::{New, Operation};
use crate::records::{Held, VolumeIntentRecord, VolumeSnapshotRecord};
use crate::{Error, Result, Tagged, etag, patch, points};

impl StorageVolumes {
    /// The snapshots of a volume, oldest first.
    pub fn snapshots(&self, name: &str) -> Result<Vec<StorageVolumeSnapshot>> {
        self.record(name)?;
        let mut list = self.engine.records.volume_snapshots.below(&format!("{}/", self.id(name)));
        list.sort_by(|(a_name, a), (b_name, b)| (a.taken_at, a_name).cmp(&(b.taken_at, b_name)));
        Ok(list.iter().map(|(snapshot, record)| render(name, snapshot, record)).collect())
    }

    /// One snapshot of a volume.
    pub fn snapshot(&self, name: &str, snapshot: &str) -> Result<Tagged<StorageVolumeSnapshot>> {
        let record = self.snapshot_record(name, snapshot)?;
        Ok(Tagged { value: render(name, snapshot, &record), etag: etag::of(&tagged_parts(&record)) })
    }

    /// Takes a snapshot.
    pub fn create_snapshot(&self, name: &str, request: StorageVolumeSnapshotsPost) -> Result<Arc<Operation>> {
        self.record(name)?;
        if !request.name.is_empty() {
            keys::names::check_snapshot(&request.name)?;
        }
        let (this, volume) = (self.clone(), name.to_owned());
        self.engine
            .operations
            .run(New::volume("Snapshotting storage volume", &self.pool, name), move |_| this.take_snapshot(&volume, request).map(|()| None))
    }

    /// Takes those that are due in this minute, of all volumes of the pool.
    pub(crate) fn take_due_snapshots(&self, now: Minute) {
        for (name, record) in self.engine.records.volumes.below(&format!("{}/", self.pool)) {
            let is_due = SNAPSHOTS_SCHEDULE.get(&record.config).is_some_and(|schedule| schedule.is_due(now));
            if is_due && let Err(error) = self.create_snapshot(&name, StorageVolumeSnapshotsPost::default()) {
                tracing::error!(pool = self.pool, volume = name, "take the snapshot that is due: {}", error.report());
            }
        }
    }

    fn take_snapshot(&self, name: &str, request: StorageVolumeSnapshotsPost) -> Result<()> {
        let _alone = self.engine.hold_volume(&self.id(name))?;
        let held = self.record(name)?;
        self.settle_leftover(name)?;
        let snapshot = if request.name.is_empty() {
            let existing: Vec<String> = self
                .engine
                .records
                .volume_snapshots
                .below(&format!("{}/", self.id(name)))
                .into_iter()
                .map(|(snapshot, _)| snapshot)
                .collect();
            next_snapshot_name(&existing, SNAPSHOTS_PATTERN.text(&held.config).unwrap_or(SNAPSHOTS_PATTERN.default))
        } else {
            request.name
        };
        keys::names::check_snapshot(&snapshot)?;
        let id = format!("{}/{snapshot}", self.id(name));
        if self.engine.records.volume_snapshots.contains(&id) {
            return Err(Error::conflict(format!("Snapshot '{id}' already exists")));
        }
        let custom = self.custom()?;
        self.check_no_volume(&*custom, &VolumeRef::snapshot(name, snapshot.as_str()))?;
        let intent = self.intend(name, VolumeIntentRecord::Snapshotting { snapshot: snapshot.clone() })?;
        custom.snapshot(name, &snapshot).context(format!("take snapshot `{id}`"))?;
        points::reach("volume.snapshot");
        let now = Timestamp::now();
        let kept = SNAPSHOTS_EXPIRY.text(&held.config).and(SNAPSHOTS_EXPIRY.get(&held.config)).filter(|seconds| *seconds > 0);
        let kept = kept.map_or(Timestamp::NEVER, |seconds| Timestamp::from_unix(now.unix() + seconds as i64));
        let record = VolumeSnapshotRecord {
            taken_at: now,
            expires_at: request.expires_at.unwrap_or(kept),
            description: held.description.clone(),
            config: held.config.clone(),
        };
        let mut changes = self.engine.records.changes();
        changes.insert(&id, record)?;
        changes.delete::<VolumeIntentRecord>(&self.id(name));
        changes.commit()?;
        intent.done();
        self.engine.expiry_alarm.ring();
        self.lifecycle("snapshot-created", &format!("{name}/snapshots/{snapshot}"));
        Ok(())
    }

    /// Replaces what of a snapshot can change.
    pub fn update_snapshot(&self, name: &str, snapshot: &str, request: StorageVolumeSnapshotPut, if_match: Option<&str>) -> Result<()> {
        let held = self.snapshot_record(name, snapshot)?;
        etag::check(if_match, &tagged_parts(&held))?;
        let record = VolumeSnapshotRecord {
            description: request.description,
            expires_at: request.expires_at.unwrap_or(Timestamp::NEVER),
            ..VolumeSnapshotRecord::clone(&held.record)
        };
        let mut changes = self.engine.records.changes();
        changes.update(&format!("{}/{snapshot}", self.id(name)), &held, record)?;
        changes.commit()?;
        self.engine.expiry_alarm.ring();
        self.lifecycle("snapshot-updated", &format!("{name}/snapshots/{snapshot}"));
        Ok(())
    }

    /// Changes only what `patch` names.
    pub fn patch_snapshot(&self, name: &str, snapshot: &str, patch: Value, if_match: Option<&str>) -> Result<()> {
        let held = self.snapshot_record(name, snapshot)?;
        etag::check(if_match, &tagged_parts(&held))?;
        let current = StorageVolumeSnapshotPut { description: held.description.clone(), expires_at: Some(held.expires_at) };
        self.update_snapshot(name, snapshot, patch::apply(&current, patch)?, if_match)
    }

    /// Renames a snapshot.
    pub fn rename_snapshot(&self, name: &str, snapshot: &str, new: &str) -> Result<Arc<Operation>> {
        self.snapshot_record(name, snapshot)?;
        keys::names::check_snapshot(new)?;
        let (this, volume, snapshot, new) = (self.clone(), name.to_owned(), snapshot.to_owned(), new.to_owned());
        self.engine.operations.run(New::volume("Renaming storage volume snapshot", &self.pool, name), move |_| {
            this.rename_snapshot_now(&volume, &snapshot, &new).map(|()| None)
        })
    }

    fn rename_snapshot_now(&self, name: &str, old: &str, new: &str) -> Result<()> {
        let id = self.id(name);
        let _alone = self.engine.hold_volume(&id)?;
        self.settle_leftover(name)?;
        let held = self.snapshot_record(name, old)?;
        if self.engine.records.volume_snapshots.contains(&format!("{id}/{new}")) {
            return Err(Error::conflict(format!("Snapshot '{id}/{new}' already exists")));
        }
        let intent = self.intend(name, VolumeIntentRecord::RenamingSnapshot { from: old.to_owned(), to: new.to_owned() })?;
        self.custom()?.rename_snapshot(name, old, new).context(format!("rename snapshot `{id}/{old}`"))?;
        let mut changes = self.engine.records.changes();
        changes.delete::<VolumeSnapshotRecord>(&format!("{id}/{old}"));
        changes.insert(&format!("{id}/{new}"), VolumeSnapshotRecord::clone(&held.record))?;
        changes.delete::<VolumeIntentRecord>(&id);
        changes.commit()?;
        intent.done();
        self.lifecycle("snapshot-renamed", &format!("{name}/snapshots/{new}"));
        Ok(())
    }

    /// Deletes a snapshot.
    pub fn delete_snapshot(&self, name: &str, snapshot: &str) -> Result<Arc<Operation>> {
        self.snapshot_record(name, snapshot)?;
        let (this, volume, snapshot) = (self.clone(), name.to_owned(), snapshot.to_owned());
        self.engine.operations.run(New::volume("Deleting storage volume snapshot", &self.pool, name), move |_| {
            let _alone = this.engine.hold_volume(&this.id(&volume))?;
            this.settle_leftover(&volume)?;
            this.snapshot_record(&volume, &snapshot)?;
            let id = format!("{}/{snapshot}", this.id(&volume));
            this.custom()?.delete_snapshot(&volume, &snapshot).context(format!("delete snapshot `{id}`"))?;
            let mut changes = this.engine.records.changes();
            changes.delete::<VolumeSnapshotRecord>(&id);
            changes.commit()?;
            this.lifecycle("snapshot-deleted", &format!("{volume}/snapshots/{snapshot}"));
            Ok(None)
        })
    }

    /// Puts a snapshot's content in the place of the volume's; the caller holds the volume. Refused while a
    /// container that runs sees it: that would go on with the old content.
    pub(super) fn restore(&self, name: &str, snapshot: &str) -> Result<()> {
        self.snapshot_record(name, snapshot)?;
        let users = self.used_by(name);
        let running = users.iter().filter_map(|url| url.strip_prefix("/1.0/instances/")).find(|user| self.engine.live.get(user).is_some());
        if let Some(running) = running {
            return Err(Error::bad_request(format!("Storage volume '{name}' cannot be restored: instance '{running}' runs with it"))
                .hint("stop it, or detach the volume from it"));
        }
        self.custom()?.restore(name, snapshot).context(format!("restore snapshot `{}/{snapshot}`", self.id(name)))?;
        self.lifecycle("restored", name);
        Ok(())
    }

    pub(super) fn snapshot_record(&self, name: &str, snapshot: &str) -> Result<Held<VolumeSnapshotRecord>> {
        self.record(name)?;
        let id = format!("{}/{snapshot}", self.id(name));
        self.engine.records.volume_snapshots.get(&id).ok_or_else(|| Error::not_found(format!("Snapshot '{id}' not found")))
    }
}

fn render(name: &str, snapshot: &str, record: &VolumeSnapshotRecord) -> StorageVolumeSnapshot {
    StorageVolumeSnapshot {
        name: format!("{name}/{snapshot}"),
        config: record.config.clone(),
        description: record.description.clone(),
        content_type: CONTENT_TYPE.into(),
        created_at: record.taken_at,
        expires_at: record.expires_at,
    }
}

fn tagged_parts(record: &VolumeSnapshotRecord) -> (&str, &Timestamp) {
    (&record.description, &record.expires_at)
}
