//! Locks by name: who uses a thing together with others, and who has it alone.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::sync::{lock, wait, wait_timeout};

/// How a thing is held.
#[derive(Debug, PartialEq, Eq)]
enum Hold {
    /// By so many at once.
    Shared(usize),
    Alone,
}

/// Locks by name. A name that nobody holds takes no memory.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<String, Hold>>,
    changed: Condvar,
}

/// A hold on one thing; given back when dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lease<'a> {
    leases: &'a Leases,
    name: String,
}

impl Leases {
    /// Holds a thing beside others who share it; waits for whoever has it alone.
    pub(crate) fn share(&self, name: &str) -> Lease<'_> {
        let mut held = lock(&self.held);
        loop {
            match held.get_mut(name) {
                Some(Hold::Alone) => held = wait(&self.changed, held),
                Some(Hold::Shared(count)) => {
                    *count += 1;
                    return self.lease(name);
                }
                None => {
                    held.insert(name.to_owned(), Hold::Shared(1));
                    return self.lease(name);
                }
            }
        }
    }

    /// Holds a thing beside others who share it; waits for whoever has it alone, but not longer than `limit`.
    pub(crate) fn share_within(&self, name: &str, limit: Duration) -> Option<Lease<'_>> {
        let end = Instant::now() + limit;
        let mut held = lock(&self.held);
        while held.get(name) == Some(&Hold::Alone) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            held = wait_timeout(&self.changed, held, left);
        }
        match held.entry(name.to_owned()).or_insert(Hold::Shared(0)) {
            Hold::Shared(count) => *count += 1,
            Hold::Alone => return None,
        }
        Some(self.lease(name))
    }

    /// Holds a thing alone; waits for all others.
    pub(crate) fn hold(&self, name: &str) -> Lease<'_> {
        let mut held = lock(&self.held);
        while held.contains_key(name) {
            held = wait(&self.changed, held);
        }
        held.insert(name.to_owned(), Hold::Alone);
        self.lease(name)
    }

    /// Holds a thing alone; waits for all others, but not longer than `limit`.
    pub(crate) fn hold_within(&self, name: &str, limit: Duration) -> Option<Lease<'_>> {
        let end = Instant::now() + limit;
        let mut held = lock(&self.held);
        while held.contains_key(name) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            held = wait_timeout(&self.changed, held, left);
        }
        held.insert(name.to_owned(), Hold::Alone);
        Some(self.lease(name))
    }

    /// Holds a thing alone, unless somebody else holds it now.
    pub(crate) fn try_hold(&self, name: &str) -> Option<Lease<'_>> {
        let mut held = lock(&self.held);
        if held.contains_key(name) {
            return None;
        }
        held.insert(name.to_owned(), Hold::Alone);
        Some(self.lease(name))
    }

    fn lease(&self, name: &str) -> Lease<'_> {
        Lease { leases: self, name: name.to_owned() }
    }
}

impl Lease<'_> {
    /// Goes on beside others who share it, where it was held alone.
    pub(crate) fn share(&self) {
        if let Some(hold) = lock(&self.leases.held).get_mut(&self.name)
            && *hold == Hold::Alone
        {
            *hold = Hold::Shared(1);
            self.leases.changed.notify_all();
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut held = lock(&self.leases.held);
        match held.get_mut(&self.name) {
            Some(Hold::Shared(count)) if *count > 1 => *count -= 1,
            _ => {
                held.remove(&self.name);
                self.leases.changed.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharers_keep_others_from_having_it_alone() {
        let leases = Leases::default();
        let (one, two) = (leases.share("a"), leases.share("a"));
        assert!(leases.try_hold("a").is_none());
        drop(leases.try_hold("b").expect("another name is free"));
        drop(one);
        assert!(leases.try_hold("a").is_none());
        assert!(leases.hold_within("a", Duration::from_millis(20)).is_none());
        drop(two);
        let alone = leases.hold("a");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| drop(leases.share("a")));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            drop(alone);
        });
        let alone = leases.hold_within("a", Duration::ZERO).expect("free");
        assert!(leases.share_within("a", Duration::from_millis(20)).is_none());
        alone.share();
        let other = leases.share_within("a", Duration::ZERO).expect("shared");
        drop(alone);
        assert!(leases.try_hold("a").is_none());
        drop(other);
        assert!(lock(&leases.held).is_empty());
    }
}
