//! Snapshots: taking, listing, renaming, deleting.

use std::sync::Arc;

use api::Timestamp;
use api::snapshots::{Snapshot, SnapshotPut, SnapshotsPost};
use keys::instance::{SNAPSHOTS_EXPIRY, SNAPSHOTS_PATTERN, volatile};
use runtime::{After, Checkpoint};
use storage::VolumeRef;

use super::Instances;
use super::admission::Action;
use super::expand::expand_record;
use super::stateful::{Saving, packing};
use super::stop::not_running;
use crate::error::Context;
use crate::operations::{New, Operation};
use crate::records::{Held, InstanceRecord, IntentRecord, SnapshotRecord};
use crate::{Error, Result, Tagged, etag, points};

impl Instances {
    /// Names of the snapshots of an instance (without its own name), oldest first.
    pub fn snapshot_names(&self, name: &str) -> Result<Vec<String>> {
        self.record(name)?;
        Ok(self.snapshot_records(name).into_iter().map(|(snapshot, _)| snapshot).collect())
    }

    /// The snapshots of an instance, oldest first; `name` is the bare snapshot name.
    pub fn snapshots(&self, name: &str) -> Result<Vec<Snapshot>> {
        self.record(name)?;
        Ok(self.render_snapshots(name))
    }

    /// One snapshot; `name` in it is the bare snapshot name.
    pub fn snapshot(&self, name: &str, snapshot: &str) -> Result<Tagged<Snapshot>> {
        let record = self.snapshot_record(name, snapshot)?;
        Ok(Tagged { value: self.render_snapshot(snapshot, &record), etag: etag::of(&record.expires_at) })
    }

    /// Takes a snapshot.
    pub fn create_snapshot(&self, name: &str, request: SnapshotsPost) -> Result<Arc<Operation>> {
        self.record(name)?;
        if request.stateful && self.engine.live.get(name).is_none() {
            return Err(Error::bad_request("Unable to create a stateful snapshot. The container isn't running.")
                .hint("start it, or take the snapshot without --stateful"));
        }
        if !request.name.is_empty() {
            keys::names::check_snapshot(&request.name)?;
        }
        let (this, instance) = (self.clone(), name.to_owned());
        self.engine
            .operations
            .run(New::instance("Snapshotting instance", name), move |_| this.take_snapshot(&instance, request).map(|()| None))
    }

    /// Changes when a snapshot expires.
    pub fn update_snapshot(&self, name: &str, snapshot: &str, request: SnapshotPut, if_match: Option<&str>) -> Result<Arc<Operation>> {
        etag::check(if_match, &self.snapshot_record(name, snapshot)?.expires_at)?;
        let sent = if_match.map(str::to_owned);
        let (this, instance, snapshot) = (self.clone(), name.to_owned(), snapshot.to_owned());
        self.engine.operations.run(New::instance("Updating snapshot", name), move |_| {
            let _permit = this.engine.gates.permit(&instance, Action::Snapshot)?;
            let held = this.snapshot_record(&instance, &snapshot)?;
            etag::check(sent.as_deref(), &held.expires_at)?;
            let expires_at = request.expires_at.unwrap_or(Timestamp::NEVER);
            let mut changes = this.engine.records.changes();
            let record = SnapshotRecord { expires_at, ..SnapshotRecord::clone(&held.record) };
            changes.update(&format!("{instance}/{snapshot}"), &held, record)?;
            changes.commit()?;
            this.engine.expiry_alarm.ring();
            this.engine.lifecycle("instance-snapshot-updated", "instances", &format!("{instance}/snapshots/{snapshot}"));
            Ok(None)
        })
    }

    fn take_snapshot(&self, name: &str, request: SnapshotsPost) -> Result<()> {
        let action = if request.stateful { Action::Save } else { Action::Snapshot };
        let _permit = self.engine.gates.permit(name, action)?;
        self.take_snapshot_held(name, request)
    }

