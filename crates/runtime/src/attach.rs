//! The attach helper: carries one command into a running container and reports how it ended.
//!
//! It runs from a sealed copy in memory, with one socket and no environment. It enters control
//! groups and namespaces, makes the terminal in the guest's own devpts, and clones the command,
//! whose parent it stays.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Access, AtFlags, Mode, OFlags};
use sys::process::{Clone, Ended, namespaces};
use sys::pty::Pty;

use crate::cgroup::Groups;
use crate::error::{Error, Result};
use crate::exec::DEFAULT_PATH;
use crate::protocol::{self, AttachReply, AttachRequest, MESSAGE_BYTES, StepFailure};

/// Exit code of a command that could not be started because it is not there.
const NOT_FOUND: i32 = 127;
/// Exit code of a command that is there but cannot be run.
const NOT_EXECUTABLE: i32 = 126;

type Failing<T> = std::result::Result<T, StepFailure>;

/// Runs the helper; its socket leads to the daemon.
pub fn run(socket: &OwnedFd) -> i32 {
    let reply = match serve(socket) {
        Ok(code) => AttachReply::Ended(code),
        Err(failure) => AttachReply::Failed(failure),
    };
    drop(protocol::send(socket, &reply, &[]));
    0
}

fn failed(step: &'static str) -> impl Fn(Error) -> StepFailure {
    move |error| StepFailure { step: step.to_owned(), reason: error.to_string() }
}

fn serve(socket: &OwnedFd) -> Failing<i32> {
    // Nothing in the container may look into this process while it crosses over.
    sys::process::set_not_dumpable().map_err(Error::from).map_err(failed("protect the helper"))?;
    let message = protocol::receive::<AttachRequest>(socket, MESSAGE_BYTES).map_err(failed("read the request"))?;
    let Some((request, mut fds)) = message else {
        return Err(failed("read the request")(Error::Invalid("the daemon has gone".into())));
    };
    if fds.is_empty() {
        return Err(failed("read the request")(Error::Invalid("the descriptor of init is missing".into())));
    }
    let init = fds.remove(0);
    sys::process::set_guest_limits();
    enter(&request, &init).map_err(failed("enter the container"))?;
    drop(init);
    let pty = match request.pty {
        Some((width, height)) => Some(open_terminal(&request, width, height).map_err(failed("open a terminal"))?),
        None => None,
    };
    let (pidfd, master) = spawn(socket, &request, &fds, pty)?;
    drop(fds);
    drop(master);
    let ended = sys::process::wait_pidfd(&pidfd).map_err(Error::from).map_err(failed("wait for the command"))?;
    Ok(match ended {
        Ended::Code(code) => code,
        Ended::Signal(signal) => 128 + signal,
    })
}

fn enter(request: &AttachRequest, init: &OwnedFd) -> Result<()> {
    if let Some(profile) = &request.apparmor {
        // The command is a child of this process, which itself executes nothing.
        crate::apparmor::confine_next_exec(profile)?;
    }
    let groups = Groups::new(request.layout.clone(), &request.cgroup_tag, &request.name);
    groups.enter_beside(std::process::id() as i32)?;
    let mut kinds = namespaces::MOUNT | namespaces::UTS | namespaces::IPC | namespaces::NET | namespaces::PID | namespaces::CGROUP;
    if !request.privileged {
        kinds |= namespaces::USER;
    }
    // Where CRIU brought the container back, its clocks may differ from the host's. Within a user namespace nobody may
    // enter the host's clocks again, nor does CRIU work there.
    let with_clocks = sys::process::setns(init, kinds | namespaces::TIME);
    with_clocks.or_else(|_| sys::process::setns(init, kinds))?;
    Ok(sys::process::set_identity(0, 0)?)
}

/// A terminal that means something inside: of the guest's devpts, owned by the user of the session.
fn open_terminal(request: &AttachRequest, width: u16, height: u16) -> Result<Pty> {
    let path = Path::new("/dev/pts/ptmx");
    let multiplexer = rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
    let multiplexer = multiplexer.map_err(|errno| sys::Error::new("open", path.display(), errno))?;
    let pty = sys::pty::from_multiplexer(multiplexer)?;
    sys::pty::set_session_modes(&pty.slave)?;
    sys::pty::resize(&pty.slave, if width > 0 { width } else { 80 }, if height > 0 { height } else { 25 })?;
    let owner = (Some(rustix::fs::Uid::from_raw(request.uid)), None);
    rustix::fs::fchown(&pty.slave, owner.0, owner.1).map_err(|errno| sys::Error::new("chown", "terminal", errno))?;
    Ok(pty)
}

