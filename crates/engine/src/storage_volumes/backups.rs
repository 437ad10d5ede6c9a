//! Backups of custom volumes: a volume with its snapshots in one file, as with instances (`instances/backups.rs`), and how it
//! comes back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::Timestamp;
use api::storage_pools::StorageVolume;
use api::storage_volumes::{StorageVolumeBackup, StorageVolumeBackupsPost, StorageVolumeSnapshot};
use images::{BackupConfig, BackupIndex, BackupReader, BackupWriter, CUSTOM_VOLUME, Compression, Packing};
use storage::{CustomVolumes, VolumeRef};
use sys::Root;

use super::{StorageVolumes, checked};
use crate::error::Context;
use crate::images::{ExportFile, UploadDir};
use crate::operations::{New, Operation};
use crate::records::{Changes, Held, VolumeBackupRecord, VolumeIntentRecord, VolumeRecord, VolumeSnapshotRecord};
use crate::{Error, ErrorKind, Result, backups};

/// An uploaded backup of a volume.
#[derive(Debug)]
pub struct VolumeBackupUpload {
    /// Holds the file; taken over by the operation.
    pub dir: UploadDir,
    /// The backup.
    pub file: PathBuf,
    /// Name of the volume; empty for the one in the backup.
    pub name: String,
}

impl StorageVolumes {
    /// The backups of a volume, oldest first.
    pub fn backups(&self, name: &str) -> Result<Vec<StorageVolumeBackup>> {
        self.record(name)?;
        let mut list = self.engine.records.volume_backups.below(&format!("{}/", self.id(name)));
        list.sort_by(|(a_name, a), (b_name, b)| (a.created_at, a_name).cmp(&(b.created_at, b_name)));
        Ok(list.iter().map(|(backup, record)| render(backup, record)).collect())
    }

    /// One backup.
    pub fn backup(&self, name: &str, backup: &str) -> Result<StorageVolumeBackup> {
        Ok(render(backup, &self.backup_record(name, backup)?.record))
    }

    /// Makes a backup. A volume that a running instance uses is backed up as it is at a moment, like a snapshot.
    pub fn create_backup(&self, name: &str, request: StorageVolumeBackupsPost) -> Result<Arc<Operation>> {
        let existing: Vec<String> = self.backups(name)?.into_iter().map(|backup| backup.name).collect();
        let backup = backups::new_name(name, &existing, &request.name)?;
        let compression = self.engine.backup_compression(&request.compression_algorithm)?;
        let mut new = New::volume("Backing up storage volume", &self.pool, name);
        // Clients of LXD 5.0 take the name from here.
        new.resources.push(("backups", vec![backup.clone()]));
        let (this, volume) = (self.clone(), name.to_owned());
        self.engine.operations.run(new, move |operation| {
            operation.progress("create_backup_progress", "Generating backup");
            this.make_backup((&volume, &backup), &request, compression, operation).map(|()| None)
        })
    }

    fn make_backup(
        &self,
        (name, backup): (&str, &str),
        request: &StorageVolumeBackupsPost,
        compression: Compression,
        operation: &Operation,
    ) -> Result<()> {
        let engine = &self.engine;
        let _alone = engine.hold_volume(&self.id(name))?;
        let held = self.record(name)?;
        self.settle_leftover(name)?;
        let record = VolumeBackupRecord {
            created_at: Timestamp::now(),
            expires_at: request.expires_at.unwrap_or(Timestamp::NEVER),
            volume_only: request.volume_only,
            file: uuid::Uuid::new_v4().to_string(),
        };
        let file = record.file.clone();
        let write = |path: &Path, packing| self.write_backup(name, &held, &record, (path, packing));
        let store = || {
            let mut changes = engine.records.changes();
            changes.insert(&format!("{}/{backup}", self.id(name)), VolumeBackupRecord::clone(&record))?;
            changes.commit()
        };
        engine.make_backup_file((&file, compression), operation, write, store)?;
        self.lifecycle("backup-created", &format!("{name}/backups/{backup}"));
        Ok(())
    }

