//! The daemon's handle to all running containers.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use sys::helper::SealedProgram;
use sys::idmap::Kind;

use crate::apparmor::AppArmor;
use crate::cgroup::{Groups, Layout};
use crate::checkpoint::{Criu, PATIENCE, SavedState, remove_waiting};
use crate::container::Container;
use crate::error::{Error, Result};
use crate::monitor::{EXIT_FILE, INIT_FILE, InitRecord, SOCKET_FILE};
use crate::protocol::{self, LAUNCH_PATIENCE, Launch, MONITOR_PATIENCE, MonitorReply, MonitorRequest, Resume};
use crate::seccomp::{self, Policy};
use crate::spec::{ContainerSpec, Exit, ExitTarget};
use crate::watcher::{Watched, Watcher};

/// Where the runtime keeps things and what it runs.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// State of running containers; gone with the host's uptime.
    pub run_dir: PathBuf,
    /// One directory per container, for the monitor's log.
    pub log_dir: PathBuf,
    /// Parent of all control groups: unique to this daemon on the host.
    pub cgroup_tag: String,
    /// A control group that was delegated to this daemon, as a path below the root of the hierarchy, in which the
    /// tag's is made; empty for the root itself. It counts where version 2 is the only one.
    pub cgroup_parent: PathBuf,
    /// The helper program `lxd-runtime`.
    pub helper: PathBuf,
    /// Where AppArmor profiles are kept; unset to use none.
    pub apparmor_dir: Option<PathBuf>,
}

/// What the host can do.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// Control group hierarchies.
    pub layout: Layout,
    /// Whether containers are confined by AppArmor, or why not.
    pub apparmor: std::result::Result<AppArmor, String>,
}

/// A container ended.
#[derive(Clone, Debug)]
pub struct ExitEvent {
    /// Name.
    pub name: String,
    /// How.
    pub exit: Exit,
}

/// A container's log, of this start and of the one before.
const LOG_FILE: &str = "lxc.log";
const OLD_LOG_FILE: &str = "lxc.log.old";

/// What became of a container while no daemon looked.
pub enum Recovered {
    /// It runs.
    Running(Arc<Container>),
    /// Its monitor is there and cannot be talked to, for this reason. Nothing was touched; to be
    /// tried again.
    Unreachable(Error),
    /// It ended.
    Exited(Exit),
    /// It did not run.
    Nothing,
}

type OnExit = Box<dyn Fn(ExitEvent) + Send + Sync>;

/// All running containers of one daemon.
pub struct Runtime {
    config: RuntimeConfig,
    facts: HostFacts,
    helper: SealedProgram,
    watcher: Arc<Watcher>,
    containers: Mutex<HashMap<String, Arc<Container>>>,
    policies: Mutex<BTreeMap<Policy, Arc<Vec<u8>>>>,
    on_exit: OnceLock<OnExit>,
    /// Itself, for the containers that it makes.
    this: Weak<Runtime>,
}

impl Runtime {
    /// Reads the host's facts and loads the helper. `on_exit` is called once for each container
    /// that ended, from a thread of its own, after everything of the container is gone.
    pub fn new(mut config: RuntimeConfig, on_exit: OnExit) -> Result<Arc<Self>> {
        sys::fs::ensure_dir_all(&config.run_dir, 0o711)?;
        let owner = config.run_dir.parent().unwrap_or(&config.run_dir);
        let facts = HostFacts { layout: Layout::detect()?, apparmor: AppArmor::find(config.apparmor_dir.as_deref(), owner) };
        match &facts.apparmor {
            Ok(_) => tracing::info!("Containers are confined by AppArmor"),
            Err(reason) => tracing::info!("Containers are not confined by AppArmor: {reason}"),
        }
        config.cgroup_tag = place_groups(&config, &facts.layout);
        let helper = SealedProgram::load(&config.helper, "lxd-runtime")?;
        let watcher = Watcher::start()?;
        let calls = OnceLock::new();
        drop(calls.set(on_exit));
        Ok(Arc::new_cyclic(|this| Self {
            config,
            facts,
            helper,
            watcher,
            containers: Mutex::default(),
            policies: Mutex::default(),
            on_exit: calls,
            this: this.clone(),
        }))
    }

    /// The host's facts.
    pub fn facts(&self) -> &HostFacts {
        &self.facts
    }

