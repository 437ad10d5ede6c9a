//! Walking and removing whole directory trees that others control.
//!
//! No link is ever followed: directories are opened and everything else is done by single names
//! in open directories. Trees may be of any depth.

mod removal;
mod search;
mod trail;
mod walk;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};

pub(crate) use removal::clear_flags;
pub use removal::{remove, remove_at};
pub use rustix::fs::FileType;
pub use search::find_inodes;
pub use trail::{Shown, Trail};
pub use walk::{Dir, Place, walk, walk_in_order};

use crate::error::{Context, Errno, Error, Result};
use crate::{Root, xattr};

/// The longest path that the kernel takes, with its NUL (limits.h, PATH_MAX).
const PATH_BYTES: usize = 4096;

/// What the names of one directory may take, in bytes: some four million short ones.
pub const MAX_LISTING_BYTES: usize = 192 << 20;

/// Opens a directory beneath `root`; any link on the way is refused, and so is a path that
/// leaves the root. An empty path is the root itself. The path may be of any length.
pub fn open_dir(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    if path.as_os_str().len() < PATH_BYTES {
        return open_part(root, path).on_path("open directory", path);
    }
    let mut dir = open_part(root, Path::new(""));
    let mut part = PathBuf::new();
    for name in path.components() {
        if part.as_os_str().len() + name.as_os_str().len() + 2 > PATH_BYTES {
            dir = dir.and_then(|dir| open_part(dir, &part));
            part.clear();
        }
        part.push(name);
    }
    dir.and_then(|dir| open_part(dir, &part)).on_path("open directory", path)
}

fn open_part(root: impl AsFd, path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// Names in an open directory, without `.` and `..`, in no order. Fails with [`Errno::TOOBIG`] where they would take
/// more memory than [`MAX_LISTING_BYTES`]: a guest can make as many as the disk holds.
pub fn names(dir: impl AsFd, shown: impl Display) -> Result<Vec<(OsString, FileType)>> {
    names_within(dir, shown, MAX_LISTING_BYTES)
}

fn names_within(dir: impl AsFd, shown: impl Display, most_bytes: usize) -> Result<Vec<(OsString, FileType)>> {
    let (mut names, mut bytes) = (Vec::new(), 0);
    let shown = shown.to_string();
    for entry in entries(dir, shown.clone())? {
        let (name, kind) = entry?;
        bytes += size_of::<(OsString, FileType)>() + name.len();
        if bytes > most_bytes {
            return Err(Error::new("list (there are too many names)", &shown, Errno::TOOBIG));
        }
        names.push((name, kind));
    }
    Ok(names)
}

/// The same, one by one.
fn entries(dir: impl AsFd, shown: String) -> Result<impl Iterator<Item = Result<(OsString, FileType)>>> {
    let listing = rustix::fs::Dir::read_from(dir).context("list", &shown)?;
    Ok(listing.filter_map(move |entry| {
        let entry = match entry.context("list", &shown) {
            Err(error) => return Some(Err(error)),
            Ok(entry) => entry,
        };
        let name = entry.file_name().to_bytes();
        (name != b"." && name != b"..").then(|| Ok((OsStr::from_bytes(name).to_owned(), entry.file_type())))
    }))
}

/// Whether an error only says that something was removed or replaced during a walk.
pub fn is_vanished(error: &Error) -> bool {
    matches!(error.errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// Anything in a tree, held open by a descriptor that can neither block nor act.
#[derive(Debug)]
pub struct Object<'a> {
    handle: OwnedFd,
    stat: Stat,
    shown: Shown<'a>,
}

impl Object<'_> {
    /// Its type.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Its permission bits, set-id and sticky bits included.
    pub fn permissions(&self) -> u32 {
        self.stat.st_mode & 0o7777
    }

    /// Its owner and group when it was opened.
    pub fn owner(&self) -> (u32, u32) {
        (self.stat.st_uid, self.stat.st_gid)
    }

    /// Changes owner and group; the kernel may clear set-id bits and file capabilities.
    pub fn set_owner(&self, uid: u32, gid: u32) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(&self.handle, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).context("chown", self.shown)
    }

    /// Sets the permission bits; not for symbolic links.
    pub fn set_permissions(&self, mode: u32) -> Result<()> {
        rustix::fs::chmod(xattr::fd_path(&self.handle), Mode::from_raw_mode(mode)).context("chmod", self.shown)
    }
}

