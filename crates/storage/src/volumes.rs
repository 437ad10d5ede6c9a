//! What all drivers have in common: an operation is prepared under a temporary name and becomes
//! valid by one rename; what is removed is first renamed away.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use sys::Root;
use sys::copy::Begun;
use sys::tree::FileType;

use crate::durable;
use crate::error::{Error, Result};
use crate::layout::{Layout, check_name, list, list_visible, logged};
use crate::pool::{BoxError, Contents, Fill, Pool, Rest, Rootfs, Space, Subvolumes, VolumeRef};

/// What a driver supplies: primitives on the directories of volumes. A directory that is to be
/// made does not exist yet; on an error its half-made state is removed with [`Driver::remove`].
pub(crate) trait Driver: Send + Sync + 'static {
    const NAME: &'static str;
    /// Whether [`Driver::duplicate`] takes no time, whatever the size.
    const IS_INSTANT: bool = false;

    fn version(&self) -> String {
        "1".to_owned()
    }
    /// Makes a directory for a volume.
    fn make(&self, dir: &Path) -> Result<()> {
        Ok(sys::fs::create_dir(dir, 0o700)?)
    }
    /// Puts an empty root file system into a new volume.
    fn make_empty_rootfs(&self, dir: &Path) -> Result<()> {
        Ok(sys::fs::create_dir(dir.join("rootfs"), 0o755)?)
    }
    /// Prepares a new volume for a root file system that comes from elsewhere: the name of its directory.
    fn prepare_rootfs(&self, _dir: &Path) -> Result<&'static str> {
        Ok("rootfs")
    }
    /// Makes the directory for a saved running state.
    fn make_state(&self, dir: &Path) -> Result<()> {
        Ok(sys::fs::create_dir(dir, 0o750)?)
    }
    /// Makes a copy of a volume, without its saved running state.
    fn duplicate(&self, from: &Path, to: &Path, access: Access) -> Result<()>;
    /// Makes a writable copy of a volume in use, for [`Driver::refresh`]. Only for drivers whose copies take long.
    fn duplicate_begun(&self, from: &Path, to: &Path, _begun: &Begun) -> Result<()> {
        self.duplicate(from, to, Access::ReadWrite)
    }
    /// Brings such a copy up to date.
    fn refresh(&self, _from: &Path, _to: &Path, _begun: &Begun) -> Result<()> {
        Ok(())
    }
    /// Makes a container's volume from an image's.
    fn derive(&self, image: &Path, to: &Path) -> Result<()> {
        self.duplicate(image, to, Access::ReadWrite)
    }
    /// Makes a finished image read-only, where the driver can.
    fn seal(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }
    /// Removes a directory, whether it holds a whole volume or not.
    fn remove(&self, dir: &Path) -> Result<()> {
        Ok(sys::tree::remove(dir)?)
    }
    fn rootfs(&self, dir: &Path) -> Result<Rootfs> {
        Ok(Rootfs::Dir { path: checked_dir(dir, "rootfs")? })
    }
    /// The image that a volume needs for as long as it lives.
    fn image_of(&self, _dir: &Path) -> Option<String> {
        None
    }
    fn plain_dir(&self, _dir: &Path) -> Option<PathBuf> {
        None
    }
    fn set_quota(&self, dir: &Path, bytes: Option<u64>) -> Result<()>;
    fn quota(&self, _dir: &Path) -> Option<u64> {
        None
    }
    /// See [`Pool::keep_to_limit`].
    fn keep_to_limit(&self, _dir: &Path) -> Result<Subvolumes> {
        Ok(Subvolumes::Any)
    }
    fn usage_bytes(&self, _dir: &Path) -> Option<u64> {
        None
    }
}

/// The mode of a finished volume: its owner may pass through and nobody may do more. Root may
/// anyway.
const CLOSED: u32 = 0o100;

/// Name of the directory with the saved running state.
pub(crate) const STATE: &str = "state";

/// Whether a copy can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

/// Refuses a quota in the name of a driver that has none; lifting one is fine.
pub(crate) fn no_quota(driver: &'static str, bytes: Option<u64>) -> Result<()> {
    let remedy = "leave out `size` or use a pool of the driver `btrfs`";
    bytes.map_or(Ok(()), |_| Err(Error::Unsupported { driver, feature: "quotas", remedy }))
}

/// The path of a part of a volume that must be a directory, and no link to one.
pub(crate) fn checked_dir(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    match sys::tree::kind_of(&Root::open(dir)?, name)? {
        Some(FileType::Directory) => Ok(path),
        _ => Err(Error::Malformed { path, expected: "a directory" }),
    }
}