    /// A running container.
    pub fn get(&self, name: &str) -> Option<Arc<Container>> {
        self.lock().get(name).cloned()
    }

    /// Starts a container; returns when its init has been executed. A failure leaves nothing behind.
    pub fn start(&self, spec: &ContainerSpec) -> Result<Arc<Container>> {
        self.start_from(spec, None)
    }

    /// Lets a container go on from a saved state, which stays as it is. A failure leaves nothing behind.
    pub fn resume(&self, spec: &ContainerSpec, images: &Path, criu: &Criu) -> Result<Arc<Container>> {
        let state = SavedState::read(images)?;
        let resumed = state.unpack(images).and_then(|()| self.resume_unpacked(spec, images, criu));
        let removed = state.remove_unpacked(images);
        if let Err(error) = removed {
            tracing::warn!(container = spec.name, %error, "unpacked memory stays on the disk");
        }
        resumed
    }

    fn resume_unpacked(&self, spec: &ContainerSpec, images: &Path, criu: &Criu) -> Result<Arc<Container>> {
        let resume = Resume {
            images: images.to_owned(),
            criu: criu.path().to_owned(),
            hook: self.hook_path().to_owned(),
            log_dir: self.log_dir(&spec.name),
        };
        self.start_from(spec, Some(resume))
    }

    fn start_from(&self, spec: &ContainerSpec, resume: Option<Resume>) -> Result<Arc<Container>> {
        if self.get(&spec.name).is_some() {
            return Err(Error::Invalid(format!("the container `{}` runs already", spec.name)));
        }
        let dir = self.run_dir(&spec.name);
        let groups = self.groups(&spec.name);
        let patience = if resume.is_some() { PATIENCE } else { LAUNCH_PATIENCE };
        let result = self.prepare(spec, resume, &dir, &groups).and_then(|()| self.launch(spec, &dir, patience));
        match result {
            Ok(container) => {
                self.lock().insert(spec.name.clone(), Arc::clone(&container));
                self.watcher.add(Arc::clone(&container) as Arc<dyn Watched>)?;
                Ok(container)
            }
            Err(error) => {
                self.clear_away(&spec.name, &dir);
                drop(sys::fs::remove_tree(&dir));
                Err(error)
            }
        }
    }

    /// Removes what a start left, whoever died in the middle of it: processes, groups, and cards that
    /// nobody took. `dir` is where the run directory is.
    fn clear_away(&self, name: &str, dir: &Path) {
        let groups = self.groups_of(name, dir);
        // CRIU first, which moves what it makes from the one to the other.
        for groups in [groups.workshop(), groups] {
            groups.kill();
            if let Err(error) = groups.remove() {
                tracing::warn!(container = name, %error, "control groups could not be removed");
            }
        }
        if let Ok(launch) = Launch::read(dir) {
            crate::nic::remove_shapers(&launch.spec.nics);
            if launch.resume.is_some() {
                remove_waiting(&launch);
            }
        }
        self.release(name);
    }

    /// Finds out what became of a container while no daemon looked. Takes a few seconds at most, and
    /// may be called for several containers at once.
    pub fn recover(&self, name: &str) -> Recovered {
        match self.reconnect(name) {
            Ok(container) => {
                self.lock().insert(name.to_owned(), Arc::clone(&container));
                match self.watcher.add(Arc::clone(&container) as Arc<dyn Watched>) {
                    Ok(()) => Recovered::Running(container),
                    Err(error) => {
                        tracing::error!(container = name, %error, "cannot be watched");
                        Recovered::Running(container)
                    }
                }
            }
            Err(error) if is_nobody(&error) => {
                tracing::debug!(container = name, %error, "there is no monitor");
                self.recover_ended(name)
            }
            Err(error) => Recovered::Unreachable(error),
        }
    }

    /// Whether a process is one of a container's, also of containers in it: by its control groups, which no guest can
    /// leave. For a process that is known to live.
    pub fn holds(&self, name: &str, pid: i32) -> bool {
        let text = sys::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        self.groups(name).contain(&text)
    }

    /// Forgets what [`Self::recover`] found of an ended container.
    pub fn forget(&self, name: &str) {
        drop(sys::fs::remove_tree(self.ended_dir(name)));
    }

    pub(crate) fn run_dir(&self, name: &str) -> PathBuf {
        self.config.run_dir.join(name)
    }

