//! Descriptors that tell of something: eventfd, timerfd, signalfd, inotify, and epoll over them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Check;
use crate::control::Object;
use crate::ffi::{self, EpollEvent};

/// The second real-time signal that the C library leaves to programs.
const SIGNAL: i32 = 35;
const CREATED: u32 = 0x100;
/// Ticks within which the timer must have expired.
const PATIENCE: u64 = 40;

fn signals() -> [u64; 16] {
    let mut set = [0; 16];
    // SAFETY: it changes the set.
    unsafe { ffi::sigaddset(&mut set, SIGNAL) };
    set
}

/// So that they wait to be read.
pub fn block_signals() {
    // SAFETY: it reads the set.
    unsafe { ffi::sigprocmask(0, &signals(), std::ptr::null_mut()) };
}

/// What epoll is told that each is.
#[derive(Clone, Copy)]
enum Tag {
    Event = 0x1111_0000_0001,
    Timer = 0x2222_0000_0002,
    Signal = 0x3333_0000_0003,
    Inotify = 0x4444_0000_0004,
}

pub struct Events {
    watched: PathBuf,
    event: OwnedFd,
    timer: OwnedFd,
    signal: OwnedFd,
    inotify: OwnedFd,
    epoll: OwnedFd,
    /// What the eventfd must have.
    sum: u64,
    /// Signals sent; one of them always waits.
    sent: usize,
    expirations: u64,
    /// Tick of the last expiration.
    expired: u64,
}

impl Events {
    pub fn new(dir: &Path) -> Result<Self, String> {
        let watched = dir.join("watched");
        std::fs::create_dir(&watched).map_err(|error| error.to_string())?;
        // SAFETY: plain calls that make descriptors, not blocking where data may be missing.
        let (event, timer, signal, inotify, epoll) = unsafe {
            (
                ffi::owned("eventfd", ffi::eventfd(0, 0o4000))?,
                ffi::owned("timerfd", ffi::timerfd_create(ffi::CLOCK_MONOTONIC, 0o4000))?,
                ffi::owned("signalfd", ffi::signalfd(-1, &signals(), 0o4000))?,
                ffi::owned("inotify", ffi::inotify_init1(0o4000))?,
                ffi::owned("epoll", ffi::epoll_create1(0))?,
            )
        };
        let period = 50_000_000;
        // SAFETY: they read what they are given.
        unsafe {
            ffi::check("timerfd", ffi::timerfd_settime(timer.as_raw_fd(), 0, &[0, period, 0, period], std::ptr::null_mut()))?;
            ffi::check("watch", ffi::inotify_add_watch(inotify.as_raw_fd(), ffi::text(&watched).as_ptr(), CREATED))?;
        }
        for (fd, tag) in [(&event, Tag::Event), (&timer, Tag::Timer), (&signal, Tag::Signal), (&inotify, Tag::Inotify)] {
            let mut wanted = EpollEvent { events: 1, data: tag as u64 };
            // SAFETY: it reads the structure.
            ffi::check("epoll", unsafe { ffi::epoll_ctl(epoll.as_raw_fd(), 1, fd.as_raw_fd(), &mut wanted) })?;
        }
        Ok(Self { watched, event, timer, signal, inotify, epoll, sum: 0, sent: 0, expirations: 0, expired: 0 })
    }

