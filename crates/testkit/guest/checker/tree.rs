//! A chain of processes, each the leader of a session on a terminal that the one before it holds.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::Check;
use crate::control::Object;
use crate::ffi;

/// Processes below the first.
const DEPTH: u64 = 12;
/// TIOCSCTTY of ioctl_tty(2).
const SET_TERMINAL: u64 = 0x540e;

/// The first of them: numbers go down to the last and come up again, and each process adds one.
pub struct Tree {
    master: OwnedFd,
    sent: u64,
}

impl Tree {
    pub fn new() -> Result<Self, String> {
        Ok(Self { master: below(1)?, sent: 0 })
    }
}

/// Makes the processes from this depth on; the terminal of the first of them.
fn below(depth: u64) -> Result<OwnedFd, String> {
    let (master, slave) = ffi::pty()?;
    // SAFETY: there is one thread, so the forked process may do anything.
    if ffi::check("fork", unsafe { ffi::fork() })? != 0 {
        return Ok(master);
    }
    drop(master);
    if let Err(reason) = live(depth, slave) {
        eprintln!("process {depth}: {reason}");
    }
    std::process::exit(0);
}

fn live(depth: u64, terminal: OwnedFd) -> Check {
    let fd = terminal.as_raw_fd();
    // SAFETY: plain calls on a descriptor of our own.
    unsafe {
        ffi::check("setsid", ffi::setsid())?;
        ffi::check("TIOCSCTTY", ffi::ioctl(fd, SET_TERMINAL, 0))?;
        ffi::check("dup2", ffi::dup2(fd, 0))?;
        ffi::check("dup2", ffi::dup2(fd, 1))?;
    }
    drop(terminal);
    let next = if depth < DEPTH { Some(below(depth + 1)?) } else { None };
    // SAFETY: plain calls.
    let ids = || unsafe { (ffi::getppid(), ffi::getsid(0), ffi::tcgetpgrp(0)) };
    let first = ids();
    loop {
        while !ffi::is_readable(0, std::time::Duration::from_secs(3600)) {}
        let mut message = [0; 16];
        ffi::read_exact(0, &mut message)?;
        let own = std::process::id() as i32;
        if ids() != first || first.1 != own || first.2 != own {
            return Err(format!("parent, session and group are {:?} and were {first:?}", ids()));
        }
        if let Some(next) = &next {
            ffi::write_all(next.as_raw_fd(), &message)?;
            ffi::read_exact(next.as_raw_fd(), &mut message)?;
        }
        let sum = u64::from_le_bytes(message[8..].try_into().unwrap_or_default()) + depth;
        message[8..].copy_from_slice(&sum.to_le_bytes());
        ffi::write_all(1, &message)?;
    }
}

impl Object for Tree {
    fn name(&self) -> &'static str {
        "process tree"
    }

    fn tick(&mut self, _: u64) -> Check {
        self.sent += 1;
        let mut message = [0; 16];
        message[..8].copy_from_slice(&self.sent.to_le_bytes());
        ffi::write_all(self.master.as_raw_fd(), &message)?;
        ffi::read_exact(self.master.as_raw_fd(), &mut message)?;
        let (number, sum) = message.split_at(8);
        let found = [number, sum].map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()));
        let expected = [self.sent, (1..=DEPTH).sum()];
        if found == expected { Ok(()) } else { Err(format!("{found:?} came where {expected:?} was due")) }
    }

    fn figures(&mut self) -> String {
        format!("rounds={}", self.sent)
    }
}
