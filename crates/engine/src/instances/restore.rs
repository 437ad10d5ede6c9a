//! Restoring a snapshot: its content and its configuration.

use storage::Pool;

use super::Instances;
use super::admission::Action;
use super::expand::check_profiles;
use super::snapshot::is_kept_at_restore;
use super::stop::Manner;
use crate::error::Context;
use crate::records::{Held, InstanceRecord};
use crate::{Error, Result};

impl Instances {
    /// Puts an instance back to what a snapshot holds; a running one is killed and started again.
    pub(super) fn restore(&self, name: &str, snapshot: &str) -> Result<()> {
        let engine = &self.engine;
        let snapshot = snapshot.strip_prefix(&format!("{name}/")).unwrap_or(snapshot);
        let _permit = engine.gates.permit(name, Action::Restore)?;
        let source = engine.records.snapshots.get(&format!("{name}/{snapshot}"));
        let source = source.ok_or_else(|| Error::not_found(format!("snapshot {name}/{snapshot} does not exist")))?;
        let mut wanted = source.instance.clone();
        check_profiles(&engine.records, &wanted.profiles)?;
        let held = self.record(name)?;
        let pool = engine.pool(&held.pool)?;
        let was_running = engine.live.get(name).is_some();
        if was_running {
            self.bring_down(name, Manner::Force)?;
            engine.live.remove(name);
        }
        let result = self.exchange((name, snapshot), &*pool, &mut wanted);
        if was_running {
            // Also where the restore failed: the old content is still there.
            let started = self.start_held(name);
            result.and(started)?;
        } else {
            result?;
        }
        engine.lifecycle("instance-restored", "instances", name);
        Ok(())
    }

    fn exchange(&self, (name, snapshot): (&str, &str), pool: &dyn Pool, wanted: &mut InstanceRecord) -> Result<()> {
        let held: Held<InstanceRecord> = self.record(name)?;
        pool.restore(name, snapshot).context(format!("restore snapshot `{name}/{snapshot}`"))?;
        wanted.config.retain(|key, _| !is_kept_at_restore(key));
        wanted
            .config
            .extend(held.config.iter().filter(|(key, _)| is_kept_at_restore(key)).map(|(key, value)| (key.clone(), value.clone())));
        wanted.pool.clone_from(&held.pool);
        wanted.created_at = held.created_at;
        wanted.last_used_at = held.last_used_at;
        let mut changes = self.engine.records.changes();
        changes.update(name, &held, wanted.clone())?;
        changes.commit()
    }
}
