//! Removing a group with all that a guest made below it: as deep and as wide as it liked.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use sys::Errno;
use sys::tree::DirCursor;

use crate::error::Result;

/// How long just-ended tasks may hold groups of one tree.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes a group and its descendants, deepest first; absent is fine.
///
/// A guest may nest groups deeper than a path is long and than a stack is high, so one open
/// directory goes down and up again, and what is still to be done is kept on the heap.
pub(super) fn remove(dir: &Path) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match DirCursor::open(dir) {
            Err(error) if error.is_not_found() => return Ok(()),
            opened => empty(opened?, end)?,
        }
        if is_gone(sys::fs::remove_dir(dir), end)? {
            return Ok(());
        }
    }
}

/// Removes all groups below.
fn empty(mut cursor: DirCursor, end: Instant) -> Result<()> {
    // For each level from the top: its groups that are still to be removed; the last one is next.
    let mut levels: Vec<Vec<OsString>> = vec![cursor.subdirs()?];
    while let Some(level) = levels.last_mut() {
        match level.last() {
            Some(name) if cursor.down(name)? => levels.push(cursor.subdirs()?),
            Some(_) => drop(level.pop()),
            None => {
                levels.pop();
                let Some(parent) = levels.last_mut() else { return Ok(()) };
                cursor.up()?;
                let Some(name) = parent.last() else { continue };
                if is_gone(cursor.remove(name), end)? {
                    parent.pop();
                }
            }
        }
    }
    Ok(())
}

/// What an attempt to remove a group says. False, after a moment: it is to be looked at again, since
/// a task is just ending in it or a group was made below.
fn is_gone(result: sys::Result<()>, end: Instant) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(true),
        Err(error) if matches!(error.errno, Errno::BUSY | Errno::NOTEMPTY) && Instant::now() < end => {
            std::thread::sleep(Duration::from_millis(5));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Layout;
    use rustix::fs::{Mode, OFlags};

    /// On a stack that one frame a level would overflow, and deeper than a path may be long.
    #[test]
    fn removes_what_is_deeper_than_a_path_is_long() {
        let layout = Layout::detect().expect("layout");
        let named = layout.hierarchies.iter().find(|hierarchy| hierarchy.unified || hierarchy.name.is_some());
        let Some(top) = named.map(|hierarchy| hierarchy.mount_point.join(format!("lxd-test-deep-{}", std::process::id()))) else { return };
        if sys::fs::create_dir(&top, 0o755).is_err() {
            // Not root.
            return;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut deep = rustix::fs::open(&top, flags, Mode::empty()).expect("open");
        for _ in 0..3000 {
            for name in ["deep", "side"] {
                rustix::fs::mkdirat(&deep, name, Mode::RWXU).expect("mkdir");
            }
            deep = rustix::fs::openat(&deep, "deep", flags, Mode::empty()).expect("open");
        }
        drop(deep);
        let dir = top.clone();
        let thread = std::thread::Builder::new().stack_size(128 * 1024).spawn(move || remove(&dir)).expect("thread");
        thread.join().expect("no overflow").expect("removed");
        assert!(!top.exists());
        remove(&top).expect("absent is fine");
    }
}
