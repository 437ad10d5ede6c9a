//! Making and reading trees of files for archives: what `tar` does, by descriptors.
//!
//! `TreeWriter` makes entries beneath a root that nobody else writes to; the parent of the
//! last entry stays open, since archives come directory by directory. `read_dir` and
//! `open_entry` read a tree without following any link.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid};

use crate::error::{Context, Errno, Error, Result};
use crate::root::{Root, reopen};
use crate::tree::{Dir, Trail};
use crate::xattr;

pub use std::fs::File;

/// What kind of file something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// The rest, below 10^9.
    pub nanoseconds: u32,
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// Full name with its namespace.
    pub name: std::ffi::CString,
    /// Bytes.
    pub value: Vec<u8>,
}

/// What an entry gets besides its content.
#[derive(Clone, Debug, Default)]
pub struct Attrs {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last change; the current time without.
    pub mtime: Option<Time>,
    /// Extended attributes.
    pub xattrs: Vec<Xattr>,
}

/// Makes entries beneath a directory; links on the way to an entry are followed inside it only.
#[derive(Debug)]
pub struct TreeWriter {
    root: Root,
    parent: Option<(PathBuf, Arc<OwnedFd>)>,
    /// Made only because something belongs into them, and how many more may be.
    implicit_dirs: u64,
    implicit_dirs_left: u64,
}

impl TreeWriter {
    /// Writes beneath `root`.
    pub fn new(root: Root) -> Self {
        Self { root, parent: None, implicit_dirs: 0, implicit_dirs_left: u64::MAX }
    }

    /// The root written to.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// How many directories were made since the last call only because something belongs into them.
    pub fn take_implicit_dirs(&mut self) -> u64 {
        std::mem::take(&mut self.implicit_dirs)
    }

    /// Sets how many such directories may be made from now on.
    pub fn limit_implicit_dirs(&mut self, count: u64) {
        self.implicit_dirs_left = count;
    }

