//! After the daemon was away: which instances run, and which ended meanwhile.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::{Container, Exit, Recovered};

use super::Instances;
use crate::sync::lock;

/// How many instances are looked for at a time: one whose monitor hangs holds up few others.
const WORKERS: usize = 16;
/// How long it is until those that could not be reached are looked for again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// What became of one instance.
enum Found {
    /// It is settled.
    Settled,
    /// It ended, and what follows is still to be done.
    Ended(Exit),
    /// Its monitor does not answer.
    Unreachable(String),
}

impl Instances {
    /// Finds the running instances again and publishes them. Gives back those that ended while no
    /// daemon looked, for [`Instances::settle_ended`]. One whose monitor does not answer is in error
    /// until it does.
    pub(crate) fn recover(&self) -> Vec<(String, Exit)> {
        let todo = Mutex::new(self.engine.records.instances.ids());
        let (ended, unreachable) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let next = || lock(&todo).pop();
        let work = || {
            while let Some(name) = next() {
                match self.look_for(&name) {
                    Found::Settled => {}
                    Found::Ended(exit) => lock(&ended).push((name, exit)),
                    Found::Unreachable(reason) => {
                        tracing::error!(instance = name, "cannot be reached: {reason}");
                        self.engine.gates.set_unreachable(&name, Some(reason));
                        lock(&unreachable).push(name);
                    }
                }
            }
        };
        let workers = WORKERS.min(lock(&todo).len());
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
        self.keep_looking(std::mem::take(&mut *lock(&unreachable)));
        std::mem::take(&mut *lock(&ended))
    }

    fn look_for(&self, name: &str) -> Found {
        match self.engine.runtime.recover(name) {
            Recovered::Running(container) => self.publish(name, container),
            Recovered::Exited(exit) => Found::Ended(exit),
            Recovered::Nothing => Found::Settled,
            Recovered::Unreachable(error) => Found::Unreachable(error.to_string()),
        }
    }

    fn publish(&self, name: &str, container: Arc<Container>) -> Found {
        let engine = &self.engine;
        tracing::info!(instance = name, pid = container.pid(), "found running");
        engine.live.insert(name, container.clone());
        engine.gates.set_unreachable(name, None);
        // It may have ended before this; then nobody else tells.
        let exit = (!container.is_running()).then(|| container.wait_exit(Some(super::stop::KILL_PATIENCE))).flatten();
        exit.map_or(Found::Settled, Found::Ended)
    }

    /// Looks for those that could not be reached again and again, until all are found.
    fn keep_looking(&self, mut names: Vec<String>) {
        if names.is_empty() {
            return;
        }
        let engine = Arc::downgrade(&self.engine);
        let spawned = std::thread::Builder::new().name("recovery".into()).spawn(move || {
            while !names.is_empty() {
                std::thread::sleep(RETRY_PAUSE);
                let Some(engine) = engine.upgrade() else { return };
                names.retain(|name| !engine.instances().look_again(name));
            }
        });
        if let Err(error) = spawned {
            tracing::error!("start a thread: {error}");
        }
    }

    /// True once it is known what became of the instance.
    fn look_again(&self, name: &str) -> bool {
        let gates = &self.engine.gates;
        if !self.engine.records.instances.contains(name) {
            return true;
        }
        match self.look_for(name) {
            Found::Unreachable(reason) => gates.set_unreachable(name, Some(reason)),
            Found::Settled => gates.set_unreachable(name, None),
            Found::Ended(exit) => {
                gates.set_unreachable(name, None);
                self.settle_ended(vec![(name.to_owned(), exit)]);
            }
        }
        !gates.is_unreachable(name)
    }
}
