//! `lxc export`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use api::instance_backups::InstanceBackupsPost;
use clap::Args;

use super::backup::{self, Target};
use crate::app::App;

/// Export container backups
///
/// The container with its snapshots and configuration in one file, from which `lxc import` makes it again, here or on
/// another server. One that runs is exported as it is at a moment, and goes on running. The target is a file, which is
/// replaced when the new one is complete, a directory, or `-` for standard output; without one it is a new file in this
/// directory, named by the container.
#[derive(Debug, Args)]
#[command(after_help = "\
lxc export c1 # as c1.tar.gz
lxc export c1 /backup/c1.tar.zst --compression zstd
lxc export c1 - --compression none | lxc import work: - # to another server")]
pub struct Export {
    /// The container
    #[arg(value_name = "[REMOTE:]CONTAINER")]
    name: String,
    /// Where to write
    target: Option<PathBuf>,
    /// Export the container without its snapshots
    #[arg(long, alias = "container-only")]
    instance_only: bool,
    /// Let the server use a form that only its storage driver can read, if it has one
    #[arg(long)]
    optimized_storage: bool,
    /// Compression of the backup (none, gzip, bzip2, xz, zstd, lzma)
    #[arg(long, value_name = "ALGORITHM")]
    compression: Option<String>,
}

impl Export {
    pub async fn run(self, app: &App) -> Result<()> {
        let (client, name) = app.resolve_named(&self.name, "Container")?;
        if name.contains('/') {
            bail!("\"{name}\" is a snapshot: only whole containers can be exported (`lxc copy {name} NAME` makes one of it)");
        }
        // What can be found out before the work is.
        let target = Target::new(self.target.as_deref(), &name)?;
        let post = InstanceBackupsPost {
            expires_at: Some(backup::expiry()),
            instance_only: self.instance_only,
            container_only: self.instance_only,
            optimized_storage: self.optimized_storage,
            compression_algorithm: self.compression.clone().unwrap_or_default(),
            ..InstanceBackupsPost::default()
        };
        backup::export(app, &client, (&["instances", &name, "backups"], &post), (&target, "container")).await
    }
}
