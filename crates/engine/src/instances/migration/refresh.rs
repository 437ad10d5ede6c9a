//! This server is the target of an instance that it has already: it is brought up to date.
//!
//! What comes goes into a copy of the present volume, under a name of its own, so that a transfer that breaks leaves the
//! instance as it was, with all its snapshots and those that have come whole. What is then done with it is what a refresh
//! within one server does; what the source does not have any more goes last.

use std::sync::Arc;

use api::instances::InstancesPost;
use storage::VolumeRef;

use super::super::Instances;
use super::super::admission::Action;
use super::super::expand::place_root;
use super::super::reach;
use super::arrive::Arrival;
use super::offer::{answer, owners};
use crate::error::Context;
use crate::migration::Peer;
use crate::operations::Operation;
use crate::records::{InstanceRecord, IntentRecord, SnapshotRecord};
use crate::{Error, Result};

impl Instances {
    pub(super) fn refresh_migrated(&self, peer: &Arc<Peer>, request: &InstancesPost, operation: &Operation) -> Result<()> {
        let name = &request.name;
        let _permit = self.engine.gates.permit(name, Action::Restore)?;
        let target = InstanceRecord::clone(&self.record(name)?.record);
        self.check_refreshable(name, &target)?;
        let offer = peer.receive_header()?;
        let mut snapshots = self.offered_snapshots(&offer, &target)?;
        let had = self.snapshot_records(name);
        let mut gone = Vec::new();
        if request.source.instance_only || request.source.container_only {
            snapshots.clear();
        } else {
            let is_offered = |own: &String| snapshots.iter().any(|(theirs, _)| theirs == own);
            gone.extend(had.iter().map(|(own, _)| own.clone()).filter(|own| !is_offered(own)));
            // The protocol has seconds only.
            let is_same = |own: &SnapshotRecord, theirs: &SnapshotRecord| own.taken_at.unix() == theirs.taken_at.unix();
            snapshots.retain(|(name, theirs)| !had.iter().any(|(own, held)| own == name && is_same(held, theirs)));
        }
        reach::tell(operation, name, reach::distrust(None, &mut snapshots));
        let wanted: Vec<String> = snapshots.iter().map(|(snapshot, _)| snapshot.clone()).collect();
        peer.control.send_message(&answer(&offer, &wanted, true)).context("answer the other server")?;
        self.receive_refresh(name, &target, &Arrival { peer: peer.clone(), offer, snapshots }, operation)?;
        // Last, so that whoever breaks off, or offers nothing, leaves all that there was.
        gone.iter().try_for_each(|snapshot| self.delete_snapshot_held(name, snapshot))
    }

    fn receive_refresh(&self, name: &str, target: &InstanceRecord, arrival: &Arrival, operation: &Operation) -> Result<()> {
        let pool = self.engine.pool(&target.pool)?;
        let scratch = format!("receiving-{}", uuid::Uuid::new_v4().simple());
        // Taken back in any case: what has come is in the instance by then.
        let _scratch = self.intend(&scratch, IntentRecord::Creating { pool: target.pool.clone() })?;
        pool.copy(&VolumeRef::instance(name), &scratch).context(format!("make room for what comes of `{name}`"))?;
        let from = VolumeRef::instance(scratch.as_str());
        self.receive_into(&*pool, (&scratch, name), arrival, operation, |snapshot| {
            let record = arrival.snapshots.iter().find(|(other, _)| other == snapshot).map(|(_, record)| record.clone());
            let mut record = record.ok_or_else(|| Error::internal("a snapshot came that was not offered"))?;
            place_root(&self.engine.records, &mut record.instance, &target.pool)?;
            record.instance.pool.clone_from(&target.pool);
            if self.engine.records.snapshots.contains(&format!("{name}/{snapshot}")) {
                // Of this name, but taken at another time. Its successor is here.
                self.delete_snapshot_held(name, snapshot)?;
            }
            self.add_snapshot(name, snapshot, (&from, target), record)
        })?;
        self.put_content(name, (&from, target), owners(&arrival.offer)?)
    }

    /// Refuses to bring an instance up to date that is not at rest.
    pub(in crate::instances) fn check_refreshable(&self, name: &str, record: &InstanceRecord) -> Result<()> {
        if self.engine.live.get(name).is_some() {
            return Err(Error::bad_request("Cannot refresh a running instance").hint(format!("stop it first: `lxc stop {name}`")));
        }
        if record.shifting_to.is_some() {
            return Err(Error::bad_request("a change of the owners of files was interrupted")
                .hint("start the instance once, which goes on with it"));
        }
        Ok(())
    }
}
