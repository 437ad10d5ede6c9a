//! The helper that shuts rsync in. It has one thread; the daemon holds the other end of its socket, and has it killed by
//! closing that.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use sys::mount::MountAttrFlags;
use sys::process::{Clone, Ended, namespaces};

use super::lend::SOCKET;
use crate::error::{Error, Result};
use crate::protocol::{self, MESSAGE_BYTES, StepFailure, TransferReply, TransferRequest};

/// Where the new root stands until it is the root. Every host has the directory.
const PLACE: &str = "/dev";
/// Directories of libraries, of which a host has some; where one is a link to another, it is one here.
const LIBRARIES: &[&str] = &["usr/lib", "usr/lib32", "usr/lib64", "usr/libx32", "lib", "lib32", "lib64", "libx32"];
/// What an rsync may take, bytes: lists of files are as long as whoever sends them likes.
const MEMORY_BYTES: u64 = 1 << 30;
const SIGKILL: i32 = 9;
/// Highest number of a capability that any kernel knows, and some more.
const CAPABILITIES: u32 = 64;
/// CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP. Not CAP_DAC_READ_SEARCH, with which
/// whole file systems could be opened by handle.
const WRITING: &[u32] = &[0, 1, 3, 4, 27, 31];
/// CAP_DAC_OVERRIDE.
const READING: &[u32] = &[1];

/// Runs the helper; its socket leads to the daemon.
pub fn run(socket: &OwnedFd) -> i32 {
    let reply = match serve(socket) {
        Ok(code) => TransferReply::Ended(code),
        Err(error) => TransferReply::Failed(StepFailure { step: "start rsync".to_owned(), reason: error.to_string() }),
    };
    drop(protocol::send(socket, &reply, &[]));
    0
}

/// The mounts and streams that come with a request, in their order.
struct Given {
    beside: OwnedFd,
    tree: OwnedFd,
    stderr: OwnedFd,
    /// Standard input and output, or the socket to lend them through.
    plumbing: Vec<OwnedFd>,
}

fn serve(socket: &OwnedFd) -> Result<i32> {
    sys::process::set_not_dumpable()?;
    // Where memory gets short, an rsync goes before the daemon and before any guest.
    sys::fs::write_kernel("/proc/self/oom_score_adj", "1000")?;
    let message = protocol::receive::<TransferRequest>(socket, MESSAGE_BYTES)?;
    let (request, mut fds) = message.ok_or_else(|| Error::Invalid("the daemon has gone".into()))?;
    if fds.len() != if request.sends { 4 } else { 5 } {
        return Err(Error::Invalid("descriptors are missing".into()));
    }
    let plumbing = fds.split_off(3);
    let [beside, tree, stderr] = <[OwnedFd; 3]>::try_from(fds).map_err(|_| Error::Invalid("descriptors are missing".into()))?;
    let given = Given { beside, tree, stderr, plumbing };
    shut_in(&request, &given)?;
    let pidfd = match sys::process::clone_process(namespaces::PID)? {
        Clone::Child => {
            let error = become_rsync(&request, &given);
            let _ = rustix::io::write(&given.stderr, format!("{error}\n").as_bytes());
            sys::process::exit_now(127)
        }
        Clone::Parent { pidfd, .. } => pidfd,
    };
    // Or its streams would never end.
    drop(given);
    wait(socket, &pidfd)
}

/// Makes the place and enters it.
fn shut_in(request: &TransferRequest, given: &Given) -> Result<()> {
    sys::process::unshare(namespaces::MOUNT | namespaces::NET | namespaces::IPC | namespaces::UTS)?;
    sys::mount::make_all_private()?;
    let inside = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let root = sys::mount::new_fs("tmpfs", &[("size", Some("1m")), ("mode", Some("0755"))], inside)?;
    // Opened while the host's directories can still be seen, all of them.
    let mut trees = vec![("rsync".to_owned(), clone(&request.rsync)?)];
    if request.sends {
        trees.push(("lend".to_owned(), clone(&request.helper)?));
    }
    let cache = Path::new("/etc/ld.so.cache");
    if cache.is_file() {
        trees.push(("etc/ld.so.cache".to_owned(), clone(cache)?));
    }
    let mut links = Vec::new();
    for name in LIBRARIES {
        let path = Path::new("/").join(name);
        match sys::fs::read_link(&path) {
            Ok(target) => links.push((*name, target)),
            Err(_) if path.is_dir() => trees.push(((*name).to_owned(), clone(&path)?)),
            Err(_) => {}
        }
    }
    sys::mount::attach(&root, PLACE)?;
    rustix::process::chdir(PLACE).map_err(|errno| sys::Error::new("chdir", PLACE, errno))?;
    for name in ["etc", "usr", "tree"] {
        sys::fs::create_dir(name, 0o755)?;
    }
    for (name, tree) in &trees {
        put(tree, name)?;
    }
    for (name, target) in links {
        sys::fs::symlink(target, name)?;
    }
    sys::mount::attach(&given.beside, "tree")?;
    sys::mount::attach(&given.tree, "tree/rootfs")?;
    if request.sends {
        sys::mount::add_flags(&given.beside, MountAttrFlags::MOUNT_ATTR_RDONLY, false, "what goes along")?;
    }
    sys::mount::add_flags(&root, MountAttrFlags::MOUNT_ATTR_RDONLY, false, "the root of rsync")?;
    Ok(sys::mount::pivot_to_current_dir()?)
}

