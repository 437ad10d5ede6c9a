//! This server is the target of an instance that it has already: it is brought up to date.
//!
//! What comes goes into a copy of the present volume, under a name of its own, so that a transfer that breaks changes
//! nothing. What is then done with it is what a refresh within one server does.

use std::sync::Arc;

use api::instances::InstancesPost;
use storage::VolumeRef;

use super::super::Instances;
use super::super::admission::Action;
use super::super::expand::place_root;
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
        if request.source.instance_only || request.source.container_only {
            snapshots.clear();
        } else {
            // The protocol has seconds only.
            let key = |name: &str, record: &SnapshotRecord| (name.to_owned(), record.taken_at.unix());
            let had: Vec<(String, i64)> = self.snapshot_records(name).iter().map(|(own, held)| key(own, held)).collect();
            let theirs: Vec<(String, i64)> = snapshots.iter().map(|(name, record)| key(name, record)).collect();
            for gone in had.iter().filter(|own| !theirs.contains(own)) {
                self.delete_snapshot_held(name, &gone.0)?;
            }
            snapshots.retain(|(name, record)| !had.contains(&key(name, record)));
        }
        let wanted: Vec<String> = snapshots.iter().map(|(snapshot, _)| snapshot.clone()).collect();
        peer.control.send_message(&answer(&offer, &wanted, true)).context("answer the other server")?;
        self.receive_refresh(name, &target, &Arrival { peer: peer.clone(), offer, snapshots }, operation)
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
