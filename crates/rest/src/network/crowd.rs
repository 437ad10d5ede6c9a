//! The crowd at the door: connections of strangers, and everybody's until the end of the handshake.
//!
//! Its places are few, and one neighbourhood can have only some of those. Where none is left, the oldest that is
//! not being answered makes room: a newcomer may be somebody who is trusted. So that there always is
//! one, only a part of the places can be those of strangers who are being answered. Handshakes are costly, so
//! they begin at a bounded rate.
//!
//! Addresses from which somebody who is trusted has come are known, and are a crowd of their own: any number of
//! strangers neither uses up its places nor delays its handshakes. An address cannot be pretended, since a connection
//! has been answered before it is accepted; and being known opens no door.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::certificates::neighbourhood;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::pace::{Rate, Used};

/// Bounds of a crowd.
struct Bounds {
    /// Most places, and most of one neighbourhood.
    places: usize,
    places_of_one: usize,
    /// Handshakes: some tenths of a millisecond of a processor each.
    rate: Rate,
    rate_of_one: Rate,
}

const STRANGERS: Bounds = Bounds {
    places: 1024,
    places_of_one: MAX_PLACES_OF_ONE,
    rate: Rate::new(Duration::from_millis(2), 1024),
    rate_of_one: Rate::new(Duration::from_millis(20), 256),
};
/// Of known addresses. A client may have reason to connect anew with each request.
const KNOWN: Bounds = Bounds {
    places: 512,
    places_of_one: MAX_PLACES_OF_ONE,
    rate: Rate::new(Duration::from_micros(400), 2048),
    rate_of_one: Rate::new(Duration::from_micros(500), 1024),
};
pub(super) const MAX_PLACES_OF_ONE: usize = 128;
/// Most known addresses; the one that has been silent for longest makes room.
const MAX_KNOWN: usize = 1024;
/// Longest wait for the turn; beyond, a connection is closed, so that those who come are not served ever later.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Neighbourhoods whose use is remembered before the list is cleaned. By their rate some 1,100 of strangers can have
/// one, and every known address.
const MAX_REMEMBERED: usize = 4096;

/// Of so many places, most where a request is being answered.
const fn most_busy(places: usize) -> usize {
    places / 4 * 3
}

/// Who is there.
pub(super) struct Crowd {
    state: Mutex<State>,
}

struct State {
    /// The oldest first.
    members: BTreeMap<u64, Member>,
    next_id: u64,
    used: Used,
    used_by_known: Used,
    used_of: HashMap<Origin, Used>,
    /// With the number of the last place that it had.
    known: HashMap<IpAddr, u64>,
}

/// Where somebody comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    /// The neighbourhood of a stranger.
    Strange(IpAddr),
    /// A known address.
    Known(IpAddr),
}

impl Origin {
    fn bounds(self) -> &'static Bounds {
        match self {
            Self::Strange(_) => &STRANGERS,
            Self::Known(_) => &KNOWN,
        }
    }

    fn is_known(self) -> bool {
        matches!(self, Self::Known(_))
    }
}

struct Member {
    address: IpAddr,
    of: Origin,
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
        let now = Instant::now();
        let state = State {
            members: BTreeMap::new(),
            next_id: 0,
            used: Used::new(STRANGERS.rate, now),
            used_by_known: Used::new(KNOWN.rate, now),
            used_of: HashMap::new(),
            known: HashMap::new(),
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// A place for one more of an address, unless there are too many at once.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        self.enter_at(address, Instant::now())
    }

