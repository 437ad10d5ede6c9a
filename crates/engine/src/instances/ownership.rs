//! Whose the files of an instance are on disk: guest ids, or, where the file system cannot map ids,
//! the host ids of the map that it runs with.
//!
//! Rewriting them takes a while and may be interrupted anywhere. So it is noted in the record
//! before it begins, and what is then on disk as soon as it is done, whatever becomes of the start
//! that wanted it. One end of a rewriting is always the guest's own ids: the ids of two maps may
//! overlap, and nothing would say which of them an object had when the daemon died.

use keys::instance::volatile;
use runtime::Rootfs;
use storage::{Pool, ShiftState, VolumeRef};
use sys::idmap::IdMap;

use super::Instances;
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

impl Instances {
    /// Sees to it that the ids on disk are what the start expects, and says whether they are to be
    /// mapped by the mount.
    pub(super) fn settle_ids(&self, name: &str, (pool, volume): (&dyn Pool, &VolumeRef), rootfs: &Rootfs, idmap: &IdMap) -> Result<bool> {
        let magic = sys::fs::fs_magic(pool.dir(volume)).context("look at the file system of the pool")?;
        let idmapped = IDMAP_FILE_SYSTEMS.contains(&magic);
        let wanted = if idmapped { IdMap::default() } else { idmap.clone() };
        let record = self.record(name)?;
        let mut on_disk = on_disk(&record)?;
        if let Some(target) = &record.shifting_to {
            tracing::warn!(instance = name, "going on with an interrupted change of its files' owners");
            self.shift(name, rootfs, (&on_disk, target), ShiftState::Interrupted)?;
            on_disk.clone_from(target);
        }
        let guest_ids = IdMap::default();
        if on_disk != wanted && on_disk != guest_ids {
            self.shift(name, rootfs, (&on_disk, &guest_ids), ShiftState::Fresh)?;
            on_disk = guest_ids;
        }
        if on_disk != wanted {
            self.shift(name, rootfs, (&on_disk, &wanted), ShiftState::Fresh)?;
        }
        Ok(idmapped)
    }

    fn shift(&self, name: &str, rootfs: &Rootfs, (from, to): (&IdMap, &IdMap), state: ShiftState) -> Result<()> {
        let records = &self.engine.records;
        let json = serde_json::to_string(to).context("print the id map")?;
        let root = runtime::open_rootfs(rootfs).context("open the root file system")?;
        records.modify::<InstanceRecord>(name, |record| record.shifting_to = Some(to.clone()))?;
        storage::shift_tree(&root, from, to, state).context("change the owners of the instance's files")?;
        records.modify::<InstanceRecord>(name, |record| {
            record.shifting_to = None;
            volatile::LAST_STATE_IDMAP.set(&mut record.config, &json);
        })?;
        Ok(())
    }
}

/// The map whose host ids the files have.
pub(super) fn on_disk(record: &InstanceRecord) -> Result<IdMap> {
    let Some(text) = volatile::LAST_STATE_IDMAP.text(&record.config) else { return Ok(IdMap::default()) };
    serde_json::from_str(text)
        .map_err(|error| Error::internal(format!("{} cannot be read", volatile::LAST_STATE_IDMAP.name)).caused_by(error))
}
