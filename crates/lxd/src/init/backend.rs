//! What this host can do: storage drivers and their programs.

use std::path::{Path, PathBuf};

use crate::paths::Paths;

/// A storage driver that `lxd init` offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Copy-on-write volumes.
    Btrfs,
    /// Plain directories.
    Dir,
    /// Layers over images, on any file system.
    Overlay,
}

/// Facts that decide about defaults.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// The state directory.
    pub dir: PathBuf,
    /// It is on btrfs.
    pub is_on_btrfs: bool,
    /// The kernel knows btrfs and its programs are installed.
    pub has_btrfs: bool,
    /// The kernel can stack directories of the state directory's file system.
    pub has_overlay: bool,
    /// Size in GB of the file system that holds the state directory.
    pub size_gb: u64,
}

impl Backend {
    /// In the order in which questions list them.
    pub const ALL: [Self; 3] = [Self::Btrfs, Self::Dir, Self::Overlay];

    /// By name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// The name of the driver.
    pub fn name(self) -> &'static str {
        match self {
            Self::Btrfs => "btrfs",
            Self::Dir => "dir",
            Self::Overlay => "overlay",
        }
    }
}

impl HostFacts {
    /// Looks at the host.
    pub fn read(paths: &Paths) -> Self {
        let magic = sys::fs::fs_magic(&paths.dir).unwrap_or_default();
        let is_on_btrfs = magic == sys::fs::BTRFS_MAGIC;
        let has_programs = sys::cmd::Cmd::is_installed("mkfs.btrfs") && sys::cmd::Cmd::is_installed("btrfs");
        let (total_bytes, _) = sys::fs::fs_space(&paths.dir).unwrap_or_default();
        Self {
            dir: paths.dir.clone(),
            is_on_btrfs,
            has_btrfs: is_on_btrfs || has_programs && kernel_has("btrfs"),
            // An overlay cannot be the upper layer of another.
            has_overlay: magic != sys::fs::OVERLAYFS_MAGIC && kernel_has("overlay"),
            size_gb: total_bytes >> 30,
        }
    }

    /// Whether a driver works here.
    pub fn can(&self, backend: Backend) -> bool {
        match backend {
            Backend::Btrfs => self.has_btrfs,
            Backend::Dir => true,
            Backend::Overlay => self.has_overlay,
        }
    }

    /// The fastest driver that needs no file or device of its own.
    pub fn best(&self) -> Backend {
        match (self.is_on_btrfs, self.has_overlay) {
            (true, _) => Backend::Btrfs,
            (false, true) => Backend::Overlay,
            (false, false) => Backend::Dir,
        }
    }

    /// Size in GB that is proposed for a loop file: a fifth of the file system, 15 to 100.
    pub fn loop_size_gb(&self) -> u64 {
        (self.size_gb / 5).clamp(15, 100)
    }
}

/// Whether the kernel knows a file system, loading its module if need be.
fn kernel_has(name: &'static str) -> bool {
    let is_known = || sys::fs::read_to_string(Path::new("/proc/filesystems")).is_ok_and(|text| lists(&text, name));
    is_known() || sys::cmd::Cmd::new("modprobe", "kmod").arg(name).run().is_ok() && is_known()
}

/// Whether a text like `/proc/filesystems` lists a name.
fn lists(text: &str, name: &str) -> bool {
    text.lines().any(|line| line.split_ascii_whitespace().next_back() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn facts(is_on_btrfs: bool, has_overlay: bool) -> HostFacts {
        HostFacts { dir: "/var/lib/lxd".into(), is_on_btrfs, has_btrfs: true, has_overlay, size_gb: 200 }
    }

    #[test]
    fn the_fastest_is_preferred() {
        assert_eq!(facts(true, true).best(), Backend::Btrfs);
        assert_eq!(facts(false, true).best(), Backend::Overlay);
        assert_eq!(facts(false, false).best(), Backend::Dir);
    }

    #[test]
    fn loop_sizes_stay_in_bounds() {
        let sizes = [10, 200, 5000].map(|size_gb| HostFacts { size_gb, ..facts(false, false) }.loop_size_gb());
        assert_eq!(sizes, [15, 40, 100]);
    }

    #[test]
    fn file_systems_are_found_by_their_whole_name() {
        let text = "nodev\toverlay\n\text4\n";
        assert!(lists(text, "overlay") && lists(text, "ext4") && !lists(text, "ext"));
    }
}
