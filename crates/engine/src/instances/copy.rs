//! What a copy takes over from its source, its snapshots included.

use api::instances::InstancesPost;
use keys::instance::volatile;
use storage::VolumeRef;

use super::Instances;
use super::create::Origin;
use crate::records::{InstanceRecord, SnapshotRecord};
use crate::{Error, Result};

/// Volatile keys that a copy keeps.
const KEPT: &[&str] = &[volatile::BASE_IMAGE.name, volatile::LAST_STATE_IDMAP.name];

fn is_kept(key: &str) -> bool {
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

    /// The records of the snapshots that a new instance has from its beginning. Running states stay behind.
    pub(super) fn first_snapshots(&self, origin: &Origin) -> Result<Vec<(String, SnapshotRecord)>> {
        let (from, snapshots) = match origin {
            Origin::Copy { from, snapshots, .. } => (from, snapshots),
            Origin::Backup(source) => return Ok(source.snapshots.clone()),
            Origin::Image(_) | Origin::Nothing => return Ok(Vec::new()),
        };
        let copied = snapshots.iter().map(|snapshot| {
            let mut record = SnapshotRecord::clone(&self.snapshot_record(&from.instance, snapshot)?.record);
            record.stateful = false;
            record.instance.config.retain(|key, _| is_kept(key));
            Ok((snapshot.clone(), record))
        });
        copied.collect()
    }
}
