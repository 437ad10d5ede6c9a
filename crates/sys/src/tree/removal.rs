//! Removing whole trees.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, IFlags, Mode, OFlags};

use super::walk::{Dir, Place};
use super::{entries, open_plain};
use crate::error::{Context, Errno, Error, Result};

/// How many directories a removal holds open.
const MAX_OPEN_LEVELS: usize = 32;
/// How many directories of one directory it remembers; a guest can make as many as the disk holds.
const MAX_NAMES: usize = 4096;

/// Removes whatever `path` names, with all that is below; absent is fine. Files that are marked
/// immutable or append-only go too, so do subvolumes that are read-only, and a tree may be deeper than a path can be long.
pub fn remove(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new("remove", path.display(), Errno::INVAL));
    };
    let parent = match open_plain(rustix::fs::CWD, parent.as_os_str()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.on_path("open directory", parent)?,
    };
    if unlink(&parent, name, AtFlags::empty()).on_path("remove", path)? == Unlinked::Gone {
        return Ok(());
    }
    empty(open_plain(&parent, name).on_path("open directory", path)?, path)?;
    unlink(&parent, name, AtFlags::REMOVEDIR).map(drop).on_path("rmdir", path)
}

/// Removes what `name` names in an open directory, with all that is below; absent is fine.
pub fn remove_at(parent: &Dir, name: &OsStr) -> Result<()> {
    let shown = Path::new(name);
    if unlink(parent.as_owned(), name, AtFlags::empty()).on_path("remove", shown)? == Unlinked::Gone {
        return Ok(());
    }
    empty(open_plain(parent.as_owned(), name).on_path("open directory", shown)?, shown)?;
    unlink(parent.as_owned(), name, AtFlags::REMOVEDIR).map(drop).on_path("rmdir", shown)
}

struct Level {
    /// Closed again where a removal is much deeper.
    dir: Option<Dir>,
    identity: (u64, u64),
    /// Directories below that are still to be emptied; the last is next.
    dirs: Vec<OsString>,
    /// There may be more than those.
    is_partial: bool,
}

impl Level {
    fn begin(dir: OwnedFd, shown: &Path) -> Result<Self> {
        crate::btrfs::unseal(&dir)?;
        let dirs = remove_files(&dir, shown)?;
        let dir = Dir::new(dir);
        Ok(Self { identity: dir.identity()?, dir: Some(dir), is_partial: dirs.len() == MAX_NAMES, dirs })
    }

    /// Looks for more directories, once those known are gone.
    fn look_again(&mut self, shown: &Path) -> Result<()> {
        if let (true, true, Some(dir)) = (self.is_partial, self.dirs.is_empty(), &self.dir) {
            self.dirs = remove_files(dir.as_owned(), shown)?;
            self.is_partial = self.dirs.len() == MAX_NAMES;
        }
        Ok(())
    }
}

/// Removes all that is in a directory. Nobody else works in it: a directory that is not where it
/// was is an error.
fn empty(top: OwnedFd, shown: &Path) -> Result<()> {
    let moved = || Error::new("remove (moved meanwhile)", shown.display(), Errno::BUSY);
    let mut levels = vec![Level::begin(top, shown)?];
    while let Some(level) = levels.last_mut() {
        level.look_again(shown)?;
        let dir = level.dir.as_ref().ok_or_else(moved)?;
        if let Some(name) = level.dirs.last() {
            let below = open_plain(dir.as_owned(), name).on_path("open directory", shown)?;
            levels.push(Level::begin(below, shown)?);
            if let Some(index) = levels.len().checked_sub(MAX_OPEN_LEVELS + 1) {
                levels[index].dir = None;
            }
            continue;
        }
        let Some(left) = levels.pop() else { break };
        let Some(level) = levels.last_mut() else { break };
        if level.dir.is_none() {
            let above = left.dir.as_ref().ok_or_else(moved)?.up()?;
            if above.identity()? != level.identity {
                return Err(moved());
            }
            level.dir = Some(above);
        }
        drop(left);
        if let (Some(dir), Some(name)) = (&level.dir, level.dirs.pop()) {
            unlink(dir.as_owned(), &name, AtFlags::REMOVEDIR).on_path("rmdir", shown)?;
        }
    }
    Ok(())
}

/// Removes what is not a directory, until it has found [`MAX_NAMES`] directories; returns those.
fn remove_files(dir: &OwnedFd, shown: &Path) -> Result<Vec<OsString>> {
    let mut dirs = Vec::new();
    for entry in entries(dir, shown.display().to_string())? {
        let (name, kind) = entry?;
        if kind == FileType::Directory || unlink(dir, &name, AtFlags::empty()).on_path("remove", shown)? == Unlinked::Directory {
            dirs.push(name);
            if dirs.len() == MAX_NAMES {
                break;
            }
        }
    }
    Ok(dirs)
}

#[derive(PartialEq)]
enum Unlinked {
    Gone,
    Directory,
}

fn unlink(dir: &OwnedFd, name: &OsStr, flags: AtFlags) -> std::result::Result<Unlinked, Errno> {
    let mut result = rustix::fs::unlinkat(dir, name, flags);
    if result == Err(Errno::PERM) {
        clear_flags(dir);
        if let Ok(entry) =
            rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        {
            clear_flags(&entry);
        }
        result = rustix::fs::unlinkat(dir, name, flags);
    }
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(Unlinked::Gone),
        Err(Errno::ISDIR) => Ok(Unlinked::Directory),
        Err(errno) => Err(errno),
    }
}

/// Best effort: what matters is whether the removal then works.
pub(crate) fn clear_flags(fd: impl AsFd) {
    let protected = IFlags::IMMUTABLE | IFlags::APPEND;
    if let Ok(flags) = rustix::fs::ioctl_getflags(&fd)
        && flags.intersects(protected)
    {
        let _ = rustix::fs::ioctl_setflags(fd, flags - protected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_what_is_deeper_than_a_path_and_follows_no_link() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        std::fs::create_dir(&tree).expect("mkdir");
        std::fs::create_dir(&outside).expect("mkdir");
        std::fs::write(outside.join("file"), "kept").expect("write");
        let mut deep = open_plain(rustix::fs::CWD, tree.as_os_str()).expect("open");
        let name = OsString::from("d".repeat(200));
        for _ in 0..100 {
            for name in [&name, &OsString::from("sibling")] {
                rustix::fs::mkdirat(&deep, name, Mode::RWXU).expect("mkdir");
            }
            rustix::fs::symlinkat(&outside, &deep, "link").expect("symlink");
            deep = open_plain(&deep, &name).expect("open");
        }
        drop(deep);
        remove(&tree).expect("remove");
        assert!(!tree.exists());
        assert!(outside.join("file").exists());
        remove(&tree).expect("absent is fine");
    }

    #[test]
    fn removes_more_than_it_remembers() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).expect("mkdir");
        for number in 0..2 * MAX_NAMES + 10 {
            std::fs::create_dir(tree.join(format!("d{number}"))).expect("mkdir");
            std::fs::write(tree.join(format!("f{number}")), "").expect("write");
        }
        std::fs::write(tree.join("d77").join("file"), "").expect("write");
        remove(&tree).expect("remove");
        assert!(!tree.exists());
    }
}
