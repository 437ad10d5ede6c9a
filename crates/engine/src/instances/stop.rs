//! Stopping and restarting: asking with a limit, or killing; and what follows an end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keys::instance::volatile;
use runtime::{Exit, ExitEvent, ExitTarget};

use super::Instances;
use super::admission::{Action, Entry};
use crate::error::Context;
use crate::records::{InstanceRecord, IntentRecord};
use crate::sync::write;
use crate::{Error, Result, points};

/// Pause before what follows an end is tried again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
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
        let was_live = self.engine.live.get(name).is_some();
        if !was_live && self.engine.gates.current(name).is_none() {
            return Err(not_running());
        }
        if let (Manner::Force, Some(run)) = (manner, self.engine.live.get(name)) {
            // What waits for a file system of the guest must not keep it alive.
            run.container.let_go();
        }
        let action = if manner == Manner::Force { Action::Kill } else { Action::Stop };
        loop {
            let entry = self.engine.gates.enter(name, action, || self.kill(name))?;
            let is_live = self.engine.live.get(name).is_some();
            match entry {
                // It ended by itself while this waited.
                Entry::Joined | Entry::Act(_) if !is_live && was_live => return Ok(()),
                Entry::Joined if !is_live => return Ok(()),
                // What the kill came in the middle of has started it again.
                Entry::Joined if manner == Manner::Force => {}
                Entry::Joined => return Err(Error::internal("The other stop operation failed")),
                Entry::Act(_permit) => {
                    let exit = self.bring_down(name, manner)?;
                    return self.settle(name, exit);
                }
            }
        }
    }

    /// Stops and starts again; the instance stays, ephemeral or not.
    pub(crate) fn restart(&self, name: &str, manner: Manner) -> Result<()> {
        self.record(name)?;
        let action = if manner == Manner::Force { Action::ForceRestart } else { Action::Restart };
        let permit = match self.engine.gates.enter(name, action, || self.kill(name))? {
            Entry::Act(permit) => permit,
            Entry::Joined if self.engine.live.get(name).is_some() => return Ok(()),
            Entry::Joined => return Err(Error::internal("The other restart operation failed")),
        };
        let run = self.engine.live.get(name).ok_or_else(|| Error::bad_request("container is not running"))?;
        if manner != Manner::Force && run.is_frozen.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::bad_request("container is not running").hint("it is frozen: unfreeze it, or use force"));
        }
        let intent = self.intend(name, IntentRecord::Restarting)?;
        let exit = self.bring_down(name, manner)?;
        points::reach("restart.down");
        if permit.is_overruled() {
            self.settle(name, exit)?;
            return Err(Error::bad_request(format!("The instance `{name}` was stopped by another request before it was started again")));
        }
        self.start_again(name)?;
        intent.done();
        self.engine.lifecycle("instance-restarted", "instances", name);
        Ok(())
    }

    pub(super) fn kill(&self, name: &str) -> Result<()> {
        match self.engine.live.get(name) {
            Some(run) => unless_ended(run.container.kill()).context(format!("kill container `{name}`")),
            None => Ok(()),
        }
    }

    /// Ends the container and waits until nothing of it is left; the caller holds the permit. One
    /// that ends by itself at this moment is as good.
    pub(crate) fn bring_down(&self, name: &str, manner: Manner) -> Result<Exit> {
        let run = self.engine.live.get(name).ok_or_else(not_running)?;
        let container = &run.container;
        let limit = match manner {
            Manner::Force => {
                self.kill(name)?;
                Some(KILL_PATIENCE)
            }
            Manner::Clean(limit) => {
                if run.is_frozen.swap(false, std::sync::atomic::Ordering::Relaxed) {
                    unless_ended(container.thaw()).context(format!("unfreeze container `{name}`"))?;
                }
                unless_ended(container.request_stop()).context(format!("ask container `{name}` to stop"))?;
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

    /// What follows an end: the record, or deletion of an ephemeral instance; the caller holds the
    /// permit. Where it fails, [`Self::guest_ended`] tries again.
    pub(super) fn settle(&self, name: &str, exit: Exit) -> Result<()> {
        let live = &self.engine.live;
        let is_first = live.unsettled(name).is_none();
        self.unpublish(name);
        live.set_unsettled(name, Some(exit));
        let is_ephemeral = self.engine.records.instances.get(name).is_some_and(|record| record.ephemeral);
        // Not even marked as stopped, which a full disk would not take: deleting makes room.
        let is_deleted = is_ephemeral && !self.engine.is_shutting_down();
        let marked = if is_deleted { Ok(()) } else { self.mark_stopped(name, None) };
        if is_first {
            self.engine.lifecycle("instance-stopped", "instances", name);
        }
        let result = if is_deleted { self.delete_held(name) } else { marked };
        result.map_err(|error| {
            Error::new(error.kind(), format!("`{name}` is stopped, and what follows is tried again until it succeeds")).caused_by(error)
        })?;
        live.set_unsettled(name, None);
        Ok(())
    }

    /// Takes an ended container out of the published state and stores that it is stopped, and
    /// whether it is to be started again. During the host's shutdown the record keeps saying that
    /// it ran, so that it comes back.
    pub(super) fn mark_stopped(&self, name: &str, next: Option<IntentRecord>) -> Result<()> {
        let records = &self.engine.records;
        self.unpublish(name);
        if self.engine.is_shutting_down() {
            return Ok(());
        }
        let change = |record: &mut InstanceRecord| {
            volatile::LAST_STATE_POWER.set(&mut record.config, "STOPPED");
            record.config.retain(|key, _| !(key.starts_with("volatile.") && key.ends_with(".host_name")));
        };
        records.modify_with(name, change, |changes| {
            match &next {
                Some(next) => changes.put(name, next.clone())?,
                None if records.intents.get(name).is_some_and(|intent| intent.is_start()) => changes.delete::<IntentRecord>(name),
                None => {}
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Starts an instance whose container has ended, also if this daemon dies before it is done;
    /// the caller holds the permit. One that cannot be started stays stopped.
    pub(super) fn start_again(&self, name: &str) -> Result<()> {
        self.settle_leftover(name)?;
        self.mark_stopped(name, Some(IntentRecord::Starting))?;
        points::reach("restart.stopped");
        let started = self.start_held(name);
        let forgotten = self.forget_intent(name);
        started.and(forgotten)
    }

    /// A container ended: called by the runtime, on a thread of its own; when it returns, the
    /// runtime forgets the exit. A stop that is under way does what follows by itself; then there
    /// is nothing left to do here. What fails is tried again: a record or a deletion until it
    /// succeeds, the start after a reboot for about a minute.
    pub(crate) fn guest_ended(&self, event: ExitEvent) {
        let name = &event.name;
        self.engine.operations.instance_ended(name);
        let mut pause = FIRST_PAUSE;
        while !self.deal_with_end(name, event.exit) {
            if pause == LONGEST_PAUSE && self.is_stored_as_stopped(name) {
                tracing::error!(instance = name, "it stays stopped");
                return self.engine.live.set_unsettled(name, None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Then only a start can be left to be done.
    fn is_stored_as_stopped(&self, name: &str) -> bool {
        let record = self.engine.records.instances.get(name);
        record.is_none_or(|record| volatile::LAST_STATE_POWER.text(&record.config) == Some("STOPPED"))
    }

    /// False if it is to be tried again.
    fn deal_with_end(&self, name: &str, exit: Exit) -> bool {
        let live = &self.engine.live;
        let Ok(Entry::Act(_permit)) = self.engine.gates.enter(name, Action::GuestExit, || Ok(())) else { return true };
        let is_over = live.get(name).is_some_and(|run| !run.container.is_running());
        let Some(exit) = is_over.then_some(exit).or(live.unsettled(name)) else { return true };
        self.follow_exit(name, exit);
        live.unsettled(name).is_none()
    }

    /// A guest that ended by itself: a reboot starts it again, and so does a restart that another
    /// daemon had begun. The caller holds the permit.
    pub(super) fn follow_exit(&self, name: &str, exit: Exit) {
        if exit.target == ExitTarget::Crash {
            tracing::warn!(instance = name, code = exit.code, signal = exit.signal, "init ended unexpectedly");
        }
        let is_restart = self.engine.records.intents.get(name).is_some_and(|intent| *intent.record == IntentRecord::Restarting);
        let result = if (exit.target == ExitTarget::Reboot || is_restart) && !self.engine.is_shutting_down() {
            self.engine.live.set_unsettled(name, Some(exit));
            self.start_again(name).inspect(|()| self.engine.lifecycle("instance-restarted", "instances", name))
        } else {
            self.settle(name, exit)
        };
        if let Err(error) = result {
            tracing::error!(instance = name, "after the end of the container: {}", error.report());
        }
    }

    /// Stops everything for the host's shutdown, also what is being started meanwhile, and what an
    /// action kept busy for a time.
    pub(crate) fn stop_all(&self) {
        let engine = &self.engine;
        let mut tried = BTreeSet::new();
        let mut is_closed = false;
        loop {
            let names = engine.live.all().into_iter().map(|run| run.container.name().to_owned());
            let due: Vec<String> = names.filter(|name| !tried.contains(name) || engine.gates.current(name).is_some()).collect();
            if due.is_empty() && is_closed {
                return;
            }
            self.stop_in_order(&due);
            tried.extend(due);
            // Whoever is past the check in `start_held` has published what it started once this
            // is had; all others are refused.
            drop(write(&engine.starts));
            is_closed = true;
        }
    }

    /// Higher `boot.stop.priority` first, those of one priority together, each with its own time
    /// and then by force.
    fn stop_in_order(&self, names: &[String]) {
        let mut groups: BTreeMap<i64, Vec<(&str, u64)>> = BTreeMap::new();
        for name in names {
            let config =
                self.record(name).map(|record| super::expand::expand_record(&self.engine.records, &record).config).unwrap_or_default();
            let priority = keys::instance::BOOT_STOP_PRIORITY.get(&config).unwrap_or(0);
            let seconds = keys::instance::BOOT_HOST_SHUTDOWN_TIMEOUT.get(&config).unwrap_or(30);
            groups.entry(priority).or_default().push((name, seconds));
        }
        for group in groups.into_values().rev() {
            std::thread::scope(|scope| {
                for (name, seconds) in group {
                    scope.spawn(move || self.stop_for_shutdown(name, Duration::from_secs(seconds)));
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

/// A container that has just ended has done as it was told.
fn unless_ended(result: runtime::Result<()>) -> runtime::Result<()> {
    match result {
        Err(runtime::Error::NotRunning(_)) => Ok(()),
        Err(error) if error.errno() == Some(sys::Errno::SRCH) => Ok(()),
        other => other,
    }
}

pub(super) fn not_running() -> Error {
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
