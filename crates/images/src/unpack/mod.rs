//! Unpacking images into a directory: `metadata.yaml`, `templates/` and `rootfs/`.
//!
//! Ids stay as stored. Members are written through an opened root each for `rootfs` and
//! `templates`, so that no name or link in an image can lead out of its part.

pub(crate) mod budget;
mod squashfs;
pub(crate) mod tarball;

use std::path::Path;

use sys::Root;

use crate::formats::{self, Format};
use crate::{Error, Result};

/// Which device nodes of an image are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DevicePolicy {
    /// Only nodes that give access to nothing: `null`, `zero`, `tty`, `tun`, and the like, and
    /// overlayfs whiteouts.
    #[default]
    Harmless,
    /// All of them, as stored.
    All,
    /// None.
    Skip,
}

/// How to unpack.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnpackOptions {
    /// Device nodes that are made; others are left out.
    pub devices: DevicePolicy,
    /// The most bytes on disk, at least a block for each member; without, what the file system has
    /// free but for a reserve.
    pub limit_bytes: Option<u64>,
}

/// Unpacks a unified image, or a split one if `rootfs` is given, into the empty directory
/// `target`. On an error what is there so far stays: the caller removes it.
pub fn unpack(metadata_file: &Path, rootfs: Option<&Path>, target: &Path) -> Result<()> {
    unpack_with(metadata_file, rootfs, target, &UnpackOptions::default())
}

/// `unpack` with options.
pub fn unpack_with(metadata_file: &Path, rootfs: Option<&Path>, target: &Path, options: &UnpackOptions) -> Result<()> {
    let result = unpack_parts(metadata_file, rootfs, target, options);
    result.map_err(|error| match error {
        error if error.is_disk_full() => Error::DiskFull { target: target.display().to_string() },
        other => other,
    })
}

fn unpack_parts(metadata_file: &Path, rootfs: Option<&Path>, target: &Path, options: &UnpackOptions) -> Result<()> {
    let root = Root::open(target)?;
    let mut budget = budget::Budget::new(target, options.limit_bytes)?;
    let parts = if rootfs.is_some() { tarball::Parts::Metadata } else { tarball::Parts::All };
    tarball::unpack(metadata_file, &root, tarball::Scope::of_image(parts), (options.devices, &mut budget))?;
    if let Some(rootfs) = rootfs {
        let mut file = sys::fs::open(rootfs)?;
        match formats::read_format(&mut file, &rootfs.display().to_string())? {
            Format::Tar(_) => {
                tarball::unpack(rootfs, &root, tarball::Scope::of_image(tarball::Parts::Rootfs), (options.devices, &mut budget))?;
            }
            Format::Squashfs => squashfs::unpack(rootfs, target, (options.devices, &mut budget))?,
        }
    }
    require(&root, "metadata.yaml", false).map_err(|()| Error::MissingMetadata { file: metadata_file.display().to_string() })?;
    require(&root, "rootfs", true).map_err(|()| Error::MissingRootfs { file: rootfs.unwrap_or(metadata_file).display().to_string() })?;
    Ok(())
}

/// Checks that `name` itself, not what a link there points to, is of the right type.
pub(crate) fn require(root: &Root, name: &str, directory: bool) -> std::result::Result<(), ()> {
    use sys::archive_io::{NodeKind, lstat_kind};
    let wanted = if directory { NodeKind::Directory } else { NodeKind::File };
    match lstat_kind(root, Path::new(name)) {
        Ok(kind) if kind == wanted => Ok(()),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests;
