//! What runs now: published for readers, kept from the runtime's events. Nothing here is stored.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use api::StatusCode;
use runtime::{Container, Exit};

use crate::sync::{lock, read, write};

/// One running instance.
pub(crate) struct Run {
    pub container: Arc<Container>,
    pub is_frozen: AtomicBool,
    /// It has said through the guest API that it is ready.
    pub is_ready: AtomicBool,
    /// Its sessions are ended because its running state is saved and it stops.
    pub is_leaving: AtomicBool,
    watchers: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

/// Most callbacks that wait for the end of one instance.
const MAX_WATCHERS: usize = 1024;

impl Run {
    /// Calls back, without blocking, when the instance has stopped.
    pub(crate) fn on_end(&self, call: Box<dyn FnOnce() + Send>) {
        let mut watchers = lock(&self.watchers);
        // Those of sessions long gone make room first.
        if watchers.len() >= MAX_WATCHERS {
            drop(watchers.remove(0));
        }
        watchers.push(call);
    }
}

/// All running instances.
#[derive(Default)]
pub(crate) struct Live {
    runs: RwLock<HashMap<String, Arc<Run>>>,
    /// Ends that could not be dealt with yet, for instance because the disk is full.
    unsettled: Mutex<HashMap<String, Exit>>,
}

impl Live {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Run>> {
        read(&self.runs).get(name).cloned()
    }

    pub(crate) fn insert(&self, name: &str, container: Arc<Container>) {
        self.set_unsettled(name, None);
        let (is_frozen, is_ready) = (AtomicBool::new(container.is_frozen()), AtomicBool::new(container.is_ready()));
        let run = Run { container, is_frozen, is_ready, is_leaving: AtomicBool::new(false), watchers: Mutex::default() };
        write(&self.runs).insert(name.to_owned(), Arc::new(run));
    }

    pub(crate) fn remove(&self, name: &str) {
        let run = write(&self.runs).remove(name);
        let watchers = run.map(|run| std::mem::take(&mut *lock(&run.watchers)));
        watchers.into_iter().flatten().for_each(|call| call());
    }

    /// How the last run ended, where what follows an end is still to be done.
    pub(crate) fn unsettled(&self, name: &str) -> Option<Exit> {
        lock(&self.unsettled).get(name).copied()
    }

    /// Notes an end that is still to be dealt with, or (`None`) that there is no such end any more.
    pub(crate) fn set_unsettled(&self, name: &str, exit: Option<Exit>) {
        let mut unsettled = lock(&self.unsettled);
        match exit {
            Some(exit) => drop(unsettled.insert(name.to_owned(), exit)),
            None => drop(unsettled.remove(name)),
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Run>> {
        read(&self.runs).values().cloned().collect()
    }

    /// What the API shows.
    pub(crate) fn status(&self, name: &str) -> StatusCode {
        match read(&self.runs).get(name) {
            None => StatusCode::STOPPED,
            Some(run) if run.is_frozen.load(Ordering::Relaxed) => StatusCode::FROZEN,
            Some(run) if run.is_ready.load(Ordering::Relaxed) => StatusCode::READY,
            Some(_) => StatusCode::RUNNING,
        }
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(read(&self.runs).keys()).finish()
    }
}
