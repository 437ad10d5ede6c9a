//! Copying whole trees so that nothing is lost: owners, modes, times, extended attributes with
//! ACLs and capabilities, hard links, symbolic links, device nodes (overlay whiteouts included)
//! and holes. Content is shared where the file system can, else copied by the kernel.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid};

use crate::error::{Context, Errno, Error, Result};
use crate::root::Root;
use crate::tree::{Dir, Place, Shown, Trail};
use crate::{tree, xattr};

/// How often an entry that changes its type under our eyes is looked at again.
const ENTRY_TRIES: u32 = 8;
/// Content up to this size goes through a buffer, which is faster than the kernel's splice.
const BUFFER_BYTES: usize = 128 * 1024;

/// Copies all that is in `from` into the empty directory `to`, which also gets `from`'s own
/// owner, mode, times and attributes. Names in `except` are left out at the top level. What
/// vanishes from a tree in use during the copy is left out. On an error the rest stays in `to`.
pub fn copy_tree(from: &Root, to: &Root, except: &[&str]) -> Result<()> {
    Copier::new(to, except).run(from)
}

/// What [`refresh_tree`] must know of the copy that it refreshes.
#[derive(Debug)]
pub struct Begun {
    /// Seconds and nanoseconds of the file system's clock.
    since: (i64, i64),
    /// That clock less the time since boot, nanoseconds: it changes when somebody sets the clock.
    clock: i128,
    /// Which directory (device and inode) a directory of the copy, by its inode, was made from.
    dirs: Mutex<HashMap<u64, (u64, u64)>>,
}

impl Begun {
    /// Now. The file system is written to its disk, so that what a program changes through a mapping
    /// from now on is noted in the file's change time.
    #[allow(clippy::useless_conversion, reason = "the types differ between architectures")]
    pub fn now(path: impl AsRef<Path>) -> Result<Self> {
        // The kernel's time stamps come from a coarser clock.
        const SLACK_NANOSECONDS: i64 = 20_000_000;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let nanoseconds = i64::from(now.tv_nsec) - SLACK_NANOSECONDS;
        let since = if nanoseconds < 0 { (now.tv_sec - 1, nanoseconds + 1_000_000_000) } else { (now.tv_sec, nanoseconds) };
        let clock = clock();
        sync_fs(path)?;
        Ok(Self { since, clock, dirs: Mutex::default() })
    }

    /// From when on changes count; all of them, if the clock was set back meanwhile.
    fn since(&self) -> (i64, i64) {
        const NOISE_NANOSECONDS: i128 = 5_000_000;
        if clock() + NOISE_NANOSECONDS < self.clock { (i64::MIN, 0) } else { self.since }
    }

    fn note(&self, from: &Stat, to: &Stat) {
        self.dirs.lock().unwrap_or_else(PoisonError::into_inner).insert(to.st_ino, (from.st_dev, from.st_ino));
    }

    /// Whether a directory of the copy was made from this one. Another may have come to its name, and what is
    /// in that need not have changed at all.
    fn is_of(&self, from: &Stat, to: &Stat) -> bool {
        self.dirs.lock().unwrap_or_else(PoisonError::into_inner).get(&to.st_ino) == Some(&(from.st_dev, from.st_ino))
    }
}

fn clock() -> i128 {
    let nanoseconds = |id| {
        let time = rustix::time::clock_gettime(id);
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    };
    nanoseconds(rustix::time::ClockId::Realtime) - nanoseconds(rustix::time::ClockId::Boottime)
}

/// As [`copy_tree`], for a tree that is in use: [`refresh_tree`] then makes a good copy of it.
pub fn copy_tree_begun(from: &Root, to: &Root, except: &[&str], begun: &Begun) -> Result<()> {
    Copier { noting: Some(begun), ..Copier::new(to, except) }.run(from)
}

/// Brings a copy that [`copy_tree_begun`] made up to date: what was changed since is copied anew, what is gone
/// is removed. Nothing may change `from` meanwhile.
pub fn refresh_tree(from: &Root, to: &Root, except: &[&str], begun: &Begun) -> Result<()> {
    Copier { refreshing: Some((begun, begun.since())), ..Copier::new(to, except) }.run(from)
}

