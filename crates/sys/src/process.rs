//! Processes: clone into namespaces, pidfds, waiting, identity, exec.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};

use crate::error::{Context, Errno, Error, Result};
use crate::mount::last_errno;

/// Namespaces, as the flags of clone(2).
pub mod namespaces {
    /// Offsets of the clocks.
    pub const TIME: u64 = 0x0000_0080;
    /// Mount points.
    pub const MOUNT: u64 = 0x0002_0000;
    /// Control groups.
    pub const CGROUP: u64 = 0x0200_0000;
    /// Host name.
    pub const UTS: u64 = 0x0400_0000;
    /// System V IPC and POSIX message queues.
    pub const IPC: u64 = 0x0800_0000;
    /// User and group ids, capabilities.
    pub const USER: u64 = 0x1000_0000;
    /// Process ids.
    pub const PID: u64 = 0x2000_0000;
    /// Network.
    pub const NET: u64 = 0x4000_0000;
}

/// Which side of a clone this is.
#[derive(Debug)]
pub enum Clone {
    /// The new process.
    Child,
    /// The caller, with the new process.
    Parent {
        /// Its pid in the caller's namespace.
        pid: i32,
        /// A descriptor that stays valid as a name for it.
        pidfd: OwnedFd,
    },
}

#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Clones the calling process with a copy of its memory, like fork(2), into new `namespaces`.
///
/// Fails with EBUSY in a process that has threads: a lock that another thread holds would stay
/// held in the child for ever.
pub fn clone_process(namespaces: u64) -> Result<Clone> {
    clone_into(namespaces, None)
}

/// The same, with the child born in a control group of version 2, given by its open directory: to move it there
/// later costs milliseconds.
pub fn clone_process_into(namespaces: u64, group: BorrowedFd<'_>) -> Result<Clone> {
    clone_into(namespaces, Some(group))
}

fn clone_into(namespaces: u64, group: Option<BorrowedFd<'_>>) -> Result<Clone> {
    /// `CLONE_INTO_CGROUP`.
    const INTO_GROUP: u64 = 0x2_0000_0000;
    if !is_single_threaded() {
        return Err(Error::new("clone3", "process with threads", Errno::BUSY));
    }
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: namespaces | libc::CLONE_PIDFD as u64 | group.map_or(0, |_| INTO_GROUP),
        cgroup: group.map_or(0, |group| group.as_raw_fd() as u64),
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..Default::default()
    };
    // SAFETY: without CLONE_VM the child gets its own copy of this single-threaded process, as
    // with fork; the arguments live across the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut args), std::mem::size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(Error::new("clone3", format_args!("namespaces {namespaces:#x}"), last_errno())),
        0 => Ok(Clone::Child),
        // SAFETY: the kernel has stored a new descriptor that nobody else owns.
        pid => Ok(Clone::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// Asks the kernel without /proc, which may be another namespace's: to leave a thread group is a
/// request that does nothing for the only thread and is refused to one of several.
fn is_single_threaded() -> bool {
    // SAFETY: integers only.
    unsafe { libc::unshare(libc::CLONE_THREAD) == 0 }
}

/// A descriptor for a process by number.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    let id = Pid::from_raw(pid).ok_or_else(|| Error::new("pidfd_open", pid, Errno::SRCH))?;
    rustix::process::pidfd_open(id, PidfdFlags::empty()).context("pidfd_open", pid)
}

/// Duplicates a descriptor of another process, if it is of this kind: `inotify`, `[timerfd]`.
pub fn borrow_fd(pid: i32, fd: i32, kind: &str) -> Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let pidfd = pidfd_open(pid)?;
    let borrowed = rustix::process::pidfd_getfd(pidfd, fd, rustix::process::PidfdGetfdFlags::empty()).context("pidfd_getfd", fd)?;
    let link = crate::fs::read_link(format!("/proc/self/fd/{}", borrowed.as_raw_fd()))?;
    match link.to_str().and_then(|link| link.strip_prefix("anon_inode:")) {
        Some(found) if found == kind => Ok(borrowed),
        _ => Err(Error::new("borrow (of another kind)", fd, Errno::INVAL)),
    }
}

