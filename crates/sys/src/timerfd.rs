//! Other processes' timer descriptors, timerfd_create(2): reading them, and starting them again.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use crate::error::{Error, Result};

/// One timer, as `/proc/PID/fdinfo` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Expirations that nobody has read yet.
    pub ticks: u64,
    /// Until the next expiration; zero if there will be none.
    pub value: Duration,
    /// Its period; zero if it expires but once.
    pub interval: Duration,
}

impl Timer {
    /// Whether it has a period and has expired: the kernel lets it go on when that is read.
    pub fn waits_for_reader(&self) -> bool {
        self.ticks > 0 && self.value.is_zero() && !self.interval.is_zero()
    }
}

/// Reads a timer from its descriptor's `fdinfo`.
pub fn parse(fdinfo: &str) -> Option<Timer> {
    let field = |name: &str| fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let time = |name: &str| {
        let (seconds, rest) = field(name)?.strip_prefix('(')?.strip_suffix(')')?.split_once(", ")?;
        Some(Duration::new(seconds.parse().ok()?, rest.parse().ok()?))
    };
    Some(Timer { ticks: field("ticks")?.parse().ok()?, value: time("it_value")?, interval: time("it_interval")? })
}

/// Lets a timer expire after its interval and from then on, and has it tell at once of the expirations
/// that nobody has read.
pub fn start_again(fd: impl AsFd, timer: &Timer) -> Result<()> {
    // _IOW('T', 0, __u64): TFD_IOC_SET_TICKS
    const SET_TICKS: libc::Ioctl = 0x4008_5400;
    let fd = fd.as_fd().as_raw_fd();
    let seconds = libc::time_t::try_from(timer.interval.as_secs()).unwrap_or(libc::time_t::MAX);
    let interval = libc::timespec { tv_sec: seconds, tv_nsec: timer.interval.subsec_nanos().into() };
    let new = libc::itimerspec { it_interval: interval, it_value: interval };
    // SAFETY: it reads the structure.
    if unsafe { libc::timerfd_settime(fd, 0, &new, std::ptr::null_mut()) } < 0 {
        return Err(Error::new("set timer", fd, crate::mount::last_errno()));
    }
    // SAFETY: the request reads one number.
    if unsafe { libc::ioctl(fd, SET_TICKS, &timer.ticks) } < 0 {
        return Err(Error::new("set expirations of timer", fd, crate::mount::last_errno()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::{FromRawFd, OwnedFd};

    use super::*;

    fn read(fd: &OwnedFd) -> Timer {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).expect("fdinfo");
        parse(&text).expect("a timer")
    }

    #[test]
    fn a_timer_that_waits_for_its_reader_goes_on() {
        // SAFETY: a new descriptor of our own.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0)) };
        assert!(!read(&fd).waits_for_reader());
        let timer = Timer { ticks: 3, value: Duration::ZERO, interval: Duration::from_millis(20) };
        start_again(&fd, &timer).expect("start");
        assert!(!read(&fd).waits_for_reader());
        let mut count = [0; 8];
        rustix::io::read(&fd, &mut count).expect("read");
        assert_eq!(u64::from_ne_bytes(count), 3);
        std::thread::sleep(Duration::from_millis(50));
        assert!(read(&fd).waits_for_reader());
        assert_eq!(read(&fd).interval, timer.interval);
    }

    #[test]
    fn a_timer_is_had_by_its_kind_alone() {
        // SAFETY: a new descriptor, owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0)) };
        let own = std::process::id().cast_signed();
        let borrowed = crate::process::borrow_fd(own, fd.as_raw_fd(), "[timerfd]").expect("a timer");
        let timer = Timer { ticks: 3, value: Duration::ZERO, interval: Duration::from_millis(5) };
        start_again(&borrowed, &timer).expect("start");
        std::thread::sleep(Duration::from_millis(30));
        assert!(read(&fd).ticks > 3, "it goes on by itself");
        crate::process::borrow_fd(own, fd.as_raw_fd(), "inotify").expect_err("of another kind");
    }
}