/// Gives one open object the owner, mode, times and attributes of another.
pub fn copy_attributes(from: impl AsFd, to: impl AsFd) -> Result<()> {
    let stat = rustix::fs::fstat(&from).context("stat", "source")?;
    apply(&from, &to, &stat, &mut xattr::Buffer::default(), "target")
}

/// Copies one file's content: shared if the file systems can, holes kept.
pub fn copy_file(from: &File, to: &File) -> Result<()> {
    let stat = rustix::fs::fstat(from).context("stat", "source file")?;
    copy_content(from, to, &stat, &AtomicBool::new(true), &mut vec![0; BUFFER_BYTES]).context("copy", "file")
}

/// Writes everything of the file system that holds `path` to its disk.
pub fn sync_fs(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let dir = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on_path("open", path)?;
    rustix::fs::syncfs(&dir).on_path("sync", path)
}

/// The same for an open directory.
pub fn sync_fs_of(dir: impl AsFd) -> Result<()> {
    rustix::fs::syncfs(dir).context("sync", "file system")
}

/// Atomically puts each of two paths in the other's place.
pub fn exchange(one: impl AsRef<Path>, other: impl AsRef<Path>) -> Result<()> {
    rename_with(one.as_ref(), other.as_ref(), rustix::fs::RenameFlags::EXCHANGE)
}

/// Renames, but never onto something that is there.
pub fn rename_new(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    rename_with(from.as_ref(), to.as_ref(), rustix::fs::RenameFlags::NOREPLACE)
}

fn rename_with(from: &Path, to: &Path, flags: rustix::fs::RenameFlags) -> Result<()> {
    rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, flags)
        .context("rename", format_args!("{} to {}", from.display(), to.display()))
}

struct Worker {
    xattrs: xattr::Buffer,
    bytes: Vec<u8>,
}

impl Default for Worker {
    fn default() -> Self {
        Self { xattrs: xattr::Buffer::default(), bytes: vec![0; BUFFER_BYTES] }
    }
}

/// A directory and its copy.
struct Pair {
    from: Dir,
    to: Dir,
}

impl Place for Pair {
    type Identity = [(u64, u64); 2];

    fn down(&self, name: &OsStr, trail: &Trail) -> Result<Option<Self>> {
        let Some(from) = self.from.down(name, trail)? else { return Ok(None) };
        Ok(self.to.down(name, trail)?.map(|to| Self { from, to }))
    }

    fn gone(&self, name: &OsStr, trail: &Trail) -> Result<()> {
        match rustix::fs::unlinkat(&self.to, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => Ok(()),
            other => other.context("rmdir", trail.show(name)),
        }
    }

    fn up(&self) -> Result<Self> {
        Ok(Self { from: self.from.up()?, to: self.to.up()? })
    }

    fn identity(&self) -> Result<Self::Identity> {
        Ok([self.from.identity()?, self.to.identity()?])
    }
}

struct Copier<'a> {
    to: &'a Root,
    except: &'a [&'a str],
    /// Where the first name of each inode with several names went.
    links: Mutex<HashMap<(u64, u64), (Trail, OsString)>>,
    /// Cleared at the first sign that the file systems cannot share content.
    reflink: AtomicBool,
    /// Directories are noted here.
    noting: Option<&'a Begun>,
    /// There is a copy already, and changes count from this time on.
    refreshing: Option<(&'a Begun, (i64, i64))>,
}

/// What became of something since it was copied.
enum Compared {
    Same,
    Changed,
    /// Still a directory; what is in it is another matter.
    Directory,
}

/// The two directories that an entry is copied between.
struct Entry<'a> {
    from: &'a Dir,
    to: &'a Dir,
    dir: &'a Trail,
    name: &'a OsStr,
}

impl Entry<'_> {
    fn shown(&self) -> Shown<'_> {
        self.dir.show(self.name)
    }
}

