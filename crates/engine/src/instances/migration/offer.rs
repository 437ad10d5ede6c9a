//! An instance and its snapshots in the language of the protocol, and back.

use api::Timestamp;
use keys::devices::Scope;
use keys::instance::volatile;
use migration::{Config, Device, FsType, IdMapEntry, MigrationHeader, RsyncFeatures, Snapshot};
use sys::idmap::{Entry, IdMap};

use super::super::Instances;
use super::super::expand::check_profiles;
use super::super::import::is_kept;
use super::super::ownership::on_disk;
use crate::error::Context;
use crate::records::{Held, InstanceRecord, SnapshotRecord};
use crate::{Error, Result, host};

/// LXD's numbers of architectures.
const ARCHITECTURES: &[(i32, &str)] =
    &[(1, "i686"), (2, "x86_64"), (3, "armv7l"), (4, "aarch64"), (5, "ppc"), (6, "ppc64"), (7, "ppc64le"), (8, "s390x")];

/// What this server offers of an instance, or of a snapshot as if it were one.
pub(super) fn offer(record: &InstanceRecord, snapshots: &[(String, Held<SnapshotRecord>)]) -> Result<MigrationHeader> {
    if record.shifting_to.is_some() {
        return Err(
            Error::bad_request("a change of the owners of files was interrupted").hint("start the instance once, which goes on with it")
        );
    }
    let number = |id: u32| i32::try_from(id).context("an id is too large for the protocol");
    let idmap = on_disk(record)?.entries.into_iter().map(|entry| {
        Ok(IdMapEntry {
            is_uid: entry.is_uid,
            is_gid: entry.is_gid,
            host: number(entry.host)?,
            guest: number(entry.guest)?,
            count: number(entry.count)?,
        })
    });
    Ok(MigrationHeader {
        fs: FsType::Rsync.into(),
        idmap: idmap.collect::<Result<_>>()?,
        snapshot_names: snapshots.iter().map(|(name, _)| name.clone()).collect(),
        snapshots: snapshots.iter().map(|(name, held)| snapshot(name, held)).collect(),
        predump: Some(false),
        rsync_features: Some(RsyncFeatures::ours()),
        ..MigrationHeader::default()
    })
}

fn snapshot(name: &str, record: &SnapshotRecord) -> Snapshot {
    let seconds = |time: Timestamp| Some(if time == Timestamp::NEVER { 0 } else { time.unix() });
    let instance = &record.instance;
    Snapshot {
        name: name.to_owned(),
        config: Config::of(&instance.config),
        profiles: instance.profiles.clone(),
        ephemeral: instance.ephemeral,
        devices: instance.devices.iter().map(|(name, keys)| Device { name: name.clone(), config: Config::of(keys) }).collect(),
        architecture: ARCHITECTURES.iter().find(|row| row.1 == instance.architecture).map_or(0, |row| row.0),
        // Running states stay behind.
        stateful: false,
        created_at: seconds(record.taken_at),
        last_used_at: seconds(instance.last_used_at),
        expires_at: seconds(record.expires_at),
    }
}

/// The answer to an offer: these of the snapshots are wanted, all of them unless it `refresh`es.
pub(super) fn answer(offer: &MigrationHeader, wanted: &[String], refresh: bool) -> MigrationHeader {
    let runs: i32 = migration::CriuType::None.into();
    MigrationHeader {
        fs: FsType::Rsync.into(),
        criu: offer.criu.filter(|criu| *criu == runs),
        snapshot_names: wanted.to_vec(),
        snapshots: offer.snapshots.iter().filter(|snapshot| wanted.contains(&snapshot.name)).cloned().collect(),
        predump: Some(false),
        rsync_features: offer.rsync_features.map(|theirs| RsyncFeatures::ours().common(theirs)),
        refresh: Some(refresh),
        ..MigrationHeader::default()
    }
}

/// Whether the source sends the instance a second time, to catch up with what was written meanwhile.
pub(super) fn is_sent_twice(offer: &MigrationHeader) -> bool {
    offer.criu == Some(migration::CriuType::None.into())
}

