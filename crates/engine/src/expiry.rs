//! What has had its time is deleted: snapshots of instances and of custom volumes, and backups. Operations that
//! ended are forgotten with what they hold, and old logs are pruned once a day.
//!
//! One thread looks at the records when the earliest of them comes due or something has changed, and every
//! minute, since the clock may be set.

use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use api::Timestamp;

use crate::operations::Operation;
use crate::records::SnapshotRecord;
use crate::sync::{lock, wait_timeout};
use crate::{Engine, Result, log_pruning};

/// The longest and the shortest time between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(1));

/// Wakes the thread before its time.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Alarm {
    pub(crate) fn ring(&self) {
        *lock(&self.rung) = true;
        self.changed.notify_all();
    }

    /// Waits until it rings, at most so long.
    fn wait(&self, limit: Duration) {
        let mut rung = lock(&self.rung);
        if !*rung {
            rung = wait_timeout(&self.changed, rung, limit);
        }
        *rung = false;
    }
}

impl Engine {
    /// Starts the thread. It ends with the engine.
    pub(crate) fn watch_expiry(self: &Arc<Self>) {
        let (engine, alarm) = (Arc::downgrade(self), self.expiry_alarm.clone());
        let spawned = std::thread::Builder::new().name("expiry".into()).spawn(move || watch(&engine, &alarm));
        if let Err(error) = spawned {
            tracing::error!("nothing will expire: start a thread: {error}");
        }
    }

    /// Deletes what is due and says how long nothing else will be, within limits.
    fn expire(self: &Arc<Self>) -> Duration {
        let now = Timestamp::now();
        let mut next = None;
        let mut is_due = |at: Timestamp| {
            let is_due = at != Timestamp::NEVER && at <= now;
            if at > now {
                next = next.into_iter().chain([at]).min();
            }
            is_due
        };
        let instances = self.records.snapshots.all().into_iter().filter(|(_, record)| is_due(expiry_of(record)));
        let instances: Vec<String> = instances.map(|(id, _)| id).collect();
        let volumes = self.records.volume_snapshots.all().into_iter().filter(|(_, record)| is_due(record.expires_at));
        let volumes: Vec<String> = volumes.map(|(id, _)| id).collect();
        let backups = self.records.backups.all().into_iter().filter(|(_, record)| is_due(record.expires_at));
        let backups: Vec<String> = backups.map(|(id, _)| id).collect();
        let volume_backups = self.records.volume_backups.all().into_iter().filter(|(_, record)| is_due(record.expires_at));
        let volume_backups: Vec<String> = volume_backups.map(|(id, _)| id).collect();
        for id in backups {
            let Some((instance, backup)) = id.split_once('/') else { continue };
            wait_for(&id, self.instances().delete_backup(instance, backup));
        }
        for id in instances {
            let Some((instance, snapshot)) = id.split_once('/') else { continue };
            wait_for(&id, self.instances().delete_snapshot(instance, snapshot));
        }
        for id in volumes {
            let Some((pool, volume, snapshot)) = split_in_three(&id) else { continue };
            wait_for(&id, self.storage_volumes(pool).and_then(|volumes| volumes.delete_snapshot(volume, snapshot)));
        }
        for id in volume_backups {
            let Some((pool, volume, backup)) = split_in_three(&id) else { continue };
            wait_for(&id, self.storage_volumes(pool).and_then(|volumes| volumes.delete_backup(volume, backup)));
        }
        let until = next.map_or(PAUSE.0, |next| Duration::from_secs((next.unix() - now.unix()).unsigned_abs()));
        until.clamp(PAUSE.1, PAUSE.0)
    }
}

/// `POOL/VOLUME/NAME`.
fn split_in_three(id: &str) -> Option<(&str, &str, &str)> {
    let (pool, rest) = id.split_once('/')?;
    let (volume, name) = rest.split_once('/')?;
    Some((pool, volume, name))
}

/// Does not hold the engine while it waits.
fn watch(engine: &Weak<Engine>, alarm: &Alarm) {
    let mut pruned: Option<Instant> = None;
    while let Some(engine) = engine.upgrade() {
        engine.operations.forget_ended();
        if pruned.is_none_or(|at| at.elapsed() >= log_pruning::INTERVAL) {
            engine.prune_logs();
            pruned = Some(Instant::now());
        }
        let pause = if engine.is_shutting_down() { PAUSE.0 } else { engine.expire() };
        drop(engine);
        alarm.wait(pause);
    }
}

/// Earlier versions stored the moment at which it was taken for a snapshot that does not expire.
fn expiry_of(record: &SnapshotRecord) -> Timestamp {
    if record.expires_at.unix() == record.taken_at.unix() { Timestamp::NEVER } else { record.expires_at }
}

/// What fails is tried again at the next look; the operation has logged why.
fn wait_for(id: &str, deletion: Result<Arc<Operation>>) {
    match deletion {
        Ok(operation) => drop(operation.wait(None)),
        Err(error) => tracing::warn!(name = id, "delete what has expired: {}", error.report()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_without_a_date_stays() {
        let taken_at = Timestamp::from_unix(1_700_000_000);
        let with = |expires_at| expiry_of(&SnapshotRecord { taken_at, expires_at, ..SnapshotRecord::default() });
        assert_eq!(with(Timestamp::NEVER), Timestamp::NEVER);
        assert_eq!(with(taken_at), Timestamp::NEVER);
        assert_eq!(with(Timestamp::from_unix(1_700_000_060)), Timestamp::from_unix(1_700_000_060));
    }
}
