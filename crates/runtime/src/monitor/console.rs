//! The console: the newest output in a ring, and at most one client attached.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::Errno;

use crate::error::Result;

/// How much output is remembered, bytes.
const RING_BYTES: usize = 32 * 1024;
/// How much is moved at once, bytes.
const CHUNK_BYTES: usize = 4096;

/// Master side of the container's console.
pub struct Console {
    master: OwnedFd,
    /// Without a holder the master would report a hang-up all the time, and there is no way to wait
    /// for the next holder.
    _slave: OwnedFd,
    ring: VecDeque<u8>,
    client: Option<OwnedFd>,
}

impl Console {
    /// Takes over the terminal.
    pub fn new(master: OwnedFd, slave: OwnedFd) -> Result<Self> {
        set_nonblocking(master.as_fd())?;
        Ok(Self { master, _slave: slave, ring: VecDeque::new(), client: None })
    }

    /// Descriptors to wait for: the terminal, and the client if there is one.
    pub fn fds(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.master.as_fd(), self.client.as_ref().map(AsFd::as_fd))
    }

    /// Attaches a client, in place of an earlier one. Returns the client's end.
    pub fn attach(&mut self) -> Result<OwnedFd> {
        let (ours, theirs) = sys::socket::stream_pair()?;
        set_nonblocking(ours.as_fd())?;
        self.client = Some(ours);
        Ok(theirs)
    }

    /// What was printed lately.
    pub fn log(&self) -> Vec<u8> {
        self.ring.iter().copied().collect()
    }

    /// Changes the size.
    pub fn resize(&self, width: u16, height: u16) -> Result<()> {
        Ok(sys::pty::resize(&self.master, width, height)?)
    }

    /// Moves output of the guest to ring and client. What a slow client does not take is lost to
    /// it: a guest must never wait for a reader. False when there will be no more.
    pub fn pump_output(&mut self) -> bool {
        let mut chunk = [0; CHUNK_BYTES];
        match rustix::io::read(&self.master, &mut chunk) {
            Ok(count @ 1..) => {
                self.remember(&chunk[..count]);
                if let Some(client) = &self.client
                    && let Err(errno) = rustix::io::write(client, &chunk[..count])
                    && errno != Errno::AGAIN
                {
                    self.client = None;
                }
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            Ok(_) | Err(_) => false,
        }
    }

    /// Moves input of the client to the guest. What a guest does not read in time is lost.
    pub fn pump_input(&mut self) {
        let Some(client) = &self.client else { return };
        let mut chunk = [0; CHUNK_BYTES];
        match rustix::io::read(client, &mut chunk) {
            Ok(count @ 1..) => drop(rustix::io::write(&self.master, &chunk[..count])),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => self.client = None,
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        let excess = (self.ring.len() + bytes.len()).saturating_sub(RING_BYTES);
        self.ring.drain(..excess.min(self.ring.len()));
        self.ring.extend(bytes);
    }
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<()> {
    let on = rustix::io::ioctl_fionbio(fd, true);
    on.map_err(|errno| sys::Error::new("set non-blocking", "console", errno).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_keeps_the_newest() {
        let (master, slave) = sys::socket::stream_pair().expect("pair");
        let mut console = Console::new(master, slave).expect("console");
        console.remember(&vec![b'a'; RING_BYTES]);
        console.remember(b"newest");
        let log = console.log();
        assert_eq!(log.len(), RING_BYTES);
        assert!(log.ends_with(b"newest"));
    }
}
