//! The files of a container, running or stopped, as the guest sees them: ids are guest ids and
//! every path is resolved beneath the container's root.
//!
//! Of a running container they are reached by a helper inside its user and mount namespaces; of a
//! stopped one directly, through the root file system opened for the purpose.

mod client;
mod crew;
mod ops;
mod server;
mod stopped;

use serde::{Deserialize, Serialize};

pub use client::FileTree;
pub(crate) use client::Helper;
pub(crate) use crew::{Crew, MAX_HELPERS};
pub use server::run;
pub(crate) use stopped::mount_overlay;
pub use stopped::open_rootfs;

/// The most names in one listing.
const LIST_LIMIT: usize = 100_000;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, socket or fifo.
    Other,
}

/// Facts of a file; ids are the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// What it is.
    pub kind: FileKind,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
}

/// Ownership and mode to give; unset leaves an existing file's, and is root's 0640 (directories:
/// 0750) for a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAttrs {
    /// Owner, guest id.
    pub uid: Option<u32>,
    /// Group, guest id.
    pub gid: Option<u32>,
    /// Permission bits.
    pub mode: Option<u32>,
}

/// One operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FileRequest {
    /// Facts of the path itself; a final link is not followed.
    Stat {
        /// Inside.
        path: String,
    },
    /// Open a regular file for reading.
    Read {
        /// Inside.
        path: String,
    },
    /// Names in a directory.
    List {
        /// Inside.
        path: String,
    },
    /// Text of a link.
    ReadLink {
        /// Inside.
        path: String,
    },
    /// Open a regular file for writing, made if missing.
    Write {
        /// Inside.
        path: String,
        /// To give.
        attrs: FileAttrs,
        /// Add to the end instead of replacing the content.
        append: bool,
    },
    /// Make a directory; an existing one only gets the attributes.
    Mkdir {
        /// Inside.
        path: String,
        /// To give.
        attrs: FileAttrs,
    },
    /// Make a symbolic link.
    Symlink {
        /// Inside.
        path: String,
        /// Its text.
        target: String,
        /// To give (ids only).
        attrs: FileAttrs,
    },
    /// Remove a file, link or empty directory.
    Delete {
        /// Inside.
        path: String,
    },
}

/// The answer; those of `Read` and `Write` carry the open file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FileReply {
    /// Facts.
    Stat(FileStat),
    /// Names are in the file that the reply carries, each ended by a NUL.
    List,
    /// Text.
    Link(String),
    /// Done.
    Done,
}
