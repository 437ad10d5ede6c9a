//! Inotify watches that CRIU cannot name by itself.
//!
//! The kernel names what is watched by an inode. CRIU opens it by its handle, or looks in a few places
//! where daemons use to watch. It fails on overlays, which have no handles, unless it is told where to
//! look; and on symbolic links on btrfs, whose device numbers differ between stat(2) and the watch. The
//! former are looked up before anything is stopped; the latter are taken away for the time of the dump
//! and put back under their numbers afterwards, there and in what is restored.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sys::Root;
use sys::inotify::Watch;

use crate::error::Result;

/// What is watched is most often here.
const FIRST: &[&str] = &["etc", "usr/share", "usr/lib/udev", "usr/lib/systemd", "var", "root", "home"];
/// A large root file system is not searched for longer.
const PATIENCE: Duration = Duration::from_secs(3);
/// More watches than this, on links or on what has no handle, are not looked for.
const MOST: usize = 10_000;
const BTRFS: i64 = 0x9123_683e;

/// A watch that is put back by us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Who watches: the pid that the guest knows it by.
    pub pid: i32,
    /// Its inotify descriptor.
    pub fd: i32,
    /// Number of the watch.
    pub wd: i32,
    /// What is watched for.
    pub mask: u32,
    /// What is watched.
    pub path: PathBuf,
    /// Its inode: another that has come to that name is not watched.
    pub inode: u64,
}

/// What is to be done about the watches of a container.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// Where CRIU is to look.
    pub hints: Vec<PathBuf>,
    /// What is to be taken away: the host's pid, and the watch.
    aside: Vec<(i32, Kept)>,
}

impl Watches {
    /// Looks at every watch of these processes on the root file system.
    pub fn find(init: i32, pids: &[i32]) -> Result<Self> {
        let place = format!("/proc/{init}/root/.");
        let root = Root::open(&place)?;
        let Some(device) = root_device(init) else { return Ok(Self::default()) };
        let is_btrfs = sys::fs::fs_magic(&place).is_ok_and(|magic| magic == BTRFS);
        let mount = sys::fs::open(&place)?;
        let (mut watches, mut unnamed) = (Self::default(), BTreeSet::new());
        let until = Instant::now() + PATIENCE;
        for pid in pids {
            if Instant::now() > until || watches.aside.len() + watches.hints.len() + unnamed.len() > MOST {
                tracing::warn!(init, "there are more watches than are looked for");
                break;
            }
            for (fd, watch) in of_process(*pid).into_iter().filter(|(_, watch)| watch.device == device) {
                let Ok(opened) = sys::inotify::open_by_handle(&mount, &watch.handle) else {
                    unnamed.insert(watch.inode);
                    continue;
                };
                let Some(path) = symlink_path(&opened) else { continue };
                if !is_btrfs {
                    watches.hints.push(path);
                } else {
                    let kept = Kept { pid: inner_pid(*pid), fd, wd: watch.wd, mask: watch.mask, path, inode: watch.inode };
                    watches.aside.push((*pid, kept));
                }
            }
        }
        if !unnamed.is_empty() {
            // Whatever is mounted below may never answer.
            let others = super::externals::mount_points(&sys::fs::read_to_string(format!("/proc/{init}/mountinfo"))?);
            let others: BTreeSet<PathBuf> = others.iter().filter_map(|place| Some(place.strip_prefix("/").ok()?.to_owned())).collect();
            let found = sys::tree::find_inodes(&root, &mut unnamed, (FIRST, &others), until)?;
            watches.hints.extend(found.into_iter().map(|(_, path)| Path::new("/").join(path)));
        }
        Ok(watches)
    }

    /// Whether some must be taken away.
    pub fn has_aside(&self) -> bool {
        !self.aside.is_empty()
    }

    /// What is to be taken away.
    pub fn aside(&self) -> Vec<&Kept> {
        self.aside.iter().map(|(_, kept)| kept).collect()
    }

    /// Takes them away; nobody inside runs. Returns those that were.
    pub fn take_aside(&self) -> Vec<Kept> {
        let mut kept = Vec::new();
        for (pid, watch) in &self.aside {
            // Two processes may share the descriptor; and what cannot be taken away CRIU will complain of.
            let taken = sys::process::borrow_fd(*pid, watch.fd, "inotify").and_then(|inotify| sys::inotify::remove(inotify, watch.wd));
            if taken.is_ok() {
                kept.push(watch.clone());
            }
        }
        kept
    }
}

/// Puts watches back into the container of `init`. Best effort: each is one notice less.
pub(crate) fn put_back(init: i32, kept: &[Kept]) {
    if kept.is_empty() {
        return;
    }
    let host_pids = pids_inside(init);
    for watch in kept {
        let Some(pid) = host_pids.get(&watch.pid) else { continue };
        // By a path of the guest's in the guest's root, and only if it leads to what was watched.
        let result = Root::open(format!("/proc/{init}/root/.")).and_then(|root| {
            let watched = root.open_at(&watch.path, OFlags::PATH | OFlags::NOFOLLOW, 0)?;
            if rustix::fs::fstat(&watched).map_or(0, |stat| stat.st_ino) != watch.inode {
                return Err(sys::Error::new("watch (it is another file)", watch.path.display(), sys::Errno::STALE));
            }
            sys::inotify::add(sys::process::borrow_fd(*pid, watch.fd, "inotify")?, watch.wd, &watched, watch.mask)
        });
        if let Err(error) = result {
            tracing::debug!(init, watch = ?watch, "not put back: {error}");
        }
    }
}

/// Pids as the guest has them, to those of the host.
pub(super) fn pids_inside(init: i32) -> BTreeMap<i32, i32> {
    let namespace = |pid: i32| sys::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(init);
    let all = sys::fs::list_dir("/proc").unwrap_or_default();
    let pids = all.iter().filter_map(|name| name.parse::<i32>().ok()).filter(|pid| wanted.is_some() && namespace(*pid) == wanted);
    pids.map(|pid| (inner_pid(pid), pid)).collect()
}

/// The last of `NSpid:`.
pub(crate) fn inner_pid(pid: i32) -> i32 {
    let text = sys::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or(pid)
}

fn of_process(pid: i32) -> Vec<(i32, Watch)> {
    let links = sys::fs::list_dir(format!("/proc/{pid}/fd")).unwrap_or_default();
    let is_inotify =
        |fd: &i32| sys::fs::read_link(format!("/proc/{pid}/fd/{fd}")).is_ok_and(|link| link.to_string_lossy().contains("inotify"));
    let fds = links.iter().filter_map(|name| name.parse::<i32>().ok()).filter(is_inotify);
    fds.flat_map(|fd| {
        let text = sys::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
        sys::inotify::parse(&text).into_iter().map(move |watch| (fd, watch))
    })
    .collect()
}

/// Where a symbolic link is; `None` for anything else.
fn symlink_path(opened: &OwnedFd) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    let stat = rustix::fs::fstat(opened.as_fd()).ok()?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink() {
        return None;
    }
    sys::fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok()
}

/// Device number of the root file system as watches have it: of the super block, which mountinfo shows.
fn root_device(init: i32) -> Option<u64> {
    let text = sys::fs::read_to_string(format!("/proc/{init}/mountinfo")).ok()?;
    let line = text.lines().rfind(|line| line.split(' ').nth(4) == Some("/"))?;
    let (major, minor) = line.split(' ').nth(2)?.split_once(':')?;
    Some(major.parse::<u64>().ok()? << 20 | minor.parse::<u64>().ok()?)
}
