//! What backups of instances and of custom volumes have in common: names, files, how they are written.

use std::path::{Path, PathBuf};

use images::{Compression, Packing};
use keys::server::BACKUPS_COMPRESSION_ALGORITHM;

use crate::error::Context;
use crate::images::ExportFile;
use crate::instances::next_snapshot_name;
use crate::operations::Operation;
use crate::{Engine, Error, Result};

/// The name of a new backup of `of`: as asked for, or the next free one.
pub(crate) fn new_name(of: &str, existing: &[String], requested: &str) -> Result<String> {
    let name = if requested.is_empty() { next_snapshot_name(existing, "backup%d") } else { requested.to_owned() };
    // Some clients put in front what it is of.
    let name = name.strip_prefix(&format!("{of}/")).unwrap_or(&name).to_owned();
    keys::names::check_backup(&name)?;
    if existing.contains(&name) {
        return Err(Error::conflict(format!("Backup '{of}/{name}' already exists")));
    }
    Ok(name)
}

impl Engine {
    /// How a backup is compressed: as asked for, else as the server is configured.
    pub(crate) fn backup_compression(&self, requested: &str) -> Result<Compression> {
        let config = self.records.server.get("config").map(|record| record.config.clone()).unwrap_or_default();
        let default = BACKUPS_COMPRESSION_ALGORITHM.text(&config).unwrap_or(BACKUPS_COMPRESSION_ALGORITHM.default);
        let name = if requested.is_empty() { default } else { requested };
        Compression::parse(name).ok_or_else(|| {
            Error::bad_request(format!("compression algorithm '{name}' is not known")).hint("one of none, gzip, bzip2, xz, lzma, zstd")
        })
    }

    /// Opens the file of a backup for a download by a name without its ending.
    pub(crate) fn open_backup(&self, file: &str, name: &str) -> Result<ExportFile> {
        let path = self.backup_path(file);
        let what = "open the backup";
        let file = sys::fs::open(&path).context(what)?;
        let size = file.metadata().context(what)?.len();
        let extension = images::extension_of(&path).context(what)?;
        Ok(ExportFile { filename: format!("{name}{extension}"), size, file: file.into() })
    }

    pub(crate) fn backup_path(&self, file: &str) -> PathBuf {
        self.config.dir.join("backups").join(file)
    }

    pub(crate) fn remove_backup_file(&self, path: &Path) {
        if let Err(error) = sys::fs::remove_file(path) {
            tracing::warn!("{error}");
        }
    }

    /// Removes files that no record names. To be called before the first request can make new ones.
    pub(crate) fn sweep_backups(&self) {
        let mut known: Vec<String> = self.records.backups.all().into_iter().map(|(_, record)| record.file.clone()).collect();
        known.extend(self.records.volume_backups.all().into_iter().map(|(_, record)| record.file.clone()));
        // A record that cannot be read names a file, too.
        if !self.records.backups.damaged().is_empty() || !self.records.volume_backups.damaged().is_empty() {
            return;
        }
        for file in sys::fs::list_dir(self.config.dir.join("backups")).unwrap_or_default() {
            if !known.contains(&file) {
                self.remove_backup_file(&self.backup_path(&file));
            }
        }
    }

    /// Writes the file of a backup and stores its record. The operation can be cancelled until then; nothing stays of what fails.
    pub(crate) fn make_backup_file(
        &self,
        (file, compression): (&str, Compression),
        operation: &Operation,
        write: impl FnOnce(&Path, Packing) -> Result<()>,
        store: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let path = self.backup_path(file);
        let packing = Packing::from(compression);
        let cancel = packing.cancel.clone();
        let work = || {
            let written = write(&path, packing).and_then(|()| operation.seal()).and_then(|()| store());
            written.inspect_err(|_| self.remove_backup_file(&path))
        };
        operation.breakable(move || cancel.cancel(), work)?;
        self.expiry_alarm.ring();
        Ok(())
    }
}
