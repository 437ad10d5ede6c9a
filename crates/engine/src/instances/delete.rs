//! Deleting.

use std::sync::Arc;

use keys::instance::SECURITY_PROTECTION_DELETE;

use super::Instances;
use super::admission::{Action, Entry};
use super::expand::expand_record;
use crate::error::Context;
use crate::operations::{New, Operation};
use crate::records::{InstanceRecord, IntentRecord, SnapshotRecord};
use crate::warnings::Cause;
use crate::{Error, Result};

impl Instances {
    /// Deletes a stopped instance and its snapshots. Its logs stay.
    pub fn delete(&self, name: &str) -> Result<Arc<Operation>> {
        self.record(name)?;
        self.check_deletable(name)?;
        let (this, instance) = (self.clone(), name.to_owned());
        self.engine.operations.run(New::instance("Deleting instance", name), move |_| {
            match this.engine.gates.enter(&instance, Action::Delete, || Ok(()))? {
                Entry::Joined => Ok(None),
                Entry::Act(_permit) => {
                    this.record(&instance)?;
                    this.check_deletable(&instance)?;
                    this.delete_held(&instance).map(|()| None)
                }
            }
        })
    }

    fn check_deletable(&self, name: &str) -> Result<()> {
        let config = expand_record(&self.engine.records, &*self.record(name)?).config;
        if SECURITY_PROTECTION_DELETE.is_true(&config) {
            return Err(Error::bad_request("Instance is protected from deletion")
                .hint(format!("lxc config unset {name} security.protection.delete")));
        }
        self.engine.gates.check_reachable(name)?;
        if self.engine.live.get(name).is_some() {
            return Err(Error::bad_request("container is running").hint("stop it first, or use --force"));
        }
        Ok(())
    }

    /// Removes volume, records and what the instance has on the host; the caller holds the permit.
    /// The volume goes first: if that fails half way, the record still shows what to delete again.
    pub(crate) fn delete_held(&self, name: &str) -> Result<()> {
        let engine = &self.engine;
        let record = self.record(name)?;
        let expanded = expand_record(&engine.records, &record);
        let pool = engine.pool(&record.pool)?;
        self.settle_leftover(name)?;
        pool.delete(name).context(format!("delete the volume of `{name}`"))?;
        let mut changes = engine.records.changes();
        changes.delete::<InstanceRecord>(name);
        changes.delete::<IntentRecord>(name);
        for (snapshot, _) in engine.records.snapshots.below(&format!("{name}/")) {
            changes.delete::<SnapshotRecord>(&format!("{name}/{snapshot}"));
        }
        let backups = engine.forget_backups(name, &mut changes);
        changes.commit()?;
        backups.iter().for_each(|path| engine.remove_backup_file(path));
        engine.live.set_unsettled(name, None);
        engine.runtime.forget_profile(name);
        for (network, host) in engine.hosts_of(name, &expanded.config, &expanded.devices) {
            engine.withdraw_host(&network, &host.hwaddr);
        }
        if let Err(error) = sys::fs::remove_tree(engine.config.dir.join("devices").join(name)) {
            tracing::warn!("{error}");
        }
        engine.forget_warnings(Cause::Autostart, name);
        engine.lifecycle("instance-deleted", "instances", name);
        Ok(())
    }
}
