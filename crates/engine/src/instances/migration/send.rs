//! This server is the source.

use std::sync::Arc;

use api::instances::InstancePost;
use migration::{FsType, RsyncFeatures};
use serde_json::json;
use storage::VolumeRef;

use super::super::Instances;
use super::super::admission::Action;
use super::offer::offer;
use crate::error::Context;
use crate::migration::{Peer, Progress, Remote, Tree, check_rsync, live_is_not_offered};
use crate::operations::{New, Operation, Sockets};
use crate::records::InstanceRecord;
use crate::{Error, Result};

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
        let (peer, endpoints) = Peer::awaited()?;
        let (sockets, secrets) = Sockets::new(endpoints);
        let operation = self.engine.operations.websocket(New { metadata: Some(json!(secrets)), ..new }, sockets, "")?;
        let worker = Arc::downgrade(&operation);
        operation.sockets.when_connected(move || {
            let Some(operation) = worker.upgrade() else { return };
            let result = peer.serve(&operation, false, || this.send(&peer, &volume, with_snapshots, &operation));
            drop(peer);
            operation.end(result.map(|()| None));
        });
        Ok(operation)
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
        peer.control.send_message(&offered).context("say what there is")?;
        let answer = peer.receive_header()?;
        if answer.fs != i32::from(FsType::Rsync) {
            return Err(Error::bad_request("the target wants files in a form that this server did not offer"));
        }
        let wanted = if answer.refresh == Some(true) { &answer.snapshot_names } else { &offered.snapshot_names };
        if let Some(unknown) = wanted.iter().find(|wanted| !offered.snapshot_names.contains(wanted)) {
            return Err(Error::bad_request(format!("the target asks for snapshot {unknown:?}, which was not offered")));
        }
        let features = RsyncFeatures::of_answer(answer.rsync_features);
        let pool = self.engine.pool(&held.pool)?;
        let (still, _taken_back) = self.still(volume)?;
        let snapshots = offered.snapshot_names.iter().filter(|snapshot| wanted.contains(snapshot));
        let volumes = snapshots.map(|snapshot| (VolumeRef::snapshot(name, snapshot), format!("{name}/{snapshot}")));
        for (volume, label) in volumes.chain([(still.clone(), name.clone())]) {
            let tree = Tree { engine: &self.engine, pool: &*pool, volume: &volume, features };
            tree.send(peer, &Progress::new(operation, label))?;
        }
        peer.receive_outcome()
    }
}