/// A pool: a driver on a directory.
pub(crate) struct Volumes<D> {
    pool: String,
    /// What the errors call a volume.
    kind: &'static str,
    layout: Layout,
    driver: D,
    /// Written while an image comes back or goes away, read while a container is made from one.
    images: RwLock<()>,
}

impl<D: Driver> Volumes<D> {
    /// Prepares the directories and sweeps what a crash left.
    pub(crate) fn open(pool: &str, layout: Layout, driver: D) -> Result<Self> {
        let volumes = Self::prepare(pool, "instance", layout, driver)?;
        volumes.drop_suspect_images()?;
        Ok(volumes)
    }

    /// The same for the pool's custom volumes, with their layout.
    pub(crate) fn open_custom(pool: &str, layout: Layout, driver: D) -> Result<Self> {
        Self::prepare(pool, "volume", layout, driver)
    }

    fn prepare(pool: &str, kind: &'static str, layout: Layout, driver: D) -> Result<Self> {
        layout.prepare()?;
        layout.sweep(&|path| driver.remove(path));
        Ok(Self { pool: pool.to_owned(), kind, layout, driver, images: RwLock::new(()) })
    }

    pub(crate) fn driver(&self) -> &D {
        &self.driver
    }

    /// Images that a power failure may have damaged are to be made again, but for those that
    /// containers stand on already.
    fn drop_suspect_images(&self) -> Result<()> {
        for image in durable::suspects(&self.layout.images())? {
            let fingerprint = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !self.has_image(&fingerprint) {
                durable::forget(&image);
            } else if self.is_image_needed(&fingerprint) {
                tracing::warn!(
                    pool = self.pool,
                    fingerprint,
                    "the machine went down before the image was on the disk, and containers use it"
                );
            } else {
                tracing::warn!(
                    pool = self.pool,
                    fingerprint,
                    "the machine went down before the image was on the disk, it will be unpacked again"
                );
                self.delete_image(&fingerprint)?;
            }
        }
        Ok(())
    }

    fn missing(&self, kind: &'static str, name: &str) -> Error {
        Error::Missing { kind, name: name.to_owned(), pool: self.pool.clone() }
    }

    fn exists(&self, kind: &'static str, name: &str) -> Error {
        Error::Exists { kind, name: name.to_owned(), pool: self.pool.clone() }
    }

    /// The directory of a volume that is there.
    pub(crate) fn existing(&self, volume: &VolumeRef) -> Result<PathBuf> {
        let dir = self.layout.volume(volume);
        if sys::fs::exists(&dir) {
            return Ok(dir);
        }
        Err(match &volume.snapshot {
            None => self.missing(self.kind, &volume.instance),
            Some(snapshot) => self.missing("snapshot", &format!("{}/{snapshot}", volume.instance)),
        })
    }

    /// Makes `target` as a whole or not at all: `make` works on a temporary name beside it.
    fn build(&self, target: &Path, already: Error, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        if sys::fs::exists(target) {
            return Err(already);
        }
        let temporary = Layout::temporary(target.parent().unwrap_or(self.layout.root()));
        let result = make(&temporary).and_then(|()| {
            sys::copy::rename_new(&temporary, target).map_err(|error| if error.errno == sys::Errno::EXIST { already } else { error.into() })
        });
        result.map_err(|error| {
            logged(&temporary, self.driver.remove(&temporary));
            error.on_pool(&self.pool)
        })
    }

    pub(crate) fn build_instance(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        check_name("an instance", name)?;
        let target = self.layout.instances().join(name);
        self.build(&target, self.exists(self.kind, name), |dir| {
            make(dir)?;
            keep_out(dir)
        })
    }

    /// Makes a snapshot of a volume that is there.
    pub(crate) fn build_snapshot(&self, name: &str, snapshot: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        check_name("a snapshot", snapshot)?;
        self.existing(&VolumeRef::instance(name))?;
        let parent = self.layout.snapshots_of(name);
        sys::fs::ensure_dir(&parent, 0o700)?;
        let already = self.exists("snapshot", &format!("{name}/{snapshot}"));
        self.build(&parent.join(snapshot), already, make)
    }

    /// Makes a volume with what `fill` puts there, on the disk when it returns.
    fn fill(&self, dir: &Path, fill: Fill<'_>) -> Result<()> {
        self.driver.make(dir)?;
        let rootfs = self.driver.prepare_rootfs(dir)?;
        fill(dir, rootfs)?;
        checked_dir(dir, rootfs)?;
        Ok(sys::copy::sync_fs(dir)?)
    }

