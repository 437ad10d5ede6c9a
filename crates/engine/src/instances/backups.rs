//! Backups: an instance with its snapshots in one file, kept until somebody fetched and deleted it.
//!
//! The files are `backups/UUID` in the state directory; the records say which instance each is of. A
//! file without a record is what a crash left, and is removed when the daemon starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::Timestamp;
use api::instance_backups::{InstanceBackup, InstanceBackupsPost};
use api::storage_pools::{StoragePool, StorageVolume};
use images::{BackupConfig, BackupIndex, BackupWriter, Compression, PackSource, Packing};
use keys::instance::volatile;
use serde_json::Value;
use storage::{Pool, VolumeRef};
use sys::Root;
use sys::idmap::IdMap;

use super::Instances;
use super::admission::Action;
use super::start::runtime_rootfs;
use crate::error::Context;
use crate::images::ExportFile;
use crate::operations::{New, Operation};
use crate::records::{BackupRecord, Held, InstanceRecord};
use crate::{Error, Result, backups};

/// A volume that goes into a backup.
struct Part {
    /// Name of the snapshot; none for the instance itself.
    snapshot: Option<String>,
    /// Where its content is read.
    volume: VolumeRef,
    record: InstanceRecord,
}

impl Instances {
    /// The backups of an instance, oldest first.
    pub fn backups(&self, name: &str) -> Result<Vec<InstanceBackup>> {
        self.record(name)?;
        Ok(self.render_backups(name))
    }

    pub(super) fn render_backups(&self, name: &str) -> Vec<InstanceBackup> {
        let mut list = self.engine.records.backups.below(&format!("{name}/"));
        list.sort_by(|(a_name, a), (b_name, b)| (a.created_at, a_name).cmp(&(b.created_at, b_name)));
        list.iter().map(|(backup, record)| render(backup, record)).collect()
    }

    /// One backup.
    pub fn backup(&self, name: &str, backup: &str) -> Result<InstanceBackup> {
        Ok(render(backup, &self.backup_record(name, backup)?.record))
    }

    /// Makes a backup. A running instance is backed up as it is at a moment, like a snapshot.
    pub fn create_backup(&self, name: &str, request: InstanceBackupsPost) -> Result<Arc<Operation>> {
        self.record(name)?;
        let existing: Vec<String> = self.engine.records.backups.below(&format!("{name}/")).into_iter().map(|(backup, _)| backup).collect();
        let backup = backups::new_name(name, &existing, &request.name)?;
        let compression = self.engine.backup_compression(&request.compression_algorithm)?;
        let mut new = New::instance("Backing up instance", name);
        // Clients of LXD 5.0 take the name from here.
        new.resources.push(("backups", vec![backup.clone()]));
        let (this, instance) = (self.clone(), name.to_owned());
        self.engine.operations.run(new, move |operation| {
            operation.progress("create_backup_progress", "Generating backup");
            this.make_backup((&instance, &backup), &request, compression, operation).map(|()| None)
        })
    }

    fn make_backup(
        &self,
        (name, backup): (&str, &str),
        request: &InstanceBackupsPost,
        compression: Compression,
        operation: &Operation,
    ) -> Result<()> {
        let engine = &self.engine;
        let _permit = engine.gates.permit(name, Action::Copy)?;
        let held = self.record(name)?;
        let record = BackupRecord {
            created_at: Timestamp::now(),
            expires_at: request.expires_at.unwrap_or(Timestamp::NEVER),
            instance_only: request.instance_only || request.container_only,
            file: uuid::Uuid::new_v4().to_string(),
        };
        let file = record.file.clone();
        let write = |path: &Path, packing| self.write_backup(name, &held, &record, (path, packing));
        let store = || {
            let mut changes = engine.records.changes();
            changes.insert(&format!("{name}/{backup}"), BackupRecord::clone(&record))?;
            changes.commit()
        };
        engine.make_backup_file((&file, compression), operation, write, store)?;
        engine.lifecycle("instance-backup-created", "instances", &format!("{name}/backups/{backup}"));
        Ok(())
    }

