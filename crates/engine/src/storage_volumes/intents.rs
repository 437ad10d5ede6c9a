//! What is under way with a volume, so that a daemon's death in the middle of it costs nothing.

use storage::{CustomVolumes, VolumeRef};

use super::StorageVolumes;
use crate::error::Context;
use crate::intended::Intended;
use crate::records::{VolumeIntentRecord, VolumeRecord};
use crate::{Error, Result};

impl StorageVolumes {
    /// Stores what is about to be done; the caller holds the volume.
    pub(super) fn intend<'a>(&'a self, name: &'a str, intent: VolumeIntentRecord) -> Result<Intended<'a>> {
        let mut changes = self.engine.records.changes();
        changes.put(&self.id(name), intent)?;
        changes.commit()?;
        Ok(Intended::new(self.id(name), move || self.take_back(name)))
    }

    /// Takes back what an earlier daemon left off; for the time when the pool has just been opened.
    pub(crate) fn settle_all(&self) {
        for (name, _) in self.engine.records.volume_intents.below(&format!("{}/", self.pool)) {
            let _alone = self.engine.pools.volumes.hold(&self.id(&name));
            if let Err(error) = self.take_back(&name) {
                tracing::warn!(pool = self.pool, volume = name, "settle an interrupted action: {}", error.report());
            }
        }
    }

    /// Takes back an action whose own taking back failed; the caller holds the volume.
    pub(super) fn settle_leftover(&self, name: &str) -> Result<()> {
        self.take_back(name)
            .map_err(|error| Error::new(error.kind(), format!("settle an interrupted action on volume `{name}`")).caused_by(error))
    }

    /// Undoes what an action did to the pool, then forgets that it was under way.
    fn take_back(&self, name: &str) -> Result<()> {
        let records = &self.engine.records;
        let id = self.id(name);
        let Some(intent) = records.volume_intents.get(&id) else { return Ok(()) };
        let custom = self.custom()?;
        let undone = match &*intent.record {
            // A record that cannot be read is still one.
            VolumeIntentRecord::Creating if records.is_stored::<VolumeRecord>(&id)? => Ok(()),
            VolumeIntentRecord::Creating => custom.delete(name),
            VolumeIntentRecord::Renaming { to } => {
                let (new, old) = (VolumeRef::instance(to), VolumeRef::instance(name));
                if is_moved(&*custom, &new, &old) { custom.rename(to, name) } else { Ok(()) }
            }
            VolumeIntentRecord::Snapshotting { snapshot } if records.volume_snapshots.contains(&format!("{id}/{snapshot}")) => Ok(()),
            VolumeIntentRecord::Snapshotting { snapshot } => custom.delete_snapshot(name, snapshot),
            VolumeIntentRecord::RenamingSnapshot { from, to } => {
                let (new, old) = (VolumeRef::snapshot(name, to), VolumeRef::snapshot(name, from));
                if is_moved(&*custom, &new, &old) { custom.rename_snapshot(name, to, from) } else { Ok(()) }
            }
        };
        undone.context(format!("put storage volume `{id}` back"))?;
        let mut changes = records.changes();
        changes.delete::<VolumeIntentRecord>(&id);
        changes.commit()
    }
}

fn is_moved(custom: &dyn CustomVolumes, new: &VolumeRef, old: &VolumeRef) -> bool {
    sys::fs::exists(custom.dir(new)) && !sys::fs::exists(custom.dir(old))
}
