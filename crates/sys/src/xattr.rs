//! Extended attributes by descriptor, also of what cannot be opened for reading.
//!
//! Names and values are bytes, as the kernel gives them; ids inside ACLs and capabilities are
//! those that the caller's user namespace sees. See xattr(7).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use rustix::fs::XattrFlags;

use crate::error::{Context, Errno, Result};

/// POSIX access ACL.
pub const ACL_ACCESS: &CStr = c"system.posix_acl_access";
/// POSIX ACL that new entries of a directory inherit.
pub const ACL_DEFAULT: &CStr = c"system.posix_acl_default";
/// File capabilities.
pub const CAPABILITY: &CStr = c"security.capability";

/// The kernel's bound on one value, and on one list of names (limits.h).
const MAX_BYTES: usize = 65_536;

/// A buffer for values, to be kept over many calls.
pub struct Buffer(Vec<u8>);

impl Default for Buffer {
    fn default() -> Self {
        Self(vec![0; MAX_BYTES])
    }
}

/// A path that leads to the very object behind a descriptor, `O_PATH` ones included: the magic
/// link is followed, the object itself (even a symbolic link) is not.
pub fn fd_path(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// Names of the attributes; empty where the file system has none.
pub fn list(fd: impl AsFd, buffer: &mut Buffer) -> Result<Vec<CString>> {
    let path = fd_path(&fd);
    let length = match rustix::fs::listxattr(&path, &mut buffer.0[..]) {
        Err(Errno::NOTSUP) => 0,
        other => other.on_path("listxattr", &path)?,
    };
    // Each name ends with its NUL.
    let names = buffer.0[..length].split_inclusive(|byte| *byte == 0);
    Ok(names.filter_map(|name| CStr::from_bytes_with_nul(name).ok().map(CStr::to_owned)).collect())
}

/// The value of an attribute, if there is such a one.
pub fn get<'a>(fd: impl AsFd, name: &CStr, buffer: &'a mut Buffer) -> Result<Option<&'a [u8]>> {
    let path = fd_path(&fd);
    match rustix::fs::getxattr(&path, name, &mut buffer.0[..]) {
        Ok(length) => Ok(Some(&buffer.0[..length])),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(errno) => Err(errno).context("getxattr", format_args!("{} of {}", name.to_string_lossy(), path.display())),
    }
}

/// Sets an attribute, whether it is there or not.
pub fn set(fd: impl AsFd, name: &CStr, value: &[u8]) -> Result<()> {
    let path = fd_path(&fd);
    rustix::fs::setxattr(&path, name, value, XattrFlags::empty())
        .context("setxattr", format_args!("{} of {}", name.to_string_lossy(), path.display()))
}

/// Removes an attribute; absent is fine.
pub fn remove(fd: impl AsFd, name: &CStr) -> Result<()> {
    let path = fd_path(&fd);
    match rustix::fs::removexattr(&path, name) {
        Err(Errno::NODATA) => Ok(()),
        other => other.context("removexattr", format_args!("{} of {}", name.to_string_lossy(), path.display())),
    }
}

/// Copies all attributes from one object to another. What the target's file system does not
/// know is left out, unless the guest would miss it: `user.*`, ACLs and file capabilities.
pub fn copy_all(from: impl AsFd, to: impl AsFd, buffer: &mut Buffer) -> Result<()> {
    for name in list(&from, buffer)? {
        let Some(value) = get(&from, &name, buffer)? else { continue };
        match set(&to, &name, value) {
            Err(error) if matches!(error.errno, Errno::NOTSUP | Errno::PERM | Errno::INVAL) && !is_essential(&name) => {}
            other => other?,
        }
    }
    Ok(())
}

fn is_essential(name: &CStr) -> bool {
    name.to_bytes().starts_with(b"user.") || [ACL_ACCESS, ACL_DEFAULT, CAPABILITY].contains(&name)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags};

    use super::*;

    #[test]
    fn works_on_a_file_without_following_a_link_to_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "").expect("write");
        std::os::unix::fs::symlink(&file, &link).expect("symlink");
        let open = |path| rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).expect("open");
        let (file, link) = (open(&file), open(&link));
        let mut buffer = Buffer::default();
        set(&file, c"user.colour", b"blue").expect("set");
        assert_eq!(list(&file, &mut buffer).expect("list"), [c"user.colour".to_owned()]);
        assert_eq!(get(&file, c"user.colour", &mut buffer).expect("get"), Some(&b"blue"[..]));
        assert_eq!(get(&file, c"user.none", &mut buffer).expect("get"), None);
        remove(&file, c"user.none").expect("absent is fine");
        remove(&file, c"user.colour").expect("remove");
        assert!(list(&file, &mut buffer).expect("list").is_empty());
        assert!(list(&link, &mut buffer).expect("list of a link").is_empty());
    }
}
