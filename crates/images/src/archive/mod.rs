//! The tar format: members with all they carry, read with caps and written portably.
//!
//! POSIX pax (2001) with the ustar header, plus what GNU tar adds: long names, sparse files,
//! binary numbers. Nothing here touches the file system.

mod pax;
mod reader;
mod sparse;
mod writer;

use std::ffi::CStr;
use std::path::{Component, Path, PathBuf};

use sys::archive_io::{Time, Xattr};

pub(crate) use reader::TarReader;
pub(crate) use sparse::Sparse;
pub(crate) use writer::TarWriter;

/// The largest extended header, read or written: room for paths and for more attributes than most file systems keep. Readers
/// written in Go, LXD's among them, take no larger one.
pub(crate) const MAX_PAX_BYTES: usize = 1 << 20;

/// Size of a tar block.
pub(crate) const BLOCK_BYTES: usize = 512;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File,
    Directory,
    Symlink,
    HardLink,
    CharDevice,
    BlockDevice,
    Fifo,
}

/// One member of an archive.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its name, as it is in the archive.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: MemberKind,
    /// How many bytes follow in the archive.
    pub(crate) data_bytes: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    /// Target of a link.
    pub(crate) link: Vec<u8>,
    /// Major and minor.
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<Xattr>,
    /// Where the bytes belong, if not all is there.
    pub(crate) sparse: Option<Sparse>,
}

impl Member {
    /// Length of the file that the member makes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.sparse.as_ref().map_or(self.data_bytes, |sparse| sparse.file_bytes)
    }
}

/// A member name as a path relative to the archive's top: leading slashes and `.` are dropped as
/// tar does, `..` and NUL are refused.
pub(crate) fn relative_path(name: &[u8]) -> Result<PathBuf, &'static str> {
    use std::os::unix::ffi::OsStrExt;
    if name.contains(&0) {
        return Err("its name contains a NUL byte");
    }
    let mut path = PathBuf::new();
    for part in Path::new(std::ffi::OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err("its name contains `..`"),
        }
    }
    Ok(path)
}

/// Attributes that belong to a guest. Others steer the host: labels of its security module,
/// privileged attributes of its overlay mounts.
pub(crate) fn is_guest_xattr(name: &CStr) -> bool {
    let name = name.to_bytes();
    matches!(name, b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default") || name.starts_with(b"user.")
}

/// Whether these bytes begin with a tar header.
pub(crate) fn has_valid_checksum(block: &[u8]) -> bool {
    block.len() >= BLOCK_BYTES && block[0] != 0 && reader::checksum_matches(&block[..BLOCK_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_relative_or_are_refused() {
        let ok = |name: &str| relative_path(name.as_bytes()).expect("accepted").display().to_string();
        assert_eq!(ok("./rootfs//etc/./x/"), "rootfs/etc/x");
        assert_eq!(ok("/etc/passwd"), "etc/passwd");
        assert_eq!(ok("."), "");
        assert!(relative_path(b"rootfs/../../etc").is_err());
        assert!(relative_path(b"..").is_err());
        assert!(relative_path(b"a\0b").is_err());
    }
}