    /// What epoll says is ready.
    fn ready(&self) -> Result<Vec<u64>, String> {
        let mut events = [EpollEvent { events: 0, data: 0 }; 8];
        // SAFETY: room for eight.
        let count = ffi::check("epoll_wait", unsafe { ffi::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), 8, 0) })?;
        Ok(events[..count as usize].iter().map(|event| event.data).collect())
    }

    fn use_event(&mut self, n: u64) -> Check {
        ffi::write_all(self.event.as_raw_fd(), &3u64.to_le_bytes())?;
        self.sum += 3;
        if n % 10 == 0 {
            let mut found = [0; 8];
            ffi::read_exact(self.event.as_raw_fd(), &mut found)?;
            if u64::from_le_bytes(found) != self.sum {
                return Err(format!("the eventfd had {}, not {}", u64::from_le_bytes(found), self.sum));
            }
            self.sum = 0;
        }
        Ok(())
    }

    fn use_signal(&mut self) -> Check {
        self.sent += 1;
        // SAFETY: a plain call.
        ffi::check("sigqueue", unsafe { ffi::sigqueue(std::process::id() as i32, SIGNAL, self.sent) })?;
        if self.sent > 1 {
            let mut info = [0; 128];
            ffi::read_exact(self.signal.as_raw_fd(), &mut info).map_err(|error| format!("signalfd: {error}"))?;
            let value = u64::from_le_bytes(info[48..56].try_into().unwrap_or_default());
            if value != self.sent as u64 - 1 {
                return Err(format!("signal {value} came where {} was due", self.sent - 1));
            }
        }
        Ok(())
    }

    fn use_timer(&mut self, n: u64) -> Check {
        if ffi::is_readable(self.timer.as_raw_fd(), Duration::ZERO) {
            let mut count = [0; 8];
            ffi::read_exact(self.timer.as_raw_fd(), &mut count).map_err(|error| format!("timerfd: {error}"))?;
            self.expirations += u64::from_le_bytes(count);
            self.expired = n;
        }
        if n - self.expired > PATIENCE { Err(format!("the timer stopped after {} expirations", self.expirations)) } else { Ok(()) }
    }

    fn use_inotify(&mut self, n: u64) -> Check {
        // Events that nobody has read yet are not saved, so the first may be lost.
        for name in [format!("{n}"), format!("{n}-again")] {
            let path = self.watched.join(&name);
            std::fs::write(&path, "").and_then(|()| std::fs::remove_file(&path)).map_err(|error| error.to_string())?;
            if ffi::is_readable(self.inotify.as_raw_fd(), Duration::from_millis(200)) {
                let mut buffer = [0; 512];
                // SAFETY: as long as said.
                let count = unsafe { ffi::read(self.inotify.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
                let found = String::from_utf8_lossy(&buffer[16..count.max(16) as usize]).trim_end_matches('\0').to_owned();
                return if found.starts_with(&n.to_string()) { Ok(()) } else { Err(format!("inotify told of `{found}`, not of `{name}`")) };
            }
        }
        Err("inotify told nothing of a new file".into())
    }
}

impl Object for Events {
    fn name(&self) -> &'static str {
        "events"
    }

    fn tick(&mut self, n: u64) -> Check {
        self.use_event(n)?;
        self.use_signal()?;
        self.use_timer(n)?;
        if n % 5 == 0 {
            self.use_inotify(n)?;
        }
        let ready = self.ready()?;
        let is_ready = |tag: Tag| ready.contains(&(tag as u64));
        if !is_ready(Tag::Signal) || is_ready(Tag::Event) != (self.sum > 0) {
            return Err(format!("epoll told of {ready:x?} while the eventfd has {}", self.sum));
        }
        // What happens while this looks is no fault.
        let is_timer_due = ffi::is_readable(self.timer.as_raw_fd(), Duration::from_millis(100));
        let is_told = self.ready()?.contains(&(Tag::Timer as u64));
        if is_timer_due && !is_told { Err("epoll does not tell of the timer".into()) } else { Ok(()) }
    }

    fn verify(&mut self) -> Check {
        let path = self.watched.join("for-epoll");
        std::fs::write(&path, "").and_then(|()| std::fs::remove_file(&path)).map_err(|error| error.to_string())?;
        let is_told = self.ready()?.contains(&(Tag::Inotify as u64));
        let mut rest = [0; 1024];
        // SAFETY: as long as said.
        unsafe { ffi::read(self.inotify.as_raw_fd(), rest.as_mut_ptr(), rest.len()) };
        if is_told { Ok(()) } else { Err("epoll does not tell of inotify".into()) }
    }

    fn figures(&mut self) -> String {
        format!("expirations={}", self.expirations)
    }
}
