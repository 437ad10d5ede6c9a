//! Custom volumes that go to another server, and that come from one, as instances do (`instances/migration`).

use std::sync::Arc;

use api::Timestamp;
use api::storage_volumes::{StorageVolumePost, StorageVolumesPost};
use migration::{Config, FsType, MigrationHeader, RsyncFeatures, Snapshot};
use storage::{CustomVolumes, VolumeRef};

use super::{StorageVolumes, checked, exists, quota, set_quota};
use crate::error::Context;
use crate::intended::Intended;
use crate::migration::{Content, Peer, Progress, Remote, check_rsync, check_space};
use crate::operations::{New, Operation};
use crate::records::{Held, VolumeIntentRecord, VolumeRecord, VolumeSnapshotRecord};
use crate::{Error, Result, points};

/// Keys that a server keeps for itself, and which say nothing here.
const VOLATILE: &str = "volatile.";

/// Snapshots by their names, oldest first.
type Snapshots = Vec<(String, VolumeSnapshotRecord)>;

// ---- this server is the source ---------------------------------------------------------------

impl StorageVolumes {
    /// Sends a volume with its snapshots, or one snapshot as if it were a volume, to another server: an operation whose
    /// websockets are to be connected, unless the request says which ones of the target to connect to.
    pub fn migrate(&self, name: &str, snapshot: Option<&str>, request: &StorageVolumePost) -> Result<Arc<Operation>> {
        self.record(name)?;
        if let Some(snapshot) = snapshot {
            self.snapshot_record(name, snapshot)?;
        }
        check_rsync()?;
        let with_snapshots = snapshot.is_none() && !request.volume_only;
        let volume = VolumeRef { instance: name.to_owned(), snapshot: snapshot.map(str::to_owned) };
        let (this, new) = (self.clone(), New::volume("Migrating storage volume", &self.pool, name));
        if let Some(target) = &request.target {
            let remote = Remote::parse(&target.operation, &target.certificate, &target.websockets)?;
            return self.engine.operations.run(new, move |operation| {
                let peer = Peer::dial(&this.engine, &remote)?;
                peer.serve(operation, false, || this.send(&peer, (&volume, with_snapshots), operation)).map(|()| None)
            });
        }
        Peer::when_connected(&self.engine, new, move |peer, operation| {
            peer.serve(operation, false, || this.send(&peer, (&volume, with_snapshots), operation))
        })
    }

    fn send(&self, peer: &Peer, (volume, with_snapshots): (&VolumeRef, bool), operation: &Operation) -> Result<()> {
        let name = &volume.instance;
        let custom = self.custom()?;
        let held = self.engine.hold_volume(&self.id(name))?;
        self.record(name)?;
        // What something writes to is read from a snapshot; what nothing writes to stays so, since it is held alone.
        let is_still = volume.snapshot.is_some() || !self.is_running_with(name);
        let (source, _taken_back) = if is_still { (volume.clone(), None) } else { self.still(name, &*custom)? };
        if source.snapshot.is_some() {
            // Instances may use it for as long as the other server takes; snapshots stay.
            held.share();
        }
        let snapshots = if with_snapshots { self.snapshot_records(name) } else { Vec::new() };
        let offered = offer(&snapshots);
        let (wanted, features) = peer.agree(&offered)?;
        let volumes = wanted.iter().map(|snapshot| (VolumeRef::snapshot(name, snapshot), format!("{name}/{snapshot}")));
        for (volume, label) in volumes.chain([(source.clone(), name.clone())]) {
            let path = custom.content(&volume).context(format!("look at storage volume `{label}`"))?;
            let content = Content { engine: &self.engine, path: &path, features };
            content.send(peer, &Progress::new(operation, label))?;
        }
        peer.receive_outcome()
    }

    /// Whether an instance runs that has the volume.
    pub(super) fn is_running_with(&self, name: &str) -> bool {
        let users = self.used_by(name);
        users.iter().filter_map(|url| url.strip_prefix("/1.0/instances/")).any(|user| self.engine.live.get(user).is_some())
    }

