//! Other processes' inotify watches: reading, removing and making them again under the same number.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::fs::inotify::WatchFlags;

use crate::error::{Context, Errno, Error, Result};

/// One watch, as `/proc/PID/fdinfo` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Its number.
    pub wd: i32,
    /// Inode that is watched.
    pub inode: u64,
    /// Device number of the file system, as the kernel has it (12 bits major above 20 bits minor).
    pub device: u64,
    /// What is watched for.
    pub mask: u32,
    /// Type and bytes of the handle.
    pub handle: (i32, Vec<u8>),
}

/// Reads the watches of an inotify descriptor from its `fdinfo`.
pub fn parse(fdinfo: &str) -> Vec<Watch> {
    fdinfo.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Watch> {
    let fields = line.strip_prefix("inotify ")?;
    let field = |name: &str| fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix(':'));
    let hex = |name: &str| u64::from_str_radix(field(name)?, 16).ok();
    let text = field("f_handle")?;
    let bytes = (0..text.len() / 2).map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect::<Option<Vec<u8>>>()?;
    Some(Watch {
        wd: i32::try_from(hex("wd")?).ok()?,
        inode: hex("ino")?,
        device: hex("sdev")?,
        mask: u32::try_from(hex("mask")?).ok()?,
        handle: (i32::try_from(hex("fhandle-type")?).ok()?, bytes),
    })
}

/// Removes a watch and the notice of its removal. Fails with EAGAIN, and changes nothing, where other
/// events wait to be read. Whoever reads the events must not run meanwhile.
pub fn remove(inotify: impl AsFd, wd: i32) -> Result<()> {
    if rustix::io::ioctl_fionread(&inotify).context("count", "inotify events")? > 0 {
        return Err(Error::new("remove watch", wd, Errno::AGAIN));
    }
    rustix::fs::inotify::remove_watch(&inotify, wd).context("remove watch", wd)?;
    let mut notice = [0; 4096];
    rustix::io::read(&inotify, &mut notice).context("read", "inotify events").map(drop)
}

/// Makes a watch under this number, of what a descriptor stands for: also of a symbolic link itself.
pub fn add(inotify: impl AsFd, wd: i32, watched: impl AsFd, mask: u32) -> Result<()> {
    // _IOW('I', 0, __s32): INOTIFY_IOC_SETNEXTWD
    const SET_NEXT: libc::Ioctl = 0x4004_4900;
    // SAFETY: the request takes a plain number.
    if unsafe { libc::ioctl(inotify.as_fd().as_raw_fd(), SET_NEXT, wd) } < 0 {
        return Err(Error::new("set the next watch", wd, crate::mount::last_errno()));
    }
    // The way through the descriptor ends at what it stands for, whatever that is.
    let path = crate::xattr::fd_path(&watched);
    let mask = WatchFlags::from_bits_truncate(mask) - WatchFlags::DONT_FOLLOW;
    let made = rustix::fs::inotify::add_watch(&inotify, &path, mask).context("watch", wd)?;
    if made == wd { Ok(()) } else { Err(Error::new("watch (under another number)", wd, Errno::EXIST)) }
}

/// Opens, as a mere name, what a handle of the file system under `mount` stands for.
pub fn open_by_handle(mount: impl AsFd, (kind, bytes): &(i32, Vec<u8>)) -> Result<OwnedFd> {
    open_handle(mount, (*kind, bytes), OFlags::PATH)
}

/// The same, opened otherwise.
pub(crate) fn open_handle(mount: impl AsFd, (kind, bytes): (i32, &[u8]), flags: OFlags) -> Result<OwnedFd> {
    let flags = i32::try_from((flags | OFlags::CLOEXEC).bits()).unwrap_or(libc::O_PATH | libc::O_CLOEXEC);
    let mut handle = Vec::with_capacity(8 + bytes.len());
    handle.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(0).to_ne_bytes());
    handle.extend_from_slice(&kind.to_ne_bytes());
    handle.extend_from_slice(bytes);
    // Aligned as `struct file_handle` is.
    let words: Vec<u32> =
        handle.chunks(4).map(|chunk| std::array::from_fn(|at| chunk.get(at).copied().unwrap_or(0))).map(u32::from_ne_bytes).collect();
    // SAFETY: `words` is a file_handle with as many bytes as it says, and lives during the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_by_handle_at, mount.as_fd().as_raw_fd(), words.as_ptr(), flags) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(Error::new("open by handle", format_args!("type {kind:#x}"), crate::mount::last_errno()));
    }
    // SAFETY: the kernel has just given it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fdinfo_is_read() {
        let text = "pos:\t0\ninotify wd:1 ino:14f sdev:2c mask:80c ignored_mask:0 fhandle-bytes:14 fhandle-type:4d f_handle:4f01000000000000010100000000000008000000\n";
        let watches = parse(text);
        assert_eq!(watches.len(), 1);
        assert_eq!((watches[0].wd, watches[0].inode, watches[0].device, watches[0].mask), (1, 0x14f, 0x2c, 0x80c));
        assert_eq!((watches[0].handle.0, watches[0].handle.1.len()), (0x4d, 0x14));
    }

    #[test]
    fn a_watch_goes_and_comes_back_under_its_number() {
        let dir = tempfile::tempdir().expect("dir");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).expect("link");
        let inotify = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::NONBLOCK).expect("inotify");
        for _ in 0..3 {
            rustix::fs::inotify::add_watch(&inotify, dir.path(), WatchFlags::CREATE).expect("watch");
        }
        let wd = rustix::fs::inotify::add_watch(&inotify, &link, WatchFlags::ATTRIB | WatchFlags::DONT_FOLLOW).expect("watch");
        remove(&inotify, wd).expect("remove");
        assert_eq!(rustix::io::ioctl_fionread(&inotify).expect("count"), 0, "nobody learns of the removal");
        let watched = rustix::fs::open(&link, rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW, rustix::fs::Mode::empty());
        add(&inotify, wd, watched.expect("open"), 0x4).expect("add");
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::symlink_metadata(&link).expect("stat"));
        let fdinfo = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", inotify.as_raw_fd())).expect("fdinfo");
        assert!(parse(&fdinfo).iter().any(|watch| watch.wd == wd && watch.mask & 4 != 0 && watch.inode == inode), "{fdinfo}");
    }
}
