//! What is under way with an instance, so that a daemon's death in the middle of it costs nothing.
//!
//! A change of a volume and the record of it cannot be one step. An intent in the store covers the
//! time between: it is written before the first step and removed by the commit that ends the
//! action. Where that commit never comes, [`Instances::take_back`] undoes what was done, be it at
//! once because a step failed or in the next daemon's life. What the user wants to run is instead
//! seen through by [`Instances::carry_on`].

use storage::{Pool, VolumeRef};

use super::Instances;
use crate::error::Context;
use crate::intended::Intended;
use crate::records::{InstanceRecord, IntentRecord};
use crate::{Error, Result};

impl Instances {
    /// Stores what is about to be done; the caller holds the permit.
    pub(super) fn intend<'a>(&'a self, name: &'a str, intent: IntentRecord) -> Result<Intended<'a>> {
        self.settle_leftover(name)?;
        let mut changes = self.engine.records.changes();
        changes.put(name, intent)?;
        changes.commit()?;
        Ok(Intended::new(name, move || self.take_back(name)))
    }

    /// Takes back an action whose own taking back failed, for instance because the pool was not
    /// there; the caller holds the permit.
    pub(super) fn settle_leftover(&self, name: &str) -> Result<()> {
        match self.engine.records.intents.get(name) {
            Some(intent) if !intent.is_start() => self
                .take_back(name)
                .map_err(|error| Error::new(error.kind(), format!("settle an interrupted action on `{name}`")).caused_by(error)),
            _ => Ok(()),
        }
    }

    /// Undoes what an action did to the pool, then forgets that it was under way.
    pub(super) fn take_back(&self, name: &str) -> Result<()> {
        let records = &self.engine.records;
        let Some(intent) = records.intents.get(name) else { return Ok(()) };
        match &*intent.record {
            IntentRecord::Creating { pool } => self.remove_unfinished(name, pool)?,
            IntentRecord::Renaming { to } => {
                self.on_pool_of(name, |pool| {
                    move_back(pool, &VolumeRef::instance(to), &VolumeRef::instance(name), |pool| pool.rename(to, name))
                })?;
            }
            IntentRecord::Snapshotting { snapshot, stateful } => {
                if *stateful {
                    self.settle_checkpoint(name);
                }
                if !records.snapshots.contains(&format!("{name}/{snapshot}")) {
                    self.on_pool_of(name, |pool| pool.delete_snapshot(name, snapshot))?;
                }
                // That of a running instance can only be one that was on its way to the snapshot.
                if records.instances.get(name).is_some_and(|record| !record.stateful) {
                    self.discard_state(name)?;
                }
            }
            IntentRecord::RenamingSnapshot { from, to } => {
                let (new, old) = (VolumeRef::snapshot(name, to), VolumeRef::snapshot(name, from));
                self.on_pool_of(name, |pool| move_back(pool, &new, &old, |pool| pool.rename_snapshot(name, to, from)))?;
            }
            IntentRecord::Saving => self.settle_saving(name)?,
            // The exchange of the contents is one step; nothing is half done.
            IntentRecord::Restoring { .. } | IntentRecord::Resuming { .. } | IntentRecord::Restarting | IntentRecord::Starting => {}
        }
        self.forget_intent(name)
    }

    /// Sees through what an earlier daemon left off; the caller holds the permit.
    pub(super) fn carry_on(&self, name: &str) -> Result<()> {
        let Some(intent) = self.engine.records.intents.get(name) else { return Ok(()) };
        let is_running = self.engine.live.get(name).is_some_and(|run| run.container.is_running());
        match &*intent.record {
            // It is still on its way down; its end will be followed by a start.
            IntentRecord::Restarting if is_running => Ok(()),
            IntentRecord::Starting | IntentRecord::Resuming { .. } if is_running => {
                if let IntentRecord::Resuming { snapshot: Some(snapshot) } = &*intent.record {
                    self.tidy_state(name, snapshot)?;
                }
                self.forget_intent(name)
            }
            IntentRecord::Resuming { snapshot: Some(snapshot) } => self.resume_snapshot(name, snapshot),
            IntentRecord::Resuming { snapshot: None } => self.start_held(name),
            IntentRecord::Restarting | IntentRecord::Starting => self.start_again(name),
            IntentRecord::Restoring { snapshot, start } => self.restore_held(name, snapshot, *start),
            _ => self.take_back(name),
        }
    }

    pub(super) fn forget_intent(&self, name: &str) -> Result<()> {
        if !self.engine.records.intents.contains(name) {
            return Ok(());
        }
        let mut changes = self.engine.records.changes();
        changes.delete::<IntentRecord>(name);
        changes.commit()
    }

    /// Removes the volume of an instance that was never stored.
    fn remove_unfinished(&self, name: &str, pool: &str) -> Result<()> {
        let records = &self.engine.records;
        // A record that cannot be read is still one.
        if records.is_stored::<InstanceRecord>(name)? || !records.pools.contains(pool) {
            return Ok(());
        }
        let pool = self.engine.pool(pool)?;
        pool.delete(name).context(format!("remove the unfinished volume of `{name}`"))
    }

    /// Does something on the pool of an instance, if there still is such an instance.
    fn on_pool_of(&self, name: &str, work: impl FnOnce(&dyn Pool) -> storage::Result<()>) -> Result<()> {
        let Some(record) = self.engine.records.instances.get(name) else { return Ok(()) };
        let pool = self.engine.pool(&record.pool)?;
        work(&*pool).context(format!("put the volume of `{name}` back"))
    }
}

/// Renames `new` back to `old`, if that is how they were left.
fn move_back(
    pool: &dyn Pool,
    new: &VolumeRef,
    old: &VolumeRef,
    rename: impl FnOnce(&dyn Pool) -> storage::Result<()>,
) -> storage::Result<()> {
    if sys::fs::exists(pool.dir(old)) || !sys::fs::exists(pool.dir(new)) {
        return Ok(());
    }
    rename(pool)
}