    fn write_backup(
        &self,
        name: &str,
        held: &Held<InstanceRecord>,
        record: &BackupRecord,
        (path, packing): (&Path, Packing),
    ) -> Result<()> {
        let pool = self.engine.pool(&held.pool)?;
        let snapshots = if record.instance_only { Vec::new() } else { self.engine.records.snapshots.below(&format!("{name}/")) };
        let mut parts = Vec::new();
        for (snapshot, held) in &snapshots {
            parts.push(Part {
                snapshot: Some(snapshot.clone()),
                volume: VolumeRef::snapshot(name, snapshot.as_str()),
                record: held.instance.clone(),
            });
        }
        let own = VolumeRef::instance(name);
        let (volume, _taken_back) = self.still(&own)?;
        parts.insert(0, Part { snapshot: None, volume, record: InstanceRecord::clone(&held.record) });
        let index = BackupIndex {
            name: name.to_owned(),
            backend: pool.driver().to_owned(),
            pool: held.pool.clone(),
            snapshots: snapshots.iter().map(|(snapshot, _)| snapshot.clone()).collect(),
            kind: "container".into(),
            config: self.backup_config(name, &snapshots.iter().map(|(snapshot, _)| snapshot.as_str()).collect::<Vec<_>>())?,
            ..BackupIndex::default()
        };
        let out = sys::fs::create(path, 0o600).context("write the backup")?;
        pack(&*pool, &index, &parts, (&out, packing))?;
        out.sync_all().context("write the backup")
    }

    /// The records as the API shows them, with ids as they are in the archive: those of the guest. Pool, profiles and volumes
    /// are there for LXD, which takes no backup without.
    fn backup_config(&self, name: &str, snapshots: &[&str]) -> Result<BackupConfig> {
        let json = |value: serde_json::Result<Value>| {
            let mut value = value.map_err(|error| Error::internal("describe the instance").caused_by(error))?;
            if let Some(config) = value.get_mut("config").and_then(Value::as_object_mut) {
                config.retain(|key, _| key != volatile::LAST_STATE_IDMAP.name && key != volatile::LAST_STATE_POWER.name);
            }
            Ok::<_, Error>(value)
        };
        let record = self.record(name)?;
        let pool = self.engine.storage_pools().get(&record.pool)?.value;
        let profiles = record.profiles.iter().map(|profile| json(serde_json::to_value(self.engine.profiles().get(profile)?.value)));
        let volume = |name: &str| {
            let (kind, content_type) = ("container".to_owned(), "filesystem".to_owned());
            let shown = StorageVolume { name: name.to_owned(), kind, content_type, location: "none".into(), ..StorageVolume::default() };
            json(serde_json::to_value(shown))
        };
        Ok(BackupConfig {
            container: json(serde_json::to_value(self.get(name)?.value))?,
            pool: json(serde_json::to_value(StoragePool { used_by: Vec::new(), ..pool }))?,
            profiles: profiles.collect::<Result<_>>()?,
            volume: volume(name)?,
            volume_snapshots: snapshots.iter().map(|snapshot| volume(snapshot)).collect::<Result<_>>()?,
            snapshots: snapshots
                .iter()
                .map(|snapshot| json(serde_json::to_value(self.snapshot(name, snapshot)?.value)))
                .collect::<Result<_>>()?,
        })
    }

