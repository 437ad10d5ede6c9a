//! The guest API: what a running instance may learn of itself through `/dev/lxd/sock`.
//!
//! Each instance has a socket of its own, in a directory that is mounted inside. So whose data is asked
//! for is decided by where a connection came in; that it comes from a process of this instance and from
//! its root is what the kernel says of the peer. Nothing that a guest can set or say has a part in it.
//!
//! HTTP is the edge's affair: it gets a [`Port`] for each instance, with the promise to give it up when
//! it is told to.

mod events;
mod port;
mod view;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keys::instance::SECURITY_DEVLXD;
use runtime::ContainerSpec;
use sys::idmap::Kind;

pub use events::{GuestFrame, GuestListener, GuestSubscription};
pub use port::Port;
pub use view::Guest;

use crate::error::Context;
use crate::instances::expand::{Expanded, expand_record};
use crate::sync::lock;
use crate::{Engine, Result};

/// Gives a port up when it is called, without blocking.
pub type Closer = Box<dyn FnOnce() + Send>;
/// Serves a port until the closer that it returns is called.
pub type Edge = Box<dyn Fn(Port) -> Closer + Send + Sync>;

/// Name of the socket in the instance's directory.
const SOCKET: &str = "sock";
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;
/// How long the edge may take to give its connections up.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Which ports are open.
#[derive(Default)]
pub(crate) struct GuestState {
    ports: Mutex<Ports>,
    events: Arc<events::GuestEvents>,
}

impl std::fmt::Debug for GuestState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(lock(&self.ports).open.keys()).finish()
    }
}

#[derive(Default)]
struct Ports {
    edge: Option<Edge>,
    open: HashMap<String, OpenPort>,
}

/// One that instances connect to.
struct OpenPort {
    /// Until the edge is there.
    waiting: Option<Port>,
    closer: Option<Closer>,
    /// Hung up when nobody has the port any more.
    gone: port::Gone,
}

/// The guest API of an engine. Cheap to make and to clone.
#[derive(Clone, Debug)]
pub struct Guests {
    engine: Arc<Engine>,
}

impl Guests {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Hands all ports, those that are open and those that will be, to the edge.
    pub fn serve(&self, edge: Edge) {
        let mut ports = lock(&self.engine.guest_state.ports);
        for open in ports.open.values_mut() {
            open.closer = open.waiting.take().map(&edge);
        }
        ports.edge = Some(edge);
    }

    /// Directory that is shown inside as `/dev/lxd`.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.engine.config.dir.join("devlxd").join(name)
    }

    /// Prepares what an instance that starts, or was found running, is shown: the directory, and the socket in it
    /// unless that is switched off. One that an earlier version started is shown nothing.
    pub(crate) fn admit(&self, name: &str, spec: &ContainerSpec) -> Result<()> {
        let Some(dir) = &spec.guest_api else { return Ok(()) };
        sys::fs::ensure_dir(dir, 0o755).context("prepare the guest API")?;
        let record = self.engine.records.instances.get(name);
        let config = record.map(|record| expand_record(&self.engine.records, &record).config).unwrap_or_default();
        if SECURITY_DEVLXD.is_true(&config) { self.open(spec) } else { self.remove_socket(name) }
    }

    /// Closes the port of an instance that runs no more, and removes what it was shown.
    pub(crate) fn forget(&self, name: &str) {
        drop(self.close(name));
        if let Err(error) = sys::fs::remove_tree(self.dir(name)) {
            tracing::warn!("{error}");
        }
    }

    /// Removes what is left of instances that do not run any more.
    pub(crate) fn sweep(&self) {
        let engine = &self.engine;
        let names = sys::fs::list_dir(engine.config.dir.join("devlxd")).unwrap_or_default();
        for name in names.into_iter().filter(|name| engine.live.get(name).is_none() && !engine.gates.is_unreachable(name)) {
            self.forget(&name);
        }
    }

    /// Tells the instance what has changed of its configuration and devices, and obeys `security.devlxd`.
    pub(crate) fn changed(&self, spec: &ContainerSpec, before: &Expanded, after: &Expanded) {
        let is_on = SECURITY_DEVLXD.is_true(&after.config);
        if is_on {
            self.engine.guest_state.events.changed(&spec.name, before, after);
        }
        if is_on == SECURITY_DEVLXD.is_true(&before.config) {
            return;
        }
        let switched = if is_on { self.open(spec) } else { self.close(&spec.name).and(self.remove_socket(&spec.name)) };
        if let Err(error) = switched {
            tracing::error!(instance = spec.name, "switch the guest API: {}", error.report());
        }
    }

    /// Tells the instance of a device that was plugged in or out.
    pub(crate) fn told(&self, name: &str, action: &str, device: &str, config: &api::Config) {
        self.engine.guest_state.events.plugged(name, action, (device, config));
    }

    /// Closes the port, with all connections, while the running state is saved: they lead to what is not.
    pub(crate) fn pause(&self, spec: &ContainerSpec) -> Option<Paused> {
        let was_open = lock(&self.engine.guest_state.ports).open.contains_key(&spec.name);
        was_open.then(|| {
            if let Err(error) = self.close(&spec.name) {
                tracing::warn!(instance = spec.name, "{}", error.report());
            }
            Paused { guests: self.clone(), spec: spec.clone() }
        })
    }

    fn open(&self, spec: &ContainerSpec) -> Result<()> {
        let Some(dir) = &spec.guest_api else { return Ok(()) };
        let name = &spec.name;
        drop(self.close(name));
        let listener = sys::socket::listen_stream(&dir.join(SOCKET), BACKLOG).context("open the guest API")?;
        let root_uid = spec.idmap.to_host(Kind::Uid, 0).unwrap_or(0);
        let (port, gone) = Port::new(Arc::downgrade(&self.engine), name.clone(), root_uid, listener);
        let mut ports = lock(&self.engine.guest_state.ports);
        let (waiting, closer) = match &ports.edge {
            Some(edge) => (None, Some(edge(port))),
            None => (Some(port), None),
        };
        ports.open.insert(name.clone(), OpenPort { waiting, closer, gone });
        Ok(())
    }

    /// Returns once no connection is left. The socket's name stays: nobody listens on it.
    fn close(&self, name: &str) -> Result<()> {
        let state = &self.engine.guest_state;
        let Some(OpenPort { waiting, closer, gone }) = lock(&state.ports).open.remove(name) else { return Ok(()) };
        drop(waiting);
        if let Some(close) = closer {
            close();
        }
        state.events.drop_listeners_of(name);
        if gone.wait(CLOSE_PATIENCE) {
            return Ok(());
        }
        Err(crate::Error::internal(format!("connections of `{name}` to the guest API did not end in time")))
    }

    fn remove_socket(&self, name: &str) -> Result<()> {
        sys::fs::remove_file(self.dir(name).join(SOCKET)).context("close the guest API")
    }
}

/// A port that is closed for a time. Dropped, it is opened again if the instance still runs.
pub(crate) struct Paused {
    guests: Guests,
    spec: ContainerSpec,
}

impl Drop for Paused {
    fn drop(&mut self) {
        let engine = &self.guests.engine;
        if engine.live.get(&self.spec.name).is_some_and(|run| run.container.is_running())
            && let Err(error) = self.guests.admit(&self.spec.name, &self.spec)
        {
            tracing::error!(instance = self.spec.name, "{}", error.report());
        }
    }
}