/// Clones the command. The clone makes it a member of the entered pid namespace.
fn spawn(socket: &OwnedFd, request: &AttachRequest, fds: &[OwnedFd], pty: Option<Pty>) -> Failing<(OwnedFd, Option<OwnedFd>)> {
    match sys::process::clone_process(0).map_err(Error::from).map_err(failed("make a process for the command"))? {
        Clone::Child => {
            let code = match become_command(request, fds, pty) {
                Err((code, message)) => {
                    // On the command's own standard error, as a shell would say it.
                    let _ = rustix::io::write(rustix::stdio::stderr(), format!("{message}\n").as_bytes());
                    code
                }
                Ok(never) => match never {},
            };
            sys::process::exit_now(code)
        }
        Clone::Parent { pid, pidfd } => {
            let master = pty.map(|pty| pty.master);
            let reply = AttachReply::Running { pid };
            let sent = match &master {
                Some(master) => protocol::send(socket, &reply, &[pidfd.as_fd(), master.as_fd()]),
                None => protocol::send(socket, &reply, &[pidfd.as_fd()]),
            };
            // A daemon that has gone takes no answer; the command runs to its end all the same.
            drop(sent);
            Ok((pidfd, master))
        }
    }
}

type CommandFailure = (i32, String);

fn become_command(
    request: &AttachRequest,
    fds: &[OwnedFd],
    pty: Option<Pty>,
) -> std::result::Result<std::convert::Infallible, CommandFailure> {
    let failed = |error: sys::Error| (NOT_EXECUTABLE, error.to_string());
    sys::process::setsid().map_err(failed)?;
    match (&pty, fds) {
        (Some(pty), _) => {
            sys::pty::make_controlling(&pty.slave).map_err(failed)?;
            sys::process::set_stdio(pty.slave.as_fd(), pty.slave.as_fd(), pty.slave.as_fd()).map_err(failed)?;
        }
        (None, [stdin, stdout, stderr, ..]) => sys::process::set_stdio(stdin.as_fd(), stdout.as_fd(), stderr.as_fd()).map_err(failed)?,
        (None, _) => return Err((NOT_EXECUTABLE, "no standard streams were given".into())),
    }
    // A guest may have used up its quota; then it keeps the empty one that this program began with.
    drop(sys::process::new_session_keyring());
    if !request.dropped_capabilities.is_empty() {
        sys::process::drop_bounding(&request.dropped_capabilities).map_err(failed)?;
        let early = crate::plan::not_needed_until_exec(&request.dropped_capabilities);
        sys::process::keep_capabilities_without(&early).map_err(failed)?;
    }
    if request.personality_32 {
        sys::process::set_personality_32().map_err(failed)?;
    }
    if !request.seccomp.is_empty() {
        sys::seccomp::install(&request.seccomp).map_err(failed)?;
    }
    sys::process::set_identity(request.uid, request.gid).map_err(failed)?;
    if let Err(errno) = rustix::process::chdir(request.cwd.as_str()) {
        // A missing home directory is no reason to refuse; a directory that was asked for is.
        if request.cwd != "/root" {
            return Err(failed(sys::Error::new("change to directory", &request.cwd, errno)));
        }
        let _ = rustix::process::chdir("/");
    }
    sys::process::reset_signals();
    sys::process::set_nofile(1024).map_err(failed)?;
    for limit in &request.rlimits {
        sys::process::set_rlimit(&limit.name, limit.soft, limit.hard).map_err(failed)?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    sys::process::close_on_exec_from(3).map_err(failed)?;
    Err(exec(request))
}

/// Looks the program up in the PATH of the command's own environment and becomes it.
fn exec(request: &AttachRequest) -> CommandFailure {
    let Some(program) = request.command.first().filter(|program| !program.is_empty()) else {
        return (NOT_EXECUTABLE, "no command was given".into());
    };
    let mut env = request.env.clone();
    if Path::new("/snap").is_dir() {
        // Where a guest has it, its logins search there, too.
        env.iter_mut().filter(|entry| entry.strip_prefix("PATH=") == Some(DEFAULT_PATH)).for_each(|entry| entry.push_str(":/snap/bin"));
    }
    let path = env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    let candidates: Vec<String> = if program.contains('/') {
        vec![program.clone()]
    } else {
        path.split(':').map(|dir| format!("{}/{program}", if dir.is_empty() { "." } else { dir })).collect()
    };
    let mut failure = (NOT_FOUND, format!("{program}: command not found"));
    for candidate in candidates {
        if rustix::fs::accessat(rustix::fs::CWD, candidate.as_str(), Access::EXISTS, AtFlags::empty()).is_err() {
            continue;
        }
        let error = sys::process::exec(&candidate, &request.command, &env);
        failure = match error.errno {
            sys::Errno::NOENT => (NOT_FOUND, format!("{candidate}: its interpreter or library loader is missing")),
            _ => (NOT_EXECUTABLE, error.to_string()),
        };
    }
    failure
}