/// Sends any signal number to the process behind a pidfd.
pub fn pidfd_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    // SAFETY: plain integers and a null siginfo, which the call allows.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0) };
    if result == 0 { Ok(()) } else { Err(Error::new("signal", format_args!("with {signal}"), last_errno())) }
}

/// Whether the process behind a pidfd still runs (a zombie does not).
pub fn pidfd_is_alive(pidfd: impl AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with a code.
    Code(i32),
    /// A signal killed it.
    Signal(i32),
}

/// Whether this process is in the initial user namespace, or one that maps every id to itself.
pub fn has_all_ids() -> bool {
    let map = crate::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().map(str::parse).eq([Ok(0), Ok(0), Ok(u32::MAX)])
}

/// Waits for a child by pidfd and reaps it.
pub fn wait_pidfd(pidfd: impl AsFd) -> Result<Ended> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                return Ok(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Ended::Code(code),
                    (None, signal) => Ended::Signal(signal.unwrap_or(0)),
                });
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("waitid", "child", errno)),
        }
    }
}

/// Reaps children that have ended, but for `kept`, whose status somebody waits for: a subreaper
/// collects strangers.
pub fn reap_others(kept: i32) {
    // Bounded, since a stranger's zombie is worth no delay.
    for _ in 0..64 {
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the struct is writable and zeroed, so that "nothing" reads as pid 0.
        let pid = unsafe {
            if libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), peek.bits() as i32) != 0 {
                return;
            }
            info.assume_init().si_pid()
        };
        if pid == 0 || pid == kept {
            return;
        }
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

/// Enters several namespaces of the process behind a pidfd at once.
pub fn setns(pidfd: impl AsFd, namespaces: u64) -> Result<()> {
    // SAFETY: integers only.
    let result = unsafe { libc::setns(pidfd.as_fd().as_raw_fd(), namespaces as libc::c_int) };
    if result == 0 { Ok(()) } else { Err(Error::new("setns", format_args!("{namespaces:#x}"), last_errno())) }
}

/// Enters one namespace by its descriptor; only the calling thread moves.
pub fn setns_fd(namespace: BorrowedFd<'_>, kind: u64) -> Result<()> {
    setns(namespace, kind)
}

/// Leaves namespaces for new ones.
pub fn unshare(namespaces: u64) -> Result<()> {
    // SAFETY: integers only; CLONE_FILES and friends are not among the flags that callers have.
    let result = unsafe { libc::unshare(namespaces as libc::c_int) };
    if result == 0 { Ok(()) } else { Err(Error::new("unshare", format_args!("{namespaces:#x}"), last_errno())) }
}

/// Becomes a user and group with no supplementary groups. For single-threaded processes.
pub fn set_identity(uid: u32, gid: u32) -> Result<()> {
    // SAFETY: an empty group list needs no pointer; the others take integers.
    unsafe {
        if libc::setgroups(0, std::ptr::null()) != 0 {
            return Err(Error::new("setgroups", "none", last_errno()));
        }
        if libc::setresgid(gid, gid, gid) != 0 {
            return Err(Error::new("setresgid", gid, last_errno()));
        }
        if libc::setresuid(uid, uid, uid) != 0 {
            return Err(Error::new("setresuid", uid, last_errno()));
        }
    }
    Ok(())
}

/// Starts a new session.
pub fn setsid() -> Result<()> {
    rustix::process::setsid().context("setsid", "").map(drop)
}

/// Takes over orphaned descendants.
pub fn become_subreaper() -> Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("prctl", "child subreaper")
}

/// Forbids ptrace and /proc access by anyone without privilege over this program.
pub fn set_not_dumpable() -> Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).context("prctl", "dumpable")
}

/// Names the process, as `ps` shows it (15 bytes).
pub fn set_name(name: &str) -> Result<()> {
    let name = CString::new(name).map_err(|_| Error::new("prctl", "name", Errno::INVAL))?;
    rustix::thread::set_name(&name).context("prctl", "name")
}

/// Sets the host name of this UTS namespace.
pub fn set_hostname(name: &str) -> Result<()> {
    rustix::system::sethostname(name.as_bytes()).context("sethostname", name)
}