impl<'a> Copier<'a> {
    fn new(to: &'a Root, except: &'a [&'a str]) -> Self {
        Self { to, except, links: Mutex::default(), reflink: AtomicBool::new(true), noting: None, refreshing: None }
    }

    fn run(&self, from: &Root) -> Result<()> {
        let top = |root: &Root| tree::open_dir(root.as_dir_fd(), Path::new("")).map(Dir::new);
        let pair = Pair { from: top(from)?, to: top(self.to)? };
        tree::walk(pair, Worker::default, |worker, pair, trail| self.copy_dir(worker, pair, trail))
    }

    fn copy_dir(&self, worker: &mut Worker, pair: &Pair, trail: &Trail) -> Result<Vec<OsString>> {
        let stat = rustix::fs::fstat(&pair.from).context("stat", trail)?;
        if let Some(begun) = self.noting {
            begun.note(&stat, &rustix::fs::fstat(&pair.to).context("stat", trail)?);
        }
        let mut dirs = Vec::new();
        let is_excepted = |name: &OsStr| trail.is_top() && self.except.iter().any(|except| name == *except);
        let mut old: HashMap<OsString, FileType> = match self.refreshing {
            Some(_) => tree::names(&pair.to, trail)?.into_iter().filter(|(name, _)| !is_excepted(name)).collect(),
            None => HashMap::new(),
        };
        for (name, _) in tree::names(&pair.from, trail)? {
            if is_excepted(&name) {
                continue;
            }
            let entry = Entry { from: &pair.from, to: &pair.to, dir: trail, name: &name };
            if let Some(kind) = old.remove(&name) {
                match self.compare(&entry, kind)? {
                    Compared::Same => continue,
                    Compared::Directory => {
                        dirs.push(name);
                        continue;
                    }
                    Compared::Changed => tree::remove_at(&pair.to, &name)?,
                }
            }
            if self.copy_entry(worker, &entry)? {
                dirs.push(name);
            }
        }
        old.keys().try_for_each(|name| tree::remove_at(&pair.to, name))?;
        // The directories below exist already, so nothing changes the time of this one again.
        apply(&pair.from, &pair.to, &stat, &mut worker.xattrs, trail)?;
        Ok(dirs)
    }

    /// Whether the copy of an entry, of type `kind`, is what it should be.
    #[allow(clippy::unnecessary_cast, reason = "the types differ between architectures")]
    fn compare(&self, entry: &Entry<'_>, kind: FileType) -> Result<Compared> {
        let look = |dir: &Dir| rustix::fs::statat(dir, entry.name, AtFlags::SYMLINK_NOFOLLOW).context("stat", entry.shown());
        let stat = look(entry.from)?;
        let Some((begun, since)) = self.refreshing else { return Ok(Compared::Changed) };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            now if now != kind => Compared::Changed,
            FileType::Directory if begun.is_of(&stat, &look(entry.to)?) => Compared::Directory,
            FileType::Directory => Compared::Changed,
            _ if (stat.st_ctime as i64, stat.st_ctime_nsec as i64) >= since => Compared::Changed,
            _ => Compared::Same,
        })
    }

    /// Copies one entry; true for a directory, which is made but not filled.
    fn copy_entry(&self, worker: &mut Worker, entry: &Entry<'_>) -> Result<bool> {
        for _ in 0..ENTRY_TRIES {
            let stat = match rustix::fs::statat(entry.from, entry.name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(false),
                other => other.context("stat", entry.shown())?,
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    rustix::fs::mkdirat(entry.to, entry.name, Mode::RWXU).context("mkdir", entry.shown())?;
                    return Ok(true);
                }
                FileType::RegularFile => {
                    if self.copy_regular(worker, entry)? {
                        return Ok(false);
                    }
                }
                kind => {
                    if self.copy_special(worker, entry, kind)? {
                        return Ok(false);
                    }
                }
            }
        }
        Err(Error::new("copy (changes all the time)", entry.shown(), Errno::AGAIN))
    }

    /// Copies a regular file; false if it is not one any more.
    fn copy_regular(&self, worker: &mut Worker, entry: &Entry<'_>) -> Result<bool> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOATIME | OFlags::CLOEXEC;
        let from = match rustix::fs::openat(entry.from, entry.name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(false),
            other => File::from(other.context("open", entry.shown())?),
        };
        // What counts is what was opened, not what was there a moment ago.
        let stat = rustix::fs::fstat(&from).context("stat", entry.shown())?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(false);
        }
        let create = || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::openat(entry.to, entry.name, flags, Mode::RUSR | Mode::WUSR).context("create", entry.shown())
        };
        let Some(to) = self.create_or_link(entry, &stat, create)? else { return Ok(true) };
        let to = File::from(to);
        copy_content(&from, &to, &stat, &self.reflink, &mut worker.bytes).context("copy", entry.shown())?;
        apply(&from, &to, &stat, &mut worker.xattrs, entry.shown())?;
        Ok(true)
    }

    /// Copies a link, device, fifo or socket; false if it is not the same any more.
    fn copy_special(&self, worker: &mut Worker, entry: &Entry<'_>, kind: FileType) -> Result<bool> {
        let handle = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from = match rustix::fs::openat(entry.from, entry.name, handle, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(false),
            other => other.context("open", entry.shown())?,
        };
        let stat = rustix::fs::fstat(&from).context("stat", entry.shown())?;
        if FileType::from_raw_mode(stat.st_mode) != kind {
            return Ok(false);
        }
        let create = || {
            if kind == FileType::Symlink {
                let target = rustix::fs::readlinkat(&from, "", Vec::new()).context("readlink", entry.shown())?;
                rustix::fs::symlinkat(&target, entry.to, entry.name).context("symlink", entry.shown())
            } else {
                rustix::fs::mknodat(entry.to, entry.name, kind, Mode::RUSR, stat.st_rdev).context("mknod", entry.shown())
            }
        };
        if self.create_or_link(entry, &stat, create)?.is_some() {
            let to = rustix::fs::openat(entry.to, entry.name, handle, Mode::empty()).context("open", entry.shown())?;
            apply(&from, &to, &stat, &mut worker.xattrs, entry.shown())?;
        }
        Ok(true)
    }

    /// Makes an entry, or links it to the copy that another name of its inode has; then `None`.
    fn create_or_link<T>(&self, entry: &Entry<'_>, stat: &Stat, create: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        if stat.st_nlink < 2 {
            return create().map(Some);
        }
        // The lock covers the making, so that a second name finds something to link to.
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (stat.st_dev, stat.st_ino);
        let Some((dir, name)) = links.get(&key) else {
            let made = create()?;
            links.insert(key, (entry.dir.clone(), entry.name.to_owned()));
            return Ok(Some(made));
        };
        let first = tree::open_dir(self.to.as_dir_fd(), &dir.to_path())?;
        rustix::fs::linkat(&first, name, entry.to, entry.name, AtFlags::empty()).context("link", entry.shown())?;
        Ok(None)
    }
}

