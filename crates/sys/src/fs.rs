//! File-system operations on the manager's own paths, with the path in every error.
//!
//! For trees that come from outside (images, containers, backups) use [`crate::Root`]: the
//! functions here follow symbolic links like any program does.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// Reads a whole file.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    fs::read(path.as_ref()).on_path("read", path.as_ref())
}

/// Reads a whole UTF-8 file.
pub fn read_to_string(path: impl AsRef<Path>) -> Result<String> {
    fs::read_to_string(path.as_ref()).on_path("read", path.as_ref())
}

/// Reads a short text that the kernel makes, as cgroup and proc files have, in one `read(2)`: up to a page.
pub fn read_kernel(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let mut page = [0; 4096];
    let count = File::open(path).and_then(|mut file| file.read(&mut page)).on_path("read", path)?;
    Ok(String::from_utf8_lossy(&page[..count]).into_owned())
}

/// Writes a file in place (truncating); for kernel files and scratch. Not durable.
pub fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<()> {
    fs::write(path.as_ref(), content).on_path("write", path.as_ref())
}

/// Writes to an existing file in one `write(2)`, as cgroup and proc files need.
pub fn write_kernel(path: impl AsRef<Path>, content: &str) -> Result<()> {
    let path = path.as_ref();
    let mut file = OpenOptions::new().write(true).open(path).on_path("open", path)?;
    file.write_all(content.as_bytes()).on_path("write", path)
}

/// Replaces a file atomically and durably: temporary file, fsync, rename, fsync of the directory.
pub fn write_durable(path: impl AsRef<Path>, content: &[u8], mode: u32) -> Result<()> {
    let path = path.as_ref();
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary).on_path("create", &temporary)?;
    file.write_all(content).and_then(|()| file.sync_all()).on_path("write", &temporary)?;
    fs::rename(&temporary, path).on_path("rename to", path)?;
    if let Some(parent) = path.parent() {
        File::open(parent).and_then(|dir| dir.sync_all()).on_path("sync", parent)?;
    }
    Ok(())
}

/// Replaces a file atomically but not durably: it survives the death of any process, not that of
/// the host.
pub fn write_atomic(path: impl AsRef<Path>, content: &[u8], mode: u32) -> Result<()> {
    let path = path.as_ref();
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    create(&temporary, mode)?.write_all(content).on_path("write", &temporary)?;
    rename(&temporary, path)
}

/// Brings what was renamed, made or removed in a directory to the disk.
pub fn sync_dir(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    open(path)?.sync_all().on_path("sync", path)
}

/// Opens for reading.
pub fn open(path: impl AsRef<Path>) -> Result<File> {
    File::open(path.as_ref()).on_path("open", path.as_ref())
}

/// Creates a file with `mode`, truncating an existing one.
pub fn create(path: impl AsRef<Path>, mode: u32) -> Result<File> {
    let path = path.as_ref();
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(mode).open(path).on_path("create", path)
}

/// Creates a file with `mode` that must not exist yet; a symbolic link is in the way like any file.
pub fn create_new(path: impl AsRef<Path>, mode: u32) -> Result<File> {
    let path = path.as_ref();
    OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path).on_path("create", path)
}

/// Opens for appending, created with `mode`.
pub fn append(path: impl AsRef<Path>, mode: u32) -> Result<File> {
    let path = path.as_ref();
    OpenOptions::new().append(true).create(true).mode(mode).open(path).on_path("open", path)
}

/// Makes one directory with exactly `mode`; an existing directory is left as it is.
pub fn ensure_dir(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    let path = path.as_ref();
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => set_mode(path, mode),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error).on_path("mkdir", path),
    }
}

/// Makes a directory and its missing parents.
pub fn ensure_dir_all(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    let path = path.as_ref();
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).on_path("mkdir", path)
}

/// Makes one directory that must not exist yet.
pub fn create_dir(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    let path = path.as_ref();
    fs::DirBuilder::new().mode(mode).create(path).on_path("mkdir", path)?;
    set_mode(path, mode)
}

/// Removes a file; absent is fine.
pub fn remove_file(path: impl AsRef<Path>) -> Result<()> {
    absent_is_fine(fs::remove_file(path.as_ref())).on_path("remove", path.as_ref())
}

/// Removes an empty directory; absent is fine.
pub fn remove_dir(path: impl AsRef<Path>) -> Result<()> {
    absent_is_fine(fs::remove_dir(path.as_ref())).on_path("rmdir", path.as_ref())
}

/// Removes a tree without following links; absent is fine.
pub fn remove_tree(path: impl AsRef<Path>) -> Result<()> {
    absent_is_fine(fs::remove_dir_all(path.as_ref())).on_path("remove", path.as_ref())
}

/// Renames.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    fs::rename(from.as_ref(), to.as_ref()).context("rename", from.as_ref().display())
}

