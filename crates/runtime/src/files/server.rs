//! The files helper: serves file operations from inside a container's namespaces, and attaches
//! and removes mounts there.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use sys::idmap::IdMap;
use sys::process::namespaces;
use sys::{Errno, Root};

use super::FileReply;
use super::ops::Tree;
use crate::protocol::{self, FileFailure, FilesMessage, FilesReply, MESSAGE_BYTES};
use crate::staging;

/// Runs the helper until the daemon closes the socket.
pub fn run(socket: &OwnedFd) -> i32 {
    if sys::process::set_not_dumpable().is_err() || sys::root::prepare_reopen().is_err() {
        return 1;
    }
    let mut inside = None;
    while let Ok(Some((message, fds))) = protocol::receive::<FilesMessage>(socket, MESSAGE_BYTES) {
        let (reply, fd) = match handle(&message, fds, &mut inside) {
            Ok((reply, fd)) => (Ok(reply), fd),
            Err(error) => (Err(FileFailure { message: error.to_string(), errno: error.errno.raw_os_error() }), None),
        };
        let reply: FilesReply = reply;
        let sent = match &fd {
            Some(fd) => protocol::send(socket, &reply, &[fd.as_fd()]),
            None => protocol::send(socket, &reply, &[]),
        };
        if sent.is_err() {
            return 1;
        }
    }
    0
}

/// The container that was entered.
struct Inside {
    root: Root,
    /// To be attached.
    tree: Option<OwnedFd>,
}

fn handle(message: &FilesMessage, fds: Vec<OwnedFd>, inside: &mut Option<Inside>) -> sys::Result<(FileReply, Option<OwnedFd>)> {
    let not_inside = || sys::Error::new("use files", "container not entered", Errno::INVAL);
    if let FilesMessage::Enter { privileged } = message {
        let mut fds = fds.into_iter();
        let pidfd = fds.next().ok_or_else(not_inside)?;
        *inside = Some(enter(&pidfd, *privileged, fds.next())?);
        return Ok((FileReply::Done, None));
    }
    let Inside { root, tree } = inside.as_ref().ok_or_else(not_inside)?;
    match message {
        FilesMessage::Enter { .. } => Err(not_inside()),
        FilesMessage::Request(request) => Tree { root, ids: &IdMap::default(), guest_mounts: true }.perform(request),
        FilesMessage::Attach { target, directory } => {
            attach(root, tree.as_ref().ok_or_else(not_inside)?, target, *directory)?;
            Ok((FileReply::Done, None))
        }
        FilesMessage::Detach { target } => {
            let (parent, name) = match root.parent_of("unmount", target) {
                Err(error) if error.is_not_found() => return Ok((FileReply::Done, None)),
                other => other?,
            };
            rustix::process::fchdir(&parent).map_err(|errno| sys::Error::new("unmount", target.display(), errno))?;
            let result = sys::mount::unmount(Path::new(&name));
            let _ = rustix::process::chdir("/");
            match result {
                // The guest may have removed it already.
                Err(error) if !matches!(error.errno, Errno::INVAL | Errno::NOENT) => Err(error),
                _ => Ok((FileReply::Done, None)),
            }
        }
    }
}

/// Enters a container, locking the flags of a tree on the way.
fn enter(pidfd: &OwnedFd, privileged: bool, mut tree: Option<OwnedFd>) -> sys::Result<Inside> {
    let mut kinds = namespaces::MOUNT;
    if let (Some(open), false) = (&tree, privileged) {
        staging::enter()?;
        staging::put(0, open)?;
        sys::process::setns(pidfd, namespaces::USER)?;
        sys::process::unshare(namespaces::MOUNT)?;
        tree = Some(staging::take(0)?);
    } else if !privileged {
        kinds |= namespaces::USER;
    }
    sys::process::setns(pidfd, kinds)?;
    sys::process::set_identity(0, 0)?;
    rustix::process::umask(rustix::fs::Mode::empty());
    Ok(Inside { root: Root::open("/")?, tree })
}

fn attach(root: &Root, tree: &OwnedFd, target: &Path, directory: bool) -> sys::Result<()> {
    if directory {
        root.create_dir_all(target, 0o755)?;
    } else {
        if let Some(parent) = target.parent() {
            root.create_dir_all(parent, 0o755)?;
        }
        if !root.exists(target) {
            root.create_file(target, rustix::fs::OFlags::EXCL, 0o644)?;
        }
    }
    let place = root.open_at(target, rustix::fs::OFlags::PATH, 0)?;
    sys::mount::attach_fd(tree, place, target)
}
