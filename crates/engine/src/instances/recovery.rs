//! After the daemon was away: which instances run, which ended meanwhile, and what was interrupted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::{Container, Exit, Recovered};

use super::Instances;
use super::admission::{Action, Permit};
use crate::error::Context;
use crate::records::IntentRecord;
use crate::sync::lock;
use crate::{ErrorKind, Result};

/// How many instances are looked for at a time: one whose monitor hangs holds up few others.
const WORKERS: usize = 16;
/// How long it is until those that could not be reached are looked for again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// An instance that is not yet as it should be. Its permits keep everybody else from it until then.
pub(crate) struct Unsettled {
    name: String,
    /// How its container ended while no daemon looked.
    exit: Option<Exit>,
    permits: Vec<Permit>,
}

/// What became of one instance.
enum Found {
    Settled,
    Unsettled(Unsettled),
    /// Its monitor does not answer.
    Unreachable,
}

impl Instances {
    /// Finds the running instances again and publishes them. Gives back those that ended while no
    /// daemon looked, and those with which something was under way, for [`Instances::settle_all`].
    /// Nobody acts on any instance yet. One whose monitor does not answer is in error until it does.
    pub(crate) fn recover(&self) -> Vec<Unsettled> {
        let todo = Mutex::new(self.engine.records.instances.ids());
        let (unsettled, unreachable) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let next = || lock(&todo).pop();
        let work = || {
            while let Some(name) = next() {
                match self.look_for(&name) {
                    Found::Settled => {}
                    Found::Unsettled(found) => lock(&unsettled).push(found),
                    Found::Unreachable => lock(&unreachable).push(name),
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
        let mut unsettled = std::mem::take(&mut *lock(&unsettled));
        self.add_interrupted(&mut unsettled);
        unsettled
    }

    /// What was under way with names that have no record: those that were being created, and the new
    /// ones of renamed instances.
    fn add_interrupted(&self, unsettled: &mut Vec<Unsettled>) {
        for (name, intent) in self.engine.records.intents.all() {
            let other = match &*intent.record {
                IntentRecord::Creating { .. } => &name,
                IntentRecord::Renaming { to } => to,
                _ => continue,
            };
            let permit = self.settling_permit(other);
            match unsettled.iter_mut().find(|unsettled| unsettled.name == name) {
                Some(unsettled) => unsettled.permits.extend(permit),
                None => unsettled.push(Unsettled { name, exit: None, permits: permit.into_iter().collect() }),
            }
        }
    }

    fn settling_permit(&self, name: &str) -> Option<Permit> {
        let permit = self.engine.gates.permit(name, Action::GuestExit);
        permit.inspect_err(|error| tracing::error!(instance = name, "{}", error.report())).ok()
    }

    fn look_for(&self, name: &str) -> Found {
        // Taken first: one that ends at this moment is dealt with once it is published.
        let Some(permit) = self.settling_permit(name) else { return Found::Settled };
        let exit = match self.engine.runtime.recover(name) {
            Recovered::Running(container) => {
                self.publish(name, container);
                None
            }
            Recovered::Exited(exit) => Some(exit),
            Recovered::Nothing => None,
            Recovered::Unreachable(error) => {
                tracing::error!(instance = name, "cannot be reached: {error}");
                self.engine.gates.set_unreachable(name, Some(error.to_string()));
                return Found::Unreachable;
            }
        };
        if exit.is_none() && !self.engine.records.intents.contains(name) && !self.has_gone_on(name) {
            return Found::Settled;
        }
        Found::Unsettled(Unsettled { name: name.to_owned(), exit, permits: vec![permit] })
    }

    fn publish(&self, name: &str, container: Arc<Container>) {
        tracing::info!(instance = name, pid = container.pid(), "found running");
        self.engine.live.insert(name, container.clone());
        if let Err(error) = self.engine.guests().admit(name, &container.spec()) {
            tracing::error!(instance = name, "{}", error.report());
        }
    }

    /// Whether it runs and has a saved state, which is then the past.
    fn has_gone_on(&self, name: &str) -> bool {
        self.engine.live.get(name).is_some() && self.engine.records.instances.get(name).is_some_and(|record| record.stateful)
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
        if !self.engine.records.instances.contains(name) {
            return true;
        }
        // For the permit; if nothing has changed, it is refused to everybody again.
        self.engine.gates.set_unreachable(name, None);
        match self.look_for(name) {
            Found::Settled => true,
            Found::Unsettled(unsettled) => {
                self.settle_one(unsettled);
                true
            }
            Found::Unreachable => false,
        }
    }

    /// Brings what [`Instances::recover`] gave back to an end.
    pub(crate) fn settle_all(&self, all: Vec<Unsettled>) {
        for unsettled in all {
            self.settle_one(unsettled);
        }
    }

    fn settle_one(&self, unsettled: Unsettled) {
        let name = &unsettled.name;
        let intent = self.engine.records.intents.get(name);
        let has_run =
            unsettled.exit.is_some() && intent.as_ref().is_some_and(|intent| matches!(&*intent.record, IntentRecord::Resuming { .. }));
        if has_run {
            // What it went on from is the past.
            if let Err(error) = self.discard_state(name).and_then(|()| self.forget_intent(name)) {
                tracing::error!(instance = name, "{}", error.report());
            }
        } else if let Some(intent) = &intent {
            tracing::info!(instance = name, "something was interrupted: {:?}", intent.record);
            if let Err(error) = self.carry_on(name) {
                tracing::error!(instance = name, "settle what was interrupted: {}", error.report());
            }
        }
        // Not before, since that needs the pool.
        if self.has_gone_on(name)
            && let Err(error) = self.discard_state(name)
        {
            tracing::error!(instance = name, "{}", error.report());
        }
        let Some(exit) = unsettled.exit else { return };
        // An end that was wanted has been followed by a start.
        let was_wanted =
            !has_run && intent.is_some_and(|intent| intent.is_start() || matches!(&*intent.record, IntentRecord::Restoring { .. }));
        if !was_wanted {
            self.follow_exit(name, exit);
        }
        if self.engine.live.unsettled(name).is_none() {
            self.engine.runtime.forget(name);
        } else if let Err(error) = self.settle_later(name, exit) {
            tracing::error!(instance = name, "{}", error.report());
        }
    }

    /// Tries again in the background what could not be done.
    fn settle_later(&self, name: &str, exit: Exit) -> Result<()> {
        let (this, name) = (self.clone(), name.to_owned());
        let spawned = std::thread::Builder::new().name("exit".into()).spawn(move || {
            this.guest_ended(runtime::ExitEvent { name: name.clone(), exit });
            this.engine.runtime.forget(&name);
        });
        spawned.map(drop).context_as(ErrorKind::Unavailable, "start a thread")
    }
}
