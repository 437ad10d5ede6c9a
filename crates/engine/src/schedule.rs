//! What is done by itself when it is due: snapshots of instances and of custom volumes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use api::Timestamp;
use keys::schedule::Minute;

use crate::Engine;

const SECONDS_PER_MINUTE: i64 = 60;
const STACK_BYTES: usize = 256 * 1024;

/// Starts the thread that looks once a minute; it ends with the engine.
pub(crate) fn start(engine: &Arc<Engine>) {
    let engine = Arc::downgrade(engine);
    let thread = std::thread::Builder::new().name("schedule".into()).stack_size(STACK_BYTES);
    if let Err(error) = thread.spawn(move || run(&engine)) {
        tracing::error!("snapshots are not taken by themselves: {error}");
    }
}

fn run(engine: &Weak<Engine>) {
    let mut last = Timestamp::now().unix() / SECONDS_PER_MINUTE;
    loop {
        let Some(present) = engine.upgrade() else { return };
        let now = Timestamp::now().unix() / SECONDS_PER_MINUTE;
        // A minute that was slept through is not made up for, nor is one done twice when the clock is set back.
        if now > last {
            present.take_due_snapshots(minute_of(now * SECONDS_PER_MINUTE));
        }
        last = last.max(now);
        drop(present);
        let left = SECONDS_PER_MINUTE - Timestamp::now().unix().rem_euclid(SECONDS_PER_MINUTE);
        std::thread::sleep(Duration::from_secs(left.unsigned_abs()));
    }
}

fn minute_of(unix: i64) -> Minute {
    let time = jiff::Timestamp::from_second(unix).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC);
    let field = |number: i8| u32::from(number.unsigned_abs());
    Minute {
        minute: field(time.minute()),
        hour: field(time.hour()),
        day: field(time.day()),
        month: field(time.month()),
        weekday: field(time.weekday().to_sunday_zero_offset()),
    }
}

impl Engine {
    /// Begins the snapshots that are due in this minute.
    pub fn take_due_snapshots(self: &Arc<Self>, now: Minute) {
        self.instances().take_due_snapshots(now);
        for pool in self.records.pools.ids() {
            match self.storage_volumes(&pool) {
                Ok(volumes) => volumes.take_due_snapshots(now),
                Err(error) => tracing::error!(pool, "look for snapshots that are due: {}", error.report()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_of_utc() {
        // 2026-02-28 23:59 was a Saturday.
        let expected = Minute { minute: 59, hour: 23, day: 28, month: 2, weekday: 6 };
        assert_eq!(minute_of(1_772_323_140), expected);
    }
}
