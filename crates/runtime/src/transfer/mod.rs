//! Sending the files of a volume to another server, and receiving them: by the program rsync, which is what every LXD
//! speaks, and which must be thought of as the other server's, since it lives on bytes from there.
//!
//! rsync needs root's rights over owners and device nodes, so it is shut in: a helper in mount, network, IPC, UTS and
//! process namespaces of its own, whose root directory holds read-only the program with its libraries, and the one tree.
//! On that nothing can be executed, no device opened, and no symbolic link is ever followed (mount flags); of root's
//! capabilities only those are left that write files as they are to be; a filter refuses the calls that lead elsewhere.
//! Its arguments are fixed here.
//!
//! What other servers send is a directory with `rootfs`, `metadata.yaml` and `templates`. All but the root file system is
//! small, and is taken into memory first ([`Transfer::finish`]): whoever asked for it takes from there what it knows.
//!
//! The sending rsync wants to start a program that leads to the other host. That is the helper once more, which hands
//! its standard streams, rsync's, to the daemon ([`lend`]).

mod helper;
mod lend;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use sys::Root;
use sys::mount::MountAttrFlags;

pub use helper::run;
pub use lend::{LEND, lend};

use crate::error::{Error, Result};
use crate::protocol::{self, TransferReply, TransferRequest};
use crate::runtime::Runtime;
use crate::spec::Rootfs;

/// How long rsync may take to start, and to end once its streams have.
const PATIENCE: Duration = Duration::from_secs(60);
/// What may lie beside the root file system, in bytes and files.
const BESIDE_SIZE: &str = "64m";
const BESIDE_FILES: &str = "16k";
/// How much of rsync's complaints is kept, bytes.
const LOG_BYTES: usize = 2048;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The tree is read.
    Send,
    /// The tree is written.
    Receive,
}

/// What both sides have agreed upon; it changes what goes over the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferOptions {
    /// Extended attributes.
    pub xattrs: bool,
    /// Delete what the source does not have.
    pub delete: bool,
    /// Compress what is sent.
    pub compress: bool,
    /// Hard links and access control lists.
    pub links_and_acls: bool,
    /// The tree is all that goes: nothing beside it.
    pub is_bare: bool,
}

/// An rsync at work. Dropped, it is killed.
#[derive(Debug)]
pub struct Transfer {
    socket: Option<OwnedFd>,
    child: Child,
    streams: Option<(File, File)>,
    beside: Option<Root>,
    log: Arc<Mutex<Vec<u8>>>,
    logger: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Starts rsync on a root file system that nothing else has mounted for writing. `fill` puts what is to be sent along
    /// beside `rootfs`.
    pub fn transfer(
        &self,
        rootfs: &Rootfs,
        direction: Direction,
        options: TransferOptions,
        fill: impl FnOnce(&Root) -> sys::Result<()>,
    ) -> Result<Transfer> {
        let missing = || sys::cmd::CmdError::Missing { program: "rsync", package: "rsync" };
        let rsync = sys::cmd::find_in_path("rsync").ok_or_else(|| Error::Invalid(missing().to_string()))?;
        let rsync = sys::fs::canonicalize(rsync)?;
        self.run_shut_in((rsync, arguments(direction, options)), rootfs, direction, fill)
    }

