//! What is called of the C library, and thin wrappers that turn -1 into an error.

use std::ffi::{CString, c_char, c_int, c_long, c_uint, c_void};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

pub const CLOCK_MONOTONIC: c_int = 1;
pub const CLOCK_BOOTTIME: c_int = 7;

unsafe extern "C" {
    pub fn clock_gettime(clock: c_int, time: *mut [i64; 2]) -> c_int;
    pub fn epoll_create1(flags: c_int) -> c_int;
    pub fn epoll_ctl(epoll: c_int, op: c_int, fd: c_int, event: *mut EpollEvent) -> c_int;
    pub fn epoll_wait(epoll: c_int, events: *mut EpollEvent, max: c_int, timeout: c_int) -> c_int;
    pub fn eventfd(value: c_uint, flags: c_int) -> c_int;
    pub fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    pub fn flock(fd: c_int, operation: c_int) -> c_int;
    pub fn fork() -> c_int;
    pub fn getpgid(pid: c_int) -> c_int;
    pub fn getppid() -> c_int;
    pub fn getsid(pid: c_int) -> c_int;
    pub fn inotify_add_watch(fd: c_int, path: *const c_char, mask: u32) -> c_int;
    pub fn inotify_init1(flags: c_int) -> c_int;
    pub fn ioctl(fd: c_int, request: u64, ...) -> c_int;
    pub fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    pub fn mkfifo(path: *const c_char, mode: c_uint) -> c_int;
    pub fn mmap(address: *mut c_void, length: usize, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void;
    pub fn mq_open(name: *const c_char, flags: c_int, ...) -> c_int;
    pub fn mq_receive(queue: c_int, buffer: *mut u8, length: usize, priority: *mut c_uint) -> isize;
    pub fn mq_send(queue: c_int, buffer: *const u8, length: usize, priority: c_uint) -> c_int;
    pub fn msgget(key: c_int, flags: c_int) -> c_int;
    pub fn msgrcv(id: c_int, message: *mut Message, size: usize, kind: c_long, flags: c_int) -> isize;
    pub fn msgsnd(id: c_int, message: *const Message, size: usize, flags: c_int) -> c_int;
    pub fn pipe2(fds: *mut [c_int; 2], flags: c_int) -> c_int;
    pub fn poll(fds: *mut PollFd, count: u64, timeout: c_int) -> c_int;
    pub fn posix_openpt(flags: c_int) -> c_int;
    pub fn ptsname_r(fd: c_int, buffer: *mut c_char, length: usize) -> c_int;
    pub fn read(fd: c_int, buffer: *mut u8, count: usize) -> isize;
    pub fn semctl(id: c_int, number: c_int, command: c_int, ...) -> c_int;
    pub fn semget(key: c_int, count: c_int, flags: c_int) -> c_int;
    pub fn semop(id: c_int, operations: *mut [i16; 3], count: usize) -> c_int;
    pub fn setsid() -> c_int;
    pub fn shmat(id: c_int, address: *const c_void, flags: c_int) -> *mut c_void;
    pub fn shmget(key: c_int, size: usize, flags: c_int) -> c_int;
    pub fn sigaddset(set: *mut [u64; 16], signal: c_int) -> c_int;
    pub fn signalfd(fd: c_int, set: *const [u64; 16], flags: c_int) -> c_int;
    pub fn sigprocmask(how: c_int, set: *const [u64; 16], old: *mut [u64; 16]) -> c_int;
    pub fn sigqueue(pid: c_int, signal: c_int, value: usize) -> c_int;
    pub fn socketpair(domain: c_int, kind: c_int, protocol: c_int, fds: *mut [c_int; 2]) -> c_int;
    pub fn tcgetattr(fd: c_int, termios: *mut Termios) -> c_int;
    pub fn tcsetattr(fd: c_int, actions: c_int, termios: *const Termios) -> c_int;
    pub fn cfmakeraw(termios: *mut Termios);
    pub fn tcgetpgrp(fd: c_int) -> c_int;
    pub fn timerfd_create(clock: c_int, flags: c_int) -> c_int;
    pub fn timerfd_settime(fd: c_int, flags: c_int, new: *const [i64; 4], old: *mut [i64; 4]) -> c_int;
    pub fn umask(mask: c_uint) -> c_uint;
    pub fn unlockpt(fd: c_int) -> c_int;
    pub fn waitid(kind: c_int, id: c_int, info: *mut [i32; 32], options: c_int) -> c_int;
    pub fn write(fd: c_int, buffer: *const u8, count: usize) -> isize;
    pub fn dup2(old: c_int, new: c_int) -> c_int;
    pub fn _exit(code: c_int) -> !;
}

#[repr(C)]
#[cfg_attr(target_arch = "x86_64", repr(packed))]
#[derive(Clone, Copy)]
pub struct EpollEvent {
    pub events: u32,
    pub data: u64,
}

#[repr(C)]
pub struct PollFd {
    pub fd: c_int,
    pub events: i16,
    pub revents: i16,
}

#[repr(C)]
pub struct Message {
    pub kind: c_long,
    pub value: u64,
}

/// `struct flock` of fcntl(2).
#[repr(C)]
pub struct Lock {
    pub kind: i16,
    pub whence: i16,
    pub start: i64,
    pub length: i64,
    pub pid: c_int,
}

#[repr(C)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Termios {
    pub flags: [u32; 4],
    pub line: u8,
    pub characters: [u8; 32],
    pub speeds: [u32; 2],
}

/// The error of the call that has just failed.
pub fn failure(what: &str) -> String {
    format!("{what}: {}", std::io::Error::last_os_error())
}

