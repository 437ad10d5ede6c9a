//! `PUT .../state`: which verb, as an operation.

use std::sync::Arc;

use api::instances::StatePut;

use super::Instances;
use super::admission::{Action, Entry};
use super::stop::Manner;
use crate::operations::{New, Operation};
use crate::warnings::Cause;
use crate::{Error, Result};

impl Instances {
    /// `start`, `stop`, `restart`, `freeze`, `unfreeze`.
    pub fn set_state(&self, name: &str, request: StatePut) -> Result<Arc<Operation>> {
        self.record(name)?;
        let manner = Manner::new(request.force, request.timeout);
        let description = match request.action.as_str() {
            "start" => "Starting instance",
            "stop" => "Stopping instance",
            "restart" => "Restarting instance",
            "freeze" => "Freezing instance",
            "unfreeze" => "Unfreezing instance",
            other => return Err(Error::bad_request(format!("unknown action {other}"))),
        };
        let (this, instance, action, stateful) = (self.clone(), name.to_owned(), request.action, request.stateful);
        self.engine.operations.run(New::instance(description, name), move |_| {
            match action.as_str() {
                "start" => this.start_as_asked(&instance, stateful),
                "stop" if stateful => this.stop_stateful(&instance),
                "stop" => this.stop(&instance, manner),
                "restart" => this.restart(&instance, manner),
                "freeze" => this.freeze(&instance),
                _ => this.unfreeze(&instance),
            }
            .map(|()| None)
        })
    }

    /// Starts from the saved running state, or without it, which discards it.
    fn start_as_asked(&self, name: &str, stateful: bool) -> Result<()> {
        let is_saved = self.record(name)?.stateful;
        if stateful && !is_saved && self.engine.live.get(name).is_none() {
            return Err(Error::bad_request("Container has no existing state to restore.").hint("start it without the saved state"));
        }
        if !stateful && is_saved {
            let _permit = self.engine.gates.permit(name, Action::Update)?;
            if self.engine.live.get(name).is_none() {
                self.discard_state(name)?;
            }
        }
        self.start(name)
    }

    /// Starts an instance, from its saved running state if it has one; a frozen one goes on, as clients expect of `start`.
    pub(crate) fn start(&self, name: &str) -> Result<()> {
        if self.engine.live.status(name) == api::StatusCode::FROZEN {
            return self.unfreeze(name);
        }
        match self.engine.gates.enter(name, Action::Start, || Ok(()))? {
            Entry::Act(_permit) => {
                self.start_held(name)?;
                self.engine.resolve_warning(Cause::Autostart, name);
                Ok(())
            }
            Entry::Joined if self.engine.live.get(name).is_some() => Ok(()),
            Entry::Joined => Err(Error::internal("The other start operation failed")),
        }
    }
}
