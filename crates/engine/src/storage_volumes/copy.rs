//! Copies of custom volumes, within a pool and between pools, and moves between pools.

use std::sync::Arc;

use api::Timestamp;
use api::storage_volumes::StorageVolumesPost;
use storage::{CustomVolumes, VolumeRef};

use super::{StorageVolumes, checked};
use crate::operations::{New, Operation};
use crate::records::{VolumeRecord, VolumeSnapshotRecord};
use crate::{Error, Result};

impl StorageVolumes {
    /// A copy of a volume with its snapshots, or of one snapshot.
    pub(super) fn create_copy(&self, request: StorageVolumesPost) -> Result<Arc<Operation>> {
        let source = &request.source;
        let pool = if source.pool.is_empty() { &self.pool } else { &source.pool };
        let from = self.engine.storage_volumes(pool)?;
        let (volume, snapshot) = match source.name.split_once('/') {
            Some((volume, snapshot)) => (volume.to_owned(), Some(snapshot.to_owned())),
            None => (source.name.clone(), None),
        };
        let original = from.record(&volume)?;
        if let Some(snapshot) = &snapshot {
            from.snapshot_record(&volume, snapshot)?;
        }
        let mut config = original.config.clone();
        config.extend(request.config.clone());
        let record = VolumeRecord {
            description: if request.description.is_empty() { original.description.clone() } else { request.description.clone() },
            config: checked(config)?,
            created_at: Timestamp::now(),
        };
        let with_snapshots = snapshot.is_none() && !source.volume_only;
        let (this, name) = (self.clone(), request.name);
        self.engine.operations.run(New::volume("Copying storage volume", &self.pool, &name), move |_| {
            // Shared: whoever copies only reads.
            let _source = from.engine.share_volume(&from.id(&volume))?;
            let from_volume = VolumeRef { instance: volume, snapshot };
            this.copy_held(&from, &from_volume, &name, (record, with_snapshots)).map(|()| None)
        })
    }

    /// Copies a volume that the caller holds, to a name here.
    fn copy_held(&self, from: &Self, volume: &VolumeRef, name: &str, (record, with_snapshots): (VolumeRecord, bool)) -> Result<()> {
        from.record(&volume.instance)?;
        let source = from.custom()?;
        let mut snapshots: Vec<(String, VolumeSnapshotRecord)> = Vec::new();
        if with_snapshots {
            let held = self.engine.records.volume_snapshots.below(&format!("{}/", from.id(&volume.instance)));
            snapshots.extend(held.into_iter().map(|(snapshot, record)| (snapshot, VolumeSnapshotRecord::clone(&record.record))));
            snapshots.sort_by_key(|(_, record)| record.taken_at);
        }
        let names: Vec<String> = snapshots.iter().map(|(snapshot, _)| snapshot.clone()).collect();
        let is_here = from.pool == self.pool;
        self.make(name, record, snapshots, |custom| fill(custom, (&*source, volume, is_here), name, &names))
    }

    /// A copy on the other pool; then the original goes.
    pub(super) fn move_to(&self, name: &str, pool: &str, new: &str) -> Result<Arc<Operation>> {
        let target = self.engine.storage_volumes(pool)?;
        self.unused(name, "moved")?;
        if self.engine.records.volumes.contains(&target.id(new)) {
            return Err(super::exists(new));
        }
        let (this, name, new) = (self.clone(), name.to_owned(), new.to_owned());
        self.engine.operations.run(New::volume("Moving storage volume", &self.pool, &name), move |_| {
            let held = {
                let _source = this.engine.share_volume(&this.id(&name))?;
                let held = this.unused(&name, "moved")?;
                target.copy_held(&this, &VolumeRef::instance(&name), &new, (VolumeRecord::clone(&held.record), true))?;
                held
            };
            let _alone = this.engine.hold_volume(&this.id(&name))?;
            let now = this.unused(&name, "moved")?;
            if now.revision != held.revision {
                return Err(Error::conflict(format!("Storage volume '{name}' was changed while it was copied"))
                    .hint("both are kept; delete the one that is not wanted"));
            }
            this.delete_held(&name).map(|()| None)
        })
    }
}

/// Fills a new volume and its snapshots from another.
fn fill(
    custom: &dyn CustomVolumes,
    (source, volume, is_here): (&dyn CustomVolumes, &VolumeRef, bool),
    name: &str,
    snapshots: &[String],
) -> storage::Result<()> {
    let of = |snapshot: &String| VolumeRef::snapshot(&volume.instance, snapshot.as_str());
    if is_here {
        custom.copy(volume, name)?;
        return snapshots.iter().try_for_each(|snapshot| custom.copy_snapshot(&of(snapshot), name, snapshot));
    }
    custom.copy_in(&source.dir(volume), name)?;
    snapshots.iter().try_for_each(|snapshot| custom.copy_snapshot_in(&source.dir(&of(snapshot)), name, snapshot))
}
