//! Snapshots of instances by themselves: taken when they are due (`crate::schedule`). Those that have expired are deleted by
//! `crate::expiry`.

use api::snapshots::SnapshotsPost;
use keys::instance::{SNAPSHOTS_SCHEDULE, SNAPSHOTS_SCHEDULE_STOPPED};
use keys::schedule::Minute;

use super::Instances;
use super::expand::expand_record;

impl Instances {
    /// Takes those that are due in this minute.
    pub(crate) fn take_due_snapshots(&self, now: Minute) {
        for (name, record) in self.engine.records.instances.all() {
            let config = expand_record(&self.engine.records, &record).config;
            let is_due = SNAPSHOTS_SCHEDULE.get(&config).is_some_and(|schedule| schedule.is_due(now));
            let counts = self.engine.live.get(&name).is_some() || SNAPSHOTS_SCHEDULE_STOPPED.is_true(&config);
            if is_due && counts {
                self.take_scheduled(&name);
            }
        }
    }

    /// What `@startup` asks for, once the instance runs; the caller holds the permit. A start is none the worse
    /// for a snapshot that fails.
    pub(super) fn take_startup_snapshot(&self, name: &str, config: &api::Config) {
        let is_wanted = SNAPSHOTS_SCHEDULE.get(config).is_some_and(|schedule| schedule.at_start);
        if is_wanted && let Err(error) = self.take_snapshot_held(name, SnapshotsPost::default()) {
            tracing::error!(instance = name, "take the snapshot of the start: {}", error.report());
        }
    }

    fn take_scheduled(&self, name: &str) {
        if let Err(error) = self.create_snapshot(name, SnapshotsPost::default()) {
            tracing::error!(instance = name, "take the snapshot that is due: {}", error.report());
        }
    }
}