    /// The same with another program, which tries what it can do there.
    #[doc(hidden)]
    pub fn run_shut_in(
        &self,
        (program, args): (PathBuf, Vec<String>),
        rootfs: &Rootfs,
        direction: Direction,
        fill: impl FnOnce(&Root) -> sys::Result<()>,
    ) -> Result<Transfer> {
        let (beside, mount) = beside()?;
        beside.create_dir("rootfs", 0o755)?;
        fill(&beside)?;
        let tree = open_tree(rootfs, direction)?;
        let (stderr, their_stderr) = std::io::pipe().map_err(|error| sys::Error::io("make", "a pipe", &error))?;
        let plumbing = Plumbing::new(direction)?;
        let (socket, child) = self.spawn_helper("transfer", PATIENCE)?;
        let (log, logger) = keep_end(stderr);
        let mut transfer = Transfer { socket: Some(socket), child, streams: None, beside: Some(beside), log, logger: Some(logger) };
        let request = TransferRequest {
            rsync: program,
            helper: self.hook_path().to_owned(),
            args,
            sends: direction == Direction::Send,
            seccomp: crate::seccomp::compile_confined()?,
        };
        let mut fds = vec![mount.as_fd(), tree.as_fd(), their_stderr.as_fd()];
        fds.extend(plumbing.theirs.iter().map(AsFd::as_fd));
        if let Some(socket) = &transfer.socket {
            protocol::send(socket, &request, &fds)?;
        }
        drop((tree, their_stderr));
        transfer.streams = Some(plumbing.connect().map_err(|error| transfer.reason().unwrap_or(error))?);
        Ok(transfer)
    }
}

/// Stops an rsync from elsewhere.
#[derive(Debug)]
pub struct Stopper(OwnedFd);

impl Stopper {
    /// Has it killed. Its streams then end.
    pub fn stop(&self) {
        // Fails if it has ended already.
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }
}

impl Transfer {
    /// What can stop it while its streams are in use.
    pub fn stopper(&self) -> Result<Stopper> {
        let socket = self.socket.as_ref().ok_or_else(|| Error::Invalid("a transfer is watched after its end".to_owned()))?;
        Ok(Stopper(socket.try_clone().map_err(|error| sys::Error::io("dup", "socket", &error))?))
    }

    /// What goes to rsync, and what comes from it. Once.
    pub fn take_streams(&mut self) -> Option<(File, File)> {
        self.streams.take()
    }

    /// Waits for its end, which is near once its streams have ended; an error if it has not done all that it was to do. What
    /// lies beside the root file system comes back, as foreign as the tree itself.
    pub fn finish(mut self) -> Result<Root> {
        self.streams = None;
        match (self.reason(), self.beside.take()) {
            (None, Some(beside)) => Ok(beside),
            (reason, _) => Err(reason.unwrap_or_else(|| Error::Invalid("a transfer is ended twice".to_owned()))),
        }
    }

    /// Why it failed, if it did.
    fn reason(&mut self) -> Option<Error> {
        let socket = self.socket.take()?;
        let answer = protocol::receive_within::<TransferReply>(&socket, PATIENCE, ("transfer helper", "rsync"));
        drop(socket);
        drop(self.child.wait());
        // Its end of the pipe is closed, or will be as soon as the last process of it has gone.
        if let Some(logger) = self.logger.take() {
            drop(logger.join());
        }
        match answer {
            Ok(Some((TransferReply::Ended(0), _))) => None,
            Ok(Some((TransferReply::Ended(code), _))) => Some(Error::step("rsync", self.explain(code))),
            Ok(Some((TransferReply::Failed(failure), _))) => Some(Error::step(failure.step, failure.reason)),
            Ok(None) => Some(Error::Invalid("the helper that runs rsync has ended".to_owned())),
            Err(error) => Some(error),
        }
    }

    fn explain(&self, code: i32) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let said: String = String::from_utf8_lossy(&log).chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
        let said = said.trim();
        if said.is_empty() { format!("it ended with code {code}") } else { format!("it ended with code {code}: {said}") }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.streams = None;
        // The helper kills rsync when its socket is closed, and ends.
        if self.socket.take().is_some() {
            drop(self.child.wait());
        }
    }
}

/// The descriptors that rsync talks through.
struct Plumbing {
    theirs: Vec<OwnedFd>,
    ours: Ours,
}

enum Ours {
    /// Both ends are here already.
    Streams(File, File),
    /// They come through this socket.
    Lent(OwnedFd),
}