    fn enter_at(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Place> {
        let address = address.to_canonical();
        let mut state = self.lock();
        let of = state.origin(address);
        let turn = state.turn(of, now)?;
        let bounds = of.bounds();
        let is_alike = |member: &Member| member.of.is_known() == of.is_known();
        if !state.make_room(bounds.places_of_one, |member| member.of == of) || !state.make_room(bounds.places, is_alike) {
            return None;
        }
        let (id, leave) = (state.next_id, Arc::new(Notify::new()));
        state.next_id += 1;
        state.members.insert(id, Member { address, of, busy: 0, leave: leave.clone() });
        Some(Place { crowd: self.clone(), id, leave, turn })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn origin(&self, address: IpAddr) -> Origin {
        if self.known.contains_key(&address) { Origin::Known(address) } else { Origin::Strange(neighbourhood(address)) }
    }

    /// When the next handshake from there may begin.
    fn turn(&mut self, of: Origin, now: Instant) -> Option<Instant> {
        let Bounds { rate, rate_of_one, .. } = *of.bounds();
        let mut used_of = self.used_of.get(&of).copied().unwrap_or_else(|| Used::new(rate_of_one, now));
        let used = if of.is_known() { &mut self.used_by_known } else { &mut self.used };
        let (next, next_of) = (used.next(rate, now), used_of.next(rate_of_one, now));
        let turn = next.max(next_of).max(now);
        if turn > now + LONGEST_WAIT {
            return None;
        }
        used.take(rate, next, 1);
        used_of.take(rate_of_one, next_of, 1);
        if self.used_of.len() >= MAX_REMEMBERED {
            self.used_of.retain(|of, used| !used.is_nothing(of.bounds().rate_of_one, now));
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
    fn may_be_busy(&self, of: Origin) -> bool {
        let busy = || self.members.values().filter(|member| member.busy > 0 && member.of.is_known() == of.is_known());
        let Bounds { places, places_of_one, .. } = *of.bounds();
        busy().count() < most_busy(places) && busy().filter(|member| member.of == of).count() < most_busy(places_of_one)
    }

    /// From this address comes somebody who is trusted.
    fn remember(&mut self, address: IpAddr) {
        if self.known.len() >= MAX_KNOWN
            && !self.known.contains_key(&address)
            && let Some(oldest) = self.known.iter().min_by_key(|(_, last)| **last).map(|(address, _)| *address)
        {
            self.known.remove(&oldest);
        }
        self.known.insert(address, self.next_id);
    }
}

impl Place {
    /// When its handshake may begin.
    pub(super) fn turn(&self) -> Instant {
        self.turn
    }

    /// Whoever has it is trusted.
    pub(super) fn is_of_trusted(&self) {
        let mut state = self.crowd.lock();
        if let Some(address) = state.members.get(&self.id).map(|member| member.address) {
            state.remember(address);
        }
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
        let address = member.address;
        if is_trusted {
            state.remember(address);
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
        assert_eq!(busy.len(), most_busy(STRANGERS.places));
        assert_eq!(crowd.lock().members.len(), STRANGERS.places);
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
    fn strangers_neither_delay_nor_displace_those_who_are_known() {
        let crowd = Crowd::new();
        let now = Instant::now() + Duration::from_secs(3600);
        let known = address(0, 7);
        crowd.enter_at(known, now).expect("the first").is_of_trusted();
        let strangers: Vec<_> = (1..5000).filter_map(|network| crowd.enter_at(address(network, 1), now)).collect();
        assert!(crowd.enter_at(address(6000, 1), now).is_none(), "strangers have used up their rate");
        assert!(crowd.enter_at(address(0, 8), now).is_none(), "a neighbour is not known");
        let mut places = Vec::new();
        for _ in 0..KNOWN.places_of_one {
            let place = crowd.enter_at(known, now).expect("it has places of its own");
            assert_eq!(place.turn(), now, "and does not wait");
            places.push(Arc::new(place));
        }
        assert!(places.iter().all(|place| is_there(place)) && strangers.iter().filter(|place| is_there(place)).count() == STRANGERS.places);
        let busy: Vec<_> = places.iter().filter_map(|place| place.begin(false)).collect();
        assert_eq!(busy.len(), most_busy(KNOWN.places_of_one), "somebody else at that address is a stranger");
    }

    #[test]
    fn known_addresses_are_bounded_and_the_latest_stay() {
        let crowd = Crowd::new();
        let mut now = Instant::now() + Duration::from_secs(3600);
        for network in 0..3000 {
            now += Duration::from_millis(20);
            // One of them comes again and again.
            for of in [network, 1] {
                crowd.enter_at(address(of, 1), now).expect("slow enough").is_of_trusted();
            }
        }
        let state = crowd.lock();
        assert_eq!(state.known.len(), MAX_KNOWN);
        assert!(
            [1, 2999].iter().all(|network| state.known.contains_key(&address(*network, 1))) && !state.known.contains_key(&address(2, 1))
        );
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