    /// Where the record of an ended container waits until it has been dealt with. The name is free
    /// for the next start, and no container's.
    fn ended_dir(&self, name: &str) -> PathBuf {
        self.config.run_dir.join(format!(".ended-{name}"))
    }

    /// Where logs of a container are.
    pub(crate) fn log_dir(&self, name: &str) -> PathBuf {
        self.config.log_dir.join(name)
    }

    /// What CRIU calls. By its place, which only root can change: a path by way of a process would be
    /// another's file once that process is gone, and CRIU may outlive the daemon.
    pub(crate) fn hook_path(&self) -> &Path {
        &self.config.helper
    }

    pub(crate) fn groups(&self, name: &str) -> Groups {
        Groups::new(self.facts.layout.clone(), &self.config.cgroup_tag, name)
    }

    /// The groups of a container that another daemon may have started, which has its groups elsewhere.
    fn groups_of(&self, name: &str, dir: &Path) -> Groups {
        let tag = Launch::read(dir).map_or_else(|_| self.config.cgroup_tag.clone(), |launch| launch.cgroup_tag);
        Groups::new(self.facts.layout.clone(), &tag, name)
    }

    pub(crate) fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    /// The compiled system call filter of a container, compiled once per policy.
    pub(crate) fn policy(&self, spec: &ContainerSpec) -> Result<Arc<Vec<u8>>> {
        let policy = Policy { checkpointable: spec.checkpointable, subvolumes: spec.subvolumes };
        let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = policies.get(&policy) {
            return Ok(Arc::clone(compiled));
        }
        let compiled = Arc::new(seccomp::compile(policy)?);
        policies.insert(policy, Arc::clone(&compiled));
        Ok(compiled)
    }

    /// Starts a helper; returns our end of its socket, on which no call takes longer than `limit`.
    pub(crate) fn spawn_helper(&self, role: &str, limit: Duration) -> Result<(OwnedFd, Child)> {
        let (ours, theirs) = sys::socket::seqpacket_pair()?;
        sys::socket::set_timeouts(&ours, limit)?;
        let child = self.helper.spawn(&[role], theirs, None)?;
        Ok((ours, child))
    }

    /// Sets the run directory of an ended container aside and makes its name free again.
    pub(crate) fn retire(&self, name: &str) {
        self.forget(name);
        drop(sys::fs::rename(self.run_dir(name), self.ended_dir(name)));
        self.lock().remove(name);
    }