    fn write_backup(
        &self,
        name: &str,
        held: &Held<VolumeRecord>,
        record: &VolumeBackupRecord,
        (path, packing): (&Path, Packing),
    ) -> Result<()> {
        let what = "write the backup";
        let custom = self.custom()?;
        let snapshots = if record.volume_only { Vec::new() } else { self.snapshots(name)? };
        let names: Vec<String> = snapshots.iter().map(|shown| shown.name.rsplit('/').next().unwrap_or_default().to_owned()).collect();
        // Nobody reads what is being written.
        let still = self.is_running_with(name).then(|| format!("backup-{}", record.file));
        let _taken_back = match &still {
            None => None,
            Some(snapshot) => {
                // There will be no record of it.
                let intent = self.intend(name, VolumeIntentRecord::Snapshotting { snapshot: snapshot.clone() })?;
                custom.snapshot(name, snapshot).context(format!("take a snapshot of volume `{name}` for the backup"))?;
                Some(intent)
            }
        };
        let json =
            |value: serde_json::Result<serde_json::Value>| value.map_err(|error| Error::internal("describe the volume").caused_by(error));
        let config = BackupConfig {
            volume: json(serde_json::to_value(self.render(name, held)))?,
            volume_snapshots: snapshots.iter().map(|shown| json(serde_json::to_value(shown))).collect::<Result<_>>()?,
            ..BackupConfig::default()
        };
        let index = BackupIndex {
            name: name.to_owned(),
            backend: self.engine.pool(&self.pool)?.driver().to_owned(),
            pool: self.pool.clone(),
            snapshots: names.clone(),
            kind: CUSTOM_VOLUME.to_owned(),
            config,
            ..BackupIndex::default()
        };
        let content = |volume: &VolumeRef| Root::open(custom.content(volume).context(what)?).context(what);
        let out = sys::fs::create(path, 0o600).context(what)?;
        let mut writer = BackupWriter::new(&index, &out, packing).context(what)?;
        let volume = still.map_or_else(|| VolumeRef::instance(name), |snapshot| VolumeRef::snapshot(name, snapshot));
        writer.content(None, &content(&volume)?).context(what)?;
        for snapshot in &names {
            writer.content(Some(snapshot), &content(&VolumeRef::snapshot(name, snapshot.as_str()))?).context(what)?;
        }
        writer.finish().context(what)?;
        out.sync_all().context(what)
    }

    /// Renames a backup.
    pub fn rename_backup(&self, name: &str, backup: &str, new: &str) -> Result<Arc<Operation>> {
        self.backup_record(name, backup)?;
        keys::names::check_backup(new)?;
        let (this, volume, backup, new) = (self.clone(), name.to_owned(), backup.to_owned(), new.to_owned());
        self.engine.operations.run(New::volume("Renaming backup", &self.pool, name), move |_| {
            let held = this.backup_record(&volume, &backup)?;
            let mut changes = this.engine.records.changes();
            changes.delete::<VolumeBackupRecord>(&format!("{}/{backup}", this.id(&volume)));
            changes.insert(&format!("{}/{new}", this.id(&volume)), VolumeBackupRecord::clone(&held.record))?;
            changes.commit()?;
            this.lifecycle("backup-renamed", &format!("{volume}/backups/{new}"));
            Ok(None)
        })
    }

    /// Deletes a backup.
    pub fn delete_backup(&self, name: &str, backup: &str) -> Result<Arc<Operation>> {
        self.backup_record(name, backup)?;
        let (this, volume, backup) = (self.clone(), name.to_owned(), backup.to_owned());
        self.engine.operations.run(New::volume("Deleting backup", &self.pool, name), move |_| {
            let held = this.backup_record(&volume, &backup)?;
            let mut changes = this.engine.records.changes();
            changes.delete::<VolumeBackupRecord>(&format!("{}/{backup}", this.id(&volume)));
            changes.commit()?;
            this.engine.remove_backup_file(&this.engine.backup_path(&held.file));
            this.lifecycle("backup-deleted", &format!("{volume}/backups/{backup}"));
            Ok(None)
        })
    }

    /// A backup's file, for a download.
    pub fn export_backup(&self, name: &str, backup: &str) -> Result<ExportFile> {
        self.engine.open_backup(&self.backup_record(name, backup)?.file, &format!("{name}-{backup}"))
    }

