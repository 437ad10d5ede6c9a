//! Following changes: a bounded log of recent ones, and a bounded queue per watcher.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::{Revision, StoreError, Write};

/// Changes kept for watchers that come late.
const LOG_LENGTH: usize = 256;
/// Changes that wait for a slow watcher.
const QUEUE_LENGTH: usize = 1024;

/// One changed key. Values are not carried: the watcher reads what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Whether it was removed.
    pub deleted: bool,
    /// Revision of the commit.
    pub revision: Revision,
}

/// A stream of changes; dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    prefix: String,
    changes: Receiver<Change>,
}

impl Watch {
    /// Waits for the next change; `None` at the timeout.
    pub fn next(&self, timeout: Duration) -> Result<Option<Change>, StoreError> {
        match self.changes.recv_timeout(timeout) {
            Ok(change) => Ok(Some(change)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(StoreError::Lagged { prefix: self.prefix.clone() }),
        }
    }
}

/// Where commits are announced; one per store.
#[derive(Debug, Default)]
pub(crate) struct Hub(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    log: VecDeque<Change>,
    /// Changes up to this revision are not in the log.
    forgotten: Revision,
    watchers: Vec<(String, SyncSender<Change>)>,
}

impl Hub {
    /// A hub of a store whose past up to `revision` is unknown.
    pub(crate) fn new(revision: Revision) -> Self {
        Self(Mutex::new(State { forgotten: revision, ..State::default() }))
    }

    /// Announces a commit; called in the order of commits.
    pub(crate) fn announce(&self, writes: &[Write], revision: Revision) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for write in writes {
            let change = Change { key: write.key().to_owned(), deleted: matches!(write, Write::Delete { .. }), revision };
            state.watchers.retain(|(prefix, queue)| !change.key.starts_with(prefix.as_str()) || send(queue, &change));
            state.log.push_back(change);
        }
        while state.log.len() > LOG_LENGTH {
            state.forgotten = state.log.pop_front().map_or(state.forgotten, |change| change.revision);
        }
    }

    /// Starts a watch, beginning with the kept changes after `from`.
    pub(crate) fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if from < state.forgotten {
            return Err(StoreError::Compacted { from, oldest: state.forgotten });
        }
        let (queue, changes) = sync_channel(QUEUE_LENGTH);
        for change in state.log.iter().filter(|change| change.revision > from && change.key.starts_with(prefix)) {
            // The log is shorter than the queue, so nothing is lost here.
            send(&queue, change);
        }
        state.watchers.push((prefix.to_owned(), queue));
        Ok(Watch { prefix: prefix.to_owned(), changes })
    }
}

/// False if the watcher has gone or is too slow; it is then dropped, which it notices.
fn send(queue: &SyncSender<Change>, change: &Change) -> bool {
    match queue.try_send(change.clone()) {
        Ok(()) => true,
        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str) -> [Write; 1] {
        [Write::Put { key: key.into(), value: vec![] }]
    }

    #[test]
    fn a_slow_watcher_learns_that_it_lost_changes() {
        let hub = Hub::new(0);
        let watch = hub.watch("", 0).expect("watch");
        for revision in 1..=QUEUE_LENGTH as i64 + 1 {
            hub.announce(&put("a"), revision);
        }
        for _ in 0..QUEUE_LENGTH {
            assert!(matches!(watch.next(Duration::ZERO), Ok(Some(_))));
        }
        assert!(matches!(watch.next(Duration::ZERO), Err(StoreError::Lagged { .. })));
    }

    #[test]
    fn the_distant_past_is_refused() {
        let hub = Hub::new(7);
        assert!(matches!(hub.watch("", 6), Err(StoreError::Compacted { oldest: 7, .. })));
        for revision in 8..=8 + LOG_LENGTH as i64 {
            hub.announce(&put("a"), revision);
        }
        assert!(matches!(hub.watch("", 7), Err(StoreError::Compacted { oldest: 8, .. })));
        let watch = hub.watch("", 8).expect("kept");
        assert_eq!(watch.next(Duration::ZERO).expect("change").map(|change| change.revision), Some(9));
    }
}