    pub(crate) fn report_exit(&self, name: &str, exit: Exit) {
        if let Some(call) = self.on_exit.get() {
            call(ExitEvent { name: name.to_owned(), exit });
        }
        self.forget(name);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Container>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepare(&self, spec: &ContainerSpec, resume: Option<Resume>, dir: &Path, groups: &Groups) -> Result<()> {
        let root_id = |kind| {
            spec.idmap.to_host(kind, 0).ok_or_else(|| Error::Invalid("the id map does not contain the container's root (id 0)".into()))
        };
        let owner = (root_id(Kind::Uid)?, root_id(Kind::Gid)?);
        sys::fs::remove_tree(dir)?;
        sys::fs::create_dir(dir, 0o700)?;
        let launch = Launch {
            spec: spec.clone(),
            layout: self.facts.layout.clone(),
            cgroup_tag: self.config.cgroup_tag.clone(),
            seccomp: self.policy(spec)?.to_vec(),
            apparmor: self.confine(spec)?,
            lxcfs: find_lxcfs(),
            resume,
        };
        launch.write(dir)?;
        crate::nodes::create(&spec.nodes, &spec.idmap)?;
        groups.create(&spec.limits, owner)?;
        groups.write_files(&spec.tuning.cgroup)?;
        if !groups.restrict_devices(spec)? && spec.idmap.is_empty() {
            tracing::warn!(container = spec.name, "in a user namespace device access of a privileged container is not restricted");
        }
        Ok(())
    }

    /// Keeps the log of the last start aside, for the next one to begin anew.
    pub fn renew_log(&self, name: &str) {
        let dir = self.log_dir(name);
        if let Err(error) = sys::fs::rename(dir.join(LOG_FILE), dir.join(OLD_LOG_FILE))
            && !error.is_not_found()
        {
            tracing::warn!(container = name, %error, "the log of the last start is gone on with");
        }
    }

    /// Writes into a container's log why it was not started, be it that nothing was launched.
    pub fn log_failed_start(&self, name: &str, reason: &str) {
        use std::io::Write;
        let text: String = reason.lines().map(|line| format!("ERROR {line}\n")).collect();
        let path = self.log_dir(name).join(LOG_FILE);
        let written = self
            .open_log(name)
            .and_then(|mut log| log.write_all(text.as_bytes()).map_err(|error| sys::Error::io("write", path.display(), &error).into()));
        if let Err(error) = written {
            tracing::warn!(container = name, %error, "why it was not started is not in its log");
        }
    }

    fn open_log(&self, name: &str) -> Result<std::fs::File> {
        let dir = self.log_dir(name);
        sys::fs::ensure_dir_all(&dir, 0o700)?;
        Ok(sys::fs::append(dir.join(LOG_FILE), 0o600)?)
    }

    fn launch(&self, spec: &ContainerSpec, dir: &Path, patience: Duration) -> Result<Arc<Container>> {
        let lost = |what: &str| Error::Helper { program: "monitor", name: spec.name.clone(), what: what.into() };
        let (socket, theirs) = sys::socket::seqpacket_pair()?;
        sys::socket::set_timeouts(&socket, patience)?;
        let log = self.open_log(&spec.name)?;
        let mut child = self.helper.spawn(&["monitor", &dir.to_string_lossy()], theirs, Some(log.into()))?;
        match protocol::receive_within::<MonitorReply>(&socket, patience, ("monitor", &spec.name)) {
            Ok(Some((MonitorReply::Running { pid }, fds))) => {
                let pidfd = fds.into_iter().next().ok_or_else(|| lost("sent no descriptor of init"))?;
                let runtime = self.this.upgrade().ok_or_else(|| lost("outlived the runtime"))?;
                let apparmor =
                    self.facts.apparmor.as_ref().ok().filter(|_| !spec.tuning.unconfined).map(|apparmor| apparmor.name(&spec.name));
                Ok(Container::new(&runtime, (spec.clone(), self.groups(&spec.name), apparmor), (pid, pidfd), socket, Some(child)))
            }
            Ok(Some((MonitorReply::Failed(failure), _))) => {
                drop(child.wait());
                Err(Error::step(failure.step, failure.reason))
            }
            other => {
                dispose(child, ());
                Err(other.err().unwrap_or_else(|| lost("ended without an answer")))
            }
        }
    }

    /// Asks the monitor. One that is just ending closes the connection before its socket is gone, and
    /// one with too many connections closes this one; hence a few attempts.
    fn reconnect(&self, name: &str) -> Result<Arc<Container>> {
        const ATTEMPTS: u32 = 10;
        for _ in 1..ATTEMPTS {
            match self.reconnect_once(name) {
                Err(Error::Helper { .. }) => std::thread::sleep(Duration::from_millis(50)),
                other => return other,
            }
        }
        self.reconnect_once(name)
    }

    fn reconnect_once(&self, name: &str) -> Result<Arc<Container>> {
        let lost = |what: &str| Error::Helper { program: "monitor", name: name.to_owned(), what: what.into() };
        let dir = self.run_dir(name);
        let who = ("monitor", name);
        let socket = sys::socket::connect_seqpacket(&dir.join(SOCKET_FILE), MONITOR_PATIENCE);
        let socket = socket.map_err(|error| protocol::silent(error.into(), MONITOR_PATIENCE, who))?;
        let launch = Launch::read(&dir)?;
        protocol::send(&socket, &MonitorRequest::Hello, &[]).map_err(|_| lost("has ended"))?;
        match protocol::receive_within::<MonitorReply>(&socket, MONITOR_PATIENCE, who)? {
            Some((MonitorReply::Running { pid }, fds)) => {
                let pidfd = fds.into_iter().next().ok_or_else(|| lost("sent no descriptor of init"))?;
                let runtime = self.this.upgrade().ok_or_else(|| lost("outlived the runtime"))?;
                let groups = Groups::new(self.facts.layout.clone(), &launch.cgroup_tag, name);
                Ok(Container::new(&runtime, (launch.spec, groups, launch.apparmor), (pid, pidfd), socket, None))
            }
            _ => Err(lost("gave no answer")),
        }
    }

    /// Without a monitor: there is an exit record, or an init that lost its monitor, or nothing.
    fn recover_ended(&self, name: &str) -> Recovered {
        if self.run_dir(name).exists() {
            self.retire(name);
        }
        let dir = self.ended_dir(name);
        if let Ok(launch) = Launch::read(&dir) {
            crate::nic::remove_shapers(&launch.spec.nics);
        }
        let exit = match sys::fs::read(dir.join(EXIT_FILE)) {
            Ok(record) => serde_json::from_slice(&record).unwrap_or(CRASH),
            Err(_) if dir.join(INIT_FILE).exists() => {
                kill_orphan(&dir.join(INIT_FILE));
                CRASH
            }
            Err(_) => {
                self.clear_away(name, &dir);
                drop(sys::fs::remove_tree(&dir));
                return Recovered::Nothing;
            }
        };
        if let Err(error) = self.groups_of(name, &dir).remove() {
            tracing::warn!(container = name, %error, "control groups could not be removed");
        }
        self.release(name);
        Recovered::Exited(exit)
    }

    /// Loads the profile of a container, where there are any.
    fn confine(&self, spec: &ContainerSpec) -> Result<Option<String>> {
        let apparmor = self.facts.apparmor.as_ref().ok().filter(|_| !spec.tuning.unconfined);
        apparmor.map(|apparmor| apparmor.load(&spec.name, spec.confinement())).transpose()
    }

    /// Takes a container's profile out of the kernel: nothing of it runs any more.
    pub(crate) fn release(&self, name: &str) {
        if let Ok(apparmor) = &self.facts.apparmor {
            apparmor.unload(name);
        }
    }

    /// Removes the AppArmor profile that is kept of a container whose name is given up.
    pub fn forget_profile(&self, name: &str) {
        if let Ok(apparmor) = &self.facts.apparmor {
            apparmor.forget(name);
        }
    }
}

/// Where the groups are: in the delegated one, if that is there and version 2 is the only one.
fn place_groups(config: &RuntimeConfig, layout: &Layout) -> String {
    let parent = config.cgroup_parent.strip_prefix("/").unwrap_or(&config.cgroup_parent);
    let is_delegated = match &*layout.hierarchies {
        [only] if only.unified && !parent.as_os_str().is_empty() => only.mount_point.join(parent).is_dir(),
        _ => return config.cgroup_tag.clone(),
    };
    if !is_delegated {
        tracing::warn!(group = %parent.display(), "the control group for containers is not there; theirs are made at the root");
        return config.cgroup_tag.clone();
    }
    parent.join(&config.cgroup_tag).to_string_lossy().into_owned()
}

/// Whether an attempt to reach a monitor says that there is none: no socket, or nobody behind it.
fn is_nobody(error: &Error) -> bool {
    matches!(error, Error::Sys(error) if matches!(error.errno, sys::Errno::NOENT | sys::Errno::CONNREFUSED))
}

/// Kills a helper that cannot be waited for: it may hang in the kernel until a disk answers or a
/// container is thawed. `until_gone` is dropped when it is gone.
pub(crate) fn dispose(mut helper: Child, until_gone: impl Send + 'static) {
    drop(helper.kill());
    let reap = move || {
        drop(helper.wait());
        drop(until_gone);
    };
    let reaping = std::thread::Builder::new().name("reaper".into()).stack_size(64 * 1024).spawn(reap);
    if let Err(error) = reaping {
        tracing::warn!(%error, "a helper that was killed stays a zombie");
    }
}

const CRASH: Exit = Exit { target: ExitTarget::Crash, code: None, signal: None };

/// Kills an init whose monitor was lost, if it is still the process of the record.
fn kill_orphan(record: &Path) {
    let Some(record) = sys::fs::read(record).ok().and_then(|text| serde_json::from_slice::<InitRecord>(&text).ok()) else { return };
    let Ok(pidfd) = sys::process::pidfd_open(record.pid) else { return };
    if sys::process::start_time(record.pid).is_ok_and(|time| time == record.start_time) {
        drop(sys::process::pidfd_signal(&pidfd, 9));
        // Bounded: its namespaces' processes die with it.
        for _ in 0..1000 {
            if !sys::process::pidfd_is_alive(&pidfd) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// Where lxcfs is mounted, if it is.
fn find_lxcfs() -> Option<PathBuf> {
    let dir = PathBuf::from("/var/lib/lxcfs");
    dir.join("proc/meminfo").exists().then_some(dir)
}
