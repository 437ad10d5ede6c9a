//! `lxd`: the daemon in the foreground.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use engine::Engine;
use rest::Listeners;
use sys::daemon::Inherited;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::DaemonArgs;
use crate::logging;
use crate::paths::{self, Paths};

/// Threads of the edge: it only parses and pumps.
const WORKER_THREADS: usize = 2;
/// Threads for calls into the engine that may block.
const MAX_BLOCKING_THREADS: usize = 128;
/// Stack of those threads. Only what is touched takes memory.
const STACK_BYTES: usize = 1 << 20;
/// Open files wanted: sockets of clients, pidfds and pipes of many instances.
const OPEN_FILES: u64 = 1 << 16;

/// Why the daemon ends.
enum End {
    /// It was asked to end; instances run on.
    Leave,
    /// The host shuts down: instances are stopped first.
    StopInstances,
}

/// Runs until a signal or a request ends it.
pub fn run(args: &DaemonArgs, paths: &Paths, inherited: Inherited) -> Result<()> {
    ensure!(sys::daemon::is_root(), "This must be run as root");
    let helper = paths::find_runtime()?;
    sys::fs::ensure_dir_all(&paths.dir, 0o711)?;
    let Some(lock) = sys::daemon::lock_file(&paths.lock())? else {
        bail!("LXD is already running");
    };
    sys::fs::ensure_dir_all(&paths.log_dir, 0o700)?;
    logging::start(args)?;
    sys::process::set_nofile(OPEN_FILES)?;
    let is_own_socket = inherited.unix.is_empty();
    let listeners = listeners(args, paths, inherited)?;
    let config = engine::Config {
        dir: paths.dir.clone(),
        log_dir: paths.log_dir.clone(),
        group: args.group.clone(),
        helper,
        version: paths::VERSION.to_owned(),
        apparmor: std::env::var_os("LXD_SECURITY_APPARMOR").is_none_or(|value| value != "false"),
        cgroup_parent: paths::cgroup_parent(),
        autostart: true,
    };
    let engine = Engine::open(config).context("start")?;
    logging::publish_to(engine.events().clone());
    let runtime = runtime()?;
    let served = runtime.block_on(serve(engine, listeners));
    // Sessions that are still pumped end here.
    runtime.shutdown_background();
    if is_own_socket {
        sys::fs::remove_file(paths.socket())?;
    }
    drop(lock);
    served
}

fn runtime() -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(WORKER_THREADS).max_blocking_threads(MAX_BLOCKING_THREADS);
    builder.thread_stack_size(STACK_BYTES).thread_name("lxd").enable_all();
    builder.build().context("start threads")
}

/// The sockets to serve: those that the service manager passed, and a local one of our own if there is none among them.
fn listeners(args: &DaemonArgs, paths: &Paths, inherited: Inherited) -> Result<Listeners> {
    let mut unix: Vec<UnixListener> = inherited.unix.into_iter().map(UnixListener::from).collect();
    if unix.is_empty() {
        unix.push(rest::bind_unix(&paths.socket(), args.group.as_deref())?);
    }
    Ok(Listeners { unix, network: inherited.tcp.into_iter().map(TcpListener::from).collect() })
}

async fn serve(engine: Arc<Engine>, listeners: Listeners) -> Result<()> {
    let mut signals = Signals::new()?;
    let (end, ended) = tokio::sync::oneshot::channel();
    let watched = engine.clone();
    let until_end = async move {
        if let End::StopInstances = signals.wait().await {
            stop_instances(watched, &mut signals).await;
        }
        notify("STOPPING=1");
        // The receiver lives as long as this function.
        let _ = end.send(());
    };
    tokio::spawn(until_end);
    notify("READY=1");
    tracing::info!(version = paths::VERSION, "LXD is started");
    rest::serve(engine, listeners, async { drop(ended.await) }).await.context("serve")?;
    tracing::info!("LXD has ended");
    Ok(())
}

/// Stops all instances; a signal to leave meanwhile ends the waiting.
async fn stop_instances(engine: Arc<Engine>, signals: &mut Signals) {
    tracing::info!("Stopping all instances");
    let mut stopping = tokio::task::spawn_blocking(move || engine.shutdown());
    loop {
        tokio::select! {
            stopped = &mut stopping => {
                if let Err(error) = stopped {
                    tracing::error!("stop all instances: {error}");
                }
                return;
            }
            end = signals.wait() => match end {
                End::StopInstances => {}
                End::Leave => return tracing::warn!("Leaving before all instances have stopped"),
            },
        }
    }
}

fn notify(state: &str) {
    if let Err(error) = sys::daemon::notify(state) {
        tracing::warn!("{error}");
    }
}

/// The signals that the daemon obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    power: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let on = |kind| signal(kind).context("install signal handlers");
        /// SIGPWR on every architecture that this runs on.
        const SIGPWR: i32 = 30;
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            quit: on(SignalKind::quit())?,
            power: on(SignalKind::from_raw(SIGPWR))?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that ends the daemon. SIGHUP does not: the log notices rotation itself.
    async fn wait(&mut self) -> End {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return End::Leave,
                _ = self.interrupt.recv() => return End::Leave,
                _ = self.quit.recv() => return End::Leave,
                _ = self.power.recv() => return End::StopInstances,
                _ = self.hangup.recv() => {}
            }
        }
    }
}
