//! Which block device holds a path.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Context, Errno, Error, Result};

/// Number of the disk that holds a path, or that the path itself is: major and minor. Of a partition it is the
/// disk that it is a part of, since the kernel bounds accesses to whole disks only.
pub fn disk_of(path: impl AsRef<Path>) -> Result<(u32, u32)> {
    let path = path.as_ref();
    let facts = crate::fs::metadata(path)?;
    let device = if facts.file_type().is_block_device() { facts.rdev() } else { facts.dev() };
    let (major, minor) = split(device);
    // File systems without a device of their own, such as the subvolumes of btrfs, have major number 0.
    let (major, minor) = if major == 0 { mounted_device(path)? } else { (major, minor) };
    whole_disk(major, minor, Path::new("/sys/dev/block"))
}

/// What begins a file system, and where: name for mount(2), offset in bytes, bytes.
const FILE_SYSTEMS: &[(&str, u64, &[u8])] = &[
    ("xfs", 0, b"XFSB"),
    ("squashfs", 0, b"hsqs"),
    ("erofs", 1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
    ("f2fs", 1024, &[0x10, 0x20, 0xf5, 0xf2]),
    ("ext4", 1080, &[0x53, 0xef]),
    ("iso9660", 0x8001, b"CD001"),
    ("btrfs", 0x1_0040, b"_BHRfS_M"),
    ("exfat", 3, b"EXFAT   "),
    ("vfat", 82, b"FAT32   "),
    ("vfat", 54, b"FAT1"),
];

/// The file system on a block device (or in a file) by its name for mount(2); `None` for none that is known.
pub fn file_system(path: impl AsRef<Path>) -> Result<Option<&'static str>> {
    use std::os::unix::fs::FileExt;
    let file = crate::fs::open(path.as_ref())?;
    let holds = |offset: u64, magic: &[u8]| {
        let mut found = vec![0; magic.len()];
        file.read_exact_at(&mut found, offset).is_ok() && found == magic
    };
    Ok(FILE_SYSTEMS.iter().find(|(_, offset, magic)| holds(*offset, magic)).map(|(name, ..)| *name))
}

/// Major and minor of a device number, as the kernel packs them for user space.
pub fn split(device: u64) -> (u32, u32) {
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff);
    let minor = (device & 0xff) | ((device >> 12) & !0xff);
    (major as u32, minor as u32)
}

/// The device that the file system of a path was mounted from.
fn mounted_device(path: &Path) -> Result<(u32, u32)> {
    let none = || Error::new("find the block device of", path.display(), Errno::NOTBLK);
    let path = std::fs::canonicalize(path).on_path("resolve", path)?;
    let source = source_of(&crate::fs::read_to_string("/proc/self/mountinfo")?, &path).ok_or_else(none)?;
    let facts = crate::fs::metadata(&source).map_err(|_| none())?;
    if facts.file_type().is_block_device() { Ok(split(facts.rdev())) } else { Err(none()) }
}

/// Source of the mount that a path is in: the last one of those with the longest mount point.
fn source_of(mountinfo: &str, path: &Path) -> Option<PathBuf> {
    let parse = |line: &str| {
        let (mount, source) = line.split_once(" - ")?;
        let point = PathBuf::from(mount.split(' ').nth(4)?);
        path.starts_with(&point).then(|| Some((point, PathBuf::from(source.split(' ').nth(1)?)))).flatten()
    };
    mountinfo.lines().filter_map(parse).max_by_key(|(point, _)| point.components().count()).map(|(_, source)| source)
}

fn whole_disk(major: u32, minor: u32, devices: &Path) -> Result<(u32, u32)> {
    let dir = devices.join(format!("{major}:{minor}"));
    if !crate::fs::exists(dir.join("partition")) {
        return Ok((major, minor));
    }
    let parent = dir.join("../dev");
    let text = crate::fs::read_to_string(&parent)?;
    let numbers = text.trim().split_once(':').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    numbers.ok_or_else(|| Error::new("parse", parent.display(), Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unpacked() {
        assert_eq!(split((300 << 8) | (70_000 & 0xff) | ((70_000 & !0xff) << 12)), (300, 70_000));
        assert_eq!(split(0x801), (8, 1));
    }

    #[test]
    fn the_innermost_mount_counts() {
        let mountinfo = "\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
30 21 0:40 /sub /srv rw shared:1 - btrfs /dev/sdb rw
31 21 0:41 / /srv/tmp rw - tmpfs tmpfs rw
";
        assert_eq!(source_of(mountinfo, Path::new("/srv/x/y")), Some("/dev/sdb".into()));
        assert_eq!(source_of(mountinfo, Path::new("/srv/tmp/a")), Some("tmpfs".into()));
        assert_eq!(source_of(mountinfo, Path::new("/srvx")), Some("/dev/sda1".into()));
    }

    #[test]
    fn file_systems_are_known_by_their_beginning() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("disk");
        let mut content = vec![0; 70_000];
        std::fs::write(&path, &content).expect("write");
        assert_eq!(file_system(&path).expect("read"), None);
        content[0x1_0040..0x1_0048].copy_from_slice(b"_BHRfS_M");
        std::fs::write(&path, &content).expect("write");
        assert_eq!(file_system(&path).expect("read"), Some("btrfs"));
        std::fs::write(&path, b"XFSB").expect("write");
        assert_eq!(file_system(&path).expect("read"), Some("xfs"));
    }

    #[test]
    fn a_partition_stands_for_its_disk() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::create_dir_all(dir.path().join("real/sda/sda1")).expect("mkdir");
        for (name, text) in [("real/sda/dev", "8:0\n"), ("real/sda/sda1/dev", "8:1\n"), ("real/sda/sda1/partition", "1\n")] {
            std::fs::write(dir.path().join(name), text).expect("write");
        }
        std::os::unix::fs::symlink("real/sda/sda1", dir.path().join("8:1")).expect("link");
        assert_eq!(whole_disk(8, 1, dir.path()).expect("disk"), (8, 0));
        assert_eq!(whole_disk(8, 0, dir.path()).expect("disk"), (8, 0));
        assert_eq!(disk_of("/proc/self").expect_err("no disk").errno, Errno::NOTBLK);
    }
}