impl Plumbing {
    fn new(direction: Direction) -> Result<Self> {
        if direction == Direction::Send {
            let (ours, theirs) = sys::socket::seqpacket_pair()?;
            sys::socket::set_timeouts(&ours, PATIENCE)?;
            return Ok(Self { theirs: vec![theirs], ours: Ours::Lent(ours) });
        }
        let pipe = || std::io::pipe().map_err(|error| sys::Error::io("make", "a pipe", &error));
        let ((stdin, to), (from, stdout)) = (pipe()?, pipe()?);
        let ours = Ours::Streams(File::from(OwnedFd::from(to)), File::from(OwnedFd::from(from)));
        Ok(Self { theirs: vec![stdin.into(), stdout.into()], ours })
    }

    /// To be called when the other ends have been sent away.
    fn connect(self) -> Result<(File, File)> {
        drop(self.theirs);
        match self.ours {
            Ours::Streams(to, from) => Ok((to, from)),
            Ours::Lent(socket) => lend::receive(&socket),
        }
    }
}

/// A small file system in memory: its root, and the mount.
fn beside() -> Result<(Root, OwnedFd)> {
    let options = [("size", Some(BESIDE_SIZE)), ("nr_inodes", Some(BESIDE_FILES)), ("mode", Some("0700"))];
    let mount = sys::mount::new_fs("tmpfs", &options, confinement(Direction::Receive))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(&mount, ".", flags, Mode::empty()).map_err(|errno| sys::Error::new("open", "tmpfs", errno))?;
    Ok((Root::from_fd(root, PathBuf::from("what comes along")), mount))
}

/// A mount of a root file system that is attached nowhere.
fn open_tree(rootfs: &Rootfs, direction: Direction) -> Result<OwnedFd> {
    let mount = match rootfs {
        Rootfs::Dir { path } => {
            let mount = sys::mount::clone_tree(path, false)?;
            sys::mount::set_private(&mount, "root file system")?;
            mount
        }
        Rootfs::Overlay { .. } => crate::files::mount_overlay(rootfs)?,
    };
    sys::mount::add_flags(&mount, confinement(direction), false, "root file system")?;
    Ok(mount)
}

fn confinement(direction: Direction) -> MountAttrFlags {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW;
    if direction == Direction::Send { flags | MountAttrFlags::MOUNT_ATTR_RDONLY } else { flags }
}

/// The arguments, which no peer has a say in. Those of a receiver are what a sender would ask for over a remote shell.
fn arguments(direction: Direction, options: TransferOptions) -> Vec<String> {
    let mut args = match direction {
        // One list of files after the other, as other servers' receivers do; their own letters follow the `e`.
        Direction::Receive => vec!["rsync", "--server", "-logDtpre.iLsfx", "--msgs2stderr", "--modify-window=-1"],
        Direction::Send => vec!["rsync", "-a"],
    };
    args.extend(["--numeric-ids", "--devices", "--sparse"]);
    if options.xattrs {
        args.extend(["--xattrs", "--filter=-x security.selinux"]);
    }
    if options.delete {
        args.push("--delete");
    }
    if options.compress {
        args.extend(["--compress", "--compress-level=2"]);
    }
    if options.links_and_acls {
        args.extend(["--hard-links", "--acls"]);
    }
    let tree = if options.is_bare { "/tree/rootfs/" } else { "/tree/" };
    args.extend(match direction {
        Direction::Receive => [".", tree].to_vec(),
        Direction::Send => vec!["-e", "/lend lend", tree, "there:/"],
    });
    args.into_iter().map(str::to_owned).collect()
}

/// Reads to the end and keeps the last of it.
fn keep_end(mut pipe: impl Read + Send + 'static) -> (Arc<Mutex<Vec<u8>>>, JoinHandle<()>) {
    let log: Arc<Mutex<Vec<u8>>> = Arc::default();
    let kept = log.clone();
    let thread = std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut chunk) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(&chunk[..count]);
            let excess = kept.len().saturating_sub(LOG_BYTES);
            kept.drain(..excess);
        }
    });
    (log, thread)
}
