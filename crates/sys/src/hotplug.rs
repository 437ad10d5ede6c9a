//! Tells when device nodes may have come or gone: the kernel's uevents, and changes in directories.
//!
//! What has changed is not said: whoever is told looks again. See netlink(7) and inotify(7).

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, WatchFlags};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use crate::error::{Context, Errno, Error, Result};

/// Events seldom come alone; it is quiet once none has come for so long.
const QUIET: Duration = Duration::from_millis(100);
/// And no longer than this many times is waited for that.
const MAX_QUIET_WAITS: u32 = 20;
/// Group of the kernel's own messages.
const KERNEL_GROUP: u32 = 1;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Devices may have come or gone.
    Changed,
    /// Something was written to the pipe.
    Asked,
    /// The pipe's other end was closed.
    Over,
}

/// Waits for changes.
#[derive(Debug)]
pub struct Watcher {
    uevents: OwnedFd,
    inotify: OwnedFd,
    pipe: OwnedFd,
    watched: BTreeMap<PathBuf, i32>,
}

impl Watcher {
    /// `pipe` is the reading end of one by which the waiting is interrupted.
    pub fn new(pipe: OwnedFd) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let uevents = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT));
        let uevents = uevents.context("socket", "uevents")?;
        rustix::net::bind(&uevents, &SocketAddrNetlink::new(0, KERNEL_GROUP)).context("bind", "uevents")?;
        let inotify = rustix::fs::inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).context("inotify_init", "")?;
        rustix::io::ioctl_fionbio(&pipe, true).context("set non-blocking", "pipe")?;
        Ok(Self { uevents, inotify, pipe, watched: BTreeMap::new() })
    }

    /// Watches these directories and no others; of one that is not there the nearest above it.
    pub fn watch(&mut self, dirs: &BTreeSet<PathBuf>) {
        let wanted: BTreeSet<PathBuf> = dirs.iter().filter_map(|dir| nearest(dir)).collect();
        let gone: Vec<PathBuf> = self.watched.keys().filter(|dir| !wanted.contains(*dir)).cloned().collect();
        for dir in gone {
            if let Some(wd) = self.watched.remove(&dir) {
                // Fails for a directory that was removed.
                let _ = rustix::fs::inotify::remove_watch(&self.inotify, wd);
            }
        }
        let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        for dir in wanted {
            // Also for one that is watched: it may be another directory by now, and the same is no harm.
            match rustix::fs::inotify::add_watch(&self.inotify, &dir, flags) {
                Ok(wd) => drop(self.watched.insert(dir, wd)),
                Err(_) => drop(self.watched.remove(&dir)),
            }
        }
    }

    /// Sleeps until there is something to be told, and it is quiet again.
    pub fn wait(&mut self) -> Result<Woken> {
        self.poll(None)?;
        for _ in 0..MAX_QUIET_WAITS {
            let is_over = self.drain()?;
            if let Some(woken) = is_over {
                return Ok(woken);
            }
            if !self.poll(Some(QUIET))? {
                break;
            }
        }
        Ok(Woken::Changed)
    }

    /// False if the time is over.
    fn poll(&self, limit: Option<Duration>) -> Result<bool> {
        let timeout = limit.map(|limit| Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: i64::from(limit.subsec_nanos()) });
        loop {
            let mut fds = [&self.uevents, &self.inotify, &self.pipe].map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
            match poll(&mut fds, timeout.as_ref()) {
                Ok(count) => return Ok(count > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::new("poll", "uevents", errno)),
            }
        }
    }

    /// Takes what has come; says so at once if the pipe has to do with it.
    fn drain(&self) -> Result<Option<Woken>> {
        let mut buffer = [0; 8192];
        loop {
            // Messages that got lost for want of room were of changes, too.
            match rustix::net::recv(&self.uevents, &mut buffer, RecvFlags::empty()) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(Error::new("receive", "uevents", errno)),
            }
        }
        while matches!(rustix::io::read(&self.inotify, &mut buffer), Ok(1..) | Err(Errno::INTR)) {}
        match rustix::io::read(&self.pipe, &mut buffer) {
            Ok(0) => Ok(Some(Woken::Over)),
            Ok(_) => Ok(Some(Woken::Asked)),
            Err(_) => Ok(None),
        }
    }
}

fn nearest(dir: &Path) -> Option<PathBuf> {
    dir.ancestors().find(|dir| dir.is_dir()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn changes_questions_and_the_end() {
        let dir = tempfile::tempdir().expect("dir");
        let (reader, mut writer) = std::io::pipe().expect("pipe");
        let mut watcher = Watcher::new(reader.into()).expect("watcher");
        let deep = dir.path().join("a/b");
        watcher.watch(&BTreeSet::from([deep.clone()]));
        std::fs::create_dir_all(&deep).expect("mkdir");
        assert_eq!(watcher.wait().expect("wait"), Woken::Changed);
        watcher.watch(&BTreeSet::from([deep.clone()]));
        std::fs::write(deep.join("node"), "").expect("write");
        assert_eq!(watcher.wait().expect("wait"), Woken::Changed);
        writer.write_all(b"x").expect("write");
        // What other things happen on the machine comes between.
        while watcher.wait().expect("wait") == Woken::Changed {}
        drop(writer);
        while watcher.wait().expect("wait") == Woken::Changed {}
        assert_eq!(watcher.wait().expect("wait"), Woken::Over);
    }
}