    /// A volume as it is at this moment: a snapshot without a record, which goes with what comes beside it. The caller
    /// holds the volume.
    fn still<'a>(&'a self, name: &'a str, custom: &dyn CustomVolumes) -> Result<(VolumeRef, Option<Intended<'a>>)> {
        self.settle_leftover(name)?;
        let snapshot = format!("migration-{}", uuid::Uuid::new_v4());
        let intent = self.intend(name, VolumeIntentRecord::Snapshotting { snapshot: snapshot.clone() })?;
        custom.snapshot(name, &snapshot).context(format!("take a snapshot of volume `{name}` for the transfer"))?;
        Ok((VolumeRef::snapshot(name, snapshot), Some(intent)))
    }

    fn snapshot_records(&self, name: &str) -> Vec<(String, Held<VolumeSnapshotRecord>)> {
        let mut all = self.engine.records.volume_snapshots.below(&format!("{}/", self.id(name)));
        all.sort_by(|(a_name, a), (b_name, b)| (a.taken_at, a_name).cmp(&(b.taken_at, b_name)));
        all
    }
}

// ---- this server is the target ---------------------------------------------------------------

impl StorageVolumes {
    /// Makes a volume from what another server sends. In the mode `push` the operation has websockets for that.
    pub(super) fn create_migrated(&self, request: StorageVolumesPost) -> Result<Arc<Operation>> {
        let source = &request.source;
        check_rsync()?;
        checked(request.config.clone())?;
        let (this, new) = (self.clone(), New::volume("Creating storage volume", &self.pool, &request.name));
        match source.mode.as_str() {
            "" | "pull" => {
                let remote = Remote::parse(&source.operation, &source.certificate, &source.websockets)?;
                self.engine.operations.run(new, move |operation| {
                    let peer = Peer::dial(&this.engine, &remote)?;
                    this.arrive(&peer, request, operation).map(|()| None)
                })
            }
            "push" => Peer::when_connected(&self.engine, new, move |peer, operation| this.arrive(&peer, request, operation)),
            other => Err(Error::bad_request(format!("unknown migration mode '{other}'")).hint("pull and push are known")),
        }
    }

    fn arrive(&self, peer: &Peer, request: StorageVolumesPost, operation: &Operation) -> Result<()> {
        peer.serve(operation, true, || {
            let name = &request.name;
            if self.engine.records.volumes.contains(&self.id(name)) {
                return Err(exists(name));
            }
            let offer = peer.receive_header()?;
            let record = VolumeRecord { description: request.description, config: checked(request.config)?, created_at: Timestamp::now() };
            let snapshots = if request.source.volume_only { Vec::new() } else { offered_snapshots(&offer)? };
            let wanted: Vec<String> = snapshots.iter().map(|(snapshot, _)| snapshot.clone()).collect();
            peer.control.send_message(&answer(&offer, &wanted)).context("answer the other server")?;
            // Who does not ask for what is there gets it all the same.
            let coming = offer.snapshot_names.iter().map(|snapshot| (snapshot.as_str(), wanted.contains(snapshot)));
            let coming: Vec<(&str, bool)> = coming.collect();
            let features = offer.rsync_features.map(|theirs| RsyncFeatures::ours().common(theirs)).unwrap_or_default();
            let limit = quota(&record.config);
            self.make(name, record, snapshots, |custom| {
                self.receive(custom, (name, limit, &coming), (peer, features), operation)
                    .map_err(|error| storage::Error::fill(Whole(error.report())))
            })
        })
    }

    /// Receives the snapshots, each of which is taken out of the volume, and then what the volume is now.
    fn receive(
        &self,
        custom: &dyn CustomVolumes,
        (name, limit, snapshots): (&str, Option<u64>, &[(&str, bool)]),
        (peer, features): (&Peer, RsyncFeatures),
        operation: &Operation,
    ) -> Result<()> {
        custom.create(name).context("make the volume")?;
        if limit.is_some() {
            set_quota(custom, name, limit)?;
        }
        let path = custom.content(&VolumeRef::instance(name)).context("look at the volume")?;
        let content = Content { engine: &self.engine, path: &path, features };
        for (snapshot, is_kept) in snapshots {
            content.receive(peer, &Progress::new(operation, format!("{name}/{snapshot}")))?;
            if *is_kept {
                check_space(&path)?;
                custom.snapshot(name, snapshot).context(format!("keep snapshot `{name}/{snapshot}`"))?;
            }
        }
        content.receive(peer, &Progress::new(operation, name.to_owned()))?;
        points::reach("volume.received");
        sys::copy::sync_fs(&path).context("write the files to the disk")?;
        operation.seal()
    }
}

/// An error whose whole text is known already.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Whole(String);

// ---- volumes in the language of the protocol ---------------------------------------------------

