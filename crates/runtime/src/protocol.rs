//! Messages between the daemon and its helpers: JSON, one per packet of a sequenced socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cgroup::Layout;
use crate::error::{Error, Result};
use crate::files::{FileReply, FileRequest};
use crate::monitor::LAUNCH_FILE;
use crate::spec::{ContainerSpec, Exit, Rlimit};

/// The longest message, bytes. Descriptions of containers travel as files instead.
pub const MESSAGE_BYTES: usize = 160 * 1024;
/// The longest request that a monitor takes, bytes: it keeps its memory small.
pub const REQUEST_BYTES: usize = 4096;

/// All that a monitor needs; the daemon writes it to `launch.json` in the container's run
/// directory, and again whenever it changes the running container: it always says what the
/// container has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// What to run.
    pub spec: ContainerSpec,
    /// The host's control groups.
    pub layout: Layout,
    /// Parent of the container's control groups.
    pub cgroup_tag: String,
    /// Compiled system call filter, see [`crate::seccomp`].
    pub seccomp: Vec<u8>,
    /// Name of the AppArmor profile that is loaded for it.
    #[serde(default)]
    pub apparmor: Option<String>,
    /// Mount point of lxcfs, if it runs.
    pub lxcfs: Option<PathBuf>,
    /// A saved state to go on from, in place of a fresh start.
    #[serde(default)]
    pub resume: Option<Resume>,
}

/// From where and how a container goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resume {
    /// Directory of the saved state.
    pub images: PathBuf,
    /// The program CRIU.
    pub criu: PathBuf,
    /// What CRIU calls in the middle of its work.
    pub hook: PathBuf,
    /// Directory for CRIU's log.
    pub log_dir: PathBuf,
}

/// How long a monitor may take for an answer: it sleeps in poll(2) and does nothing that lasts.
pub const MONITOR_PATIENCE: Duration = Duration::from_secs(3);
/// How long the start of a container may take: it mounts file systems, on disks that may be slow.
pub const LAUNCH_PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take until a command runs inside.
pub const ATTACH_PATIENCE: Duration = Duration::from_secs(30);
/// How long one operation on a guest's files may take: the guest chooses its file systems.
pub const FILES_PATIENCE: Duration = Duration::from_secs(20);

impl Launch {
    /// Reads the record of a run directory.
    pub fn read(run_dir: &Path) -> Result<Self> {
        let text = sys::fs::read(run_dir.join(LAUNCH_FILE))?;
        serde_json::from_slice(&text).map_err(|error| Error::step("read launch.json", error))
    }

    /// Writes the record, whole or not at all.
    pub fn write(&self, run_dir: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|error| Error::step("describe the container", error))?;
        Ok(sys::fs::write_atomic(run_dir.join(LAUNCH_FILE), &text, 0o600)?)
    }
}

/// What a transfer helper is to do; with it come descriptors, see [`crate::transfer`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransferRequest {
    /// The program rsync.
    pub rsync: PathBuf,
    /// This program as a file.
    pub helper: PathBuf,
    /// Its arguments, with its name.
    pub args: Vec<String>,
    /// It only reads the tree.
    pub sends: bool,
    /// Compiled system call filter.
    pub seccomp: Vec<u8>,
}

/// A transfer helper's only answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum TransferReply {
    /// rsync ended with this code.
    Ended(i32),
    /// It was never started.
    Failed(StepFailure),
}

/// From the daemon to a monitor.
#[derive(Debug, Serialize, Deserialize)]
pub enum MonitorRequest {
    /// Asks for [`MonitorReply::Running`]; this connection will be told of the exit.
    Hello,
    /// Asks for a stream to the console.
    Console,
    /// Asks for what the console printed lately.
    ConsoleLog,
    /// Changes the size of the console, characters.
    ConsoleResize {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
}

/// From a monitor to the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub enum MonitorReply {
    /// Init runs; carries its pidfd.
    Running {
        /// Pid of init on the host.
        pid: i32,
    },
    /// Init could not be started; nothing is left.
    Failed(StepFailure),
    /// Carries a stream socket.
    Console,
    /// Followed by one message with the raw bytes.
    ConsoleLog,
    /// Done.
    Done,
    /// Init ended. The record is on disk.
    Exited(Exit),
}