    /// Makes an empty file that only root may read, replacing what is not a directory; see
    /// `finish_file`.
    pub fn create_file(&mut self, path: &Path) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.replacing("create", path, |parent, name| rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)).map(File::from)
    }

    /// Makes a directory, or gives an existing one the attributes (but for the time, which the
    /// entries still to come would change).
    pub fn create_dir(&mut self, path: &Path, attrs: &Attrs) -> Result<()> {
        let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = if path.as_os_str().is_empty() {
            self.root.open_dir("")?
        } else {
            let (parent, name) = self.parent("mkdir", path)?;
            match rustix::fs::mkdirat(&*parent, name, Mode::RWXU) {
                Err(Errno::EXIST) => {}
                other => other.on_path("mkdir", path)?,
            }
            match rustix::fs::openat(&*parent, name, open, Mode::empty()) {
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    rustix::fs::unlinkat(&*parent, name, AtFlags::empty()).on_path("remove", path)?;
                    rustix::fs::mkdirat(&*parent, name, Mode::RWXU).on_path("mkdir", path)?;
                    rustix::fs::openat(&*parent, name, open, Mode::empty()).on_path("open directory", path)?
                }
                other => other.on_path("open directory", path)?,
            }
        };
        apply(&dir, attrs, path)?;
        self.parent = Some((path.to_owned(), Arc::new(dir)));
        Ok(())
    }

    /// Sets the time of a directory once nothing more comes into it. A directory is best done right
    /// before the one above it.
    pub fn set_dir_time(&mut self, path: &Path, time: Time) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let dir = match self.root.open_at(path, flags, 0) {
            Err(error) if error.errno == Errno::NAMETOOLONG => self.open_above(path)?,
            other => other?,
        };
        rustix::fs::futimens(&dir, &timestamps(time)).on_path("set time of", path)?;
        self.parent = Some((path.to_owned(), Arc::new(dir)));
        Ok(())
    }

    /// Opens a directory with a path longer than the kernel takes: from the one below it if that is
    /// open, since the way from the top is long.
    fn open_above(&self, path: &Path) -> Result<OwnedFd> {
        let below = self.parent.as_ref().filter(|(below, _)| below.parent().is_some_and(|above| above.as_os_str() == path.as_os_str()));
        match below {
            Some((_, below)) => rustix::fs::openat(&**below, "..", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .on_path("open directory", path),
            None => crate::tree::open_dir(self.root.as_dir_fd(), path),
        }
    }

    /// Makes a symbolic link with any text.
    pub fn symlink(&mut self, target: &Path, path: &Path, attrs: &Attrs) -> Result<()> {
        self.replacing("symlink", path, |parent, name| {
            rustix::fs::symlinkat(target, parent, name)?;
            rustix::fs::chownat(parent, name, Some(Uid::from_raw(attrs.uid)), Some(Gid::from_raw(attrs.gid)), AtFlags::SYMLINK_NOFOLLOW)?;
            match attrs.mtime {
                Some(time) => rustix::fs::utimensat(parent, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW),
                None => Ok(()),
            }
        })
    }

    /// Makes another name for `existing`, both beneath the root; a final link is not followed.
    pub fn hard_link(&mut self, existing: &Path, path: &Path) -> Result<()> {
        let (Some(old_parent), Some(old_name)) = (existing.parent(), existing.file_name()) else {
            return Err(Error::new("link to", existing.display(), Errno::INVAL));
        };
        let old_parent = self.open_dir(old_parent)?;
        let same = |parent: &OwnedFd, name: &std::ffi::OsStr| {
            let stat = |dir: &OwnedFd, name: &std::ffi::OsStr| rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
            matches!((stat(&old_parent, old_name), stat(parent, name)), (Ok(one), Ok(two)) if one.st_ino == two.st_ino && one.st_dev == two.st_dev)
        };
        self.replacing("link", path, |parent, name| {
            // A name that is already the same file must not be removed for it.
            if same(parent, name) { Ok(()) } else { rustix::fs::linkat(&old_parent, old_name, parent, name, AtFlags::empty()) }
        })
    }

    /// Makes a device, fifo or socket; `device` is major and minor.
    pub fn node(&mut self, path: &Path, kind: NodeKind, device: (u32, u32), attrs: &Attrs) -> Result<()> {
        let kind = match kind {
            NodeKind::CharDevice => FileType::CharacterDevice,
            NodeKind::BlockDevice => FileType::BlockDevice,
            NodeKind::Fifo => FileType::Fifo,
            NodeKind::Socket => FileType::Socket,
            NodeKind::File | NodeKind::Directory | NodeKind::Symlink => return Err(Error::new("mknod", path.display(), Errno::INVAL)),
        };
        let device = rustix::fs::makedev(device.0, device.1);
        self.replacing("mknod", path, |parent, name| rustix::fs::mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, device))?;
        let (parent, name) = self.parent("open", path)?;
        let fd =
            rustix::fs::openat(&*parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).on_path("open", path)?;
        apply_by_path(&fd, attrs, path)
    }

    fn replacing<T>(
        &mut self,
        operation: &'static str,
        path: &Path,
        make: impl Fn(&OwnedFd, &std::ffi::OsStr) -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        let (parent, name) = self.parent(operation, path)?;
        match make(&parent, name) {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(&*parent, name, AtFlags::empty()).on_path("replace", path)?;
                make(&parent, name).on_path(operation, path)
            }
            other => other.on_path(operation, path),
        }
    }

    fn open_dir(&self, dir: &Path) -> Result<OwnedFd> {
        long_path(self.root.open_at(dir, OFlags::PATH | OFlags::DIRECTORY, 0), &self.root, dir)
    }

    /// Makes a directory and those missing above it, and opens it.
    fn make_dirs(&mut self, dir: &Path) -> Result<OwnedFd> {
        let mut sofar = PathBuf::new();
        for part in dir.components() {
            sofar.push(part);
            if self.implicit_dirs_left == 0 {
                return Err(Error::new("mkdir", dir.display(), Errno::NOSPC));
            }
            match self.root.create_dir(&sofar, 0o755) {
                Err(error) if error.errno == Errno::EXIST => {}
                other => {
                    other?;
                    self.implicit_dirs += 1;
                    self.implicit_dirs_left -= 1;
                }
            }
        }
        self.root.open_at(dir, OFlags::PATH | OFlags::DIRECTORY, 0)
    }

    /// The open parent of `path`, made when it is missing, and the last name.
    fn parent<'a>(&mut self, operation: &'static str, path: &'a Path) -> Result<(Arc<OwnedFd>, &'a std::ffi::OsStr)> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::new(operation, path.display(), Errno::INVAL));
        };
        if let Some((cached, fd)) = &self.parent
            && cached.as_os_str() == dir.as_os_str()
        {
            return Ok((Arc::clone(fd), name));
        }
        let fd = match self.open_dir(dir) {
            Err(error) if error.is_not_found() => self.make_dirs(dir)?,
            other => other?,
        };
        let fd = Arc::new(fd);
        self.parent = Some((dir.to_owned(), Arc::clone(&fd)));
        Ok((fd, name))
    }
}

