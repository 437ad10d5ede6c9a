//! A running container, from the daemon's side.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use crate::cgroup::{Counters, Groups};
use crate::error::{Error, Result};
use crate::exec::{self, ExecSession, ExecSpec, ExecStdio};
use crate::files::{Crew, FileTree, Helper, MAX_HELPERS};
use crate::monitor::SOCKET_FILE;
use crate::protocol::{
    self, ATTACH_PATIENCE, AttachRequest, FILES_PATIENCE, FilesMessage, MESSAGE_BYTES, MONITOR_PATIENCE, MonitorReply, MonitorRequest,
};
use crate::runtime::Runtime;
use crate::spec::{ContainerSpec, Exit, ExitTarget};
use crate::watcher::Watched;

const SIGKILL: i32 = 9;
const SIGPWR: i32 = 30;
/// In the run directory of one that has said that it is ready.
const READY_FILE: &str = "ready";
/// systemd's "halt": SIGRTMIN+3, see systemd(1).
const SIGRTMIN_3: i32 = 37;

/// What a container uses.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Memory, processor time, number of tasks.
    pub counters: Counters,
    /// Network interfaces inside.
    pub interfaces: Vec<netlink::Interface>,
}

/// A running container. It stays valid, and says so, after the container has ended.
pub struct Container {
    name: String,
    pub(crate) spec: RwLock<Arc<ContainerSpec>>,
    /// Held while the description, and what it describes, is changed.
    pub(crate) changing: Mutex<()>,
    /// Set while the running state is saved, all of which that lock is held.
    pub(crate) is_saving: AtomicBool,
    pub(crate) run_dir: PathBuf,
    pub(crate) groups: Groups,
    /// The profile that confines it.
    pub(crate) apparmor: Option<String>,
    pub(crate) runtime: Weak<Runtime>,
    pub(crate) pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    monitor: Mutex<Option<Child>>,
    exit: Mutex<Option<Exit>>,
    crew: Arc<Crew>,
    changed: Condvar,
}

impl Container {
    pub(crate) fn new(
        runtime: &Arc<Runtime>,
        (spec, groups, apparmor): (ContainerSpec, Groups, Option<String>),
        (pid, pidfd): (i32, OwnedFd),
        socket: OwnedFd,
        monitor: Option<Child>,
    ) -> Arc<Self> {
        Arc::new(Self {
            run_dir: runtime.run_dir(&spec.name),
            groups,
            apparmor,
            runtime: Arc::downgrade(runtime),
            name: spec.name.clone(),
            spec: RwLock::new(Arc::new(spec)),
            changing: Mutex::default(),
            is_saving: AtomicBool::default(),
            pid,
            pidfd,
            socket,
            monitor: Mutex::new(monitor),
            exit: Mutex::new(None),
            crew: Arc::default(),
            changed: Condvar::new(),
        })
    }

    /// Name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Notes that it has said that it is ready, or that it is not any more. A new daemon finds it; it goes with the run.
    pub fn set_ready(&self, ready: bool) -> Result<()> {
        // A guest does not wait for what may take minutes.
        let busy = || Error::Invalid("it is being changed or its running state saved; try again later".into());
        let _changing = self.changing.try_lock().map_err(|_| busy())?;
        // One that has ended has no record any more, and the place may be another's.
        self.check_running()?;
        let note = self.run_dir.join(READY_FILE);
        if ready { Ok(sys::fs::write(note, [])?) } else { Ok(sys::fs::remove_file(note)?) }
    }

    /// Whether it has said so.
    pub fn is_ready(&self) -> bool {
        sys::fs::exists(self.run_dir.join(READY_FILE))
    }

