//! After the daemon was away: which instances run, which ended meanwhile, and what was interrupted.

use std::sync::Arc;

use runtime::{Container, Exit, Recovered};

use super::Instances;
use super::admission::{Action, Permit};
use super::expand::expand_record;
use crate::error::Context;
use crate::records::{InstanceRecord, IntentRecord};
use crate::{ErrorKind, Result};

/// An instance that is not yet as it should be. Its permits keep everybody else from it until then.
pub(crate) struct Unsettled {
    name: String,
    /// How its container ended while no daemon looked.
    exit: Option<Exit>,
    permits: Vec<Permit>,
}

impl Instances {
    /// Finds the running instances again and publishes them. Gives back those that ended while no
    /// daemon looked, and those with which something was under way, for [`Instances::settle_all`].
    /// Nobody acts on any instance yet.
    pub(crate) fn recover(&self) -> Vec<Unsettled> {
        let engine = &self.engine;
        let mut unsettled = Vec::new();
        for (name, record) in engine.records.instances.all() {
            // Taken first: one that ends at this moment is dealt with once it is published.
            let Some(permit) = self.settling_permit(&name) else { continue };
            let exit = self.recover_one(&name, &record);
            if exit.is_some() || engine.records.intents.contains(&name) {
                unsettled.push(Unsettled { name, exit, permits: vec![permit] });
            }
        }
        for (name, intent) in engine.records.intents.all() {
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
        unsettled
    }

    fn settling_permit(&self, name: &str) -> Option<Permit> {
        let permit = self.engine.gates.permit(name, Action::GuestExit);
        permit.inspect_err(|error| tracing::error!(instance = name, "{}", error.report())).ok()
    }

    fn recover_one(&self, name: &str, record: &InstanceRecord) -> Option<Exit> {
        match self.engine.runtime.recover(name) {
            Recovered::Running(container) => {
                self.publish(name, record, container);
                None
            }
            Recovered::Exited(exit) => Some(exit),
            Recovered::Nothing => None,
        }
    }

    fn publish(&self, name: &str, record: &InstanceRecord, container: Arc<Container>) {
        let expanded = expand_record(&self.engine.records, record);
        let parts = self.parts(name, &expanded).unwrap_or_else(|error| {
            tracing::warn!(instance = name, "the devices of the running instance cannot be told: {}", error.report());
            crate::devices::Parts::new()
        });
        tracing::info!(instance = name, pid = container.pid(), "found running");
        self.engine.live.insert(name, container, parts);
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
        if let Some(intent) = &intent {
            tracing::info!(instance = name, "something was interrupted: {:?}", intent.record);
            if let Err(error) = self.carry_on(name) {
                tracing::error!(instance = name, "settle what was interrupted: {}", error.report());
            }
        }
        let Some(exit) = unsettled.exit else { return };
        // An end that was wanted has been followed by a start.
        let was_wanted = intent.is_some_and(|intent| intent.is_start() || matches!(&*intent.record, IntentRecord::Restoring { .. }));
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
