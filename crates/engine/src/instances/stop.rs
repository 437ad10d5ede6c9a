//! Stopping and restarting: asking with a limit, or killing; and what follows an end.

use std::time::Duration;

use keys::instance::volatile;
use runtime::{Exit, ExitEvent, ExitTarget};

use super::Instances;
use super::admission::{Action, Entry};
use crate::error::Context;
use crate::records::InstanceRecord;
use crate::{Error, Result};

/// How long a killed container may take to vanish.
pub(crate) const KILL_PATIENCE: Duration = Duration::from_secs(30);

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Kill.
    Force,
    /// Ask, and wait so long (`None`: for ever).
    Clean(Option<Duration>),
}

impl Manner {
    /// From the API's fields: a timeout of 0 means force, a negative one for ever.
    pub(crate) fn new(force: bool, timeout_seconds: i64) -> Self {
        match u64::try_from(timeout_seconds) {
            _ if force => Self::Force,
            Ok(0) => Self::Force,
            Ok(seconds) => Self::Clean(Some(Duration::from_secs(seconds))),
            Err(_) => Self::Clean(None),
        }
    }
}

impl Instances {
    /// Stops a running instance; joins a stop that is under way.
    pub(crate) fn stop(&self, name: &str, manner: Manner) -> Result<()> {
        self.record(name)?;
        self.engine.gates.check_reachable(name)?;
        if self.engine.live.get(name).is_none() && self.engine.gates.current(name).is_none() {
            return Err(not_running());
        }
        let action = if manner == Manner::Force { Action::Kill } else { Action::Stop };
        let kill = || match self.engine.live.get(name) {
            Some(run) => run.container.kill().context(format!("kill container `{name}`")),
            None => Ok(()),
        };
        match self.engine.gates.enter(name, action, kill)? {
            Entry::Joined if self.engine.live.get(name).is_none() => Ok(()),
            Entry::Joined => Err(Error::internal("The other stop operation failed")),
            Entry::Act(permit) => {
                let exit = self.bring_down(name, manner)?;
                self.settle(name, exit, Some(permit))
            }
        }
    }

