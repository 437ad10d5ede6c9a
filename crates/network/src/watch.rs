//! Watching over dnsmasq: one that ends unasked is started again.
//!
//! One thread a network sleeps until dnsmasq ends or the network is let go. It does not poll.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Weak;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sys::Errno;

use crate::bridge::Shared;

/// One that lived at least this long may be started again at once.
const STEADY: Duration = Duration::from_secs(60);
/// Pause before the first restart of one that did not; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const STACK_BYTES: usize = 256 * 1024;

/// Held by the network; the thread ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    wake: PipeWriter,
}

impl Watcher {
    /// Starts the thread.
    pub(crate) fn start(network: &str, shared: Weak<Shared>) -> std::io::Result<Self> {
        let (reader, wake) = std::io::pipe()?;
        let name = format!("net {network}");
        std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || watch(&shared, reader))?;
        Ok(Self { wake })
    }

    /// Makes the thread look at the present dnsmasq.
    pub(crate) fn wake(&self) {
        if let Err(error) = (&self.wake).write_all(b"x") {
            tracing::warn!(%error, "dnsmasq is not watched over");
        }
    }
}

enum Event {
    Ended,
    Woken,
    Over,
}

fn watch(shared: &Weak<Shared>, mut wake: PipeReader) {
    if let Some(shared) = shared.upgrade() {
        shared.warn_of_foreign_firewall();
    }
    let mut pause = FIRST_PAUSE;
    let mut since = Instant::now();
    loop {
        let Some(pidfd) = shared.upgrade().map(|shared| shared.server_pidfd()) else { return };
        match wait(&mut wake, pidfd.as_ref(), None) {
            Event::Over => return,
            Event::Woken => since = Instant::now(),
            Event::Ended => {
                if let Some(pidfd) = &pidfd {
                    crate::dnsmasq::reap(pidfd);
                }
                if since.elapsed() < STEADY {
                    if let Event::Over = wait(&mut wake, None, Some(pause)) {
                        return;
                    }
                    pause = (2 * pause).min(LONGEST_PAUSE);
                } else {
                    pause = FIRST_PAUSE;
                }
                let Some(shared) = shared.upgrade() else { return };
                shared.revive();
                since = Instant::now();
            }
        }
    }
}

/// Sleeps until dnsmasq ends, somebody wakes the thread, the network is gone, or `limit` is over
/// (which reads as woken).
fn wait(wake: &mut PipeReader, pidfd: Option<&OwnedFd>, limit: Option<Duration>) -> Event {
    let timeout = limit.map(|limit| Timespec { tv_sec: limit.as_secs().min(3600) as i64, tv_nsec: limit.subsec_nanos().into() });
    loop {
        let mut fds = vec![PollFd::new(&*wake, PollFlags::IN)];
        fds.extend(pidfd.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Event::Woken,
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => {
                tracing::warn!(%errno, "dnsmasq is not watched over any more");
                return Event::Over;
            }
        }
        let (woken, ended) = (!fds[0].revents().is_empty(), fds.get(1).is_some_and(|fd| !fd.revents().is_empty()));
        if woken {
            // Zero bytes: the other end is closed.
            return if matches!(wake.read(&mut [0; 64]), Ok(1..)) { Event::Woken } else { Event::Over };
        }
        if ended {
            return Event::Ended;
        }
    }
}