    /// The same for who holds the permit.
    pub(super) fn take_snapshot_held(&self, name: &str, request: SnapshotsPost) -> Result<()> {
        let (engine, wanted, stateful) = (&self.engine, request.name, request.stateful);
        let held = self.record(name)?;
        let expanded = expand_record(&engine.records, &held);
        let snapshot =
            if wanted.is_empty() { self.next_name(name, SNAPSHOTS_PATTERN.text(&expanded.config).unwrap_or("snap%d")) } else { wanted };
        keys::names::check_snapshot(&snapshot)?;
        let id = format!("{name}/{snapshot}");
        if engine.records.snapshots.contains(&id) {
            return Err(Error::conflict(format!("Snapshot '{id}' already exists")));
        }
        let pool = engine.pool(&held.pool)?;
        self.settle_leftover(name)?;
        self.check_no_volume(&*pool, &VolumeRef::snapshot(name, snapshot.as_str()))?;
        let running = if stateful {
            let run = engine.live.get(name).ok_or_else(not_running)?;
            Some((self.check_saving(&run, Saving::Snapshot)?, run))
        } else {
            None
        };
        let intent = self.intend(name, IntentRecord::Snapshotting { snapshot: snapshot.clone(), stateful })?;
        match &running {
            None => pool.snapshot(name, &snapshot).context(format!("take snapshot `{id}`"))?,
            Some((criu, run)) => {
                let images = self.new_state_dir(name, &held)?;
                let _closed = engine.guests().pause(&run.container.spec());
                let request = Checkpoint { criu, images: &images, after: After::GoOn, packing: packing(&expanded.config) };
                // The files are those of the moment that the state is of.
                let mut rest = |complete: &mut (dyn FnMut() -> storage::Result<()> + Send)| {
                    let mut take = || {
                        complete().map_err(|error| error.to_string())?;
                        points::reach("snapshot.rest");
                        Ok(())
                    };
                    Ok(run.container.checkpoint(&request, &mut take)?)
                };
                let taken = pool.snapshot_at_rest(name, &snapshot, &mut rest);
                self.rebalance_cpus();
                taken.map_err(|error| Error::internal(format!("take stateful snapshot `{id}`")).caused_by(error))?;
            }
        }
        points::reach("snapshot.taken");
        let now = Timestamp::now();
        let kept = SNAPSHOTS_EXPIRY.text(&expanded.config).and(SNAPSHOTS_EXPIRY.get(&expanded.config)).filter(|seconds| *seconds > 0);
        let expires_at = request
            .expires_at
            .unwrap_or_else(|| kept.map_or(Timestamp::NEVER, |seconds| Timestamp::from_unix(now.unix() + seconds as i64)));
        let instance = InstanceRecord { stateful: false, ..InstanceRecord::clone(&held.record) };
        let mut changes = engine.records.changes();
        changes.insert(&id, SnapshotRecord { taken_at: now, expires_at, instance, stateful })?;
        changes.delete::<IntentRecord>(name);
        changes.commit()?;
        intent.done();
        engine.expiry_alarm.ring();
        engine.lifecycle("instance-snapshot-created", "instances", &format!("{name}/snapshots/{snapshot}"));
        Ok(())
    }

    /// Renames a snapshot.
    pub fn rename_snapshot(&self, name: &str, snapshot: &str, new: &str) -> Result<Arc<Operation>> {
        self.snapshot_record(name, snapshot)?;
        keys::names::check_snapshot(new)?;
        if self.engine.records.snapshots.contains(&format!("{name}/{new}")) {
            return Err(Error::conflict(format!("Snapshot '{name}/{new}' already exists")));
        }
        let (this, instance, snapshot, new) = (self.clone(), name.to_owned(), snapshot.to_owned(), new.to_owned());
        let work = move |_: &Arc<Operation>| this.rename_snapshot_now(&instance, &snapshot, &new).map(|()| None);
        self.engine.operations.run(New::instance("Renaming snapshot", name), work)
    }

    fn rename_snapshot_now(&self, name: &str, old: &str, new: &str) -> Result<()> {
        let engine = &self.engine;
        let _permit = engine.gates.permit(name, Action::Snapshot)?;
        let held = self.snapshot_record(name, old)?;
        let pool = engine.pool(&self.record(name)?.pool)?;
        let intent = self.intend(name, IntentRecord::RenamingSnapshot { from: old.to_owned(), to: new.to_owned() })?;
        pool.rename_snapshot(name, old, new).context(format!("rename snapshot `{name}/{old}`"))?;
        points::reach("snapshot.renamed");
        let mut changes = engine.records.changes();
        changes.delete::<SnapshotRecord>(&format!("{name}/{old}"));
        changes.insert(&format!("{name}/{new}"), SnapshotRecord::clone(&held.record))?;
        changes.delete::<IntentRecord>(name);
        changes.commit()?;
        intent.done();
        engine.lifecycle("instance-snapshot-renamed", "instances", &format!("{name}/snapshots/{new}"));
        Ok(())
    }

