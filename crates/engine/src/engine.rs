//! The engine itself: what it owns, how it comes up and goes down.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock, Weak};
use std::time::{Duration, Instant};

use runtime::{Runtime, RuntimeConfig};
use serde_json::Map;
use store::SqliteStore;

use crate::certificates::{Certificates, Strangers};
use crate::criu::KnownCriu;
use crate::error::Context;
use crate::events::Events;
use crate::expiry::Alarm;
use crate::guest::{GuestState, Guests};
use crate::host::Host;
use crate::hotplug::Hotplug;
use crate::https::{Edge, Https, Wanted};
use crate::images::{ImageState, Images};
use crate::instances::admission::Gates;
use crate::instances::idmap::{HostIds, read_host_ids};
use crate::instances::{Instances, Unsettled};
use crate::live::Live;
use crate::networks::{NetworkTable, Networks};
use crate::operations::Operations;
use crate::profiles::Profiles;
use crate::records::Records;
use crate::server::Server;
use crate::storage_pools::{PoolTable, StoragePools};
use crate::sync::{lock, wait, wait_timeout};
use crate::warnings::Warnings;
use crate::{Error, Result};

/// Where and as what to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// State directory (`LXD_DIR`).
    pub dir: PathBuf,
    /// Log directory.
    pub log_dir: PathBuf,
    /// Group that may use the socket; kept for the edge.
    pub group: Option<String>,
    /// The program that sets containers up (`lxd-runtime`).
    pub helper: PathBuf,
    /// Version shown to clients.
    pub version: String,
    /// Confine containers by AppArmor, where the host has it.
    pub apparmor: bool,
    /// Control group in which those of containers are made, where it was delegated to this daemon; else empty.
    pub cgroup_parent: PathBuf,
    /// Start the instances that should run, once ready.
    pub autostart: bool,
}

/// The whole of the daemon behind its API.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) events: Arc<Events>,
    pub(crate) operations: Arc<Operations>,
    pub(crate) records: Records,
    pub(crate) runtime: RuntimeHandle,
    pub(crate) live: Live,
    pub(crate) guest_state: GuestState,
    pub(crate) gates: Arc<Gates>,
    pub(crate) pools: PoolTable,
    pub(crate) networks: NetworkTable,
    pub(crate) image_state: ImageState,
    pub(crate) host: Host,
    pub(crate) hotplug: Hotplug,
    pub(crate) criu: KnownCriu,
    pub(crate) https: Https,
    pub(crate) strangers: Strangers,
    /// Held while a warning is looked up and stored.
    pub(crate) warning: Mutex<()>,
    pub(crate) host_ids: std::result::Result<HostIds, String>,
    /// Held while an isolated id range is chosen and stored.
    pub(crate) id_allocation: Mutex<()>,
    /// Read by each start from its check for a shutdown until its container is published.
    pub(crate) starts: RwLock<()>,
    /// Rings when something gets another date of expiry.
    pub(crate) expiry_alarm: Arc<Alarm>,
    ready: Ready,
    shutting_down: AtomicBool,
    /// Keeps other daemons off the state directory.
    _lock: LockFile,
}

/// The runtime, for `Debug`'s sake.
pub(crate) struct RuntimeHandle(Arc<Runtime>);

impl std::ops::Deref for RuntimeHandle {
    type Target = Runtime;
    fn deref(&self) -> &Runtime {
        &self.0
    }
}

impl std::fmt::Debug for RuntimeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

#[derive(Debug, Default)]
struct Ready {
    done: Mutex<bool>,
    changed: Condvar,
}

/// Directories of the state directory and their modes.
const LAYOUT: &[(&str, u32)] = &[
    ("backups", 0o700),
    ("database", 0o700),
    ("devices", 0o700),
    // Users of the host have no business with the sockets of guests.
    ("devlxd", 0o700),
    ("disks", 0o700),
    ("images", 0o700),
    ("networks", 0o711),
    ("run", 0o711),
    ("storage-pools", 0o711),
];

