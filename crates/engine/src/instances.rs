//! Instances: one verb a file beneath, this file holds the handle.

pub(crate) mod admission;
mod allocation;
mod autostart;
mod backups;
mod console;
mod copy;
mod create;
mod delete;
mod exec;
mod exec_control;
pub(crate) mod expand;
mod files;
mod filters;
mod freeze;
pub(crate) mod idmap;
mod import;
mod instance_type;
mod intents;
pub(crate) mod limits;
mod logs;
mod metadata;
mod migration;
mod names;
mod ownership;
mod processors;
mod reach;
mod recovery;
mod refresh;
mod rename;
mod restore;
mod schedule;
mod set_state;
mod snapshot;
mod spec;
mod start;
pub(crate) mod state;
mod stateful;
mod stop;
mod templates;
mod update;

use std::os::fd::OwnedFd;
use std::sync::Arc;

pub(crate) use self::migration::try_offer;
pub use import::BackupUpload;
pub(crate) use logs::KEPT as KEPT_LOGS;
pub(crate) use recovery::Unsettled;
pub(crate) use snapshot::next_name as next_snapshot_name;
pub(crate) use start::runtime_rootfs;

use crate::records::{Held, InstanceRecord};
use crate::{Engine, Error, Result};

/// The instances of an engine. Cheap to make and to clone.
#[derive(Clone, Debug)]
pub struct Instances {
    pub(crate) engine: Arc<Engine>,
}

/// What stands at a path inside an instance.
#[derive(Debug)]
pub enum FileContent {
    /// A regular file, open for reading.
    File(OwnedFd),
    /// The names in a directory, sorted.
    Directory(Vec<String>),
    /// Where a symbolic link points.
    Symlink(String),
}

/// A file inside an instance with its attributes (ids as the guest sees them).
#[derive(Debug)]
pub struct FileEntry {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Size in bytes; `None` of a file whose content is made as it is read.
    pub size: Option<u64>,
    /// What it holds.
    pub content: FileContent,
}

/// Attributes to give a file; `None`: new ones get root and the default mode, old ones keep theirs.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileAttributes {
    /// User id as the guest sees it.
    pub uid: Option<u32>,
    /// Group id as the guest sees it.
    pub gid: Option<u32>,
    /// Permission bits.
    pub mode: Option<u32>,
}

impl Instances {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Takes an ended container out of what is published.
    pub(crate) fn unpublish(&self, name: &str) {
        self.engine.live.remove(name);
        self.engine.guests().forget(name);
        self.lift_all_filters(name);
    }

    pub(crate) fn record(&self, name: &str) -> Result<Held<InstanceRecord>> {
        self.engine.records.instances.get(name).ok_or_else(|| Error::not_found(format!("Instance '{name}' not found")))
    }
}