/// What opening a directory gave, or, where its path is longer than the kernel takes, the
/// directory opened piece by piece, then without following links.
fn long_path(opened: Result<OwnedFd>, root: &Root, path: &Path) -> Result<OwnedFd> {
    match opened {
        Err(error) if error.errno == Errno::NAMETOOLONG => crate::tree::open_dir(root.as_dir_fd(), path),
        other => other,
    }
}

/// Gives a file that `TreeWriter::create_file` made its attributes. Done after the content is
/// written: a write or a change of owner takes setuid bits and capabilities away.
pub fn finish_file(file: &File, attrs: &Attrs, shown: &Path) -> Result<()> {
    apply(file, attrs, shown)?;
    match attrs.mtime {
        Some(time) => rustix::fs::futimens(file, &timestamps(time)).on_path("set time of", shown),
        None => Ok(()),
    }
}

/// Sets the length of a file; what was not written reads as zeros.
pub fn set_length(file: &File, length: u64, shown: &Path) -> Result<()> {
    file.set_len(length).on_path("set length of", shown)
}

/// Writes all bytes at an offset.
pub fn write_all_at(file: &File, bytes: &[u8], offset: u64, shown: &Path) -> Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset).on_path("write", shown)
}

/// Fills the buffer from an offset; a file that ends before is an error.
pub fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64, shown: &Path) -> Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset).on_path("read", shown)
}

fn apply(fd: impl std::os::fd::AsFd, attrs: &Attrs, shown: &Path) -> Result<()> {
    rustix::fs::fchown(&fd, Some(Uid::from_raw(attrs.uid)), Some(Gid::from_raw(attrs.gid))).on_path("chown", shown)?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(attrs.mode)).on_path("chmod", shown)?;
    set_xattrs(fd, attrs, shown)
}

fn apply_by_path(fd: &OwnedFd, attrs: &Attrs, shown: &Path) -> Result<()> {
    let path = xattr::fd_path(fd);
    rustix::fs::chown(&path, Some(Uid::from_raw(attrs.uid)), Some(Gid::from_raw(attrs.gid))).on_path("chown", shown)?;
    rustix::fs::chmod(&path, Mode::from_raw_mode(attrs.mode)).on_path("chmod", shown)?;
    set_xattrs(fd, attrs, shown)?;
    match attrs.mtime {
        Some(time) => rustix::fs::utimensat(rustix::fs::CWD, &path, &timestamps(time), AtFlags::empty()).on_path("set time of", shown),
        None => Ok(()),
    }
}

fn set_xattrs(fd: impl std::os::fd::AsFd, attrs: &Attrs, shown: &Path) -> Result<()> {
    for attribute in &attrs.xattrs {
        xattr::set(&fd, &attribute.name, &attribute.value).map_err(|error| {
            Error::new("set extended attribute of", format_args!("{} ({})", shown.display(), attribute.name.to_string_lossy()), error.errno)
        })?;
    }
    Ok(())
}