/// A copy of a part of the host that can only be read and run.
fn clone(path: &Path) -> Result<OwnedFd> {
    let tree = sys::mount::clone_tree(path, false)?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    sys::mount::add_flags(&tree, flags, false, &path.display().to_string())?;
    Ok(tree)
}

fn put(tree: &OwnedFd, name: &str) -> Result<()> {
    let is_dir = rustix::fs::fstat(tree).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
    if is_dir {
        sys::fs::create_dir(name, 0o755)?;
    } else {
        drop(sys::fs::create(name, 0o644)?);
    }
    Ok(sys::mount::attach(tree, name)?)
}

/// Becomes rsync, with no more rights than it needs; returns only on failure.
fn become_rsync(request: &TransferRequest, given: &Given) -> Error {
    let prepared = || -> Result<()> {
        // It must not outlive the helper, which would have killed it.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(|errno| sys::Error::new("prctl", "parent death signal", errno))?;
        sys::process::setsid()?;
        match given.plumbing.as_slice() {
            [stdin, stdout] => sys::process::set_stdio(stdin.as_fd(), stdout.as_fd(), given.stderr.as_fd())?,
            [socket, ..] => {
                // Copied first: one of the descriptors may have the number where it is to be.
                let socket = rustix::io::fcntl_dupfd_cloexec(socket, 64).map_err(|errno| sys::Error::new("dup", "socket", errno))?;
                sys::process::set_stdio(given.stderr.as_fd(), given.stderr.as_fd(), given.stderr.as_fd())?;
                sys::process::place_fd(socket.as_fd(), SOCKET)?;
            }
            [] => return Err(Error::Invalid("streams are missing".into())),
        }
        sys::process::close_on_exec_from(if request.sends { 4 } else { 3 })?;
        sys::process::set_rlimit("as", Some(MEMORY_BYTES), Some(MEMORY_BYTES))?;
        sys::process::set_rlimit("core", Some(0), Some(0))?;
        sys::process::reset_signals();
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let kept = if request.sends { READING } else { WRITING };
        let lost: Vec<u32> = (0..CAPABILITIES).filter(|capability| !kept.contains(capability)).collect();
        drop_capabilities(&lost)?;
        sys::process::set_no_new_privileges()?;
        Ok(sys::seccomp::install(&request.seccomp)?)
    };
    match prepared() {
        Err(error) => error,
        Ok(()) => sys::process::exec("/rsync", &request.args, &["PATH=/".to_owned(), "LC_ALL=C".to_owned()]).into(),
    }
}

/// Those that this kernel does not know are lost already.
fn drop_capabilities(lost: &[u32]) -> Result<()> {
    for capability in lost {
        match sys::process::drop_bounding(&[*capability]) {
            Err(error) if error.errno != sys::Errno::INVAL => return Err(error.into()),
            _ => {}
        }
    }
    Ok(sys::process::keep_capabilities_without(lost)?)
}

/// Waits for rsync; kills it when the daemon has closed the socket.
fn wait(socket: &OwnedFd, pidfd: &OwnedFd) -> Result<i32> {
    loop {
        let mut fds = [PollFd::new(pidfd, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) if !fds[0].revents().is_empty() => break,
            Ok(_) if !fds[1].revents().is_empty() => {
                sys::process::pidfd_signal(pidfd, SIGKILL)?;
                break;
            }
            Ok(_) | Err(sys::Errno::INTR) => {}
            Err(errno) => return Err(sys::Error::new("poll", "rsync", errno).into()),
        }
    }
    Ok(match sys::process::wait_pidfd(pidfd)? {
        Ended::Code(code) => code,
        Ended::Signal(signal) => 128 + signal,
    })
}
