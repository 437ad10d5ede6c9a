//! The running state of an instance: whether it can be saved, saving it at a stop, going on from it.
//!
//! A saved state is in the volume's `state` directory; the record says that it is there. The directory
//! counts only when it is whole ([`SavedState::is_in`]), and never beside a running container, whose
//! files have gone on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::Config;
use api::instances::{Checkpointability, Obstacle};
use keys::instance::MIGRATION_STATEFUL_COMPRESSION;
use keys::types::StateCompression;
use runtime::{After, Checkpoint, Criu, Packing, SavedState};
use storage::VolumeRef;

use super::Instances;
use super::admission::{Action, Entry};
use super::expand::expand_record;
use super::stop::{KILL_PATIENCE, not_running};
use crate::error::Context;
use crate::live::Run;
use crate::records::{Held, InstanceRecord, IntentRecord};
use crate::{Error, Result, points};

/// What is to be done with the running state, for messages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Saving {
    Snapshot,
    Stop,
}

impl Saving {
    fn words(self) -> &'static str {
        match self {
            Self::Snapshot => "Unable to create a stateful snapshot",
            Self::Stop => "Unable to stop with the running state saved",
        }
    }
}

impl Instances {
    /// What would keep the running state of an instance from being saved now.
    pub fn checkpointability(&self, name: &str) -> Result<Checkpointability> {
        self.record(name)?;
        self.engine.gates.check_reachable(name)?;
        let run = self.engine.live.get(name).ok_or_else(not_running)?;
        let mut obstacles = self.obstacles(&run)?;
        if let Err(runtime::Error::Unsupported { what, remedy }) = Criu::find() {
            obstacles.insert(0, Obstacle { fatal: true, what, remedy });
        }
        Ok(Checkpointability { possible: obstacles.iter().all(|obstacle| !obstacle.fatal), obstacles })
    }

    fn obstacles(&self, run: &Run) -> Result<Vec<Obstacle>> {
        let name = run.container.name();
        let found = run.container.obstacles().context(format!("look at the processes of `{name}`"))?;
        let mut obstacles: Vec<Obstacle> =
            found.into_iter().map(|found| Obstacle { fatal: found.is_fatal, what: found.what, remedy: found.remedy }).collect();
        if run.is_frozen.load(Ordering::Relaxed) {
            obstacles.insert(
                0,
                Obstacle { fatal: true, what: "the instance is frozen".into(), remedy: format!("`lxc start {name}` lets it go on") },
            );
        }
        Ok(obstacles)
    }

    /// The same checks, before the real thing.
    pub(super) fn check_saving(&self, run: &Run, saving: Saving) -> Result<Criu> {
        let criu = find_criu(saving.words())?;
        let fatal: Vec<Obstacle> = self.obstacles(run)?.into_iter().filter(|obstacle| obstacle.fatal).collect();
        let Some(first) = fatal.first() else { return Ok(criu) };
        let all: Vec<&str> = fatal.iter().map(|obstacle| obstacle.what.as_str()).collect();
        Err(Error::bad_request(format!("{}: {}", saving.words(), all.join("; "))).hint(first.remedy.clone()))
    }

    /// Stops an instance so that its next start goes on where it was.
    pub(super) fn stop_stateful(&self, name: &str) -> Result<()> {
        let held = self.record(name)?;
        self.engine.gates.check_reachable(name)?;
        let was_live = self.engine.live.get(name).is_some();
        let _permit = match self.engine.gates.enter(name, Action::Stop, || self.kill(name))? {
            Entry::Act(permit) => permit,
            Entry::Joined => return Err(Error::bad_request(format!("The instance `{name}` was stopped by another request"))),
        };
        let run = self.engine.live.get(name).ok_or_else(not_running)?;
        if !was_live || held.ephemeral {
            return Err(Error::bad_request(format!("{}: it is ephemeral", Saving::Stop.words()))
                .hint("an ephemeral instance is deleted when it stops: `lxc config edit` can make it a lasting one"));
        }
        let criu = self.check_saving(&run, Saving::Stop)?;
        run.is_leaving.store(true, Ordering::Relaxed);
        let saved = self.save_and_end(name, &run, &held, &criu);
        // Where it goes on after all, so do sessions that begin from now on.
        run.is_leaving.store(saved.is_ok(), Ordering::Relaxed);
        saved
    }