impl AsFd for Object<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// What `name` is, a single name in a directory whose links are not followed; `None` if absent.
pub fn kind_of(dir: &Root, name: &str) -> Result<Option<FileType>> {
    match dir.lstat(name) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Calls `visit` once for each object of a tree, the root included, from several threads. One
/// that has several names is visited once.
pub fn for_each(root: &Root, visit: impl Fn(&Object<'_>, &mut xattr::Buffer) -> Result<()> + Sync) -> Result<()> {
    let seen = Mutex::new(HashSet::new());
    let visit_name = |dir: BorrowedFd<'_>, name: &OsStr, shown: Shown<'_>, buffer: &mut xattr::Buffer| {
        let handle = match rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(FileType::Unknown),
            other => other.context("open", shown)?,
        };
        let stat = rustix::fs::fstat(&handle).context("stat", shown)?;
        let object = Object { handle, stat, shown };
        let several = object.kind() != FileType::Directory && stat.st_nlink > 1;
        if !several || seen.lock().unwrap_or_else(PoisonError::into_inner).insert((stat.st_dev, stat.st_ino)) {
            visit(&object, buffer)?;
        }
        Ok(object.kind())
    };
    let top = Dir::new(open_dir(root.as_dir_fd(), Path::new(""))?);
    walk(top, xattr::Buffer::default, |buffer, dir, trail| {
        if trail.is_top() {
            let name = OsStr::new(".");
            visit_name(dir.as_fd(), name, trail.show(name), buffer)?;
        }
        let mut dirs = Vec::new();
        for (name, _) in names(dir, trail)? {
            if visit_name(dir.as_fd(), &name, trail.show(&name), buffer)? == FileType::Directory {
                dirs.push(name);
            }
        }
        Ok(dirs)
    })
}

/// One open directory that goes down and up in a tree of any depth. For trees that nobody moves
/// directories in, such as control groups: going up, it takes `..`.
#[derive(Debug)]
pub struct DirCursor {
    dir: OwnedFd,
    top: PathBuf,
}

impl DirCursor {
    /// Begins at a directory.
    pub fn open(path: &Path) -> Result<Self> {
        let dir = open_plain(rustix::fs::CWD, path.as_os_str()).on_path("open directory", path)?;
        Ok(Self { dir, top: path.to_owned() })
    }

    /// Names of the directories here.
    pub fn subdirs(&self) -> Result<Vec<OsString>> {
        let all = names(&self.dir, self.top.display())?;
        Ok(all.into_iter().filter(|(_, kind)| *kind == FileType::Directory).map(|(name, _)| name).collect())
    }

    /// Goes into a directory; false if it is not there any more.
    pub fn down(&mut self, name: &OsStr) -> Result<bool> {
        match open_plain(&self.dir, name) {
            Ok(dir) => self.dir = dir,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(errno).on_path("open directory", &self.top.join(name)),
        }
        Ok(true)
    }

    /// Goes back to the directory above.
    pub fn up(&mut self) -> Result<()> {
        self.dir = open_plain(&self.dir, OsStr::new("..")).on_path("open directory", &self.top)?;
        Ok(())
    }

    /// Removes an empty directory.
    pub fn remove(&self, name: &OsStr) -> Result<()> {
        rustix::fs::unlinkat(&self.dir, name, AtFlags::REMOVEDIR).on_path("rmdir", &self.top.join(name))
    }
}

fn open_plain(dir: impl AsFd, name: &OsStr) -> std::result::Result<OwnedFd, Errno> {
    let name = if name.is_empty() { OsStr::new(".") } else { name };
    rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_bounded() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for number in 0..10 {
            std::fs::write(dir.path().join(format!("{number:0>100}")), "").expect("write");
        }
        let open = || crate::btrfs::open(dir.path()).expect("open");
        let each = size_of::<(OsString, FileType)>() + 100;
        assert_eq!(names_within(open(), "it", 10 * each).expect("just fits").len(), 10);
        let error = names_within(open(), "it", 10 * each - 1).expect_err("too many");
        assert_eq!(error.errno, Errno::TOOBIG);
        assert!(error.to_string().contains("too many names"), "{error}");
    }
}
