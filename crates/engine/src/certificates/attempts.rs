//! How often strangers may guess: a few times, then more and more seldom.
//!
//! Each address waits longer after each failure, and all of them together get a bounded number of
//! slow checks, so that neither guessing nor the checking itself wears the server out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// Failures of an address before it has to wait.
const FREE: u32 = 3;
/// Longest wait of an address.
const LONGEST: Duration = Duration::from_secs(60);
/// A failure is forgotten after that.
const MEMORY: Duration = Duration::from_secs(600);
/// Most addresses that are remembered.
const MAX_ADDRESSES: usize = 4096;
/// Most checks at a time: each takes a processor and 16 MB.
const MAX_RUNNING: usize = 2;

/// The guesses so far.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: HashMap<IpAddr, Failures>,
    running: usize,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// How long to wait after the last of them, once the free ones are used up.
    fn wait(self) -> Duration {
        Duration::from_secs(1 << self.count.saturating_sub(FREE).min(6)).min(LONGEST)
    }
}

/// One guess; another may be made once it is dropped.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    attempts: &'a Attempts,
    address: IpAddr,
}

impl Attempts {
    /// Allows a guess, or tells how long to wait.
    pub fn begin(&self, address: Option<IpAddr>) -> Result<Attempt<'_>, Duration> {
        self.begin_at(address, Instant::now())
    }

    fn begin_at(&self, address: Option<IpAddr>, now: Instant) -> Result<Attempt<'_>, Duration> {
        let address = address.map_or(Ipv4Addr::UNSPECIFIED.into(), neighbourhood);
        let mut state = lock(&self.state);
        let waits = state.failures.get(&address).filter(|failures| failures.count >= FREE);
        let until = waits.map(|failures| failures.last + failures.wait());
        if let Some(left) = until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero()) {
            return Err(left);
        }
        if state.running >= MAX_RUNNING {
            return Err(Duration::from_secs(1));
        }
        if state.failures.len() >= MAX_ADDRESSES && !state.failures.contains_key(&address) {
            state.forget(now);
        }
        state.running += 1;
        // A guess counts while it is made, too, so that many at once gain nothing.
        state.count(address, now);
        Ok(Attempt { attempts: self, address })
    }
}

impl State {
    /// Makes room. What is old is forgotten, at the least the oldest: whoever has many addresses keeps out nobody.
    fn forget(&mut self, now: Instant) {
        self.failures.retain(|_, failures| now.saturating_duration_since(failures.last) < MEMORY);
        if self.failures.len() >= MAX_ADDRESSES
            && let Some(oldest) = self.failures.iter().min_by_key(|(_, failures)| failures.last).map(|(address, _)| *address)
        {
            self.failures.remove(&oldest);
        }
    }

    fn count(&mut self, address: IpAddr, now: Instant) {
        let failures = self.failures.entry(address).or_insert(Failures { count: 0, last: now });
        if now.saturating_duration_since(failures.last) >= MEMORY {
            failures.count = 0;
        }
        *failures = Failures { count: failures.count.saturating_add(1), last: now };
    }
}

impl Attempt<'_> {
    /// It was wrong.
    pub fn failed(&self) {
        if let Some(failures) = lock(&self.attempts.state).failures.get_mut(&self.address) {
            failures.last = Instant::now();
        }
    }

    /// It was right: what went wrong before is forgotten.
    pub fn succeeded(&self) {
        lock(&self.attempts.state).failures.remove(&self.address);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        lock(&self.attempts.state).running -= 1;
    }
}

/// What one stranger can easily have: an address, or the 2^64 addresses of an IPv6 network.
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("address"))
    }

    #[test]
    fn waits_grow_and_end_with_success() {
        let attempts = Attempts::default();
        let start = Instant::now();
        for _ in 0..FREE {
            attempts.begin_at(address("192.0.2.1"), start).expect("free").failed();
        }
        let first = attempts.begin_at(address("192.0.2.1"), start).expect_err("has to wait");
        assert!(first <= Duration::from_secs(2), "{first:?}");
        attempts.begin_at(address("192.0.2.2"), start).expect("another address");
        let later = start + Duration::from_secs(5);
        drop(attempts.begin_at(address("192.0.2.1"), later).expect("after the wait"));
        let second = attempts.begin_at(address("192.0.2.1"), later).expect_err("has to wait");
        assert!(second > Duration::from_secs(1), "{second:?}");
        let much_later = later + Duration::from_secs(60);
        attempts.begin_at(address("192.0.2.1"), much_later).expect("after the wait").succeeded();
        for _ in 0..FREE {
            drop(attempts.begin_at(address("192.0.2.1"), much_later).expect("forgotten"));
        }
        for round in 0..20 {
            let late = much_later + MEMORY + Duration::from_secs(61 * round);
            drop(attempts.begin_at(address("192.0.2.1"), late).expect("no wait is longer than a minute"));
        }
    }

    #[test]
    fn a_network_of_addresses_is_one_guesser_and_few_check_at_once() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for host in 1..=FREE {
            drop(attempts.begin_at(address(&format!("2001:db8::{host}")), now).expect("free"));
        }
        assert!(attempts.begin_at(address("2001:db8::99"), now).is_err());
        let running: Vec<_> =
            (0..MAX_RUNNING).map(|host| attempts.begin_at(address(&format!("192.0.2.{host}")), now).expect("runs")).collect();
        assert!(attempts.begin_at(address("192.0.2.99"), now).is_err());
        drop(running);
        assert!(attempts.begin_at(address("192.0.2.99"), now).is_ok());
    }

    #[test]
    fn many_addresses_keep_out_nobody() {
        let attempts = Attempts::default();
        let start = Instant::now();
        let many = u32::try_from(MAX_ADDRESSES).expect("few");
        for host in 0..=many {
            let now = start + Duration::from_millis(u64::from(host));
            drop(attempts.begin_at(Some(Ipv4Addr::from(0x0a00_0000 + host).into()), now).expect("an address of its own"));
        }
        let state = lock(&attempts.state);
        assert_eq!(state.failures.len(), MAX_ADDRESSES);
        let oldest = IpAddr::from(Ipv4Addr::from(0x0a00_0000));
        let newest = IpAddr::from(Ipv4Addr::from(0x0a00_0000 + many));
        assert!(!state.failures.contains_key(&oldest) && state.failures.contains_key(&newest));
    }
}
