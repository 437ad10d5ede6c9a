//! How fast others may have work done.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A steady pace, after a burst that was saved up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    interval: Duration,
    saved: Duration,
}

impl Rate {
    /// One in an interval in the long run, and so many at once.
    pub(crate) const fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, saved: interval.saturating_mul(burst) }
    }
}

/// What has been used of a rate: when the next would begin if nothing was ever saved up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used(Instant);

impl Used {
    /// Nothing yet.
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self(now.checked_sub(rate.saved).unwrap_or(now))
    }

    /// When the next may begin.
    pub(crate) fn next(self, rate: Rate, now: Instant) -> Instant {
        self.0.max(Self::new(rate, now).0)
    }

    /// Lets so many begin at that time.
    pub(crate) fn take(&mut self, rate: Rate, at: Instant, count: u32) {
        self.0 = at + rate.interval.saturating_mul(count);
    }

    /// Whether all is saved up again, so that there is nothing to remember.
    pub(crate) fn is_nothing(self, rate: Rate, now: Instant) -> bool {
        self.0 <= Self::new(rate, now).0
    }
}

/// Lets work begin at a rate.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Rate,
    used: Mutex<Used>,
}

impl Pace {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, used: Mutex::new(Used::new(rate, Instant::now())) }
    }

    /// Waits for its turn. How many wait is for the caller to bound.
    pub(crate) async fn turn(&self) {
        let now = Instant::now();
        let at = self.reserve(now, 1);
        if at > now {
            tokio::time::sleep_until(at).await;
        }
    }

    /// Counts what has been done already. More may be done from that time on.
    pub(crate) fn use_up(&self, count: u32) -> Instant {
        let now = Instant::now();
        self.reserve(now, count);
        self.reserve(now, 0)
    }

    /// When so many may begin.
    fn reserve(&self, now: Instant, count: u32) -> Instant {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let at = used.next(self.rate, now);
        used.take(self.rate, at, count);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_is_free_and_the_rest_is_not() {
        let pace = Pace::new(Rate::new(Duration::from_millis(20), 10));
        let began = Instant::now();
        for _ in 0..10 {
            pace.turn().await;
        }
        assert!(began.elapsed() < Duration::from_millis(150), "{:?}", began.elapsed());
        for _ in 0..10 {
            pace.turn().await;
        }
        assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    }
}