fn offer(snapshots: &[(String, Held<VolumeSnapshotRecord>)]) -> MigrationHeader {
    MigrationHeader {
        fs: FsType::Rsync.into(),
        snapshot_names: snapshots.iter().map(|(name, _)| name.clone()).collect(),
        snapshots: snapshots.iter().map(|(name, held)| snapshot(name, held)).collect(),
        rsync_features: Some(RsyncFeatures::ours()),
        ..MigrationHeader::default()
    }
}

fn snapshot(name: &str, record: &VolumeSnapshotRecord) -> Snapshot {
    let seconds = |time: Timestamp| Some(if time == Timestamp::NEVER { 0 } else { time.unix() });
    Snapshot {
        name: name.to_owned(),
        config: Config::of(&record.config),
        created_at: seconds(record.taken_at),
        expires_at: seconds(record.expires_at),
        ..Snapshot::default()
    }
}

/// The answer to an offer: these of the snapshots are wanted.
fn answer(offer: &MigrationHeader, wanted: &[String]) -> MigrationHeader {
    MigrationHeader {
        fs: FsType::Rsync.into(),
        snapshot_names: wanted.to_vec(),
        snapshots: offer.snapshots.iter().filter(|snapshot| wanted.contains(&snapshot.name)).cloned().collect(),
        rsync_features: offer.rsync_features.map(|theirs| RsyncFeatures::ours().common(theirs)),
        refresh: Some(false),
        ..MigrationHeader::default()
    }
}

/// The records of the snapshots that are offered, in their order.
fn offered_snapshots(offer: &MigrationHeader) -> Result<Snapshots> {
    let time = |seconds: Option<i64>| seconds.filter(|seconds| *seconds > 0).map_or(Timestamp::NEVER, Timestamp::from_unix);
    let mut all = Snapshots::new();
    for name in &offer.snapshot_names {
        keys::names::check_snapshot(name)?;
        if all.iter().any(|(other, _)| other == name) {
            return Err(Error::bad_request(format!("the other server has snapshot {name} twice")));
        }
        let said = offer.snapshots.iter().find(|snapshot| snapshot.name == *name);
        let mut config = said.map(Snapshot::config).unwrap_or_default();
        config.retain(|key, _| !key.starts_with(VOLATILE));
        let taken_at = said.map_or(Timestamp::NEVER, |snapshot| time(snapshot.created_at));
        let record = VolumeSnapshotRecord {
            taken_at: if taken_at == Timestamp::NEVER { Timestamp::now() } else { taken_at },
            expires_at: said.map_or(Timestamp::NEVER, |snapshot| time(snapshot.expires_at)),
            description: String::new(),
            config: checked(config).context_as(crate::ErrorKind::BadRequest, format!("take snapshot {name} over"))?,
        };
        all.push((name.clone(), record));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot_of(name: &str, keys: &[(&str, &str)]) -> Snapshot {
        let config = keys.iter().map(|(key, value)| Config { key: (*key).to_owned(), value: (*value).to_owned() }).collect();
        Snapshot { name: name.to_owned(), config, created_at: Some(7), expires_at: Some(0), ..Snapshot::default() }
    }

    #[test]
    fn what_another_server_says_of_snapshots() {
        let offer = |snapshots: &[Snapshot]| MigrationHeader {
            snapshot_names: snapshots.iter().map(|snapshot| snapshot.name.clone()).collect(),
            snapshots: snapshots.to_vec(),
            ..MigrationHeader::default()
        };
        let good = offer(&[snapshot_of("s1", &[("user.a", "1"), ("volatile.uuid", "x")]), snapshot_of("s2", &[])]);
        let records = offered_snapshots(&good).expect("snapshots");
        assert_eq!((records[0].1.config.len(), records[0].1.taken_at.unix(), records[0].1.expires_at), (1, 7, Timestamp::NEVER));
        // One that only names them means as much.
        let names = MigrationHeader { snapshots: Vec::new(), ..good.clone() };
        assert_eq!(offered_snapshots(&names).expect("snapshots").len(), 2);
        for bad in [snapshot_of("../x", &[]), snapshot_of("s1", &[("nonsense", "1")]), snapshot_of("", &[])] {
            assert!(offered_snapshots(&offer(&[bad])).is_err());
        }
        assert!(offered_snapshots(&offer(&[snapshot_of("s1", &[]), snapshot_of("s1", &[])])).is_err());
        let answer = answer(&good, &["s2".to_owned()]);
        assert_eq!((answer.snapshot_names.len(), answer.snapshots[0].name.as_str()), (1, "s2"));
    }
}
