//! What a copy takes over from its source.

use api::instances::InstancesPost;
use keys::instance::volatile;
use storage::VolumeRef;

use super::Instances;
use super::create::Origin;
use crate::records::InstanceRecord;
use crate::{Error, Result};

/// Volatile keys that a copy keeps.
const KEPT: &[&str] = &[volatile::BASE_IMAGE.name, volatile::LAST_STATE_IDMAP.name];

impl Instances {
    /// The record of a copy: the source's own configuration and devices with the request's over
    /// them. Never ephemeral by inheritance; snapshots stay behind.
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
        record.config.retain(|key, _| !key.starts_with("volatile.") || KEPT.contains(&key.as_str()));
        record.config.extend(request.config.clone());
        record.devices.extend(request.devices.clone());
        record.last_used_at = api::Timestamp::NEVER;
        volatile::APPLY_TEMPLATE.set(&mut record.config, "copy");
        Ok((Origin::Copy { from, pool }, record))
    }
}