impl Engine {
    /// Takes hold of the state directory, loads the records, finds running instances again, and
    /// goes on with slow work (pools, networks, autostart) in the background.
    pub fn open(config: Config) -> Result<Arc<Self>> {
        make_layout(&config)?;
        let lock = LockFile::take(&config.dir)?;
        let host = Host::read();
        // The server's certificate, when it has to be made, is on the disk while the database comes up.
        let (https, store) = std::thread::scope(|scope| {
            let https = scope.spawn(|| Https::open(&config.dir, &host.hostname));
            let store = SqliteStore::open(config.dir.join("database/lxd.db")).context("open the database");
            (https.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), store)
        });
        let records = Records::load(Arc::new(store?))?;
        let host_ids = read_host_ids();
        if let Err(reason) = &host_ids {
            tracing::warn!("only privileged containers can be made: {reason}");
        }
        forget_earlier_uptime(&config.dir)?;
        let events = Arc::new(Events::default());
        let target: Arc<OnceLock<Weak<Self>>> = Arc::default();
        let runtime = start_runtime(&config, target.clone())?;
        let engine = Arc::new(Self {
            operations: Arc::new(Operations::new(events.clone())),
            events,
            records,
            runtime: RuntimeHandle(runtime),
            live: Live::default(),
            guest_state: GuestState::default(),
            gates: Arc::default(),
            pools: PoolTable::default(),
            networks: NetworkTable::default(),
            image_state: ImageState::default(),
            host,
            hotplug: Hotplug::default(),
            criu: KnownCriu::default(),
            https,
            strangers: Strangers::default(),
            warning: Mutex::default(),
            host_ids,
            id_allocation: Mutex::default(),
            starts: RwLock::default(),
            expiry_alarm: Arc::default(),
            ready: Ready::default(),
            shutting_down: AtomicBool::new(false),
            config,
            _lock: lock,
        });
        drop(target.set(Arc::downgrade(&engine)));
        engine.ensure_default_profile()?;
        engine.pools.expect(&engine.records.pools.ids());
        engine.networks.expect(&engine.records.networks.ids());
        let unsettled = engine.instances().recover();
        engine.guests().sweep();
        Hotplug::start(&engine);
        let leftovers = engine.images().leftovers();
        engine.sweep_backups();
        let worker = engine.clone();
        let start = std::thread::Builder::new().name("start-up".into()).spawn(move || worker.finish_start(unsettled, leftovers));
        start.map(drop).context_as(crate::ErrorKind::Unavailable, "start a thread")?;
        Ok(engine)
    }

    /// The slow part of starting.
    fn finish_start(self: Arc<Self>, unsettled: Vec<Unsettled>, leftovers: Vec<PathBuf>) {
        let pools = self.storage_pools();
        let networks = self.networks();
        std::thread::scope(|scope| {
            scope.spawn(|| pools.open_all());
            scope.spawn(|| networks.bring_up_all());
        });
        crate::points::reach("settle");
        self.instances().settle_all(unsettled);
        self.instances().rebalance_cpus();
        self.hotplug.look_again();
        if self.config.autostart {
            self.instances().autostart();
        }
        crate::schedule::start(&self);
        *lock(&self.ready.done) = true;
        self.ready.changed.notify_all();
        tracing::info!("ready");
        self.watch_expiry();
        self.images().sweep(leftovers);
        self.images().start_upkeep();
        // The first to ask shall not wait for it.
        drop(self.criu.version());
        self.warn_of_host();
    }

    /// Waits until start-up is over; false after `limit`.
    pub fn wait_ready(&self, limit: Option<Duration>) -> bool {
        let end = limit.map(|limit| Instant::now() + limit);
        let mut done = lock(&self.ready.done);
        while !*done {
            done = match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => wait(&self.ready.changed, done),
                Some(left) if left.is_zero() => return false,
                Some(left) => wait_timeout(&self.ready.changed, done, left),
            };
        }
        true
    }

    /// Whether start-up is over.
    pub fn is_ready(&self) -> bool {
        *lock(&self.ready.done)
    }

    /// Stops every instance cleanly (each within its `boot.host_shutdown_timeout`, then by force)
    /// and remembers which were running, so that they come back. Blocks. For `lxd shutdown`.
    pub fn shutdown(self: &Arc<Self>) {
        self.shutting_down.store(true, Ordering::SeqCst);
        self.instances().stop_all();
        self.networks.take_down_all();
    }

    /// Whether [`Self::shutdown`] has begun.
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::SeqCst)
    }

    /// How the engine was configured.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Events.
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// Operations.
    pub fn operations(&self) -> &Arc<Operations> {
        &self.operations
    }

    /// Instances and their snapshots.
    pub fn instances(self: &Arc<Self>) -> Instances {
        Instances::new(self.clone())
    }

    /// What instances may learn of themselves.
    pub fn guests(self: &Arc<Self>) -> Guests {
        Guests::new(self.clone())
    }

    /// Images and aliases.
    pub fn images(self: &Arc<Self>) -> Images {
        Images::new(self.clone())
    }

    /// Profiles.
    pub fn profiles(self: &Arc<Self>) -> Profiles {
        Profiles::new(self.clone())
    }

    /// Networks.
    pub fn networks(self: &Arc<Self>) -> Networks {
        Networks::new(self.clone())
    }

    /// Storage pools.
    pub fn storage_pools(self: &Arc<Self>) -> StoragePools {
        StoragePools::new(self.clone())
    }

    /// The server's own facts and configuration.
    pub fn server(self: &Arc<Self>) -> Server {
        Server::new(self.clone())
    }

    /// Trusted certificates.
    pub fn certificates(self: &Arc<Self>) -> Certificates {
        Certificates::new(self.clone())
    }

    /// What the server warns of.
    pub fn warnings(self: &Arc<Self>) -> Warnings {
        Warnings::new(self.clone())
    }

    /// The server's certificate and key, or why there are none.
    pub fn tls_identity(&self) -> std::result::Result<&pki::Identity, &str> {
        self.https.identity()
    }

    /// Takes what serves clients on the network, once.
    pub fn attach_edge(&self, edge: Box<dyn Edge>) {
        self.https.attach(edge);
    }

    /// Has the edge listen where the configuration says.
    pub fn listen_as_configured(self: &Arc<Self>) -> Result<()> {
        let address = || keys::server::CORE_HTTPS_ADDRESS.text(&self.server().stored_config()).unwrap_or_default().to_owned();
        let wanted = Wanted::look_up(&address());
        let _changing = lock(&self.https.changing);
        // Whoever has changed it since listens there already.
        if wanted.is(&address()) { self.https.listen(wanted) } else { Ok(()) }
    }

    /// Sends a life-cycle event about `/1.0/KIND/NAME`.
    pub(crate) fn lifecycle(&self, action: &str, kind: &str, name: &str) {
        self.events.lifecycle(action, format!("/1.0/{kind}/{name}"), Map::new());
    }

    /// A new state directory gets a profile `default`.
    fn ensure_default_profile(&self) -> Result<()> {
        let records = &self.records;
        if !records.profiles.is_empty() || !records.server.is_empty() {
            return Ok(());
        }
        let mut changes = records.changes();
        let profile = crate::records::ProfileRecord { description: "Default LXD profile".into(), ..Default::default() };
        changes.insert("default", profile)?;
        // The presence of the server's record says that this was done: a deleted default stays deleted.
        changes.insert("config", crate::records::ServerRecord::default())?;
        changes.commit()
    }
}