    /// Stops and starts again; the instance stays, ephemeral or not.
    pub(crate) fn restart(&self, name: &str, manner: Manner) -> Result<()> {
        self.record(name)?;
        let _permit = self.engine.gates.permit(name, Action::Restart)?;
        let run = self.engine.live.get(name).ok_or_else(|| Error::bad_request("container is not running"))?;
        if manner != Manner::Force && run.is_frozen.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::bad_request("container is not running").hint("it is frozen: unfreeze it, or use force"));
        }
        self.bring_down(name, manner)?;
        self.mark_stopped(name)?;
        self.start_held(name)?;
        self.engine.lifecycle("instance-restarted", "instances", name);
        Ok(())
    }

    /// Ends the container and waits until nothing of it is left; the caller holds the permit.
    pub(crate) fn bring_down(&self, name: &str, manner: Manner) -> Result<Exit> {
        let run = self.engine.live.get(name).ok_or_else(not_running)?;
        let container = &run.container;
        let limit = match manner {
            Manner::Force => {
                container.kill().context(format!("kill container `{name}`"))?;
                Some(KILL_PATIENCE)
            }
            Manner::Clean(limit) => {
                if run.is_frozen.swap(false, std::sync::atomic::Ordering::Relaxed) {
                    container.thaw().context(format!("unfreeze container `{name}`"))?;
                }
                container.request_stop().context(format!("ask container `{name}` to stop"))?;
                limit
            }
        };
        container.wait_exit(limit).ok_or_else(|| {
            let seconds = limit.map_or(0, |limit| limit.as_secs());
            let error = Error::internal(format!("The instance `{name}` did not stop within {seconds} s"));
            match manner {
                Manner::Force => error.hint("its processes hang in the kernel; see dmesg"),
                Manner::Clean(_) => error.hint("give it more time with --timeout, or kill it with --force"),
            }
        })
    }

    /// What follows an end: the record, then deletion of an ephemeral instance. Gives up the permit.
    fn settle(&self, name: &str, _exit: Exit, permit: Option<super::admission::Permit>) -> Result<()> {
        self.mark_stopped(name)?;
        self.engine.lifecycle("instance-stopped", "instances", name);
        let ephemeral = self.engine.records.instances.get(name).is_some_and(|record| record.ephemeral);
        if ephemeral && !self.engine.is_shutting_down() {
            self.delete_held(name)?;
        }
        drop(permit);
        Ok(())
    }

    /// Takes an ended container out of the published state and stores that it is stopped. During
    /// the host's shutdown the record keeps saying that it ran, so that it comes back.
    fn mark_stopped(&self, name: &str) -> Result<()> {
        self.engine.live.remove(name);
        if self.engine.is_shutting_down() {
            return Ok(());
        }
        self.engine.records.modify::<InstanceRecord>(name, |record| {
            volatile::LAST_STATE_POWER.set(&mut record.config, "STOPPED");
            record.config.retain(|key, _| !(key.starts_with("volatile.") && key.ends_with(".host_name")));
        })?;
        Ok(())
    }

    /// A container ended: called by the runtime, on a thread of its own. A stop that is under way
    /// does what follows by itself; then there is nothing left to do here.
    pub(crate) fn guest_ended(&self, event: ExitEvent) {
        let name = &event.name;
        self.engine.operations.instance_ended(name);
        let Ok(Entry::Act(permit)) = self.engine.gates.enter(name, Action::GuestExit, || Ok(())) else { return };
        let is_over = self.engine.live.get(name).is_some_and(|run| !run.container.is_running());
        if is_over {
            self.follow_exit(name, event.exit, permit);
        }
    }

    /// A guest that ended by itself: a reboot starts it again.
    fn follow_exit(&self, name: &str, exit: Exit, permit: super::admission::Permit) {
        if exit.target == ExitTarget::Crash {
            tracing::warn!(instance = name, code = exit.code, signal = exit.signal, "init ended unexpectedly");
        }
        let result = if exit.target == ExitTarget::Reboot && !self.engine.is_shutting_down() {
            let result = self.mark_stopped(name).and_then(|()| self.start_held(name));
            drop(permit);
            result.inspect(|()| self.engine.lifecycle("instance-restarted", "instances", name))
        } else {
            self.settle(name, exit, Some(permit))
        };
        if let Err(error) = result {
            tracing::error!(instance = name, "after the end of the container: {}", error.report());
        }
    }

    /// What ended while no daemon looked.
    pub(crate) fn settle_ended(&self, ended: Vec<(String, Exit)>) {
        for (name, exit) in ended {
            match self.engine.gates.permit(&name, Action::GuestExit) {
                Ok(permit) => self.follow_exit(&name, exit, permit),
                Err(error) => tracing::error!(instance = name, "{}", error.report()),
            }
            self.engine.runtime.forget(&name);
        }
    }

    /// Stops everything for the host's shutdown: higher `boot.stop.priority` first, those of one
    /// priority together, each with its own time and then by force.
    pub(crate) fn stop_all(&self) {
        let mut groups: std::collections::BTreeMap<i64, Vec<(String, u64)>> = std::collections::BTreeMap::new();
        for run in self.engine.live.all() {
            let name = run.container.name().to_owned();
            let config =
                self.record(&name).map(|record| super::expand::expand_record(&self.engine.records, &record).config).unwrap_or_default();
            let priority = keys::instance::BOOT_STOP_PRIORITY.get(&config).unwrap_or(0);
            let seconds = keys::instance::BOOT_HOST_SHUTDOWN_TIMEOUT.get(&config).unwrap_or(30);
            groups.entry(priority).or_default().push((name, seconds));
        }
        for group in groups.into_values().rev() {
            std::thread::scope(|scope| {
                for (name, seconds) in group {
                    scope.spawn(move || self.stop_for_shutdown(&name, Duration::from_secs(seconds)));
                }
            });
        }
    }

    fn stop_for_shutdown(&self, name: &str, limit: Duration) {
        let clean = if limit.is_zero() { Manner::Force } else { Manner::Clean(Some(limit)) };
        if let Err(error) = self.stop(name, clean) {
            tracing::warn!(instance = name, "{}; killing it", error.report());
            if let Err(error) = self.stop(name, Manner::Force) {
                tracing::error!(instance = name, "{}", error.report());
            }
        }
    }
}

fn not_running() -> Error {
    Error::bad_request("The container is already stopped")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manner_of_stopping() {
        assert_eq!(Manner::new(true, -1), Manner::Force);
        assert_eq!(Manner::new(false, 0), Manner::Force);
        assert_eq!(Manner::new(false, -1), Manner::Clean(None));
        assert_eq!(Manner::new(false, 5), Manner::Clean(Some(Duration::from_secs(5))));
    }
}