    /// Deletes a snapshot.
    pub fn delete_snapshot(&self, name: &str, snapshot: &str) -> Result<Arc<Operation>> {
        self.snapshot_record(name, snapshot)?;
        let (this, instance, snapshot) = (self.clone(), name.to_owned(), snapshot.to_owned());
        self.engine.operations.run(New::instance("Deleting snapshot", name), move |_| {
            let _permit = this.engine.gates.permit(&instance, Action::Snapshot)?;
            this.delete_snapshot_held(&instance, &snapshot).map(|()| None)
        })
    }

    /// The same for who holds the permit.
    pub(super) fn delete_snapshot_held(&self, name: &str, snapshot: &str) -> Result<()> {
        self.snapshot_record(name, snapshot)?;
        let pool = self.engine.pool(&self.record(name)?.pool)?;
        pool.delete_snapshot(name, snapshot).context(format!("delete snapshot `{name}/{snapshot}`"))?;
        let mut changes = self.engine.records.changes();
        changes.delete::<SnapshotRecord>(&format!("{name}/{snapshot}"));
        changes.commit()?;
        self.engine.lifecycle("instance-snapshot-deleted", "instances", &format!("{name}/snapshots/{snapshot}"));
        Ok(())
    }

    pub(super) fn snapshot_record(&self, name: &str, snapshot: &str) -> Result<Held<SnapshotRecord>> {
        self.engine
            .records
            .snapshots
            .get(&format!("{name}/{snapshot}"))
            .ok_or_else(|| Error::not_found(format!("Snapshot '{name}/{snapshot}' not found")))
    }

    /// Oldest first.
    pub(super) fn snapshot_records(&self, name: &str) -> Vec<(String, Held<SnapshotRecord>)> {
        let mut list = self.engine.records.snapshots.below(&format!("{name}/"));
        list.sort_by(|(a_name, a), (b_name, b)| (a.taken_at, a_name).cmp(&(b.taken_at, b_name)));
        list
    }

    pub(super) fn render_snapshots(&self, name: &str) -> Vec<Snapshot> {
        self.snapshot_records(name).iter().map(|(snapshot, record)| self.render_snapshot(snapshot, record)).collect()
    }

    /// Expanded with today's profiles.
    fn render_snapshot(&self, name: &str, record: &SnapshotRecord) -> Snapshot {
        let instance = &record.instance;
        let expanded = expand_record(&self.engine.records, instance);
        Snapshot {
            architecture: instance.architecture.clone(),
            config: instance.config.clone(),
            created_at: record.taken_at,
            devices: instance.devices.clone(),
            ephemeral: instance.ephemeral,
            expanded_config: expanded.config,
            expanded_devices: expanded.devices,
            expires_at: record.expires_at,
            last_used_at: instance.last_used_at,
            name: name.to_owned(),
            profiles: instance.profiles.clone(),
            size: -1,
            stateful: record.stateful,
        }
    }

    fn next_name(&self, name: &str, pattern: &str) -> String {
        let existing: Vec<String> = self.snapshot_records(name).into_iter().map(|(snapshot, _)| snapshot).collect();
        next_name(&existing, pattern)
    }
}

/// The pattern with the next number after the highest in use.
pub(crate) fn next_name(existing: &[String], pattern: &str) -> String {
    let (before, after) = pattern.split_once("%d").unwrap_or((pattern, ""));
    let number = |name: &String| name.strip_prefix(before)?.strip_suffix(after)?.parse::<u64>().ok();
    let next = existing.iter().filter_map(number).max().map_or(0, |highest| highest + 1);
    format!("{before}{next}{after}")
}

/// What a restored instance keeps of its present volatile keys: those of the host's side.
pub(super) fn is_kept_at_restore(key: &str) -> bool {
    key == volatile::LAST_STATE_POWER.name || key.ends_with(".host_name") || key == volatile::IDMAP_BASE.name || key == volatile::UUID.name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_after_the_highest() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(next_name(&[], "snap%d"), "snap0");
        assert_eq!(next_name(&names(&["snap0", "snap7", "snapx", "other9"]), "snap%d"), "snap8");
        assert_eq!(next_name(&names(&["a3z"]), "a%dz"), "a4z");
    }
}
