//! Commands in running containers, from the daemon's side.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::protocol::{self, ATTACH_PATIENCE, AttachReply, AttachRequest, REQUEST_BYTES};
use crate::watcher::{Watched, Watcher};

/// A command to run.
#[derive(Debug)]
pub struct ExecSpec {
    /// Program and arguments; the program is looked up in PATH.
    pub command: Vec<String>,
    /// Its whole environment, but for defaults of PATH, HOME, USER and LANG.
    pub env: BTreeMap<String, String>,
    /// Working directory; HOME if unset.
    pub cwd: Option<String>,
    /// Guest user id.
    pub uid: u32,
    /// Guest group id.
    pub gid: u32,
    /// What its standard streams are.
    pub stdio: ExecStdio,
}

/// Standard streams of a command.
#[derive(Debug)]
pub enum ExecStdio {
    /// A terminal.
    Pty {
        /// Columns; 0 is 80.
        width: u16,
        /// Rows; 0 is 25.
        height: u16,
    },
    /// Three pipes, whose far ends the session gets.
    Pipes,
    /// Given descriptors: stdin, stdout, stderr.
    Fds([OwnedFd; 3]),
}

/// A started command with the caller's ends of its streams.
pub struct ExecSession {
    /// Write here (pipes).
    pub stdin: Option<OwnedFd>,
    /// Read here (pipes).
    pub stdout: Option<OwnedFd>,
    /// Read here (pipes).
    pub stderr: Option<OwnedFd>,
    /// Master of the terminal.
    pub pty: Option<OwnedFd>,
    /// The command.
    pub process: Arc<ExecProcess>,
}

type OnEnd = Box<dyn FnOnce(i32) + Send>;

/// A running or ended command.
pub struct ExecProcess {
    socket: OwnedFd,
    pid: i32,
    pidfd: OwnedFd,
    terminal: Mutex<Option<OwnedFd>>,
    helper: Mutex<Option<Child>>,
    ended: Mutex<Option<i32>>,
    changed: Condvar,
    on_end: Mutex<Option<OnEnd>>,
}

/// Exit code when the helper was lost: nobody knows how the command ended.
const UNKNOWN: i32 = -1;

impl ExecProcess {
    /// Waits for the end: exit code, 128 + signal, or -1 if it could not be determined.
    pub fn wait(&self) -> i32 {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(code) = *ended {
                return code;
            }
            ended = self.changed.wait(ended).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Calls back at the end, at once if it has come; holds no thread meanwhile.
    pub fn on_end(&self, call: impl FnOnce(i32) + Send + 'static) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        match *ended {
            Some(code) => {
                drop(ended);
                call(code);
            }
            None => *self.on_end.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(call)),
        }
    }

    /// Sends a signal to the command.
    pub fn signal(&self, signal: i32) -> Result<()> {
        Ok(sys::process::pidfd_signal(&self.pidfd, signal)?)
    }

    /// Changes the size of its terminal, characters. Without a terminal, nothing happens.
    pub fn resize(&self, width: u16, height: u16) -> Result<()> {
        match &*self.terminal.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(terminal) => Ok(sys::pty::resize(terminal, width, height)?),
            None => Ok(()),
        }
    }

    /// Lets go of the terminal, so that closing the session's end hangs it up.
    pub fn release_terminal(&self) {
        *self.terminal.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Pid on the host.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    fn finish(&self, code: i32) {
        self.release_terminal();
        if let Some(mut helper) = self.helper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It exits right after its last message.
            drop(helper.wait());
        }
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
        self.changed.notify_all();
        let on_end = self.on_end.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(call) = on_end {
            // It may do anything, and the watcher must go on.
            let spawned = std::thread::Builder::new().name("exec-end".into()).stack_size(256 * 1024).spawn(move || call(code));
            if let Err(error) = spawned {
                tracing::error!(%error, "the end of a command could not be reported");
            }
        }
    }
}

impl Watched for ExecProcess {
    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn wake(self: Arc<Self>) -> bool {
        match protocol::receive::<AttachReply>(&self.socket, REQUEST_BYTES) {
            Ok(Some((AttachReply::Ended(code), _))) => self.finish(code),
            Ok(Some((AttachReply::Failed(failure), _))) => {
                tracing::warn!(step = failure.step, reason = failure.reason, "attach helper");
                self.finish(UNKNOWN);
            }
            Ok(Some((AttachReply::Running { .. }, _))) => return true,
            Ok(None) | Err(_) => self.finish(UNKNOWN),
        }
        false
    }
}

