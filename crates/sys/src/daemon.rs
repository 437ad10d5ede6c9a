//! What a daemon needs from its surroundings: a lock on its state, sockets passed by the service
//! manager, a word back to it, and a small heap.

use std::fs::File;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::net::{AddressFamily, SocketType};

use crate::error::{Context, Errno, Error, Result};

/// First descriptor that a service manager passes, see sd_listen_fds(3).
const LISTEN_FDS_START: RawFd = 3;
/// How long a lock may take to be let go: a process that was killed closes its files one after another, and is
/// dead before it has come to the last.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// More passed sockets than anybody uses.
const MAX_LISTEN_FDS: RawFd = 64;

/// Whether this process runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Takes the exclusive lock on a file, made if need be. `None` if another process holds it, and goes on
/// to for two seconds. The lock goes with the last descriptor, so also when the process is killed.
pub fn lock_file(path: &Path) -> Result<Option<File>> {
    let file = crate::fs::append(path, 0o600)?;
    let end = Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(LOCK_PAUSE),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno).on_path("lock", path),
        }
    }
}

/// Listening stream sockets that the service manager passed.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Unix sockets.
    pub unix: Vec<OwnedFd>,
    /// TCP sockets.
    pub tcp: Vec<OwnedFd>,
}

/// Takes over the listening sockets that the service manager passed (`LISTEN_PID`,
/// `LISTEN_FDS`) and clears the variables, so that children do not take them for theirs. Other
/// descriptors among those passed are closed.
///
/// Call it once, first of all and before any thread is started.
pub fn take_inherited_listeners() -> Inherited {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<RawFd>().ok());
    let is_ours = number("LISTEN_PID") == i32::try_from(std::process::id()).ok();
    let count = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0).clamp(0, MAX_LISTEN_FDS);
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        // SAFETY: the caller promises that no other thread exists yet that could read the
        // environment at the same time.
        unsafe { std::env::remove_var(name) };
    }
    let passed = (LISTEN_FDS_START..LISTEN_FDS_START + count).filter_map(adopt);
    let mut inherited = Inherited::default();
    for fd in passed {
        match listener_family(fd.as_fd()) {
            Some(AddressFamily::UNIX) => inherited.unix.push(fd),
            Some(AddressFamily::INET | AddressFamily::INET6) => inherited.tcp.push(fd),
            _ => {}
        }
    }
    inherited
}

/// Tells the service manager about a change of state (`READY=1`, `STOPPING=1`), see sd_notify(3).
/// Without a service manager it does nothing.
pub fn notify(state: &str) -> Result<()> {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
        return Ok(());
    };
    let show = address.to_string_lossy().into_owned();
    let socket = UnixDatagram::unbound().context("notify", &show)?;
    let sent = match show.strip_prefix('@') {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name).context("notify", &show)?;
            socket.send_to_addr(state.as_bytes(), &address)
        }
        None => socket.send_to(state.as_bytes(), Path::new(&address)),
    };
    sent.map(drop).context("notify", &show)
}

/// Sends one line to the system log of the machine, see syslog(3). `priority` is facility times 8
/// plus severity.
pub fn send_to_syslog(priority: u8, tag: &str, line: &str) -> Result<()> {
    const SOCKET: &str = "/dev/log";
    let socket = UnixDatagram::unbound().context("log to", SOCKET)?;
    let text = format!("<{priority}>{tag}[{}]: {line}", std::process::id());
    socket.send_to(text.as_bytes(), SOCKET).map(drop).context("log to", SOCKET)
}

/// Keeps the heap small: few arenas whatever the number of threads, and memory given back to the
/// kernel early. Without glibc it does nothing.
pub fn keep_heap_small() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [(libc::M_ARENA_MAX, 2), (libc::M_TRIM_THRESHOLD, 128 * 1024), (libc::M_MMAP_THRESHOLD, 128 * 1024)] {
        // SAFETY: mallopt(3) takes two integers and only changes settings of the allocator.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Takes over a descriptor that was open when the program started.
fn adopt(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_GETFD only asks; a number without a descriptor gives an error.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: the descriptor is open, was passed to this process for it to own, and nothing else
    // here knows of it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(owned)
}

/// The family of a stream socket that listens; `None` for anything else.
fn listener_family(fd: std::os::fd::BorrowedFd<'_>) -> Option<AddressFamily> {
    use rustix::net::sockopt;
    let is_stream = sockopt::socket_type(fd).is_ok_and(|kind| kind == SocketType::STREAM);
    let is_listening = is_stream && sockopt::socket_acceptconn(fd).unwrap_or(false);
    is_listening.then(|| sockopt::socket_domain(fd).ok()).flatten()
}

/// Switches the echo of a terminal off until dropped, for typing secrets.
#[derive(Debug)]
pub struct EchoOff {
    terminal: OwnedFd,
    before: rustix::termios::Termios,
}

impl EchoOff {
    /// Switches it off; `None` if `fd` is no terminal.
    pub fn new(fd: impl AsFd) -> Result<Option<Self>> {
        if !rustix::termios::isatty(&fd) {
            return Ok(None);
        }
        let failed = |errno| Error::new("switch echo off", "terminal", errno);
        let before = rustix::termios::tcgetattr(&fd).map_err(failed)?;
        let mut after = before.clone();
        after.local_modes.remove(rustix::termios::LocalModes::ECHO);
        rustix::termios::tcsetattr(&fd, rustix::termios::OptionalActions::Flush, &after).map_err(failed)?;
        let terminal = fd.as_fd().try_clone_to_owned().context("duplicate", "terminal")?;
        Ok(Some(Self { terminal, before }))
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        // Nothing more can be done about a terminal that has gone.
        let _ = rustix::termios::tcsetattr(&self.terminal, rustix::termios::OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_goes_with_its_holder() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("lock");
        let first = lock_file(&path).expect("lock").expect("free");
        assert!(lock_file(&path).expect("try").is_none());
        drop(first);
        assert!(lock_file(&path).expect("try").is_some());
    }

    #[test]
    fn only_listening_sockets_are_taken() {
        let dir = tempfile::tempdir().expect("directory");
        let listener = std::os::unix::net::UnixListener::bind(dir.path().join("s")).expect("listen");
        assert_eq!(listener_family(listener.as_fd()), Some(AddressFamily::UNIX));
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
        assert_eq!(listener_family(tcp.as_fd()), Some(AddressFamily::INET));
        let (one, _other) = crate::socket::stream_pair().expect("pair");
        assert_eq!(listener_family(one.as_fd()), None);
        let file = crate::fs::open("/dev/null").expect("open");
        assert_eq!(listener_family(file.as_fd()), None);
    }

    #[test]
    fn echo_comes_back() {
        let file = crate::fs::open("/dev/null").expect("open");
        assert!(EchoOff::new(&file).expect("no terminal").is_none());
    }
}