fn timestamps(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Facts about an entry of a tree.
#[derive(Clone, Debug)]
pub struct NodeStat {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Bytes on disk.
    pub allocated_bytes: u64,
    /// Time of last change.
    pub mtime: Time,
    /// Major and minor of a device.
    pub device: (u32, u32),
    /// File system and inode, which tell hard links.
    pub identity: (u64, u64),
    /// How many names it has.
    pub links: u64,
}

/// Opens a directory of a tree; links are not followed, not even inside.
pub fn open_tree_dir(root: &Root, path: &Path) -> Result<OwnedFd> {
    crate::tree::open_dir(root.as_dir_fd(), path)
}

/// Names in an open directory, sorted.
pub fn read_dir(dir: &OwnedFd, shown: &Path) -> Result<Vec<std::ffi::OsString>> {
    let mut names: Vec<_> = crate::tree::names(dir, shown.display())?.into_iter().map(|(name, _)| name).collect();
    names.sort();
    Ok(names)
}

/// Names in an open directory with what they are, in no order.
pub fn read_dir_kinds(dir: &OwnedFd, shown: &Path) -> Result<Vec<(std::ffi::OsString, NodeKind)>> {
    let mut kinds = Vec::new();
    for (name, file_type) in crate::tree::names(dir, shown.display())? {
        let kind = match file_type {
            // Not every file system tells in a listing.
            FileType::Unknown => open_entry(dir, &name, shown)?.stat.kind,
            known => node_kind(known),
        };
        kinds.push((name, kind));
    }
    Ok(kinds)
}

/// Calls `visit` once for each directory of a tree, the top first, then what is in each in the
/// order of the names that `visit` returned. The trail leads to the directory from the top.
pub fn walk_tree<E: From<Error>>(
    root: &Root,
    mut visit: impl FnMut(&OwnedFd, &Trail) -> std::result::Result<Vec<std::ffi::OsString>, E>,
) -> std::result::Result<(), E> {
    let top = Dir::new(open_tree_dir(root, Path::new(""))?);
    crate::tree::walk_in_order(top, |dir, trail| visit(dir.as_owned(), trail))
}

/// Removes an entry of an open directory that is not a directory itself.
pub fn remove_entry(dir: &OwnedFd, name: &std::ffi::OsStr) -> Result<()> {
    rustix::fs::unlinkat(dir, name, AtFlags::empty()).on_path("remove", Path::new(name))
}

/// An entry, held by an `O_PATH` descriptor.
#[derive(Debug)]
pub struct Entry {
    handle: OwnedFd,
    /// Its facts.
    pub stat: NodeStat,
}

/// Takes hold of an entry of an open directory; the empty name is the directory itself.
pub fn open_entry(dir: &OwnedFd, name: &std::ffi::OsStr, shown: &Path) -> Result<Entry> {
    let name = if name.is_empty() { std::ffi::OsStr::new(".") } else { name };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(dir, name, flags, Mode::empty()).on_path("open", shown)?;
    let stat = node_stat(&rustix::fs::fstat(&handle).on_path("stat", shown)?);
    Ok(Entry { handle, stat })
}

impl std::os::fd::AsFd for Entry {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Entry {
    /// Where a symbolic link points.
    pub fn read_link(&self, shown: &Path) -> Result<PathBuf> {
        let target = rustix::fs::readlinkat(&self.handle, "", Vec::new()).on_path("readlink", shown)?;
        Ok(PathBuf::from(std::ffi::OsStr::from_bytes(target.as_bytes())))
    }

    /// Opens a regular file for reading; nothing else is ever opened.
    pub fn open_file(&self, shown: &Path) -> Result<File> {
        if self.stat.kind != NodeKind::File {
            return Err(Error::new("open (not a regular file)", shown.display(), Errno::INVAL));
        }
        Ok(File::from(reopen(&self.handle, OFlags::RDONLY).on_path("open", shown)?))
    }

    /// Its extended attributes.
    pub fn xattrs(&self, buffer: &mut xattr::Buffer) -> Result<Vec<Xattr>> {
        let mut xattrs = Vec::new();
        for name in xattr::list(&self.handle, buffer)? {
            if let Some(value) = xattr::get(&self.handle, &name, buffer)? {
                xattrs.push(Xattr { value: value.to_vec(), name });
            }
        }
        Ok(xattrs)
    }
}

fn node_kind(file_type: FileType) -> NodeKind {
    match file_type {
        FileType::Directory => NodeKind::Directory,
        FileType::Symlink => NodeKind::Symlink,
        FileType::CharacterDevice => NodeKind::CharDevice,
        FileType::BlockDevice => NodeKind::BlockDevice,
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        FileType::RegularFile | FileType::Unknown => NodeKind::File,
    }
}

#[allow(clippy::unnecessary_cast, reason = "field widths differ between architectures")]
fn node_stat(stat: &Stat) -> NodeStat {
    NodeStat {
        kind: node_kind(FileType::from_raw_mode(stat.st_mode)),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size_bytes: stat.st_size.max(0) as u64,
        allocated_bytes: (stat.st_blocks.max(0) as u64).saturating_mul(512),
        mtime: Time { seconds: stat.st_mtime as i64, nanoseconds: stat.st_mtime_nsec as u32 },
        device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
        identity: (stat.st_dev as u64, stat.st_ino as u64),
        links: stat.st_nlink as u64,
    }
}

/// The next piece of a file that holds content, as start and end, at or after `from`; `None` if
/// only a hole is left.
pub fn next_extent(file: &File, from: u64, shown: &Path) -> Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Err(Errno::NXIO) => return Ok(None),
        other => other.on_path("seek in", shown)?,
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start)).on_path("seek in", shown)?;
    Ok(Some((start, end)))
}

/// What `path` itself is; a final link is not followed.
pub fn lstat_kind(root: &Root, path: &Path) -> Result<NodeKind> {
    root.lstat(path).map(|stat| node_stat(&stat).kind)
}

