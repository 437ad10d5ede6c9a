//! The driver `btrfs`: every volume is a subvolume; copies and snapshots cost the same whatever
//! the size. Subvolumes that a guest made inside its own are taken along.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sys::btrfs::{Nested, Quotas, ROOT_INODE};
use sys::cmd::Cmd;
use sys::{Errno, Root, btrfs};

use crate::error::{Error, Result};
use crate::pool::Subvolumes;
use crate::volumes::{Access, Driver, STATE};

/// The most nested subvolumes that a copy or snapshot takes along: the kernel writes a transaction for each, which takes some ten
/// milliseconds. Any number is removed, much faster.
const MAX_COPIED: usize = 10_000;
/// How often it is looked for subvolumes that a guest makes while its volume gets a limit: inside of what has it already they
/// count by themselves.
const MAX_LOOKS: usize = 100;

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

    /// A subvolume, so that a snapshot of the container need not wait until the state is on the disk. It does not count for the
    /// container, whose size it would exceed.
    fn make_state(&self, dir: &Path) -> Result<()> {
        let (parent, name) = split(dir)?;
        btrfs::create_apart(&parent, name)?;
        Ok(sys::fs::set_mode(dir, 0o750)?)
    }

    fn duplicate(&self, from: &Path, to: &Path, access: Access) -> Result<()> {
        let source = btrfs::open(from)?;
        let nested = btrfs::descendants(&source)?;
        if nested.is_empty() {
            let (parent, name) = split(to)?;
            return Ok(btrfs::snapshot(&source, &parent, name, access == Access::ReadOnly)?);
        }
        if nested.len() > MAX_COPIED {
            return Err(Error::TooManySubvolumes { path: from.to_owned(), count: nested.len(), limit: MAX_COPIED });
        }
        snapshot_with_nested(&source, to, &nested, access)
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
        let (pool, volume) = (btrfs::open(&self.root)?, btrfs::open(dir)?);
        let mut quotas = btrfs::quotas(&pool)?;
        if quotas == Quotas::Off {
            // On a file system that we did not make, until the first limit.
            if bytes.is_none() {
                return Ok(());
            }
            if !btrfs::enable_simple_quota(&pool)? {
                btrfs::enable_quota(&pool)?;
            }
            quotas = btrfs::quotas(&pool)?;
        }
        if quotas == Quotas::Simple && bytes.is_some() {
            enclose(&pool, &volume)?;
        }
        Ok(btrfs::set_limit(&pool, &volume, bytes)?)
    }

    fn quota(&self, dir: &Path) -> Option<u64> {
        btrfs::limit(btrfs::open(dir).ok()?).ok().flatten()
    }

    fn keep_to_limit(&self, dir: &Path) -> Result<Subvolumes> {
        let (pool, volume) = (btrfs::open(&self.root)?, btrfs::open(dir)?);
        let Some(limit) = btrfs::limit(&volume)? else { return Ok(Subvolumes::Any) };
        if btrfs::quotas(&pool)? != Quotas::Simple {
            return Ok(Subvolumes::None);
        }
        enclose(&pool, &volume)?;
        btrfs::set_limit(&pool, &volume, Some(limit))?;
        Ok(Subvolumes::Counted)
    }

    /// What would come free if the volume went away.
    fn usage_bytes(&self, dir: &Path) -> Option<u64> {
        let subvolume = btrfs::open(dir).ok()?;
        btrfs::usage(&subvolume, || Ok(ids(&guest_made(&subvolume)?))).ok().flatten().map(|usage| usage.exclusive_bytes)
    }
}

/// Puts a volume and what a guest has made inside it into the group that a limit is set on.
fn enclose(pool: &File, volume: &File) -> Result<()> {
    for _ in 0..MAX_LOOKS {
        if btrfs::enclose(pool, volume, &ids(&guest_made(volume)?))? {
            return Ok(());
        }
    }
    Err(sys::Error::new("put into a quota group", "what is made faster than it is found", Errno::BUSY).into())
}

fn ids(nested: &[Nested]) -> Vec<u64> {
    nested.iter().map(|nested| nested.id).collect()
}

/// What is inside a volume, each after the one that holds it, but for a saved running state.
fn guest_made(subvolume: &File) -> sys::Result<Vec<Nested>> {
    let mut nested = btrfs::descendants(subvolume)?;
    if !nested.is_empty() {
        let id = btrfs::subvolume_id(subvolume)?;
        nested.retain(|nested| !is_state(nested, id));
    }
    Ok(nested)
}

/// What is at the top of a volume beside `rootfs` is not the guest's.
fn is_state(nested: &Nested, volume: u64) -> bool {
    (nested.parent, nested.dir) == (volume, ROOT_INODE) && nested.name == STATE
}

fn split(dir: &Path) -> Result<(File, &OsStr)> {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Err(sys::Error::new("create subvolume", dir.display(), Errno::INVAL).into());
    };
    Ok((btrfs::open(parent)?, name))
}

/// A snapshot of a subvolume and of all that are nested in it. One that the guest moves or
/// removes meanwhile is left out, and what is inside that.
fn snapshot_with_nested(source: &File, to: &Path, nested: &[Nested], access: Access) -> Result<()> {
    let (parent, name) = split(to)?;
    btrfs::snapshot(source, &parent, name, false)?;
    let top = btrfs::open(to)?;
    let volume = btrfs::subvolume_id(source)?;
    // The number of each copy by that of the original.
    let mut copies = BTreeMap::from([(volume, btrfs::subvolume_id(&top)?)]);
    for child in nested {
        let Some(copy_of_parent) = copies.get(&child.parent) else { continue };
        // A snapshot has the same inodes.
        let Some(dir) = btrfs::open_dir(&top, *copy_of_parent, child.dir)? else { continue };
        let dir = Root::from_fd(dir.into(), &child.name);
        if !clear_place(&dir, child)? || is_state(child, volume) {
            continue;
        }
        let Some(original) = btrfs::open_dir(source, child.id, ROOT_INODE)? else { continue };
        btrfs::snapshot(&original, dir.as_dir_fd(), &child.name, false)?;
        let copy = sys::tree::open_dir(dir.as_dir_fd(), Path::new(&child.name))?;
        copies.insert(child.id, btrfs::subvolume_id(&copy)?);
    }
    if access == Access::ReadOnly {
        for id in copies.into_values() {
            btrfs::open_dir(&top, id, ROOT_INODE)?.map_or(Ok(()), |copy| btrfs::set_read_only(copy, true))?;
        }
    }
    Ok(())
}

/// Where a subvolume was nested, a snapshot has an empty directory, which is removed. False if the guest has put something
/// else there before the snapshot was taken.
fn clear_place(dir: &Root, child: &Nested) -> Result<bool> {
    match dir.remove_dir(&child.name) {
        Err(error) if error.is_not_found() => Ok(true),
        Err(error) if matches!(error.errno, Errno::NOTEMPTY | Errno::NOTDIR) => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
}
