//! The crowd at the door: connections of strangers, and everybody's until the end of the handshake.
//!
//! Its places are few, and one neighbourhood can have only some of those. Where none is left, the oldest that is
//! not being answered makes room: a newcomer may be somebody who is trusted. So that there always is
//! one, only a part of the places can be those of strangers who are being answered. Handshakes are costly, so
//! they begin at a bounded rate.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::certificates::neighbourhood;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::pace::{Rate, Used};

/// Most places, and most of one neighbourhood.
const MAX_PLACES: usize = 1024;
pub(super) const MAX_PLACES_OF_ONE: usize = 128;
/// Most of these where a request is being answered.
const MAX_BUSY: usize = MAX_PLACES / 4 * 3;
const MAX_BUSY_OF_ONE: usize = MAX_PLACES_OF_ONE / 4 * 3;
/// Handshakes: some tenths of a millisecond of a processor each.
const RATE: Rate = Rate::new(Duration::from_millis(2), 1024);
const RATE_OF_ONE: Rate = Rate::new(Duration::from_millis(20), 256);
/// Longest wait for the turn; beyond, a connection is closed, so that those who come are not served ever later.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Neighbourhoods that are remembered before the list is cleaned. By [`RATE`], some 1,100 can have a use to be remembered.
const MAX_REMEMBERED: usize = 4096;

/// Who is there.
pub(super) struct Crowd {
    state: Mutex<State>,
}

struct State {
    /// The oldest first.
    members: BTreeMap<u64, Member>,
    next_id: u64,
    used: Used,
    used_of: HashMap<IpAddr, Used>,
}

struct Member {
    of: IpAddr,
    /// Requests that are being answered, and websockets.
    busy: usize,
    leave: Arc<Notify>,
}

/// A place in the crowd, until it is dropped.
pub(super) struct Place {
    crowd: Arc<Crowd>,
    id: u64,
    leave: Arc<Notify>,
    turn: Instant,
}

/// While this is there, its place cannot be taken away.
pub(super) struct Busy(Arc<Place>);

