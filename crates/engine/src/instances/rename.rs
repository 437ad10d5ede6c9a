//! Renaming.

use std::sync::Arc;

use api::instances::InstancePost;
use keys::instance::volatile;
use storage::VolumeRef;

use super::Instances;
use super::admission::Action;
use super::expand::expand_record;
use crate::error::Context;
use crate::operations::{New, Operation};
use crate::records::{BackupRecord, InstanceRecord, IntentRecord, SnapshotRecord};
use crate::warnings::Cause;
use crate::{Error, Result, points};

impl Instances {
    /// Renames a stopped instance .
    pub fn rename(&self, name: &str, request: InstancePost) -> Result<Arc<Operation>> {
        self.record(name)?;
        keys::names::check_instance(&request.name)?;
        if self.engine.records.instances.contains(&request.name) {
            return Err(Error::conflict(format!("Name '{}' already in use", request.name)));
        }
        let (this, old) = (self.clone(), name.to_owned());
        self.engine.operations.run(New::instance("Renaming instance", name), move |_| this.rename_now(&old, &request.name).map(|()| None))
    }

    fn rename_now(&self, old: &str, new: &str) -> Result<()> {
        let engine = &self.engine;
        let _permit = engine.gates.permit(old, Action::Rename)?;
        let _target = engine.gates.permit(new, Action::Create)?;
        let held = self.record(old)?;
        if engine.live.get(old).is_some() {
            return Err(Error::bad_request("Renaming of running container not allowed").hint("stop it first"));
        }
        let pool = engine.pool(&held.pool)?;
        self.settle_leftover(old)?;
        self.settle_leftover(new)?;
        self.check_no_volume(&*pool, &VolumeRef::instance(new))?;
        let intent = self.intend(old, IntentRecord::Renaming { to: new.to_owned() })?;
        pool.rename(old, new).context(format!("rename the volume of `{old}`"))?;
        points::reach("rename.moved");
        let mut changes = engine.records.changes();
        changes.delete::<InstanceRecord>(old);
        changes.delete::<IntentRecord>(old);
        let mut renamed = InstanceRecord::clone(&held.record);
        // The trigger of a creation or a copy that was not started yet covers the name, too.
        if volatile::APPLY_TEMPLATE.text(&renamed.config).is_none() {
            volatile::APPLY_TEMPLATE.set(&mut renamed.config, "rename");
        }
        changes.insert(new, renamed)?;
        for (snapshot, record) in engine.records.snapshots.below(&format!("{old}/")) {
            changes.delete::<SnapshotRecord>(&format!("{old}/{snapshot}"));
            changes.insert(&format!("{new}/{snapshot}"), SnapshotRecord::clone(&record.record))?;
        }
        for (backup, record) in engine.records.backups.below(&format!("{old}/")) {
            changes.delete::<BackupRecord>(&format!("{old}/{backup}"));
            changes.insert(&format!("{new}/{backup}"), BackupRecord::clone(&record.record))?;
        }
        changes.commit()?;
        intent.done();
        self.move_belongings(old, new, &held);
        engine.lifecycle("instance-renamed", "instances", new);
        Ok(())
    }

    /// What is named after the instance but is not worth failing for.
    fn move_belongings(&self, old: &str, new: &str, record: &InstanceRecord) {
        self.engine.runtime.forget_profile(old);
        self.engine.forget_warnings(Cause::Autostart, old);
        let logs = &self.engine.config.log_dir;
        if sys::fs::exists(logs.join(old)) {
            let moved = sys::fs::remove_tree(logs.join(new)).and_then(|()| sys::fs::rename(logs.join(old), logs.join(new)));
            if let Err(error) = moved {
                tracing::warn!("{error}");
            }
        }
        if let Err(error) = sys::fs::remove_tree(self.engine.config.dir.join("devices").join(old)) {
            tracing::warn!("{error}");
        }
        let expanded = expand_record(&self.engine.records, record);
        for (network, host) in self.engine.hosts_of(new, &expanded.config, &expanded.devices) {
            self.engine.announce_host(&network, host);
        }
    }
}
