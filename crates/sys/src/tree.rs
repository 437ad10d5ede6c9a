//! Walking and removing whole directory trees that others control.
//!
//! No link is ever followed: a directory is opened by its path beneath the root with
//! `RESOLVE_NO_SYMLINKS`, and everything else is done by single names in open directories.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Dir, Gid, IFlags, Mode, OFlags, ResolveFlags, Stat, Uid};

pub use rustix::fs::FileType;

use crate::error::{Context, Errno, Error, Result};
use crate::{Root, xattr};

/// More threads than this do not make a walk of one disk faster.
const MAX_THREADS: usize = 4;
/// Threads are started only when so many directories are waiting; a small tree needs none.
const PARALLEL_FROM: usize = 8;
/// How many directories a removal holds open; deeper ones are first moved up.
const MAX_OPEN_LEVELS: usize = 32;

/// Opens a directory beneath `root`; any link on the way is refused, and so is a path that
/// leaves the root. An empty path is the root itself.
pub fn open_dir(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let shown = path;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve).on_path("open directory", shown)
}

/// Names in an open directory, without `.` and `..`, in no order.
pub fn names(dir: impl AsFd, shown: &Path) -> Result<Vec<(OsString, FileType)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).on_path("list", shown)? {
        let entry = entry.on_path("list", shown)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}

/// Whether an error only says that something was removed or replaced during a walk.
pub fn is_vanished(error: &Error) -> bool {
    matches!(error.errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// Calls `visit` once for each directory of a tree, from several threads, beginning with the
/// empty path. It returns the paths of the directories below that are to be visited. `worker`
/// makes what one thread keeps between visits. The first error ends the walk.
pub fn walk<W>(worker: impl Fn() -> W + Sync, visit: impl Fn(&mut W, &Path) -> Result<Vec<PathBuf>> + Sync) -> Result<()> {
    let mut first = worker();
    let mut todo = vec![PathBuf::new()];
    while todo.len() < PARALLEL_FROM
        && let Some(path) = todo.pop()
    {
        todo.extend(visit(&mut first, &path)?);
    }
    if todo.is_empty() {
        return Ok(());
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let queue = Queue { state: Mutex::new(State { todo, busy: 0, error: None }), changed: Condvar::new() };
    let work = |mut own: W| {
        while let Some(path) = queue.take() {
            queue.finish(visit(&mut own, &path));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| work(worker()));
        }
        work(first);
    });
    queue.lock().error.take().map_or(Ok(()), Err)
}

/// Anything in a tree, held open by a descriptor that can neither block nor act.
#[derive(Debug)]
pub struct Object {
    handle: OwnedFd,
    stat: Stat,
    shown: PathBuf,
}

impl Object {
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
        rustix::fs::chownat(&self.handle, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).on_path("chown", &self.shown)
    }

    /// Sets the permission bits; not for symbolic links.
    pub fn set_permissions(&self, mode: u32) -> Result<()> {
        rustix::fs::chmod(xattr::fd_path(&self.handle), Mode::from_raw_mode(mode)).on_path("chmod", &self.shown)
    }
}

impl AsFd for Object {
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
pub fn for_each(root: &Root, visit: impl Fn(&Object, &mut xattr::Buffer) -> Result<()> + Sync) -> Result<()> {
    let seen = Mutex::new(HashSet::new());
    let visit_name = |dir: BorrowedFd<'_>, name: &OsStr, path: &Path, buffer: &mut xattr::Buffer| {
        let handle = match rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(FileType::Unknown),
            other => other.on_path("open", path)?,
        };
        let stat = rustix::fs::fstat(&handle).on_path("stat", path)?;
        let object = Object { handle, stat, shown: path.to_owned() };
        let several = object.kind() != FileType::Directory && stat.st_nlink > 1;
        if !several || seen.lock().unwrap_or_else(PoisonError::into_inner).insert((stat.st_dev, stat.st_ino)) {
            visit(&object, buffer)?;
        }
        Ok(object.kind())
    };
    walk(xattr::Buffer::default, |buffer, path| {
        let dir = match open_dir(root.as_dir_fd(), path) {
            Err(error) if is_vanished(&error) && !path.as_os_str().is_empty() => return Ok(Vec::new()),
            other => other?,
        };
        if path.as_os_str().is_empty() {
            visit_name(dir.as_fd(), OsStr::new("."), path, buffer)?;
        }
        let mut dirs = Vec::new();
        for (name, _) in names(&dir, path)? {
            let below = path.join(&name);
            if visit_name(dir.as_fd(), &name, &below, buffer)? == FileType::Directory {
                dirs.push(below);
            }
        }
        Ok(dirs)
    })
}