/// Copies one file with its mode.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<u64> {
    fs::copy(from.as_ref(), to.as_ref()).on_path("copy", from.as_ref())
}

/// Makes a symbolic link.
pub fn symlink(target: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
    std::os::unix::fs::symlink(target.as_ref(), link.as_ref()).on_path("symlink", link.as_ref())
}

/// Where a symbolic link points.
pub fn read_link(path: impl AsRef<Path>) -> Result<PathBuf> {
    fs::read_link(path.as_ref()).on_path("readlink", path.as_ref())
}

/// Names in a directory, sorted.
pub fn list_dir(path: impl AsRef<Path>) -> Result<Vec<String>> {
    let path = path.as_ref();
    let mut names = Vec::new();
    for entry in fs::read_dir(path).on_path("list", path)? {
        names.push(entry.on_path("list", path)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Names of the directories in a directory (links do not count).
pub fn list_subdirs(path: impl AsRef<Path>) -> Result<Vec<std::ffi::OsString>> {
    let path = path.as_ref();
    let mut names = Vec::new();
    for entry in fs::read_dir(path).on_path("list", path)? {
        let entry = entry.on_path("list", path)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.push(entry.file_name());
        }
    }
    Ok(names)
}

/// Whether something is there (links are followed).
pub fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().exists()
}

/// Size in bytes of a file.
pub fn size_bytes(path: impl AsRef<Path>) -> Result<u64> {
    Ok(fs::metadata(path.as_ref()).on_path("stat", path.as_ref())?.size())
}

/// The path behind all links.
pub fn canonicalize(path: impl AsRef<Path>) -> Result<PathBuf> {
    fs::canonicalize(path.as_ref()).on_path("resolve", path.as_ref())
}

/// Metadata, following links.
pub fn metadata(path: impl AsRef<Path>) -> Result<fs::Metadata> {
    fs::metadata(path.as_ref()).on_path("stat", path.as_ref())
}

/// Sets permission bits.
pub fn set_mode(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    fs::set_permissions(path.as_ref(), fs::Permissions::from_mode(mode)).on_path("chmod", path.as_ref())
}

/// Changes owner and group, following links.
pub fn chown(path: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
    std::os::unix::fs::chown(path.as_ref(), Some(uid), Some(gid)).on_path("chown", path.as_ref())
}

/// The magic number of the file system that holds `path` (`statfs(2)`, `f_type`).
pub fn fs_magic(path: impl AsRef<Path>) -> Result<i64> {
    let path = path.as_ref();
    #[allow(clippy::unnecessary_cast, reason = "the width of f_type differs between architectures")]
    rustix::fs::statfs(path).map(|stat| stat.f_type as i64).on_path("statfs", path)
}

/// Whether the sizes of files say nothing there: what they hold is made when it is read, by the kernel or by a program.
pub fn has_made_up_sizes(file: impl AsFd) -> Result<bool> {
    #[allow(clippy::unnecessary_cast, reason = "the width of f_type differs between architectures")]
    let magic = rustix::fs::fstatfs(file).map(|stat| stat.f_type as i64).context("statfs", "an open file")?;
    Ok(MADE_UP.contains(&magic))
}

/// Total and available bytes of the file system that holds `path`.
pub fn fs_space(path: impl AsRef<Path>) -> Result<(u64, u64)> {
    let path = path.as_ref();
    let stat = rustix::fs::statvfs(path).on_path("statvfs", path)?;
    Ok((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
}

/// The same of the file system that an open file is on.
pub fn file_space(file: &File) -> Result<(u64, u64)> {
    let stat = rustix::fs::fstatvfs(file).context("fstatvfs", "an open file")?;
    Ok((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
}

/// Total and available bytes of the file system that an open file is on.
pub fn fs_space_of(file: impl AsFd) -> Result<(u64, u64)> {
    let stat = rustix::fs::fstatvfs(file).context("statvfs", "an open file")?;
    Ok((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
}

/// Total and available inodes of the file system that holds `path`; `None` where they are not
/// counted, as on btrfs.
pub fn fs_inodes(path: impl AsRef<Path>) -> Result<Option<(u64, u64)>> {
    let path = path.as_ref();
    let stat = rustix::fs::statvfs(path).on_path("statvfs", path)?;
    Ok((stat.f_files > 0).then_some((stat.f_files, stat.f_favail)))
}

/// `f_type` of btrfs.
pub const BTRFS_MAGIC: i64 = 0x9123_683e;
/// `f_type` of overlayfs.
pub const OVERLAYFS_MAGIC: i64 = 0x794c_7630;

/// `f_type` of proc, sysfs, both kinds of control groups, debugfs, tracefs, securityfs, and FUSE.
const MADE_UP: [i64; 8] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x6462_6720, 0x7472_6163, 0x7363_6673, 0x6573_5546];

fn absent_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
