//! Loop devices: files as block devices, see loop(4).

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Errno, Error, Result};

const LOOP_CLR_FD: libc::Ioctl = 0x4c01;
const LOOP_GET_STATUS64: libc::Ioctl = 0x4c05;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;
/// Another process may take the free device first; more often than this, something is wrong.
const ATTACH_TRIES: u32 = 16;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

const NO_INFO: LoopInfo64 = LoopInfo64 {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; 64],
    crypt_name: [0; 64],
    encrypt_key: [0; 32],
    init: [0; 2],
};

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

/// An attached loop device, held open. The kernel detaches it when nothing has it open or
/// mounted any more, so it is mounted before this is dropped.
#[derive(Debug)]
pub struct LoopDevice {
    file: File,
    path: PathBuf,
}

impl LoopDevice {
    /// The device node.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks for the file to be let go at once, or with the last user.
    pub fn detach(self) -> Result<()> {
        // SAFETY: LOOP_CLR_FD takes no argument.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), LOOP_CLR_FD, 0) };
        check(result).map(drop).on_path("detach loop device", &self.path)
    }
}

/// The loop device of `file`: the one that it is attached to already, else a free one.
/// Direct I/O is used where the file's own file system has it, which saves a second cache.
pub fn attach(file: impl AsRef<Path>) -> Result<LoopDevice> {
    let path = file.as_ref();
    if let Some(device) = find(path)? {
        return Ok(device);
    }
    let backing = OpenOptions::new().read(true).write(true).open(path).on_path("open", path)?;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control").on_path("open", Path::new("/dev/loop-control"))?;
    for _ in 0..ATTACH_TRIES {
        // SAFETY: LOOP_CTL_GET_FREE takes no argument.
        let number = check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) }).on_path("find a free loop device for", path)?;
        let device = open_device(number)?;
        match configure(&device.file, &backing, LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO)
            .or_else(|errno| if errno == Errno::INVAL { configure(&device.file, &backing, LO_FLAGS_AUTOCLEAR) } else { Err(errno) })
        {
            Ok(()) => return Ok(device),
            Err(Errno::BUSY) => {}
            Err(errno) => return Err(errno).on_path("attach to a loop device", path),
        }
    }
    Err(Error::new("attach to a loop device", path.display(), Errno::BUSY))
}

/// The loop device that `file` is attached to, by device and inode and not by name.
pub fn find(file: impl AsRef<Path>) -> Result<Option<LoopDevice>> {
    let path = file.as_ref();
    let wanted = std::fs::metadata(path).on_path("stat", path)?;
    for entry in std::fs::read_dir("/sys/block").on_path("list", Path::new("/sys/block"))? {
        let entry = entry.on_path("list", Path::new("/sys/block"))?;
        let number = entry.file_name().to_str().and_then(|name| name.strip_prefix("loop")?.parse().ok());
        let Some(number) = number.filter(|_| entry.path().join("loop").is_dir()) else { continue };
        // It may be gone since the listing.
        let Ok(device) = open_device(number) else { continue };
        let Some(info) = status(&device.file) else { continue };
        if info.device == encode_device(wanted.dev()) && info.inode == wanted.ino() {
            return Ok(Some(device));
        }
    }
    Ok(None)
}

fn open_device(number: i32) -> Result<LoopDevice> {
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let file = OpenOptions::new().read(true).write(true).open(&path).on_path("open", &path)?;
    Ok(LoopDevice { file, path })
}

fn configure(device: &File, backing: &File, flags: u32) -> std::result::Result<(), Errno> {
    let info = LoopInfo64 { flags, ..NO_INFO };
    // A descriptor is never negative.
    let config = LoopConfig { fd: backing.as_raw_fd().unsigned_abs(), block_size: 0, info, reserved: [0; 8] };
    // SAFETY: `config` is a loop_config that lives through the call, which only reads it.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) }).map(drop)
}

fn status(device: &File) -> Option<LoopInfo64> {
    let mut info = NO_INFO;
    // SAFETY: LOOP_GET_STATUS64 fills a loop_info64, which `info` is.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) };
    (result == 0).then_some(info)
}

/// The kernel reports devices in its "huge" encoding (linux/kdev_t.h), which user space shares.
fn encode_device(device: u64) -> u64 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    u64::from(minor & 0xff) | (u64::from(major) << 8) | (u64::from(minor & !0xff) << 12)
}

fn check(result: libc::c_int) -> std::result::Result<libc::c_int, Errno> {
    if result < 0 {
        let errno = std::io::Error::last_os_error();
        return Err(Errno::from_raw_os_error(errno.raw_os_error().unwrap_or(libc::EIO)));
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attaches_finds_and_lets_go() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("disk.img");
        File::create(&path).and_then(|file| file.set_len(1 << 20)).expect("create");
        assert!(find(&path).expect("find").is_none());
        let device = attach(&path).expect("attach");
        let found = find(&path).expect("find").expect("attached");
        assert_eq!(found.path(), device.path());
        assert_eq!(attach(&path).expect("attach again").path(), device.path());
        drop((device, found));
        // Closing is what detaches; the kernel does it in its own time.
        for _ in 0..100 {
            if find(&path).expect("find").is_none() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("still attached");
    }
}