struct State {
    todo: Vec<PathBuf>,
    busy: usize,
    error: Option<Error>,
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next directory; `None` when there will be no more.
    fn take(&self) -> Option<PathBuf> {
        let mut state = self.lock();
        loop {
            if state.error.is_some() {
                return None;
            }
            if let Some(path) = state.todo.pop() {
                state.busy += 1;
                return Some(path);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self, result: Result<Vec<PathBuf>>) {
        let mut state = self.lock();
        state.busy -= 1;
        match result {
            Ok(paths) => state.todo.extend(paths),
            Err(error) => drop(state.error.get_or_insert(error)),
        }
        drop(state);
        self.changed.notify_all();
    }
}

/// Removes whatever `path` names, with all that is below; absent is fine. Files that are marked
/// immutable or append-only go too, and a tree may be deeper than a path can be long.
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

struct Level {
    dir: OwnedFd,
    /// Directories below that are still to be emptied; the last is next.
    dirs: Vec<OsString>,
}

/// Removes all that is in a directory.
fn empty(top: OwnedFd, shown: &Path) -> Result<()> {
    let mut moved = 0u64;
    let mut levels = vec![Level { dirs: remove_files(&top, shown)?, dir: top }];
    while let Some(level) = levels.last() {
        let Some(name) = level.dirs.last().cloned() else {
            levels.pop();
            if let Some((parent, name)) = levels.last_mut().and_then(|parent| parent.dirs.pop().map(|name| (parent, name))) {
                unlink(&parent.dir, &name, AtFlags::REMOVEDIR).on_path("rmdir", shown)?;
            }
            continue;
        };
        if levels.len() < MAX_OPEN_LEVELS {
            let dir = open_plain(&level.dir, &name).on_path("open directory", shown)?;
            levels.push(Level { dirs: remove_files(&dir, shown)?, dir });
            continue;
        }
        moved += 1;
        let target = OsString::from(format!(".deep-{}-{moved}", std::process::id()));
        rustix::fs::renameat(&level.dir, &name, &levels[0].dir, &target).on_path("rename", shown)?;
        // Behind the one that is being emptied.
        let next = levels[0].dirs.len() - 1;
        levels[0].dirs.insert(next, target);
        let last = levels.len() - 1;
        levels[last].dirs.pop();
    }
    Ok(())
}

/// Removes what is not a directory; returns the directories.
fn remove_files(dir: &OwnedFd, shown: &Path) -> Result<Vec<OsString>> {
    let mut dirs = Vec::new();
    for (name, kind) in names(dir, shown)? {
        if kind == FileType::Directory || unlink(dir, &name, AtFlags::empty()).on_path("remove", shown)? == Unlinked::Directory {
            dirs.push(name);
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
fn clear_flags(fd: &OwnedFd) {
    let protected = IFlags::IMMUTABLE | IFlags::APPEND;
    if let Ok(flags) = rustix::fs::ioctl_getflags(fd)
        && flags.intersects(protected)
    {
        let _ = rustix::fs::ioctl_setflags(fd, flags - protected);
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
    fn walk_sees_every_directory_once_and_stops_at_an_error() {
        let seen = Mutex::new(Vec::new());
        let visit = |(): &mut (), path: &Path| {
            seen.lock().expect("lock").push(path.to_owned());
            let below = if path.components().count() < 3 { 4 } else { 0 };
            Ok((0..below).map(|index| path.join(index.to_string())).collect())
        };
        walk(|| (), visit).expect("walk");
        let mut seen = seen.into_inner().expect("lock");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 1 + 4 + 16 + 64);
        let fail = |(): &mut (), path: &Path| {
            if path.ends_with("2") { Err(Error::new("visit", "2", Errno::IO)) } else { Ok(vec![path.join("1"), path.join("2")]) }
        };
        assert_eq!(walk(|| (), fail).expect_err("must fail").errno, Errno::IO);
    }
}