    fn save_and_end(&self, name: &str, run: &Run, held: &Held<InstanceRecord>, criu: &Criu) -> Result<()> {
        run.container.end_sessions();
        let intent = self.intend(name, IntentRecord::Saving)?;
        let images = self.new_state_dir(name, held)?;
        let _closed = self.engine.guests().pause(&run.container.spec());
        let mut take = || {
            self.set_stateful(name, true).map_err(|error| error.report())?;
            points::reach("stateful.stored");
            Ok(())
        };
        let packing = packing(&expand_record(&self.engine.records, held).config);
        let request = Checkpoint { criu, images: &images, after: After::Stop, packing };
        let saved = run.container.checkpoint(&request, &mut take);
        if saved.is_err() {
            self.rebalance_cpus();
        }
        saved.map_err(|error| {
            let what_now = if run.container.is_ending() { "it has ended" } else { "it goes on running" };
            Error::internal(format!("{}: `{name}` {what_now}", Saving::Stop.words())).caused_by(error)
        })?;
        points::reach("stateful.saved");
        let exit = run.container.wait_exit(Some(KILL_PATIENCE));
        let exit = exit.ok_or_else(|| Error::internal(format!("The processes of `{name}` did not end")).hint("see dmesg"))?;
        self.settle(name, exit)?;
        self.forget_intent(name)?;
        intent.done();
        Ok(())
    }

    /// After a stop with its state that did not come to its end: what counts is whether all was saved
    /// and nothing has run since.
    pub(super) fn settle_saving(&self, name: &str) -> Result<()> {
        let Some(held) = self.engine.records.instances.get(name) else { return Ok(()) };
        let run = self.engine.live.get(name);
        self.settle_checkpoint(name);
        if let Some(run) = run.as_ref().filter(|run| run.container.is_ending()) {
            // CRIU, or somebody else, has killed it, and it takes its time.
            run.container.wait_exit(Some(KILL_PATIENCE));
        }
        let is_running = run.is_some_and(|run| run.container.is_running());
        if !is_running && SavedState::is_in(&self.state_dir(name, &held)?) {
            return self.set_stateful(name, true);
        }
        self.discard_state(name)
    }

    /// Waits for a CRIU that still works on the container, and lets the container be as it was.
    pub(super) fn settle_checkpoint(&self, name: &str) {
        let Some(run) = self.engine.live.get(name) else { return };
        run.container.settle_checkpoint();
        run.is_frozen.store(run.container.is_frozen(), Ordering::Relaxed);
    }

    /// Removes what is saved of the running state, if anything is. Whatever fails then, it counts no more.
    pub(super) fn discard_state(&self, name: &str) -> Result<()> {
        let Some(held) = self.engine.records.instances.get(name) else { return Ok(()) };
        let dir = self.state_dir(name, &held)?;
        SavedState::break_seal(&dir).context(format!("discard the saved running state of `{name}`"))?;
        if held.stateful {
            self.set_stateful(name, false)?;
        }
        let pool = self.engine.pool(&held.pool)?;
        pool.remove_state(&VolumeRef::instance(name)).context(format!("remove the saved running state of `{name}`"))
    }

    /// Where the saved state of an instance is.
    pub(super) fn state_dir(&self, name: &str, record: &InstanceRecord) -> Result<PathBuf> {
        Ok(self.engine.pool(&record.pool)?.state_dir(&VolumeRef::instance(name)))
    }

    /// An empty one, to save to.
    pub(super) fn new_state_dir(&self, name: &str, record: &InstanceRecord) -> Result<PathBuf> {
        let pool = self.engine.pool(&record.pool)?;
        pool.make_state(name).context(format!("make a directory for the running state of `{name}`"))
    }

    fn set_stateful(&self, name: &str, stateful: bool) -> Result<()> {
        self.engine.records.modify::<InstanceRecord>(name, |record| record.stateful = stateful).map(drop)
    }
}

/// How memory is to be saved.
pub(super) fn packing(config: &Config) -> Packing {
    match MIGRATION_STATEFUL_COMPRESSION.get(config) {
        Some(StateCompression::Zstd) => Packing::Zstd,
        Some(StateCompression::None) | None => Packing::None,
    }
}

/// CRIU, or why there is none.
pub(super) fn find_criu(words: &str) -> Result<Criu> {
    Criu::find().map_err(|error| match error {
        runtime::Error::Unsupported { what, remedy } => Error::not_implemented(format!("{words}. {what}.")).hint(remedy),
        other => Error::internal(words).caused_by(other),
    })
}

/// A saved state to go on from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub criu: Criu,
    pub images: PathBuf,
    pub state: Arc<SavedState>,
}

impl Origin {
    /// Opens it; nothing has been changed when this fails.
    pub(super) fn open(images: PathBuf, name: &str) -> Result<Self> {
        let criu = find_criu(&format!("Unable to restore the running state of `{name}`"))?;
        let state = SavedState::read(&images).context(format!("restore the running state of `{name}`"))?;
        Ok(Self { criu, images, state: Arc::new(state) })
    }

    /// The same, once every byte of it was read and is as it was written.
    pub(super) fn verified(self, name: &str) -> Result<Self> {
        self.state.verify(&self.images).context(format!("restore the running state of `{name}`"))?;
        Ok(self)
    }
}
