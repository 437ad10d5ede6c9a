//! The driver `overlay`: a container holds only what differs from its image.
//!
//! `image` in a volume is a link that names the image; it is never followed, since the image may
//! have moved to the deleted ones. A volume without it has an empty lower directory. The kernel
//! does the rest when the runtime mounts `upper` over the image's `rootfs` with `userxattr`.

use std::path::{Path, PathBuf};

use sys::Root;
use sys::copy::Begun;
use sys::mount::MountAttrFlags;

use crate::error::{Error, Result};
use crate::layout::{Layout, check_name};
use crate::pool::Rootfs;
use crate::volumes::{Access, Driver, STATE, checked_dir, no_quota};

const UPPER: &str = "upper";
const WORK: &str = "work";
const PLAIN: &str = "plain";
const IMAGE: &str = "image";
/// The lower directory of containers without an image, in the pool's directory.
const EMPTY: &str = "empty";

/// Knows the pool's paths, to find images.
pub(crate) struct OverlayDriver {
    layout: Layout,
}

impl OverlayDriver {
    pub(crate) fn open(layout: Layout) -> Result<Self> {
        sys::fs::ensure_dir(layout.root().join(EMPTY), 0o755)?;
        Ok(Self { layout })
    }

    /// Fails with the kernel's reason if no overlay can be mounted over directories of the pool.
    pub(crate) fn probe(layout: &Layout) -> Result<()> {
        let dir = Layout::temporary(layout.root());
        sys::fs::create_dir(&dir, 0o700)?;
        let result = mount_overlay(&dir);
        let removed = sys::tree::remove(&dir);
        result.map_err(|error| Error::Unsuitable {
            path: layout.root().to_owned(),
            driver: Self::NAME,
            reason: format!("an overlay cannot be mounted there ({error}); use another place or the driver `dir`"),
        })?;
        Ok(removed?)
    }

    /// Names of a pool's top level that are this driver's.
    pub(crate) fn top_level() -> &'static str {
        EMPTY
    }

    fn link_image(&self, dir: &Path, fingerprint: &str) -> Result<()> {
        let depth = dir.strip_prefix(self.layout.root()).map_or(2, |relative| relative.components().count());
        let target: PathBuf = std::iter::repeat_n("..", depth).chain(["images", fingerprint]).collect();
        Ok(sys::fs::symlink(target, dir.join(IMAGE))?)
    }

    /// All of a copy but its content.
    fn prepare_duplicate(&self, from: &Path, to: &Path) -> Result<()> {
        self.make(to)?;
        // The link first: it is what keeps the image from going away during the copy.
        if let Some(image) = self.image_of(from) {
            self.link_image(to, &image)?;
        }
        Ok(sys::fs::create_dir(to.join(WORK), 0o700)?)
    }

    fn lower(&self, dir: &Path) -> Result<PathBuf> {
        let Some(image) = self.image_of(dir) else { return Ok(self.layout.root().join(EMPTY)) };
        let present = self.layout.image(&image);
        let image = if sys::fs::exists(&present) { present } else { self.layout.deleted_image(&image) };
        checked_dir(&image, "rootfs")
    }
}

impl Driver for OverlayDriver {
    const NAME: &'static str = "overlay";

    fn make_empty_rootfs(&self, dir: &Path) -> Result<()> {
        for (name, mode) in [(UPPER, 0o755), (WORK, 0o700), (PLAIN, 0o711)] {
            sys::fs::create_dir(dir.join(name), mode)?;
        }
        Ok(())
    }

    fn prepare_rootfs(&self, dir: &Path) -> Result<&'static str> {
        self.make_empty_rootfs(dir)?;
        Ok(UPPER)
    }

    fn derive(&self, image: &Path, to: &Path) -> Result<()> {
        self.make(to)?;
        let (from, into) = (Root::open(image)?, Root::open(to)?);
        sys::copy::copy_tree(&from, &into, &["rootfs"])?;
        self.make_empty_rootfs(to)?;
        // The upper directory is what the guest sees as `/`.
        sys::copy::copy_attributes(from.open_dir("rootfs")?, into.open_dir(UPPER)?)?;
        let fingerprint = image.file_name().unwrap_or_default().to_string_lossy();
        self.link_image(to, &fingerprint)
    }

    fn duplicate(&self, from: &Path, to: &Path, _access: Access) -> Result<()> {
        self.prepare_duplicate(from, to)?;
        Ok(sys::copy::copy_tree(&Root::open(from)?, &Root::open(to)?, &[WORK, IMAGE, STATE])?)
    }

    fn duplicate_begun(&self, from: &Path, to: &Path, begun: &Begun) -> Result<()> {
        self.prepare_duplicate(from, to)?;
        Ok(sys::copy::copy_tree_begun(&Root::open(from)?, &Root::open(to)?, &[WORK, IMAGE, STATE], begun)?)
    }

    fn refresh(&self, from: &Path, to: &Path, begun: &Begun) -> Result<()> {
        Ok(sys::copy::refresh_tree(&Root::open(from)?, &Root::open(to)?, &[WORK, IMAGE, STATE], begun)?)
    }

    fn rootfs(&self, dir: &Path) -> Result<Rootfs> {
        Ok(Rootfs::Overlay { lower: self.lower(dir)?, upper: checked_dir(dir, UPPER)?, work: checked_dir(dir, WORK)? })
    }

    fn image_of(&self, dir: &Path) -> Option<String> {
        let target = sys::fs::read_link(dir.join(IMAGE)).ok()?;
        let name = target.file_name()?.to_str()?;
        check_name("an image", name).is_ok().then(|| name.to_owned())
    }

    fn plain_dir(&self, dir: &Path) -> Option<PathBuf> {
        checked_dir(dir, PLAIN).ok()
    }

    fn set_quota(&self, _dir: &Path, bytes: Option<u64>) -> Result<()> {
        no_quota(Self::NAME, bytes)
    }
}

/// Mounts an overlay that is attached nowhere and goes away at once.
fn mount_overlay(dir: &Path) -> Result<()> {
    let mut paths = Vec::new();
    for name in ["lower", UPPER, WORK] {
        let path = dir.join(name);
        sys::fs::create_dir(&path, 0o700)?;
        paths.push(path.to_string_lossy().into_owned());
    }
    let options = [("lowerdir", Some(&*paths[0])), ("upperdir", Some(&*paths[1])), ("workdir", Some(&*paths[2])), ("userxattr", None)];
    sys::mount::new_fs("overlay", &options, MountAttrFlags::empty())?;
    Ok(())
}