fn start_runtime(config: &Config, target: Arc<OnceLock<Weak<Engine>>>) -> Result<Arc<Runtime>> {
    let runtime_config = RuntimeConfig {
        run_dir: config.dir.join("run"),
        log_dir: config.log_dir.clone(),
        cgroup_tag: cgroup_tag(&config.dir),
        cgroup_parent: config.cgroup_parent.clone(),
        helper: config.helper.clone(),
        apparmor_dir: config.apparmor.then(|| config.dir.join("security/apparmor")),
    };
    let on_exit = move |event: runtime::ExitEvent| {
        if let Some(engine) = target.get().and_then(Weak::upgrade) {
            engine.instances().guest_ended(event);
        }
    };
    Runtime::new(runtime_config, Box::new(on_exit)).context("prepare to run containers")
}

/// A name for this daemon's control groups that no other daemon on the host has.
fn cgroup_tag(dir: &Path) -> String {
    if dir == Path::new("/var/lib/lxd") {
        return "lxd".into();
    }
    let digest = crate::etag::of(&dir.to_string_lossy());
    format!("lxd-{}", &digest[..8])
}

fn make_layout(config: &Config) -> Result<()> {
    // Room for `unix.sock` and more within the 107 bytes of a socket's path.
    if config.dir.as_os_str().len() >= 98 {
        return Err(Error::bad_request("LXD_DIR is too long, must be < 98"));
    }
    let context = |result: sys::Result<()>| result.context("set the state directory up");
    context(sys::fs::ensure_dir_all(&config.dir, 0o711))?;
    context(sys::fs::set_mode(&config.dir, 0o711))?;
    for (name, mode) in LAYOUT {
        context(sys::fs::ensure_dir(config.dir.join(name), *mode))?;
    }
    context(sys::fs::ensure_dir_all(&config.log_dir, 0o700))
}

/// Drops what the runtime kept of containers that ran before the host was last booted.
fn forget_earlier_uptime(dir: &Path) -> Result<()> {
    let mark = dir.join("run/.boot_id");
    let boot_id = sys::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if sys::fs::read_to_string(&mark).ok().as_ref() == Some(&boot_id) {
        return Ok(());
    }
    let run = dir.join("run");
    for name in sys::fs::list_dir(&run).context("list the runtime's directory")? {
        if let Err(error) = sys::fs::remove_tree(run.join(name)) {
            tracing::warn!("{error}");
        }
    }
    sys::fs::write(&mark, boot_id).context("mark the runtime's directory")
}

/// The lock on a state directory, held while the daemon lives.
#[derive(Debug)]
struct LockFile {
    _held: std::fs::File,
}

impl LockFile {
    fn take(dir: &Path) -> Result<Self> {
        match sys::daemon::lock_file(&dir.join("lock")).context("take hold of the state directory")? {
            Some(held) => Ok(Self { _held: held }),
            None => Err(Error::conflict("LXD is already running")
                .hint(format!("another daemon uses {}; stop it, or choose another LXD_DIR", dir.display()))),
        }
    }
}