    /// What it has now: what it was started with, and what was changed since.
    pub fn spec(&self) -> Arc<ContainerSpec> {
        Arc::clone(&self.spec.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Pid of init on the host.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether init runs.
    pub fn is_running(&self) -> bool {
        lock(&self.exit).is_none() && sys::process::pidfd_is_alive(&self.pidfd)
    }

    /// Whether init runs no more, or has been killed and only needs time to end.
    pub fn is_ending(&self) -> bool {
        !self.is_running() || sys::process::is_ending(self.pid)
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.groups.is_frozen()
    }

    /// Asks init to shut the system down, by the signal that this init takes for it.
    pub fn request_stop(&self) -> Result<()> {
        self.check_running()?;
        if let Some(signal) = self.spec().tuning.halt_signal {
            return Ok(sys::process::pidfd_signal(&self.pidfd, signal)?);
        }
        let is_systemd = sys::fs::read_link(format!("/proc/{}/exe", self.pid)).is_ok_and(|exe| exe.ends_with("systemd"));
        Ok(sys::process::pidfd_signal(&self.pidfd, if is_systemd { SIGRTMIN_3 } else { SIGPWR })?)
    }

    /// Kills everything inside. The kernel forbids new processes in the pid namespace from the
    /// moment that init dies, so no fork bomb outruns it.
    pub fn kill(&self) -> Result<()> {
        self.check_running()?;
        sys::process::pidfd_signal(&self.pidfd, SIGKILL)?;
        self.let_go();
        // A group frozen by cgroup v1 dies only once it is let go.
        if self.groups.is_frozen() {
            drop(self.groups.freeze(false));
        }
        Ok(())
    }

    /// Ends what is being done with its files and mounts: the guest's file systems may never answer.
    pub fn let_go(&self) {
        self.crew.dismiss();
    }

    /// Stops every process until [`Self::thaw`].
    pub fn freeze(&self) -> Result<()> {
        self.check_running()?;
        self.groups.freeze(true)
    }

    /// Lets every process go on.
    pub fn thaw(&self) -> Result<()> {
        self.check_running()?;
        self.groups.freeze(false)
    }

    /// Waits until the container has ended and nothing of it is left. `None` at the timeout.
    pub fn wait_exit(&self, timeout: Option<Duration>) -> Option<Exit> {
        let end = timeout.map(|timeout| Instant::now() + timeout);
        let mut exit = lock(&self.exit);
        while exit.is_none() {
            exit = match end {
                None => self.changed.wait(exit).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.changed.wait_timeout(exit, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *exit
    }

    /// Runs a command inside.
    pub fn exec(&self, spec: ExecSpec) -> Result<ExecSession> {
        self.check_running()?;
        // The helper would be frozen with the rest as soon as it enters.
        if self.groups.is_frozen() {
            return Err(Error::Frozen(self.name.clone()));
        }
        let (runtime, own) = (self.runtime()?, self.spec());
        let env = exec::environment(&spec.env);
        let home = || spec.env.get("HOME").cloned().unwrap_or_else(|| "/root".into());
        let request = AttachRequest {
            name: self.name.clone(),
            layout: runtime.facts().layout.clone(),
            cgroup_tag: self.groups.tag().to_string_lossy().into_owned(),
            privileged: own.idmap.is_empty(),
            dropped_capabilities: own.dropped_capabilities(),
            seccomp: runtime.policy(&own)?.to_vec(),
            cwd: spec.cwd.clone().filter(|cwd| !cwd.is_empty()).unwrap_or_else(home),
            command: spec.command,
            env,
            uid: spec.uid,
            gid: spec.gid,
            pty: match spec.stdio {
                ExecStdio::Pty { width, height } => Some((width, height)),
                _ => None,
            },
            personality_32: own.personality_32,
            rlimits: own.rlimits.clone(),
            apparmor: self.apparmor.clone(),
        };
        let streams = exec::open_streams(spec.stdio)?;
        let helper = runtime.spawn_helper("attach", ATTACH_PATIENCE)?;
        exec::begin(&request, &self.pidfd, streams, helper, runtime.watcher())
    }

    /// A stream to and from the console, in place of an earlier one. Dropping it detaches.
    pub fn console(&self) -> Result<OwnedFd> {
        let (socket, reply) = self.ask(&MonitorRequest::Console)?;
        drop(socket);
        match reply {
            (MonitorReply::Console, Some(stream)) => Ok(stream),
            _ => Err(self.monitor_error("gave no console")),
        }
    }

    /// What the console printed lately.
    pub fn console_log(&self) -> Result<Vec<u8>> {
        let (socket, _) = self.ask(&MonitorRequest::ConsoleLog)?;
        match sys::socket::receive(&socket, MESSAGE_BYTES)? {
            Some((log, _)) => Ok(log),
            None => Err(self.monitor_error("ended")),
        }
    }

    /// Changes the size of the console, characters.
    pub fn resize_console(&self, width: u16, height: u16) -> Result<()> {
        self.ask(&MonitorRequest::ConsoleResize { width, height }).map(drop)
    }

    /// What it uses now; best effort. Without a tour nothing is known of its interfaces.
    pub fn usage(&self, tour: Option<&mut netlink::Tour>) -> Usage {
        let look = |tour: &mut netlink::Tour| {
            let namespace = self.network_namespace()?;
            tour.interfaces_in(namespace.as_fd()).map_err(|error| Error::Network(error.to_string()))
        };
        Usage { counters: self.groups.counters(), interfaces: tour.and_then(|tour| look(tour).ok()).unwrap_or_default() }
    }

    /// Memory, processor time and number of tasks alone, without a look at the network.
    pub fn counters(&self) -> Counters {
        self.groups.counters()
    }

    /// The guest's files.
    pub fn files(&self) -> Result<FileTree> {
        Ok(FileTree::running(self.inside()?))
    }

    pub(crate) fn inside(&self) -> Result<Helper> {
        self.inside_with(&[])
    }

    /// A files helper that takes mount trees along.
    pub(crate) fn inside_with(&self, trees: &[&OwnedFd]) -> Result<Helper> {
        self.check_running()?;
        let busy = || Error::Busy { name: self.name.clone(), count: MAX_HELPERS };
        let place = self.crew.join().ok_or_else(busy)?;
        let helper = Helper::new(self.runtime()?.spawn_helper("files", FILES_PATIENCE)?, place, &self.name);
        let fds: Vec<&OwnedFd> = [&self.pidfd].into_iter().chain(trees.iter().copied()).collect();
        helper.ask(&FilesMessage::Enter { privileged: self.spec().idmap.is_empty() }, &fds)?;
        Ok(helper)
    }

    pub(crate) fn network_namespace(&self) -> Result<OwnedFd> {
        let namespace = sys::fs::open(format!("/proc/{}/ns/net", self.pid))?;
        // The pid named this container as long as its init was not reaped.
        self.check_running()?;
        Ok(namespace.into())
    }

    pub(crate) fn check_running(&self) -> Result<()> {
        if self.is_running() { Ok(()) } else { Err(Error::NotRunning(self.name.clone())) }
    }

    pub(crate) fn runtime(&self) -> Result<Arc<Runtime>> {
        self.runtime.upgrade().ok_or_else(|| Error::Invalid("the runtime has shut down".into()))
    }

    fn monitor_error(&self, what: &str) -> Error {
        Error::Helper { program: "monitor", name: self.name.clone(), what: what.into() }
    }

    /// Asks the monitor over a connection of its own.
    fn ask(&self, request: &MonitorRequest) -> Result<(OwnedFd, (MonitorReply, Option<OwnedFd>))> {
        self.check_running()?;
        let who = ("monitor", self.name.as_str());
        let socket = sys::socket::connect_seqpacket(&self.run_dir.join(SOCKET_FILE), MONITOR_PATIENCE);
        let socket = socket.map_err(|error| protocol::silent(error.into(), MONITOR_PATIENCE, who))?;
        protocol::send(&socket, request, &[])?;
        match protocol::receive_within::<MonitorReply>(&socket, MONITOR_PATIENCE, who)? {
            Some((reply, fds)) => Ok((socket, (reply, fds.into_iter().next()))),
            None => Err(self.monitor_error("ended")),
        }
    }

    /// The monitor reported the end, or was lost. Cleans up and tells everybody.
    fn end(self: Arc<Self>, exit: Option<Exit>) {
        let exit = exit.unwrap_or_else(|| {
            tracing::error!(container = self.name, "the monitor was lost; what still runs is killed");
            self.take_back_links();
            drop(sys::process::pidfd_signal(&self.pidfd, SIGKILL));
            Exit { target: ExitTarget::Crash, code: None, signal: None }
        });
        if let Some(mut monitor) = lock(&self.monitor).take() {
            drop(monitor.wait());
        }
        if let Err(error) = self.groups.remove() {
            tracing::warn!(container = self.name, %error, "control groups could not be removed");
        }
        crate::nic::remove_shapers(&self.spec().nics);
        let runtime = self.runtime.upgrade();
        if let Some(runtime) = &runtime {
            runtime.release(&self.name);
            runtime.retire(&self.name);
        }
        let ends = crate::nic::lasting_ends(&self.spec().nics);
        *lock(&self.exit) = Some(exit);
        self.changed.notify_all();
        // Takes its time, which nobody waits for but who wants the name again.
        crate::nic::remove_links(&ends);
        if let Some(runtime) = runtime {
            runtime.report_exit(&self.name, exit);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched for Container {
    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn wake(self: Arc<Self>) -> bool {
        let exit = match protocol::receive::<MonitorReply>(&self.socket, MESSAGE_BYTES) {
            Ok(Some((MonitorReply::Exited(exit), _))) => Some(exit),
            Ok(Some(_)) => return true,
            Ok(None) | Err(_) => None,
        };
        let name = self.name.clone();
        let spawned = std::thread::Builder::new().name("exit".into()).stack_size(512 * 1024).spawn(move || self.end(exit));
        if let Err(error) = spawned {
            tracing::error!(container = name, %error, "the end of a container could not be handled");
        }
        false
    }
}