    /// Takes a directory away at once and then removes it. It is gone for everybody when this
    /// fails later than the rename, so that is only logged.
    fn discard(&self, dir: &Path, remove: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let temporary = Layout::temporary(dir.parent().unwrap_or(self.layout.root()));
        match sys::fs::rename(dir, &temporary) {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => {
                logged(&temporary, remove(&temporary));
                Ok(())
            }
        }
    }

    fn discard_volume(&self, dir: &Path) -> Result<()> {
        let image = self.driver.image_of(dir);
        self.discard(dir, |path| self.driver.remove(path))?;
        self.reap_images(image.as_slice())
    }

    /// Removes those of the deleted images that nothing needs any more.
    fn reap_images(&self, images: &[String]) -> Result<()> {
        for image in images {
            let deleted = self.layout.deleted_image(image);
            if !sys::fs::exists(&deleted) {
                continue;
            }
            let _lock = self.images.write().unwrap_or_else(PoisonError::into_inner);
            if !self.is_image_needed(image) {
                self.discard(&deleted, |path| self.driver.remove(path))?;
            }
        }
        Ok(())
    }

    /// Looks at every volume, those that are being made included.
    fn is_image_needed(&self, fingerprint: &str) -> bool {
        let needs = |dir: &Path, name: String| self.driver.image_of(&dir.join(name)).is_some_and(|image| image == fingerprint);
        let instances = self.layout.instances();
        if list(&instances).into_iter().any(|name| needs(&instances, name)) {
            return true;
        }
        let snapshots = self.layout.snapshots();
        list(&snapshots).into_iter().any(|instance| {
            let dir = snapshots.join(instance);
            list(&dir).into_iter().any(|name| needs(&dir, name))
        })
    }

    fn remove_all(&self, dir: &Path) -> Result<()> {
        for name in list(dir) {
            self.driver.remove(&dir.join(name))?;
        }
        Ok(sys::fs::remove_dir(dir)?)
    }
}

/// Only root enters; see the crate's documentation. A fresh snapshot is not touched without need:
/// the first change makes the file system copy what it shared.
fn keep_out(dir: &Path) -> Result<()> {
    let found = sys::fs::metadata(dir)?;
    if (found.uid(), found.gid()) != (0, 0) {
        sys::fs::chown(dir, 0, 0)?;
    }
    if found.mode() & 0o7777 != CLOSED {
        sys::fs::set_mode(dir, CLOSED)?;
    }
    Ok(())
}

/// What came out of an image must be what it is taken for.
fn check_image(dir: &Path) -> Result<()> {
    checked_dir(dir, "rootfs")?;
    let root = Root::open(dir)?;
    for (name, kind, expected) in
        [("metadata.yaml", FileType::RegularFile, "a regular file"), ("templates", FileType::Directory, "a directory")]
    {
        if sys::tree::kind_of(&root, name)?.is_some_and(|found| found != kind) {
            return Err(Error::Malformed { path: dir.join(name), expected });
        }
    }
    Ok(())
}

