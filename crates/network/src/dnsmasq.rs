//! The network's dnsmasq: started, recognised after a restart of the manager, ended.
//!
//! It detaches itself into a session of its own once it has bound its sockets, so that a start
//! that succeeded serves at once and one that failed says why. From then on its number in the pid
//! file is only a hint: a process counts as ours if its program and arguments say so, and it is
//! signalled through a descriptor opened before that was checked.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sys::Errno;
use sys::cmd::Cmd;

use crate::plan::pid_file_argument;
use crate::{Error, Result};

/// How long a start may take, and how long the end of it.
const START_DEADLINE: Duration = Duration::from_secs(20);
const END_DEADLINE: Duration = Duration::from_secs(3);

const SIGHUP: i32 = 1;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// A running dnsmasq.
#[derive(Debug)]
pub(crate) struct Server {
    pid: i32,
    pidfd: OwnedFd,
    /// Its arguments as it was started, without the program.
    args: Vec<String>,
}

impl Server {
    /// Takes over the running one if it has these arguments; otherwise replaces it.
    pub(crate) fn ensure(network: &str, state_dir: &Path, args: &[String]) -> Result<Self> {
        if let Some(running) = Self::find(state_dir) {
            if running.args == args {
                return Ok(running);
            }
            running.end(network)?;
        }
        Self::start(network, state_dir, args)
    }

    /// The one that runs for this network, if any.
    pub(crate) fn find(state_dir: &Path) -> Option<Self> {
        let text = sys::fs::read_to_string(state_dir.join("dnsmasq.pid")).ok()?;
        let pid: i32 = text.trim().parse().ok()?;
        let pidfd = sys::process::pidfd_open(pid).ok()?;
        let program = sys::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let command_line = sys::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let args: Vec<String> = command_line.split_terminator('\0').skip(1).map(str::to_owned).collect();
        // After an upgrade the link has " (deleted)" at its end.
        let is_dnsmasq = program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dnsmasq"));
        let is_ours = is_dnsmasq && args.contains(&pid_file_argument(state_dir));
        (is_ours && sys::process::pidfd_is_alive(&pidfd)).then_some(Self { pid, pidfd, args })
    }

    fn start(network: &str, state_dir: &Path, args: &[String]) -> Result<Self> {
        Cmd::new("dnsmasq", "dnsmasq-base").args(args).deadline(START_DEADLINE).run()?;
        Self::find(state_dir).ok_or_else(|| Error::Ended { network: network.to_owned() })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// A descriptor to wait on.
    pub(crate) fn try_clone_pidfd(&self) -> Result<OwnedFd> {
        self.pidfd.try_clone().map_err(|error| sys::Error::io("duplicate descriptor of process", self.pid, &error).into())
    }

    pub(crate) fn is_alive(&self) -> bool {
        sys::process::pidfd_is_alive(&self.pidfd)
    }

    /// Makes it read its host files again.
    pub(crate) fn reload(&self) -> Result<()> {
        Ok(sys::process::pidfd_signal(&self.pidfd, SIGHUP)?)
    }

    /// Ends it and waits until it has ended.
    pub(crate) fn end(&self, network: &str) -> Result<()> {
        for signal in [SIGTERM, SIGKILL] {
            match sys::process::pidfd_signal(&self.pidfd, signal) {
                Err(error) if error.errno != Errno::SRCH => return Err(error.into()),
                _ => {}
            }
            if self.wait(END_DEADLINE) {
                reap(&self.pidfd);
                return Ok(());
            }
        }
        Err(Error::Stuck { network: network.to_owned(), pid: self.pid })
    }

    fn wait(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs().min(3600) as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return !self.is_alive(),
            }
        }
    }
}

/// Collects one that has ended, where this process has adopted orphans. Elsewhere it is not ours
/// to collect, which is fine.
pub(crate) fn reap(pidfd: &OwnedFd) {
    if let Err(error) = sys::process::wait_pidfd(pidfd)
        && error.errno != Errno::CHILD
    {
        tracing::debug!(%error, "collecting dnsmasq");
    }
}

/// Whom it becomes once it has its sockets: an account without rights, if that one can reach the
/// host files, which it reads again later.
pub(crate) fn user(state_dir: &Path) -> &'static str {
    use std::os::unix::fs::PermissionsExt;
    let is_open = |dir: &Path| sys::fs::metadata(dir).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0);
    if let Some(closed) = state_dir.ancestors().find(|dir| !is_open(dir)) {
        tracing::warn!(directory = %closed.display(), "dnsmasq stays root: other users cannot pass through the directory");
        return "root";
    }
    let accounts = sys::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let exists = |name: &str| accounts.lines().any(|line| line.split(':').next() == Some(name));
    ["dnsmasq", "nobody"].into_iter().find(|name| exists(name)).unwrap_or("root")
}