/// A result that is -1 for failure.
pub fn check(what: &str, result: c_int) -> Result<c_int, String> {
    if result < 0 { Err(failure(what)) } else { Ok(result) }
}

/// A descriptor that a call has made.
pub fn owned(what: &str, fd: c_int) -> Result<OwnedFd, String> {
    // SAFETY: the call has just made it, and nobody else has it.
    check(what, fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

pub fn text(path: impl AsRef<std::path::Path>) -> CString {
    CString::new(path.as_ref().to_string_lossy().into_owned()).unwrap_or_default()
}

/// Nanoseconds of a clock.
pub fn clock(number: c_int) -> i64 {
    let mut time = [0; 2];
    // SAFETY: it writes the two numbers.
    unsafe { clock_gettime(number, &mut time) };
    time[0] * 1_000_000_000 + time[1]
}

/// Whether a read would not wait, within a time; at the end of input it would not, either.
pub fn is_readable(fd: RawFd, patience: Duration) -> bool {
    const INTERRUPTED: i32 = 4;
    let end = Instant::now() + patience;
    loop {
        let mut one = PollFd { fd, events: 1, revents: 0 };
        let rest = end.saturating_duration_since(Instant::now());
        // SAFETY: one entry, as said.
        let count = unsafe { poll(&mut one, 1, rest.as_millis() as c_int) };
        // A call with a time limit is interrupted when the process is saved, as by a signal.
        if count >= 0 || std::io::Error::last_os_error().raw_os_error() != Some(INTERRUPTED) {
            return count == 1;
        }
    }
}

/// Reads exactly so much, if it comes within five seconds.
pub fn read_exact(fd: RawFd, buffer: &mut [u8]) -> Result<(), String> {
    let mut done = 0;
    while done < buffer.len() {
        if !is_readable(fd, Duration::from_secs(5)) {
            return Err(format!("{} bytes did not come", buffer.len() - done));
        }
        // SAFETY: the rest of the buffer is as long as said.
        let count = unsafe { read(fd, buffer[done..].as_mut_ptr(), buffer.len() - done) };
        match count {
            0 => return Err("it was closed".into()),
            1.. => done += count as usize,
            _ => return Err(failure("read")),
        }
    }
    Ok(())
}

pub fn write_all(fd: RawFd, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        // SAFETY: as long as said.
        let count = unsafe { write(fd, bytes.as_ptr(), bytes.len()) };
        if count <= 0 {
            return Err(failure("write"));
        }
        bytes = &bytes[count as usize..];
    }
    Ok(())
}

/// A mapping for good, of 64-bit numbers.
pub struct Numbers(*mut u64);

// SAFETY: only volatile single words are read and written.
unsafe impl Send for Numbers {}

impl Numbers {
    /// One page, shared, of a file or of nothing.
    pub fn map(fd: Option<RawFd>) -> Result<Self, String> {
        let (flags, fd) = fd.map_or((0x21, -1), |fd| (1, fd));
        // SAFETY: a new mapping, which stays.
        let address = unsafe { mmap(std::ptr::null_mut(), 4096, 3, flags, fd, 0) };
        if address as isize == -1 { Err(failure("mmap")) } else { Ok(Self(address.cast())) }
    }

    /// A segment of System V's.
    pub fn attach(id: c_int) -> Result<Self, String> {
        // SAFETY: a new mapping, which stays.
        let address = unsafe { shmat(id, std::ptr::null(), 0) };
        if address as isize == -1 { Err(failure("shmat")) } else { Ok(Self(address.cast())) }
    }

    pub fn get(&self, index: usize) -> u64 {
        assert!(index < 512);
        // SAFETY: within the page.
        unsafe { self.0.add(index).read_volatile() }
    }

    pub fn set(&self, index: usize, value: u64) {
        assert!(index < 512);
        // SAFETY: within the page.
        unsafe { self.0.add(index).write_volatile(value) }
    }
}

/// A pair of pseudo terminals in raw mode: master and slave.
pub fn pty() -> Result<(OwnedFd, OwnedFd), String> {
    const READ_WRITE_NO_CTTY: c_int = 0o402;
    // SAFETY: plain calls on descriptors of our own and a buffer as long as said.
    unsafe {
        let master = posix_openpt(READ_WRITE_NO_CTTY);
        let owned_master = owned("posix_openpt", master)?;
        check("unlockpt", unlockpt(master))?;
        let mut name = [0 as c_char; 64];
        check("ptsname", -ptsname_r(master, name.as_mut_ptr(), name.len()))?;
        let name = std::ffi::CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned();
        let slave = std::os::unix::fs::OpenOptionsExt::custom_flags(std::fs::OpenOptions::new().read(true).write(true), READ_WRITE_NO_CTTY)
            .open(&name)
            .map_err(|error| format!("open {name}: {error}"))?;
        let slave = OwnedFd::from(slave);
        let mut termios = attributes(&slave)?;
        cfmakeraw(&mut termios);
        check("tcsetattr", tcsetattr(std::os::fd::AsRawFd::as_raw_fd(&slave), 0, &termios))?;
        Ok((owned_master, slave))
    }
}

pub fn attributes(terminal: &OwnedFd) -> Result<Termios, String> {
    let mut termios = Termios { flags: [0; 4], line: 0, characters: [0; 32], speeds: [0; 2] };
    // SAFETY: it writes the structure.
    check("tcgetattr", unsafe { tcgetattr(std::os::fd::AsRawFd::as_raw_fd(terminal), &mut termios) })?;
    Ok(termios)
}
