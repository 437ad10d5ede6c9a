//! This server is the target of an instance that it does not have.

use std::sync::Arc;

use api::instances::InstancesPost;
use keys::instance::volatile;
use migration::{MigrationHeader, RsyncFeatures};
use storage::{Pool, VolumeRef};

use super::super::Instances;
use super::super::admission::Action;
use super::super::create::Origin;
use super::super::import::is_kept;
use super::super::reach;
use super::offer::{answer, is_sent_twice, owners};
use crate::error::Context;
use crate::migration::{Peer, Progress, Remote, Tree, check_rsync, check_space, live_is_not_offered};
use crate::operations::{New, Operation};
use crate::records::{InstanceRecord, SnapshotRecord};
use crate::{Error, Result, points};

/// What comes from the other server.
pub(in crate::instances) struct Arrival {
    pub peer: Arc<Peer>,
    pub offer: MigrationHeader,
    /// In the order in which they come.
    pub snapshots: Vec<(String, SnapshotRecord)>,
}

impl Instances {
    /// Makes an instance, or brings one up to date, from what another server sends. In the mode `push` the operation has
    /// websockets for that.
    pub(in crate::instances) fn create_migrated(&self, request: InstancesPost) -> Result<Arc<Operation>> {
        let source = &request.source;
        check_rsync()?;
        let is_refresh = source.refresh && self.engine.records.instances.contains(&request.name);
        let description = if is_refresh { "Refreshing instance" } else { "Creating instance" };
        let (this, new) = (self.clone(), New::instance(description, &request.name));
        match source.mode.as_str() {
            "" | "pull" => {
                let remote = Remote::parse(&source.operation, &source.certificate, &source.websockets)?;
                self.engine.operations.run(new, move |operation| {
                    let peer = Arc::new(Peer::dial(&this.engine, &remote)?);
                    this.arrive(peer, request, operation).map(|()| None)
                })
            }
            "push" if source.live => Err(live_is_not_offered()),
            "push" => Peer::when_connected(&self.engine, new, move |peer, operation| this.arrive(peer, request, operation)),
            other => Err(Error::bad_request(format!("unknown migration mode '{other}'")).hint("pull and push are known")),
        }
    }

    fn arrive(&self, peer: Arc<Peer>, request: InstancesPost, operation: &Operation) -> Result<()> {
        let name = request.name.clone();
        peer.clone().serve(operation, true, || {
            // Only as asked for: somebody else may have made one of this name meanwhile.
            if request.source.refresh && self.engine.records.instances.contains(&name) {
                return self.refresh_migrated(&peer, &request, operation);
            }
            let _permit = self.engine.gates.permit(&name, Action::Create)?;
            let offer = peer.receive_header()?;
            let mut record = self.arriving_record(&request, &offer)?;
            let mut snapshots = self.offered_snapshots(&offer, &record)?;
            // What the request says of the instance, its sender has from the other server.
            reach::tell(operation, &name, reach::distrust(Some(&mut record), &mut snapshots));
            let arrival = Arrival { peer: peer.clone(), offer, snapshots };
            self.make(&name, record, Origin::Migration(Box::new(arrival)), operation)
        })?;
        if request.start {
            let _permit = self.engine.gates.permit(&name, Action::Start)?;
            self.start_held(&name)?;
        }
        Ok(())
    }

    /// What the request says of the instance, without what was only true on the other server.
    fn arriving_record(&self, request: &InstancesPost, offer: &MigrationHeader) -> Result<InstanceRecord> {
        let mut record = self.plain_record(request, self.engine.host.architecture)?;
        record.config.retain(|key, _| is_kept(key));
        volatile::LAST_STATE_IDMAP.set(&mut record.config, owners(offer)?);
        volatile::APPLY_TEMPLATE.set(&mut record.config, "copy");
        Ok(record)
    }

    /// Makes the volumes of a new instance; what was made of them when this fails, the caller removes.
    pub(in crate::instances) fn receive_volumes(
        &self,
        pool: &dyn Pool,
        name: &str,
        arrival: &Arrival,
        operation: &Operation,
    ) -> Result<()> {
        let wanted: Vec<String> = arrival.snapshots.iter().map(|(snapshot, _)| snapshot.clone()).collect();
        let answer = answer(&arrival.offer, &wanted, false);
        arrival.peer.control.send_message(&answer).context("answer the other server")?;
        self.receive_into(pool, (name, name), arrival, operation, |snapshot| {
            pool.snapshot(name, snapshot).context(format!("keep snapshot `{name}/{snapshot}`"))
        })
    }

    /// Receives the snapshots, each of which `keep` takes out of the volume, and then the instance itself. `into` are the
    /// volume and the name of the instance.
    pub(super) fn receive_into(
        &self,
        pool: &dyn Pool,
        (volume, name): (&str, &str),
        arrival: &Arrival,
        operation: &Operation,
        mut keep: impl FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let offer = &arrival.offer;
        let features = offer.rsync_features.map(|theirs| RsyncFeatures::ours().common(theirs)).unwrap_or_default();
        let into = VolumeRef::instance(volume);
        let tree = Tree { engine: &self.engine, pool, volume: &into, features };
        let receive = |label: String| tree.receive(&arrival.peer, &Progress::new(operation, label));
        for (snapshot, _) in &arrival.snapshots {
            receive(format!("{name}/{snapshot}"))?;
            // On some storage a snapshot takes as much room again.
            check_space(pool.dir(&into).as_path())?;
            keep(snapshot)?;
            points::reach("migration.snapshot");
        }
        for _ in 0..=u8::from(is_sent_twice(offer)) {
            receive(name.to_owned())?;
        }
        points::reach("migration.received");
        sys::copy::sync_fs(pool.dir(&into)).context("write the files to the disk")?;
        operation.seal()
    }
}