/// The streams of a command: those to hand over, and our ends.
pub(crate) struct Streams {
    theirs: Vec<OwnedFd>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// Capacity of the pipes, bytes: as much as an unprivileged process may ask for.
const PIPE_BYTES: usize = 1 << 20;

pub(crate) fn open_streams(stdio: ExecStdio) -> Result<Streams> {
    let pipe = || -> Result<(OwnedFd, OwnedFd)> {
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let (read, write) = rustix::pipe::pipe_with(flags).map_err(|errno| sys::Error::new("pipe", "command", errno))?;
        // Smaller pipes are slower, nothing else.
        let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES);
        Ok((read, write))
    };
    Ok(match stdio {
        ExecStdio::Pty { .. } => Streams { theirs: Vec::new(), stdin: None, stdout: None, stderr: None },
        ExecStdio::Fds(fds) => Streams { theirs: fds.into(), stdin: None, stdout: None, stderr: None },
        ExecStdio::Pipes => {
            let (stdin, our_stdin) = pipe()?;
            let (our_stdout, stdout) = pipe()?;
            let (our_stderr, stderr) = pipe()?;
            Streams { theirs: vec![stdin, stdout, stderr], stdin: Some(our_stdin), stdout: Some(our_stdout), stderr: Some(our_stderr) }
        }
    })
}

/// Hands the request to a started helper and waits until the command runs, within limits: a helper
/// that enters a container at the moment when it is frozen stays there until it is thawed.
pub(crate) fn begin(
    request: &AttachRequest,
    init: &OwnedFd,
    streams: Streams,
    (socket, mut helper): (OwnedFd, Child),
    watcher: &Watcher,
) -> Result<ExecSession> {
    let mut fds = vec![init.as_fd()];
    fds.extend(streams.theirs.iter().map(AsFd::as_fd));
    let who = ("attach helper", request.name.as_str());
    let asked = protocol::send(&socket, request, &fds).map_err(|error| protocol::silent(error, ATTACH_PATIENCE, who));
    let reply = asked.and_then(|()| protocol::receive_within::<AttachReply>(&socket, ATTACH_PATIENCE, who));
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => {
            crate::runtime::dispose(helper, ());
            return Err(error);
        }
    };
    let (pid, mut fds) = match reply {
        Some((AttachReply::Running { pid }, fds)) if !fds.is_empty() => (pid, fds),
        Some((AttachReply::Failed(failure), _)) => {
            drop(helper.wait());
            return Err(Error::step(failure.step, failure.reason));
        }
        _ => {
            drop(helper.wait());
            return Err(Error::Helper { program: "attach helper", name: request.name.clone(), what: "ended without an answer".into() });
        }
    };
    let pidfd = fds.remove(0);
    let pty = fds.into_iter().next();
    let terminal = match &pty {
        Some(pty) => Some(pty.try_clone().map_err(|error| sys::Error::io("dup", "terminal", &error))?),
        None => None,
    };
    let process = Arc::new(ExecProcess {
        socket,
        pid,
        pidfd,
        terminal: Mutex::new(terminal),
        helper: Mutex::new(Some(helper)),
        ended: Mutex::new(None),
        changed: Condvar::new(),
        on_end: Mutex::new(None),
    });
    watcher.add(Arc::clone(&process) as Arc<dyn Watched>)?;
    let Streams { stdin, stdout, stderr, theirs: _ } = streams;
    Ok(ExecSession { stdin, stdout, stderr, pty, process })
}

/// Where programs are looked for when nobody says it.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `KEY=value` with defaults for what every login has.
pub(crate) fn environment(env: &BTreeMap<String, String>) -> Vec<String> {
    const DEFAULTS: &[(&str, &str)] = &[("PATH", DEFAULT_PATH), ("HOME", "/root"), ("USER", "root"), ("LANG", "C.UTF-8")];
    let mut result: Vec<String> = env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    result.extend(DEFAULTS.iter().filter(|(key, _)| !env.contains_key(*key)).map(|(key, value)| format!("{key}={value}")));
    if !env.contains_key("container") {
        result.push("container=lxc".into());
    }
    result
}