/// A narrower root at a directory of `root` that must not be a link.
pub fn plain_sub_root(root: &Root, path: &Path) -> Result<Root> {
    let dir = root.open_at(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, 0)?;
    Ok(Root::from_fd(dir, path))
}

/// Opens an existing regular file beneath `root` for rewriting and empties it; `None` when there
/// is none. What is not a regular file is refused before it is opened.
pub fn truncate_existing(root: &Root, path: &Path) -> Result<Option<File>> {
    let handle = match root.open_at(path, OFlags::PATH, 0) {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other?,
    };
    let stat = rustix::fs::fstat(&handle).on_path("stat", path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::new("write (not a regular file)", path.display(), Errno::INVAL));
    }
    let fd = reopen(&handle, OFlags::WRONLY | OFlags::TRUNC).on_path("open", path)?;
    Ok(Some(File::from(fd)))
}

/// Links in a row that are followed, as the kernel does it.
const MAX_LINKS: u32 = 40;

/// Makes a file beneath `root` with missing directories, all owned by `owner` (host ids). A
/// dangling link at `path` is followed inside the root, and the directories that it lacks are made, too.
pub fn create_owned(root: &Root, path: &Path, owner: (u32, u32)) -> Result<File> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let dir = path.parent().unwrap_or(Path::new(""));
        create_dirs_owned(root, dir, owner)?;
        let Ok(target) = root.read_link(&path) else { break };
        path = dir.join(target);
    }
    let path = &path;
    let file = root.create_file(path, OFlags::empty(), 0o644)?;
    rustix::fs::fchown(&file, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1))).on_path("chown", path)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644)).on_path("chmod", path)?;
    Ok(file)
}

fn create_dirs_owned(root: &Root, dir: &Path, owner: (u32, u32)) -> Result<()> {
    let mut sofar = PathBuf::new();
    for part in dir.components() {
        sofar.push(part);
        if !matches!(part, std::path::Component::Normal(_)) {
            continue;
        }
        match root.create_dir(&sofar, 0o755) {
            Ok(()) => {
                root.lchown(&sofar, owner.0, owner.1)?;
                root.set_mode(&sofar, 0o755)?;
            }
            Err(error) if error.errno == Errno::EXIST => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> (tempfile::TempDir, TreeWriter) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let writer = TreeWriter::new(Root::open(dir.path()).expect("open"));
        (dir, writer)
    }

    #[test]
    fn replaces_files_and_links_but_never_writes_through_them() {
        let (dir, mut writer) = writer();
        let attrs = Attrs { mode: 0o755, ..Attrs::default() };
        std::fs::write(dir.path().join("victim"), "kept").expect("write");
        writer.symlink(Path::new("victim"), Path::new("link"), &attrs).expect("symlink");
        drop(writer.create_file(Path::new("link")).expect("create"));
        assert_eq!(std::fs::read_to_string(dir.path().join("victim")).expect("read"), "kept");
        writer.symlink(Path::new("/etc"), Path::new("dir"), &attrs).expect("symlink");
        writer.create_dir(Path::new("dir"), &attrs).expect("directory in place of a link");
        assert!(std::fs::symlink_metadata(dir.path().join("dir")).expect("stat").is_dir());
    }

    #[test]
    fn hard_link_to_itself_keeps_the_file() {
        let (dir, mut writer) = writer();
        drop(writer.create_file(Path::new("a/file")).expect("create"));
        writer.hard_link(Path::new("a/file"), Path::new("a/file")).expect("linking a file to itself does nothing");
        writer.hard_link(Path::new("a/file"), Path::new("b/file")).expect("link");
        assert!(dir.path().join("a/file").exists());
        assert!(writer.hard_link(Path::new("../../../etc/passwd"), Path::new("c")).is_err());
    }

    #[test]
    fn setuid_survives_owner_and_content() {
        use std::io::Write;
        use std::os::unix::fs::MetadataExt;
        let (dir, mut writer) = writer();
        let mut file = writer.create_file(Path::new("su")).expect("create");
        file.write_all(b"x").expect("write");
        let attrs = Attrs { mode: 0o4755, uid: 12, gid: 34, mtime: Some(Time { seconds: 77, nanoseconds: 5 }), xattrs: Vec::new() };
        finish_file(&file, &attrs, Path::new("su")).expect("finish");
        let stat = std::fs::metadata(dir.path().join("su")).expect("stat");
        assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid(), stat.mtime(), stat.mtime_nsec()), (0o4755, 12, 34, 77, 5));
    }
}