/// Gives the process 32-bit personality (`uname -m` says i686).
pub fn set_personality_32() -> Result<()> {
    const PER_LINUX32: libc::c_ulong = 0x0008;
    // SAFETY: integers only.
    let result = unsafe { libc::personality(PER_LINUX32) };
    if result >= 0 { Ok(()) } else { Err(Error::new("personality", "linux32", last_errno())) }
}

/// Leaves the manager's session keyring for an empty one, so that a guest cannot read keys in it. A
/// kernel without keyrings has nothing to leave.
pub fn new_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    match if result >= 0 { Errno::NOSYS } else { last_errno() } {
        Errno::NOSYS => Ok(()),
        errno => Err(Error::new("keyctl", "session keyring", errno)),
    }
}

/// Removes capabilities from the bounding set of the calling thread, by number.
pub fn drop_bounding(capabilities: &[u32]) -> Result<()> {
    for capability in capabilities {
        // SAFETY: integers only.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(*capability), 0, 0, 0) };
        if result != 0 {
            return Err(Error::new("drop capability", capability, last_errno()));
        }
    }
    Ok(())
}

/// Sets all capability sets to what the bounding set still allows, none of them inheritable.
pub fn keep_capabilities_without(capabilities: &[u32]) -> Result<()> {
    let mut sets = rustix::thread::capabilities(None).context("capget", "self")?;
    let mut lost = rustix::thread::CapabilitySet::empty();
    for capability in capabilities {
        lost |= rustix::thread::CapabilitySet::from_bits_retain(1_u64 << capability);
    }
    sets.effective -= lost;
    sets.permitted -= lost;
    sets.inheritable = rustix::thread::CapabilitySet::empty();
    rustix::thread::set_capabilities(None, sets).context("capset", "self")
}

/// Puts every signal back to its default action with nothing blocked: Rust ignores SIGPIPE, and
/// an ignored signal would survive exec.
pub fn reset_signals() {
    // SAFETY: default actions and an empty mask are valid for every signal; those that cannot
    // change return an error that does not matter.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Ignores a signal.
pub fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN is a valid action.
    unsafe {
        libc::signal(signal, libc::SIG_IGN);
    }
}

/// Marks every descriptor from `first` on as closed by exec.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: no descriptor is closed now, only marked.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(Error::new("close_range", first, last_errno())) }
}

/// Makes descriptors the standard input, output and error.
pub fn set_stdio(stdin: BorrowedFd<'_>, stdout: BorrowedFd<'_>, stderr: BorrowedFd<'_>) -> Result<()> {
    // Copies above 2 first, so that none of the three is overwritten before it is used.
    let copy = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3).context("dup", "standard stream");
    let copies = [copy(stdin)?, copy(stdout)?, copy(stderr)?];
    for (target, fd) in copies.iter().enumerate() {
        // SAFETY: the standard descriptors belong to this process alone here.
        if unsafe { libc::dup2(fd.as_raw_fd(), target as i32) } < 0 {
            return Err(Error::new("dup2", target, last_errno()));
        }
    }
    Ok(())
}

/// Puts a copy of a descriptor at a number that a program expects it at; it survives exec. For processes that are about
/// to become that program and have nothing else there.
pub fn place_fd(fd: BorrowedFd<'_>, number: i32) -> Result<()> {
    // A descriptor that is there already would only be made to survive by being copied elsewhere first.
    let copy = rustix::io::fcntl_dupfd_cloexec(fd, number + 1).context("dup", number)?;
    // SAFETY: the caller has nothing at that number that is still used.
    if unsafe { libc::dup2(copy.as_raw_fd(), number) } < 0 {
        return Err(Error::new("dup2", number, last_errno()));
    }
    Ok(())
}