/// Owner first, which clears set-id bits and capabilities; then attributes; then the mode, which
/// agrees with the ACL; then the times.
fn apply(from: impl AsFd, to: impl AsFd, stat: &Stat, xattrs: &mut xattr::Buffer, shown: impl Display) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(&to, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).context("chown", &shown)?;
    xattr::copy_all(&from, &to, xattrs)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        rustix::fs::chmod(xattr::fd_path(&to), Mode::from_raw_mode(stat.st_mode)).context("chmod", &shown)?;
    }
    rustix::fs::utimensat(&to, "", &times(stat), AtFlags::EMPTY_PATH).context("set times of", &shown)
}

#[allow(clippy::unnecessary_cast, reason = "the types differ between architectures")]
fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime as i64, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime as i64, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

fn copy_content(from: &File, to: &File, stat: &Stat, reflink: &AtomicBool, buffer: &mut [u8]) -> std::result::Result<(), Errno> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size == 0 {
        return Ok(());
    }
    if reflink.load(Ordering::Relaxed) {
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => return Ok(()),
            Err(Errno::NOTSUP | Errno::XDEV | Errno::NOTTY | Errno::NOSYS) => reflink.store(false, Ordering::Relaxed),
            // This file cannot be shared (no copy-on-write, in use as swap); others may be.
            Err(Errno::INVAL | Errno::TXTBSY | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    if stat.st_blocks.unsigned_abs().saturating_mul(512) >= size {
        return copy_range(from, to, 0, size, buffer);
    }
    rustix::fs::ftruncate(to, size)?;
    let mut end = 0;
    while end < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(end)) {
            Err(Errno::NXIO) => break,
            other => other?,
        };
        end = rustix::fs::seek(from, SeekFrom::Hole(start))?.min(size);
        copy_range(from, to, start, end, buffer)?;
    }
    Ok(())
}

