//! Making an instance from a backup, of this server or of another.

use std::path::PathBuf;
use std::sync::Arc;

use api::instances::Instance;
use api::snapshots::Snapshot;
use images::{BackupIndex, BackupReader};
use keys::instance::volatile;
use storage::Pool;

use super::admission::Action;
use super::create::Origin;
use super::expand::{expand_record, place_root};
use super::{Instances, reach};
use crate::error::Context;
use crate::images::UploadDir;
use crate::operations::{New, Operation};
use crate::records::{InstanceRecord, SnapshotRecord};
use crate::{Error, ErrorKind, Result, host};

/// An uploaded backup.
#[derive(Debug)]
pub struct BackupUpload {
    /// Holds the file; taken over by the operation.
    pub dir: UploadDir,
    /// The backup.
    pub file: PathBuf,
    /// Name of the instance; empty for the one in the backup.
    pub name: String,
    /// Storage pool; empty for the one in the backup, if there is such a pool here.
    pub pool: String,
}

/// Where the volumes of a new instance and its snapshots come from.
pub(super) struct BackupSource {
    file: PathBuf,
    pub snapshots: Vec<(String, SnapshotRecord)>,
    _dir: UploadDir,
}

/// Volatile keys that come along: what the guest saw of itself, and whose its files are.
pub(super) fn is_kept(key: &str) -> bool {
    !key.starts_with("volatile.")
        || [volatile::BASE_IMAGE.name, volatile::LAST_STATE_IDMAP.name, volatile::APPLY_TEMPLATE.name].contains(&key)
        || key.ends_with(".hwaddr")
        || (key.ends_with(".name") && key.matches('.').count() == 2)
}

impl Instances {
    /// Makes an instance from a backup.
    pub fn import_backup(&self, upload: BackupUpload) -> Result<Arc<Operation>> {
        let index = images::read_backup_index(&upload.file).context_as(ErrorKind::BadRequest, "read the backup")?;
        if index.optimized {
            return Err(Error::bad_request(format!("The backup is in a form that only the storage driver {} knows", index.backend))
                .hint("export it again without --optimized-storage"));
        }
        if !matches!(index.kind.as_str(), "" | "container") {
            return Err(Error::bad_request(format!("instance type '{}' is not supported", index.kind)).hint("only containers are"));
        }
        let name = if upload.name.is_empty() { index.name.clone() } else { upload.name.clone() };
        keys::names::check_instance(&name)?;
        if self.engine.records.instances.contains(&name) {
            return Err(Error::conflict(format!("Container '{name}' already exists")).hint("delete it first, or import under another name"));
        }
        let (mut record, mut snapshots) = self.records_of(&index)?;
        let warnings = reach::distrust(Some(&mut record), &mut snapshots);
        let mut record = self.on_pool(record, &upload.pool, &index.pool)?;
        if name != index.name && volatile::APPLY_TEMPLATE.text(&record.config).is_none() {
            volatile::APPLY_TEMPLATE.set(&mut record.config, "rename");
        }
        let origin = Origin::Backup(BackupSource { file: upload.file, snapshots, _dir: upload.dir });
        let this = self.clone();
        self.engine.operations.run(New::instance("Restoring backup", &name), move |operation| {
            let _permit = this.engine.gates.permit(&name, Action::Create)?;
            reach::tell(operation, &name, warnings);
            operation.progress("restore_backup_progress", "Unpack: started");
            this.make(&name, record, origin, operation).map(|()| None)
        })
    }

    pub(crate) fn records_of(&self, index: &BackupIndex) -> Result<(InstanceRecord, Vec<(String, SnapshotRecord)>)> {
        let bad = |what: String| {
            move |error: serde_json::Error| Error::bad_request(format!("The backup's record of {what} is not valid")).caused_by(error)
        };
        let shown: Instance = serde_json::from_value(index.config.container.clone()).map_err(bad("the instance".into()))?;
        let record = self.imported(shown.architecture, shown.config, |record| {
            record.description = shown.description;
            record.devices = shown.devices;
            record.ephemeral = shown.ephemeral;
            record.profiles = shown.profiles;
        })?;
        let mut snapshots = Vec::new();
        for (position, name) in index.snapshots.iter().enumerate() {
            keys::names::check_snapshot(name)?;
            let found = index.config.snapshots.get(position).cloned().unwrap_or_default();
            let shown: Snapshot = serde_json::from_value(found).map_err(bad(format!("snapshot {name}")))?;
            let instance = self.imported(shown.architecture, shown.config, |record| {
                record.devices = shown.devices;
                record.ephemeral = shown.ephemeral;
                record.profiles = shown.profiles;
            })?;
            keys::instance::validate(&instance.config)?;
            keys::devices::validate_devices(&instance.devices, keys::devices::Scope::Instance)?;
            let record = SnapshotRecord { taken_at: shown.created_at, expires_at: shown.expires_at, instance, stateful: false };
            if snapshots.iter().any(|(other, _)| other == name) {
                return Err(Error::bad_request(format!("The backup has snapshot {name} twice")));
            }
            snapshots.push((name.clone(), record));
        }
        Ok((record, snapshots))
    }

    fn imported(&self, architecture: String, config: api::Config, rest: impl FnOnce(&mut InstanceRecord)) -> Result<InstanceRecord> {
        let wanted = if architecture.is_empty() { self.engine.host.architecture } else { &architecture };
        let found = host::architecture(wanted).filter(|found| self.engine.host.architectures.contains(found));
        let architecture = found.ok_or_else(|| Error::bad_request(format!("architecture {wanted} does not run on this host")))?;
        let mut record = InstanceRecord { architecture: architecture.to_owned(), config, ..InstanceRecord::default() };
        record.config.retain(|key, _| is_kept(key));
        rest(&mut record);
        Ok(record)
    }

    /// Puts the root disk on the pool that was asked for, else on the backup's own if it is here, else leaves it
    /// to the profiles.
    fn on_pool(&self, mut record: InstanceRecord, wanted: &str, original: &str) -> Result<InstanceRecord> {
        let pools = &self.engine.records.pools;
        if !wanted.is_empty() && !pools.contains(wanted) {
            return Err(Error::bad_request(format!("Storage pool '{wanted}' not found")).hint("`lxc storage list` shows those there are"));
        }
        super::expand::check_profiles(&self.engine.records, &record.profiles)?;
        let expanded = expand_record(&self.engine.records, &record);
        let Some((_, root)) = keys::devices::root_disk(&expanded.devices)? else { return Ok(record) };
        let current = root.get("pool").map(String::as_str).unwrap_or_default();
        let pool = [wanted, original].into_iter().find(|pool| !pool.is_empty() && pools.contains(pool)).unwrap_or(current).to_owned();
        place_root(&self.engine.records, &mut record, &pool)?;
        Ok(record)
    }
}

impl BackupSource {
    /// Fills the volumes from the archive.
    pub(super) fn unpack(&self, pool: &dyn Pool, name: &str) -> storage::Result<()> {
        let mut reader = BackupReader::new(&self.file);
        pool.create_filled(name, &mut |dir, rootfs| reader.volume(None, dir, rootfs).map_err(storage::Error::fill))?;
        for (snapshot, _) in &self.snapshots {
            pool.create_snapshot_filled(name, snapshot, &mut |dir, rootfs| {
                reader.volume(Some(snapshot), dir, rootfs).map_err(storage::Error::fill)
            })?;
        }
        reader.finish().map_err(storage::Error::fill)
    }
}
