//! Where things are in a pool: names, paths, temporary names, and what a crash leaves behind.

use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::pool::VolumeRef;

const INSTANCES: &str = "containers";
const SNAPSHOTS: &str = "containers-snapshots";
const IMAGES: &str = "images";
const DELETED_IMAGES: &str = "deleted-images";
const CUSTOM: &str = "custom";
const CUSTOM_SNAPSHOTS: &str = "custom-snapshots";
/// Something that is being made or removed. No name that a user gives begins with a dot.
const TEMPORARY: &str = ".tmp-";
/// A link that says where the snapshots of a container are being renamed to.
const RENAMING: &str = ".renaming-";

/// The paths of one pool: of its images and its containers, or of its custom volumes, which lie the same way.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    volumes: &'static str,
    snapshots: &'static str,
}

impl Layout {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), volumes: INSTANCES, snapshots: SNAPSHOTS }
    }

    /// The same pool's custom volumes: where a container's volume is expected, there is a custom one.
    pub(crate) fn of_custom(&self) -> Self {
        Self { root: self.root.clone(), volumes: CUSTOM, snapshots: CUSTOM_SNAPSHOTS }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn instances(&self) -> PathBuf {
        self.root.join(self.volumes)
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join(self.snapshots)
    }

    pub(crate) fn snapshots_of(&self, name: &str) -> PathBuf {
        self.snapshots().join(name)
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join(IMAGES)
    }

    pub(crate) fn image(&self, fingerprint: &str) -> PathBuf {
        self.images().join(fingerprint)
    }

    pub(crate) fn deleted_image(&self, fingerprint: &str) -> PathBuf {
        self.root.join(DELETED_IMAGES).join(fingerprint)
    }

    /// The directory of a volume. A name that is no single path component leads nowhere.
    pub(crate) fn volume(&self, volume: &VolumeRef) -> PathBuf {
        let names = [Some(&volume.instance), volume.snapshot.as_ref()];
        if names.into_iter().flatten().any(|name| check_name("an instance", name).is_err()) {
            return self.root.join(".invalid");
        }
        match &volume.snapshot {
            None => self.instances().join(&volume.instance),
            Some(snapshot) => self.snapshots_of(&volume.instance).join(snapshot),
        }
    }

    /// Makes the directories, with the modes that keep users of the host out.
    pub(crate) fn prepare(&self) -> Result<()> {
        sys::fs::set_mode(&self.root, 0o711)?;
        for (name, mode) in [(self.volumes, 0o711), (self.snapshots, 0o700), (IMAGES, 0o700), (DELETED_IMAGES, 0o700)] {
            sys::fs::ensure_dir(self.root.join(name), mode)?;
        }
        Ok(())
    }

    /// The directories that [`Layout::prepare`] makes, for both kinds of volume.
    pub(crate) fn top_level() -> [&'static str; 6] {
        [INSTANCES, SNAPSHOTS, CUSTOM, CUSTOM_SNAPSHOTS, IMAGES, DELETED_IMAGES]
    }

    /// A new name beside the final one: a read-only subvolume can be renamed only within its
    /// directory.
    pub(crate) fn temporary(parent: &Path) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        parent.join(format!("{}{}", temporary_prefix(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Removes what an earlier process left half made or half removed, and settles renames that
    /// it did not finish. Failures are logged: leftovers take space but do no harm.
    pub(crate) fn sweep(&self, remove: &dyn Fn(&Path) -> Result<()>) {
        let snapshots = self.snapshots();
        for name in list(&snapshots) {
            let path = snapshots.join(&name);
            if let Some(instance) = name.strip_prefix(RENAMING) {
                settle_rename(self, &path, instance);
            } else if is_leftover(&name) {
                for snapshot in list(&path) {
                    logged(&path, remove(&path.join(snapshot)));
                }
                logged(&path, sys::fs::remove_dir(&path).map_err(Error::from));
            } else {
                sweep_dir(&path, remove);
            }
        }
        for dir in [self.instances(), self.images(), self.root.join(DELETED_IMAGES)] {
            sweep_dir(&dir, remove);
        }
    }

    /// Renames a container's directory and that of its snapshots so that a crash in between is
    /// found out by [`Layout::sweep`].
    pub(crate) fn rename_instance(&self, from: &str, to: &str) -> Result<()> {
        let (old, new) = (self.snapshots_of(from), self.snapshots_of(to));
        let instance = || sys::copy::rename_new(self.instances().join(from), self.instances().join(to));
        if !sys::fs::exists(&old) {
            return Ok(instance()?);
        }
        let note = self.snapshots().join(format!("{RENAMING}{from}"));
        sys::fs::symlink(to, &note)?;
        let result = sys::copy::rename_new(&old, &new).and_then(|()| {
            instance().inspect_err(|_| {
                if let Err(error) = sys::copy::rename_new(&new, &old) {
                    tracing::warn!(%error, "cannot rename the snapshots back");
                }
            })
        });
        logged(&note, sys::fs::remove_file(&note).map_err(Error::from));
        Ok(result?)
    }
}

/// Refuses names that are not a single path component or that clash with our own.
pub(crate) fn check_name(kind: &'static str, name: &str) -> Result<()> {
    let bad = name.is_empty() || name.len() > 200 || name.starts_with('.') || name.contains('/') || name.chars().any(char::is_control);
    if bad { Err(Error::Name { kind, name: name.to_owned() }) } else { Ok(()) }
}

/// Names in a directory that are ours to show, sorted; none if it cannot be read.
pub(crate) fn list_visible(dir: &Path) -> Vec<String> {
    list(dir).into_iter().filter(|name| !name.starts_with('.')).collect()
}

/// All names in a directory, temporary ones included; none if it cannot be read.
pub(crate) fn list(dir: &Path) -> Vec<String> {
    sys::fs::list_dir(dir).unwrap_or_default()
}

/// Logs a failure that must not hide what it happened beside.
pub(crate) fn logged(path: &Path, result: Result<()>) {
    if let Err(error) = result {
        tracing::warn!(path = %path.display(), %error, "leftover stays on the storage pool");
    }
}

fn sweep_dir(dir: &Path, remove: &dyn Fn(&Path) -> Result<()>) {
    for name in list(dir).iter().filter(|name| is_leftover(name)) {
        let path = dir.join(name);
        tracing::info!(path = %path.display(), "removing what an interrupted operation left");
        logged(&path, remove(&path));
    }
}

/// The snapshots go where the container is.
fn settle_rename(layout: &Layout, note: &Path, from: &str) {
    let target = sys::fs::read_link(note).ok();
    let to = target.as_deref().and_then(Path::file_name).and_then(OsStr::to_str);
    if let Some(to) = to.filter(|to| check_name("an instance", to).is_ok()) {
        let (old, new) = (layout.snapshots_of(from), layout.snapshots_of(to));
        if sys::fs::exists(layout.instances().join(from)) && sys::fs::exists(&new) {
            logged(&new, sys::copy::rename_new(&new, &old).map_err(Error::from));
        }
    }
    logged(note, sys::fs::remove_file(note).map_err(Error::from));
}

/// Temporary, and not made by this process: a pool may be opened again while it is in use.
fn is_leftover(name: &str) -> bool {
    name.starts_with(TEMPORARY) && !name.starts_with(temporary_prefix())
}

/// The beginning of this process's temporary names. A process id may come again after a
/// restart, so it is drawn at random.
fn temporary_prefix() -> &'static str {
    static PREFIX: OnceLock<String> = OnceLock::new();
    PREFIX.get_or_init(|| format!("{TEMPORARY}{:016x}-", RandomState::new().build_hasher().finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_their_directory_are_refused() {
        for name in ["", ".", "..", "a/b", "../x", ".tmp-1", "new\nline", "nul\0"] {
            assert!(check_name("an instance", name).is_err(), "{name:?}");
        }
        let layout = Layout::new("/pool");
        assert_eq!(layout.volume(&VolumeRef::instance("../../etc")), Path::new("/pool/.invalid"));
        assert_eq!(layout.volume(&VolumeRef::snapshot("c", "..")), Path::new("/pool/.invalid"));
        assert_eq!(layout.volume(&VolumeRef::snapshot("c", "s")), Path::new("/pool/containers-snapshots/c/s"));
    }

    #[test]
    fn an_interrupted_rename_is_undone() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let layout = Layout::new(dir.path());
        layout.prepare().expect("prepare");
        // The crash came after the snapshots were renamed and before the container was.
        std::fs::create_dir_all(layout.instances().join("old")).expect("mkdir");
        std::fs::create_dir_all(layout.snapshots_of("new").join("snap0")).expect("mkdir");
        std::os::unix::fs::symlink("new", layout.snapshots().join(".renaming-old")).expect("symlink");
        layout.sweep(&|_| panic!("nothing is to be removed"));
        assert_eq!(list(&layout.snapshots()), ["old"]);
        assert_eq!(list(&layout.snapshots_of("old")), ["snap0"]);
    }
}
