//! `Root`: access confined to one directory tree, for trees that others control.
//!
//! Every path is resolved by the kernel with `openat2(2)` `RESOLVE_IN_ROOT`: absolute links and
//! `..` stay inside, magic links are refused. Check and use are always the same descriptor.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};

use crate::error::{Context, Errno, Error, Result};

/// A directory that bounds every access made through it.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    label: PathBuf,
}

impl Root {
    /// Opens `path`, a trusted directory name, as a root. A symbolic link is refused.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).on_path("open directory", path)?;
        Ok(Self { dir, label: path.to_owned() })
    }

    /// Uses an open directory as a root; `label` is shown in errors.
    pub fn from_fd(dir: OwnedFd, label: impl Into<PathBuf>) -> Self {
        Self { dir, label: label.into() }
    }

    /// Shows `label` for the root's own path in errors, for callers who do not know it.
    pub fn shown_as(self, label: impl Into<PathBuf>) -> Self {
        Self { label: label.into(), ..self }
    }

    /// The descriptor of the root directory.
    pub fn as_dir_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Opens anything beneath, following links inside the tree.
    pub fn open_at(&self, path: impl AsRef<Path>, flags: OFlags, mode: u32) -> Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = inside(path.as_ref());
        rustix::fs::openat2(&self.dir, &path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode), resolve).context("open", self.show(&path))
    }

    /// Opens a regular file for reading; anything else is refused before it is opened, so that a
    /// fifo or device in a foreign tree can neither block nor act.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let handle = self.open_at(path, OFlags::PATH, 0)?;
        match self.stat_fd(&handle, path)? {
            stat if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {}
            stat if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(Error::new("open", self.show(path), Errno::ISDIR));
            }
            _ => return Err(Error::new("open (not a regular file)", self.show(path), Errno::INVAL)),
        }
        Ok(File::from(reopen(&handle, OFlags::RDONLY).context("open", self.show(path))?))
    }

    /// Opens or creates a regular file for writing. `O_NONBLOCK` keeps a fifo from blocking.
    pub fn create_file(&self, path: impl AsRef<Path>, extra: OFlags, mode: u32) -> Result<File> {
        let path = path.as_ref();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | extra;
        let fd = self.open_at(path, flags, mode)?;
        let stat = self.stat_fd(&fd, path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::new("write (not a regular file)", self.show(path), Errno::INVAL));
        }
        Ok(File::from(fd))
    }

    /// Replaces a file as a whole: whoever reads it sees the old content or the new. What is not a file there
    /// is replaced, too, never followed.
    pub fn replace_file(&self, path: impl AsRef<Path>, content: &[u8], mode: u32) -> Result<()> {
        use std::io::Write;
        let path = path.as_ref();
        let (parent, name) = self.parent_of("write", path)?;
        let mut temporary = std::ffi::OsString::from(".new-");
        temporary.push(&name);
        // One that a crash left; where there is none, or it cannot be removed, the next call says what matters.
        let _ = rustix::fs::unlinkat(&parent, &temporary, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, &temporary, flags, Mode::from_raw_mode(mode)).context("create", self.show(path))?;
        let mut file = File::from(file);
        let written = file.write_all(content).and_then(|()| file.sync_all());
        let replace = |()| rustix::fs::renameat(&parent, &temporary, &parent, &name).context("replace", self.show(path));
        written.map_err(|error| Error::io("write", self.show(path), &error)).and_then(replace).inspect_err(|_| {
            let _ = rustix::fs::unlinkat(&parent, &temporary, AtFlags::empty());
        })
    }

    /// Opens a directory beneath.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, 0)
    }

    /// A narrower root beneath this one.
    pub fn sub_root(&self, path: impl AsRef<Path>) -> Result<Root> {
        let path = path.as_ref();
        let dir = self.open_at(path, OFlags::PATH | OFlags::DIRECTORY, 0)?;
        Ok(Self { dir, label: self.label.join(inside(path)) })
    }

    /// Metadata of what `path` names, following links inside the tree.
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Stat> {
        let path = path.as_ref();
        let handle = self.open_at(path, OFlags::PATH, 0)?;
        self.stat_fd(&handle, path)
    }

    /// Metadata of `path` itself; a final link is not followed.
    pub fn lstat(&self, path: impl AsRef<Path>) -> Result<Stat> {
        let path = path.as_ref();
        let handle = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, 0)?;
        self.stat_fd(&handle, path)
    }

    /// Whether `path` resolves to something.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.open_at(path, OFlags::PATH, 0).is_ok()
    }

    /// Where the link `path` points, as text; it is not followed.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let handle = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, 0)?;
        let target = rustix::fs::readlinkat(&handle, "", Vec::new()).context("readlink", self.show(path))?;
        Ok(PathBuf::from(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(target.as_bytes())))
    }

    /// Names in a directory, sorted, without `.` and `..`; at most `limit` of them.
    pub fn list(&self, path: impl AsRef<Path>, limit: usize) -> Result<Vec<std::ffi::OsString>> {
        let path = path.as_ref();
        let dir = self.open_dir(path)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir).context("list", self.show(path))? {
            let entry = entry.context("list", self.show(path))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() == limit {
                return Err(Error::new("list (too many entries)", self.show(path), Errno::OVERFLOW));
            }
            names.push(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name).to_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Makes a directory; its parent must exist.
    pub fn create_dir(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        self.with_parent("mkdir", path.as_ref(), |parent, name| rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)))
    }

    /// Makes a directory and opens it, as a handle: whatever becomes of the path meanwhile, nothing that lies elsewhere.
    pub fn create_dir_handle(&self, path: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.with_parent("mkdir", path.as_ref(), |parent, name| {
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode))?;
            rustix::fs::openat(parent, name, flags, Mode::empty())
        })
    }

    /// Makes a directory and its missing parents; existing ones are kept, as is the root itself.
    pub fn create_dir_all(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let mut sofar = PathBuf::new();
        for part in inside(path.as_ref()).components().filter(|part| *part != Component::CurDir) {
            sofar.push(part);
            match self.create_dir(&sofar, mode) {
                Err(error) if error.errno == Errno::EXIST => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Makes a symbolic link with any text as its target.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let target = target.as_ref();
        self.with_parent("symlink", path.as_ref(), |parent, name| rustix::fs::symlinkat(target, parent, name))
    }

    /// Makes a hard link to `existing` (itself confined, a final link not followed).
    pub fn hard_link(&self, existing: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let (old_parent, old_name) = self.parent_of("link", existing.as_ref())?;
        self.with_parent("link", path.as_ref(), |parent, name| rustix::fs::linkat(&old_parent, &old_name, parent, name, AtFlags::empty()))
    }

    /// Makes a device, fifo or socket node.
    pub fn mknod(&self, path: impl AsRef<Path>, kind: FileType, mode: u32, device: u64) -> Result<()> {
        self.with_parent("mknod", path.as_ref(), |parent, name| rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(mode), device))
    }

    /// Removes a file, link or node.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> Result<()> {
        self.with_parent("remove", path.as_ref(), |parent, name| rustix::fs::unlinkat(parent, name, AtFlags::empty()))
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        self.with_parent("rmdir", path.as_ref(), |parent, name| rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR))
    }

    /// Changes owner and group of `path` itself.
    pub fn lchown(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
        self.with_parent("chown", path.as_ref(), |parent, name| {
            rustix::fs::chownat(parent, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    /// Sets permission bits of `path`, following links inside the tree.
    pub fn set_mode(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        self.set_mode_of(&self.open_at(path, OFlags::PATH, 0)?, path, mode)
    }

    /// Sets permission bits of what is open, be it a mere handle; `path` is for messages.
    pub fn set_mode_of(&self, handle: &OwnedFd, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let number = fd_number(handle);
        let chmod = |dir: &OwnedFd| rustix::fs::chmodat(dir, &number, Mode::from_raw_mode(mode), AtFlags::empty());
        own_descriptors().and_then(chmod).context("chmod", self.show(path.as_ref()))
    }

    /// The open parent directory of `path` and its last name, for `*at` calls.
    pub fn parent_of(&self, operation: &'static str, path: &Path) -> Result<(OwnedFd, std::ffi::OsString)> {
        let inner = inside(path);
        let Some(Component::Normal(name)) = inner.components().next_back() else {
            return Err(Error::new(operation, self.show(path), Errno::INVAL));
        };
        let parent = inner.parent().unwrap_or(Path::new(""));
        let dir = self.open_at(parent, OFlags::PATH | OFlags::DIRECTORY, 0)?;
        Ok((dir, name.to_owned()))
    }

    fn with_parent<T>(
        &self,
        operation: &'static str,
        path: &Path,
        call: impl FnOnce(&OwnedFd, &OsStr) -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        let (parent, name) = self.parent_of(operation, path)?;
        call(&parent, &name).context(operation, self.show(path))
    }

    fn stat_fd(&self, fd: &OwnedFd, path: &Path) -> Result<Stat> {
        rustix::fs::fstat(fd).context("stat", self.show(path))
    }

    fn show(&self, path: &Path) -> String {
        self.label.join(inside(path)).display().to_string()
    }
}

/// `path` without its leading slash, `.` for the root itself: what `openat2` takes relative to
/// the root. A `..` stays in and is bounded by the kernel.
fn inside(path: &Path) -> PathBuf {
    let relative: PathBuf = path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir)).collect();
    if relative.as_os_str().is_empty() { PathBuf::from(".") } else { relative }
}

/// Opens the very object behind an `O_PATH` descriptor with other flags.
pub fn reopen(fd: &OwnedFd, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::openat(own_descriptors()?, fd_number(fd), flags | OFlags::CLOEXEC, Mode::empty())
}

/// Opens this process's `/proc/self/fd` while `/proc` is still the host's. A process that enters
/// a container calls this first; one that was cloned afterwards must not use [`Root::open_file`],
/// [`Root::set_mode`] or [`reopen`], which would act on its parent's descriptors.
pub fn prepare_reopen() -> Result<()> {
    own_descriptors().map(drop).context("open", "/proc/self/fd")
}

fn own_descriptors() -> std::result::Result<&'static OwnedFd, Errno> {
    static DESCRIPTORS: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(dir) = DESCRIPTORS.get() {
        return Ok(dir);
    }
    let dir = rustix::fs::open("/proc/self/fd", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(DESCRIPTORS.get_or_init(|| dir))
}

fn fd_number(fd: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(dir.path().join("root")).expect("mkdir");
        std::fs::write(dir.path().join("secret"), "outside").expect("write");
        let root = Root::open(dir.path().join("root")).expect("open root");
        (dir, root)
    }

    #[test]
    fn links_and_dotdot_stay_inside() {
        let (_dir, root) = tree();
        root.symlink("../secret", "up").expect("symlink");
        root.symlink("/secret", "abs").expect("symlink");
        for path in ["up", "abs", "../secret", "/../secret"] {
            let error = root.open_file(path).expect_err("must not leave the root");
            assert!(error.is_not_found(), "{path}: {error}");
        }
    }

    #[test]
    fn absolute_link_resolves_inside() {
        let (_dir, root) = tree();
        root.create_dir_all("etc/deep", 0o755).expect("mkdir");
        root.symlink("/etc/deep", "link").expect("symlink");
        root.create_file("link/file", OFlags::EXCL, 0o644).expect("create through link");
        assert!(root.exists("etc/deep/file"));
    }

    #[test]
    fn the_root_itself_is_there_already() {
        let (_dir, root) = tree();
        for path in ["/", "", ".", "/./"] {
            root.create_dir_all(path, 0o755).expect(path);
        }
        assert_eq!(root.list("/", 10).expect("list"), Vec::<std::ffi::OsString>::new());
    }

    #[test]
    fn fifo_is_refused_without_blocking() {
        let (_dir, root) = tree();
        root.mknod("pipe", FileType::Fifo, 0o644, 0).expect("mkfifo");
        assert!(root.open_file("pipe").is_err());
        assert!(root.create_file("pipe", OFlags::empty(), 0o644).is_err());
    }

    #[test]
    fn root_must_not_be_a_link() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).expect("symlink");
        assert!(Root::open(dir.path().join("link")).is_err());
    }
}