    /// Renames a backup.
    pub fn rename_backup(&self, name: &str, backup: &str, new: &str) -> Result<Arc<Operation>> {
        self.backup_record(name, backup)?;
        keys::names::check_backup(new)?;
        let (this, instance, backup, new) = (self.clone(), name.to_owned(), backup.to_owned(), new.to_owned());
        self.engine.operations.run(New::instance("Renaming backup", name), move |_| {
            let held = this.backup_record(&instance, &backup)?;
            let mut changes = this.engine.records.changes();
            changes.delete::<BackupRecord>(&format!("{instance}/{backup}"));
            changes.insert(&format!("{instance}/{new}"), BackupRecord::clone(&held.record))?;
            changes.commit()?;
            this.engine.lifecycle("instance-backup-renamed", "instances", &format!("{instance}/backups/{new}"));
            Ok(None)
        })
    }

    /// Deletes a backup.
    pub fn delete_backup(&self, name: &str, backup: &str) -> Result<Arc<Operation>> {
        self.backup_record(name, backup)?;
        let (this, instance, backup) = (self.clone(), name.to_owned(), backup.to_owned());
        self.engine.operations.run(New::instance("Deleting backup", name), move |_| {
            let held = this.backup_record(&instance, &backup)?;
            let mut changes = this.engine.records.changes();
            changes.delete::<BackupRecord>(&format!("{instance}/{backup}"));
            changes.commit()?;
            this.engine.remove_backup_file(&this.engine.backup_path(&held.file));
            this.engine.lifecycle("instance-backup-deleted", "instances", &format!("{instance}/backups/{backup}"));
            Ok(None)
        })
    }

    /// A backup's file, for a download.
    pub fn export_backup(&self, name: &str, backup: &str) -> Result<ExportFile> {
        self.engine.open_backup(&self.backup_record(name, backup)?.file, &format!("{name}-{backup}"))
    }

    fn backup_record(&self, name: &str, backup: &str) -> Result<Held<BackupRecord>> {
        self.record(name)?;
        let id = format!("{name}/{backup}");
        self.engine.records.backups.get(&id).ok_or_else(|| Error::not_found(format!("Backup '{id}' not found")))
    }
}

impl crate::Engine {
    /// The backups of an instance that goes away: their paths and the deletion of their records.
    pub(super) fn forget_backups(&self, name: &str, changes: &mut crate::records::Changes<'_>) -> Vec<PathBuf> {
        let backups = self.records.backups.below(&format!("{name}/")).into_iter();
        let forget = |(backup, record): (String, Held<BackupRecord>)| {
            changes.delete::<BackupRecord>(&format!("{name}/{backup}"));
            self.backup_path(&record.file)
        };
        backups.map(forget).collect()
    }
}

fn pack(pool: &dyn Pool, index: &BackupIndex, parts: &[Part], (out, packing): (&std::fs::File, Packing)) -> Result<()> {
    let what = "write the backup";
    let mut opened = Vec::new();
    for part in parts {
        if part.record.shifting_to.is_some() {
            return Err(Error::bad_request("a change of the owners of its files was interrupted")
                .hint("start the instance once, which goes on with it"));
        }
        let dir = Root::open(pool.dir(&part.volume)).context(what)?;
        let rootfs = runtime::open_rootfs(&runtime_rootfs(pool.rootfs(&part.volume).context(what)?)).context(what)?;
        let map = volatile::LAST_STATE_IDMAP.text(&part.record.config).and_then(|text| serde_json::from_str::<IdMap>(text).ok());
        opened.push((dir, rootfs, map.filter(|map| !map.is_empty())));
    }
    let mut writer = BackupWriter::new(index, out, packing).context(what)?;
    for (part, (dir, rootfs, map)) in parts.iter().zip(&opened) {
        let source = PackSource { volume: dir, rootfs, ids: map.as_ref(), architecture: &part.record.architecture };
        writer.volume(part.snapshot.as_deref(), &source).context(what)?;
    }
    writer.finish().context(what).map(drop)
}

fn render(name: &str, record: &BackupRecord) -> InstanceBackup {
    InstanceBackup {
        name: name.to_owned(),
        created_at: record.created_at,
        expires_at: record.expires_at,
        instance_only: record.instance_only,
        container_only: record.instance_only,
        optimized_storage: false,
    }
}