/// Takes a descriptor that this program was started with, see [`place_fd`]. To be called at most once for each, before
/// anything is opened.
pub fn take_fd(number: i32) -> Option<OwnedFd> {
    // SAFETY: asks about a number, whatever it stands for.
    let is_open = unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
    // SAFETY: it is open, and by the contract nothing in this process owns it.
    is_open.then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lets this process and what it starts never have more rights than now, whatever they execute.
pub fn set_no_new_privileges() -> Result<()> {
    rustix::thread::set_no_new_privs(true).context("prctl", "no_new_privs")
}

/// Replaces this process. Returns only on failure.
pub fn exec(program: &str, args: &[String], env: &[String]) -> Error {
    let attempt = || -> std::result::Result<std::convert::Infallible, Errno> {
        let c_string = |text: &String| CString::new(text.as_str()).map_err(|_| Errno::INVAL);
        let path = CString::new(program).map_err(|_| Errno::INVAL)?;
        let args = args.iter().map(c_string).collect::<std::result::Result<Vec<_>, _>>()?;
        let env = env.iter().map(c_string).collect::<std::result::Result<Vec<_>, _>>()?;
        let pointers = |list: &[CString]| list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
        let (args, env) = (pointers(&args), pointers(&env));
        // SAFETY: both arrays end with null and their strings outlive the call.
        unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
        Err(last_errno())
    };
    match attempt() {
        Err(errno) => Error::new("exec", program, errno),
        Ok(never) => match never {},
    }
}

/// Ends the process at once, without running destructors or exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(code) }
}

/// Sets the soft limit of open files (and the hard one where that may be raised).
pub fn set_nofile(soft: u64) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let current = getrlimit(Resource::Nofile);
    let soft = current.maximum.map_or(soft, |hard| soft.min(hard));
    setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: current.maximum }).context("setrlimit", "nofile")
}

/// Sets a resource limit of this process by its name, see getrlimit(2); `None` is unlimited. A hard limit can only be
/// raised by who has CAP_SYS_RESOURCE on the host.
pub fn set_rlimit(name: &str, soft: Option<u64>, hard: Option<u64>) -> Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let resource = match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return Err(Error::new("setrlimit", name, Errno::INVAL)),
    };
    let show = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    setrlimit(resource, Rlimit { current: soft, maximum: hard })
        .context("setrlimit", format_args!("limits.kernel.{name}={}:{}", show(soft), show(hard)))
}

/// Gives this process, and what it starts, the limits that a guest expects rather than those of the
/// manager's service: little locked memory, any number of processes. Best effort, as a manager that
/// is itself a guest cannot raise a limit.
pub fn set_guest_limits() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// What systemd gives by default.
    const MEMLOCK_BYTES: u64 = 8 << 20;
    let allowed = getrlimit(Resource::Memlock).maximum.map_or(MEMLOCK_BYTES, |hard| hard.min(MEMLOCK_BYTES));
    let _ = setrlimit(Resource::Memlock, Rlimit { current: Some(allowed), maximum: Some(allowed) });
    let _ = setrlimit(Resource::Nproc, Rlimit { current: None, maximum: None });
}

/// Whether a process has been killed, or is ending, so that it runs nothing more of its program: by the
/// pending signals in `/proc/PID/status` and the flags (field 9) in `/proc/PID/stat`. False for one that
/// is not there.
pub fn is_ending(pid: i32) -> bool {
    const SIGKILL_BIT: u64 = 1 << 8;
    const PF_EXITING: u64 = 0x4;
    let status = crate::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = |name: &str| status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix(name)?.trim(), 16).ok());
    if ["SigPnd:", "ShdPnd:"].into_iter().filter_map(pending).any(|set| set & SIGKILL_BIT != 0) {
        return true;
    }
    let stat = crate::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let flags = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(6)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & PF_EXITING != 0)
}

/// The kernel's time stamp of a process's start, field 22 of `/proc/PID/stat`: with the pid it
/// names a process for ever.
pub fn start_time(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = crate::fs::read_to_string(&path)?;
    // The second field is in parentheses and may hold anything, so count from its end.
    stat.rsplit_once(") ")
        .and_then(|(_, rest)| rest.split(' ').nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| Error::new("parse", path, Errno::INVAL))
}

#[cfg(test)]
mod tests {
    #[test]
    fn start_time_is_stable() {
        let pid = std::process::id() as i32;
        let first = super::start_time(pid).expect("own start time");
        assert_eq!(first, super::start_time(pid).expect("own start time"));
        assert!(first > 0);
    }

    #[test]
    fn one_that_was_killed_is_ending() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let pid = child.id().cast_signed();
        assert!(!super::is_ending(pid));
        child.kill().expect("kill");
        // Not reaped yet, so the pid is still its own.
        assert!(super::is_ending(pid));
        child.wait().expect("wait");
        assert!(!super::is_ending(pid));
    }
}
