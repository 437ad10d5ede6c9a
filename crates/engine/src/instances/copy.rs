//! What a copy takes over from its source, its snapshots included.

use std::path::Path;

use api::instances::InstancesPost;
use keys::instance::volatile;
use storage::{Pool, VolumeRef};
use sys::Root;

use super::Instances;
use super::create::Origin;
use super::expand::place_root;

use super::start::runtime_rootfs;
use crate::error::Context;
use crate::intended::Intended;
use crate::records::{InstanceRecord, IntentRecord, SnapshotRecord};
use crate::{Error, Result};

/// Volatile keys that a copy keeps.
const KEPT: &[&str] = &[volatile::BASE_IMAGE.name, volatile::LAST_STATE_IDMAP.name];

pub(super) fn is_kept(key: &str) -> bool {
    !key.starts_with("volatile.") || KEPT.contains(&key)
}

impl Instances {
    /// The record of a copy: the source's own configuration and devices with the request's over
    /// them. Never ephemeral by inheritance.
    pub(super) fn copied_record(&self, request: &InstancesPost) -> Result<(Origin, InstanceRecord)> {
        let source = &request.source.source;
        if source.is_empty() {
            return Err(Error::bad_request("must specify a source container"));
        }
        let (from, original) = match source.split_once('/') {
            None => (VolumeRef::instance(source), InstanceRecord::clone(&self.record(source)?.record)),
            Some((instance, snapshot)) => {
                (VolumeRef::snapshot(instance, snapshot), self.snapshot_record(instance, snapshot)?.instance.clone())
            }
        };
        // A snapshot lies where its instance lies.
        let pool = self.record(&from.instance)?.pool.clone();
        let mut record = InstanceRecord {
            description: if request.description.is_empty() { original.description.clone() } else { request.description.clone() },
            ephemeral: request.ephemeral,
            profiles: request.profiles.clone().unwrap_or_else(|| original.profiles.clone()),
            // That of the source is of the source's processes.
            stateful: false,
            ..original
        };
        record.config.retain(|key, _| is_kept(key));
        record.config.extend(request.config.clone());
        record.devices.extend(request.devices.clone());
        record.last_used_at = api::Timestamp::NEVER;
        volatile::APPLY_TEMPLATE.set(&mut record.config, "copy");
        let with_snapshots = from.snapshot.is_none() && !request.source.instance_only && !request.source.container_only;
        let snapshots = if with_snapshots { self.snapshot_names(&from.instance)? } else { Vec::new() };
        Ok((Origin::Copy { from, pool, snapshots }, record))
    }

    /// The records of the snapshots that a new instance on `pool` has from its beginning. Running states stay behind.
    pub(super) fn first_snapshots(&self, origin: &Origin, pool: &str) -> Result<Vec<(String, SnapshotRecord)>> {
        let (from, snapshots) = match origin {
            Origin::Copy { from, snapshots, .. } => (from, snapshots),
            Origin::Backup(source) => return self.foreign_snapshots(&source.snapshots, pool),
            Origin::Migration(arrival) => return self.foreign_snapshots(&arrival.snapshots, pool),
            Origin::Image(_) | Origin::Nothing => return Ok(Vec::new()),
        };
        snapshots.iter().map(|snapshot| Ok((snapshot.clone(), self.copied_snapshot(&from.instance, snapshot, pool)?))).collect()
    }

    /// Snapshots that came from elsewhere, as they are on `pool`.
    fn foreign_snapshots(&self, snapshots: &[(String, SnapshotRecord)], pool: &str) -> Result<Vec<(String, SnapshotRecord)>> {
        let mut all = snapshots.to_vec();
        for (_, record) in &mut all {
            place_root(&self.engine.records, &mut record.instance, pool)?;
            record.instance.pool = pool.to_owned();
        }
        Ok(all)
    }

    /// The record of a snapshot of a copy that is on `pool`.
    pub(super) fn copied_snapshot(&self, instance: &str, snapshot: &str, pool: &str) -> Result<SnapshotRecord> {
        let mut record = SnapshotRecord::clone(&self.snapshot_record(instance, snapshot)?.record);
        record.stateful = false;
        record.instance.config.retain(|key, _| is_kept(key));
        place_root(&self.engine.records, &mut record.instance, pool)?;
        record.instance.pool = pool.to_owned();
        Ok(record)
    }

    /// Fills the volumes of a new instance from one of another pool.
    pub(super) fn copy_across(&self, target: &dyn Pool, name: &str, (from, pool, snapshots): (&VolumeRef, &str, &[String])) -> Result<()> {
        let what = format!("copy the volume of `{}` to `{name}`", from.instance);
        let source = self.engine.pool(pool)?;
        let (still, _taken_back) = self.still(from)?;
        let filled = target.create_filled(name, &mut |dir, rootfs| copy_volume(&*source, &still, (dir, rootfs)));
        filled.context(what.as_str())?;
        for snapshot in snapshots {
            let volume = VolumeRef::snapshot(&from.instance, snapshot.as_str());
            let filled = target.create_snapshot_filled(name, snapshot, &mut |dir, rootfs| copy_volume(&*source, &volume, (dir, rootfs)));
            filled.context(what.as_str())?;
        }
        Ok(())
    }

    /// A volume whose files stand still and whose root file system is mounted nowhere: of a running instance a snapshot, which
    /// is taken back when the second of these is dropped, since there will be no record of it. The caller holds the permit.
    pub(super) fn still<'a>(&'a self, volume: &'a VolumeRef) -> Result<(VolumeRef, Option<Intended<'a>>)> {
        let name = &volume.instance;
        if volume.snapshot.is_some() || self.engine.live.get(name).is_none() {
            return Ok((volume.clone(), None));
        }
        let snapshot = format!("still-{}", uuid::Uuid::new_v4());
        let intent = self.intend(name, IntentRecord::Snapshotting { snapshot: snapshot.clone(), stateful: false })?;
        let pool = self.engine.pool(&self.record(name)?.pool)?;
        pool.snapshot(name, &snapshot).context(format!("take a snapshot of `{name}` to read it"))?;
        Ok((VolumeRef::snapshot(name, snapshot), Some(intent)))
    }
}

/// What is in a volume's directory beside the root file system and belongs to its driver, or to what ran.
const NOT_COPIED: &[&str] = &["image", "plain", "rootfs", "state", "upper", "work"];

/// Fills a new volume, of whichever driver, from one that stands still.
pub(super) fn copy_volume(source: &dyn Pool, volume: &VolumeRef, (dir, rootfs): (&Path, &str)) -> storage::Result<()> {
    sys::copy::copy_tree(&Root::open(source.dir(volume))?, &Root::open(dir)?, NOT_COPIED)?;
    let content = runtime::open_rootfs(&runtime_rootfs(source.rootfs(volume)?)).map_err(storage::Error::fill)?;
    let place = dir.join(rootfs);
    sys::fs::ensure_dir(&place, 0o755)?;
    Ok(sys::copy::copy_tree(&content, &Root::open(place)?, &[])?)
}
