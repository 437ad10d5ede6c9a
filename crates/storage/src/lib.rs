//! Storage pools and the volumes of images, containers and snapshots on them.
//!
//! Knows directories, subvolumes and mounts; knows nothing of the store, of the API or of how a
//! container runs. [`Pool`] is what others use. Behind it, [`volumes`] does everything that the
//! drivers have in common (names, temporary places, atomic renames, what a crash leaves) and a
//! driver supplies a few primitives on directories.
//!
//! # Layout and access
//! ```text
//! POOL/                          0711
//!   containers/                  0711
//!     NAME/                      0100, see below
//!       metadata.yaml templates/ rootfs/                        (dir, btrfs)
//!       metadata.yaml templates/ upper/ work/ plain/ image ->   (overlay)
//!   containers-snapshots/NAME/SNAPSHOT/    0100, in directories of 0700
//!   custom/NAME/rootfs/          volumes that belong to no container, like containers
//!   custom-snapshots/NAME/SNAPSHOT/
//!   images/FINGERPRINT/          0100
//!   deleted-images/FINGERPRINT/  0100, images that containers still stand on
//! ```
//! A container and a snapshot may also hold `state/`, a saved running state, of root and its group alone.
//!
//! On the disk, files carry the ids that the guest sees, so a guest's setuid program is setuid
//! for the host's root. No user of the host may therefore reach a `rootfs` through the pool: a
//! container's directory is owned by root with mode 0100. Whoever starts a container opens it as
//! root and passes descriptors or mounts on; [`admit`] lets a mapped root descend by path where
//! that is needed.

mod btrfs;
mod custom;
mod dir;
mod durable;
mod error;
mod layout;
mod overlay;
mod place;
mod pool;
mod shift;
mod volumes;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub use custom::CustomVolumes;
pub use error::{Error, Result};
pub use pool::{BoxError, Contents, Fill, Pool, PoolSpec, Rest, Rootfs, Space, Subvolumes, VolumeRef};
pub use shift::{ShiftState, shift_tree};

use btrfs::BtrfsDriver;
use custom::Custom;
use dir::DirDriver;
use layout::Layout;
use overlay::OverlayDriver;
use volumes::{Driver, Volumes};

/// Names of the drivers.
pub fn driver_names() -> &'static [&'static str] {
    &[DirDriver::NAME, BtrfsDriver::NAME, OverlayDriver::NAME]
}

/// Checks the configuration of a pool without touching anything.
pub fn validate(driver: &str, config: &BTreeMap<String, String>) -> Result<()> {
    if !driver_names().contains(&driver) {
        return Err(Error::UnknownDriver(driver.to_owned()));
    }
    place::validate(driver, config)
}

/// Makes a pool and opens it; writes the effective `source` and `size` into its configuration.
/// Leaves nothing behind on an error.
pub fn create(spec: &mut PoolSpec) -> Result<Arc<dyn Pool>> {
    validate(&spec.driver, &spec.config)?;
    layout::check_name("a storage pool", &spec.name)?;
    place::create(spec)?;
    let opened = open(spec).and_then(|pool| {
        if spec.driver == OverlayDriver::NAME {
            OverlayDriver::probe(&Layout::new(place::ensure_mounted(spec)?))?;
        }
        Ok(pool)
    });
    opened.inspect_err(|_| layout::logged(&spec.dir, place::destroy(spec)))
}

/// Opens a pool, mounting it if needed and clearing what a crash left. May be called for a pool
/// that is in use.
pub fn open(spec: &PoolSpec) -> Result<Arc<dyn Pool>> {
    validate(&spec.driver, &spec.config)?;
    layout::check_name("a storage pool", &spec.name)?;
    let layout = Layout::new(place::ensure_mounted(spec)?);
    Ok(match spec.driver.as_str() {
        DirDriver::NAME => Arc::new(Volumes::open(&spec.name, layout, DirDriver)?),
        BtrfsDriver::NAME => {
            let driver = BtrfsDriver::new(layout.root());
            Arc::new(Volumes::open(&spec.name, layout, driver)?)
        }
        _ => {
            let driver = OverlayDriver::open(layout.clone())?;
            Arc::new(Volumes::open(&spec.name, layout, driver)?)
        }
    })
}

/// Opens the custom volumes of a pool. The same holds as for [`open`].
pub fn open_custom(spec: &PoolSpec) -> Result<Arc<dyn CustomVolumes>> {
    validate(&spec.driver, &spec.config)?;
    layout::check_name("a storage pool", &spec.name)?;
    let layout = Layout::new(place::ensure_mounted(spec)?).of_custom();
    Ok(if spec.driver == BtrfsDriver::NAME {
        let driver = BtrfsDriver::new(layout.root());
        Arc::new(Custom(Volumes::open_custom(&spec.name, layout, driver)?))
    } else {
        Arc::new(Custom(Volumes::open_custom(&spec.name, layout, DirDriver)?))
    })
}

/// Removes a pool with everything on it.
pub fn destroy(spec: &PoolSpec) -> Result<()> {
    layout::check_name("a storage pool", &spec.name)?;
    place::destroy(spec)
}

/// Lets the host id `uid` (a container's root) descend into a container's directory by path, and
/// still nobody else but root.
pub fn admit(dir: &Path, uid: u32) -> Result<()> {
    sys::fs::chown(dir, uid, 0)?;
    Ok(sys::fs::set_mode(dir, 0o100)?)
}