impl Crowd {
    pub(super) fn new() -> Arc<Self> {
        let state = State { members: BTreeMap::new(), next_id: 0, used: Used::new(RATE, Instant::now()), used_of: HashMap::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// A place for one more of an address, unless there are too many at once.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        self.enter_at(address, Instant::now())
    }

    fn enter_at(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Place> {
        let of = neighbourhood(address);
        let mut state = self.lock();
        let turn = state.turn(of, now)?;
        if !state.make_room(MAX_PLACES_OF_ONE, |member| member.of == of) || !state.make_room(MAX_PLACES, |_| true) {
            return None;
        }
        let (id, leave) = (state.next_id, Arc::new(Notify::new()));
        state.next_id += 1;
        state.members.insert(id, Member { of, busy: 0, leave: leave.clone() });
        Some(Place { crowd: self.clone(), id, leave, turn })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When the next handshake of a neighbourhood may begin.
    fn turn(&mut self, of: IpAddr, now: Instant) -> Option<Instant> {
        let mut used_of = self.used_of.get(&of).copied().unwrap_or_else(|| Used::new(RATE_OF_ONE, now));
        let (next, next_of) = (self.used.next(RATE, now), used_of.next(RATE_OF_ONE, now));
        let turn = next.max(next_of).max(now);
        if turn > now + LONGEST_WAIT {
            return None;
        }
        self.used.take(RATE, next, 1);
        used_of.take(RATE_OF_ONE, next_of, 1);
        if self.used_of.len() >= MAX_REMEMBERED {
            self.used_of.retain(|_, used| !used.is_nothing(RATE_OF_ONE, now));
        }
        self.used_of.insert(of, used_of);
        Some(turn)
    }

    /// Sees to it that fewer than `limit` of these are there. False if all of them are busy.
    fn make_room(&mut self, limit: usize, are_these: impl Fn(&Member) -> bool) -> bool {
        if self.members.values().filter(|member| are_these(member)).count() < limit {
            return true;
        }
        let oldest = self.members.iter().find(|(_, member)| member.busy == 0 && are_these(member)).map(|(id, _)| *id);
        let leaving = oldest.and_then(|id| self.members.remove(&id));
        // Remembered where nobody waits for it yet.
        leaving.map(|member| member.leave.notify_one()).is_some()
    }

    /// Whether one more can be busy.
    fn may_be_busy(&self, of: IpAddr) -> bool {
        let busy = || self.members.values().filter(|member| member.busy > 0);
        busy().count() < MAX_BUSY && busy().filter(|member| member.of == of).count() < MAX_BUSY_OF_ONE
    }
}

impl Place {
    /// When its handshake may begin.
    pub(super) fn turn(&self) -> Instant {
        self.turn
    }

    /// Completes when it is to be left.
    pub(super) async fn taken(&self) {
        self.leave.notified().await;
    }

    /// Begins to answer a request; `None` if too many strangers are being answered, or it is to be left.
    pub(super) fn begin(self: &Arc<Self>, is_trusted: bool) -> Option<Busy> {
        let mut state = self.crowd.lock();
        let member = state.members.get(&self.id)?;
        if !is_trusted && member.busy == 0 && !state.may_be_busy(member.of) {
            return None;
        }
        state.members.get_mut(&self.id)?.busy += 1;
        Some(Busy(self.clone()))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(member) = self.0.crowd.lock().members.get_mut(&self.0.id) {
            member.busy -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.lock().members.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    /// A host of an IPv6 network of 64 bits.
    fn address(network: u16, host: u16) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host).into()
    }

    /// Each comes a while after the one before, so that the rate is no part of it.
    fn enter(crowd: &Arc<Crowd>, network: u16, host: u16) -> Option<Arc<Place>> {
        let since = Duration::from_millis(200) * u32::try_from(crowd.lock().next_id).expect("few");
        let later = Instant::now() + Duration::from_secs(3600) + since;
        crowd.enter_at(address(network, host), later).map(Arc::new)
    }

    fn is_there(place: &Place) -> bool {
        place.crowd.lock().members.contains_key(&place.id)
    }

    #[tokio::test]
    async fn the_oldest_of_a_network_that_is_not_busy_makes_room() {
        let crowd = Crowd::new();
        let other = enter(&crowd, 2, 0).expect("another network");
        let mut places = Vec::new();
        for host in 0..128 {
            places.push(enter(&crowd, 1, host).expect("room"));
        }
        let busy = places[0].begin(false).expect("not many are busy");
        places.push(enter(&crowd, 1, 128).expect("room is made"));
        places[1].taken().await;
        assert!(places[1].begin(false).is_none() && !is_there(&places[1]));
        assert!(is_there(&places[0]) && is_there(&places[2]) && is_there(&other));
        drop(busy);
        places.push(enter(&crowd, 1, 129).expect("room is made"));
        assert!(!is_there(&places[0]), "it is not busy any more");
        let there = places.iter().filter(|place| is_there(place)).count();
        assert_eq!(there, MAX_PLACES_OF_ONE);
        drop((places, other));
        assert!(crowd.lock().members.is_empty());
    }

    #[test]
    fn strangers_who_are_being_answered_never_have_every_place() {
        let crowd = Crowd::new();
        let (mut places, mut busy) = (Vec::new(), Vec::new());
        for network in 0..10 {
            for host in 0..128 {
                let place = enter(&crowd, network, host).expect("there is always room");
                busy.extend(place.begin(false));
                places.push(place);
            }
        }
        assert_eq!(busy.len(), MAX_BUSY);
        assert_eq!(crowd.lock().members.len(), MAX_PLACES);
        assert!(busy.iter().all(|busy| is_there(&busy.0)));
        let newcomer = enter(&crowd, 99, 0).expect("there is always room");
        assert!(newcomer.begin(false).is_none() && newcomer.begin(true).is_some());
    }

    #[test]
    fn handshakes_of_a_network_begin_at_a_bounded_rate() {
        let crowd = Crowd::new();
        let now = Instant::now() + Duration::from_secs(3600);
        let mut turns: Vec<_> = std::iter::from_fn(|| crowd.enter_at(address(1, 1), now)).map(|place| place.turn()).collect();
        let last = turns.pop().expect("some");
        assert!(turns[200] == now && last > now && last <= now + LONGEST_WAIT, "{:?}", last - now);
        assert!(turns.len() < 320, "{}", turns.len());
        assert_eq!(crowd.enter_at(address(2, 1), now).expect("another network").turn(), now);
        assert!(crowd.enter_at(address(1, 1), now + Duration::from_millis(200)).is_some(), "it goes on");
    }

    #[test]
    fn what_is_remembered_of_networks_is_bounded() {
        let crowd = Crowd::new();
        let now = Instant::now() + Duration::from_secs(3600);
        for network in 0..u16::MAX {
            drop(crowd.enter_at(address(network, 1), now + Duration::from_millis(2) * u32::from(network)));
        }
        assert!(crowd.lock().used_of.len() <= MAX_REMEMBERED);
    }
}
