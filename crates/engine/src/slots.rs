//! Resources of the host that come up in the background and may fail to: pools, networks.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::sync::{lock, wait_timeout};
use crate::{Error, Result};

/// How long a request waits for a resource that is being brought up.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum Slot<T> {
    Pending,
    Ready(T),
    Broken(String),
}

/// Resources by name.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Mutex<HashMap<String, Slot<T>>>,
    changed: Condvar,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Mutex::default(), changed: Condvar::new() }
    }
}

impl<T: Clone> Slots<T> {
    /// These will be brought up; whoever asks meanwhile waits.
    pub(crate) fn expect(&self, names: &[String]) {
        lock(&self.slots).extend(names.iter().map(|name| (name.clone(), Slot::Pending)));
    }

    pub(crate) fn set(&self, name: &str, result: std::result::Result<T, String>) {
        let slot = result.map_or_else(Slot::Broken, Slot::Ready);
        lock(&self.slots).insert(name.to_owned(), slot);
        self.changed.notify_all();
    }

    /// Forgets one; gives back what was ready.
    pub(crate) fn remove(&self, name: &str) -> Option<T> {
        let removed = lock(&self.slots).remove(name);
        self.changed.notify_all();
        match removed {
            Some(Slot::Ready(value)) => Some(value),
            _ => None,
        }
    }

    /// One that is ready now.
    pub(crate) fn ready(&self, name: &str) -> Option<T> {
        match lock(&self.slots).get(name) {
            Some(Slot::Ready(value)) => Some(value.clone()),
            _ => None,
        }
    }

    /// Why one is not available, if it is known not to be.
    pub(crate) fn broken(&self, name: &str) -> Option<String> {
        match lock(&self.slots).get(name) {
            Some(Slot::Broken(reason)) => Some(reason.clone()),
            _ => None,
        }
    }

    pub(crate) fn all_ready(&self) -> Vec<T> {
        lock(&self.slots).values().filter_map(|slot| if let Slot::Ready(value) = slot { Some(value.clone()) } else { None }).collect()
    }

    /// One that is ready, after waiting if it is being brought up. A broken one is an error with
    /// its reason.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        let mut slots = lock(&self.slots);
        loop {
            match slots.get(name) {
                Some(Slot::Ready(value)) => return Ok(value.clone()),
                Some(Slot::Broken(reason)) => return Err(Error::unavailable(format!("{kind} `{name}` is unavailable: {reason}"))),
                None => return Err(Error::not_found(format!("{kind} `{name}` not found"))),
                Some(Slot::Pending) => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::unavailable(format!("{kind} `{name}` is still being brought up")).hint("try again later"));
            }
            slots = wait_timeout(&self.changed, slots, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_what_is_coming_and_says_why_not() {
        let slots = Slots::default();
        slots.expect(&["a".to_owned(), "b".to_owned()]);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| slots.get("pool", "a"));
            slots.set("a", Ok(7));
            assert_eq!(waiting.join().expect("thread").expect("ready"), 7);
        });
        slots.set("b", Err("no disk".into()));
        let error = slots.get("pool", "b").expect_err("broken");
        assert_eq!((error.http_status(), error.to_string()), (503, "pool `b` is unavailable: no disk".to_owned()));
        assert_eq!(slots.get("pool", "c").expect_err("unknown").http_status(), 404);
    }
}