impl<D: Driver> Pool for Volumes<D> {
    fn driver(&self) -> &'static str {
        D::NAME
    }

    fn version(&self) -> String {
        self.driver.version()
    }

    fn has_image(&self, fingerprint: &str) -> bool {
        check_name("an image", fingerprint).is_ok() && sys::fs::exists(self.layout.image(fingerprint))
    }

    fn create_image(&self, fingerprint: &str, fill: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
        check_name("an image", fingerprint)?;
        let target = self.layout.image(fingerprint);
        if sys::fs::exists(&target) {
            return Ok(());
        }
        let deleted = self.layout.deleted_image(fingerprint);
        if sys::fs::exists(&deleted) {
            let _lock = self.images.write().unwrap_or_else(PoisonError::into_inner);
            match sys::copy::rename_new(&deleted, &target) {
                // Its last container went at this moment.
                Err(error) if error.is_not_found() => {}
                other => return Ok(other?),
            }
        }
        let result = self.build(&target, self.exists("image", fingerprint), |dir| {
            self.driver.make(dir)?;
            fill(dir)?;
            check_image(dir)?;
            keep_out(dir)?;
            self.driver.seal(dir)?;
            durable::note_unsynced(&target)
        });
        match result {
            Ok(()) => {
                durable::sync_in_background(&target);
                Ok(())
            }
            // Somebody else was faster.
            Err(Error::Exists { .. }) => Ok(()),
            other => other,
        }
    }

    fn delete_image(&self, fingerprint: &str) -> Result<()> {
        check_name("an image", fingerprint)?;
        let dir = self.layout.image(fingerprint);
        let _lock = self.images.write().unwrap_or_else(PoisonError::into_inner);
        durable::forget(&dir);
        if sys::fs::exists(&dir) && self.is_image_needed(fingerprint) {
            return Ok(sys::copy::rename_new(&dir, self.layout.deleted_image(fingerprint))?);
        }
        self.discard(&dir, |path| self.driver.remove(path))
    }

    fn create_from_image(&self, name: &str, fingerprint: &str) -> Result<()> {
        let _lock = self.images.read().unwrap_or_else(PoisonError::into_inner);
        if !self.has_image(fingerprint) {
            return Err(self.missing("image", fingerprint));
        }
        self.build_instance(name, |dir| self.driver.derive(&self.layout.image(fingerprint), dir))
    }

    fn create_empty(&self, name: &str) -> Result<()> {
        self.build_instance(name, |dir| {
            self.driver.make(dir)?;
            self.driver.make_empty_rootfs(dir)
        })
    }

    fn create_filled(&self, name: &str, fill: Fill<'_>) -> Result<()> {
        self.build_instance(name, |dir| self.fill(dir, fill))
    }

    fn create_snapshot_filled(&self, name: &str, snapshot: &str, fill: Fill<'_>) -> Result<()> {
        self.build_snapshot(name, snapshot, |dir| {
            self.fill(dir, fill)?;
            self.driver.seal(dir)
        })
    }

    fn copy(&self, from: &VolumeRef, name: &str) -> Result<()> {
        let from = self.existing(from)?;
        self.build_instance(name, |dir| self.driver.duplicate(&from, dir, Access::ReadWrite))
    }

    fn delete(&self, name: &str) -> Result<()> {
        check_name("an instance", name)?;
        let snapshots = self.layout.snapshots_of(name);
        let mut images: Vec<String> =
            list(&snapshots).iter().filter_map(|snapshot| self.driver.image_of(&snapshots.join(snapshot))).collect();
        self.discard(&snapshots, |dir| self.remove_all(dir))?;
        self.discard_volume(&self.layout.instances().join(name))?;
        images.dedup();
        self.reap_images(&images)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_name("an instance", to)?;
        self.existing(&VolumeRef::instance(from))?;
        // An empty directory may be left of snapshots that are gone.
        let snapshots = self.layout.snapshots_of(to);
        if sys::fs::exists(self.layout.instances().join(to)) || !list(&snapshots).is_empty() {
            return Err(self.exists(self.kind, to));
        }
        sys::fs::remove_dir(&snapshots)?;
        self.layout.rename_instance(from, to)
    }

    fn snapshot(&self, name: &str, snapshot: &str) -> Result<()> {
        check_name("a snapshot", snapshot)?;
        let from = self.existing(&VolumeRef::instance(name))?;
        self.build_snapshot(name, snapshot, |dir| self.driver.duplicate(&from, dir, Access::ReadOnly))
    }

    fn copy_snapshot(&self, from: &VolumeRef, name: &str, snapshot: &str) -> Result<()> {
        let from = self.existing(from)?;
        self.build_snapshot(name, snapshot, |dir| self.driver.duplicate(&from, dir, Access::ReadOnly))
    }

    fn snapshot_at_rest(&self, name: &str, snapshot: &str, rest: Rest<'_>) -> std::result::Result<(), BoxError> {
        check_name("a snapshot", snapshot)?;
        let from = self.existing(&VolumeRef::instance(name))?;
        let parent = self.layout.snapshots_of(name);
        sys::fs::ensure_dir(&parent, 0o700)?;
        let already = self.exists("snapshot", &format!("{name}/{snapshot}"));
        let mut refused = None;
        let built = self.build(&parent.join(snapshot), already, |dir| {
            // Also for a driver whose copies take no time: they would have to wait for the disk.
            let begun = Begun::now(&from)?;
            if !D::IS_INSTANT {
                self.driver.duplicate_begun(&from, dir, &begun)?;
            }
            let mut complete = || {
                if D::IS_INSTANT { self.driver.duplicate(&from, dir, Access::ReadWrite) } else { self.driver.refresh(&from, dir, &begun) }
            };
            rest(&mut complete).map_err(|error| {
                refused = Some(error);
                Error::Unfinished
            })?;
            sys::fs::rename(from.join(STATE), dir.join(STATE))?;
            // The container runs again, so there is time.
            sys::copy::sync_fs(dir)?;
            self.driver.seal(dir)
        });
        if let Some(error) = refused {
            return Err(error);
        }
        Ok(built?)
    }

    fn make_state(&self, name: &str) -> Result<PathBuf> {
        let volume = VolumeRef::instance(name);
        self.remove_state(&volume)?;
        let dir = self.existing(&volume)?.join(STATE);
        self.driver.make_state(&dir).map_err(|error| error.on_pool(&self.pool))?;
        Ok(dir)
    }

    fn remove_state(&self, volume: &VolumeRef) -> Result<()> {
        let dir = self.state_dir(volume);
        if sys::fs::exists(&dir) { self.driver.remove(&dir) } else { Ok(()) }
    }

    fn state_dir(&self, volume: &VolumeRef) -> PathBuf {
        self.layout.volume(volume).join(STATE)
    }

    fn restore(&self, name: &str, snapshot: &str) -> Result<()> {
        let current = self.existing(&VolumeRef::instance(name))?;
        let from = self.existing(&VolumeRef::snapshot(name, snapshot))?;
        let quota = self.driver.quota(&current);
        let temporary = Layout::temporary(&self.layout.instances());
        let result = self
            .driver
            .duplicate(&from, &temporary, Access::ReadWrite)
            .and_then(|()| keep_out(&temporary))
            .and_then(|()| quota.map_or(Ok(()), |bytes| self.driver.set_quota(&temporary, Some(bytes))))
            .and_then(|()| Ok(sys::copy::exchange(&temporary, &current)?));
        // Now the old content, or what could not take its place.
        let image = self.driver.image_of(&temporary);
        logged(&temporary, self.driver.remove(&temporary));
        result.map_err(|error| error.on_pool(&self.pool))?;
        self.reap_images(image.as_slice())
    }

    fn delete_snapshot(&self, name: &str, snapshot: &str) -> Result<()> {
        check_name("an instance", name)?;
        check_name("a snapshot", snapshot)?;
        let parent = self.layout.snapshots_of(name);
        self.discard_volume(&parent.join(snapshot))?;
        match sys::fs::remove_dir(&parent) {
            Err(error) if error.errno == sys::Errno::NOTEMPTY => Ok(()),
            other => Ok(other?),
        }
    }

    fn rename_snapshot(&self, name: &str, from: &str, to: &str) -> Result<()> {
        check_name("a snapshot", to)?;
        let from = self.existing(&VolumeRef::snapshot(name, from))?;
        let result = sys::copy::rename_new(from, self.layout.snapshots_of(name).join(to));
        result.map_err(|error| match error.errno {
            sys::Errno::EXIST => self.exists("snapshot", &format!("{name}/{to}")),
            _ => error.into(),
        })
    }

    fn dir(&self, volume: &VolumeRef) -> PathBuf {
        self.layout.volume(volume)
    }

    fn rootfs(&self, volume: &VolumeRef) -> Result<Rootfs> {
        self.driver.rootfs(&self.existing(volume)?)
    }

    fn plain_dir(&self, name: &str) -> Option<PathBuf> {
        self.driver.plain_dir(&self.layout.volume(&VolumeRef::instance(name)))
    }

    fn set_quota(&self, name: &str, bytes: Option<u64>) -> Result<()> {
        let dir = self.existing(&VolumeRef::instance(name))?;
        self.driver.set_quota(&dir, bytes).map_err(|error| error.on_pool(&self.pool))
    }

    fn keep_to_limit(&self, name: &str) -> Result<Subvolumes> {
        self.driver.keep_to_limit(&self.existing(&VolumeRef::instance(name))?)
    }

    fn usage_bytes(&self, volume: &VolumeRef) -> Option<u64> {
        self.driver.usage_bytes(&self.layout.volume(volume))
    }

    fn space(&self) -> Result<Space> {
        let (total_bytes, available_bytes) = sys::fs::fs_space(self.layout.root())?;
        Ok(Space { total_bytes, used_bytes: total_bytes.saturating_sub(available_bytes) })
    }

    fn list(&self) -> Result<Contents> {
        let snapshots = list_visible(&self.layout.snapshots()).into_iter().flat_map(|instance| {
            let names = list_visible(&self.layout.snapshots_of(&instance));
            names.into_iter().map(move |snapshot| VolumeRef::snapshot(instance.as_str(), snapshot))
        });
        Ok(Contents {
            instances: list_visible(&self.layout.instances()),
            snapshots: snapshots.collect(),
            images: list_visible(&self.layout.images()),
        })
    }
}
