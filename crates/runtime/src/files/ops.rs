//! The file operations themselves, the same for running and stopped containers.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, Stat, StatxFlags, statx};
use sys::idmap::{IdMap, Kind};
use sys::{Errno, Error, Result, Root};

use super::{FileAttrs, FileKind, FileReply, FileRequest, FileStat, LIST_LIMIT};

const NEW_FILE_MODE: u32 = 0o640;
const NEW_DIR_MODE: u32 = 0o750;
const MODE_BITS: u32 = 0o7777;

/// A tree and how ids on its disk relate to the guest's (an empty map: they are the same).
pub(super) struct Tree<'a> {
    pub root: &'a Root,
    pub ids: &'a IdMap,
    /// The guest runs and may have mounted file systems of its own.
    pub guest_mounts: bool,
}

impl Tree<'_> {
    /// Performs one operation.
    pub fn perform(&self, request: &FileRequest) -> Result<(FileReply, Option<OwnedFd>)> {
        match request {
            FileRequest::Stat { path } => Ok((FileReply::Stat(self.facts(&self.root.lstat(path)?)), None)),
            FileRequest::Read { path } => {
                let file = self.root.open_file(path)?;
                self.check_answers(&file, path)?;
                let stat = rustix::fs::fstat(&file).map_err(|errno| Error::new("stat", path, errno))?;
                Ok((FileReply::Stat(self.facts(&stat)), Some(file.into())))
            }
            FileRequest::List { path } => Ok((FileReply::List, Some(self.list(path)?))),
            FileRequest::ReadLink { path } => Ok((FileReply::Link(self.root.read_link(path)?.to_string_lossy().into_owned()), None)),
            FileRequest::Write { path, attrs, append } => Ok((FileReply::Done, Some(self.write(path, *attrs, *append)?.into()))),
            FileRequest::Mkdir { path, attrs } => {
                let (handle, fresh) = match self.root.create_dir_handle(path, attrs.mode.unwrap_or(NEW_DIR_MODE)) {
                    Ok(handle) => (handle, true),
                    Err(error) if error.errno == Errno::EXIST && self.is_dir(path) => {
                        (self.root.open_at(path, OFlags::PATH | OFlags::DIRECTORY, 0)?, false)
                    }
                    Err(error) => return Err(error),
                };
                self.give((path, &handle), *attrs, fresh, NEW_DIR_MODE)?;
                Ok((FileReply::Done, None))
            }
            FileRequest::Symlink { path, target, attrs } => {
                self.root.symlink(target, path)?;
                self.give_link(path, (attrs.uid.unwrap_or(0), attrs.gid.unwrap_or(0)))?;
                Ok((FileReply::Done, None))
            }
            FileRequest::Delete { path } => {
                let stat = self.root.lstat(path)?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => self.root.remove_dir(path)?,
                    _ => self.root.remove_file(path)?,
                }
                Ok((FileReply::Done, None))
            }
        }
    }

    fn is_dir(&self, path: &str) -> bool {
        self.root.stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Names go through a file in memory: a listing may be longer than any message.
    fn list(&self, path: &str) -> Result<OwnedFd> {
        let names = self.root.list(path, LIST_LIMIT)?;
        let memfd = rustix::fs::memfd_create("list", rustix::fs::MemfdFlags::CLOEXEC).map_err(|errno| Error::new("list", path, errno))?;
        let mut file = File::from(memfd);
        let mut text = Vec::new();
        for name in names {
            text.extend_from_slice(std::os::unix::ffi::OsStrExt::as_bytes(name.as_os_str()));
            text.push(0);
        }
        file.write_all(&text).and_then(|()| file.rewind()).map_err(|error| Error::io("list", path, &error))?;
        Ok(file.into())
    }

    fn write(&self, path: &str, attrs: FileAttrs, append: bool) -> Result<File> {
        let position = if append { OFlags::APPEND } else { OFlags::empty() };
        let mode = attrs.mode.unwrap_or(NEW_FILE_MODE);
        let (file, fresh) = match self.root.create_file(path, OFlags::EXCL | position, mode) {
            Ok(file) => (file, true),
            Err(error) if error.errno == Errno::EXIST => (self.root.create_file(path, position, mode)?, false),
            Err(error) => return Err(error),
        };
        self.check_answers(&file, path)?;
        let handle: OwnedFd = file.into();
        self.give((path, &handle), attrs, fresh, NEW_FILE_MODE)?;
        let file = File::from(handle);
        if !append {
            file.set_len(0).map_err(|error| Error::io("truncate", path, &error))?;
        }
        Ok(file)
    }

    /// Refuses a file whose content the guest may keep back for ever: whoever reads it, which is the
    /// daemon, could not even be killed. Such are those of FUSE, and of an overlay over it.
    fn check_answers(&self, file: &File, path: &str) -> Result<()> {
        const FUSE: i64 = 0x6573_5546;
        const OVERLAY: i64 = 0x794c_7630;
        let failed = |errno| Error::new("look at the file system of", path, errno);
        let mount =
            |fd: BorrowedFd<'_>| statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map(|facts| facts.stx_mnt_id).map_err(failed);
        let is_doubtful = self.guest_mounts
            && match rustix::fs::fstatfs(file).map_err(failed)?.f_type {
                FUSE => true,
                OVERLAY => mount(file.as_fd())? != mount(self.root.open_at("/", OFlags::PATH, 0)?.as_fd())?,
                _ => false,
            };
        if is_doubtful {
            Err(Error::new("transfer from or to a file system that the guest serves", path, Errno::OPNOTSUPP))
        } else {
            Ok(())
        }
    }

    /// Gives ids and mode: all of them to a fresh file, those asked for to an existing one. The
    /// owner goes first, as changing it clears set-id bits. By what is open: the guest may have put a link to
    /// something else at the path by now.
    fn give(&self, (path, handle): (&str, &OwnedFd), attrs: FileAttrs, fresh: bool, new_mode: u32) -> Result<()> {
        if fresh || attrs.uid.is_some() || attrs.gid.is_some() {
            let now = rustix::fs::fstat(handle).map_err(|errno| Error::new("look at", path, errno))?;
            let now = self.facts(&now);
            let (old_uid, old_gid) = if fresh { (0, 0) } else { (now.uid, now.gid) };
            let (uid, gid) = self.host_ids(path, attrs.uid.unwrap_or(old_uid), attrs.gid.unwrap_or(old_gid))?;
            let ids = (Some(rustix::fs::Uid::from_raw(uid)), Some(rustix::fs::Gid::from_raw(gid)));
            rustix::fs::chownat(handle, "", ids.0, ids.1, AtFlags::EMPTY_PATH).map_err(|errno| Error::new("chown", path, errno))?;
        }
        match attrs.mode.or(fresh.then_some(new_mode)) {
            Some(mode) => self.root.set_mode_of(handle, path, mode & MODE_BITS),
            None => Ok(()),
        }
    }

    /// Gives ids to a new link, unless the guest has something else there by now.
    fn give_link(&self, path: &str, (uid, gid): (u32, u32)) -> Result<()> {
        let (uid, gid) = self.host_ids(path, uid, gid)?;
        let handle = self.root.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, 0)?;
        let now = rustix::fs::fstat(&handle).map_err(|errno| Error::new("look at", path, errno))?;
        if FileType::from_raw_mode(now.st_mode) != FileType::Symlink {
            return Err(Error::new("chown (replaced meanwhile)", path, Errno::BUSY));
        }
        let ids = (Some(rustix::fs::Uid::from_raw(uid)), Some(rustix::fs::Gid::from_raw(gid)));
        rustix::fs::chownat(&handle, "", ids.0, ids.1, AtFlags::EMPTY_PATH).map_err(|errno| Error::new("chown", path, errno))
    }

    fn host_ids(&self, path: &str, uid: u32, gid: u32) -> Result<(u32, u32)> {
        match (self.ids.to_host(Kind::Uid, uid), self.ids.to_host(Kind::Gid, gid)) {
            (Some(uid), Some(gid)) => Ok((uid, gid)),
            _ => Err(Error::new("chown (id outside the container's map)", path, Errno::INVAL)),
        }
    }

    fn facts(&self, stat: &Stat) -> FileStat {
        /// What the kernel shows for an id that has no meaning inside.
        const NOBODY: u32 = 65534;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            _ => FileKind::Other,
        };
        FileStat {
            kind,
            uid: self.ids.to_guest(Kind::Uid, stat.st_uid).unwrap_or(NOBODY),
            gid: self.ids.to_guest(Kind::Gid, stat.st_gid).unwrap_or(NOBODY),
            mode: stat.st_mode & MODE_BITS,
            size: u64::try_from(stat.st_size).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn shifted_ids_are_translated_both_ways() {
        let dir = tempfile::tempdir().expect("dir");
        let root = Root::open(dir.path()).expect("root");
        let ids = IdMap::contiguous(100_000, 100_000, 65_536);
        let tree = Tree { root: &root, ids: &ids, guest_mounts: false };
        let attrs = FileAttrs { uid: Some(33), gid: None, mode: Some(0o4755) };
        let request = FileRequest::Write { path: "/tool".into(), attrs, append: false };
        let (_, file) = tree.perform(&request).expect("write");
        File::from(file.expect("file")).write_all(b"x").expect("content");
        let on_disk = root.stat("tool").expect("stat");
        assert_eq!((on_disk.st_uid, on_disk.st_gid), (100_033, 100_000));
        let (reply, _) = tree.perform(&FileRequest::Stat { path: "tool".into() }).expect("stat");
        let FileReply::Stat(stat) = reply else { panic!("wrong reply") };
        assert_eq!((stat.uid, stat.gid, stat.mode, stat.size), (33, 0, 0o4755, 1));
    }

    #[test]
    fn overwriting_keeps_what_was_not_asked_for() {
        let dir = tempfile::tempdir().expect("dir");
        let root = Root::open(dir.path()).expect("root");
        let tree = Tree { root: &root, ids: &IdMap::default(), guest_mounts: true };
        let write = |attrs, append, text: &[u8]| {
            let (_, file) = tree.perform(&FileRequest::Write { path: "f".into(), attrs, append }).expect("open");
            File::from(file.expect("file")).write_all(text).expect("write");
        };
        write(FileAttrs { uid: Some(5), gid: Some(6), mode: Some(0o600) }, false, b"long content");
        write(FileAttrs::default(), false, b"short");
        write(FileAttrs::default(), true, b"er");
        let (reply, file) = tree.perform(&FileRequest::Read { path: "f".into() }).expect("read");
        let mut text = String::new();
        File::from(file.expect("file")).read_to_string(&mut text).expect("read");
        let FileReply::Stat(stat) = reply else { panic!("wrong reply") };
        assert_eq!((text.as_str(), stat.uid, stat.gid, stat.mode), ("shorter", 5, 6, 0o600));
    }

    /// A guest that puts something of root's where a push has just made a file does not get that as its own.
    #[test]
    fn what_takes_the_place_of_a_pushed_file_keeps_its_owner() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
        use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
        let dir = tempfile::tempdir().expect("dir");
        let root = Root::open(dir.path()).expect("root");
        let tree = Tree { root: &root, ids: &IdMap::default(), guest_mounts: true };
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "").expect("write");
        chown(&precious, Some(7), Some(7)).expect("chown");
        std::fs::set_permissions(&precious, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        let (over, swaps) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (file, link) = (dir.path().join("f"), dir.path().join("l"));
                while !over.load(Ordering::Relaxed) {
                    // Whatever is there at the moment makes room for what is not the pusher's.
                    if std::fs::remove_file(&file).is_ok() && symlink("precious", &file).is_ok() {
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                    drop(std::fs::remove_file(&file));
                    if std::fs::remove_file(&link).is_ok() {
                        drop(std::fs::hard_link(&precious, &link));
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                    drop(std::fs::remove_file(&link));
                }
            });
            let end = std::time::Instant::now() + std::time::Duration::from_millis(500);
            while std::time::Instant::now() < end {
                let request = FileRequest::Write { path: "f".into(), attrs: FileAttrs::default(), append: true };
                drop(tree.perform(&request));
                let attrs = FileAttrs { uid: Some(9), gid: Some(9), mode: None };
                drop(tree.perform(&FileRequest::Symlink { path: "l".into(), target: "x".into(), attrs }));
            }
            over.store(true, Ordering::Relaxed);
        });
        assert!(swaps.load(Ordering::Relaxed) > 10, "nothing was swapped");
        let now = std::fs::metadata(&precious).expect("stat");
        assert_eq!((now.uid(), now.gid(), now.mode() & 0o7777), (7, 7, 0o600));
    }

    #[test]
    fn listing_and_deleting() {
        let dir = tempfile::tempdir().expect("dir");
        let root = Root::open(dir.path()).expect("root");
        let tree = Tree { root: &root, ids: &IdMap::default(), guest_mounts: true };
        tree.perform(&FileRequest::Mkdir { path: "d".into(), attrs: FileAttrs::default() }).expect("mkdir");
        tree.perform(&FileRequest::Symlink { path: "d/l".into(), target: "/etc".into(), attrs: FileAttrs::default() }).expect("symlink");
        let error = tree.perform(&FileRequest::Delete { path: "d".into() }).expect_err("not empty");
        assert_eq!(error.errno, Errno::NOTEMPTY);
        tree.perform(&FileRequest::Delete { path: "d/l".into() }).expect("delete the link, not its target");
        tree.perform(&FileRequest::Delete { path: "d".into() }).expect("delete");
        assert!(std::path::Path::new("/etc").exists());
    }
}