/// A failed step, as the process that took it saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepFailure {
    /// What was being done.
    pub step: String,
    /// Operation, subject and the kernel's words.
    pub reason: String,
}

/// From the daemon to an attach helper. Descriptors: pidfd of init, then stdin, stdout, stderr
/// unless `pty`.
#[derive(Debug, Serialize, Deserialize)]
pub struct AttachRequest {
    /// The container, for its control groups.
    pub name: String,
    /// The host's control groups.
    pub layout: Layout,
    /// Parent of the container's control groups.
    pub cgroup_tag: String,
    /// No user namespace to enter.
    pub privileged: bool,
    /// Capabilities to drop, by number.
    pub dropped_capabilities: Vec<u32>,
    /// Compiled system call filter.
    pub seccomp: Vec<u8>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// `KEY=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// Guest user id.
    pub uid: u32,
    /// Guest group id.
    pub gid: u32,
    /// Size of the terminal to make, columns and rows.
    pub pty: Option<(u16, u16)>,
    /// 32-bit personality.
    pub personality_32: bool,
    /// Resource limits of the command.
    pub rlimits: Vec<Rlimit>,
    /// Name of the AppArmor profile that confines the container.
    pub apparmor: Option<String>,
}

/// From an attach helper to the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub enum AttachReply {
    /// The command runs; carries its pidfd and, with a terminal, the terminal's master.
    Running {
        /// Pid on the host.
        pid: i32,
    },
    /// It could not be started.
    Failed(StepFailure),
    /// It ended: exit code, or 128 + signal.
    Ended(i32),
}

/// From the daemon to a files helper. The first message carries init's pidfd and the mount tree that
/// is to be attached, if any.
#[derive(Debug, Serialize, Deserialize)]
pub enum FilesMessage {
    /// Enter the container.
    Enter {
        /// No user namespace to enter.
        privileged: bool,
    },
    /// Do something; answered by a [`FileReply`].
    Request(FileRequest),
    /// Attach the mount tree that was taken along.
    Attach {
        /// Where, inside.
        target: PathBuf,
        /// Whether the tree is a directory.
        directory: bool,
    },
    /// Remove a mount.
    Detach {
        /// Where, inside.
        target: PathBuf,
    },
}

/// Sends a message.
pub fn send<M: Serialize>(socket: impl AsFd, message: &M, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let bytes = serde_json::to_vec(message).map_err(|error| Error::step("encode a message", error))?;
    Ok(sys::socket::send(socket, &bytes, fds)?)
}

/// Receives a message; `None` when the other side has gone.
pub fn receive<M: DeserializeOwned>(socket: impl AsFd, limit: usize) -> Result<Option<(M, Vec<OwnedFd>)>> {
    match sys::socket::receive(socket, limit) {
        Ok(None) => Ok(None),
        Ok(Some((bytes, fds))) => {
            let message = serde_json::from_slice(&bytes).map_err(|error| Error::step("decode a message", error))?;
            Ok(Some((message, fds)))
        }
        Err(error) if error.errno == sys::Errno::CONNRESET => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Receives a message over a socket that has this time limit (see [`sys::socket::set_timeouts`]);
/// says who it was that kept silent.
pub fn receive_within<M: DeserializeOwned>(
    socket: impl AsFd,
    limit: Duration,
    (program, name): (&'static str, &str),
) -> Result<Option<(M, Vec<OwnedFd>)>> {
    receive(socket, MESSAGE_BYTES).map_err(|error| silent(error, limit, (program, name)))
}

/// Names whoever kept silent, if that is what the error means.
pub fn silent(error: Error, limit: Duration, (program, name): (&'static str, &str)) -> Error {
    match error.errno() {
        Some(sys::Errno::AGAIN) => Error::Silent { program, name: name.to_owned(), seconds: limit.as_secs() },
        _ => error,
    }
}

/// Reply of a files helper.
pub type FilesReply = std::result::Result<FileReply, FileFailure>;

/// A failed file operation with its error number, which decides the API's status code.
#[derive(Debug, Serialize, Deserialize)]
pub struct FileFailure {
    /// Operation and subject in words.
    pub message: String,
    /// Linux error number.
    pub errno: i32,
}