/// Whose the files of an offer are, as `volatile.last_state.idmap` has it: nothing where ids are the guest's.
pub(super) fn owners(offer: &MigrationHeader) -> Result<String> {
    let bad = || Error::bad_request("the other server sent a map of ids that makes no sense");
    let mut map = IdMap::default();
    for entry in &offer.idmap {
        let number = |id: i32| u32::try_from(id).map_err(|_| bad());
        let entry = Entry {
            is_uid: entry.is_uid,
            is_gid: entry.is_gid,
            host: number(entry.host)?,
            guest: number(entry.guest)?,
            count: number(entry.count)?,
        };
        if entry.count == 0 || !(entry.is_uid || entry.is_gid) {
            return Err(bad());
        }
        map.entries.push(entry);
    }
    if map.is_empty() {
        return Ok(String::new());
    }
    serde_json::to_string(&map).context("print the id map")
}

/// All that is done with an offer before anything is transferred. For fuzzing.
pub(crate) fn try_offer(instances: &Instances, offer: &MigrationHeader) {
    if let Ok(snapshots) = instances.offered_snapshots(offer, &InstanceRecord::default()) {
        let names: Vec<String> = snapshots.into_iter().map(|(name, _)| name).collect();
        drop(answer(offer, &names, true));
    }
}

impl Instances {
    /// The records of the snapshots that are offered, in their order. `instance` is what those are of which only the name
    /// is said.
    pub(super) fn offered_snapshots(&self, offer: &MigrationHeader, instance: &InstanceRecord) -> Result<Vec<(String, SnapshotRecord)>> {
        let owners = owners(offer)?;
        let mut all: Vec<(String, SnapshotRecord)> = Vec::new();
        for (index, name) in offer.snapshot_names.iter().enumerate() {
            keys::names::check_snapshot(name)?;
            if all.iter().any(|(other, _)| other == name) {
                return Err(Error::bad_request(format!("the other server has snapshot {name} twice")));
            }
            let record = match offer.snapshots.get(index) {
                _ if offer.snapshots.is_empty() => {
                    SnapshotRecord { taken_at: Timestamp::now(), instance: instance.clone(), ..SnapshotRecord::default() }
                }
                Some(snapshot) if snapshot.name == *name => self.offered_snapshot(snapshot, instance, &owners)?,
                _ => return Err(Error::bad_request(format!("the other server says nothing of its snapshot {name}"))),
            };
            all.push((name.clone(), record));
        }
        Ok(all)
    }

    fn offered_snapshot(&self, snapshot: &Snapshot, instance: &InstanceRecord, owners: &str) -> Result<SnapshotRecord> {
        let what = || format!("take snapshot {} over", snapshot.name);
        let time = |seconds: Option<i64>| seconds.filter(|seconds| *seconds > 0).map_or(Timestamp::NEVER, Timestamp::from_unix);
        let name = ARCHITECTURES.iter().find(|row| row.0 == snapshot.architecture).map(|row| row.1);
        let architecture = name.and_then(host::architecture).unwrap_or(&instance.architecture).to_owned();
        let mut config = snapshot.config();
        config.retain(|key, value| is_kept(key) && !value.is_empty());
        volatile::LAST_STATE_IDMAP.set(&mut config, owners);
        let record = InstanceRecord {
            architecture,
            last_used_at: time(snapshot.last_used_at),
            ephemeral: snapshot.ephemeral,
            profiles: snapshot.profiles.clone(),
            config,
            devices: snapshot.devices(),
            ..InstanceRecord::default()
        };
        check_profiles(&self.engine.records, &record.profiles).context_as(crate::ErrorKind::BadRequest, what())?;
        keys::instance::validate(&record.config).context_as(crate::ErrorKind::BadRequest, what())?;
        keys::devices::validate_devices(&record.devices, Scope::Instance).context_as(crate::ErrorKind::BadRequest, what())?;
        Ok(SnapshotRecord { taken_at: time(snapshot.created_at), expires_at: time(snapshot.expires_at), instance: record, stateful: false })
    }
}
