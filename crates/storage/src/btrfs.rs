//! The driver `btrfs`: every volume is a subvolume; copies and snapshots cost the same whatever
//! the size. Subvolumes that a guest made inside its own are taken along.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sys::cmd::Cmd;
use sys::{Errno, Root, btrfs};

use crate::error::Result;
use crate::volumes::{Access, Driver, STATE};

/// Subvolumes nested deeper than this are not followed.
const MAX_DEPTH: usize = 32;

/// Opens what it needs by path, so that nothing keeps the pool from being unmounted.
pub(crate) struct BtrfsDriver {
    root: PathBuf,
    version: OnceLock<String>,
}

impl BtrfsDriver {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), version: OnceLock::new() }
    }
}

impl Driver for BtrfsDriver {
    const NAME: &'static str = "btrfs";

    fn version(&self) -> String {
        let read = || {
            let output = Cmd::new("btrfs", "btrfs-progs").arg("--version").run().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.split_whitespace().find_map(|word| word.strip_prefix('v')).map(str::to_owned)
        };
        self.version.get_or_init(|| read().unwrap_or_else(|| "unknown".to_owned())).clone()
    }

    fn make(&self, dir: &Path) -> Result<()> {
        let (parent, name) = split(dir)?;
        btrfs::create(&parent, name)?;
        Ok(sys::fs::set_mode(dir, 0o700)?)
    }

    const IS_INSTANT: bool = true;

    /// A subvolume, so that a snapshot of the container need not wait until the state is on the disk.
    fn make_state(&self, dir: &Path) -> Result<()> {
        self.make(dir)?;
        Ok(sys::fs::set_mode(dir, 0o750)?)
    }

    fn duplicate(&self, from: &Path, to: &Path, access: Access) -> Result<()> {
        let source = btrfs::open(from)?;
        let (parent, name) = split(to)?;
        snapshot_with_nested(&source, &parent, name, access, 0)
    }

    fn seal(&self, dir: &Path) -> Result<()> {
        Ok(btrfs::set_read_only(btrfs::open(dir)?, true)?)
    }

    fn remove(&self, dir: &Path) -> Result<()> {
        match btrfs::is_subvolume(dir) {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(true) => Ok(btrfs::destroy(btrfs::open(dir)?, btrfs::open(&self.root)?)?),
            Ok(false) => Ok(sys::tree::remove(dir)?),
        }
    }

    fn set_quota(&self, dir: &Path, bytes: Option<u64>) -> Result<()> {
        let subvolume = btrfs::open(dir)?;
        match btrfs::set_limit(&subvolume, bytes) {
            // Quotas are off: on a file system that we did not make, until the first limit.
            Err(error) if error.errno == Errno::NOTCONN && bytes.is_none() => Ok(()),
            Err(error) if error.errno == Errno::NOTCONN => {
                if !btrfs::enable_simple_quota(&subvolume)? {
                    btrfs::enable_quota(&subvolume)?;
                }
                Ok(btrfs::set_limit(&subvolume, bytes)?)
            }
            other => Ok(other?),
        }
    }

    fn quota(&self, dir: &Path) -> Option<u64> {
        btrfs::limit(btrfs::open(dir).ok()?).ok().flatten()
    }

    /// What would come free if the volume went away.
    fn usage_bytes(&self, dir: &Path) -> Option<u64> {
        btrfs::usage(btrfs::open(dir).ok()?).ok().flatten().map(|usage| usage.exclusive_bytes)
    }
}

fn split(dir: &Path) -> Result<(File, &OsStr)> {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Err(sys::Error::new("create subvolume", dir.display(), Errno::INVAL).into());
    };
    Ok((btrfs::open(parent)?, name))
}

/// A snapshot of a subvolume and of all that are nested in it. One that the guest moves or
/// removes meanwhile is left out.
fn snapshot_with_nested(source: &File, parent: impl AsFd, name: &OsStr, access: Access, depth: usize) -> Result<()> {
    if depth == MAX_DEPTH {
        return Err(sys::Error::new("create snapshot (nested too deep)", name.display(), Errno::LOOP).into());
    }
    let nested = btrfs::nested(source)?;
    let is_state = |path: &Path| depth == 0 && path == Path::new(STATE);
    if nested.is_empty() {
        return Ok(btrfs::snapshot(source, parent, name, access == Access::ReadOnly)?);
    }
    btrfs::snapshot(source, &parent, name, false)?;
    let copy = File::from(sys::tree::open_dir(&parent, Path::new(name))?);
    for child in nested {
        let Some(child_source) = btrfs::open_nested(source, &child)? else { continue };
        let (Some(dir), Some(child_name)) = (child.path.parent(), child.path.file_name()) else { continue };
        let dir = match sys::tree::open_dir(&copy, dir) {
            Err(error) if sys::tree::is_vanished(&error) => continue,
            other => other?,
        };
        // Where a subvolume was nested, the snapshot has an empty directory.
        let dir = Root::from_fd(dir, &child.path);
        match dir.remove_dir(child_name) {
            Err(error) if error.is_not_found() => {}
            other => other?,
        }
        if is_state(&child.path) {
            continue;
        }
        snapshot_with_nested(&child_source, dir.as_dir_fd(), child_name, access, depth + 1)?;
    }
    if access == Access::ReadOnly {
        btrfs::set_read_only(&copy, true)?;
    }
    Ok(())
}
