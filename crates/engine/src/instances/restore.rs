//! Restoring a snapshot: its content and its configuration.

use super::Instances;
use super::admission::Action;
use super::snapshot::is_kept_at_restore;
use super::stateful::Origin;
use super::stop::Manner;
use storage::VolumeRef;

use crate::error::Context;
use crate::records::{InstanceRecord, IntentRecord};
use crate::{Error, Result, points};

impl Instances {
    /// Puts an instance back to what a snapshot holds; a running one is killed and started again.
    pub(super) fn restore(&self, name: &str, snapshot: &str) -> Result<()> {
        let engine = &self.engine;
        let snapshot = snapshot.strip_prefix(&format!("{name}/")).unwrap_or(snapshot);
        let _permit = engine.gates.permit(name, Action::Restore)?;
        // Also what a backup brought along, which nobody has looked at since.
        self.checked(&self.restored(name, snapshot)?)?;
        let start = engine.live.get(name).is_some();
        // Found out before the running one is given up.
        self.origin_of(name, snapshot)?.map(|origin| origin.verified(name)).transpose()?;
        let intent = self.intend(name, IntentRecord::Restoring { snapshot: snapshot.to_owned(), start })?;
        self.restore_held(name, snapshot, start)?;
        intent.done();
        Ok(())
    }

    /// What [`Self::restore`] does once that is stored, and what a daemon that finds it stored goes
    /// on with: all of it can be done again.
    pub(super) fn restore_held(&self, name: &str, snapshot: &str, start: bool) -> Result<()> {
        let engine = &self.engine;
        if engine.live.get(name).is_some() {
            self.bring_down(name, Manner::Force)?;
            self.unpublish(name);
        }
        points::reach("restore.down");
        let origin = self.origin_of(name, snapshot)?;
        let result = self.exchange(name, snapshot, start && origin.is_none(), origin.is_some());
        if let (Some(_), Ok(())) = (&origin, &result) {
            // How it ended before must not be taken for the end of what goes on now.
            engine.runtime.forget(name);
            self.mark_stopped(name, Some(IntentRecord::Resuming { snapshot: Some(snapshot.to_owned()) }))?;
            points::reach("restore.stateful");
            self.resume_snapshot(name, snapshot)?;
        } else if start {
            // Also where the restore failed: the old content is still there.
            let started = self.start_again(name);
            result.and(started)?;
        } else {
            result?;
        }
        engine.lifecycle("instance-restored", "instances", name);
        Ok(())
    }

    /// Lets an instance that has the files of a snapshot go on from its running state, too. It stays stopped where
    /// that fails.
    pub(super) fn resume_snapshot(&self, name: &str, snapshot: &str) -> Result<()> {
        let origin = self.origin_of(name, snapshot)?;
        let started = self.start_from(name, origin.as_ref()).map_err(|error| {
            Error::new(
                error.kind(),
                format!("`{name}` has the files of snapshot `{snapshot}` and is stopped; the snapshot keeps its running state"),
            )
            .caused_by(std::io::Error::other(error.report()))
            .hint(format!("`lxc start {name}` starts it afresh; `lxc info {name} --show-log` has the log"))
        });
        started.and(self.forget_intent(name))
    }

    /// The instance as the snapshot has it.
    fn restored(&self, name: &str, snapshot: &str) -> Result<InstanceRecord> {
        let source = self.engine.records.snapshots.get(&format!("{name}/{snapshot}"));
        source.map(|source| source.instance.clone()).ok_or_else(|| {
            Error::not_found(format!("snapshot {name}/{snapshot} does not exist")).hint(format!("`lxc info {name}` shows those there are"))
        })
    }

    /// The running state that a snapshot holds.
    fn origin_of(&self, name: &str, snapshot: &str) -> Result<Option<Origin>> {
        if !self.snapshot_record(name, snapshot)?.stateful {
            return Ok(None);
        }
        let pool = self.engine.pool(&self.record(name)?.pool)?;
        Origin::open(pool.state_dir(&VolumeRef::snapshot(name, snapshot)), name).map(Some)
    }

    /// Removes what a restore needed in the state of a snapshot only while it went on.
    pub(super) fn tidy_state(&self, name: &str, snapshot: &str) -> Result<()> {
        let Some(origin) = self.origin_of(name, snapshot)? else { return Ok(()) };
        origin.state.remove_unpacked(&origin.images).context(format!("tidy the running state of `{name}/{snapshot}`"))
    }

    /// Also stores that it is to be started, or that nothing is left to be done, unless the running state
    /// is still to be restored.
    fn exchange(&self, name: &str, snapshot: &str, start: bool, goes_on: bool) -> Result<()> {
        let mut wanted = self.restored(name, snapshot)?;
        let held = self.record(name)?;
        let pool = self.engine.pool(&held.pool)?;
        pool.restore(name, snapshot).context(format!("restore snapshot `{name}/{snapshot}`"))?;
        points::reach("restore.exchanged");
        wanted.config.retain(|key, _| !is_kept_at_restore(key));
        wanted
            .config
            .extend(held.config.iter().filter(|(key, _)| is_kept_at_restore(key)).map(|(key, value)| (key.clone(), value.clone())));
        wanted.pool.clone_from(&held.pool);
        wanted.created_at = held.created_at;
        wanted.last_used_at = held.last_used_at;
        let mut changes = self.engine.records.changes();
        changes.update(name, &held, wanted)?;
        if start {
            changes.put(name, IntentRecord::Starting)?;
        } else if !goes_on {
            changes.delete::<IntentRecord>(name);
        }
        changes.commit()
    }
}
