//! How fast one instance may ask.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Lets work begin at a steady pace, after a burst that was saved up.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    saved: Duration,
    /// When the next may begin.
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(interval: Duration, burst: u32) -> Self {
        let saved = interval * burst;
        Self { interval, saved, next: Mutex::new(Instant::now() - saved.min(Duration::from_secs(1))) }
    }

    /// Waits for its turn. How many wait is bounded by the number of connections.
    pub(super) async fn turn(&self) {
        let now = Instant::now();
        let at = {
            let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let at = (*next).max(now.checked_sub(self.saved).unwrap_or(now));
            *next = at + self.interval;
            at
        };
        if at > now {
            tokio::time::sleep_until(at).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_is_free_and_the_rest_is_not() {
        let pace = Pace::new(Duration::from_millis(20), 10);
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