    /// Makes a volume from a backup, of this server or of another. The backup is as foreign as any upload: its index is checked
    /// like a request.
    pub fn import_backup(&self, upload: VolumeBackupUpload) -> Result<Arc<Operation>> {
        let index = images::read_backup_index(&upload.file).context_as(ErrorKind::BadRequest, "read the backup")?;
        if index.optimized {
            return Err(Error::bad_request(format!("The backup is in a form that only the storage driver {} knows", index.backend))
                .hint("export it again without --optimized-storage"));
        }
        if index.kind != CUSTOM_VOLUME {
            return Err(Error::bad_request(format!("it is a backup of the type '{}', not of a custom volume", index.kind))
                .hint("`lxc import` takes backups of instances"));
        }
        let name = if upload.name.is_empty() { index.name.clone() } else { upload.name.clone() };
        keys::names::check_volume(&name)?;
        if self.engine.records.volumes.contains(&self.id(&name)) {
            return Err(super::exists(&name));
        }
        let (record, snapshots) = records_of(&index)?;
        let this = self.clone();
        self.engine.operations.run(New::volume("Restoring backup", &self.pool, &name), move |operation| {
            operation.progress("restore_backup_progress", "Unpack: started");
            let names: Vec<String> = snapshots.iter().map(|(snapshot, _)| snapshot.clone()).collect();
            let made = this.make(&name, record, snapshots, |custom| unpack(custom, &upload, &name, &names));
            made.map(|()| None)
        })
    }

    /// The backups of a volume that goes away: their paths and the deletion of their records.
    pub(super) fn forget_backups(&self, name: &str, changes: &mut Changes<'_>) -> Vec<PathBuf> {
        let id = self.id(name);
        let backups = self.engine.records.volume_backups.below(&format!("{id}/")).into_iter();
        let forget = |(backup, record): (String, Held<VolumeBackupRecord>)| {
            changes.delete::<VolumeBackupRecord>(&format!("{id}/{backup}"));
            self.engine.backup_path(&record.file)
        };
        backups.map(forget).collect()
    }

    fn backup_record(&self, name: &str, backup: &str) -> Result<Held<VolumeBackupRecord>> {
        self.record(name)?;
        let id = format!("{}/{backup}", self.id(name));
        self.engine.records.volume_backups.get(&id).ok_or_else(|| Error::not_found(format!("Backup '{id}' not found")))
    }
}

type Records = (VolumeRecord, Vec<(String, VolumeSnapshotRecord)>);

/// The records that a backup speaks of.
fn records_of(index: &BackupIndex) -> Result<Records> {
    let bad = |error: serde_json::Error| Error::bad_request("The backup's record of the volume is not valid").caused_by(error);
    let shown: StorageVolume = serde_json::from_value(index.config.volume.clone()).map_err(bad)?;
    if !matches!(shown.content_type.as_str(), "" | "filesystem") {
        return Err(Error::bad_request(format!("content type '{}' is not supported", shown.content_type)).hint("only filesystem is"));
    }
    let record = VolumeRecord { description: shown.description, config: checked(shown.config)?, created_at: Timestamp::now() };
    let mut snapshots: Vec<(String, VolumeSnapshotRecord)> = Vec::new();
    for (position, name) in index.snapshots.iter().enumerate() {
        keys::names::check_snapshot(name)?;
        if snapshots.iter().any(|(other, _)| other == name) {
            return Err(Error::bad_request(format!("The backup has snapshot {name} twice")));
        }
        let found = index.config.volume_snapshots.get(position).cloned().unwrap_or_else(|| serde_json::json!({}));
        let shown: StorageVolumeSnapshot = serde_json::from_value(found).map_err(bad)?;
        // LXD 5.0 does not know when.
        let taken_at = if shown.created_at == Timestamp::NEVER { Timestamp::now() } else { shown.created_at };
        let expires_at = shown.expires_at;
        let record = VolumeSnapshotRecord { taken_at, expires_at, description: shown.description, config: checked(shown.config)? };
        snapshots.push((name.clone(), record));
    }
    Ok((record, snapshots))
}

fn unpack(custom: &dyn CustomVolumes, upload: &VolumeBackupUpload, name: &str, snapshots: &[String]) -> storage::Result<()> {
    let mut reader = BackupReader::new(&upload.file);
    custom.create_filled(name, &mut |dir, rootfs| reader.content(None, dir, rootfs).map_err(storage::Error::fill))?;
    for snapshot in snapshots {
        let fill = &mut |dir: &Path, rootfs: &str| reader.content(Some(snapshot), dir, rootfs).map_err(storage::Error::fill);
        custom.create_snapshot_filled(name, snapshot, fill)?;
    }
    reader.finish().map_err(storage::Error::fill)
}

fn render(name: &str, record: &VolumeBackupRecord) -> StorageVolumeBackup {
    StorageVolumeBackup {
        name: name.to_owned(),
        created_at: record.created_at,
        expires_at: record.expires_at,
        volume_only: record.volume_only,
        optimized_storage: false,
    }
}