/// Copies bytes `start..end`; less if the file ends before.
fn copy_range(from: &File, to: &File, mut start: u64, end: u64, buffer: &mut [u8]) -> std::result::Result<(), Errno> {
    let mut by_kernel = end.saturating_sub(start) > buffer.len() as u64;
    while start < end {
        let left = usize::try_from(end - start).unwrap_or(usize::MAX);
        let count = if by_kernel {
            let (mut from_at, mut to_at) = (start, start);
            match rustix::fs::copy_file_range(from, Some(&mut from_at), to, Some(&mut to_at), left.min(1 << 30)) {
                Err(Errno::XDEV | Errno::NOSYS | Errno::NOTSUP | Errno::INVAL | Errno::PERM) => {
                    by_kernel = false;
                    continue;
                }
                other => other?,
            }
        } else {
            let chunk = left.min(buffer.len());
            let count = rustix::io::pread(from, &mut buffer[..chunk], start)?;
            let mut written = 0;
            while written < count {
                written += rustix::io::pwrite(to, &buffer[written..count], start + written as u64)?;
            }
            count
        };
        if count == 0 {
            break;
        }
        start += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    use super::*;

    fn pair() -> (tempfile::TempDir, Root, Root) {
        let dir = tempfile::tempdir().expect("temporary directory");
        for name in ["from", "to"] {
            std::fs::create_dir(dir.path().join(name)).expect("mkdir");
        }
        let (from, to) = (Root::open(dir.path().join("from")).expect("open"), Root::open(dir.path().join("to")).expect("open"));
        (dir, from, to)
    }

    fn attribute(root: &Root, path: &str, name: &std::ffi::CStr) -> Option<Vec<u8>> {
        let fd = root.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, 0).expect("open");
        xattr::get(&fd, name, &mut xattr::Buffer::default()).expect("get").map(<[u8]>::to_vec)
    }

    /// Paths, types and contents, hard links by their inode's first name.
    fn listing(root: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        let mut dirs = vec![root.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).expect("list").map(|entry| entry.expect("entry").path()) {
                let stat = std::fs::symlink_metadata(&entry).expect("stat");
                let content = if stat.is_file() { std::fs::read_to_string(&entry).expect("read") } else { String::new() };
                let path = entry.strip_prefix(root).expect("inside").display().to_string();
                lines.push(format!(
                    "{path} {:o} {}:{} {} {content}",
                    stat.mode(),
                    stat.uid(),
                    stat.gid(),
                    if stat.is_dir() { 0 } else { stat.nlink() }
                ));
                if stat.is_dir() {
                    dirs.push(entry);
                }
            }
        }
        lines.sort();
        lines
    }

    #[test]
    fn a_refreshed_copy_is_as_good_as_a_new_one() {
        let (dir, from, to) = pair();
        let path = dir.path().join("from");
        for name in ["same", "changed", "mapped", "gone", "becomes-dir", "renamed", "replaced", "linked"] {
            std::fs::write(path.join(name), format!("old {name}")).expect("write");
        }
        from.create_dir_all("dir/gone/deep", 0o755).expect("mkdir");
        from.create_dir_all("becomes-file/x", 0o755).expect("mkdir");
        for name in ["app", "app.new"] {
            from.create_dir(name, 0o755).expect("mkdir");
            std::fs::write(path.join(name).join("version"), name).expect("write");
        }
        std::fs::write(path.join("dir/gone/deep/file"), "x").expect("write");
        std::thread::sleep(std::time::Duration::from_millis(60));
        let begun = Begun::now(&path).expect("begin");
        copy_tree_begun(&from, &to, &["skipped"], &begun).expect("copy");
        // Nobody will look at a file whose change time is older than the copy.
        let untouched = std::fs::metadata(dir.path().join("to/same")).expect("stat").ino();

        std::fs::write(path.join("changed"), "new").expect("write");
        std::fs::remove_file(path.join("gone")).expect("remove");
        std::fs::remove_dir_all(path.join("dir/gone")).expect("remove");
        std::fs::write(path.join("dir/new"), "new").expect("write");
        std::fs::remove_file(path.join("becomes-dir")).expect("remove");
        std::fs::create_dir(path.join("becomes-dir")).expect("mkdir");
        std::fs::write(path.join("becomes-dir/inside"), "in").expect("write");
        std::fs::remove_dir_all(path.join("becomes-file")).expect("remove");
        std::fs::write(path.join("becomes-file"), "file").expect("write");
        std::fs::rename(path.join("renamed"), path.join("replaced")).expect("rename");
        std::fs::hard_link(path.join("linked"), path.join("dir/linked-too")).expect("link");
        std::fs::rename(path.join("app"), path.join("app.old")).expect("rename");
        std::fs::rename(path.join("app.new"), path.join("app")).expect("rename");
        from.set_mode("dir", 0o750).expect("chmod");
        from.create_dir("skipped", 0o755).expect("mkdir");
        refresh_tree(&from, &to, &["skipped"], &begun).expect("refresh");
        std::fs::remove_dir(path.join("skipped")).expect("rmdir");
        assert_eq!(listing(&path), listing(&dir.path().join("to")));
        assert_eq!(std::fs::metadata(dir.path().join("to/same")).expect("stat").ino(), untouched, "what is the same is not copied again");
    }

    #[test]
    fn keeps_everything() {
        let (dir, from, to) = pair();
        let path = dir.path().join("from");
        from.create_dir_all("bin/deep", 0o755).expect("mkdir");
        std::fs::write(path.join("bin/tool"), vec![b'x'; 300_000]).expect("write");
        from.lchown("bin/tool", 1000, 2000).expect("chown");
        from.set_mode("bin/tool", 0o4755).expect("chmod");
        let tool = from.open_at("bin/tool", OFlags::RDONLY, 0).expect("open");
        xattr::set(&tool, c"user.overlay.opaque", b"y").expect("setxattr");
        // Version 2, effective, CAP_NET_RAW.
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        xattr::set(&tool, xattr::CAPABILITY, &capability).expect("set capability");
        from.hard_link("bin/tool", "bin/deep/again").expect("link");
        from.symlink("/nowhere", "dangling").expect("symlink");
        from.lchown("dangling", 7, 8).expect("chown");
        from.mknod("gone", FileType::CharacterDevice, 0, 0).expect("whiteout");
        from.mknod("pipe", FileType::Fifo, 0o622, 0).expect("fifo");
        let sparse = from.create_file("sparse", OFlags::EXCL, 0o600).expect("create");
        sparse.set_len(1 << 30).expect("truncate");
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 1 << 29).expect("write");
        from.set_mode("bin", 0o2510).expect("chmod");
        from.create_dir("skipped", 0o755).expect("mkdir");

        copy_tree(&from, &to, &["skipped"]).expect("copy");

        let copied = dir.path().join("to");
        let tool = std::fs::metadata(copied.join("bin/tool")).expect("stat");
        assert_eq!((tool.mode() & 0o7777, tool.uid(), tool.gid(), tool.size(), tool.nlink()), (0o4755, 1000, 2000, 300_000, 2));
        assert_eq!(tool.ino(), std::fs::metadata(copied.join("bin/deep/again")).expect("stat").ino());
        assert_eq!(tool.mtime_nsec(), std::fs::metadata(path.join("bin/tool")).expect("stat").mtime_nsec());
        assert_eq!(attribute(&to, "bin/tool", xattr::CAPABILITY).as_deref(), Some(&capability[..]));
        assert_eq!(attribute(&to, "bin/tool", c"user.overlay.opaque").as_deref(), Some(&b"y"[..]));
        assert_eq!(std::fs::read_link(copied.join("dangling")).expect("readlink"), Path::new("/nowhere"));
        assert_eq!(std::fs::symlink_metadata(copied.join("dangling")).expect("stat").uid(), 7);
        let whiteout = std::fs::metadata(copied.join("gone")).expect("stat");
        assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
        assert!(std::fs::metadata(copied.join("pipe")).expect("stat").file_type().is_fifo());
        let sparse = std::fs::metadata(copied.join("sparse")).expect("stat");
        assert!(sparse.size() == 1 << 30 && sparse.blocks() < 100, "{} blocks", sparse.blocks());
        let mut content = [0; 6];
        std::os::unix::fs::FileExt::read_exact_at(&File::open(copied.join("sparse")).expect("open"), &mut content, 1 << 29).expect("read");
        assert_eq!(&content, b"middle");
        let (old, new) = (std::fs::metadata(path.join("bin")).expect("stat"), std::fs::metadata(copied.join("bin")).expect("stat"));
        assert_eq!((old.mode(), old.mtime(), old.mtime_nsec()), (new.mode(), new.mtime(), new.mtime_nsec()));
        assert!(!to.exists("skipped"));
    }

    #[test]
    fn does_not_write_through_a_link_in_the_target() {
        let (dir, from, to) = pair();
        std::fs::write(dir.path().join("from/file"), "new").expect("write");
        std::fs::write(dir.path().join("outside"), "kept").expect("write");
        to.symlink(dir.path().join("outside"), "file").expect("symlink");
        assert!(copy_tree(&from, &to, &[]).is_err());
        assert_eq!(std::fs::read(dir.path().join("outside")).expect("read"), b"kept");
    }

    #[test]
    fn a_tree_deeper_than_a_path_is_copied_with_its_hard_links() {
        let (dir, from, to) = pair();
        let open = |at: &std::os::fd::OwnedFd, name: &str| {
            rustix::fs::openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("open")
        };
        let mut at = from.open_dir("").expect("open");
        for level in 0..3000 {
            rustix::fs::mkdirat(&at, "down", Mode::RWXU).expect("mkdir");
            if level % 1000 == 999 {
                drop(rustix::fs::openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).expect("create"));
                let above = open(&at, "..");
                rustix::fs::linkat(&at, "file", &above, "link", AtFlags::empty()).expect("link");
            }
            at = open(&at, "down");
        }
        copy_tree(&from, &to, &[]).expect("copy");
        let mut at = to.open_dir("").expect("open");
        for level in 0..3000 {
            if level % 1000 == 999 {
                let links = rustix::fs::statat(&at, "file", AtFlags::SYMLINK_NOFOLLOW).expect("stat").st_nlink;
                assert_eq!(links, 2, "level {level}");
            }
            at = open(&at, "down");
        }
        tree::remove(dir.path()).expect("remove");
    }

    /// The owner of a tree swaps a directory for a link to outside while it is copied and walked.
    #[test]
    fn a_directory_swapped_for_a_link_leads_nowhere() {
        let (dir, from, _) = pair();
        let path = |name: &str| dir.path().join(name);
        for name in ["secret", "from/a/swapped", "from/a/other"] {
            std::fs::create_dir_all(path(name)).expect("mkdir");
        }
        std::fs::write(path("secret/key"), "secret").expect("write");
        std::os::unix::fs::symlink(path("secret"), path("from/a/link")).expect("symlink");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    exchange(path("from/a/swapped"), path("from/a/link")).expect("exchange");
                }
            });
            for round in 0..300 {
                let target = path(&format!("to/{round}"));
                std::fs::create_dir(&target).expect("mkdir");
                copy_tree(&from, &Root::open(&target).expect("open"), &[]).expect("copy");
                for name in ["swapped", "link"] {
                    let copied = target.join("a").join(name);
                    let is_link = std::fs::symlink_metadata(&copied).is_ok_and(|metadata| metadata.is_symlink());
                    assert!(is_link || !copied.join("key").exists(), "what is outside was copied");
                }
                tree::for_each(&from, |object, _| object.set_owner(4242, 4242)).expect("walk");
            }
            stop.store(true, Ordering::Relaxed);
        });
        let secret = std::fs::metadata(path("secret/key")).expect("stat");
        assert_eq!(secret.uid(), std::fs::metadata(dir.path()).expect("stat").uid(), "what is outside was changed");
        assert_eq!(std::fs::metadata(path("from/a/other")).expect("stat").uid(), 4242);
    }
}
