//! The helpers inside one container.
//!
//! A guest may offer a file system that never answers, and a process that waits for it cannot even be
//! killed. So there are few of them at a time, and whoever waits for one can be let go.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::net::Shutdown;

/// How many may be inside at once.
pub(crate) const MAX_HELPERS: usize = 8;

#[derive(Default)]
pub(crate) struct Crew {
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    next: u64,
    /// The daemon's end of each one's socket.
    taken: BTreeMap<u64, Weak<OwnedFd>>,
}

/// The right to one helper, given back when dropped.
pub(crate) struct Place {
    crew: Arc<Crew>,
    number: u64,
}

impl Crew {
    /// A place, if one is free.
    pub(crate) fn join(self: &Arc<Self>) -> Option<Place> {
        let mut places = self.lock();
        if places.taken.len() >= MAX_HELPERS {
            return None;
        }
        let number = places.next;
        places.next += 1;
        places.taken.insert(number, Weak::new());
        Some(Place { crew: Arc::clone(self), number })
    }

    /// Ends all conversations: helpers end, and nobody waits for one that hangs.
    pub(crate) fn dismiss(&self) {
        for socket in self.lock().taken.values().filter_map(Weak::upgrade) {
            let _ = rustix::net::shutdown(&*socket, Shutdown::Both);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Says which conversation is held at this place.
    pub(crate) fn is_for(&self, socket: &Arc<OwnedFd>) {
        self.crew.lock().taken.insert(self.number, Arc::downgrade(socket));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crew.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_few_and_come_back() {
        let crew = Arc::new(Crew::default());
        let mut places: Vec<_> = std::iter::from_fn(|| crew.join()).collect();
        assert_eq!(places.len(), MAX_HELPERS);
        places.pop();
        let (ours, theirs) = sys::socket::seqpacket_pair().expect("pair");
        let ours = Arc::new(ours);
        crew.join().expect("a free place").is_for(&ours);
        let place = crew.join().expect("given back");
        place.is_for(&ours);
        crew.dismiss();
        assert!(sys::socket::receive(&theirs, 8).expect("receive").is_none(), "the helper sees the end");
        assert!(sys::socket::receive(&*ours, 8).expect("receive").is_none(), "and so does who waits for it");
    }
}
