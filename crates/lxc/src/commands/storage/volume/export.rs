//! `lxc storage volume export`.

use std::path::PathBuf;

use anyhow::Result;
use api::storage_volumes::StorageVolumeBackupsPost;
use clap::Args;

use super::place::{CUSTOM, Place};
use crate::app::App;
use crate::commands::backup::{self, Target};

/// Export custom storage volumes
///
/// The volume with its snapshots in one file, from which `lxc storage volume import` makes it again, here or on another server.
/// The target is a file, which is replaced when the new one is complete, a directory, or `-` for standard output; without one it
/// is a new file in this directory, named by the volume.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc storage volume export default data # as data.tar.gz
lxc storage volume export default data /backup/data.tar.zst --compression zstd
lxc storage volume export default data - | lxc storage volume import work:default - # to another server")]
pub struct Export {
    /// The pool
    #[arg(value_name = "[REMOTE:]POOL")]
    pool: String,
    /// The volume
    volume: String,
    /// Where to write
    target: Option<PathBuf>,
    /// Export the volume without its snapshots
    #[arg(long)]
    volume_only: bool,
    /// Let the server use a form that only its storage driver can read, if it has one
    #[arg(long)]
    optimized_storage: bool,
    /// Compression of the backup (none, gzip, bzip2, xz, zstd, lzma)
    #[arg(long, value_name = "ALGORITHM")]
    compression: Option<String>,
}

impl Export {
    pub async fn run(self, app: &App) -> Result<()> {
        let place = Place::of(app, &self.pool, &self.volume)?;
        place.ensure_custom("exported by itself")?;
        place.ensure_whole("only whole volumes can be exported (`lxc storage volume copy` makes one of it)")?;
        // What can be found out before the work is.
        let target = Target::new(self.target.as_deref(), &place.volume)?;
        let post = StorageVolumeBackupsPost {
            expires_at: Some(backup::expiry()),
            volume_only: self.volume_only,
            optimized_storage: self.optimized_storage,
            compression_algorithm: self.compression.unwrap_or_default(),
            ..StorageVolumeBackupsPost::default()
        };
        let path = ["storage-pools", &place.pool, "volumes", CUSTOM, &place.volume, "backups"];
        backup::export(app, &place.client, (&path, &post), (&target, "storage volume")).await
    }
}
