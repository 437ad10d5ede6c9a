//! What is done for images from time to time: newer versions are taken, unused ones go.

use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use api::{Config, Timestamp};
use keys::server::{IMAGES_AUTO_UPDATE_INTERVAL, IMAGES_REMOTE_CACHE_EXPIRY};

use super::Images;
use crate::Engine;
use crate::records::ImageRecord;
use crate::sync::{lock, wait_timeout};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const DAY_SECONDS: i64 = 24 * 3600;

/// Wakes the thread that does it.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// Something that it goes by has changed.
    is_poked: Mutex<bool>,
    changed: Condvar,
}

impl Upkeep {
    fn poke(&self) {
        *lock(&self.is_poked) = true;
        self.changed.notify_all();
    }

    fn wait(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut is_poked = lock(&self.is_poked);
        while !*is_poked {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            is_poked = wait_timeout(&self.changed, is_poked, left);
        }
        *is_poked = false;
    }
}

/// When which of it was last done.
#[derive(Debug, Default)]
struct Done {
    updated: Option<Instant>,
    /// And with which value of `images.remote_cache_expiry`.
    pruned: Option<(Instant, u64)>,
}

impl Images {
    /// Starts the thread.
    pub(crate) fn start_upkeep(&self) {
        let engine = Arc::downgrade(&self.engine);
        let started = std::thread::Builder::new().name("images".into()).spawn(move || keep_up(&engine));
        if let Err(error) = started {
            tracing::error!("start the thread that updates images: {error}");
        }
    }

    /// The server's configuration has changed.
    pub(crate) fn reconfigured(&self, before: &Config, after: &Config) {
        let differs = |prefix: &str| {
            let of = |config: &Config| -> Vec<(String, String)> {
                config.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(key, value)| (key.clone(), value.clone())).collect()
            };
            of(before) != of(after)
        };
        if differs("core.proxy_") {
            self.engine.image_state.streams.clear();
        }
        if differs("images.") {
            self.engine.image_state.upkeep.poke();
        }
    }

    /// Does what is due; returns when something will be next.
    fn keep_up_once(&self, done: &mut Done) -> Duration {
        let config = self.engine.records.server.get("config").map(|record| record.config.clone()).unwrap_or_default();
        let days = IMAGES_REMOTE_CACHE_EXPIRY.get(&config).unwrap_or_default();
        let is_pruned = done.pruned.is_some_and(|(at, with)| at.elapsed() < DAY && with == days);
        if !is_pruned {
            self.prune(days);
            self.engine.image_state.streams.prune();
            done.pruned = Some((Instant::now(), days));
        }
        let hours = IMAGES_AUTO_UPDATE_INTERVAL.get(&config).unwrap_or_default();
        if hours == 0 {
            return HOUR;
        }
        let interval = HOUR.saturating_mul(u32::try_from(hours).unwrap_or(u32::MAX));
        if done.updated.is_none_or(|at| at.elapsed() >= interval) {
            match self.update_all() {
                Ok(Some(operation)) => drop(operation.wait(None)),
                Ok(None) => {}
                Err(error) => tracing::warn!("update images: {}", error.report()),
            }
            done.updated = Some(Instant::now());
        }
        let since = done.updated.map_or(Duration::ZERO, |at| at.elapsed());
        interval.saturating_sub(since).min(HOUR)
    }

    /// Removes images that were downloaded for instances and not used for so many days (0: for ever), or whose
    /// own time is over.
    fn prune(&self, days: u64) {
        let now = Timestamp::now();
        for (fingerprint, record) in self.engine.records.images.all() {
            if !is_expired(&record, now, days) {
                continue;
            }
            match self.remove_if(&fingerprint, |record| is_expired(record, now, days)) {
                Ok(true) => tracing::info!(image = fingerprint, "a cached image that was not used for long is removed"),
                Ok(false) => {}
                Err(error) => tracing::warn!(image = fingerprint, "remove a cached image: {}", error.report()),
            }
        }
    }
}

fn keep_up(engine: &Weak<Engine>) {
    let mut done = Done::default();
    loop {
        let Some(engine_now) = engine.upgrade() else { return };
        if engine_now.is_shutting_down() {
            return;
        }
        let next = engine_now.images().keep_up_once(&mut done);
        let upkeep = engine_now.image_state.upkeep.clone();
        // An engine that nobody else has is not to be kept by who waits.
        drop(engine_now);
        upkeep.wait(next);
    }
}

/// Whether a cached image is to go: unused for `days`, or obsolete and unused for one.
fn is_expired(record: &ImageRecord, now: Timestamp, days: u64) -> bool {
    if !record.cached || days == 0 {
        return false;
    }
    let used = record.last_used_at.unix().max(record.uploaded_at.unix());
    let unused_days = (now.unix() - used) / DAY_SECONDS;
    let is_obsolete = record.expires_at.unix() > 0 && record.expires_at.unix() < now.unix();
    unused_days >= i64::try_from(days).unwrap_or(i64::MAX) || (is_obsolete && unused_days >= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_go() {
        let day = |number: i64| Timestamp::from_unix(number * DAY_SECONDS);
        let image = |uploaded: i64, used: i64| ImageRecord {
            cached: true,
            uploaded_at: day(uploaded),
            last_used_at: day(used),
            ..ImageRecord::default()
        };
        let now = day(100);
        assert!(is_expired(&image(50, 90), now, 10));
        assert!(!is_expired(&image(50, 91), now, 10));
        assert!(is_expired(&image(90, 0), now, 10), "never used");
        assert!(!is_expired(&image(95, 0), now, 10), "never used, but new");
        assert!(!is_expired(&image(1, 1), now, 0), "never");
        assert!(!is_expired(&ImageRecord { cached: false, ..image(1, 1) }, now, 10), "somebody keeps it");
        let obsolete = |used: i64| ImageRecord { expires_at: day(80), ..image(50, used) };
        assert!(is_expired(&obsolete(99), now, 10));
        assert!(!is_expired(&obsolete(100), now, 10), "in use");
        assert!(!is_expired(&ImageRecord { expires_at: day(101), ..image(50, 99) }, now, 10));
    }

    #[test]
    fn a_poke_ends_the_waiting() {
        let upkeep = Upkeep::default();
        let start = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| upkeep.wait(HOUR));
            upkeep.poke();
            drop(waiting.join());
        });
        assert!(start.elapsed() < HOUR);
        upkeep.wait(Duration::from_millis(1));
    }
}
