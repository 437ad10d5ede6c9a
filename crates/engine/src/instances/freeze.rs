//! Freezing and unfreezing.

use std::sync::atomic::Ordering;

use super::Instances;
use super::admission::Action;
use crate::error::Context;
use crate::{Error, Result};

impl Instances {
    /// Halts every process of a running instance.
    pub(crate) fn freeze(&self, name: &str) -> Result<()> {
        self.record(name)?;
        let _permit = self.engine.gates.permit(name, Action::Freeze)?;
        let run = self.engine.live.get(name).ok_or_else(|| Error::bad_request("The container isn't running"))?;
        if run.is_frozen.load(Ordering::Relaxed) {
            return Err(Error::bad_request("The container is already frozen"));
        }
        run.container.freeze().context(format!("freeze container `{name}`"))?;
        run.is_frozen.store(true, Ordering::Relaxed);
        self.engine.lifecycle("instance-paused", "instances", name);
        Ok(())
    }

    /// Lets the processes go on.
    pub(crate) fn unfreeze(&self, name: &str) -> Result<()> {
        self.record(name)?;
        let _permit = self.engine.gates.permit(name, Action::Unfreeze)?;
        let run = self.engine.live.get(name).ok_or_else(|| Error::bad_request("The container isn't running"))?;
        if !run.is_frozen.load(Ordering::Relaxed) {
            return Err(Error::bad_request("The container is already running"));
        }
        run.container.thaw().context(format!("unfreeze container `{name}`"))?;
        run.is_frozen.store(false, Ordering::Relaxed);
        self.engine.lifecycle("instance-resumed", "instances", name);
        Ok(())
    }
}
