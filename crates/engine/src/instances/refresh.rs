//! Bringing a copy up to date with what it was made from.
//!
//! Snapshots that the source has no more go, those that are missing or others of the same name come. The present content comes
//! as a snapshot, too, which is then restored: so at every moment the copy is what it was or what it is to be, whoever dies.

use std::sync::Arc;

use api::Timestamp;
use api::instances::Source;
use keys::instance::volatile;
use storage::VolumeRef;

use super::Instances;
use super::admission::Action;
use super::copy::copy_volume;
use crate::error::Context;
use crate::operations::{New, Operation};
use crate::records::{Held, InstanceRecord, IntentRecord, SnapshotRecord};
use crate::{Error, Result, points};

/// How long the snapshot with the new content is kept where a daemon dies before it has removed it.
const LEFTOVER_SECONDS: i64 = 3600;

impl Instances {
    /// Brings the content of an instance, and its snapshots unless only the instance is wanted, up to date with the source's. Its
    /// configuration stays.
    pub(super) fn refresh(&self, name: &str, source: &Source) -> Result<Arc<Operation>> {
        let from = match source.source.split_once('/') {
            _ if source.source.is_empty() => return Err(Error::bad_request("must specify a source container")),
            None => VolumeRef::instance(source.source.as_str()),
            Some((instance, snapshot)) => {
                self.snapshot_record(instance, snapshot)?;
                VolumeRef::snapshot(instance, snapshot)
            }
        };
        self.record(&from.instance)?;
        if from.instance == name {
            return Err(Error::bad_request(format!("'{name}' cannot be brought up to date with itself"))
                .hint(format!("`lxc restore {name} SNAPSHOT` goes back to a snapshot")));
        }
        let with_snapshots = from.snapshot.is_none() && !source.instance_only && !source.container_only;
        let (this, name) = (self.clone(), name.to_owned());
        let mut new = New::instance("Refreshing instance", &name);
        new.resources[0].1.push(from.instance.clone());
        self.engine.operations.run(new, move |_| {
            let _permit = this.engine.gates.permit(&name, Action::Restore)?;
            let _source = this.engine.gates.permit(&from.instance, Action::Copy)?;
            this.refresh_held(&name, &from, with_snapshots).map(|()| None)
        })
    }

    fn refresh_held(&self, name: &str, from: &VolumeRef, with_snapshots: bool) -> Result<()> {
        let target = self.record(name)?;
        let source = self.record(&from.instance)?;
        self.check_refreshable(name, &target)?;
        let ids = |record: &InstanceRecord| volatile::LAST_STATE_IDMAP.text(&record.config).unwrap_or_default().to_owned();
        let whose = match &from.snapshot {
            None => source.record.clone(),
            Some(snapshot) => Arc::new(self.snapshot_record(&from.instance, snapshot)?.instance.clone()),
        };
        if source.shifting_to.is_some() {
            return Err(Error::bad_request("a change of the owners of files was interrupted")
                .hint("start the instance once, which goes on with it"));
        }
        let gone = if with_snapshots { self.refresh_snapshots(name, &target, &source, &from.instance)? } else { Vec::new() };
        self.put_content(name, (from, &source), ids(&whose))?;
        // Last, so that what fails leaves all that there was.
        gone.iter().try_for_each(|snapshot| self.delete_snapshot_held(name, snapshot))
    }

    /// Puts the content of a volume, whose files belong to these ids, in the place of an instance's. The caller holds the
    /// permits.
    pub(super) fn put_content(&self, name: &str, (from, source): (&VolumeRef, &InstanceRecord), ids: String) -> Result<()> {
        let target = self.record(name)?;
        let content = format!("refresh-{}", uuid::Uuid::new_v4());
        let now = Timestamp::now();
        let mut instance = InstanceRecord { stateful: false, ..InstanceRecord::clone(&target.record) };
        volatile::LAST_STATE_IDMAP.set(&mut instance.config, ids);
        let expires_at = Timestamp::from_unix(now.unix() + LEFTOVER_SECONDS);
        self.discard_state(name)?;
        self.add_snapshot(name, &content, (from, source), SnapshotRecord { taken_at: now, expires_at, instance, stateful: false })?;
        points::reach("refresh.added");
        let intent = self.intend(name, IntentRecord::Restoring { snapshot: content.clone(), start: false })?;
        let restored = self.restore_held(name, &content, false);
        match &restored {
            Ok(()) => intent.done(),
            // Before that snapshot goes: nobody is to go on with it.
            Err(_) => drop(intent),
        }
        restored.and(self.delete_snapshot_held(name, &content))
    }

    /// Takes over the snapshots of the source that are not there yet, and names those that it does not have.
    fn refresh_snapshots(&self, name: &str, target: &InstanceRecord, source: &Held<InstanceRecord>, instance: &str) -> Result<Vec<String>> {
        let wanted = self.snapshot_records(instance);
        let had = self.snapshot_records(name);
        for (snapshot, theirs) in &wanted {
            let own = had.iter().find(|(own, _)| own == snapshot).map(|(_, own)| own);
            if own.is_some_and(|own| own.taken_at == theirs.taken_at) {
                continue;
            }
            let record = self.copied_snapshot(instance, snapshot, &target.pool)?;
            if own.is_some() {
                self.delete_snapshot_held(name, snapshot)?;
            }
            self.add_snapshot(name, snapshot, (&VolumeRef::snapshot(instance, snapshot.as_str()), source), record)?;
        }
        let is_wanted = |own: &String| wanted.iter().any(|(theirs, _)| theirs == own);
        Ok(had.into_iter().map(|(own, _)| own).filter(|own| !is_wanted(own)).collect())
    }

    /// Gives an instance a snapshot with the content of a volume of another instance.
    pub(super) fn add_snapshot(
        &self,
        name: &str,
        snapshot: &str,
        (from, source): (&VolumeRef, &InstanceRecord),
        record: SnapshotRecord,
    ) -> Result<()> {
        let id = format!("{name}/{snapshot}");
        let what = format!("copy `{}` to snapshot `{id}`", from.instance);
        let target_pool = self.record(name)?.pool.clone();
        let pool = self.engine.pool(&target_pool)?;
        let intent = self.intend(name, IntentRecord::Snapshotting { snapshot: snapshot.to_owned(), stateful: false })?;
        if source.pool == target_pool {
            pool.copy_snapshot(from, name, snapshot).context(what)?;
        } else {
            let source_pool = self.engine.pool(&source.pool)?;
            let (still, _taken_back) = self.still(from)?;
            let filled = pool.create_snapshot_filled(name, snapshot, &mut |dir, rootfs| copy_volume(&*source_pool, &still, (dir, rootfs)));
            filled.context(what)?;
        }
        let mut changes = self.engine.records.changes();
        changes.insert(&id, record)?;
        changes.delete::<IntentRecord>(name);
        changes.commit()?;
        intent.done();
        self.engine.expiry_alarm.ring();
        Ok(())
    }
}
