//! This server is the source.

use std::sync::Arc;

use api::instances::InstancePost;
use storage::VolumeRef;

use super::super::Instances;
use super::super::admission::Action;
use super::offer::offer;
use crate::Result;
use crate::migration::{Peer, Progress, Remote, Tree, check_rsync, live_is_not_offered};
use crate::operations::{New, Operation};
use crate::records::InstanceRecord;

impl Instances {
    /// Sends an instance with its snapshots, or one snapshot as if it were an instance, to another server: an operation
    /// whose websockets are to be connected, unless the request says which ones of the target to connect to.
    pub fn migrate(&self, name: &str, snapshot: Option<&str>, request: &InstancePost) -> Result<Arc<Operation>> {
        self.record(name)?;
        if let Some(snapshot) = snapshot {
            self.snapshot_record(name, snapshot)?;
        } else if request.live && self.engine.live.get(name).is_some() {
            return Err(live_is_not_offered());
        }
        check_rsync()?;
        let with_snapshots = snapshot.is_none() && !request.instance_only && !request.container_only;
        let volume = VolumeRef { instance: name.to_owned(), snapshot: snapshot.map(str::to_owned) };
        let (this, new) = (self.clone(), New::instance("Migrating instance", name));
        if let Some(target) = &request.target {
            let remote = Remote::parse(&target.operation, &target.certificate, &target.websockets)?;
            return self.engine.operations.run(new, move |operation| {
                let peer = Peer::dial(&this.engine, &remote)?;
                peer.serve(operation, false, || this.send(&peer, &volume, with_snapshots, operation)).map(|()| None)
            });
        }
        Peer::when_connected(&self.engine, new, move |peer, operation| {
            peer.serve(operation, false, || this.send(&peer, &volume, with_snapshots, operation))
        })
    }

    fn send(&self, peer: &Peer, volume: &VolumeRef, with_snapshots: bool, operation: &Operation) -> Result<()> {
        let name = &volume.instance;
        let _permit = self.engine.gates.permit(name, Action::Copy)?;
        let held = self.record(name)?;
        let record = match &volume.snapshot {
            None => InstanceRecord::clone(&held.record),
            Some(snapshot) => self.snapshot_record(name, snapshot)?.instance.clone(),
        };
        let snapshots = if with_snapshots { self.snapshot_records(name) } else { Vec::new() };
        let offered = offer(&record, &snapshots)?;
        let (wanted, features) = peer.agree(&offered)?;
        let pool = self.engine.pool(&held.pool)?;
        let (still, _taken_back) = self.still(volume)?;
        let volumes = wanted.iter().map(|snapshot| (VolumeRef::snapshot(name, snapshot), format!("{name}/{snapshot}")));
        for (volume, label) in volumes.chain([(still.clone(), name.clone())]) {
            let tree = Tree { engine: &self.engine, pool: &*pool, volume: &volume, features };
            tree.send(peer, &Progress::new(operation, label))?;
        }
        peer.receive_outcome()
    }
}
